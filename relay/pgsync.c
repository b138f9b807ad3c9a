/*
 * pgsync.c - blocking use of Postgres, for commands
 */
#include "pgsync.h"

#include "xalloc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libpq's words would quote parts of the dsn, which may be the password's. */
#define DSN_REFUSED                                                                                \
	"does not parse as a connection string; write key=value pairs, with single quotes around " \
	"a value that has blanks, or a postgresql:// URI"

#define SESSION_OPTIONS "-c search_path=pg_catalog,pg_temp"

static char last_sqlstate[6];

/* libpq's multi-line message as one line. */
static void flatten(const char *message, char *out, size_t size)
{
	size_t len = 0;

	for (; *message && len + 3 < size; message++) {
		if (*message != '\n' && *message != '\t') {
			out[len++] = *message;
		} else if (*message == '\n' && message[1]) {
			out[len++] = ';';
			out[len++] = ' ';
		}
	}
	out[len] = '\0';
}

/* What the dsn or the environment says of one keyword; malloc'd. */
static char *own_setting(PQconninfoOption *options, const char *keyword)
{
	PQconninfoOption *option;
	const char *value = NULL;

	for (option = options; option->keyword; option++) {
		if (strcmp(option->keyword, keyword) != 0)
			continue;
		value = option->val;
		if (!value && option->envvar)
			value = getenv(option->envvar);
	}
	return xstrdup(value ? value : "");
}

static PGconn *connect_with(const char *dsn, const char *options, const char *timeout,
			    const char *application_name)
{
	const char *keys[] = {"dbname",		  "options",	     "connect_timeout",
			      "application_name", "client_encoding", NULL};
	const char *values[] = {dsn, options, timeout, application_name, "UTF8", NULL};

	return PQconnectdbParams(keys, values, 1);
}

/* Warnings are for people; their DETAIL is not. */
static void receive_notice(void *arg, const PGresult *notice)
{
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *primary = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

	(void)arg;
	if (severity && primary && strcmp(severity, "WARNING") == 0)
		fprintf(stderr, "warning: %s\n", primary);
}

/* A pooler may refuse start-up options. Without ours the catalog still comes first in any
 * search_path, and our SQL qualifies everything else. */
static PGconn *connect_somehow(const char *dsn, const char *own, const char *timeout,
			       const char *application_name)
{
	char *options = xasprintf("%s " SESSION_OPTIONS, own);
	PGconn *conn = connect_with(dsn, options, timeout, application_name);

	free(options);
	if (!strstr(PQerrorMessage(conn), "unsupported startup parameter"))
		return conn;
	PQfinish(conn);
	return connect_with(dsn, own, timeout, application_name);
}

bool pgsync_check_dsn(const char *dsn, struct error *err)
{
	PQconninfoOption *parsed = PQconninfoParse(dsn, NULL);

	if (!parsed)
		return error_set(err, "database.dsn " DSN_REFUSED);
	PQconninfoFree(parsed);
	return true;
}

PGconn *pgsync_connect(const char *dsn, const char *application_name, struct error *err)
{
	PQconninfoOption *parsed = PQconninfoParse(dsn, NULL);
	char message[512];
	char *own, *timeout;
	PGconn *conn;

	if (!parsed) {
		error_set(err, "the dsn " DSN_REFUSED);
		return NULL;
	}
	own = own_setting(parsed, "options");
	timeout = own_setting(parsed, "connect_timeout");
	conn = connect_somehow(dsn, own, *timeout ? timeout : "10", application_name);
	PQconninfoFree(parsed);
	free(own);
	free(timeout);
	PQsetNoticeReceiver(conn, receive_notice, NULL);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	flatten(PQerrorMessage(conn), message, sizeof(message));
	error_set(err, "cannot connect to the database: %s", message);
	PQfinish(conn);
	return NULL;
}

/* Keeps a good result, turns a bad one into words. */
static PGresult *judge(PGconn *conn, PGresult *result, const char *what, struct error *err)
{
	ExecStatusType status = PQresultStatus(result);
	const char *state, *primary;
	char message[512];

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY)
		return result;
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	strncpy(last_sqlstate, state ? state : "", sizeof(last_sqlstate) - 1);
	if (primary)
		error_set(err, "%s: %s (SQLSTATE %s)", what, primary, state ? state : "unknown");
	else {
		flatten(PQerrorMessage(conn), message, sizeof(message));
		error_set(err, "%s: %s", what, message);
	}
	PQclear(result);
	return NULL;
}

PGresult *pgsync_query(PGconn *conn, const char *what, const char *sql, int count,
		       const char *const *params, struct error *err)
{
	return judge(conn, PQexecParams(conn, sql, count, NULL, params, NULL, NULL, 0), what, err);
}

bool pgsync_script(PGconn *conn, const char *what, const char *sql, struct error *err)
{
	PGresult *result = judge(conn, PQexec(conn, sql), what, err);

	PQclear(result);
	return result != NULL;
}

const char *pgsync_text(const PGresult *result, int row, const char *column)
{
	int field = PQfnumber(result, column);

	assert(field >= 0);
	return PQgetisnull(result, row, field) ? NULL : PQgetvalue(result, row, field);
}

int64_t pgsync_number(const PGresult *result, int row, const char *column)
{
	const char *text = pgsync_text(result, row, column);

	return text ? strtoll(text, NULL, 10) : 0;
}

bool pgsync_bool(const PGresult *result, int row, const char *column)
{
	const char *text = pgsync_text(result, row, column);

	return text && *text == 't';
}

const char *pgsync_sqlstate(void)
{
	return last_sqlstate;
}
