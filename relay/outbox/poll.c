/*
 * poll.c - when the outbox is polled, and from where: a pure state machine, event in, actions out
 */
#include "poll.h"

#include "base/failpoints.h"

#include <assert.h>
#include <string.h>

/* How often the other relays are looked at. That another relay has come or hands over is told;
 * that another relay has died is not. Alone there is nobody to take over from. */
enum { GROUP_US = 250 * 1000, ALONE_US = 5000 * 1000 };

/* A ring that finds nobody asleep is answered so often at most. */
enum { RUNG_OFF_US = 20 * 1000 };

/* Longer and longer, up to four seconds, while no cause is found and all of it fails. */
enum { RETRY_US = 250 * 1000, RETRY_DOUBLINGS = 4 };

/* One step's surroundings. */
struct step {
	struct poll *poll;
	const struct poll_options *options;
	const struct poll_input *input;
	struct poll_actions *actions;
};

void poll_init(struct poll *poll)
{
	memset(poll, 0, sizeof(*poll));
	claims_init(&poll->claims);
}

/* ---- small words the handlers are written in ---- */

static struct poll_action *act(struct step *s, enum poll_do kind)
{
	assert(s->actions->count < POLL_ACTIONS_MAX);
	struct poll_action *action = &s->actions->items[s->actions->count++];
	memset(action, 0, sizeof(*action));
	action->kind = kind;
	return action;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void set_timer(struct step *s, int64_t at_us)
{
	int64_t now = s->input->now_us;
	act(s, POLL_DO_TIMER)->after_us = at_us > now ? at_us - now : 0;
}

static bool group_is_due(const struct step *s)
{
	return s->input->now_us >= s->poll->group_at_us;
}

/* Sooner, should the membership have changed since the look was asked for. */
static void look_again_in(struct step *s, int64_t us)
{
	s->poll->group_at_us = min64(s->poll->group_at_us, s->input->now_us + us);
}

static void look_at_group(struct step *s, bool keeps)
{
	s->poll->state = POLL_LOOKING;
	s->poll->group_at_us = INT64_MAX;
	act(s, POLL_DO_LOOK)->keeps = keeps;
}

/* An armed bell with nobody to hear it makes every insert notify. */
static void put_bell_to_rest(struct step *s)
{
	if (idle_found(&s->poll->idle))
		act(s, POLL_DO_BELL_OFF);
}

/* The gauges, old rows, held events: every few seconds. */
static void housekeep_if_due(struct step *s)
{
	if (s->input->now_us < s->poll->housekeep_at_us)
		return;
	s->poll->housekeep_at_us = s->input->now_us + s->options->housekeep_us;
	act(s, POLL_DO_HOUSEKEEP);
}

/* Sets the timer for the next look, or for the next look at the group if that comes sooner. */
static void rest(struct step *s, int64_t until_us)
{
	s->poll->state = POLL_RESTING;
	s->poll->rest_until_us = until_us;
	set_timer(s, min64(until_us, s->poll->group_at_us));
}

/* ---- claiming ---- */

static void claim(struct step *s, struct claim claim)
{
	struct poll *poll = s->poll;
	claims_next(&poll->claims, &claim);
	claim.observes = claim.observes || horizon_wants(&poll->horizon, s->input->now_us);
	claim.low_watermark = poll->sweeping ? 0 : poll->horizon.low_watermark;
	if (PLANTED("claim-above-last"))
		claim.low_watermark = poll->horizon.last;
	poll->claim_us = s->input->now_us;
	act(s, POLL_DO_CLAIM)->claim = claim;
}

static void claim_first(struct step *s, bool observes)
{
	const struct claims_limits limits = {.claim_rows = s->options->claim_rows,
					     .batch_rows = s->poll->fetch.rows,
					     .batch_bytes = s->poll->fetch.bytes};
	claims_begin(&s->poll->claims, &limits);
	s->poll->begun_us = s->input->now_us;
	claim(s, (struct claim){.opens = true, .observes = observes});
}

static void begin_sweep_if_due(struct step *s)
{
	struct poll *poll = s->poll;
	if (s->input->now_us < poll->sweep_at_us && !s->input->releases)
		return;
	poll->sweep_at_us = s->input->now_us + s->options->sweep_us;
	poll->sweeping = true;
	/* What was held lies below the low watermark. Should it be locked now, the claims after
	 * this one must not take what follows it. */
	if (s->input->releases)
		horizon_reset(&poll->horizon);
}

static void open_batch(struct step *s, bool observes)
{
	housekeep_if_due(s);
	begin_sweep_if_due(s);
	s->poll->state = POLL_CLAIMING;
	claim_first(s, observes);
}

/* The database refuses what is asked of it, or an event that cannot be removed stops all: see
 * again later. Writers are not to ring meanwhile. */
static bool waits_for_database(struct step *s)
{
	struct poll *poll = s->poll;
	bool halted = s->input->halted;
	int64_t until = poll->retry_at_us;
	if (halted && poll->housekeep_at_us > until)
		until = poll->housekeep_at_us;
	if (s->input->now_us >= until && !halted)
		return false;
	housekeep_if_due(s);
	put_bell_to_rest(s);
	rest(s, until > s->input->now_us ? until : poll->housekeep_at_us);
	return true;
}

/* A fetch is open and no transaction is: what now? observes: should it be a claim, it is to read
 * the writers first. */
static void go_on(struct step *s, bool observes)
{
	s->poll->rest_until_us = 0; /* over, or cut short */
	if (group_is_due(s))
		look_at_group(s, false);
	else if (!waits_for_database(s))
		open_batch(s, observes);
}

/* ---- what is asked ---- */

static void on_open(struct step *s)
{
	s->poll->state = POLL_LOOKING;
	s->poll->group_at_us = INT64_MAX;
}

static bool may_claim_ahead(const struct step *s)
{
	return s->poll->pause_us == 0 && s->input->now_us < s->poll->housekeep_at_us &&
	       !group_is_due(s);
}

static void on_fetch(struct step *s)
{
	struct poll *poll = s->poll;
	poll->fetching = true;
	poll->held = poll->given_back = false;
	poll->rest_until_us = 0; /* of a fetch that was given back */
	poll->fetch = s->input->fetch;
	if (poll->state == POLL_READY || poll->state == POLL_HELD) {
		go_on(s, false);
	} else if (poll->state == POLL_SETTLING && may_claim_ahead(s)) {
		poll->ahead = true;
		begin_sweep_if_due(s);
		claim_first(s, false);
	}
}

/* While it lasts nobody answers the bell, and writers would pay for it. */
static void hold_on(struct step *s)
{
	struct poll *poll = s->poll;
	/* Perhaps another relay could publish what this one cannot. */
	bool looks = !poll->keeps || !poll->available;
	put_bell_to_rest(s);
	housekeep_if_due(s);
	poll->state = POLL_HELD;
	if (looks && group_is_due(s))
		look_at_group(s, poll->keeps);
	else
		set_timer(s, looks ? min64(poll->group_at_us, poll->housekeep_at_us)
				   : poll->housekeep_at_us);
}

static void on_hold(struct step *s)
{
	struct poll *poll = s->poll;
	poll->held = true;
	poll->keeps = s->input->keeps;
	if (poll->given_back)
		poll->housekeep_at_us = 0; /* the gauges show what was just rolled back */
	poll->given_back = false;
	if (poll->state == POLL_CLAIMING)
		poll->claims.dry = true; /* the batch ends with what is on its way */
	if (poll->state == POLL_READY || poll->state == POLL_HELD)
		hold_on(s);
}

static void on_settle(struct step *s)
{
	struct poll *poll = s->poll;
	bool streams = !poll->full && poll->claims.events >= s->options->stream_events;
	assert(poll->state == POLL_COMPLETE);
	poll->state = POLL_SETTLING;
	poll->pause_us = streams ? idle_pause_us(s->input->now_us - poll->begun_us) : 0;
}

static void on_roll_back(struct step *s)
{
	struct poll *poll = s->poll;
	poll->fetching = false;
	if (poll->state == POLL_LOOKING) {
		poll->cancelled = true;
		return;
	}
	if (poll->state != POLL_RESTING)
		horizon_reset(&poll->horizon);
	poll->state = POLL_ROLLING_BACK;
	act(s, POLL_DO_ROLL_BACK);
}

static void on_reconcile(struct step *s)
{
	s->poll->held = false;
	if (s->poll->state == POLL_HELD)
		s->poll->state = POLL_READY;
}

static void close_session(struct step *s)
{
	put_bell_to_rest(s);
	s->poll->state = POLL_CLOSED;
	act(s, POLL_DO_CLOSE);
}

static void on_close(struct step *s)
{
	if (s->poll->state == POLL_LOOKING)
		s->poll->closing = true;
	else
		close_session(s);
}

/* ---- the group, the session ---- */

/* What was known of the waiting events is not true of the new shards. */
static void begin_anew(struct step *s)
{
	struct poll *poll = s->poll;
	poll->sweeping = false;
	poll->sweep_at_us = s->input->now_us + s->options->sweep_us;
	poll->rest_until_us = poll->housekeep_at_us = 0;
	horizon_reset(&poll->horizon);
	idle_reset(&poll->idle, s->input->has_bell, s->options->poll_us);
	/* Whoever had the shards before may have left it armed. */
	if (s->input->has_bell)
		act(s, POLL_DO_BELL_OFF);
}

/* Goes on with what was asked for before the look, or meanwhile. */
static void looked(struct step *s)
{
	struct poll *poll = s->poll;
	poll->state = POLL_READY;
	if (poll->closing) {
		close_session(s);
	} else if (poll->cancelled) {
		poll->cancelled = false;
		act(s, POLL_DO_TELL_ROLLED_BACK);
	} else if (poll->held) {
		hold_on(s);
	} else if (poll->fetching && s->input->now_us < poll->rest_until_us) {
		rest(s, poll->rest_until_us);
	} else if (poll->fetching) {
		go_on(s, false);
	}
}

static void on_looked(struct step *s)
{
	struct poll *poll = s->poll;
	bool has_peers = s->input->has_peers, changed = has_peers != poll->idle.has_peers;
	look_again_in(s, has_peers ? GROUP_US : ALONE_US);
	/* Whoever came may have armed the bell that was put to rest without a word, whoever left
	 * may have put it to rest. */
	if (s->input->gained || changed)
		begin_anew(s);
	poll->idle.has_peers = has_peers;
	looked(s);
}

static void forget_asks(struct poll *poll)
{
	poll->fetching = poll->held = poll->cancelled = poll->ahead = poll->given_back = false;
}

static void on_busy(struct step *s)
{
	struct poll *poll = s->poll;
	look_again_in(s, GROUP_US);
	put_bell_to_rest(s);
	idle_reset(&poll->idle, false, s->options->poll_us);
	forget_asks(poll);
	if (poll->closing) {
		close_session(s);
		return;
	}
	poll->state = POLL_STANDBY;
	set_timer(s, poll->group_at_us);
}

static void on_lost(struct step *s)
{
	struct poll *poll = s->poll;
	horizon_reset(&poll->horizon);
	idle_reset(&poll->idle, false, s->options->poll_us);
	forget_asks(poll);
	poll->closing = false;
	poll->state = POLL_CLOSED;
}

static void on_membership(struct step *s)
{
	struct poll *poll = s->poll;
	poll->group_at_us = s->input->now_us;
	if (poll->state == POLL_STANDBY || poll->state == POLL_RESTING)
		look_at_group(s, false);
	else if (poll->state == POLL_HELD)
		hold_on(s);
}

static void on_available(struct step *s)
{
	s->poll->available = s->input->available;
	on_membership(s);
}

/* ---- answers to claims ---- */

static void dry(struct step *s)
{
	struct poll *poll = s->poll;
	act(s, POLL_DO_END);
	if (poll->fetch.now) {
		poll->fetching = false;
		poll->state = POLL_READY;
		act(s, POLL_DO_TELL)->last = true;
		return;
	}
	struct idle_rest next = idle_dry(&poll->idle);
	if (next.arm)
		act(s, POLL_DO_BELL_ON);
	poll->cause = CAUSE_NONE;
	/* A look that is due now goes out in the same breath, behind the arming: among them one for
	 * what was released while this look was under way. */
	if (next.after_us == 0 || s->input->releases)
		open_batch(s, next.observe);
	else
		rest(s, s->input->now_us + next.after_us);
}

static void found(struct step *s, int64_t low_watermark)
{
	struct poll *poll = s->poll;
	put_bell_to_rest(s);
	if (poll->sweeping && s->input->answer.first <= low_watermark)
		poll->cause = CAUSE_SWEEP;
	if (poll->cause != CAUSE_NONE)
		act(s, POLL_DO_WOKEN)->cause = poll->cause;
	poll->cause = CAUSE_NONE;
}

/* The next claims go out before this one's events are told: the database works meanwhile. */
static void tell(struct step *s)
{
	struct poll *poll = s->poll;
	const struct claim_answer *answer = &s->input->answer;
	int64_t took_us = s->input->now_us - poll->claim_us;
	while (claims_want(&poll->claims))
		claim(s, (struct claim){.opens = false});
	bool last = poll->claims.under_way == 0;
	if (last) {
		poll->full = answer->full || answer->cut;
		poll->fetching = false;
		poll->state = POLL_COMPLETE;
	}
	struct poll_action *action = act(s, POLL_DO_TELL);
	action->last = last;
	action->took_us = took_us;
}

static void on_claimed(struct step *s)
{
	struct poll *poll = s->poll;
	const struct claim_answer *answer = &s->input->answer;
	claims_answered(&poll->claims, answer->count, answer->bytes, answer->full);
	/* In any state: what was read ahead of this claim is of no use either. */
	if (answer->set_back)
		horizon_reset(&poll->horizon);
	if (poll->state != POLL_CLAIMING)
		return; /* rolled back meanwhile */
	int64_t low_watermark = poll->horizon.low_watermark;
	poll->refusals = 0;
	horizon_claimed(&poll->horizon, answer->count, answer->last, answer->upto);
	if (answer->count > 0)
		found(s, low_watermark);
	/* A sweep is over once a claim from 0 has got past the low watermark: nothing is left
	 * below. What was left for want of bytes is there still. */
	bool whole = !answer->full && !answer->cut;
	if (whole || answer->last > low_watermark)
		poll->sweeping = false;
	if (answer->too_high)
		act(s, POLL_DO_ABORT); /* earlier events may be there; on_failed */
	else if (poll->claims.events == 0)
		dry(s);
	else
		tell(s);
}

static void on_observed(struct step *s)
{
	struct poll *poll = s->poll;
	if (horizon_observed(&poll->horizon, s->input->drawn, s->input->writers, s->input->now_us))
		idle_observed(&poll->idle, s->input->writers);
}

/* ---- the end of a transaction ---- */

static void on_settled(struct step *s)
{
	struct poll *poll = s->poll;
	poll->state = poll->ahead ? POLL_CLAIMING : POLL_READY;
	if (!poll->ahead && poll->fetching && poll->pause_us > 0)
		rest(s, s->input->now_us + poll->pause_us);
	else if (!poll->ahead && poll->fetching)
		go_on(s, false);
	poll->ahead = false;
}

static void on_rolled_back(struct step *s)
{
	s->poll->state = POLL_READY;
	s->poll->given_back = true;
}

/* What the bell was told in that transaction may be undone with it. */
static void on_failed(struct step *s)
{
	struct poll *poll = s->poll;
	if (s->input->narrow)
		claims_failed(&poll->claims);
	if (s->input->wait)
		poll->retry_at_us = s->input->now_us +
				    ((int64_t)RETRY_US << min64(poll->refusals++, RETRY_DOUBLINGS));
	poll->ahead = poll->fetching = false;
	if (poll->idle.has_bell && !poll->idle.armed)
		act(s, POLL_DO_BELL_OFF);
	horizon_reset(&poll->horizon);
	on_rolled_back(s);
}

/* ---- what ends a rest ---- */

static void on_released(struct step *s)
{
	s->poll->rest_until_us = 0;
	if (s->poll->state == POLL_RESTING)
		go_on(s, false);
}

/* A claim under way began after the commit that rings: sessions hear outside transactions. */
static void wake(struct step *s, bool observes)
{
	s->poll->rest_until_us = 0;
	s->poll->cause = CAUSE_BELL;
	if (s->poll->state == POLL_RESTING)
		go_on(s, observes);
}

/* The bell may have been armed by a relay that has died since. One that is asleep will hear that it
 * was put to rest, and arm it again. */
static void rung_for_nobody(struct step *s)
{
	struct poll *poll = s->poll;
	bool serves = poll->state == POLL_RESTING || poll->state == POLL_CLAIMING ||
		      poll->state == POLL_COMPLETE;
	if (!serves || !poll->idle.has_peers || s->input->now_us < poll->rung_off_us + RUNG_OFF_US)
		return;
	poll->rung_off_us = s->input->now_us;
	act(s, POLL_DO_BELL_OFF);
}

static void on_rung(struct step *s)
{
	struct idle *idle = &s->poll->idle;
	bool watching = idle->state == IDLE_WATCHING, armed = idle->armed;
	if (idle_rung(idle))
		act(s, POLL_DO_BELL_OFF);
	if (armed)
		wake(s, watching);
	else
		rung_for_nobody(s);
}

/* Should it have been armed again meanwhile, the next ring finds nobody asleep. */
static void on_rested(struct step *s)
{
	if (idle_rested(&s->poll->idle))
		wake(s, false);
}

static void on_unfinished(struct step *s)
{
	s->poll->housekeep_at_us = 0;
}

static void on_timer(struct step *s)
{
	struct poll *poll = s->poll;
	bool rests_on = poll->state == POLL_RESTING && s->input->now_us < poll->rest_until_us;
	if (poll->state == POLL_STANDBY || rests_on) {
		look_at_group(s, false);
	} else if (poll->state == POLL_RESTING) {
		if (poll->idle.state == IDLE_ASLEEP)
			poll->cause = CAUSE_POLL;
		go_on(s, poll->idle.state == IDLE_WATCHING);
	} else if (poll->state == POLL_HELD) {
		hold_on(s);
	}
}

typedef void handler_fn(struct step *s);

static handler_fn *const handlers[] = {
    [POLL_OPEN] = on_open,
    [POLL_AVAILABLE] = on_available,
    [POLL_FETCH] = on_fetch,
    [POLL_HOLD] = on_hold,
    [POLL_SETTLE] = on_settle,
    [POLL_ROLL_BACK] = on_roll_back,
    [POLL_RECONCILE] = on_reconcile,
    [POLL_CLOSE] = on_close,
    [POLL_LOOKED] = on_looked,
    [POLL_BUSY] = on_busy,
    [POLL_LOST] = on_lost,
    [POLL_OBSERVED] = on_observed,
    [POLL_CLAIMED] = on_claimed,
    [POLL_SETTLED] = on_settled,
    [POLL_ROLLED_BACK] = on_rolled_back,
    [POLL_FAILED] = on_failed,
    [POLL_RELEASED] = on_released,
    [POLL_RUNG] = on_rung,
    [POLL_RESTED] = on_rested,
    [POLL_MEMBERSHIP] = on_membership,
    [POLL_UNFINISHED] = on_unfinished,
    [POLL_TIMER] = on_timer,
};

void poll_step(struct poll *poll, const struct poll_options *options,
	       const struct poll_input *input, struct poll_actions *actions)
{
	struct step s = {poll, options, input, actions};
	actions->count = 0;
	poll->idle.poll_us = options->poll_us;
	assert(handlers[input->event] != NULL);
	handlers[input->event](&s);
}
