/*
 * held.h - the rows that the database does not let go: says which, and tries them again
 *
 * What is held, and why, is in holds.h. Writes what source.h says of held events.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_HELD_H
#define OUTBOX_OUTBOX_HELD_H

#include "holds.h"
#include "open.h"

struct held;

/* released: some rows can be claimed again; more: others probably too, it is worth trying soon. */
struct held *held_new(struct session *session, struct opening *opening, struct source *source,
		      void (*released)(void *owner, bool more), void *owner);
void held_free(struct held **held);

/* Holds a row and reports it. False if no more can be held. Takes copies. */
bool held_add(struct held *held, const struct outbox_hold *hold);

/* A claim begins at the first id: what was released is claimed in its order. */
void held_claim_released(struct held *held);

/* What claims leave out, as a parameter. */
struct pg_param held_param(const struct held *held);
bool held_is_empty(const struct held *held);
bool held_releases(const struct held *held);

/* Tries some of the held rows again; outside a transaction. */
void held_retest(struct held *held);

#endif
