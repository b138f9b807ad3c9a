/* SPDX-License-Identifier: ISC */
/*
 * poll_world.h - poll.c told by a test what happens; its actions in words
 */
#ifndef OUTBOX_TESTS_POLL_WORLD_H
#define OUTBOX_TESTS_POLL_WORLD_H

#include "outbox/poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * 1000 };

struct world {
	struct poll poll;
	struct poll_options options;
	struct poll_actions actions;
	struct writers writers;
	int64_t now_us, next_id;
	struct claim_answer next; /* what the next answers to claims have beside events */
	bool halted, releases, tries, letters, unconfirmed;
	char did[400];
};

static const char *const words[] = {
    [POLL_DO_LOOK] = "look",	       [POLL_DO_CLAIM] = "claim",
    [POLL_DO_TELL] = "tell",	       [POLL_DO_END] = "end",
    [POLL_DO_ROLL_BACK] = "back",      [POLL_DO_ABORT] = "abort",
    [POLL_DO_BELL_ON] = "bell-on",     [POLL_DO_TELL_ROLLED_BACK] = "rolled-back",
    [POLL_DO_TIMER] = "timer",	       [POLL_DO_BELL_OFF] = "bell-off",
    [POLL_DO_WOKEN] = "woken",	       [POLL_DO_HOUSEKEEP] = "housekeep",
    [POLL_DO_CLOSE] = "close",	       [POLL_DO_RETEST] = "retest",
    [POLL_DO_RECONCILE] = "reconcile", [POLL_DO_RESOLVE] = "resolve",
};

static inline void step(struct world *w, struct poll_input input)
{
	static const char *const causes[] = {"", ":bell", ":poll", ":sweep"};

	input.now_us = w->now_us;
	input.halted = w->halted;
	input.tries = w->tries;
	input.releases = w->releases;
	input.letters = w->letters;
	input.unconfirmed = w->unconfirmed;
	poll_step(&w->poll, &w->options, &input, &w->actions);
	w->did[0] = '\0';
	for (unsigned i = 0; i < w->actions.count; i++) {
		const struct poll_action *action = &w->actions.items[i];
		size_t len = strlen(w->did);
		snprintf(w->did + len, sizeof(w->did) - len, "%s%s%s%s%s%s%s%s", len > 0 ? " " : "",
			 words[action->kind], action->claim.opens ? ":opens" : "",
			 action->claim.letters ? ":letters" : "",
			 action->claim.observes ? ":observes" : "", action->last ? ":last" : "",
			 action->keeps ? ":keeps" : "", causes[action->cause]);
	}
}

static inline void tell(struct world *w, enum poll_event event)
{
	step(w, (struct poll_input){.event = event});
}

static inline void assert_is(const struct world *w, enum poll_state state, const char *did)
{
	assert_string_equal(w->did, did);
	assert_int_equal(w->poll.state, state);
}

static inline const struct poll_action *find(const struct world *w, enum poll_do kind)
{
	for (unsigned i = 0; i < w->actions.count; i++)
		if (w->actions.items[i].kind == kind)
			return &w->actions.items[i];
	fail_msg("did %s", w->did);
	return NULL;
}

/* Where the claim that was just sent begins. */
static inline int64_t begins_at(const struct world *w)
{
	return find(w, POLL_DO_CLAIM)->claim.low_watermark;
}

/* ---- what is asked and answered ---- */

static inline void fetch(struct world *w)
{
	step(w, (struct poll_input){.event = POLL_FETCH, .fetch = {8, 1000000, false, false}});
}

static inline void hold(struct world *w, bool keeps)
{
	step(w, (struct poll_input){.event = POLL_HOLD, .keeps = keeps});
}

static inline void looked(struct world *w, bool gained, bool has_peers)
{
	step(w,
	     (struct poll_input){
		 .event = POLL_LOOKED, .has_bell = true, .gained = gained, .has_peers = has_peers});
}

/* The housekeeping was done a moment ago. */
static inline void housekept(struct world *w)
{
	w->poll.housekeep_at_us = w->now_us + w->options.housekeep_us;
}

static inline void observed(struct world *w, int64_t drawn)
{
	step(w,
	     (struct poll_input){.event = POLL_OBSERVED, .drawn = drawn, .writers = &w->writers});
}

static inline void claimed(struct world *w, int64_t count)
{
	struct claim_answer answer = w->next;

	answer.count = count;
	answer.bytes = (size_t)count * 100;
	answer.full = count == w->poll.claims.asked[0];
	answer.upto = INT64_MAX; /* a dry claim left nothing */
	if (count > 0) {
		answer.first = w->next_id;
		w->next_id += count;
		answer.last = answer.upto = w->next_id - 1;
	}
	step(w, (struct poll_input){.event = POLL_CLAIMED, .answer = answer});
}

/* The timer; a look at the other relays that is due by then changes nothing. */
static inline void timer(struct world *w)
{
	tell(w, POLL_TIMER);
	if (w->poll.state == POLL_LOOKING)
		looked(w, false, w->poll.idle.has_peers);
}

/* The rest is over. */
static inline void rested(struct world *w)
{
	if (w->now_us < w->poll.rest_until_us)
		w->now_us = w->poll.rest_until_us;
	timer(w);
}

/* ---- the way to each state ---- */

static inline void reach_ready(struct world *w, bool has_peers)
{
	memset(w, 0, sizeof(*w));
	w->options = (struct poll_options){.claim_rows = 4,
					   .poll_us = SECOND,
					   .sweep_us = 10 * SECOND,
					   .housekeep_us = 1000 * (int64_t)SECOND,
					   .stream_events = 5};
	w->now_us = SECOND;
	w->next_id = 1;
	poll_init(&w->poll);
	step(w, (struct poll_input){.event = POLL_AVAILABLE, .available = true});
	tell(w, POLL_OPEN);
	looked(w, true, has_peers);
}

static inline void reach_claiming(struct world *w)
{
	reach_ready(w, false);
	fetch(w);
}

static inline void reach_resting(struct world *w)
{
	reach_claiming(w);
	observed(w, 0);
	claimed(w, 0);
}

/* Two events. */
static inline void reach_complete(struct world *w)
{
	reach_claiming(w);
	observed(w, 100);
	claimed(w, 2);
}

/* Dry looks until it has got so far. */
static inline void rest_until(struct world *w, enum idle_state state)
{
	for (int i = 0; w->poll.idle.state != state; i++) {
		assert_true(i < 20);
		if (w->poll.state == POLL_RESTING)
			rested(w);
		if (find(w, POLL_DO_CLAIM)->claim.observes)
			observed(w, 0);
		claimed(w, 0);
	}
}

/* Asleep, with the bell armed. */
static inline void reach_sleep(struct world *w, bool has_peers)
{
	reach_ready(w, has_peers);
	fetch(w);
	observed(w, 0);
	claimed(w, 0);
	rest_until(w, IDLE_ASLEEP);
}

#endif
