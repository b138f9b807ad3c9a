/* SPDX-License-Identifier: ISC */
/*
 * purging.h - how many old rows to delete at a time while some of them cannot be deleted
 *
 * After a refusal fewer rows are tried, down to one, which is then passed over, so that all behind
 * it are deleted. After ten minutes all are tried again.
 *
 * Thread: that of the owner.
 */
#ifndef OUTBOX_PURGING_H
#define OUTBOX_PURGING_H

#include <stdbool.h>
#include <stdint.h>

/* So many rows are passed over at most; then nothing is tried until all are tried again. */
enum { PURGING_PASSED_MAX = 100 };

/* Zeroed, nothing was tried yet. */
struct purging {
	int rows, passed; /* to be tried: so many at most, after so many that are passed over */
	int bound;	  /* among the next so many is one that cannot be deleted; 0: not known */
	bool refused;	  /* to be set when the server refuses rows of this round */
	int64_t again_at_us;
};

/* Begins a round: `most` rows at most. False if nothing is to be tried. */
bool purging_plan(struct purging *purging, int most, int64_t now_us);

#endif
