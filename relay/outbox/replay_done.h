/* SPDX-License-Identifier: ISC */
/*
 * replay_done.h - what a replay has done beyond its position
 *
 * When a batch ends before its time (Kafka was silent for long, an event was rejected), events
 * behind one that was not published may have been. The position stays before that one; these are
 * remembered, and left out when they are read again. Pure. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_REPLAY_DONE_H
#define OUTBOX_OUTBOX_REPLAY_DONE_H

#include "core/batch.h"

struct replay_done {
	struct replay_done_item {
		int64_t id;
		struct slice identity; /* its bytes are owned */
	} * items;		       /* owned */
	size_t count;
};

/* Takes in what became of a batch; the new position: all up to it is done. */
int64_t replay_done_take(struct replay_done *done, const struct batch *batch, int64_t position);

/* Removes what was done from a chunk. */
void replay_done_leave_out(const struct replay_done *done, struct chunk *chunk);

/* The position is this by now. */
void replay_done_forget(struct replay_done *done, int64_t position);

#endif
