/* SPDX-License-Identifier: ISC */
/*
 * batch.h - the events of one source transaction and what became of each
 *
 * Owns the chunks, keeps the counts, and is the only writer of event->state. Pure. A batch is
 * attached while the transaction that claimed it is open, and orphaned once that transaction is
 * gone: then its delivered events are settled by identity, and those never sent are forgotten.
 */
#ifndef OUTBOX_BATCH_H
#define OUTBOX_BATCH_H

#include "core/event.h"

struct batch {
	struct chunk *first, *last; /* owned */
	struct chunk *cursor_chunk; /* the next event to send is cursor_chunk->events[cursor] */
	size_t cursor;
	size_t events;	  /* claimed in all */
	size_t bytes;	  /* of all chunks */
	size_t sent;	  /* handed to the sink, reported or not */
	size_t in_flight; /* sent, no report yet */
	size_t delivered;
	size_t rejected;
	size_t returned;
	size_t deferred;
	size_t passed; /* not sent: they wait behind others */
};

void batch_add(struct batch *batch, struct chunk *chunk);

/* The next event to hand to the sink, or NULL. It stays the next until batch_sent, batch_pass or
 * batch_reject. */
struct event *batch_next(const struct batch *batch);
void batch_sent(struct batch *batch, struct event *event);

/* The next one is not sent: it goes back to the source with the transaction. */
void batch_pass(struct batch *batch, struct event *event);

/* Likewise: it is to wait aside for its topic, of this name. */
void batch_defer(struct batch *batch, struct event *event, struct slice topic);

/* A verdict on an event that was sent, or, for a reject, on the next one to be sent. */
void batch_delivered(struct batch *batch, struct event *event);
void batch_returned(struct batch *batch, struct event *event);
void batch_reject(struct batch *batch, struct event *event, enum reject_reason reason,
		  const char *why);

/* One that was rejected goes back with the transaction after all, as those never sent do. */
void batch_put_back(struct batch *batch, struct event *event);

/* What was reported as delivered is not after all: it is to be published again. */
void batch_forget(struct batch *batch);

/* How many events stand before the first that is rejected or deferred, in source order; all of them
 * where none is. */
size_t batch_before_unfit(const struct batch *batch);

/* Forgets what was never sent: the cursor moves to the end. */
void batch_skip_unsent(struct batch *batch);

/* Frees the chunks and zeroes everything. No event may be in flight. */
void batch_clear(struct batch *batch);

/* Walks all events: for (e = batch_first(b, &it); e; e = batch_following(&it)). */
struct batch_walk {
	struct chunk *chunk;
	size_t index;
};
struct event *batch_first(const struct batch *batch, struct batch_walk *walk);
struct event *batch_following(struct batch_walk *walk);

#endif
