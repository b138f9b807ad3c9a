/* SPDX-License-Identifier: ISC */
/*
 * engine_world.h - an engine with a batch, told by a test what happens; its actions in words
 */
#ifndef OUTBOX_TESTS_ENGINE_WORLD_H
#define OUTBOX_TESTS_ENGINE_WORLD_H

#include "base/xalloc.h"
#include "core/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000 * 1000 };

struct world {
	struct engine engine;
	struct batch batch;
	struct engine_actions actions;
	int64_t now_us, next_id;
	bool begun; /* a transaction of the sink */
	char did[400];
};

/* ---- telling the engine, and what it did in words ---- */

static const char *const words[] = {
    [DO_OPEN] = "open",	      [DO_AVAILABLE] = "unavailable", [DO_FETCH] = "fetch",
    [DO_HOLD] = "hold",	      [DO_PRODUCE] = "produce",	      [DO_SETTLE] = "settle",
    [DO_ROLL_BACK] = "back",  [DO_RECONCILE] = "reconcile",   [DO_TIMER] = "timer",
    [DO_REBUILD] = "rebuild", [DO_GIVE_UP] = "give-up",	      [DO_SKIP_UNSENT] = "skip",
    [DO_CLEAR] = "clear",     [DO_CLOSE] = "close",	      [DO_DROP] = "drop",
    [DO_STOPPED] = "stopped", [DO_COMMIT] = "commit",	      [DO_FORGET] = "forget",
    [DO_RESOLVE] = "resolve",
};

static inline void add_words(struct world *w, const struct engine_action *action)
{
	size_t len = strlen(w->did);

	snprintf(w->did + len, sizeof(w->did) - len, "%s%s%s%s%s", len > 0 ? " " : "",
		 action->available ? "available" : words[action->kind],
		 action->fetch.now ? ":now" : "",
		 action->kind == DO_RECONCILE && action->policy != REJECT_HALTS ? ":aside" : "",
		 action->keeps ? ":keeps" : "");
}

static inline void step(struct world *w, struct engine_input input)
{
	input.now_us = w->now_us;
	input.begun = w->begun;
	engine_step(&w->engine, &input, &w->actions);
	w->did[0] = '\0';
	for (unsigned i = 0; i < w->actions.count; i++) {
		add_words(w, &w->actions.items[i]);
		if (w->actions.items[i].kind == DO_SKIP_UNSENT)
			batch_skip_unsent(&w->batch);
		if (w->actions.items[i].kind == DO_FORGET)
			batch_forget(&w->batch);
		if (w->actions.items[i].kind == DO_CLEAR)
			batch_clear(&w->batch);
	}
}

static inline void tell(struct world *w, enum engine_event event)
{
	step(w, (struct engine_input){.event = event});
}

static inline void assert_is(const struct world *w, enum engine_state state, const char *did)
{
	assert_string_equal(engine_state_name(w->engine.state), engine_state_name(state));
	assert_string_equal(w->did, did);
}

static inline const struct engine_action *find(const struct world *w, enum engine_do kind)
{
	for (unsigned i = 0; i < w->actions.count; i++)
		if (w->actions.items[i].kind == kind)
			return &w->actions.items[i];
	fail_msg("did %s", w->did);
	return NULL;
}

/* ---- the world around it ---- */

static inline void free_chunk(struct chunk *chunk)
{
	free(chunk->events);
	free(chunk);
}

/* A chunk of so many events, none of which is no chunk. */
static inline void fetched(struct world *w, size_t count, bool last)
{
	if (count > 0) {
		struct chunk *chunk = xcalloc(1, sizeof(*chunk));
		chunk->events = xcalloc(count, sizeof(*chunk->events));
		chunk->count = count;
		chunk->bytes = count * 100;
		chunk->free = free_chunk;
		for (size_t i = 0; i < count; i++)
			chunk->events[i].id = w->next_id++;
		batch_add(&w->batch, chunk);
	}
	step(w, (struct engine_input){.event = ON_FETCHED, .last = last});
}

static inline void send_all(struct world *w)
{
	struct event *event;

	while ((event = batch_next(&w->batch)) != NULL)
		batch_sent(&w->batch, event);
}

/* All that is with the sink is reported. */
static inline void report_all(struct world *w, enum event_state verdict)
{
	struct batch_walk walk;

	for (struct event *e = batch_first(&w->batch, &walk); e; e = batch_following(&walk)) {
		if (e->state != EVENT_SENT)
			continue;
		if (verdict == EVENT_DELIVERED)
			batch_delivered(&w->batch, e);
		else if (verdict == EVENT_RETURNED)
			batch_returned(&w->batch, e);
		else
			batch_reject(&w->batch, e, REJECT_INVALID_RECORD, "no");
	}
	tell(w, ON_PROGRESS);
}

static inline void settled(struct world *w, enum engine_event event)
{
	batch_clear(&w->batch);
	tell(w, event);
}

/* ---- the way to each state ---- */

static inline void make_world(struct world *w, const struct engine_options *options)
{
	memset(w, 0, sizeof(*w));
	w->now_us = SECOND;
	w->next_id = 1;
	engine_init(&w->engine, options, &w->batch, 1);
}

static inline void begin(struct world *w)
{
	static const struct engine_options options = {.batch_rows = 8, .batch_bytes = 1000000};

	make_world(w, &options);
	tell(w, ON_START);
	tell(w, ON_READY);
	tell(w, ON_REACHABLE);
}

static inline void reach_opening(struct world *w)
{
	begin(w);
	tell(w, ON_TIMER);
}

static inline void reach_standby(struct world *w)
{
	reach_opening(w);
	tell(w, ON_BUSY);
}

static inline void reach_fetching(struct world *w)
{
	reach_opening(w);
	tell(w, ON_ACQUIRED);
}

static inline void reach_publishing(struct world *w)
{
	reach_fetching(w);
	fetched(w, 2, true);
	send_all(w);
}

static inline void reach_settling(struct world *w)
{
	reach_publishing(w);
	report_all(w, EVENT_DELIVERED);
}

static inline void reach_rolling_back(struct world *w)
{
	reach_publishing(w);
	tell(w, ON_STALLED);
}

static inline void reach_holding(struct world *w)
{
	reach_rolling_back(w);
	tell(w, ON_ROLLED_BACK);
}

/* Two events that the sink would not take, given up by the stall timer. */
static inline void reach_blocked(struct world *w)
{
	reach_fetching(w);
	fetched(w, 2, true);
	tell(w, ON_BLOCKED);
	tell(w, ON_STALLED);
	tell(w, ON_ROLLED_BACK);
}

static inline void reach_reconciling(struct world *w)
{
	reach_holding(w);
	report_all(w, EVENT_DELIVERED);
}

static inline void reach_closing(struct world *w)
{
	reach_fetching(w);
	tell(w, ON_STOP);
	tell(w, ON_ROLLED_BACK);
}

static inline void reach_stopped(struct world *w)
{
	reach_closing(w);
	tell(w, ON_CLOSED);
}

static inline void finish(struct world *w)
{
	w->batch.in_flight = 0;
	batch_clear(&w->batch);
}

#endif
