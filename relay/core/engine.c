/* SPDX-License-Identifier: ISC */
/*
 * engine.c - what a relay does next: a pure state machine, event in, actions out
 *
 * Read engine.h first. Each event has one handler. engine_states.c: which state may follow which.
 */
#include "core/engine.h"

#include "base/backoff.h"
#include "base/failpoints.h"

#include <assert.h>
#include <string.h>

enum { HOLDING_US = 1000 * 1000, PROBE_US = 5000 * 1000 };

/* For so long a relay without the sink keeps its shards: they are not to move at every hiccup. Once
 * it has left them it is relied on again when the sink has answered for a while. */
enum { BE_UNAVAILABLE_US = 5000 * 1000, RETURN_US = 10 * 1000 * 1000 };

/* And for so long after that it leaves events with its producer. In an outage for all relays all
 * are unavailable meanwhile: an idle one asks the sink when it sees one that is, and hears within
 * ten seconds, or twenty, that there is no answer. */
enum { GIVE_UP_US = 30000 * 1000 };

/* When the outage is over, one has Kafka again before the others. */
enum { HEALTHY_PEER_US = 15000 * 1000 };

/* A session is tried for every 1.6 s at least: outbox/group.c reckons with relays that are
 * unreachable for no longer than 3 s. One that lasted was no failure. */
enum { DOUBLINGS_MOST = 4, LASTED_US = 5000 * 1000 };

/* One step's surroundings. */
struct step {
	struct engine *engine;
	const struct engine_input *input;
	struct engine_actions *actions;
};

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
}

void engine_reload(struct engine *engine, const struct engine_options *options)
{
	engine->options = *options;
}

static bool is_attached(const struct engine *engine)
{
	return engine->state == ENGINE_FETCHING || engine->state == ENGINE_PUBLISHING;
}

bool engine_waits_for_sink(const struct engine *engine)
{
	return is_attached(engine) && (engine->batch->in_flight > 0 || engine->sink_blocked);
}

bool engine_is_blocked(const struct engine *engine)
{
	return (engine->sink_blocked || engine->probing) && !engine->sink_broken;
}

bool engine_halts_at_reject(const struct engine *engine)
{
	return engine->options.policy == REJECT_HALTS;
}

bool engine_is_working(const struct engine *engine)
{
	return is_attached(engine) || engine->state == ENGINE_SETTLING;
}

/* ---- small words the handlers are written in ---- */

static struct engine_action *act(struct step *s, enum engine_do kind)
{
	assert(s->actions->count < ENGINE_ACTIONS_MAX);
	struct engine_action *action = &s->actions->items[s->actions->count++];
	memset(action, 0, sizeof(*action));
	action->kind = kind;
	return action;
}

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
	       !engine->sink_blocked && !engine->stopping;
}

/* Nothing behind the reject is to go out. */
static bool must_break_off(const struct engine *engine)
{
	return engine->batch->rejected > 0 && engine_halts_at_reject(engine);
}

static bool has_unsettled(const struct engine *engine)
{
	const struct batch *batch = engine->batch;
	if (PLANTED("forget-acknowledged"))
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
	return has_unsettled(engine) || engine->batch->rejected > 0 || engine->batch->deferred > 0;
}

static void stopped(struct step *s)
{
	enter(s->engine, ENGINE_STOPPED);
	act(s, DO_STOPPED);
}

static void close_session(struct step *s)
{
	act(s, DO_CLOSE);
	enter(s->engine, ENGINE_CLOSING);
}

static void open_session(struct step *s)
{
	s->engine->opened_us = s->input->now_us;
	enter(s->engine, ENGINE_OPENING);
	act(s, DO_OPEN);
}

/* ---- the sink, as the other relays are concerned ---- */

/* To be called when the sink has come or gone, and when time has passed. */
static void watch_sink(struct step *s)
{
	struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	bool available = now >= engine->return_at_us;
	if (!engine->sink_reachable)
		available = engine->available && now - BE_UNAVAILABLE_US < engine->sink_gone_us;
	if (available == engine->available)
		return;
	engine->available = available;
	engine->unavailable_us = now;
	act(s, DO_AVAILABLE)->available = available;
}

/* When watch_sink is to be called next. */
static int64_t changes_at(const struct engine *engine)
{
	if (engine->available && !engine->sink_reachable)
		return engine->sink_gone_us + BE_UNAVAILABLE_US;
	if (!engine->available && engine->sink_reachable)
		return engine->return_at_us;
	return INT64_MAX;
}

static void give_up(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->given_up || engine->batch->in_flight == 0)
		return;
	engine->given_up = engine->sink_broken = true;
	engine->sink_ready = false;
	act(s, DO_GIVE_UP);
}

/* What the producer has it may never deliver, while another relay could. */
static void give_up_to_healthy_peer(struct step *s)
{
	struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	if (!s->input->healthy_peer)
		engine->healthy_peer_us = INT64_MAX;
	else if (engine->healthy_peer_us == INT64_MAX)
		engine->healthy_peer_us = now;
	bool for_long = now - GIVE_UP_US >= engine->unavailable_us &&
			now - HEALTHY_PEER_US >= engine->healthy_peer_us;
	if (s->input->healthy_peer && !engine->available && (for_long || engine->stopping))
		give_up(s);
}

/* A broken sink is rebuilt once it holds nothing, whether shards are ours or not. */
static void rebuild_if_broken(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->sink_broken || engine->rebuilding)
		return;
	engine->rebuilding = true;
	act(s, DO_REBUILD);
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

static void fetch(struct step *s)
{
	const struct engine *engine = s->engine;
	act(s, DO_FETCH)->fetch =
	    (struct fetch){.rows = engine->probing ? 1 : engine->options.batch_rows,
			   .bytes = engine->options.batch_bytes,
			   .now = engine->probing};
}

static void hold(struct step *s)
{
	enter(s->engine, ENGINE_HOLDING);
	s->engine->tick_at_us = s->input->now_us + HOLDING_US;
	act(s, DO_HOLD)->keeps = s->engine->batch->in_flight > 0;
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
		enter(engine, ENGINE_RECONCILING);
		act(s, DO_RECONCILE)->policy = engine->options.policy;
		return;
	}
	act(s, DO_CLEAR);
	if (engine->stopping) {
		close_session(s);
		return;
	}
	rebuild_if_broken(s);
	if (!may_fetch(engine)) {
		hold(s);
		return;
	}
	enter(engine, ENGINE_FETCHING);
	fetch(s);
}

/* Gives back what was fetched; what the sink holds is settled later, by identity. */
static void roll_back(struct step *s)
{
	act(s, DO_SKIP_UNSENT);
	act(s, DO_ROLL_BACK);
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
	act(s, DO_SETTLE);
	engine->probing = false;
	engine->ahead = may_fetch(engine);
	if (engine->ahead)
		fetch(s);
}

static void publish_on(struct step *s)
{
	struct engine *engine = s->engine;
	const struct batch *batch = engine->batch;
	bool done = engine->state == ENGINE_PUBLISHING && all_reported(batch);
	/* These must not go with the commit. */
	bool unfit =
	    batch->rejected > 0 || batch->returned > 0 || batch->deferred > 0 || batch->passed > 0;
	bool in_vain = engine->probing && engine->sink_blocked && batch->in_flight == 0;
	if (must_break_off(engine) || in_vain || (done && unfit))
		roll_back(s);
	else if (done)
		settle(s);
}

static void on_progress(struct step *s)
{
	if (is_attached(s->engine))
		publish_on(s);
	else if (s->engine->state == ENGINE_HOLDING)
		resume(s);
}

/* ---- what the source tells ---- */

static void on_acquired(struct step *s)
{
	give_up_to_healthy_peer(s);
	if (s->engine->state == ENGINE_OPENING || s->engine->state == ENGINE_STANDBY)
		resume(s);
}

static void on_busy(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->state == ENGINE_CLOSING)
		return;
	engine->failures = 0;
	engine->probing = false;
	/* The events are another relay's by now, and would go out once more. */
	if (s->input->healthy_peer && !engine->available)
		give_up(s);
	/* It may be our own lost session that still has the shard. */
	if (engine->stopping && owes_nothing(s)) {
		close_session(s);
		return;
	}
	if (engine->batch->in_flight == 0)
		rebuild_if_broken(s);
	enter(engine, ENGINE_STANDBY);
}

static void on_lost(struct step *s)
{
	struct engine *engine = s->engine;
	bool was_closing = engine->state == ENGINE_CLOSING;
	act(s, DO_SKIP_UNSENT);
	engine->ahead = engine->probing = false;
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
	act(s, DO_PRODUCE);
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
	act(s, DO_SKIP_UNSENT);
	s->engine->ahead = s->engine->probing = false;
	enter(s->engine, ENGINE_ROLLING_BACK);
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
	engine->sink_broken = true;
	engine->sink_ready = false;
	if (is_attached(engine))
		roll_back(s);
	else
		resume_if_holding(s);
}

static void on_ready(struct step *s)
{
	struct engine *engine = s->engine;
	engine->sink_ready = true;
	engine->sink_broken = engine->rebuilding = false;
	probed(engine);
	resume_if_holding(s);
}

static void on_reachable(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->available && engine->sink_gone_us != INT64_MIN)
		engine->return_at_us = s->input->now_us + RETURN_US;
	engine->sink_reachable = true;
	engine->sink_gone_us = INT64_MAX;
	engine->given_up = false;
	watch_sink(s);
	resume_if_holding(s);
}

static void on_unreachable(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->sink_reachable)
		engine->sink_gone_us = s->input->now_us;
	engine->sink_reachable = false;
	watch_sink(s);
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
	if (is_attached(s->engine))
		act(s, DO_PRODUCE);
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
	watch_sink(s);
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
	act(s, DO_DROP);
	stopped(s);
}

static void on_stop(struct step *s)
{
	struct engine *engine = s->engine;
	engine->stopping = true;
	if (engine->state == ENGINE_OFFLINE && owes_nothing(s))
		stopped(s);
	else if (engine->state == ENGINE_OPENING && owes_nothing(s))
		on_stop_now(s); /* a password or a pooler may be waited for */
	else if (engine->state == ENGINE_STANDBY && owes_nothing(s))
		close_session(s);
	else if (engine->state == ENGINE_HOLDING)
		resume(s);
	else if (engine->state == ENGINE_FETCHING && engine->batch->events > 0)
		act(s, DO_HOLD)->keeps = true;
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
    [ON_CLOSED] = stopped,
    [ON_PROGRESS] = on_progress,
    [ON_BLOCKED] = on_blocked,
    [ON_WRITABLE] = on_writable,
    [ON_BROKEN] = on_broken,
    [ON_READY] = on_ready,
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
	int64_t at = changes_at(engine), now = s->input->now_us;
	if (ticks && engine->tick_at_us < at)
		at = engine->tick_at_us;
	if (at == engine->timer_us || engine->state == ENGINE_STOPPED)
		return;
	engine->timer_us = at;
	if (at != INT64_MAX)
		act(s, DO_TIMER)->after_us = at > now ? at - now : 0;
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
