/* SPDX-License-Identifier: ISC */
/*
 * durable.c - lets claimed events out once what they come from survives
 */
#include "durable.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "gate.h"

#include <stdlib.h>

/* Tags of the session that all parts share, and of the second one. */
enum { TAG_SELF = TAG_IGNORE + 1 };
enum { ASKED_SETTINGS, ASKED_SAME, ASKED_FLUSH, ASKED_REACHED };

/* The standbys are asked again after so long, then after twice as long each time, up to the most;
 * or to that of events that are late. */
enum { ASK_AGAIN_US = 500, ASK_AGAIN_MAX_US = 16 * 1000, ASK_LATE_US = 500 * 1000 };

/* How often it is seen whether somebody has waited for too long, or the second session is gone. */
enum { TICK_US = 500 * 1000 };

/* A session is this one if its process began when this one's did. */
static const char self_sql[] =
    "SELECT pid::text, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
static const char same_sql[] = "SELECT EXISTS (SELECT FROM pg_stat_activity"
			       " WHERE pid = $1::integer AND backend_start = $2::timestamptz)";

/* Standbys that COMMIT waits for (synchronous_standby_names) need not be those that are named here.
 */
static const char settings_sql[] = "SELECT set_config('synchronous_commit', 'local', false),"
				   " set_config('statement_timeout', '0', false),"
				   " set_config('idle_session_timeout', '0', false)";

/* The message's commit is flushed, and with it all that lies before it. */
static const char flush_sql[] = "SELECT pg_logical_emit_message(true, 'outbox-relay', '')::text";
static const char flush_at_sql[] =
    "SELECT (pg_logical_emit_message(true, 'outbox-relay', '') - '0/0'::pg_lsn)::bigint";

/* It is answered once the message behind which it was asked is committed. */
static const char here_sql[] = "SELECT 'flushed'";

/* How far so many of the standbys are, and in words what each has. */
static const char there_sql[] =
    "WITH standby AS (SELECT s.name, count(r.pid) AS sessions,"
    "     min(r.flush_lsn) FILTER (WHERE r.state = 'streaming') AS has,"
    "     coalesce(bool_and(r.state = 'streaming'), false) AS streams"
    "  FROM unnest(string_to_array($1, chr(31))) AS s(name)"
    "  LEFT JOIN pg_stat_replication AS r ON lower(r.application_name) = lower(s.name)"
    " GROUP BY s.name)"
    "SELECT (SELECT (has - '0/0'::pg_lsn)::bigint FROM standby WHERE streams AND has IS NOT NULL"
    "         ORDER BY has DESC OFFSET $2::bigint - 1 LIMIT 1),"
    "       CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE')"
    "            THEN (SELECT string_agg(name || CASE WHEN sessions = 0 THEN ' is not connected'"
    "                   WHEN NOT streams THEN ' is not streaming'"
    "                   ELSE ' has it up to ' || coalesce(has::text, '?') END, ', ' ORDER BY name)"
    "                    FROM standby)"
    "            ELSE format('role %s may not see how far they are; GRANT pg_read_all_stats TO %I',"
    "                        current_user, current_user) END";

static const char silent[] = "the relay's second session with the database does not answer";

struct durable {
	struct session *session; /* the claims' */
	struct asker asker;
	struct loop *loop;
	struct source *source;
	struct metrics *metrics;
	const struct durable_events *events;
	void *owner;
	int after; /* enum config_publish_after */
	struct config_standbys standbys;
	char *names; /* owned; of the standbys, by chr(31) */
	struct gate gate;
	struct pg *second;	 /* owned; NULL: there is none */
	int64_t heard_us;	 /* when it last answered, or was asked while it owed nothing */
	bool ready;		 /* it is known to be of the same server */
	bool asking;		 /* how far it is durable */
	int64_t flushes, behind; /* asked for; those before the last asking */
	char *self, *self_since; /* owned; the claims' session: its process, and when that began */
	struct loop_timer *again, *tick;
	int64_t again_us;
	char why[320]; /* nobody passes */
};

static const struct config *config_of(const struct durable *durable)
{
	return session_config(durable->session);
}

static bool waits_for_standbys(const struct durable *durable)
{
	return durable->after == PUBLISH_AFTER_STANDBY;
}

bool durable_is_late(const struct durable *durable)
{
	return durable->metrics->unconfirmed;
}

/* ---- letting them out ---- */

static void forget_trouble(struct durable *durable)
{
	durable->source->unconfirmed[0] = '\0';
	durable->metrics->unconfirmed = false;
}

static void let_out(struct durable *durable)
{
	struct gate_entry entry;
	while (gate_take(&durable->gate, &entry)) {
		if (entry.chunk == NULL) {
			forget_trouble(durable);
			log_fact(LOG_INFO, "events_confirmed", NULL,
				 "events are confirmed again, and published");
			durable->events->confirmed(durable->owner, true);
			continue;
		}
		histogram_observe(&durable->metrics->publish_wait,
				  (double)(clock_monotonic_us() - entry.since_us) / 1e6);
		durable->events->passed(durable->owner, entry.chunk, entry.last);
	}
	if (durable->gate.count == 0)
		loop_timer_stop(durable->tick);
}

/* ---- asking ---- */

/* Whether an answer is due. */
static bool is_owed(const struct durable *durable)
{
	return !durable->ready || durable->asking || durable->gate.flushing;
}

static void ask_reached(struct durable *durable)
{
	struct pg_int8 needed = pg_put_int8(durable->standbys.needed);
	struct pg_param params[] = {pg_param_text(durable->names), pg_param_int8(&needed)};
	if (!is_owed(durable))
		durable->heard_us = clock_monotonic_us();
	durable->asking = true;
	durable->behind = durable->flushes;
	if (waits_for_standbys(durable))
		pg_ask(durable->second, ASKED_REACHED, there_sql, params, 2, false);
	else
		pg_ask(durable->second, ASKED_REACHED, here_sql, NULL, 0, false);
	pg_sync(durable->second);
}

/* Who asks behind the message, in a transaction of its own, is answered after its commit. */
static void flush_if_wanted(struct durable *durable)
{
	bool owed = is_owed(durable);
	if (!durable->ready || !gate_begin_flush(&durable->gate))
		return;
	if (!owed)
		durable->heard_us = clock_monotonic_us();
	durable->again_us = ASK_AGAIN_US;
	durable->flushes++;
	pg_ask(durable->second, ASKED_FLUSH, waits_for_standbys(durable) ? flush_at_sql : flush_sql,
	       NULL, 0, false);
	pg_sync(durable->second);
	if (!durable->asking)
		ask_reached(durable);
}

/* Without standbys positions are the numbers of flushes. */
static void on_flushed(struct durable *durable, const PGresult *result)
{
	int64_t position = durable->flushes;
	if (waits_for_standbys(durable))
		position = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	gate_end_flush(&durable->gate, position);
	if (!durable->asking)
		ask_reached(durable);
}

static void ask_again_later(struct durable *durable)
{
	int64_t most = durable_is_late(durable) ? ASK_LATE_US : ASK_AGAIN_MAX_US;
	loop_timer_set(durable->again, durable->again_us);
	durable->again_us = durable->again_us * 2 < most ? durable->again_us * 2 : most;
}

static void on_again(void *arg)
{
	struct durable *durable = arg;
	if (durable->ready && !durable->asking && gate_awaits(&durable->gate))
		ask_reached(durable);
}

static void on_reached(struct durable *durable, const PGresult *result)
{
	int64_t position = durable->behind;
	if (waits_for_standbys(durable)) {
		text_print(durable->why, sizeof(durable->why), "%s", PQgetvalue(result, 0, 1));
		position =
		    PQgetisnull(result, 0, 0) ? 0 : strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	}
	durable->asking = false;
	gate_reach(&durable->gate, position);
	let_out(durable);
	if (durable->ready && gate_awaits(&durable->gate) && !durable->asking)
		ask_again_later(durable);
}

/* ---- the second session ---- */

static void end_second(struct durable *durable)
{
	pg_close(&durable->second);
	loop_timer_stop(durable->again);
	durable->ready = durable->asking = false;
	durable->flushes = 0;
	gate_restart(&durable->gate);
}

static void on_second_connected(void *owner)
{
	struct durable *durable = owner;
	struct pg_param params[] = {pg_param_text(durable->self),
				    pg_param_text(durable->self_since)};
	pg_ask(durable->second, ASKED_SETTINGS, settings_sql, NULL, 0, false);
	pg_ask(durable->second, ASKED_SAME, same_sql, params, 2, false);
	pg_sync(durable->second);
}

static void on_same(struct durable *durable, const PGresult *result)
{
	durable->ready = PQgetvalue(result, 0, 0)[0] == 't';
	if (durable->ready)
		return;
	text_print(durable->why, sizeof(durable->why),
		   "another session with the database leads to another server; point database.dsn "
		   "at one");
	end_second(durable);
}

static void on_second_answered(void *owner, int tag, PGresult *result)
{
	struct durable *durable = owner;
	durable->heard_us = clock_monotonic_us();
	if (tag == ASKED_SAME)
		on_same(durable, result);
	else if (tag == ASKED_FLUSH)
		on_flushed(durable, result);
	else if (tag == ASKED_REACHED)
		on_reached(durable, result);
	PQclear(result);
	flush_if_wanted(durable);
}

/* The next tick opens another one. */
static void on_second_failed(void *owner, const struct pg_failure *failure)
{
	struct durable *durable = owner;
	text_print(durable->why, sizeof(durable->why),
		   "the relay's second session with the database has failed: %s", failure->why);
	end_second(durable);
}

static const struct pg_events second_events = {
    .connected = on_second_connected,
    .answered = on_second_answered,
    .failed = on_second_failed,
};

static void open_second(struct durable *durable)
{
	struct pg_login login = session_login(durable->session);
	if (durable->second != NULL || durable->self == NULL)
		return;
	durable->heard_us = clock_monotonic_us();
	durable->second = pg_open(durable->loop, &login, &second_events, durable);
}

/* A connection may be swallowed by something in between. */
static void end_if_silent(struct durable *durable)
{
	int64_t silent_us = clock_monotonic_us() - durable->heard_us;
	if (durable->second == NULL || !is_owed(durable) ||
	    silent_us < config_of(durable)->outbox.session_timeout_ms * 1000)
		return;
	text_print(durable->why, sizeof(durable->why), "%s", silent);
	end_second(durable);
}

/* ---- waiting ---- */

static void tell_late(struct durable *durable)
{
	struct source *source = durable->source;
	bool news = !durable_is_late(durable);
	if (waits_for_standbys(durable))
		text_print(source->unconfirmed, sizeof(source->unconfirmed),
			   "events wait until %lld of %zu standbys have them: %s",
			   (long long)durable->standbys.needed, durable->standbys.names.count,
			   durable->why);
	else
		text_print(source->unconfirmed, sizeof(source->unconfirmed),
			   "events wait until the server has flushed them: %s", durable->why);
	durable->metrics->unconfirmed = true;
	if (!news)
		return;
	gate_clear(&durable->gate);
	gate_add(&durable->gate, NULL, false, clock_monotonic_us());
	durable->events->confirmed(durable->owner, false);
}

static bool is_late(const struct durable *durable)
{
	int64_t limit_us = config_of(durable)->outbox.stall_timeout_ms * 1000;
	return durable_is_late(durable) ||
	       clock_monotonic_us() - durable->gate.entries[0].since_us >= limit_us;
}

static void on_tick(void *arg)
{
	struct durable *durable = arg;
	if (durable->gate.count == 0)
		return;
	loop_timer_set(durable->tick, TICK_US);
	end_if_silent(durable);
	open_second(durable);
	if (is_late(durable))
		tell_late(durable);
	flush_if_wanted(durable);
}

void durable_add(struct durable *durable, struct chunk *chunk, bool last)
{
	bool empty = chunk->count == 0 && durable->gate.count == 0;
	if (durable->after == PUBLISH_AFTER_COMMIT || empty) {
		durable->events->passed(durable->owner, chunk, last);
		return;
	}
	if (durable->gate.count == 0)
		loop_timer_set(durable->tick, TICK_US);
	gate_add(&durable->gate, chunk, last, clock_monotonic_us());
	open_second(durable);
	flush_if_wanted(durable);
}

/* Who only sees whether the gate opens stays. */
void durable_forget(struct durable *durable)
{
	if (durable_is_late(durable))
		return;
	gate_clear(&durable->gate);
	loop_timer_stop(durable->tick);
}

/* ---- the claims' session ---- */

void durable_begin(struct durable *durable)
{
	if (durable->after == PUBLISH_AFTER_COMMIT)
		return;
	session_ask_text(&durable->asker, TAG_SELF, self_sql, NULL, 0);
	session_sync(durable->session);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct durable *durable = part;
	(void)tag;
	durable->self = xstrdup(PQgetvalue(result, 0, 0));
	durable->self_since = xstrdup(PQgetvalue(result, 0, 1));
	PQclear(result);
	open_second(durable);
}

static void on_lost(void *part)
{
	struct durable *durable = part;
	forget_trouble(durable);
	durable_forget(durable);
	end_second(durable);
	free(durable->self);
	free(durable->self_since);
	durable->self = durable->self_since = NULL;
}

/* ---- making one ---- */

struct durable *durable_new(struct loop *loop, struct session *session, struct source *source,
			    struct metrics *metrics, const struct durable_events *events,
			    void *owner)
{
	static const struct asker_ops ops = {on_answered, NULL, on_lost};
	struct durable *durable = xcalloc(1, sizeof(*durable));
	const struct config *config = session_config(session);
	struct error ignored; /* it was read before */
	durable->session = session;
	durable->asker = session_join(session, &ops, durable);
	durable->loop = loop;
	durable->source = source;
	durable->metrics = metrics;
	durable->events = events;
	durable->owner = owner;
	durable->after = config->outbox.publish_after;
	config_standbys_read(config->outbox.publish_standbys, &durable->standbys, &ignored);
	durable->names = config_standbys_join(&durable->standbys);
	text_print(durable->why, sizeof(durable->why), "%s", silent);
	durable->again = loop_timer_new(loop, on_again, durable);
	durable->tick = loop_timer_new(loop, on_tick, durable);
	return durable;
}

void durable_free(struct durable **durable)
{
	if (*durable == NULL)
		return;
	pg_close(&(*durable)->second);
	gate_fini(&(*durable)->gate);
	loop_timer_free(&(*durable)->again);
	loop_timer_free(&(*durable)->tick);
	config_standbys_free(&(*durable)->standbys);
	free((*durable)->names);
	free((*durable)->self);
	free((*durable)->self_since);
	free(*durable);
	*durable = NULL;
}
