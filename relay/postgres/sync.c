/* SPDX-License-Identifier: ISC */
/*
 * sync.c - blocking use of Postgres, for commands
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/xalloc.h"

#include <assert.h>
#include <libpq-events.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a command waits for a lock, for a statement and, should the server not even end the
 * statement, for an answer. A migration has limits of its own. */
#define LIMITS " -c lock_timeout=2s -c statement_timeout=8s"
#define SET_LIMITS                                                                                 \
	", pg_catalog.set_config('lock_timeout', '2s', false), "                                   \
	"pg_catalog.set_config('statement_timeout', '8s', false)"
enum { ANSWER_MS = 10000, FIND_FIRST_MS = 1000, FIND_AGAIN_MS = 5000, KEYWORDS_MAX = 64 };
/* How long a pooler is given to find a session for the probe. */
enum { PROBE_MS = 2000 };

static bool is_patient;
static char blocker[256]; /* who held the lock that the statement waited for; "" if none */

static char last_sqlstate[6];
static const char *last_remedy;

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

/* Warnings are for people; their DETAIL is not. */
static void receive_notice(void *arg, const PGresult *notice)
{
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *primary = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

	(void)arg;
	if (severity && primary && strcmp(severity, "WARNING") == 0)
		fprintf(stderr, "warning: %s\n", primary);
}

static PGconn *connect_with(const struct pg_login *login, const char *password,
			    const char *application_name)
{
	char *own = pgsession_options(login),
	     *options = xasprintf("%s%s", own, login->pooled ? "" : LIMITS),
	     *timeout = pgsession_keyword(login->dsn, "connect_timeout");
	const char *keys[] = {
	    "dbname",	"options", "connect_timeout", "application_name", "client_encoding",
	    "password", NULL};
	const char *values[] = {
	    login->dsn, options, *timeout ? timeout : "10", application_name, "UTF8",
	    password,	NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);

	free(own);
	free(options);
	free(timeout);
	PQsetNoticeReceiver(conn, receive_notice, NULL);
	return conn;
}

/* A prepared transaction counts as process 0 (manual: pg_blocking_pids). Of the sessions of other
 * roles only pg_read_all_stats sees the times. */
static const char blocker_sql[] =
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

/* Asks in a second session, as the first one is busy: "process 4711 (application_name psql) holds a
 * lock on public.outbox_events, in a transaction since 2026-11-28 10:00:00+00"; "" if it waits for
 * no lock, or there is no answer within two seconds. */
static void find_blocker(PGconn *waiting)
{
	PGconn *conn = connect_again(waiting);
	PGresult *result = NULL;
	char pid[16];
	const char *params[] = {pid};

	snprintf(pid, sizeof(pid), "%d", pgsync_backend(waiting));
	if (PQstatus(conn) == CONNECTION_OK)
		result = PQexecParams(conn, blocker_sql, 1, NULL, params, NULL, NULL, 0);
	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
		snprintf(blocker, sizeof(blocker), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	PQfinish(conn);
}

/* Waits until the next result can be taken; false if the server takes too long. Whoever holds a
 * lock is found while the statement waits: later it cannot be known. */
static bool await_answer(PGconn *conn, int64_t begun_ms)
{
	int64_t find_ms = begun_ms + FIND_FIRST_MS, now;

	while (PQisBusy(conn)) {
		struct pollfd fd = {PQsocket(conn), POLLIN, 0};

		now = clock_monotonic_us() / 1000;
		if (!is_patient && now - begun_ms > ANSWER_MS)
			return false;
		if (now >= find_ms) {
			find_ms = now + FIND_AGAIN_MS;
			find_blocker(conn);
		}
		if (poll(&fd, 1, (int)(find_ms - now > 0 ? find_ms - now : 0)) > 0 &&
		    !PQconsumeInput(conn))
			return true; /* the next result says why */
	}
	return true;
}

/* The last result, as PQexec has it; NULL if the statement was not sent or not answered. */
static PGresult *answer(PGconn *conn)
{
	PGresult *last = NULL, *result;
	int64_t begun_ms = clock_monotonic_us() / 1000;

	blocker[0] = '\0';
	while (await_answer(conn, begun_ms)) {
		result = PQgetResult(conn);
		if (!result)
			return last;
		PQclear(last);
		last = result;
	}
	PQclear(last);
	return NULL;
}

void pgsync_be_patient(void)
{
	is_patient = true;
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
	if (primary) {
		error_set(err, "%s: %s (SQLSTATE %s)%s%s", what, primary, state ? state : "unknown",
			  *blocker ? ": " : "", blocker);
	} else if (!result && PQstatus(conn) == CONNECTION_OK) {
		error_set(err, "%s: the server does not answer", what);
	} else {
		flatten(PQerrorMessage(conn), message, sizeof(message));
		error_set(err, "%s: %s", what, message);
	}
	PQclear(result);
	return NULL;
}

PGresult *pgsync_query(PGconn *conn, const char *what, const char *sql, int count,
		       const char *const *params, struct error *err)
{
	bool sent = PQsendQueryParams(conn, sql, count, NULL, params, NULL, NULL, 0);

	return judge(conn, sent ? answer(conn) : NULL, what, err);
}

/* A database without an encoding may hold bytes that are not UTF-8, and would refuse to give them.
 * A server may report its encoding again at any time, which frees the text of before. */
static bool take_bytes_as_they_are(PGconn *conn, struct error *err)
{
	const char *encoding = PQparameterStatus(conn, "server_encoding");

	if (encoding && strcmp(encoding, "SQL_ASCII") == 0 &&
	    PQsetClientEncoding(conn, "SQL_ASCII") != 0)
		return error_set(err, "cannot set client_encoding: %s", PQerrorMessage(conn));
	return true;
}

/* Whether a new connection is a session with our settings. */
static bool is_session(PGconn *conn, struct error *err)
{
	PGresult *answer =
	    pgsync_query(conn, "looking at the session", pgsession_question, 0, NULL, err);
	bool good = answer && pgsession_check(answer, 0, err);

	PQclear(answer);
	return good && take_bytes_as_they_are(conn, err);
}

/* ---- through a pooler ---- */

/* What is attached to a connection needs a function of its own, which is its name too (manual:
 * "Event System"). */
static int on_event(PGEventId id, void *info, void *arg)
{
	(void)id;
	(void)info;
	(void)arg;
	return 1;
}

static void note_backend(PGconn *conn, int backend)
{
	PQregisterEventProc(conn, on_event, "outbox-relay", NULL);
	PQsetInstanceData(conn, on_event, (void *)(intptr_t)backend);
}

int pgsync_backend(const PGconn *conn)
{
	int backend = (int)(intptr_t)PQinstanceData(conn, on_event);

	return backend != 0 ? backend : PQbackendPID(conn);
}

static bool wait_for_result(PGconn *conn, int64_t deadline_ms)
{
	while (PQisBusy(conn)) {
		struct pollfd fd = {PQsocket(conn), POLLIN, 0};
		int64_t left = deadline_ms - clock_monotonic_us() / 1000;

		if (left <= 0 || poll(&fd, 1, (int)left) <= 0 || !PQconsumeInput(conn))
			return false;
	}
	return true;
}

bool pgsync_within(PGconn *conn, const char *sql, int wait_ms, char *value, size_t size)
{
	int64_t deadline = clock_monotonic_us() / 1000 + wait_ms;
	bool known = false;
	PGresult *result;

	if (!PQsendQuery(conn, sql))
		return false;
	for (;;) {
		if (!wait_for_result(conn, deadline))
			return false;
		result = PQgetResult(conn);
		if (!result)
			return known;
		known = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0;
		if (known)
			snprintf(value, size, "%s", PQgetvalue(result, 0, 0));
		PQclear(result);
	}
}

static bool is_marked(PGconn *conn, const char *mark)
{
	char seen[PGSESSION_MARK_SIZE] = "";

	return pgsync_within(conn, pgsession_marked, PROBE_MS, seen, sizeof(seen)) &&
	       strcmp(seen, mark) == 0;
}

/* Whether another connection gets the backend that was ours a moment ago, or we another one while
 * it has a transaction open. A pool that has no session left for it shows nothing. */
static bool is_taken(PGconn *conn, const char *mark)
{
	char seen[PGSESSION_MARK_SIZE] = "", *sql = xasprintf("BEGIN; %s", pgsession_marked);
	PGconn *probe = connect_again(conn);
	bool shared = false;

	if (PQstatus(probe) == CONNECTION_OK &&
	    !pgsync_within(probe, sql, PROBE_MS, seen, sizeof(seen)))
		shared = pgsession_is_shared(PQerrorMessage(probe));
	shared = shared || strcmp(seen, mark) == 0 || !is_marked(conn, mark);
	PQfinish(probe);
	free(sql);
	return shared;
}

static bool set_settings(PGconn *conn, const char *mark, const char *application_name,
			 struct error *err)
{
	const char *params[] = {mark, application_name};
	char *settings = pgsession_settings(), *sql = xasprintf("%s" SET_LIMITS, settings);
	PGresult *answer = pgsync_query(conn, "setting up the session", sql, 2, params, err);

	PQclear(answer);
	free(settings);
	free(sql);
	return answer != NULL;
}

/* Makes a session of ours of a connection that may lead to a pooler. */
static bool adopt_session(PGconn *conn, struct error *err)
{
	char mark[PGSESSION_MARK_SIZE], name[64];
	const char *params[] = {mark};
	PGresult *answer;

	pgsession_new_mark(mark);
	answer = pgsync_query(conn, "waiting for a session of the pooler", pgsession_mark, 1,
			      params, err);
	if (!answer)
		return false;
	note_backend(conn, atoi(PQgetvalue(answer, 0, 0)));
	snprintf(name, sizeof(name), "%s", PQgetvalue(answer, 0, 2));
	PQclear(answer);
	/* The first time for a pooler that takes its backends in turn. */
	if (!is_marked(conn, mark) || is_taken(conn, mark))
		return error_set(err, PGSESSION_SHARED "; " PGSESSION_SHARED_REMEDY);
	return set_settings(conn, mark, name, err);
}

static char *ask_password(const struct secret_source *source, struct error *err)
{
	struct error why;
	char *text = secret_get(source, &why);

	if (!text)
		error_set(err, "cannot connect to the database: %s", why.text);
	return text;
}

PGconn *pgsync_connect(const struct pg_login *login, const char *application_name,
		       struct error *err)
{
	char *secret = NULL, *words;
	PGconn *conn;

	last_remedy = NULL;
	pg_tls_begin();
	if (!pg_dsn_check("the dsn", login->dsn, err) ||
	    (secret_is_configured(&login->password) &&
	     !(secret = ask_password(&login->password, err))))
		return NULL;
	conn = connect_with(login, secret, application_name);
	secret_wipe(&secret);
	if (PQstatus(conn) == CONNECTION_OK) {
		if ((!login->pooled || adopt_session(conn, err)) && is_session(conn, err))
			return conn;
	} else if (!login->pooled && pgsession_is_refused(PQerrorMessage(conn))) {
		error_set(err, PGSESSION_POOLER "; " PGSESSION_POOLER_REMEDY);
	} else {
		words = pg_tls_words(conn);
		pg_refusal_print(words, err);
		last_remedy = pg_refusal_of(words).remedy;
		free(words);
	}
	PQfinish(conn);
	return NULL;
}

bool pgsync_script(PGconn *conn, const char *what, const char *sql, struct error *err)
{
	PGresult *result = judge(conn, PQsendQuery(conn, sql) ? answer(conn) : NULL, what, err);

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

bool pgsync_lacked_lock(void)
{
	return strcmp(last_sqlstate, "55P03") == 0 || strcmp(last_sqlstate, "40P01") == 0;
}

const char *pgsync_remedy(void)
{
	return last_remedy;
}
