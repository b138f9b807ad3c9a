/* SPDX-License-Identifier: ISC */
/*
 * session.c - the one session of an outbox: its transaction, its statements, and whose each answer
 * is
 */
#include "session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "outbox/outbox.h"
#include "passing.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The session's own tags, told with the number of no part. */
enum { OWN = 0, TAG_ROLLED_BACK = TAG_IGNORE + 1, TAG_COMPARED, TAG_BITS = 8 };

struct session {
	struct loop *loop;	     /* borrowed */
	const struct config *config; /* borrowed */
	const struct session_events *events;
	void *owner;
	struct {
		const struct asker_ops *ops;
		void *part;
	} askers[SESSION_ASKERS_MAX]; /* from 1 on */
	int asker_count;

	struct pg *pg; /* NULL: no session */
	bool serving;
	bool renews;			/* outlives the session */
	char mark[PGSESSION_MARK_SIZE]; /* that the backend must have; "": it is not watched */
	struct outbox_shape shape;	/* of this session's table */
	char *own_text;			/* owned; the shards that are ours as a parameter */
	struct shards shards;
	size_t own[SHARDS_MAX], own_count; /* the leaves that have them */

	bool in_transaction; /* as asked for */
	bool guarded;
	struct passing passing; /* outlives the session */
	bool ignoring;		/* until the ROLLBACK that was asked for is answered */
	void (*then)(void *part);
	void *then_part;
};

struct session *session_new(struct loop *loop, const struct config *config,
			    const struct session_events *events, void *owner)
{
	struct session *session = xcalloc(1, sizeof(*session));
	session->loop = loop;
	session->config = config;
	session->events = events;
	session->owner = owner;
	return session;
}

void session_free(struct session **session)
{
	if (*session == NULL)
		return;
	pg_close(&(*session)->pg);
	outbox_shape_free(&(*session)->shape);
	free((*session)->own_text);
	free(*session);
	*session = NULL;
}

struct asker session_join(struct session *session, const struct asker_ops *ops, void *part)
{
	int number = ++session->asker_count;
	assert(number < SESSION_ASKERS_MAX);
	session->askers[number].ops = ops;
	session->askers[number].part = part;
	return (struct asker){session, number};
}

/* ---- answers ---- */

static void rolled_back(struct session *session)
{
	session->ignoring = false;
	session->then(session->then_part);
}

static void changed(struct session *session)
{
	session_give_up(session, true,
			"the session behind the connection is another one now: " PGSESSION_SHARED
			"; " PGSESSION_SHARED_REMEDY);
}

static void compared(struct session *session, PGresult *result)
{
	bool same = pgsession_is_marked(result, session->mark);
	PQclear(result);
	if (!same)
		changed(session);
}

static bool is_rollback(int wire)
{
	return wire == (OWN << TAG_BITS | TAG_ROLLED_BACK);
}

static void on_answered(void *owner, int wire, PGresult *result)
{
	struct session *session = owner;
	int number = wire >> TAG_BITS, tag = wire & ((1 << TAG_BITS) - 1);
	bool ends = is_rollback(wire);
	if (number == OWN && tag == TAG_COMPARED) {
		if (session->events->heard(session->owner))
			compared(session, result);
		else
			PQclear(result);
		return;
	}
	if (session->events->heard(session->owner) && tag != TAG_IGNORE &&
	    (!session->ignoring || ends)) {
		if (!ends) {
			session->askers[number].ops->answered(session->askers[number].part, tag,
							      result);
			return;
		}
		rolled_back(session);
	}
	PQclear(result);
}

static void on_notified(void *owner, const char *channel, const char *payload, int sender)
{
	struct session *session = owner;
	if (strcmp(channel, "outbox_relay") == 0 && session->events->heard(session->owner))
		session->events->notified(session->owner, payload, sender);
}

static void on_connected(void *owner)
{
	struct session *session = owner;
	session->events->connected(session->owner);
}

static bool on_refused(void *owner, const struct pg_failure *failure)
{
	struct session *session = owner;
	struct pg_failure of_part = *failure;
	int number = failure->tag >> TAG_BITS;
	if (!session->events->heard(session->owner))
		return true;
	/* On a full disk the server may refuse to roll back, as it then writes out what it has in
	 * temporary files. The transaction stays failed; the end of the session ends it. */
	if (is_rollback(failure->tag))
		return false;
	if (session->ignoring)
		return true;
	if (number <= OWN || session->askers[number].ops->refused == NULL)
		return false;
	of_part.tag = failure->tag & ((1 << TAG_BITS) - 1);
	return session->askers[number].ops->refused(session->askers[number].part, &of_part);
}

/* 26000: another backend does not know what was prepared. 42P05: it has it from a session before.
 */
static bool is_of_another_backend(const struct pg_failure *failure)
{
	return strcmp(failure->state, "26000") == 0 || strcmp(failure->state, "42P05") == 0 ||
	       pgsession_is_shared(failure->why);
}

static void on_failed(void *owner, const struct pg_failure *failure)
{
	const struct session *session = owner;
	const char *more = "";
	struct error err;
	if (session->mark[0] != '\0' && is_of_another_backend(failure)) {
		changed(owner);
		return;
	}
	if (strcmp(failure->state, "42501") == 0)
		more = "; run outbox-relay migrate, and connect as the role outbox_relay or a "
		       "member of it";
	error_set(&err, "%s%s", failure->why, more);
	session_give_up(owner, failure->permanent, err.text);
}

static const struct pg_events pg_events = {
    .connected = on_connected,
    .answered = on_answered,
    .notified = on_notified,
    .refused = on_refused,
    .failed = on_failed,
};

/* ---- whether there is one ---- */

struct pg_login session_login(const struct session *session)
{
	struct pg_login login = {.dsn = session->config->database.dsn,
				 .pooled = session->config->database.pooler == POOLER_SESSION};
	config_password(session->config, &login.password);
	return login;
}

void session_open(struct session *session)
{
	struct pg_login login = session_login(session);
	session->renews = false;
	session->pg = pg_open(session->loop, &login, &pg_events, session);
}

void session_close(struct session *session)
{
	for (int i = OWN + 1; i <= session->asker_count; i++)
		if (session->askers[i].ops->lost != NULL)
			session->askers[i].ops->lost(session->askers[i].part);
	pg_close(&session->pg);
	session->serving = session->in_transaction = session->ignoring = false;
	session->mark[0] = '\0';
}

void session_give_up(struct session *session, bool permanent, const char *why)
{
	session_close(session);
	session->events->gone(session->owner, permanent, why);
}

void session_renew(struct session *session, const char *why)
{
	session->renews = true;
	session_give_up(session, false, why);
}

bool session_renews(const struct session *session)
{
	return session->renews;
}

void session_serve(struct session *session)
{
	session->serving = true;
}

bool session_serves(const struct session *session)
{
	return session->serving;
}

int session_backend(const struct session *session)
{
	return pg_backend(session->pg);
}

void session_set_backend(struct session *session, int backend)
{
	pg_set_backend(session->pg, backend);
}

bool session_is_utf8(const struct session *session)
{
	return pg_is_utf8(session->pg);
}

unsigned session_reads(const struct session *session)
{
	return pg_reads(session->pg);
}

/* ---- the table ---- */

const struct config *session_config(const struct session *session)
{
	return session->config;
}

const struct outbox_shape *session_shape(const struct session *session)
{
	return &session->shape;
}

struct outbox_shape *session_new_shape(struct session *session)
{
	outbox_shape_free(&session->shape);
	return &session->shape;
}

void session_own(struct session *session, const struct shards *shards)
{
	bool partitioned = session->shape.partitioned;
	free(session->own_text);
	session->own_text = shards_text(shards);
	session->shards = *shards;
	session->own_count = 0;
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k] && (partitioned || session->own_count == 0))
			session->own[session->own_count++] = partitioned ? (size_t)k : 0;
}

size_t session_own_count(const struct session *session)
{
	return session->own_count;
}

size_t session_own_leaf(const struct session *session, size_t index)
{
	return session->own[index];
}

const struct shards *session_shards(const struct session *session)
{
	return &session->shards;
}

/* ---- asks ---- */

static int wire_of(const struct asker *asker, int tag)
{
	return tag == TAG_IGNORE ? TAG_IGNORE : asker->number << TAG_BITS | tag;
}

void session_sync(struct session *session)
{
	pg_sync(session->pg);
}

void session_ask_text(const struct asker *asker, int tag, const char *sql,
		      const struct pg_param *params, int count)
{
	pg_ask(asker->session->pg, wire_of(asker, tag), sql, params, count, false);
}

void session_ask(const struct asker *asker, int tag, const char *name,
		 const struct pg_param *params, int count, bool binary)
{
	pg_ask_prepared(asker->session->pg, wire_of(asker, tag), name, params, count, binary);
}

void session_prepare(const struct asker *asker, int tag, const char *name, char *sql)
{
	log_debug("statement %s: %s", name, sql);
	pg_prepare(asker->session->pg, wire_of(asker, tag), name, sql);
	free(sql);
}

void session_prepare_leaf(const struct asker *asker, int tag, const char *name, size_t leaf,
			  char *sql)
{
	char full[48];
	snprintf(full, sizeof(full), "%s %zu", name, leaf);
	session_prepare(asker, tag, full, sql);
}

void session_ask_leaf(const struct asker *asker, int tag, const char *name, size_t leaf,
		      const struct pg_param *params, int count, bool binary)
{
	char full[48];
	snprintf(full, sizeof(full), "%s %zu", name, leaf);
	session_ask(asker, tag, full, params, count, binary);
}

void session_ask_all_leaves(const struct asker *asker, int tag, const char *name,
			    const struct pg_param *params, int count)
{
	for (size_t leaf = 0; leaf < asker->session->shape.leaf_count; leaf++)
		session_ask_leaf(asker, tag, name, leaf, params, count, false);
}

int session_param_mine(const struct session *session, struct pg_param *params, int count)
{
	if (session->shape.hashed == 0)
		return count;
	params[count] = pg_param_text(session->own_text);
	return count + 1;
}

int session_param_shards(const struct session *session, struct pg_param *params, int count)
{
	const struct outbox_shape *shape = &session->shape;
	if (shape->hashed == 0 && (!shape->partitioned || shape->competing))
		return count;
	params[count] = pg_param_text(session->own_text);
	return count + 1;
}

void session_ask_own_leaves(const struct asker *asker, int tag, const char *name,
			    struct pg_param *params, int count, bool binary)
{
	const struct session *session = asker->session;
	count = session_param_mine(session, params, count);
	for (size_t i = 0; i < session->own_count; i++)
		session_ask_leaf(asker, tag, name, session->own[i], params, count, binary);
}

/* ---- the transaction ---- */

static void compare(struct session *session)
{
	pg_ask(session->pg, TAG_COMPARED, pgsession_marked, NULL, 0, false);
}

void session_watch(struct session *session, const char *mark)
{
	snprintf(session->mark, sizeof(session->mark), "%s", mark);
}

void session_compare(struct session *session)
{
	if (session->mark[0] != '\0')
		compare(session);
	else
		pg_ask(session->pg, TAG_IGNORE, "SELECT", NULL, 0, false);
	session_sync(session);
}

/* The answer comes before those of the transaction, which no pooler takes apart. */
void session_begin(struct session *session)
{
	if (session->mark[0] != '\0')
		compare(session);
	pg_ask_prepared(session->pg, TAG_IGNORE, "begin", NULL, 0, false);
	if (session->guarded)
		pg_ask_prepared(session->pg, TAG_IGNORE, "immediate", NULL, 0, false);
	session->in_transaction = true;
}

void session_guard(struct session *session)
{
	session->guarded = true;
}

bool session_in_transaction(const struct session *session)
{
	return session->in_transaction;
}

static void ended(struct session *session)
{
	session->in_transaction = false;
	session->events->ended(session->owner);
}

void session_commit(const struct asker *asker, int tag)
{
	session_ask(asker, tag, "commit", NULL, 0, false);
	session_sync(asker->session);
	ended(asker->session);
}

/* COMMIT of a transaction that failed answers ROLLBACK, and that is no error to the server. */
bool session_committed(struct session *session, PGresult *result)
{
	bool yes = strcmp(PQcmdStatus(result), "COMMIT") == 0;
	PQclear(result);
	if (!yes)
		session_give_up(session, false, "COMMIT was answered with ROLLBACK");
	return yes;
}

static void undo(struct session *session, const char *sql, void (*then)(void *part), void *part)
{
	session->then = then;
	session->then_part = part;
	pg_ask(session->pg, then != NULL ? TAG_ROLLED_BACK : TAG_IGNORE, sql, NULL, 0, false);
	session_sync(session);
	ended(session);
}

/* The server would write a warning of a ROLLBACK without a transaction into its log. */
void session_roll_back(struct session *session, void (*then)(void *part), void *part)
{
	undo(session, session->in_transaction ? "ROLLBACK" : "SELECT", then, part);
}

void session_abort(struct session *session, void (*then)(void *part), void *part)
{
	session->ignoring = true;
	undo(session, "ROLLBACK", then, part);
}

void session_ignore(struct session *session)
{
	session->ignoring = true;
}

bool session_passes(struct session *session, const char *sqlstate)
{
	return passing_still(&session->passing, sqlstate, clock_monotonic_us());
}

const char *outbox_libpq_version(void)
{
	static char text[32];
	int version = PQlibVersion();
	snprintf(text, sizeof(text), "%d.%d", version / 10000, version % 10000);
	return text;
}
