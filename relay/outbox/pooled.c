/* SPDX-License-Identifier: ISC */
/*
 * pooled.c - a session through a pooler: found to be the relay's alone, then set up
 *
 * The session is marked, and must have the mark still: a pooler that takes its backends in turn
 * gives another one. Then another connection, the probe, holds a transaction open: in transaction
 * mode a pooler gives it the backend that was ours a moment ago, or has to give us another one. A
 * pooler that has no session left for the probe shows nothing, but shares none.
 */
#include "pooled.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_MARKED = TAG_IGNORE + 1, TAG_KEPT, TAG_COMPARED, TAG_EMPTIED, TAG_SET, TAG_ASKED };
enum { PROBE_BEGUN, PROBE_MARK };

/* How long a pooler may have no session for us, and for the probe. */
enum { PATIENCE_US = 15 * 1000 * 1000, PROBE_US = 2 * 1000 * 1000 };

struct pooled {
	struct loop *loop; /* borrowed */
	struct session *session;
	struct asker asker;
	void (*set_up)(void *owner);
	void *owner;
	struct pg *probe; /* owned; NULL: there is none */
	struct loop_timer *timer;
	bool comparing; /* our backend has been asked for its mark */
	char mark[PGSESSION_MARK_SIZE];
	char name[64]; /* application_name */
};

static void refuse(struct pooled *pooled)
{
	session_give_up(pooled->session, true, PGSESSION_SHARED "; " PGSESSION_SHARED_REMEDY);
}

static void give_up(struct pooled *pooled)
{
	session_give_up(pooled->session, false,
			"the connection pooler has found no session for the relay; see that the "
			"server runs, and that its pool is large enough (pool_size)");
}

/* ---- the probe ---- */

/* The probe has its transaction, or gets none. It stays until our answer is there; but not for
 * long, since we may be waiting for what it has taken. */
static void compare(struct pooled *pooled)
{
	loop_timer_set(pooled->timer, pooled->probe != NULL ? PROBE_US : PATIENCE_US);
	pooled->comparing = true;
	session_ask_text(&pooled->asker, TAG_COMPARED, pgsession_marked, NULL, 0);
	session_sync(pooled->session);
}

static void on_probe_connected(void *owner)
{
	struct pooled *pooled = owner;
	pg_ask(pooled->probe, PROBE_BEGUN, "BEGIN", NULL, 0, false);
	pg_ask(pooled->probe, PROBE_MARK, pgsession_marked, NULL, 0, false);
	pg_sync(pooled->probe);
}

static void on_probe_answered(void *owner, int tag, PGresult *result)
{
	struct pooled *pooled = owner;
	bool ours = tag == PROBE_MARK && pgsession_is_marked(result, pooled->mark);
	PQclear(result);
	if (ours)
		refuse(pooled);
	else if (tag == PROBE_MARK)
		compare(pooled);
}

static void on_probe_failed(void *owner, const struct pg_failure *failure)
{
	struct pooled *pooled = owner;
	bool shared = pgsession_is_shared(failure->why);
	pg_close(&pooled->probe);
	if (shared)
		refuse(pooled);
	else if (!pooled->comparing)
		compare(pooled);
}

static const struct pg_events probe_events = {
    .connected = on_probe_connected,
    .answered = on_probe_answered,
    .failed = on_probe_failed,
};

static void on_timer(void *arg)
{
	struct pooled *pooled = arg;
	bool probing = pooled->probe != NULL;
	pg_close(&pooled->probe);
	if (probing && pooled->comparing)
		loop_timer_set(pooled->timer, PATIENCE_US);
	else if (probing)
		compare(pooled);
	else
		give_up(pooled);
}

/* ---- the session ---- */

void pooled_begin(struct pooled *pooled)
{
	pgsession_new_mark(pooled->mark);
	pooled->comparing = false;
	struct pg_param mark = pg_param_text(pooled->mark);
	loop_timer_set(pooled->timer, PATIENCE_US);
	session_ask_text(&pooled->asker, TAG_MARKED, pgsession_mark, &mark, 1);
	session_sync(pooled->session);
}

/* Which session it is shows in pg_stat_activity by its name, since the backend may be another
 * client's soon. */
static void on_marked(struct pooled *pooled, const PGresult *result)
{
	session_set_backend(pooled->session, atoi(PQgetvalue(result, 0, 0)));
	snprintf(pooled->name, sizeof(pooled->name), "%.40s %.8s", PQgetvalue(result, 0, 2),
		 pooled->mark);
	session_ask_text(&pooled->asker, TAG_KEPT, pgsession_marked, NULL, 0);
	session_sync(pooled->session);
}

static void on_kept(struct pooled *pooled, const PGresult *result)
{
	struct pg_login login = session_login(pooled->session);
	if (!pgsession_is_marked(result, pooled->mark)) {
		refuse(pooled);
		return;
	}
	loop_timer_set(pooled->timer, PROBE_US);
	pooled->probe = pg_open(pooled->loop, &login, &probe_events, pooled);
}

/* What another client, or a relay that died, may have left behind if the pooler does not reset
 * sessions: settings, statements under our names, locks. It goes alone, since it refuses to run
 * inside a transaction. */
static void on_compared(struct pooled *pooled, const PGresult *result)
{
	loop_timer_stop(pooled->timer);
	pg_close(&pooled->probe);
	if (!pgsession_is_marked(result, pooled->mark)) {
		refuse(pooled);
		return;
	}
	session_ask_text(&pooled->asker, TAG_EMPTIED, "DISCARD ALL", NULL, 0);
	session_sync(pooled->session);
}

static void on_emptied(struct pooled *pooled)
{
	struct pg_param params[] = {pg_param_text(pooled->mark), pg_param_text(pooled->name)};
	char *settings = pgsession_settings();
	session_ask_text(&pooled->asker, TAG_SET, settings, params, 2);
	session_ask_text(&pooled->asker, TAG_ASKED, pgsession_question, NULL, 0);
	session_sync(pooled->session);
	free(settings);
}

static void on_asked(struct pooled *pooled, const PGresult *result)
{
	struct error err;
	if (!pgsession_check(result, session_backend(pooled->session), &err)) {
		refuse(pooled);
		return;
	}
	session_watch(pooled->session, pooled->mark);
	pooled->set_up(pooled->owner);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct pooled *pooled = part;
	if (tag == TAG_MARKED)
		on_marked(pooled, result);
	else if (tag == TAG_KEPT)
		on_kept(pooled, result);
	else if (tag == TAG_COMPARED)
		on_compared(pooled, result);
	else if (tag == TAG_EMPTIED)
		on_emptied(pooled);
	else if (tag == TAG_ASKED)
		on_asked(pooled, result);
	PQclear(result);
}

static void on_lost(void *part)
{
	struct pooled *pooled = part;
	loop_timer_stop(pooled->timer);
	pg_close(&pooled->probe);
}

/* ---- making one ---- */

struct pooled *pooled_new(struct loop *loop, struct session *session, void (*set_up)(void *owner),
			  void *owner)
{
	static const struct asker_ops ops = {on_answered, NULL, on_lost};
	struct pooled *pooled = xcalloc(1, sizeof(*pooled));
	pooled->loop = loop;
	pooled->session = session;
	pooled->asker = session_join(session, &ops, pooled);
	pooled->set_up = set_up;
	pooled->owner = owner;
	pooled->timer = loop_timer_new(loop, on_timer, pooled);
	return pooled;
}

void pooled_free(struct pooled **pooled)
{
	if (*pooled == NULL)
		return;
	pg_close(&(*pooled)->probe);
	loop_timer_free(&(*pooled)->timer);
	free(*pooled);
	*pooled = NULL;
}
