/* SPDX-License-Identifier: ISC */
/*
 * follow.h - up to which id rows may be read in order, without passing over one that commits later
 *
 * The rule of horizon.h, without claims: see the highest id that is visible (the mark), then which
 * transactions hold RowExclusiveLock on the table. Whoever draws an id up to the mark had the lock
 * before the mark was seen, as ids come from a sequence. Once all of these transactions are gone
 * from a later reading, what a statement sees from then on up to the mark is all there will be.
 *
 * Pure. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_FOLLOW_H
#define OUTBOX_OUTBOX_FOLLOW_H

#include "writers.h"

struct follow {
	bool known;   /* upto holds; zeroed, nothing does */
	bool waiting; /* for the writers, until the mark holds */
	int64_t upto, mark;
	struct writers writers;
};

/* The highest visible id is this. False: nothing is new, and writers need not be read. */
bool follow_seen(struct follow *follow, int64_t mark);

/* A reading behind follow_seen. True: upto has moved, or is known. */
bool follow_read(struct follow *follow, const struct writers *writers);

/* The session is lost: what was read is void, upto stays. */
void follow_reset(struct follow *follow);

#endif
