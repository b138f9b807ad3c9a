/*
 * sync.h - blocking use of Postgres, for commands
 *
 * Results are in text format. An error's words are SQLSTATE and primary message only: DETAIL and
 * CONTEXT may hold rows. Not for the relay's loop.
 */
#ifndef OUTBOX_PGSYNC_H
#define OUTBOX_PGSYNC_H

#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* Connects with the settings of postgres/settings.h, as start-up options and not by SET, which
 * would stay behind in a pooler's session. A pooler that does not pass them on is refused. NULL and
 * err. */
PGconn *pgsync_connect(const char *dsn, const char *application_name, struct error *err);

/* From now on a statement may take as long as it needs. Otherwise the server ends it after 8
 * seconds, or 2 for a lock, and an answer that never comes is waited for 10 seconds. What waited
 * for a lock fails with the words of postgres/blocker.h. */
void pgsync_be_patient(void);

/* Runs one statement with text parameters. what says what it is for: "reading the registry". NULL
 * and err on failure; the caller clears the result. */
PGresult *pgsync_query(PGconn *conn, const char *what, const char *sql, int count,
		       const char *const *params, struct error *err);

/* Runs a script of statements without parameters, as one transaction unless it says otherwise. */
bool pgsync_script(PGconn *conn, const char *what, const char *sql, struct error *err);

/* One value of a result. NULL for SQL NULL; 0 and false likewise. */
const char *pgsync_text(const PGresult *result, int row, const char *column);
int64_t pgsync_number(const PGresult *result, int row, const char *column);
bool pgsync_bool(const PGresult *result, int row, const char *column);

/* The SQLSTATE of the last failed pgsync_query or pgsync_script on any connection; "" if there was
 * none (connection lost). Holds until the next one. */
const char *pgsync_sqlstate(void);

#endif
