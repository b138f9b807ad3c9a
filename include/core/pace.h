/* SPDX-License-Identifier: ISC */
/*
 * pace.h - so many events a second, and no more
 *
 * Pure. Times are monotonic, in microseconds. Thread: any.
 */
#ifndef OUTBOX_PACE_H
#define OUTBOX_PACE_H

#include <stdint.h>

struct pace {
	int64_t rate;	 /* events a second; 0: as fast as it goes */
	int64_t next_us; /* not sooner the next events are due */
};

/* So many events are taken at a time, most at most: a quarter of a second's. */
int64_t pace_rows(const struct pace *pace, int64_t most);

/* How long to wait before the next events. */
int64_t pace_wait_us(const struct pace *pace, int64_t now_us);

/* So many have been taken. What was missed while nothing could be taken is not made up for. */
void pace_took(struct pace *pace, int64_t count, int64_t now_us);

#endif
