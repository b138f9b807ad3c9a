/* SPDX-License-Identifier: ISC */
/*
 * letter_counts.h - what the statement of the gauges tells of letters; `run` and `status` ask
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_OUTBOX_LETTER_COUNTS_H
#define OUTBOX_OUTBOX_LETTER_COUNTS_H

#include "core/letters.h"

#include <libpq-fe.h>
#include <stdint.h>

/* Of all shards of the outbox with this oid; malloc'd. In the order of LETTERS_* (outbox/sql.h),
 * with the same parameters. Schema version 8 must be there. */
char *letter_counts_question(uint32_t oid);

/* Adds one answer, in text, to those before it, which began with all 0. */
void letter_counts_add(const PGresult *answer, struct letter_gauges *letters);

/* Where to go on: $2 of the next question; INT64_MIN: the answer was the last one. */
int64_t letter_counts_next(const PGresult *answer);

#endif
