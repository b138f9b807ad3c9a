/*
 * engine.c - what a shard does next: a pure state machine, event in, actions out
 *
 * Read engine.h first. Each event has one handler; which state may follow which, engine_states.c
 * says.
 */
#include "engine.h"

#include "backoff.h"
#include "plants.h"

#include <assert.h>
#include <string.h>

enum { STANDBY_US = 500 * 1000, HOLDING_US = 1000 * 1000, PROBE_US = 5000 * 1000 };

void engine_init(struct engine *engine, const struct engine_options *options,
		 const struct batch *batch, uint64_t seed)
{
	memset(engine, 0, sizeof(*engine));
	engine->options = *options;
	engine->batch = batch;
	engine->state = ENGINE_OFFLINE;
	claims_init(&engine->claims);
	engine->random = seed;
}

bool engine_waits_for_sink(const struct engine *engine)
{
	bool attached = engine->state == ENGINE_CLAIMING || engine->state == ENGINE_PUBLISHING;
	return attached && (engine->batch->outstanding > 0 || engine->sink_blocked);
}

bool engine_is_blocked(const struct engine *engine)
{
	return engine->sink_blocked || engine->probing;
}

/* ---- small words the handlers are written in ---- */

/* One step's surroundings. */
struct step {
	struct engine *engine;
	const struct engine_input *input;
	struct engine_actions *actions;
};

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

static void set_timer(struct step *s, int64_t after_us)
{
	act(s, DO_TIMER)->after_us = after_us;
}

static bool finishing(const struct engine *engine)
{
	return engine->stopping || engine->halting;
}

static bool sink_usable(const struct engine *engine)
{
	return engine->sink_ready && engine->sink_reachable && !engine->sink_broken &&
	       !engine->sink_blocked;
}

static bool must_halt(const struct engine *engine)
{
	return engine->batch->rejected > 0 && !engine->options.set_aside;
}

static bool needs_recovery(const struct engine *engine)
{
	const struct batch *batch = engine->batch;
	if (PLANTED("forget-acknowledged"))
		return false;
	return batch->delivered > 0 || (batch->rejected > 0 && engine->options.set_aside);
}

/* Nothing was published that is not settled: the shard may be left. */
static bool owes_nothing(const struct step *s)
{
	const struct engine *engine = s->engine;
	return engine->batch->outstanding == 0 && !needs_recovery(engine) && !s->input->owes;
}

static void stopped(struct step *s)
{
	enter(s->engine, ENGINE_STOPPED);
	act(s, DO_STOPPED);
}

static void close_session(struct step *s)
{
	/* A bell left armed with nobody to hear it would make every insert notify. */
	if (s->engine->waker.armed)
		act(s, DO_BELL_OFF);
	act(s, DO_CLOSE);
	enter(s->engine, ENGINE_CLOSING);
}

/* ---- claiming ---- */

/* Sends a claim for a batch that holds events and bytes so far. */
static void claim(struct step *s, size_t events, size_t bytes, struct claim claim)
{
	struct engine *engine = s->engine;
	claims_next(&engine->claims, &engine->options.limits, events, bytes, &claim);
	claim.observes = claim.observes || horizon_wants(&engine->horizon, s->input->now_us);
	claim.floor = engine->sweeping ? 0 : engine->horizon.floor;
	if (PLANTED("claim-above-last"))
		claim.floor = engine->horizon.last;
	act(s, DO_CLAIM)->claim = claim;
}

static void claim_first(struct step *s, bool observes)
{
	claims_begin(&s->engine->claims);
	s->engine->begun_us = s->input->now_us;
	claim(s, 0, 0, (struct claim){.opens = true, .observes = observes});
}

static void begin_sweep_if_due(struct step *s)
{
	struct engine *engine = s->engine;
	if (s->input->now_us < engine->sweep_at_us)
		return;
	engine->sweep_at_us = s->input->now_us + engine->options.sweep_us;
	engine->sweeping = true;
}

static void housekeep_if_due(struct step *s)
{
	struct engine *engine = s->engine;
	if (s->input->now_us < engine->housekeep_at_us)
		return;
	engine->housekeep_at_us = s->input->now_us + engine->options.housekeep_us;
	act(s, DO_HOUSEKEEP);
}

static void open_batch(struct step *s, bool observes)
{
	housekeep_if_due(s);
	begin_sweep_if_due(s);
	enter(s->engine, ENGINE_CLAIMING);
	claim_first(s, observes);
}

/* Nobody will answer the bell for as long as this lasts, and writers would pay for it. */
static void hold(struct step *s)
{
	if (waker_found(&s->engine->waker))
		act(s, DO_BELL_OFF);
	enter(s->engine, ENGINE_HOLDING);
	set_timer(s, HOLDING_US);
}

/* The session is ours and no transaction is open: what now? The one place that decides it. */
static void resume(struct step *s, bool observes)
{
	struct engine *engine = s->engine;
	/* The reject may have been reported of a batch that was detached already. */
	if (must_halt(engine))
		engine->halting = true;
	if (engine->batch->outstanding > 0) {
		hold(s);
		return;
	}
	if (needs_recovery(engine)) {
		enter(engine, ENGINE_RECOVERING);
		act(s, DO_RECOVER)->set_aside = engine->options.set_aside;
		return;
	}
	act(s, DO_CLEAR);
	if (finishing(engine)) {
		close_session(s);
		return;
	}
	if (engine->sink_broken && !engine->rebuilding) {
		engine->rebuilding = true;
		act(s, DO_REBUILD);
	}
	if (sink_usable(engine))
		open_batch(s, observes);
	else
		hold(s);
}

/* What the sink would not take may be gone or mended by now, and nobody tells: see from time to
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

/* Gives the transaction up; what the sink holds is settled later, by identity. */
static void withdraw(struct step *s)
{
	act(s, DO_SKIP_UNSENT);
	act(s, DO_WITHDRAW);
	horizon_reset(&s->engine->horizon);
	enter(s->engine, ENGINE_WITHDRAWING);
}

/* ---- publishing and settling ---- */

static bool all_reported(const struct batch *batch)
{
	return batch->outstanding == 0 && batch_next(batch) == NULL;
}

static void settle(struct step *s)
{
	struct engine *engine = s->engine;
	enter(engine, ENGINE_SETTLING);
	act(s, DO_SETTLE)->more = engine->full && !finishing(engine);
	engine->probing = false;
	engine->pause_us = 0;
	if (!engine->full && (int64_t)engine->batch->events >= engine->options.stream_events)
		engine->pause_us = waker_pause_us(s->input->now_us - engine->begun_us);
	engine->ahead = !finishing(engine) && sink_usable(engine) && engine->pause_us == 0 &&
			s->input->now_us < engine->housekeep_at_us;
	if (!engine->ahead)
		return;
	begin_sweep_if_due(s);
	claim_first(s, false);
}

static void publish_on(struct step *s)
{
	struct engine *engine = s->engine;
	const struct batch *batch = engine->batch;
	bool done = engine->state == ENGINE_PUBLISHING && all_reported(batch);
	/* Rejected and returned events must not go with the commit. */
	bool unfit = batch->rejected > 0 || batch->returned > 0;
	bool in_vain = engine->probing && engine->sink_blocked && batch->outstanding == 0;
	if (must_halt(engine) || in_vain || (done && unfit))
		withdraw(s);
	else if (done)
		settle(s);
}

static void on_progress(struct step *s)
{
	switch (s->engine->state) {
	case ENGINE_CLAIMING:
	case ENGINE_PUBLISHING:
		publish_on(s);
		break;
	case ENGINE_HOLDING:
		resume(s, false);
		break;
	default:
		break;
	}
}

static void on_settled(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->ahead) {
		engine->ahead = false;
		enter(engine, ENGINE_CLAIMING);
		return;
	}
	if (engine->pause_us == 0 || finishing(engine) || !sink_usable(engine)) {
		resume(s, false);
		return;
	}
	enter(engine, ENGINE_RESTING);
	set_timer(s, engine->pause_us);
}

/* ---- answers of the source ---- */

static void on_acquired(struct step *s)
{
	struct engine *engine = s->engine;
	engine->ahead = engine->sweeping = false;
	engine->sweep_at_us = s->input->now_us + engine->options.sweep_us;
	horizon_reset(&engine->horizon);
	waker_reset(&engine->waker, s->input->has_bell, engine->options.poll_us);
	/* Whoever had the shard before may have left it armed. */
	if (s->input->has_bell)
		act(s, DO_BELL_OFF);
	resume(s, false);
}

static void on_busy(struct step *s)
{
	struct engine *engine = s->engine;
	engine->failures = 0;
	/* It may be our own lost session that still has the shard. */
	if (finishing(engine) && owes_nothing(s)) {
		close_session(s);
		return;
	}
	enter(engine, ENGINE_STANDBY);
	set_timer(s, STANDBY_US);
}

static void on_lost(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->state == ENGINE_CLOSING && owes_nothing(s)) {
		stopped(s);
		return;
	}
	act(s, DO_SKIP_UNSENT);
	horizon_reset(&engine->horizon);
	waker_reset(&engine->waker, false, engine->options.poll_us);
	enter(engine, ENGINE_OFFLINE);
	if (finishing(engine) && owes_nothing(s)) {
		stopped(s);
		return;
	}
	set_timer(s, backoff_us(engine->failures++, &engine->random));
}

static void dry(struct step *s)
{
	struct engine *engine = s->engine;
	act(s, DO_END);
	engine->probing = false;
	if (finishing(engine)) {
		close_session(s);
		return;
	}
	struct waker_rest rest = waker_dry(&engine->waker);
	if (rest.arm)
		act(s, DO_BELL_ON);
	enter(engine, ENGINE_RESTING);
	engine->cause = CAUSE_NONE;
	/* A look that is due at once goes out in the same breath, behind the arming. */
	if (rest.after_us == 0 && sink_usable(engine))
		open_batch(s, rest.observe);
	else
		set_timer(s, rest.after_us);
}

static void found(struct step *s, int64_t floor)
{
	struct engine *engine = s->engine;
	if (waker_found(&engine->waker))
		act(s, DO_BELL_OFF);
	if (engine->sweeping && s->input->first <= floor)
		engine->cause = CAUSE_SWEEP;
	if (engine->cause != CAUSE_NONE)
		act(s, DO_WOKEN)->cause = engine->cause;
	engine->cause = CAUSE_NONE;
}

static bool claim_more(struct step *s)
{
	struct engine *engine = s->engine;
	const struct batch *batch = engine->batch;
	if (finishing(engine) || engine->sink_broken || engine->probing ||
	    !claims_want(&engine->claims, &engine->options.limits, batch->events, batch->bytes))
		return false;
	claim(s, batch->events, batch->bytes, (struct claim){.opens = false});
	return true;
}

/* The next claims go out before this one's events are produced: the database works meanwhile. */
static void claim_on_or_publish(struct step *s, bool full)
{
	struct engine *engine = s->engine;
	while (claim_more(s))
		;
	if (engine->claims.under_way == 0) {
		engine->full = full;
		enter(engine, ENGINE_PUBLISHING);
	}
	act(s, DO_PRODUCE);
}

static void on_claimed(struct step *s)
{
	struct engine *engine = s->engine;
	const struct engine_input *input = s->input;
	const struct batch *batch = engine->batch;
	/* What was left for want of bytes is there still. */
	bool full = claims_answered(&engine->claims, input->count) || input->cut;
	if (engine->state != ENGINE_CLAIMING) {
		act(s, DO_SKIP_UNSENT); /* withdrawn meanwhile */
		return;
	}
	int64_t floor = engine->horizon.floor;
	/* Not sooner: a session that opens and fails at its first claim is no success. */
	engine->failures = 0;
	horizon_claimed(&engine->horizon, input->count, input->last);
	claims_learn(&engine->claims, batch->events, batch->bytes);
	if (input->count > 0)
		found(s, floor);
	/* A sweep is over once a claim from 0 has got past the floor: nothing is left below. */
	if (!full || input->last > floor)
		engine->sweeping = false;
	bool unusable = finishing(engine) || engine->sink_broken;
	if (input->count > 0 && batch->sent == 0 && unusable)
		withdraw(s);
	else if (batch->events == 0)
		dry(s);
	else
		claim_on_or_publish(s, full);
}

static void on_observed(struct step *s)
{
	horizon_observed(&s->engine->horizon, s->input->drawn, s->input->writers, s->input->now_us);
	waker_observed(&s->engine->waker, s->input->writers);
}

/* ---- the sink, the timer, the operator ---- */

static void on_broken(struct step *s)
{
	struct engine *engine = s->engine;
	engine->sink_broken = true;
	engine->sink_ready = false;
	if (engine->state == ENGINE_CLAIMING || engine->state == ENGINE_PUBLISHING)
		withdraw(s);
	else if (engine->state == ENGINE_HOLDING || engine->state == ENGINE_RESTING)
		resume(s, false);
}

static void on_ready(struct step *s)
{
	struct engine *engine = s->engine;
	engine->sink_ready = true;
	engine->sink_broken = engine->rebuilding = false;
	probed(engine);
	if (engine->state == ENGINE_HOLDING)
		resume(s, false);
}

static void on_reachable(struct step *s)
{
	s->engine->sink_reachable = true;
	if (s->engine->state == ENGINE_HOLDING)
		resume(s, false);
}

static void on_unreachable(struct step *s)
{
	s->engine->sink_reachable = false;
}

static void on_blocked(struct step *s)
{
	s->engine->sink_blocked = true;
	s->engine->probe_at_us = s->input->now_us + PROBE_US;
}

static void on_writable(struct step *s)
{
	struct engine *engine = s->engine;
	probed(engine);
	if (engine->state == ENGINE_CLAIMING || engine->state == ENGINE_PUBLISHING)
		act(s, DO_PRODUCE);
	else if (engine->state == ENGINE_HOLDING)
		resume(s, false);
}

static void on_stalled(struct step *s)
{
	if (engine_waits_for_sink(s->engine))
		withdraw(s);
}

static void on_timer(struct step *s)
{
	struct engine *engine = s->engine;
	switch (engine->state) {
	case ENGINE_OFFLINE:
	case ENGINE_STANDBY:
		enter(engine, ENGINE_ACQUIRING);
		act(s, DO_ACQUIRE);
		break;
	case ENGINE_RESTING:
		if (engine->waker.state == WAKER_ASLEEP)
			engine->cause = CAUSE_POLL;
		resume(s, engine->waker.state == WAKER_WATCHING);
		break;
	case ENGINE_HOLDING:
		probe_if_due(s);
		housekeep_if_due(s);
		resume(s, false);
		break;
	default:
		break;
	}
}

static void on_rung(struct step *s)
{
	struct engine *engine = s->engine;
	/* A look under way began after the commit that rings: sessions hear outside transactions.
	 */
	if (engine->state != ENGINE_RESTING || !engine->waker.armed)
		return;
	engine->cause = CAUSE_BELL;
	resume(s, engine->waker.state == WAKER_WATCHING);
}

static void on_stop(struct step *s)
{
	struct engine *engine = s->engine;
	engine->stopping = true;
	switch (engine->state) {
	case ENGINE_OFFLINE:
		if (owes_nothing(s))
			stopped(s);
		break;
	case ENGINE_STANDBY:
		if (owes_nothing(s))
			close_session(s);
		break;
	case ENGINE_RESTING:
	case ENGINE_HOLDING:
		resume(s, false);
		break;
	default:
		break; /* what is under way comes to its end first */
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

static void on_start(struct step *s)
{
	set_timer(s, 0);
}

static void on_no_transaction(struct step *s)
{
	resume(s, false);
}

typedef void handler_fn(struct step *s);

static handler_fn *const handlers[] = {
    [ON_START] = on_start,
    [ON_ACQUIRED] = on_acquired,
    [ON_BUSY] = on_busy,
    [ON_LOST] = on_lost,
    [ON_CLAIMED] = on_claimed,
    [ON_SETTLED] = on_settled,
    [ON_WITHDRAWN] = on_no_transaction,
    [ON_RECOVERED] = on_no_transaction,
    [ON_OBSERVED] = on_observed,
    [ON_RUNG] = on_rung,
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
    [ON_STOP] = on_stop,
    [ON_STOP_NOW] = on_stop_now,
};

void engine_step(struct engine *engine, const struct engine_input *input,
		 struct engine_actions *actions)
{
	struct step s = {engine, input, actions};
	actions->count = 0;
	assert(handlers[input->event] != NULL);
	handlers[input->event](&s);
}
