/* SPDX-License-Identifier: ISC */
/*
 * gate.h - events that wait until what they were claimed from is durable
 *
 * A row is visible before it is durable. Every commit that a claim has seen lies in the write-ahead
 * log before a position that is read behind the claim: a flush gives such a position to all that
 * wait when it begins. They are let out, in their order, once that position is reached by whoever
 * is to have it.
 *
 * Pure. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_GATE_H
#define OUTBOX_OUTBOX_GATE_H

#include "core/event.h"

struct gate_entry {
	struct chunk *chunk; /* owned; NULL: it only sees whether the gate opens */
	bool last;	     /* of its fetch */
	int64_t since_us;    /* when it came */
	bool begun;	     /* the flush under way, or one that has ended, is behind it */
	int64_t upto;	     /* once that has ended: what must be durable; 0: it has not */
};

struct gate {
	struct gate_entry *entries; /* owned; in the order they came */
	size_t count, room;
	bool flushing;
	int64_t reached;
};

/* Takes the chunk. One without events goes with the one before it. */
void gate_add(struct gate *gate, struct chunk *chunk, bool last, int64_t now_us);

/* Whether a flush is to begin now: somebody waits for one, and none is under way. It has begun
 * then. */
bool gate_begin_flush(struct gate *gate);
/* The one under way has ended, at this position. */
void gate_end_flush(struct gate *gate, int64_t position);
/* It came to nothing, and positions of another server mean nothing: all wait for a new one. */
void gate_restart(struct gate *gate);

/* So far it is durable. */
void gate_reach(struct gate *gate, int64_t position);
/* Whether somebody waits for a position that is known. */
bool gate_awaits(const struct gate *gate);

/* The first, if it may go: the caller's from now on. False: it may not, or nobody waits. */
bool gate_take(struct gate *gate, struct gate_entry *entry);

/* They are given back: frees all. */
void gate_clear(struct gate *gate);
/* The same at the end of everything. */
void gate_fini(struct gate *gate);

#endif
