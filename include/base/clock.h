/* SPDX-License-Identifier: ISC */
/*
 * clock.h - the clocks, in microseconds
 *
 * Thread: any.
 */
#ifndef OUTBOX_CLOCK_H
#define OUTBOX_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC: for every timer and interval. */
int64_t clock_monotonic_us(void);

/* CLOCK_BOOTTIME, which goes on while the machine is suspended and CLOCK_MONOTONIC stands still:
 * for how long this process did not run, and nothing else. */
int64_t clock_boottime_us(void);

/* CLOCK_REALTIME, since 1970: for log lines and for the age of events only. */
int64_t clock_realtime_us(void);

#endif
