/* SPDX-License-Identifier: ISC */
/*
 * purging.h - where to go on with deleting old rows, and how many at a time while some of them
 * cannot be deleted
 *
 * Rows are deleted in the order of their ids, and each round goes on behind the last one that was
 * deleted, or at the first that it has seen: while an old snapshot keeps vacuum from its work, what
 * was deleted would be walked again each time. What was left behind, locked or settled late, is
 * found by a round that begins at the first row: every ten minutes, or in one part of the time in
 * so many if that takes long, but no rarer than every five hours.
 *
 * After a refusal fewer rows are tried, down to one, which is then passed over, so that all behind
 * it are deleted. It is tried again when a round begins at the first row.
 *
 * Thread: that of the owner.
 */
#ifndef OUTBOX_PURGING_H
#define OUTBOX_PURGING_H

#include <stdbool.h>
#include <stdint.h>

/* So many rows are passed over in a row at most; then nothing is tried until a round begins at the
 * first one. */
enum { PURGING_PASSED_MAX = 100 };

/* Zeroed, nothing was tried yet. */
struct purging {
	int64_t above;	  /* only rows with higher ids are to be tried; INT64_MIN: all are */
	int rows, passed; /* of these so many at most, after so many that are passed over */
	int bound;	  /* among the next so many is one that cannot be deleted; 0: not known */
	bool refused;	  /* to be set when the server refuses rows of this round */
	bool restarts;	  /* this round begins at the first row */
	int64_t begun_us, restart_at_us;
};

/* Begins a round: `most` rows at most. False if nothing is to be tried. */
bool purging_plan(struct purging *purging, int most, int64_t now_us);

/* It is over. Rows up to this id need not be looked at again soon. */
void purging_done(struct purging *purging, int64_t upto, int64_t now_us);

#endif
