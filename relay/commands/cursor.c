/* SPDX-License-Identifier: ISC */
/*
 * cursor.c - a command reads rows of the outbox, however many: some at a time
 */
#include "cursor.h"

#include "base/xalloc.h"
#include "postgres.h"
#include "progress.h"
#include "waiting.h"

#include <stdint.h>
#include <stdlib.h>

static const char READING[] = "reading the outbox";

static bool fetch_all(PGconn *conn, void (*each)(void *arg, const PGresult *rows, int row),
		      void *arg, struct error *err)
{
	int64_t done = 0;
	PGresult *rows;
	int count;

	do {
		rows = pgsync_query(conn, READING, "FETCH 10000 FROM rows_of_outbox", 0, NULL, err);
		count = rows != NULL ? PQntuples(rows) : -1;
		for (int row = 0; row < count; row++)
			each(arg, rows, row);
		PQclear(rows);
		progress_step(done += count);
	} while (count > 0 && !waiting_is_stopped());
	if (waiting_is_stopped())
		return error_set(err, WAITING_STOPPED);
	return count == 0;
}

bool cursor_each(PGconn *conn, const char *query,
		 void (*each)(void *arg, const PGresult *rows, int row), void *arg,
		 struct error *err)
{
	char *declare = xasprintf("DECLARE rows_of_outbox NO SCROLL CURSOR FOR %s", query);
	bool good = pgsync_script(conn, READING, declare, err);

	if (good) {
		progress_begin(-1, "rows");
		good = fetch_all(conn, each, arg, err);
		progress_end();
	}
	free(declare);
	return good;
}
