/* SPDX-License-Identifier: ISC */
/*
 * poll_group.c - poll's part in the session and the group: when to look at the other relays, and
 * what follows
 */
#include "poll_words.h"

/* How often the other relays are looked at. That another relay has come or hands over is told;
 * that another relay has died is not. Alone there is nobody to take over from. */
enum { GROUP_US = 250 * 1000, ALONE_US = 5000 * 1000 };

void poll_on_open(struct step *s)
{
	s->poll->state = POLL_LOOKING;
	s->poll->group_at_us = INT64_MAX;
}

static void close_session(struct step *s)
{
	put_bell_to_rest(s);
	s->poll->state = POLL_CLOSED;
	act(s, POLL_DO_CLOSE);
}

void poll_on_close(struct step *s)
{
	if (s->poll->state == POLL_LOOKING)
		s->poll->closing = true;
	else
		close_session(s);
}

/* What was known of the waiting events is not true of the new shards. */
static void begin_anew(struct step *s)
{
	struct poll *poll = s->poll;
	poll->begins = true;
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
	} else if (poll->reconciles) {
		reconcile_now(s);
	} else if (poll->held) {
		poll_hold_on(s);
	} else if (poll->fetching && s->input->now_us < poll->rest_until_us) {
		rest(s, poll->rest_until_us);
	} else if (poll->fetching) {
		poll_go_on(s, false);
	}
}

void poll_on_looked(struct step *s)
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
	poll->reconciles = false;
}

void poll_on_busy(struct step *s)
{
	struct poll *poll = s->poll;
	look_again_in(s, GROUP_US);
	put_bell_to_rest(s);
	idle_reset(&poll->idle, false, s->options->poll_us);
	bool reconciles = poll->reconciles;
	forget_asks(poll);
	poll->state = POLL_STANDBY;
	if (poll->closing)
		close_session(s);
	else if (reconciles)
		reconcile_now(s);
	else
		set_timer(s, poll->group_at_us);
}

void poll_on_lost(struct step *s)
{
	struct poll *poll = s->poll;
	horizon_reset(&poll->horizon);
	idle_reset(&poll->idle, false, s->options->poll_us);
	forget_asks(poll);
	poll->closing = false;
	poll->state = POLL_CLOSED;
}

void poll_on_membership(struct step *s)
{
	struct poll *poll = s->poll;
	poll->group_at_us = s->input->now_us;
	if (poll->state == POLL_STANDBY || poll->state == POLL_RESTING)
		look_at_group(s, false);
	else if (poll->state == POLL_HELD)
		poll_hold_on(s);
}

void poll_on_available(struct step *s)
{
	s->poll->available = s->input->available;
	poll_on_membership(s);
}
