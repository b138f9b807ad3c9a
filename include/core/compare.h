/* SPDX-License-Identifier: ISC */
/*
 * compare.h - compares what two sets of topics hold, event by event
 *
 * First all records of the live topics, then all of the shadow's, each partition in the order of
 * its offsets; at last what is in one of them alone. Pure: no I/O, no clock. Thread: any, but one
 * at a time for a comparison.
 *
 * Memory: 72 bytes an event and 16 a key, in hash tables that are between half and three quarters
 * full. Neither ids nor payloads are kept, but hashes of 64 bits: two values that differ are taken
 * for the same with a probability of 2^-64.
 */
#ifndef OUTBOX_COMPARE_H
#define OUTBOX_COMPARE_H

#include "base/slice.h"
#include "core/audit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum compare_side { COMPARE_LIVE, COMPARE_SHADOW, COMPARE_SIDES };

/* What is found about a record; from the third on, about a pair of records. */
enum compare_finding {
	COMPARE_WITHOUT_ID = 1, /* nothing is to be compared */
	COMPARE_REPEATED = 2,	/* the event was in this set before */
	COMPARE_TOPIC = 4,	/* the topics do not belong together */
	COMPARE_PARTITION = 8,	/* another one, though both topics have as many */
	COMPARE_KEY = 16,	/* other bytes, or none */
	COMPARE_VALUE = 32,	/* likewise */
	COMPARE_HEADERS = 64,	/* not the same headers with the same values */
	COMPARE_HEADER_ORDER = 128 /* the same, in another order */,
	COMPARE_TIME = 256,   /* another timestamp */
	COMPARE_ORDER = 512,  /* after an event of its key that was after it in the live topics */
	COMPARE_FINDINGS = 10 /* so many kinds */
};

struct compare_header {
	struct slice name, value;
};

struct compare_record {
	bool has_name;
	struct audit_name name;
	size_t place; /* index of its partition among those of its set */
	int64_t offset, time_ms;
	struct slice key, value;
	const struct compare_header *headers;
	size_t header_count;
};

/* A partition. */
struct compare_place {
	size_t topic; /* those of the two sets that belong together have the same */
	int32_t partition, partitions;
};

/* Where a record is. */
struct compare_spot {
	enum compare_side side;
	size_t place;
	int64_t offset;
};

/* Records outside of a time are read to find the other one of a pair: of two of them nothing is
 * judged, nor is what only one set has. */
struct compare_range {
	int64_t since_ms, until_ms; /* from the first on, before the second */
};

struct compare_counts {
	uint64_t records, without_id, repeated, missing; /* in this set */
};

struct compare;

/* places is borrowed, and has the partitions of each set. */
struct compare *compare_new(const struct compare_place *const places[COMPARE_SIDES],
			    const struct compare_range *range);
void compare_free(struct compare **compare);

/* A set of enum compare_finding. *other is set with all but COMPARE_WITHOUT_ID: where the event was
 * before or, of a pair, the record in the live topics. */
unsigned compare_record(struct compare *compare, enum compare_side side,
			const struct compare_record *record, struct compare_spot *other);

/* Calls each for every event that is in one set alone, with the spot where it is; in no order.
 * Counts them as missing in the other one. To be called once. */
void compare_missing(struct compare *compare, void (*each)(void *arg, struct compare_spot spot),
		     void *arg);

const struct compare_counts *compare_counts(const struct compare *compare, enum compare_side side);
/* Events that are in both and were judged; and those of them with this finding. */
uint64_t compare_pairs(const struct compare *compare);
uint64_t compare_found(const struct compare *compare, enum compare_finding finding);
size_t compare_bytes(const struct compare *compare); /* of its tables */

#endif
