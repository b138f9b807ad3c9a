/* SPDX-License-Identifier: ISC */
/*
 * passing.h - errors of the server that pass by themselves and say nothing of a row
 *
 * Thread: that of the owner.
 */
#ifndef OUTBOX_PASSING_H
#define OUTBOX_PASSING_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, there was none. */
struct passing {
	int64_t since_us, last_us; /* the first and the last error of a row of them */
};

/* Whether the SQLSTATE begins with one of these, which end with NULL. */
bool sqlstate_is(const char *sqlstate, const char *const *prefixes);

/* True for errors of the kinds that pass. */
bool passing_kind(const char *sqlstate);

/* ... and that have not gone on for ten seconds: after that a row may be the cause. To be called
 * once for each error. now_us is of the monotonic clock. */
bool passing_still(struct passing *passing, const char *sqlstate, int64_t now_us);

#endif
