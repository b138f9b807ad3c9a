/* SPDX-License-Identifier: ISC */
/*
 * purging.h - where to go on with deleting old rows, and how many at a time while some of them
 * cannot be deleted
 *
 * Rows are deleted in the order of their ids, and each round goes on behind the last one that was
 * deleted, or at the first that it has seen: while an old snapshot keeps vacuum from its work, what
 * was deleted would be walked again each time. What was left behind, locked or settled late, is
 * found by a round that begins at the first row: every ten minutes, or in one part of the time in
 * so many if that takes long, but no rarer than every five hours. Where many rows stay that are no
 * events, it takes several rounds to get past them, which count together.
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
	bool restarts;	  /* this round begins at the first row, or goes on walking from there */
	int64_t begun_us, restart_at_us;
	int64_t walked_us; /* the rounds from the first row, until one found something */
};

/* Begins a round: `most` rows at most. False if nothing is to be tried. */
bool purging_plan(struct purging *purging, int most, int64_t now_us);

/* It is over. Rows up to this id need not be looked at again soon. walks: there were only rows that
 * stay up to there, and it has not looked further. */
void purging_done(struct purging *purging, int64_t upto, bool walks, int64_t now_us);

#endif
