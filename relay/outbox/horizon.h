/* SPDX-License-Identifier: ISC */
/*
 * horizon.h - the low watermark: an id under which a claim need not look
 *
 * A claim walks the index from the low watermark up, so that rows that are dead but cannot be
 * vacuumed (an old snapshot is open somewhere) cost nothing. The low watermark must never pass a
 * row that may yet become visible.
 *
 * The rule. Observe the highest id drawn so far (the high watermark), then read which transactions
 * hold RowExclusiveLock on the table: an INSERT takes that lock before it draws its id and keeps it
 * to the end. Once all of those are gone from a later reading, no id up to the high watermark can
 * become visible any more. A claim that runs after that reading takes what is visible in order of
 * id, so whatever it leaves under its own last id, up to the high watermark, is nothing, unless it
 * had to pass over a row: the source tells up to which id nothing was left behind. The low
 * watermark may follow the claims so far, up to the high watermark, without another reading. Under
 * a backlog of a million rows one reading is enough for all of it.
 *
 * Pure. tests/unit/test_horizon.c explores every interleaving of small cases, and planted errors.
 */
#ifndef OUTBOX_OUTBOX_HORIZON_H
#define OUTBOX_OUTBOX_HORIZON_H

#include "writers.h"

enum horizon_stage {
	HORIZON_NONE,	 /* nothing is known */
	HORIZON_WAITING, /* writers may yet commit ids up to the high watermark */
	HORIZON_OPEN, /* nobody can: the low watermark follows the claims up to the high watermark
		       */
};

struct horizon {
	enum horizon_stage stage;
	int64_t low_watermark;
	int64_t high_watermark;
	int64_t last;	 /* highest id claimed */
	int64_t walked;	 /* events claimed that the low watermark does not follow */
	int64_t read_us; /* when it was last read (monotonic) */
	struct writers writers;
};

/* Forgets everything; the low watermark is 0. To be called whenever claimed events may come back: a
 * rollback, a lost session. */
void horizon_reset(struct horizon *horizon);

/* A reading: drawn was read before writers. DRAWN_UNKNOWN: the highest id claimed stands for it.
 * False if the ids have been set back: the claims under way have looked in the wrong place. */
bool horizon_observed(struct horizon *horizon, int64_t drawn, const struct writers *writers,
		      int64_t now_us);

/* A claim above the low watermark (or from 0) has been answered with count events, the last of id
 * last, and left nothing behind up to upto (0: not known). Claims and readings must be told in the
 * order in which the database ran them. */
void horizon_claimed(struct horizon *horizon, int64_t count, int64_t last, int64_t upto);

/* True if another reading would pay by now. */
bool horizon_wants(const struct horizon *horizon, int64_t now_us);

#endif
