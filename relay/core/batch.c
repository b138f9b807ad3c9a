/* SPDX-License-Identifier: ISC */
/*
 * batch.c - the events of one source transaction and what became of each
 */
#include "core/batch.h"

#include "base/failpoints.h"
#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>

/* The cursor stands on an event, or at the end of the last chunk: never at the end of an earlier
 * one, so that batch_next need not search. */
static void move_cursor_on(struct batch *batch)
{
	while (batch->cursor == batch->cursor_chunk->count && batch->cursor_chunk->next != NULL) {
		batch->cursor_chunk = batch->cursor_chunk->next;
		batch->cursor = 0;
	}
}

static void advance(struct batch *batch)
{
	batch->cursor++;
	move_cursor_on(batch);
}

void batch_add(struct batch *batch, struct chunk *chunk)
{
	assert(chunk != NULL && chunk->next == NULL && chunk != batch->last);
	if (batch->last == NULL)
		batch->first = batch->cursor_chunk = chunk;
	else
		batch->last->next = chunk;
	batch->last = chunk;
	batch->events += chunk->count;
	batch->bytes += chunk->bytes;
	move_cursor_on(batch);
}

struct event *batch_next(const struct batch *batch)
{
	const struct chunk *chunk = batch->cursor_chunk;

	if (chunk == NULL || batch->cursor == chunk->count)
		return NULL;
	return &chunk->events[batch->cursor];
}

void batch_sent(struct batch *batch, struct event *event)
{
	assert(event != NULL && event == batch_next(batch));
	assert(event->state == EVENT_CLAIMED);
	event->state = EVENT_SENT;
	batch->sent++;
	batch->in_flight++;
	advance(batch);
}

void batch_pass(struct batch *batch, struct event *event)
{
	assert(event != NULL && event == batch_next(batch));
	assert(event->state == EVENT_CLAIMED);
	batch->passed++;
	advance(batch);
}

void batch_defer(struct batch *batch, struct event *event, struct slice topic)
{
	assert(event != NULL && event == batch_next(batch));
	assert(event->state == EVENT_CLAIMED);
	event->state = EVENT_DEFERRED;
	event->why = xasprintf("%.*s", (int)topic.len, topic.data);
	batch->deferred++;
	advance(batch);
}

static void report(struct batch *batch, struct event *event, enum event_state verdict)
{
	assert(event != NULL && event->state == EVENT_SENT);
	assert(batch->in_flight > 0);
	event->state = verdict;
	batch->in_flight--;
}

void batch_delivered(struct batch *batch, struct event *event)
{
	report(batch, event, EVENT_DELIVERED);
	batch->delivered++;
}

void batch_returned(struct batch *batch, struct event *event)
{
	report(batch, event, EVENT_RETURNED);
	batch->returned++;
}

void batch_reject(struct batch *batch, struct event *event, enum reject_reason reason,
		  const char *why)
{
	assert(event != NULL && reason > REJECT_NONE && reason < REJECT_REASONS);
	if (event->state == EVENT_SENT) {
		report(batch, event, EVENT_REJECTED);
	} else {
		assert(event == batch_next(batch) && event->state == EVENT_CLAIMED);
		event->state = EVENT_REJECTED;
		advance(batch);
	}
	event->reason = reason;
	event->why = why != NULL ? xstrdup(why) : NULL;
	batch->rejected++;
}

void batch_put_back(struct batch *batch, struct event *event)
{
	assert(event != NULL);
	assert(event->state == EVENT_REJECTED || event->state == EVENT_DEFERRED);
	*(event->state == EVENT_REJECTED ? &batch->rejected : &batch->deferred) -= 1;
	event->state = EVENT_CLAIMED;
}

void batch_forget(struct batch *batch)
{
	struct batch_walk walk;

	if (PLANTED("acknowledged-settled"))
		return;
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == EVENT_DELIVERED)
			e->state = EVENT_RETURNED;
	batch->returned += batch->delivered;
	batch->delivered = 0;
}

size_t batch_before_unfit(const struct batch *batch)
{
	struct batch_walk walk;
	size_t before = 0;

	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk)) {
		if (e->state == EVENT_REJECTED || e->state == EVENT_DEFERRED)
			break;
		before++;
	}
	return before;
}

void batch_skip_unsent(struct batch *batch)
{
	batch->cursor_chunk = batch->last;
	batch->cursor = batch->last != NULL ? batch->last->count : 0;
}

/* The words are batch_reject's; the source that made the chunk does not know of them. */
static void free_chunk(struct chunk *chunk)
{
	for (size_t i = 0; i < chunk->count; i++) {
		free(chunk->events[i].why);
		chunk->events[i].why = NULL;
	}
	chunk->free(chunk);
}

void batch_clear(struct batch *batch)
{
	struct chunk *chunk = batch->first;

	assert(batch->in_flight == 0);
	while (chunk != NULL) {
		struct chunk *next = chunk->next;

		if (!PLANTED("leak"))
			free_chunk(chunk);
		chunk = next;
	}
	*batch = (struct batch){0};
}

/* The walk's event, or the next chunk's first where its own has no more. */
static struct event *walk_on(struct batch_walk *walk)
{
	while (walk->chunk != NULL && walk->index == walk->chunk->count) {
		walk->chunk = walk->chunk->next;
		walk->index = 0;
	}
	return walk->chunk != NULL ? &walk->chunk->events[walk->index] : NULL;
}

struct event *batch_first(const struct batch *batch, struct batch_walk *walk)
{
	*walk = (struct batch_walk){.chunk = batch->first};
	return walk_on(walk);
}

struct event *batch_following(struct batch_walk *walk)
{
	assert(walk->chunk != NULL);
	walk->index++;
	return walk_on(walk);
}
