/* SPDX-License-Identifier: ISC */
/*
 * pg.c - one Postgres session on the event loop
 *
 * libpq's pipeline mode (libpq documentation, "Pipeline Mode"): each ask yields one result and a
 * NULL, each sync one PGRES_PIPELINE_SYNC.
 */
#include "postgres.h"

#include "base/log.h"
#include "base/magic.h"
#include "base/xalloc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SYNC = -1, CONNECT_TIMEOUT_US = 15 * 1000 * 1000 };

enum pg_state { PG_CONNECTING, PG_UP, PG_FAILED };

struct pg {
	enum magic magic;
	struct loop *loop; /* borrowed */
	char *dsn;	   /* owned, until conn is there */
	bool pooled;
	struct secret *password; /* NULL: it is not being asked for */
	PGconn *conn;		 /* owned; NULL while the password is asked for, or cannot be had */
	int backend;		 /* 0: as libpq has it */
	int start_errno;	 /* of a connection that failed at its start */
	const struct pg_events *events;
	void *owner;
	enum pg_state state;
	struct loop_io *io;
	int io_fd, io_what;
	struct loop_timer *timer; /* while connecting its bound; at the end it reports why */
	int *asked;		  /* ring of tags, oldest at head */
	size_t head, count, capacity;
	unsigned busy; /* callbacks under way: freeing waits */
	unsigned reads;
	bool closed;
	struct pg_failure failure; /* its words are in why */
	struct error why;
	bool refused, fatal; /* the failure is an ask's and not reported yet; it ends the session */
	struct error last_words; /* the server's, sent between two answers; "" if none */
};

/* ---- failing and closing ---- */

static void destroy(struct pg *pg)
{
	loop_io_free(&pg->io);
	loop_timer_free(&pg->timer);
	secret_cancel(&pg->password);
	secret_wipe(&pg->dsn);
	PQfinish(pg->conn);
	free(pg->asked);
	pg->magic = MAGIC_NONE;
	free(pg);
}

static void enter(struct pg *pg)
{
	pg->busy++;
}

/* False if the session was closed meanwhile: pg is gone then. */
static bool leave(struct pg *pg)
{
	pg->busy--;
	if (!pg->closed || pg->busy > 0)
		return !pg->closed;
	destroy(pg);
	return false;
}

void pg_close(struct pg **pg)
{
	struct pg *p = *pg;
	*pg = NULL;
	if (p == NULL)
		return;
	p->closed = true;
	loop_io_free(&p->io);
	if (p->busy == 0)
		destroy(p);
}

/* Reported from the loop, never from inside an ask. */
static void fail(struct pg *pg, bool permanent, const struct error *why)
{
	if (pg->state == PG_FAILED)
		return;
	pg->state = PG_FAILED;
	pg->failure.permanent = permanent;
	pg->why = *why;
	pg->failure.why = pg->why.text;
	loop_io_free(&pg->io);
	loop_timer_set(pg->timer, 0);
}

void pg_lost_error(const PGconn *conn, struct error *err)
{
	const char *words = PQerrorMessage(conn);
	if (words[0] != '\0')
		error_set(err, "%.*s", (int)strcspn(words, "\n"), words);
	else
		error_set(err, "the server closed the connection");
}

/* While connecting. */
static void refuse_connection(struct pg *pg)
{
	char *words = pg_tls_words(pg->conn);
	bool permanent;
	struct error err;
	if (words[0] == '\0' && pg->start_errno != 0) {
		free(words);
		words = xstrdup(strerror(pg->start_errno));
	}
	permanent = pg_refusal_of(words).permanent;
	if (permanent && !pg->pooled && pgsession_is_refused(words))
		error_set(&err, PGSESSION_POOLER "; " PGSESSION_POOLER_REMEDY);
	else
		pg_refusal_print(words, &err);
	free(words);
	fail(pg, permanent, &err);
}

static void fail_connection(struct pg *pg)
{
	struct error err;
	if (pg->state == PG_CONNECTING) {
		refuse_connection(pg);
		return;
	}
	if (pg->last_words.text[0] != '\0')
		err = pg->last_words;
	else
		pg_lost_error(pg->conn, &err);
	fail(pg, false, &err);
}

/* What the server says unasked. By default libpq would print it to stderr. Why it ends the session
 * comes this way when nothing is under way, and then only the closed socket. */
static void on_notice(void *arg, const PGresult *result)
{
	struct pg *pg = arg;
	struct error words;
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	MAGIC_CHECK(pg, MAGIC_PG);
	pg_result_error(result, &words);
	log_debug("the database says: %s", words.text);
	if (severity != NULL && strcmp(severity, "FATAL") == 0)
		pg->last_words = words;
}

/* ---- the socket ---- */

static void on_io(int what, void *arg);

static void watch(struct pg *pg, int what)
{
	int fd = PQsocket(pg->conn);
	/* While connecting, libpq may have gone on to the next host with another socket of the same
	 * number, of which the kernel knows nothing yet (manual: PQconnectPoll). */
	if (pg->io != NULL && pg->io_fd == fd && pg->io_what == what && pg->state == PG_UP)
		return;
	loop_io_free(&pg->io);
	pg->io_fd = fd;
	pg->io_what = what;
	pg->io = loop_io_new(pg->loop, fd, what, on_io, pg);
}

/* The socket is closed, found out while sending. What arrived before still counts, a COMMIT's
 * answer perhaps, but nothing is reported from inside an ask: on_timer does. */
static void hang_up(struct pg *pg)
{
	loop_io_free(&pg->io);
	loop_timer_set(pg->timer, 0);
}

static void flush(struct pg *pg)
{
	if (pg->state != PG_UP)
		return;
	int left = PQflush(pg->conn);
	if (left < 0)
		hang_up(pg);
	else
		watch(pg, left > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void established(struct pg *pg)
{
	struct error err;
	loop_timer_stop(pg->timer);
	if (PQsetnonblocking(pg->conn, 1) != 0 || PQenterPipelineMode(pg->conn) != 1) {
		error_set(&err, "libpq refuses pipeline mode; libpq 14 or later is needed");
		fail(pg, true, &err);
		return;
	}
	pg->state = PG_UP;
	watch(pg, LOOP_READ);
	pg->events->connected(pg->owner);
}

static void connect_on(struct pg *pg)
{
	switch (PQconnectPoll(pg->conn)) {
	case PGRES_POLLING_READING:
		watch(pg, LOOP_READ);
		break;
	case PGRES_POLLING_WRITING:
		/* Each host has its own time: the first may be one that does not answer at all. */
		if (PQstatus(pg->conn) == CONNECTION_STARTED)
			loop_timer_set(pg->timer, CONNECT_TIMEOUT_US);
		watch(pg, LOOP_WRITE);
		break;
	case PGRES_POLLING_OK:
		established(pg);
		break;
	default:
		fail_connection(pg);
		break;
	}
}

/* ---- answers ---- */

static void pop(struct pg *pg)
{
	assert(pg->count > 0);
	pg->head = (pg->head + 1) % pg->capacity;
	pg->count--;
}

static void push(struct pg *pg, int tag)
{
	if (pg->count == pg->capacity) {
		size_t capacity = pg->capacity ? pg->capacity * 2 : 32;
		int *asked = xcalloc(capacity, sizeof(*asked));
		for (size_t i = 0; i < pg->count; i++)
			asked[i] = pg->asked[(pg->head + i) % pg->capacity];
		free(pg->asked);
		pg->asked = asked;
		pg->capacity = capacity;
		pg->head = 0;
	}
	pg->asked[(pg->head + pg->count++) % pg->capacity] = tag;
}

static bool is_error(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
}

void pg_result_error(const PGresult *result, struct error *err)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	if (primary == NULL)
		primary = "the connection broke";
	if (state == NULL)
		error_set(err, "%s", primary);
	else
		error_set(err, "SQLSTATE %s: %s", state, primary);
}

/* FATAL and PANIC end the session, ERROR the transaction (manual: "Message Severity Levels"). */
static bool ends_session(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	return severity == NULL || strcmp(severity, "ERROR") != 0;
}

static void report_error(struct pg *pg)
{
	struct error why = pg->why;
	struct pg_failure failure = pg->failure;
	failure.why = why.text;
	pg->refused = false;
	if (!pg->fatal && pg->events->refused != NULL && pg->events->refused(pg->owner, &failure))
		return;
	if (!pg->closed)
		fail(pg, failure.permanent, &why);
}

/* All results of an ask have been read. An error is reported only now: what is asked between the
 * error and this NULL would take the NULL away (libpq 15: pqAppendCmdQueueEntry). */
static void ended(struct pg *pg)
{
	pop(pg);
	if (pg->refused)
		report_error(pg);
}

static void on_error(struct pg *pg, PGresult *result)
{
	struct pg_failure *failure = &pg->failure;
	pg_result_error(result, &pg->why);
	*failure = (struct pg_failure){.why = pg->why.text, .tag = pg->asked[pg->head]};
	snprintf(failure->state, sizeof(failure->state), "%s",
		 PQresultErrorField(result, PG_DIAG_SQLSTATE));
	failure->permanent = pg_state_is_permanent(failure->state);
	pg->refused = true;
	pg->fatal = ends_session(result);
	PQclear(result);
	if (pg->fatal)
		report_error(pg);
}

static void answer(struct pg *pg, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	if (status == PGRES_PIPELINE_SYNC) {
		PQclear(result);
		pop(pg);
	} else if (status == PGRES_PIPELINE_ABORTED) {
		PQclear(result); /* skipped, since one before it in its group was refused */
	} else if (is_error(result) && PQresultErrorField(result, PG_DIAG_SQLSTATE) == NULL) {
		/* libpq's own: the socket is closed. */
		PQclear(result);
		fail_connection(pg);
	} else if (is_error(result)) {
		on_error(pg, result);
	} else {
		pg->events->answered(pg->owner, pg->asked[pg->head], result);
	}
}

static void take_answers(struct pg *pg)
{
	while (!pg->closed && pg->state == PG_UP && pg->count > 0 && !PQisBusy(pg->conn)) {
		PGresult *result = PQgetResult(pg->conn);
		if (result != NULL)
			answer(pg, result);
		else
			ended(pg);
	}
}

static void take_notifications(struct pg *pg)
{
	PGnotify *notify;
	while (!pg->closed && pg->state == PG_UP && (notify = PQnotifies(pg->conn)) != NULL) {
		/* Not what this very session has sent. */
		if (notify->be_pid != pg_backend(pg) && pg->events->notified != NULL)
			pg->events->notified(pg->owner, notify->relname, notify->extra,
					     notify->be_pid);
		PQfreemem(notify);
	}
}

/* The connection has ended. What arrived before still counts: a COMMIT may have been answered. */
static void take_the_rest(struct pg *pg)
{
	take_answers(pg);
	if (!pg->closed)
		fail_connection(pg);
}

static void read_on(struct pg *pg)
{
	if (PQconsumeInput(pg->conn) != 1) {
		take_the_rest(pg);
		return;
	}
	pg->reads++;
	take_answers(pg);
	take_notifications(pg);
	if (!pg->closed)
		flush(pg);
}

static void on_io(int what, void *arg)
{
	struct pg *pg = arg;
	(void)what;
	enter(pg);
	if (pg->state == PG_CONNECTING)
		connect_on(pg);
	else if (pg->state == PG_UP)
		read_on(pg);
	leave(pg);
}

static void on_timer(void *arg)
{
	struct pg *pg = arg;
	enter(pg);
	if (pg->state == PG_CONNECTING) {
		struct error err;
		error_set(&err, "cannot connect to the database: no answer in %d s",
			  CONNECT_TIMEOUT_US / 1000000);
		fail(pg, false, &err);
	} else if (pg->state == PG_UP) {
		take_the_rest(pg);
	} else {
		pg->events->failed(pg->owner, &pg->failure);
	}
	leave(pg);
}

/* ---- asking ---- */

/* What a session of the relay's needs and the connection string leaves out. A vanished server is
 * noticed after about ten seconds (tcp(7): TCP_USER_TIMEOUT, keepalives). */
static const char *const defaults[][2] = {
    {"keepalives_idle", "5"},
    {"keepalives_interval", "2"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "10000"},
};
enum { DEFAULTS = sizeof(defaults) / sizeof(defaults[0]) };

static void connect_with(struct pg *pg, const char *password)
{
	/* Later entries win: the connection string overrides the defaults, and what every session
	 * has in common overrides the connection string. A NULL counts as left out. */
	const char *keywords[DEFAULTS + 6] = {0}, *values[DEFAULTS + 6] = {0};
	struct pg_login login = {.dsn = pg->dsn, .pooled = pg->pooled};
	char host[33] = "", name[64], *options = pgsession_options(&login);
	for (size_t i = 0; i < DEFAULTS; i++) {
		keywords[i] = defaults[i][0];
		values[i] = defaults[i][1];
	}
	/* Several relays serve an outbox: pg_stat_activity should show whose session this is. A
	 * name holds 63 bytes. */
	gethostname(host, sizeof(host) - 1);
	snprintf(name, sizeof(name), "outbox-relay %s:%d", host, (int)getpid());
	keywords[DEFAULTS] = "application_name";
	values[DEFAULTS] = name;
	keywords[DEFAULTS + 1] = "dbname";
	values[DEFAULTS + 1] = pg->dsn;
	keywords[DEFAULTS + 2] = "options";
	values[DEFAULTS + 2] = options;
	keywords[DEFAULTS + 3] = "client_encoding";
	values[DEFAULTS + 3] = "UTF8";
	keywords[DEFAULTS + 4] = "password";
	values[DEFAULTS + 4] = password;
	pg_tls_begin();
	errno = 0;
	pg->conn = PQconnectStartParams(keywords, values, 1);
	if (PQstatus(pg->conn) == CONNECTION_BAD)
		pg->start_errno = errno; /* libpq 17 has no message if socket() fails */
	free(options);
	if (pg->conn == NULL)
		abort(); /* out of memory */
	PQsetNoticeReceiver(pg->conn, on_notice, pg);
	PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE); /* pg_refusal_of reads the SQLSTATE */
	if (PQstatus(pg->conn) == CONNECTION_BAD) {
		fail_connection(pg);
		return;
	}
	loop_timer_set(pg->timer, CONNECT_TIMEOUT_US);
	watch(pg, LOOP_WRITE);
}

static void on_password(void *arg, const char *text, bool permanent, const struct error *why)
{
	struct pg *pg = arg;
	struct error err;
	pg->password = NULL;
	if (text != NULL) {
		connect_with(pg, text);
		return;
	}
	error_set(&err, "cannot connect to the database: %s", why->text);
	fail(pg, permanent, &err);
}

struct pg *pg_open(struct loop *loop, const struct pg_login *login, const struct pg_events *events,
		   void *owner)
{
	struct pg *pg = xcalloc(1, sizeof(*pg));
	pg->magic = MAGIC_PG;
	pg->loop = loop;
	pg->dsn = xstrdup(login->dsn);
	pg->pooled = login->pooled;
	pg->events = events;
	pg->owner = owner;
	pg->timer = loop_timer_new(loop, on_timer, pg);
	if (secret_is_configured(&login->password))
		pg->password = secret_ask(loop, &login->password, on_password, pg);
	else
		connect_with(pg, NULL);
	return pg;
}

enum { PARAMS_MAX = 8 };

static void sent(struct pg *pg, int tag, int ok)
{
	if (ok == 1)
		push(pg, tag);
	else
		hang_up(pg);
}

static void unpack(const struct pg_param *params, int count, const char **values, int *lengths,
		   int *formats)
{
	assert(count <= PARAMS_MAX);
	for (int i = 0; i < count; i++) {
		values[i] = params[i].value;
		lengths[i] = params[i].length;
		formats[i] = params[i].binary;
	}
}

void pg_ask(struct pg *pg, int tag, const char *sql, const struct pg_param *params, int count,
	    bool binary_result)
{
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX], formats[PARAMS_MAX];
	if (pg->state != PG_UP)
		return;
	unpack(params, count, values, lengths, formats);
	sent(
	    pg, tag,
	    PQsendQueryParams(pg->conn, sql, count, NULL, values, lengths, formats, binary_result));
}

void pg_ask_prepared(struct pg *pg, int tag, const char *name, const struct pg_param *params,
		     int count, bool binary_result)
{
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX], formats[PARAMS_MAX];
	if (pg->state != PG_UP)
		return;
	unpack(params, count, values, lengths, formats);
	sent(pg, tag,
	     PQsendQueryPrepared(pg->conn, name, count, values, lengths, formats, binary_result));
}

void pg_prepare(struct pg *pg, int tag, const char *name, const char *sql)
{
	if (pg->state == PG_UP)
		sent(pg, tag, PQsendPrepare(pg->conn, name, sql, 0, NULL));
}

void pg_sync(struct pg *pg)
{
	if (pg->state != PG_UP)
		return;
	sent(pg, SYNC, PQpipelineSync(pg->conn));
	flush(pg);
}

int pg_backend(const struct pg *pg)
{
	return pg->backend != 0 ? pg->backend : PQbackendPID(pg->conn);
}

void pg_set_backend(struct pg *pg, int backend)
{
	pg->backend = backend;
}

bool pg_is_utf8(const struct pg *pg)
{
	const char *encoding = PQparameterStatus(pg->conn, "server_encoding");

	return encoding != NULL && strcmp(encoding, "UTF8") == 0;
}

unsigned pg_reads(const struct pg *pg)
{
	return pg->reads;
}
