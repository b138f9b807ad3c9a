/*
 * settings.c - what every session of the product has in common
 */
#include "postgres/settings.h"

#include "base/xalloc.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#define SEARCH_PATH "pg_catalog,pg_temp"

/*
 * The first seven change the text of a value or a name. search_path keeps the objects of other
 * roles out of our statements (CVE-2018-1058); without pg_temp in it, temporary tables would come
 * first. The next two change how literals and lists of identities are read. Without
 * row_security the policies of our own tables would be errors. The statements are written for the
 * isolation level.
 */
#define OURS                                                                                       \
	"-c TimeZone=UTC -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c extra_float_digits=1"   \
	" -c bytea_output=hex -c lc_monetary=C -c quote_all_identifiers=off"                       \
	" -c search_path=" SEARCH_PATH " -c standard_conforming_strings=on -c array_nulls=on"      \
	" -c row_security=on -c default_transaction_isolation=read\\ committed"

void pgsession_clean_environment(void)
{
	/* libpq sends these as start-up parameters of their own (fe-protocol3.c,
	 * build_startup_packet), which the server applies after the options (postinit.c,
	 * process_startup_options). */
	static const char *const names[] = {"PGTZ", "PGDATESTYLE", "PGGEQO"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

/* A connection that libpq gives up before it looks for a host knows what it would have used. */
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

char *pgsession_options(const char *dsn)
{
	char *own = pgsession_keyword(dsn, "options");
	char *options = xasprintf("%s " OURS, own);

	free(own);
	return options;
}

bool pgsession_is_refused(const char *words)
{
	return strstr(words, "unsupported startup parameter") != NULL;
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
