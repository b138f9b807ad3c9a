/*
 * settings.h - what every session of the product has in common, in `run` and in the commands
 *
 * Text that the server makes for a session is published, hashed into shards and compared, so no
 * setting that changes it may come from the role, the database, the environment or the dsn.
 */
#ifndef OUTBOX_PGSESSION_H
#define OUTBOX_PGSESSION_H

#include "base/error.h"

#include <stdbool.h>

struct pg_result; /* libpq's PGresult */

/* What is wrong with a pooler in between, and what to do. */
#define PGSESSION_POOLER "there is a connection pooler between the relay and Postgres"
#define PGSESSION_POOLER_REMEDY                                                                    \
	"the relay needs a session of its own (its lock and LISTEN live there): point "            \
	"database.dsn at Postgres itself"

/* Removes from the environment what libpq would send after our start-up options, and so instead of
 * them. To be called before there is a second thread. */
void pgsession_clean_environment(void);

/* What dsn, service file and environment say of one keyword, as libpq merges them; malloc'd, "" if
 * none says anything. Connects to nothing. */
char *pgsession_keyword(const char *dsn, const char *keyword);

/* The value of the keyword "options": the user's own ones, then ours, which win; malloc'd. */
char *pgsession_options(const char *dsn);

/* Whether libpq's words say that start-up options were refused. Only poolers do that. */
bool pgsession_is_refused(const char *words);

/* The first statement of a session, and whether its answer says that no pooler is in between;
 * otherwise false and err. The statement is safe in any session. backend is the process as the
 * client was told at connect; 0: a pooler that passes the start-up options on will do. */
extern const char pgsession_question[];
bool pgsession_check(const struct pg_result *answer, int backend, struct error *err);

#endif
