/*
 * engine.c - what a relay does next for its shards: a pure state machine, event in, actions out
 *
 * Read engine.h first. Each event has one handler. engine_states.c: which state may follow which.
 */
#include "engine_internal.h"

#include "base/failpoints.h"

#include <assert.h>
#include <string.h>

enum { HOLDING_US = 1000 * 1000, PROBE_US = 5000 * 1000 };

void engine_init(struct engine *engine, const struct engine_options *options,
		 const struct batch *batch, uint64_t seed)
{
	memset(engine, 0, sizeof(*engine));
	engine->options = *options;
	engine->batch = batch;
	engine->state = ENGINE_OFFLINE;
	/* Whether it has ever answered is not known: others are to be relied on before. */
	engine->sink_gone_us = INT64_MIN;
	engine->healthy_peer_us = INT64_MAX;
	claims_init(&engine->claims);
	engine->random = seed;
}

bool engine_waits_for_sink(const struct engine *engine)
{
	bool attached = engine->state == ENGINE_CLAIMING || engine->state == ENGINE_PUBLISHING;
	return attached && (engine->batch->in_flight > 0 || engine->sink_blocked);
}

bool engine_is_blocked(const struct engine *engine)
{
	return engine->sink_blocked || engine->probing;
}

/* ---- small words the handlers are written in ---- */

struct engine_action *engine_act(struct step *s, enum engine_do kind)
{
	assert(s->actions->count < ENGINE_ACTIONS_MAX);
	struct engine_action *action = &s->actions->items[s->actions->count++];
	memset(action, 0, sizeof(*action));
	action->kind = kind;
	return action;
}

void engine_enter(struct engine *engine, enum engine_state state)
{
	if (state == engine->state)
		return;
	assert(engine_may_go(engine->state, state));
	engine->state = state;
}

void engine_set_timer(struct step *s, int64_t after_us)
{
	engine_act(s, DO_TIMER)->after_us = after_us;
}

bool engine_finishing(const struct engine *engine)
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
	return engine->batch->rejected > 0 && !engine->options.dead_letter;
}

static bool needs_reconciliation(const struct engine *engine)
{
	const struct batch *batch = engine->batch;
	if (PLANTED("forget-acknowledged"))
		return false;
	return batch->delivered > 0 || (batch->rejected > 0 && engine->options.dead_letter);
}

bool engine_owes_nothing(const struct step *s)
{
	const struct engine *engine = s->engine;
	return engine->batch->in_flight == 0 && !needs_reconciliation(engine) && !s->input->owes;
}

void engine_stopped(struct step *s)
{
	engine_enter(s->engine, ENGINE_STOPPED);
	engine_act(s, DO_STOPPED);
}

void engine_close_session(struct step *s)
{
	/* A bell left armed with nobody to hear it would make every insert notify. */
	if (s->engine->waker.armed)
		engine_act(s, DO_BELL_OFF);
	engine_act(s, DO_CLOSE);
	engine_enter(s->engine, ENGINE_CLOSING);
}

/* ---- claiming ---- */

/* Sends a claim for a batch that holds events and bytes so far. */
static void claim(struct step *s, size_t events, size_t bytes, struct claim claim)
{
	struct engine *engine = s->engine;
	claims_next(&engine->claims, &engine->options.limits, events, bytes, &claim);
	claim.observes = claim.observes || horizon_wants(&engine->horizon, s->input->now_us);
	claim.low_watermark = engine->sweeping ? 0 : engine->horizon.low_watermark;
	if (PLANTED("claim-above-last"))
		claim.low_watermark = engine->horizon.last;
	engine_act(s, DO_CLAIM)->claim = claim;
}

static void claim_first(struct step *s, bool observes)
{
	claims_begin(&s->engine->claims);
	s->engine->begun_us = s->input->now_us;
	claim(s, 0, 0, (struct claim){.opens = true, .observes = observes});
}

void engine_rest(struct step *s, int64_t until_us)
{
	struct engine *engine = s->engine;
	int64_t at = until_us < engine->group_at_us ? until_us : engine->group_at_us;
	engine_enter(engine, ENGINE_RESTING);
	engine->rest_until_us = until_us;
	engine_set_timer(s, at > s->input->now_us ? at - s->input->now_us : 0);
}

void engine_acquire(struct step *s, bool keeps)
{
	struct engine_action *action;
	engine_enter(s->engine, ENGINE_ACQUIRING);
	s->engine->group_at_us = INT64_MAX;
	if (!s->engine->unavailable)
		s->engine->unavailable_us = s->input->now_us;
	s->engine->unavailable = engine_must_be_unavailable(s);
	action = engine_act(s, DO_ACQUIRE);
	action->unavailable = s->engine->unavailable;
	action->keeps = keeps;
}

static bool group_is_due(const struct step *s)
{
	return s->input->now_us >= s->engine->group_at_us;
}

static void begin_sweep_if_due(struct step *s)
{
	struct engine *engine = s->engine;
	if (s->input->now_us < engine->sweep_at_us && !s->input->releases)
		return;
	engine->sweep_at_us = s->input->now_us + engine->options.sweep_us;
	engine->sweeping = true;
	/* What was held lies below the low watermark. Should it be locked now, the claims after
	 * this one must not take what follows it. */
	if (s->input->releases)
		horizon_reset(&engine->horizon);
}

static void open_batch(struct step *s, bool observes)
{
	engine_housekeep_if_due(s);
	begin_sweep_if_due(s);
	engine_enter(s->engine, ENGINE_CLAIMING);
	claim_first(s, observes);
}

/* Nobody will answer the bell for as long as this lasts, and writers would pay for it. */
static void hold(struct step *s)
{
	if (waker_found(&s->engine->waker))
		engine_act(s, DO_BELL_OFF);
	/* The gauges are to show what has just been rolled back. */
	if (s->engine->state == ENGINE_ROLLING_BACK)
		s->engine->housekeep_at_us = 0;
	engine_housekeep_if_due(s);
	engine_enter(s->engine, ENGINE_HOLDING);
	engine_set_timer(s, HOLDING_US);
}

void engine_rebuild_if_broken(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->sink_broken || engine->rebuilding)
		return;
	engine->rebuilding = true;
	engine_act(s, DO_REBUILD);
}

void engine_resume(struct step *s, bool observes)
{
	struct engine *engine = s->engine;
	engine->rest_until_us = 0; /* over, or cut short */
	/* The reject may have been reported of a batch that was orphaned already. */
	if (must_halt(engine))
		engine->halting = true;
	if (engine->batch->in_flight > 0) {
		/* Perhaps another relay could publish what this one cannot. */
		if (group_is_due(s) && engine_must_be_unavailable(s))
			engine_acquire(s, true);
		else
			hold(s);
		return;
	}
	if (needs_reconciliation(engine)) {
		engine_enter(engine, ENGINE_RECONCILING);
		engine_act(s, DO_RECONCILE)->dead_letter = engine->options.dead_letter;
		return;
	}
	engine_act(s, DO_CLEAR);
	if (engine_finishing(engine)) {
		engine_close_session(s);
		return;
	}
	if (group_is_due(s)) {
		engine_acquire(s, false);
		return;
	}
	engine_rebuild_if_broken(s);
	if (engine_waits_for_database(s))
		return;
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
static void roll_back(struct step *s)
{
	engine_act(s, DO_SKIP_UNSENT);
	engine_act(s, DO_ROLL_BACK);
	horizon_reset(&s->engine->horizon);
	engine_enter(s->engine, ENGINE_ROLLING_BACK);
}

/* ---- publishing and settling ---- */

static bool all_reported(const struct batch *batch)
{
	return batch->in_flight == 0 && batch_next(batch) == NULL;
}

static void settle(struct step *s)
{
	struct engine *engine = s->engine;
	engine_enter(engine, ENGINE_SETTLING);
	engine_act(s, DO_SETTLE)->more = engine->full && !engine_finishing(engine);
	engine->probing = false;
	engine->pause_us = 0;
	if (!engine->full && (int64_t)engine->batch->events >= engine->options.stream_events)
		engine->pause_us = waker_pause_us(s->input->now_us - engine->begun_us);
	engine->ahead = !engine_finishing(engine) && sink_usable(engine) && engine->pause_us == 0 &&
			s->input->now_us < engine->housekeep_at_us && !group_is_due(s);
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
	bool in_vain = engine->probing && engine->sink_blocked && batch->in_flight == 0;
	if (must_halt(engine) || in_vain || (done && unfit))
		roll_back(s);
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
		engine_resume(s, false);
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
		engine_enter(engine, ENGINE_CLAIMING);
		return;
	}
	if (engine->pause_us == 0 || engine_finishing(engine) || !sink_usable(engine)) {
		engine_resume(s, false);
		return;
	}
	engine_rest(s, s->input->now_us + engine->pause_us);
}

/* ---- answers of the source ---- */

static void dry(struct step *s)
{
	struct engine *engine = s->engine;
	engine_act(s, DO_END);
	engine->probing = false;
	if (engine_finishing(engine)) {
		engine_close_session(s);
		return;
	}
	struct waker_rest next = waker_dry(&engine->waker);
	if (next.arm)
		engine_act(s, DO_BELL_ON);
	engine_enter(engine, ENGINE_RESTING);
	engine->cause = CAUSE_NONE;
	/* A look that is due now goes out in the same breath, behind the arming: among them one for
	 * what was released while this look was under way. */
	if ((next.after_us == 0 || s->input->releases) && sink_usable(engine))
		open_batch(s, next.observe);
	else
		engine_rest(s, s->input->now_us + next.after_us);
}

static void found(struct step *s, int64_t low_watermark)
{
	struct engine *engine = s->engine;
	if (waker_found(&engine->waker))
		engine_act(s, DO_BELL_OFF);
	if (engine->sweeping && s->input->first <= low_watermark)
		engine->cause = CAUSE_SWEEP;
	if (engine->cause != CAUSE_NONE)
		engine_act(s, DO_WOKEN)->cause = engine->cause;
	engine->cause = CAUSE_NONE;
}

static bool claim_more(struct step *s)
{
	struct engine *engine = s->engine;
	const struct batch *batch = engine->batch;
	if (engine_finishing(engine) || engine->sink_broken || engine->probing ||
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
		engine_enter(engine, ENGINE_PUBLISHING);
	}
	engine_act(s, DO_PRODUCE);
}

static void on_claimed(struct step *s)
{
	struct engine *engine = s->engine;
	const struct engine_input *input = s->input;
	const struct batch *batch = engine->batch;
	/* What was left for want of bytes is there still. */
	bool full = input->full || input->cut;
	claims_answered(&engine->claims, input->full);
	/* In any state: what was read ahead of this claim is of no use either. */
	if (input->set_back)
		horizon_reset(&engine->horizon);
	if (engine->state != ENGINE_CLAIMING) {
		engine_act(s, DO_SKIP_UNSENT); /* rolled back meanwhile */
		return;
	}
	int64_t low_watermark = engine->horizon.low_watermark;
	/* Not sooner: a session that opens and fails at its first claim is no success. */
	engine->failures = engine->refusals = 0;
	horizon_claimed(&engine->horizon, input->count, input->last, input->upto);
	claims_learn(&engine->claims, batch->events, batch->bytes);
	if (input->count > 0)
		found(s, low_watermark);
	/* A sweep is over once a claim from 0 has got past the low watermark: nothing is left
	 * below. */
	if (!full || input->last > low_watermark)
		engine->sweeping = false;
	bool unusable = engine_finishing(engine) || engine->sink_broken;
	if (input->too_high || (input->count > 0 && batch->sent == 0 && unusable))
		roll_back(s);
	else if (batch->events == 0)
		dry(s);
	else
		claim_on_or_publish(s, full);
}

static void on_observed(struct step *s)
{
	struct engine *engine = s->engine;
	if (horizon_observed(&engine->horizon, s->input->drawn, s->input->writers,
			     s->input->now_us))
		waker_observed(&engine->waker, s->input->writers);
}

/* ---- the sink, the timer, the operator ---- */

static void on_broken(struct step *s)
{
	struct engine *engine = s->engine;
	engine->sink_broken = true;
	engine->sink_ready = false;
	if (engine->state == ENGINE_CLAIMING || engine->state == ENGINE_PUBLISHING)
		roll_back(s);
	else if (engine->state == ENGINE_HOLDING || engine->state == ENGINE_RESTING)
		engine_resume(s, false);
}

static void on_ready(struct step *s)
{
	struct engine *engine = s->engine;
	engine->sink_ready = true;
	engine->sink_broken = engine->rebuilding = false;
	probed(engine);
	if (engine->state == ENGINE_HOLDING)
		engine_resume(s, false);
}

static void on_reachable(struct step *s)
{
	s->engine->sink_reachable = true;
	engine_watch_sink(s);
	if (s->engine->state == ENGINE_HOLDING)
		engine_resume(s, false);
}

static void on_unreachable(struct step *s)
{
	s->engine->sink_reachable = false;
	engine_watch_sink(s);
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
		engine_act(s, DO_PRODUCE);
	else if (engine->state == ENGINE_HOLDING)
		engine_resume(s, false);
}

static void on_stalled(struct step *s)
{
	if (!engine_waits_for_sink(s->engine))
		return;
	roll_back(s);
	s->engine->housekeep_at_us = 0; /* the gauges show it before others are looked at */
}

static void on_timer(struct step *s)
{
	struct engine *engine = s->engine;
	switch (engine->state) {
	case ENGINE_OFFLINE:
	case ENGINE_STANDBY:
		engine_acquire(s, false);
		break;
	case ENGINE_RESTING:
		if (s->input->now_us < engine->rest_until_us) {
			engine_acquire(s, false);
			break;
		}
		if (engine->waker.state == WAKER_ASLEEP)
			engine->cause = CAUSE_POLL;
		engine_resume(s, engine->waker.state == WAKER_WATCHING);
		break;
	case ENGINE_HOLDING:
		probe_if_due(s);
		engine_resume(s, false);
		break;
	default:
		break;
	}
}

static void on_stop(struct step *s)
{
	struct engine *engine = s->engine;
	engine->stopping = true;
	switch (engine->state) {
	case ENGINE_OFFLINE:
		if (engine_owes_nothing(s))
			engine_stopped(s);
		break;
	case ENGINE_STANDBY:
		if (engine_owes_nothing(s))
			engine_close_session(s);
		break;
	case ENGINE_RESTING:
	case ENGINE_HOLDING:
		engine_resume(s, false);
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
	engine_act(s, DO_DROP);
	engine_stopped(s);
}

static void on_start(struct step *s)
{
	engine_set_timer(s, 0);
}

static void on_no_transaction(struct step *s)
{
	engine_resume(s, false);
}

typedef void handler_fn(struct step *s);

static handler_fn *const handlers[] = {
    [ON_START] = on_start,
    [ON_ACQUIRED] = engine_on_acquired,
    [ON_BUSY] = engine_on_busy,
    [ON_MEMBERSHIP_CHANGED] = engine_on_membership_changed,
    [ON_LOST] = engine_on_lost,
    [ON_CLAIMED] = on_claimed,
    [ON_SETTLED] = on_settled,
    [ON_ROLLED_BACK] = on_no_transaction,
    [ON_FAILED] = engine_on_failed,
    [ON_RELEASED] = engine_on_released,
    [ON_RECONCILED] = on_no_transaction,
    [ON_OBSERVED] = on_observed,
    [ON_RUNG] = engine_on_rung,
    [ON_RESTED] = engine_on_rested,
    [ON_CLOSED] = engine_stopped,
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
