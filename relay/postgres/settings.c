/* SPDX-License-Identifier: ISC */
/*
 * settings.c - what every session has in common: its settings, and whether it is one
 *
 * Without a pooler the settings are start-up options, in force before the first statement. A pooler
 * refuses or drops those: there they are set once the session is known to be the relay's alone,
 * since what is set in a shared session would reach other clients.
 */
#include "postgres.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SEARCH_PATH "pg_catalog,pg_temp"
#define MARK	    "'outbox_relay.session'"

/*
 * The first seven change the text of a value or a name. search_path keeps the objects of other
 * roles out of our statements (CVE-2018-1058); without pg_temp in it, temporary tables would come
 * first. The next two change how literals and lists of identities are read. Without
 * row_security the policies of our own tables would be errors. The statements are written for the
 * isolation level.
 */
static const char *const settings[][2] = {
    {"TimeZone", "UTC"},
    {"DateStyle", "ISO,MDY"},
    {"IntervalStyle", "postgres"},
    {"extra_float_digits", "1"},
    {"bytea_output", "hex"},
    {"lc_monetary", "C"},
    {"quote_all_identifiers", "off"},
    {"search_path", SEARCH_PATH},
    {"standard_conforming_strings", "on"},
    {"array_nulls", "on"},
    {"row_security", "on"},
    {"default_transaction_isolation", "read committed"},
};
enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

void pgsession_clean_environment(void)
{
	/* libpq sends these as start-up parameters of their own (fe-protocol3.c,
	 * build_startup_packet), which the server applies after the options (postinit.c,
	 * process_startup_options). */
	static const char *const names[] = {"PGTZ", "PGDATESTYLE", "PGGEQO"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

/* A connection that libpq gives up before it resolves a host knows what it would have used. */
char *pgsession_keyword(const char *dsn, const char *keyword)
{
	const char *const keywords[] = {"dbname", "sslmode", NULL};
	const char *const values[] = {dsn, "not to be tried", NULL};
	PGconn *conn = PQconnectStartParams(keywords, values, 1);
	PQconninfoOption *options = PQconninfo(conn), *option;
	char *value = NULL;

	for (option = options; option != NULL && option->keyword != NULL; option++)
		if (strcmp(option->keyword, keyword) == 0 && option->val != NULL)
			value = xstrdup(option->val);
	PQconninfoFree(options);
	PQfinish(conn);
	return value != NULL ? value : xstrdup("");
}

/* A blank ends an option unless it is escaped (manual: "options"). */
static void append_option(char **options, const char *name, const char *value)
{
	xappend(options, " -c %s=", name);
	for (; *value != '\0'; value++)
		xappend(options, "%s%c", *value == ' ' ? "\\" : "", *value);
}

char *pgsession_options(const struct pg_login *login)
{
	char *options = pgsession_keyword(login->dsn, "options");

	for (size_t i = 0; !login->pooled && i < SETTINGS; i++)
		append_option(&options, settings[i][0], settings[i][1]);
	return options;
}

bool pgsession_is_refused(const char *words)
{
	/* PgBouncer (client.c), Amazon RDS Proxy */
	return strstr(words, "unsupported startup parameter") != NULL ||
	       strstr(words, "RDS Proxy currently doesn") != NULL;
}

const char pgsession_question[] =
    "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('search_path')";

bool pgsession_check(const PGresult *answer, int backend, struct error *err)
{
	enum { PID, PATH };

	/* A pooler makes up the pid, or drops the start-up options, or both. */
	if ((backend != 0 && atoi(PQgetvalue(answer, 0, PID)) != backend) ||
	    strcmp(PQgetvalue(answer, 0, PATH), SEARCH_PATH) != 0)
		return error_set(err, PGSESSION_POOLER "; " PGSESSION_POOLER_REMEDY);
	return true;
}

/* ---- through a pooler ---- */

void pgsession_new_mark(char mark[PGSESSION_MARK_SIZE])
{
	unsigned char bytes[(PGSESSION_MARK_SIZE - 1) / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		abort(); /* so few are always there (manual: getrandom) */
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(mark + 2 * i, 3, "%02x", bytes[i]);
}

const char pgsession_mark[] =
    "SELECT pg_catalog.pg_backend_pid(), pg_catalog.set_config(" MARK ", $1, false),"
    " pg_catalog.current_setting('application_name')";

const char pgsession_marked[] = "SELECT pg_catalog.current_setting(" MARK ", true)";

char *pgsession_settings(void)
{
	char *sql = xstrdup("SELECT pg_catalog.set_config(" MARK ", $1, false),"
			    " pg_catalog.set_config('application_name', $2, false),"
			    " pg_catalog.set_config('client_encoding', 'UTF8', false)");

	for (size_t i = 0; i < SETTINGS; i++)
		xappend(&sql, ", pg_catalog.set_config('%s', '%s', false)", settings[i][0],
			settings[i][1]);
	return sql;
}

bool pgsession_is_marked(const PGresult *answer, const char *mark)
{
	return PQntuples(answer) == 1 && strcmp(PQgetvalue(answer, 0, 0), mark) == 0;
}

bool pgsession_is_shared(const char *words)
{
	/* PgBouncer (server.c); from 1.21 on in transaction mode (prepare.c), of a statement that
	 * was prepared before the mode was changed */
	return strstr(words, "statement pooling mode") != NULL ||
	       strstr(words, "prepared statement did not exist") != NULL;
}
