/* SPDX-License-Identifier: ISC */
/*
 * civil.h - numbers and times of the calendar, from text as PostgreSQL prints it and back
 *
 * Years count as astronomers do: 0 is 1 BC. Pure. Thread: any.
 */
#ifndef OUTBOX_CORE_CIVIL_H
#define OUTBOX_CORE_CIVIL_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Each is false if the text is none; infinity is no time. */
bool civil_integer(struct slice text, int64_t *number);
bool civil_date(struct slice text, int64_t *days); /* since 1970 */
/* With an offset, of UTC; without, as if it were. */
bool civil_time(struct slice text, int64_t *us);      /* of the day; 24:00:00 is one */
bool civil_timestamp(struct slice text, int64_t *us); /* since 1970 */

struct civil_interval {
	int years, months, days, hours, minutes;
	int64_t us; /* seconds and what is behind their point */
};
bool civil_interval(struct slice text, struct civil_interval *interval);

struct civil_day {
	int64_t year;
	int month, day; /* from 1 */
};
struct civil_day civil_day(int64_t days);

#endif
