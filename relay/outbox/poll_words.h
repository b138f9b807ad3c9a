/* SPDX-License-Identifier: ISC */
/*
 * poll_words.h - what the parts of poll share: a step, and the small words that handlers are
 * written in
 */
#ifndef OUTBOX_OUTBOX_POLL_WORDS_H
#define OUTBOX_OUTBOX_POLL_WORDS_H

#include "poll.h"

#include <assert.h>
#include <string.h>

/* One step's surroundings. */
struct step {
	struct poll *poll;
	const struct poll_options *options;
	const struct poll_input *input;
	struct poll_actions *actions;
};

static inline struct poll_action *act(struct step *s, enum poll_do kind)
{
	assert(s->actions->count < POLL_ACTIONS_MAX);
	struct poll_action *action = &s->actions->items[s->actions->count++];
	memset(action, 0, sizeof(*action));
	action->kind = kind;
	return action;
}

static inline int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline void set_timer(struct step *s, int64_t at_us)
{
	int64_t now = s->input->now_us;
	act(s, POLL_DO_TIMER)->after_us = at_us > now ? at_us - now : 0;
}

static inline bool group_is_due(const struct step *s)
{
	return s->input->now_us >= s->poll->group_at_us;
}

/* Sooner, should the membership have changed since the look was asked for. */
static inline void look_again_in(struct step *s, int64_t us)
{
	s->poll->group_at_us = min64(s->poll->group_at_us, s->input->now_us + us);
}

static inline void look_at_group(struct step *s, bool keeps)
{
	s->poll->state = POLL_LOOKING;
	s->poll->group_at_us = INT64_MAX;
	act(s, POLL_DO_LOOK)->keeps = keeps;
}

/* An armed bell with nobody to hear it makes every insert notify. */
static inline void put_bell_to_rest(struct step *s)
{
	if (idle_found(&s->poll->idle))
		act(s, POLL_DO_BELL_OFF);
}

/* The gauges, old rows, held events: every few seconds. */
static inline void housekeep_if_due(struct step *s)
{
	if (s->input->now_us < s->poll->housekeep_at_us)
		return;
	s->poll->housekeep_at_us = s->input->now_us + s->options->housekeep_us;
	act(s, POLL_DO_HOUSEKEEP);
}

/* While there is more to do, so soon: others have the database meanwhile. */
enum { UNFINISHED_US = 20 * 1000 };

/* Sets the timer for the next look, or for the next look at the group if that comes sooner. */
static inline void rest(struct step *s, int64_t until_us)
{
	if (s->poll->housekeep_at_us == 0)
		until_us = min64(until_us, s->input->now_us + UNFINISHED_US);
	s->poll->state = POLL_RESTING;
	s->poll->rest_until_us = until_us;
	set_timer(s, min64(until_us, s->poll->group_at_us));
}

/* What is owed is settled now. Comes last in a step. */
static inline void reconcile_now(struct step *s)
{
	struct poll *poll = s->poll;
	poll->reconciles = false;
	poll->stood_by = poll->state == POLL_STANDBY;
	poll->state = POLL_RECONCILING;
	act(s, poll->owed);
}

/* poll_claim.c: a fetch is open and no transaction is: what now? observes: should it be a claim, it
 * is to read the writers first. */
void poll_go_on(struct step *s, bool observes);
/* Nothing is fetched for now. */
void poll_hold_on(struct step *s);

/* The handlers of events of these names. poll_claim.c: */
void poll_on_fetch(struct step *s);
void poll_on_hold(struct step *s);
void poll_on_settle(struct step *s);
void poll_on_roll_back(struct step *s);
void poll_on_reconcile(struct step *s);
void poll_on_resolve(struct step *s);
void poll_on_reconciled(struct step *s);
void poll_on_observed(struct step *s);
void poll_on_claimed(struct step *s);
void poll_on_settled(struct step *s);
void poll_on_rolled_back(struct step *s);
void poll_on_failed(struct step *s);
void poll_on_released(struct step *s);
void poll_on_rung(struct step *s);
void poll_on_rested(struct step *s);
void poll_on_unfinished(struct step *s);
void poll_on_timer(struct step *s);
/* poll_group.c: */
void poll_on_open(struct step *s);
void poll_on_close(struct step *s);
void poll_on_looked(struct step *s);
void poll_on_busy(struct step *s);
void poll_on_lost(struct step *s);
void poll_on_membership(struct step *s);
void poll_on_available(struct step *s);

#endif
