/* SPDX-License-Identifier: ISC */
/*
 * claim.h - asks for events, leaf by leaf, and puts the answers together
 *
 * Claims are answered in the order of the asks. Where triggers may put back what a claim has taken,
 * its rows are looked for behind it, in its transaction, before its events are told.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_CLAIM_H
#define OUTBOX_OUTBOX_CLAIM_H

#include "held.h"
#include "poll.h"

struct claimer;

enum claim_wrong {
	CLAIM_REFUSED, /* by the server */
	CLAIM_KEPT,    /* some rows were not taken though they were meant to be */
	CLAIM_EMPTY,   /* it took none though some are there */
	CLAIM_BACK,    /* some of what it took is there again */
	CLAIM_ASTRAY   /* it took another than the one row that was meant, or none */
};

/* A claim that has gone wrong: its transaction is to be rolled back. */
struct claim_trouble {
	enum claim_wrong wrong;
	const struct pg_failure *failure; /* CLAIM_REFUSED */
	size_t leaf;
	int64_t low_watermark;
	bool alone; /* it asked for one row */
	bool exact; /* and measured it first */
};

struct claimer_events {
	/* Before the answer of the claim that observes. */
	void (*observed)(void *owner, int64_t drawn, const struct writers *writers);
	/* Takes the chunk. Of the answer the number of events, their first id and bytes are left
	 * out. */
	void (*claimed)(void *owner, struct chunk *chunk, const struct claim_answer *answer);
	void (*wrong)(void *owner, const struct claim_trouble *trouble);
};

struct claimer *claimer_new(struct session *session, struct opening *opening, struct held *held,
			    const struct claimer_events *events, void *owner);
void claimer_free(struct claimer **claimer);

void claimer_ask(struct claimer *claimer, const struct claim *claim);

/* So many claims more take one row each, and measure it first. */
void claimer_measure(struct claimer *claimer, unsigned claims);

/* Asks in a new transaction once more what was CLAIM_EMPTY. The answer is told, whatever it is. */
void claimer_ask_again(struct claimer *claimer);

/* Of no account are those under way. */
void claimer_forget(struct claimer *claimer);

/* Grows with each answer. */
unsigned claimer_answers(const struct claimer *claimer);

/* The first id above the low watermark. Without one all are taken, those of 0 or less too. */
struct pg_int8 claim_above(int64_t low_watermark);

#endif
