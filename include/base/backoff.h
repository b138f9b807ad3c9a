/* SPDX-License-Identifier: ISC */
/*
 * backoff.h - how long to wait before the next try: doubling, bounded, with jitter
 */
#ifndef OUTBOX_BACKOFF_H
#define OUTBOX_BACKOFF_H

#include <stdint.h>

/* Microseconds to wait after `failures` failures in a row before this one: 100 ms doubled up to 5
 * s, and of that a random half to whole, so that relays that lost the same peer do not return in
 * step. random is the generator's state, any value but advanced by the call. Pure. Thread: any. */
int64_t backoff_us(unsigned failures, uint64_t *random);

#endif
