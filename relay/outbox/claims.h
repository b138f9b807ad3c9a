/* SPDX-License-Identifier: ISC */
/*
 * claims.h - how many events to ask for, and how many asks to have under way
 *
 * A batch is filled by several claims. Two may be under way at the same time, so that the database
 * goes from one to the next without waiting for us. Towards the end of a batch they get smaller:
 * the database is idle from the last claim's answer until its events are acknowledged. Pure.
 */
#ifndef OUTBOX_OUTBOX_CLAIMS_H
#define OUTBOX_OUTBOX_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is asked of the database at one time. */
struct claim {
	bool opens;    /* begins the transaction; with low watermark 0: what is released may go */
	bool observes; /* reads the writers before */
	bool alone;    /* of the one rejected row that is to be tried again, and of no other */
	bool letters;  /* of what was set aside and is due, and of nothing else */
	int64_t low_watermark; /* take events whose id is greater; 0 takes all */
	int64_t rows;	       /* at most so many, > 0 */
	int64_t bytes;	       /* stop after about so many, but take one at least */
};

struct claims_limits {
	int64_t claim_rows, batch_rows, batch_bytes;
};

enum { CLAIMS_UNDER_WAY = 2 };

struct claims {
	struct claims_limits limits;
	int64_t events, bytes;		 /* of the batch so far */
	int64_t moved;			 /* rows that were set aside with it; they count, too */
	int64_t asked[CLAIMS_UNDER_WAY]; /* rows of each ask under way, oldest first */
	unsigned under_way;
	bool dry;	     /* one came back short: there is nothing more for this batch */
	int64_t most;	     /* rows of a claim, while one that fails is looked for; 0: no limit */
	int64_t event_bytes; /* running average size of an event */
};

void claims_init(struct claims *claims);

/* A batch begins (or the session was lost): no claim is under way. */
void claims_begin(struct claims *claims, const struct claims_limits *limits);

/* A batch of a single claim begins: completes it, and counts it as under way. */
void claims_single(struct claims *claims, const struct claims_limits *limits, struct claim *claim);

/* True if another claim should be sent for the batch. */
bool claims_want(const struct claims *claims);

/* Fills in claim->rows and claim->bytes of the next claim, and counts it as under way. */
void claims_next(struct claims *claims, struct claim *claim);

/* The oldest claim has been answered with events of so many bytes, and has set so many rows aside;
 * full: with as many as it had asked for. */
void claims_answered(struct claims *claims, int64_t events, int64_t moved, size_t bytes, bool full);

/* The oldest claim has failed at one of its events: ask for half as many. While that lasts, a
 * batch is one claim, so that nothing else is lost with it; each success doubles the number. */
void claims_failed(struct claims *claims);

#endif
