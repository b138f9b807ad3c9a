/* SPDX-License-Identifier: ISC */
/*
 * engine.c - what a relay does next: a pure state machine, event in, actions out
 *
 * Read engine.h first. Each event has one handler. engine_states.c: which state may follow which.
 */
#include "engine_internal.h"

#include "base/backoff.h"
#include "base/failpoints.h"

#include <assert.h>
#include <string.h>

enum { HOLDING_US = 1000 * 1000, PROBE_US = 5000 * 1000 };

/* A session is tried for every 1.6 s at least: outbox/group.c reckons with relays that are
 * unreachable for no longer than 3 s. One that lasted was no failure. */
enum { DOUBLINGS_MOST = 4, LASTED_US = 5000 * 1000 };

void engine_init(struct engine *engine, const struct engine_options *options,
		 const struct batch *batch, uint64_t seed)
{
	memset(engine, 0, sizeof(*engine));
	engine->options = *options;
	engine->batch = batch;
	engine->state = ENGINE_OFFLINE;
	/* Whether it has ever answered is not known: others are to be relied on before. */
	engine->sink_gone_us = INT64_MIN;
	engine->healthy_peer_us = engine->timer_us = INT64_MAX;
	engine->random = seed;
	if (options->transactional) /* it begins with a session */
		engine_break_sink(engine, REBUILD_SESSION);
	engine->resolved = !options->transactional;
}

void engine_reload(struct engine *engine, const struct engine_options *options)
{
	bool transactional = engine->options.transactional;
	engine->options = *options;
	engine->options.transactional = transactional;
}

/* ---- small words the handlers are written in ---- */

static void enter(struct engine *engine, enum engine_state state)
{
	if (state == engine->state)
		return;
	assert(engine_may_go(engine->state, state));
	engine->state = state;
}

static bool may_fetch(const struct engine *engine)
{
	return engine->sink_ready && engine->sink_reachable && !engine->sink_broken &&
	       !engine->sink_blocked && engine->resolved && !engine->stopping;
}

/* Nothing behind the reject is to go out. */
static bool must_break_off(const struct engine *engine)
{
	if (engine->options.transactional)
		return engine_batch_is_unfit(engine->batch);
	return engine->batch->rejected > 0 && engine_halts_at_reject(engine);
}

/* What is published by a transaction the ledger knows. */
static bool has_unsettled(const struct engine *engine)
{
	const struct batch *batch = engine->batch;
	if (PLANTED("acknowledged-settled"))
		return batch->delivered > 0;
	if (engine->options.transactional || PLANTED("forget-acknowledged"))
		return false;
	return batch->delivered > 0 || (batch->rejected > 0 && !engine_halts_at_reject(engine));
}

/* Nothing was published that is not settled: the shards may be left. A reject that halts is met
 * again by whoever has the shard next. */
static bool owes_nothing(const struct step *s)
{
	const struct engine *engine = s->engine;
	return engine->batch->in_flight == 0 && !has_unsettled(engine);
}

/* The source keeps back what was rejected, or sets it aside, as it does what is deferred. */
static bool needs_reconciliation(const struct engine *engine)
{
	if (has_unsettled(engine))
		return true;
	if (engine->options.transactional)
		return engine_verdicts_count(engine);
	return engine_batch_is_unfit(engine->batch);
}

static void stopped(struct step *s)
{
	enter(s->engine, ENGINE_STOPPED);
	engine_act(s, DO_STOPPED);
}

static void close_session(struct step *s)
{
	engine_act(s, DO_CLOSE);
	enter(s->engine, ENGINE_CLOSING);
}

static void open_session(struct step *s)
{
	s->engine->opened_us = s->input->now_us;
	enter(s->engine, ENGINE_OPENING);
	engine_act(s, DO_OPEN);
}

/* A broken sink is rebuilt once it holds nothing, whether shards are ours or not. */
static void rebuild_if_broken(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->sink_broken || engine->rebuilding)
		return;
	engine->rebuilding = true;
	engine_act(s, DO_REBUILD)->cause = engine->cause;
}

/* What the sink would not take may be gone or fixed by now, and nobody tells: see from time to
 * time, without waiting for the sink with a transaction open. */
static void probe_if_due(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->sink_blocked || s->input->now_us < engine->probe_at_us)
		return;
	engine->sink_blocked = false;
	engine->probing = true;
}

static void probed(struct engine *engine)
{
	engine->sink_blocked = engine->probing = false;
}

/* ---- fetching, and what stands in its way ---- */

static void resolve(struct step *s)
{
	enter(s->engine, ENGINE_RESOLVING);
	engine_act(s, DO_RESOLVE);
}

static void reconcile(struct step *s)
{
	enter(s->engine, ENGINE_RECONCILING);
	if (s->engine->options.transactional)
		engine_act(s, DO_FORGET);
	engine_act(s, DO_RECONCILE)->policy = s->engine->options.policy;
}

static void fetch(struct step *s)
{
	struct engine *engine = s->engine;
	engine_act(s, DO_FETCH)->fetch = (struct fetch){.rows = engine_rows_of_batch(engine),
							.bytes = engine->options.batch_bytes,
							.now = engine->probing,
							.again = engine->most_rows > 0};
	engine->asked_rows = engine_rows_of_batch(engine);
	engine->same_session = true;
	engine->most_rows = 0;
}

static void hold(struct step *s)
{
	enter(s->engine, ENGINE_HOLDING);
	s->engine->tick_at_us = s->input->now_us + HOLDING_US;
	engine_act(s, DO_HOLD)->keeps = engine_keeps(s->engine);
}

/* Shards are ours and no transaction is open: what now? The one place that decides it. */
static void resume(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->batch->in_flight > 0) {
		hold(s);
		return;
	}
	if (needs_reconciliation(engine)) {
		reconcile(s);
		return;
	}
	engine_shorten_next(engine);
	engine_act(s, DO_CLEAR);
	if (engine->stopping) {
		close_session(s);
		return;
	}
	rebuild_if_broken(s);
	if (engine_is_in_doubt(engine)) {
		resolve(s);
		return;
	}
	if (!may_fetch(engine)) {
		hold(s);
		return;
	}
	enter(engine, ENGINE_FETCHING);
	fetch(s);
}

/* Gives back what was fetched; what the sink holds is settled later, by identity or by its ledger.
 */
static void roll_back(struct step *s)
{
	engine_forsake(s);
	engine_act(s, DO_SKIP_UNSENT);
	engine_act(s, DO_ROLL_BACK);
	enter(s->engine, ENGINE_ROLLING_BACK);
}

/* A fetch may be open for hours, and nobody is to wait for it. */
static void roll_back_if_empty(struct step *s)
{
	if (s->engine->state == ENGINE_FETCHING && s->engine->batch->events == 0)
		roll_back(s);
}

/* ---- publishing and settling ---- */

static bool all_reported(const struct batch *batch)
{
	return batch->in_flight == 0 && batch_next(batch) == NULL;
}

static void settle(struct step *s)
{
	struct engine *engine = s->engine;
	enter(engine, ENGINE_SETTLING);
	engine_act(s, DO_SETTLE);
	engine->probing = false;
	engine->ahead = may_fetch(engine);
	if (engine->ahead)
		fetch(s);
}

static void commit(struct step *s)
{
	enter(s->engine, ENGINE_COMMITTING);
	engine_act(s, DO_COMMIT);
}

static void publish_on(struct step *s)
{
	struct engine *engine = s->engine;
	const struct batch *batch = engine->batch;
	bool done = engine->state == ENGINE_PUBLISHING && all_reported(batch);
	/* These must not go with the commit. */
	bool unfit = engine_batch_is_unfit(batch) || batch->returned > 0 || batch->passed > 0;
	bool in_vain =
	    engine->probing && engine->sink_blocked && batch->in_flight == 0 && !s->input->begun;
	if (must_break_off(engine) || in_vain || (done && unfit))
		roll_back(s);
	else if (done && s->input->begun)
		commit(s);
	else if (done)
		settle(s);
}

static void on_progress(struct step *s)
{
	if (engine_is_attached(s->engine))
		publish_on(s);
	else if (s->engine->state == ENGINE_HOLDING)
		resume(s);
}

/* ---- what the source tells ---- */

static void on_acquired(struct step *s)
{
	s->engine->standby = false;
	engine_give_up_to_healthy_peer(s);
	if (s->engine->state == ENGINE_OPENING || s->engine->state == ENGINE_STANDBY)
		resume(s);
}

/* No shard is ours. What is in doubt is resolved nevertheless: relays that have the shards may wait
 * for it. */
static void stand_by(struct step *s)
{
	struct engine *engine = s->engine;
	/* It may be our own lost session that still has the shard. */
	if (engine->stopping && owes_nothing(s)) {
		close_session(s);
		return;
	}
	if (engine->batch->in_flight == 0)
		rebuild_if_broken(s);
	if (engine_is_in_doubt(engine))
		resolve(s);
	else
		enter(engine, ENGINE_STANDBY);
}

static void on_busy(struct step *s)
{
	struct engine *engine = s->engine;
	engine->standby = true;
	engine->same_session = false;
	if (engine->state == ENGINE_CLOSING || engine->state == ENGINE_RESOLVING)
		return;
	engine->failures = 0;
	engine->probing = false;
	engine_forsake(s);
	/* The events are another relay's by now, and would go out once more. */
	if (s->input->healthy_peer && !engine->available)
		engine_give_up(s);
	stand_by(s);
}

static void on_lost(struct step *s)
{
	struct engine *engine = s->engine;
	bool was_closing = engine->state == ENGINE_CLOSING;
	engine_act(s, DO_SKIP_UNSENT);
	engine->ahead = engine->probing = engine->same_session = false;
	/* The next session may have another place among the sink's producers. */
	if (engine->options.transactional) {
		engine_break_sink(engine, REBUILD_SESSION);
		engine->rebuilding = false;
	}
	enter(engine, ENGINE_OFFLINE);
	if ((was_closing || engine->stopping) && owes_nothing(s)) {
		stopped(s);
		return;
	}
	if (s->input->now_us - engine->opened_us >= LASTED_US)
		engine->failures = 0;
	unsigned doublings = engine->failures < DOUBLINGS_MOST ? engine->failures : DOUBLINGS_MOST;
	engine->failures++;
	engine->tick_at_us = s->input->now_us + backoff_us(doublings, &engine->random);
}

/* The last chunk may be empty; then its batch may be too. */
static void on_fetched(struct step *s)
{
	struct engine *engine = s->engine;
	assert(engine->state == ENGINE_FETCHING);
	engine->failures = 0;
	if (engine->batch->events == 0) {
		engine->probing = false;
		resume(s);
		return;
	}
	if (s->input->last)
		enter(engine, ENGINE_PUBLISHING);
	engine_act(s, DO_PRODUCE);
}

static void on_settled(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->ahead) {
		resume(s);
		return;
	}
	engine->ahead = false;
	enter(engine, ENGINE_FETCHING);
	if (!may_fetch(engine))
		roll_back(s);
}

/* Asked for or not. */
static void on_rolled_back(struct step *s)
{
	bool unresolved = s->engine->state == ENGINE_RESOLVING;
	engine_forsake(s);
	engine_act(s, DO_SKIP_UNSENT);
	s->engine->ahead = s->engine->probing = false;
	enter(s->engine, ENGINE_ROLLING_BACK);
	if (unresolved && s->engine->standby)
		enter(s->engine, ENGINE_STANDBY); /* it is tried again at the next look */
	else if (unresolved)
		hold(s); /* likewise, but not at once */
	else
		resume(s);
}

static void on_resolved(struct step *s)
{
	s->engine->resolved = !s->engine->sink_broken;
	if (s->engine->standby)
		stand_by(s);
	else
		resume(s);
}

/* ---- what the sink tells ---- */

static void resume_if_holding(struct step *s)
{
	if (s->engine->state == ENGINE_HOLDING)
		resume(s);
}

static void on_broken(struct step *s)
{
	struct engine *engine = s->engine;
	engine_break_sink(engine, REBUILD_BROKEN);
	if (engine_is_attached(engine) || engine->state == ENGINE_COMMITTING)
		roll_back(s);
	else
		resume_if_holding(s);
}

static void on_ready(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->options.transactional && !engine->rebuilding)
		return; /* of a session that is no more */
	engine->sink_ready = true;
	engine->sink_broken = engine->rebuilding = false;
	probed(engine);
	resume_if_holding(s);
	if (engine->state == ENGINE_STANDBY && engine_is_in_doubt(engine))
		resolve(s);
}

static void on_committed(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->state != ENGINE_COMMITTING)
		return; /* it was given up: the ledger will tell */
	if (!s->input->clean)
		engine_break_sink(engine, REBUILD_UNCLEAN);
	settle(s);
}

/* Once it is asked to commit, nobody can take that back. */
static void on_in_doubt(struct step *s)
{
	if (s->engine->state != ENGINE_COMMITTING)
		return;
	engine_break_sink(s->engine, REBUILD_IN_DOUBT);
	roll_back(s);
}

static void on_reachable(struct step *s)
{
	engine_sink_answers(s);
	resume_if_holding(s);
}

static void on_unreachable(struct step *s)
{
	engine_sink_is_gone(s);
	roll_back_if_empty(s);
}

static void on_blocked(struct step *s)
{
	s->engine->sink_blocked = true;
	s->engine->probe_at_us = s->input->now_us + PROBE_US;
}

static void on_writable(struct step *s)
{
	probed(s->engine);
	if (engine_is_attached(s->engine))
		engine_act(s, DO_PRODUCE);
	else
		resume_if_holding(s);
}

static void on_stalled(struct step *s)
{
	if (engine_waits_for_sink(s->engine))
		roll_back(s);
}

/* ---- the timer, the operator ---- */

static void on_timer(struct step *s)
{
	struct engine *engine = s->engine;
	engine->timer_us = INT64_MAX;
	engine_watch_sink(s);
	if (s->input->now_us < engine->tick_at_us)
		return;
	if (engine->state == ENGINE_OFFLINE) {
		open_session(s);
	} else if (engine->state == ENGINE_HOLDING) {
		probe_if_due(s);
		resume(s);
	}
}

static void on_stop_now(struct step *s)
{
	if (s->engine->state == ENGINE_STOPPED)
		return;
	s->engine->stopping = true;
	engine_act(s, DO_DROP);
	stopped(s);
}

static void on_stop(struct step *s)
{
	struct engine *engine = s->engine;
	engine->stopping = true;
	/* A password or a pooler may be waited for; or another relay, and whoever comes next
	 * resolves it. */
	bool waits = engine->state == ENGINE_RESOLVING ||
		     (engine->state == ENGINE_OPENING && owes_nothing(s));
	if (engine->state == ENGINE_OFFLINE && owes_nothing(s))
		stopped(s);
	else if (waits)
		on_stop_now(s);
	else if (engine->state == ENGINE_STANDBY && owes_nothing(s))
		close_session(s);
	else if (engine->state == ENGINE_HOLDING)
		resume(s);
	else if (engine->state == ENGINE_FETCHING && engine->batch->events > 0)
		engine_act(s, DO_HOLD)->keeps = true;
	else
		roll_back_if_empty(s); /* what is under way comes to its end first */
}

static void on_start(struct step *s)
{
	s->engine->tick_at_us = s->input->now_us;
}

typedef void handler_fn(struct step *s);

static handler_fn *const handlers[] = {
    [ON_START] = on_start,
    [ON_ACQUIRED] = on_acquired,
    [ON_BUSY] = on_busy,
    [ON_LOST] = on_lost,
    [ON_FETCHED] = on_fetched,
    [ON_SETTLED] = on_settled,
    [ON_ROLLED_BACK] = on_rolled_back,
    [ON_RECONCILED] = resume,
    [ON_RESOLVED] = on_resolved,
    [ON_CLOSED] = stopped,
    [ON_PROGRESS] = on_progress,
    [ON_BLOCKED] = on_blocked,
    [ON_WRITABLE] = on_writable,
    [ON_BROKEN] = on_broken,
    [ON_READY] = on_ready,
    [ON_COMMITTED] = on_committed,
    [ON_IN_DOUBT] = on_in_doubt,
    [ON_REACHABLE] = on_reachable,
    [ON_UNREACHABLE] = on_unreachable,
    [ON_STALLED] = on_stalled,
    [ON_TIMER] = on_timer,
    [ON_RELOADED] = roll_back_if_empty, /* the next fetch has the new sizes */
    [ON_STOP] = on_stop,
    [ON_STOP_NOW] = on_stop_now,
};

/* One timer for all that only time brings about. */
static void set_timer(struct step *s)
{
	struct engine *engine = s->engine;
	bool ticks = engine->state == ENGINE_OFFLINE || engine->state == ENGINE_HOLDING;
	int64_t at = engine_sink_changes_at(engine), now = s->input->now_us;
	if (ticks && engine->tick_at_us < at)
		at = engine->tick_at_us;
	if (at == engine->timer_us || engine->state == ENGINE_STOPPED)
		return;
	engine->timer_us = at;
	if (at != INT64_MAX)
		engine_act(s, DO_TIMER)->after_us = at > now ? at - now : 0;
}

void engine_step(struct engine *engine, const struct engine_input *input,
		 struct engine_actions *actions)
{
	struct step s = {engine, input, actions};
	actions->count = 0;
	assert(handlers[input->event] != NULL);
	handlers[input->event](&s);
	set_timer(&s);
}
