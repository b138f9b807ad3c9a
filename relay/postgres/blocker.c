/*
 * blocker.c - who holds the lock that a session waits for
 */
#include "blocker.h"

#include <stdio.h>
#include <string.h>

enum { KEYWORDS_MAX = 64 };

/* A prepared transaction counts as process 0 (manual: pg_blocking_pids). Of the sessions of other
 * roles only pg_read_all_stats sees the times. */
static const char SQL[] =
    "SELECT pg_catalog.format('%s holds a lock%s%s', CASE b.pid WHEN 0 THEN"
    "  'a prepared transaction (see pg_prepared_xacts)' ELSE pg_catalog.format('process %s"
    " (application_name %s, role %s)', b.pid, pg_catalog.quote_nullable(a.application_name),"
    "  a.usename) END, (SELECT pg_catalog.format(' on %s.%I', c.relnamespace::regnamespace,"
    "  c.relname) FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_class AS c ON c.oid ="
    "  l.relation WHERE l.pid = $1::int AND NOT l.granted LIMIT 1), CASE WHEN b.pid = 0 THEN ''"
    "  WHEN a.xact_start IS NULL THEN ' (pg_read_all_stats shows since when)' ELSE"
    "  pg_catalog.format(', in a transaction since %s',"
    "  pg_catalog.date_trunc('second', a.xact_start)) END)"
    " FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::int)) AS b (pid)"
    " LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid LIMIT 1";

/* Another session with the parameters of this one. */
static PGconn *connect_again(PGconn *waiting)
{
	const char *keys[KEYWORDS_MAX + 1], *values[KEYWORDS_MAX + 1];
	PQconninfoOption *options = PQconninfo(waiting), *option;
	size_t count = 0;
	PGconn *conn;

	for (option = options; option && option->keyword && count < KEYWORDS_MAX; option++) {
		if (!option->val)
			continue;
		keys[count] = option->keyword;
		values[count++] =
		    strcmp(option->keyword, "connect_timeout") == 0 ? "2" : option->val;
	}
	keys[count] = NULL;
	values[count] = NULL;
	conn = PQconnectdbParams(keys, values, 0);
	PQconninfoFree(options);
	return conn;
}

void pgblocker_find(PGconn *waiting, char *out, size_t size)
{
	PGconn *conn = connect_again(waiting);
	PGresult *result = NULL;
	char pid[16];
	const char *params[] = {pid};

	snprintf(pid, sizeof(pid), "%d", PQbackendPID(waiting));
	if (PQstatus(conn) == CONNECTION_OK)
		result = PQexecParams(conn, SQL, 1, NULL, params, NULL, NULL, 0);
	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
		snprintf(out, size, "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	PQfinish(conn);
}
