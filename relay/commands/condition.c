/* SPDX-License-Identifier: ISC */
/*
 * condition.c - whether a text is a condition on the rows of a table, as PostgreSQL sees it
 */
#include "condition.h"

#include "base/xalloc.h"
#include "config.h"
#include "outbox/sql.h"
#include "postgres.h"

#include <stdlib.h>

/* One statement by the protocol, whatever is in its text. It stays prepared for the session. */
static bool prepares(PGconn *conn, const char *name, char *sql, struct error *err)
{
	char *prepare = xasprintf("PREPARE %s AS %s", name, sql);
	PGresult *result = pgsync_query(conn, "asking PostgreSQL", prepare, 0, NULL, err);
	bool good = result != NULL;

	PQclear(result);
	free(prepare);
	free(sql);
	return good;
}

static bool forget(PGconn *conn, struct error *err)
{
	return pgsync_script(conn, "forgetting the condition",
			     "DEALLOCATE outbox_relay_plain; DEALLOCATE outbox_relay_alone", err);
}

static bool is_stable(PGconn *conn, const char *text, struct error *err)
{
	char *functions = config_where_functions(text);
	const char *params[] = {functions};
	PGresult *result =
	    pgsync_query(conn, "looking at functions", outbox_where_functions, 1, params, err);
	bool good = result != NULL && PQgetisnull(result, 0, 0);

	if (result != NULL && !good)
		error_set(err,
			  "%s gives another answer at another time, and whether a row is an event "
			  "must hang on the row only",
			  PQgetvalue(result, 0, 0));
	PQclear(result);
	free(functions);
	return good;
}

bool condition_check(PGconn *conn, const char *what, const char *text, const char *table,
		     const char *shown, const char *id, struct error *err)
{
	struct error why;

	if (prepares(conn, "outbox_relay_plain", outbox_sql_where_plain(table, text), &why) &&
	    prepares(conn, "outbox_relay_alone", outbox_sql_where_alone(table, id, text), &why) &&
	    forget(conn, &why) && is_stable(conn, text, &why))
		return true;
	return error_set(err, "%s \"%s\" is no condition on the rows of table %s: %s", what, text,
			 shown, why.text);
}
