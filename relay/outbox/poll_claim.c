/* SPDX-License-Identifier: ISC */
/*
 * poll_claim.c - poll's part in claims and transactions: what is asked next, and what the answers
 * change
 */
#include "poll_words.h"

#include "base/failpoints.h"

/* A ring that finds nobody asleep is answered so often at most. */
enum { RUNG_OFF_US = 20 * 1000 };

enum { SWEEP_SHARE = 200, SWEEP_RARER = 30 };

/* Longer and longer, up to four seconds, while no cause is found and all of it fails. */
enum { RETRY_US = 250 * 1000, RETRY_DOUBLINGS = 4 };

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

static struct claims_limits limits_of(const struct step *s)
{
	return (struct claims_limits){.claim_rows = s->options->claim_rows,
				      .batch_rows = s->poll->fetch.rows,
				      .batch_bytes = s->poll->fetch.bytes};
}

static void claim_first(struct step *s, bool observes)
{
	const struct claims_limits limits = limits_of(s);
	claims_begin(&s->poll->claims, &limits);
	s->poll->begun_us = s->input->now_us;
	s->poll->trying = s->poll->lettering = false;
	claim(s, (struct claim){.opens = true, .observes = observes});
}

/* What is known of rows is not touched. */
static void claim_once(struct step *s, struct claims_limits limits, struct claim claim)
{
	struct poll *poll = s->poll;
	poll->state = POLL_CLAIMING;
	poll->trying = claim.alone;
	poll->lettering = claim.letters;
	poll->begun_us = poll->claim_us = s->input->now_us;
	claims_single(&poll->claims, &limits, &claim);
	act(s, POLL_DO_CLAIM)->claim = claim;
}

/* The event that was rejected is published alone: nothing else goes out while it waits, and nothing
 * that waits behind it goes out before. */
static void try_alone(struct step *s)
{
	claim_once(s, (struct claims_limits){1, 1, 1}, (struct claim){.alone = true});
}

/* What was set aside and is due is a batch of its own. */
static void claim_letters(struct step *s)
{
	s->poll->fetch.again = false;
	claim_once(s, limits_of(s), (struct claim){.letters = true});
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

/* The first claim tells from where on the gauges need to count. While an old snapshot is held both
 * would walk all rows that were deleted since, one after the other, before an event is published.
 */
static void open_batch(struct step *s, bool observes)
{
	if (!s->poll->begins)
		housekeep_if_due(s);
	s->poll->begins = false;
	begin_sweep_if_due(s);
	s->poll->state = POLL_CLAIMING;
	s->poll->fetch.again = false;
	claim_first(s, observes);
}

/* The database refuses what is asked of it, or an event that is held stops all: see again later.
 * Writers are not to ring meanwhile. */
static bool waits_for_database(struct step *s)
{
	struct poll *poll = s->poll;
	int64_t now = s->input->now_us, until = poll->retry_at_us;
	if (now >= until && !s->input->halted && !s->input->unconfirmed)
		return false;
	housekeep_if_due(s);
	put_bell_to_rest(s);
	if (now >= until) {
		/* What it would find due could not be tried. */
		if (!s->input->unconfirmed)
			act(s, POLL_DO_RETEST);
		until = min64(now + s->options->poll_us, poll->housekeep_at_us);
	}
	rest(s, until);
	return true;
}

/* Between two batches of theirs the others have their turn, unless a part of the last one is asked
 * for again. */
static bool is_turn_of_letters(const struct step *s)
{
	return s->input->letters && s->poll->lettering == s->poll->fetch.again;
}

void poll_go_on(struct step *s, bool observes)
{
	s->poll->rest_until_us = 0; /* over, or cut short */
	if (group_is_due(s))
		look_at_group(s, false);
	else if (s->input->tries && s->input->now_us >= s->poll->retry_at_us &&
		 !s->input->unconfirmed)
		try_alone(s);
	else if (waits_for_database(s))
		return;
	else if (is_turn_of_letters(s))
		claim_letters(s);
	else
		open_batch(s, observes);
}

/* ---- what is asked ---- */

/* An event that is tried alone, or was, comes first: what waits behind it goes on then. */
static bool may_claim_ahead(const struct step *s)
{
	return s->poll->pause_us == 0 && s->input->now_us < s->poll->housekeep_at_us &&
	       !group_is_due(s) && !s->input->halted && !s->input->unconfirmed &&
	       !s->input->tries && !s->poll->trying && !s->input->letters;
}

void poll_on_fetch(struct step *s)
{
	struct poll *poll = s->poll;
	poll->fetching = true;
	poll->held = poll->given_back = false;
	poll->rest_until_us = 0; /* of a fetch that was given back */
	poll->fetch = s->input->fetch;
	if (poll->state == POLL_READY || poll->state == POLL_HELD) {
		poll_go_on(s, false);
	} else if (poll->state == POLL_SETTLING && may_claim_ahead(s)) {
		poll->ahead = true;
		begin_sweep_if_due(s);
		claim_first(s, false);
	}
}

/* While it lasts nobody answers the bell, and writers would pay for it. */
void poll_hold_on(struct step *s)
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

void poll_on_hold(struct step *s)
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
		poll_hold_on(s);
}

void poll_on_settle(struct step *s)
{
	struct poll *poll = s->poll;
	bool streams = !poll->full && poll->claims.events >= s->options->stream_events;
	assert(poll->state == POLL_COMPLETE);
	poll->state = POLL_SETTLING;
	poll->pause_us = streams ? idle_pause_us(s->input->now_us - poll->begun_us) : 0;
}

void poll_on_roll_back(struct step *s)
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

static void owe(struct step *s, enum poll_do what)
{
	s->poll->owed = what;
	s->poll->reconciles = true;
	if (s->poll->state != POLL_LOOKING)
		reconcile_now(s);
}

void poll_on_reconcile(struct step *s)
{
	struct poll *poll = s->poll;
	poll->held = false;
	if (poll->trying) /* it may be a dead letter then, and its key goes on */
		poll->housekeep_at_us = 0;
	poll->trying = false;
	owe(s, POLL_DO_RECONCILE);
}

void poll_on_resolve(struct step *s)
{
	s->poll->held = false;
	owe(s, POLL_DO_RESOLVE);
}

void poll_on_reconciled(struct step *s)
{
	struct poll *poll = s->poll;
	assert(poll->state == POLL_RECONCILING);
	poll->state = poll->stood_by ? POLL_STANDBY : POLL_READY;
	if (poll->stood_by)
		set_timer(s, poll->group_at_us);
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
	struct idle_rest next = idle_dry(&poll->idle, s->input->now_us);
	if (next.arm)
		act(s, POLL_DO_BELL_ON);
	poll->cause = CAUSE_NONE;
	/* A look that is due now goes out in the same breath, behind the arming: among them one for
	 * what was released while this look was under way. */
	if (next.after_us == 0 || s->input->releases || s->input->tries || s->input->letters)
		poll_go_on(s, next.observe);
	else
		rest(s, s->input->now_us + next.after_us);
}

static void found(struct step *s, int64_t low_watermark)
{
	struct poll *poll = s->poll;
	put_bell_to_rest(s);
	if (poll->sweeping && s->input->answer.count > 0 && s->input->answer.first <= low_watermark)
		poll->cause = CAUSE_SWEEP;
	if (poll->cause != CAUSE_NONE)
		act(s, POLL_DO_WOKEN)->cause = poll->cause;
	poll->cause = CAUSE_NONE;
}

static void claim_on(struct step *s)
{
	while (claims_want(&s->poll->claims))
		claim(s, (struct claim){.opens = false});
}

/* All rows so far were set aside. That is committed, and leaves nothing to be published. */
static void go_past_moved(struct step *s)
{
	claim_on(s);
	if (s->poll->claims.under_way > 0)
		return;
	act(s, POLL_DO_END);
	poll_go_on(s, false);
}

/* Nothing of it is due after all: the others have their turn. */
static void no_letters(struct step *s)
{
	act(s, POLL_DO_END);
	open_batch(s, false);
}

/* The event that was tried alone waits for its topic now, and nothing for it. */
static void set_aside(struct step *s)
{
	act(s, POLL_DO_END)->claim.alone = true;
	s->poll->trying = false;
	poll_go_on(s, false);
}

/* The next claims go out before this one's events are told: the database works meanwhile. */
static void tell(struct step *s)
{
	struct poll *poll = s->poll;
	const struct claim_answer *answer = &s->input->answer;
	int64_t took_us = s->input->now_us - poll->claim_us;
	claim_on(s);
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

/* While an old snapshot is held, a sweep walks all rows that were deleted since, and nothing is
 * published meanwhile. So it has one part of the time in so many, as long as it is no rarer than so
 * many intervals. */
static void end_sweep(struct step *s)
{
	struct poll *poll = s->poll;
	int64_t now = s->input->now_us, took_us = now - poll->claim_us;
	int64_t later_us = min64(took_us * SWEEP_SHARE, s->options->sweep_us * SWEEP_RARER);
	if (poll->sweep_at_us < now + later_us)
		poll->sweep_at_us = now + later_us;
	poll->sweeping = false;
}

void poll_on_claimed(struct step *s)
{
	struct poll *poll = s->poll;
	const struct claim_answer *answer = &s->input->answer;
	claims_answered(&poll->claims, answer->count, answer->moved, answer->bytes, answer->full);
	/* In any state: what was read ahead of this claim is of no use either. */
	if (answer->set_back)
		horizon_reset(&poll->horizon);
	if (poll->state != POLL_CLAIMING)
		return; /* rolled back meanwhile */
	if (poll->lettering && answer->count == 0) {
		no_letters(s);
		return;
	}
	if (poll->trying && answer->moved > 0) {
		set_aside(s);
		return;
	}
	if (poll->trying || poll->lettering) {
		tell(s);
		return;
	}
	int64_t low_watermark = poll->horizon.low_watermark;
	poll->refusals = 0;
	horizon_claimed(&poll->horizon, answer->count + answer->moved, answer->last, answer->upto);
	if (answer->count + answer->moved > 0)
		found(s, low_watermark);
	/* A sweep is over once a claim from 0 has got past the low watermark: nothing is left
	 * below. What was left for want of bytes is there still. */
	bool whole = !answer->full && !answer->cut;
	if (poll->sweeping && (whole || answer->last > low_watermark))
		end_sweep(s);
	if (answer->too_high)
		act(s, POLL_DO_ABORT); /* earlier events may be there; poll_on_failed */
	else if (poll->claims.events == 0 && poll->claims.moved > 0)
		go_past_moved(s);
	else if (poll->claims.events == 0)
		dry(s);
	else
		tell(s);
}

void poll_on_observed(struct step *s)
{
	struct poll *poll = s->poll;
	if (horizon_observed(&poll->horizon, s->input->drawn, s->input->writers, s->input->now_us))
		idle_observed(&poll->idle, s->input->writers);
}

/* ---- the end of a transaction ---- */

void poll_on_settled(struct step *s)
{
	struct poll *poll = s->poll;
	poll->state = poll->ahead ? POLL_CLAIMING : POLL_READY;
	if (!poll->ahead && poll->fetching && poll->pause_us > 0)
		rest(s, s->input->now_us + poll->pause_us);
	else if (!poll->ahead && poll->fetching)
		poll_go_on(s, false);
	poll->ahead = false;
}

void poll_on_rolled_back(struct step *s)
{
	s->poll->state = POLL_READY;
	s->poll->given_back = true;
}

/* What the bell was told in that transaction may be undone with it. */
void poll_on_failed(struct step *s)
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
	poll_on_rolled_back(s);
}

/* ---- what ends a rest ---- */

void poll_on_released(struct step *s)
{
	s->poll->rest_until_us = 0;
	if (s->poll->state == POLL_RESTING)
		poll_go_on(s, false);
}

/* A claim under way began after the commit that rings: sessions hear outside transactions. */
static void wake(struct step *s, bool observes)
{
	s->poll->rest_until_us = 0;
	s->poll->cause = CAUSE_BELL;
	if (s->poll->state == POLL_RESTING)
		poll_go_on(s, observes);
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

void poll_on_rung(struct step *s)
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
void poll_on_rested(struct step *s)
{
	if (idle_rested(&s->poll->idle))
		wake(s, false);
}

void poll_on_unfinished(struct step *s)
{
	s->poll->housekeep_at_us = 0;
}

void poll_on_timer(struct step *s)
{
	struct poll *poll = s->poll;
	bool rests_on = poll->state == POLL_RESTING && s->input->now_us < poll->rest_until_us;
	if (poll->state == POLL_STANDBY || rests_on) {
		look_at_group(s, false);
	} else if (poll->state == POLL_RESTING) {
		if (poll->idle.state == IDLE_ASLEEP)
			poll->cause = CAUSE_POLL;
		poll_go_on(s, poll->idle.state == IDLE_WATCHING);
	} else if (poll->state == POLL_HELD) {
		poll_hold_on(s);
	}
}
