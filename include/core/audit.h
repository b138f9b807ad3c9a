/* SPDX-License-Identifier: ISC */
/*
 * audit.h - judges what topics hold by what an outbox says was published
 *
 * First the events that are known, then the records, partition by partition in the order of their
 * offsets; at last what has not arrived. Pure: no I/O, no clock. Thread: any, but one at a time for
 * an audit.
 *
 * Memory: 32 bytes an event and 24 a key, in hash tables that are between half and three quarters
 * full. Ids and keys are not kept: an event is known by 16 bytes, a key by 8. Of 10,000,000 events
 * on as many keys, two keys are taken for one with a probability of 3 in a million. Of the key that
 * a row has 20 bits are kept: of a million wrong keys one is taken for right.
 */
#ifndef OUTBOX_AUDIT_H
#define OUTBOX_AUDIT_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An event id in 16 bytes: a UUID's own, of any other text a hash. Never all zero. */
struct audit_name {
	uint64_t high, low;
};
struct audit_name audit_name(struct slice event_id);

/* No id is known. */
#define AUDIT_NO_ID INT64_MIN

enum audit_known {
	AUDIT_KNOWN,  /* nothing follows from it: the event waits, or is out of the range */
	AUDIT_DUE,    /* it must have arrived */
	AUDIT_EXCUSED /* it need not, whatever else is said: it waits, or is a dead letter */
};

/* What the record of an event must be, as its row has it. */
struct audit_expected {
	struct slice key;  /* data == NULL: none */
	int32_t partition; /* that the row names; AUDIT_BY_KEY: it names none, the key chooses */
};
#define AUDIT_BY_KEY (-1)

struct audit_record {
	bool has_name, is_replay;
	bool has_key; /* its key is one that has an order */
	struct audit_name name;
	int64_t id;	     /* as the record says itself; AUDIT_NO_ID */
	struct slice key;    /* data == NULL: none */
	size_t topic, place; /* indexes: of its topic, and of its partition among all */
	int32_t partition;   /* its number in the topic */
};

/* What is found about a record. */
enum audit_finding {
	AUDIT_REPEATED = 1,	 /* the event has arrived before */
	AUDIT_ELSEWHERE = 2,	 /* with it: in another partition or topic */
	AUDIT_OUT_OF_ORDER = 4,	 /* after an event of its key and partition with a higher id */
	AUDIT_MISPLACED = 8,	 /* the first of its key in another partition of the topic; or its
				  * row names another one */
	AUDIT_UNKNOWN = 16,	 /* the event is not among those that are known */
	AUDIT_REPLAYED = 32,	 /* it says that it is a replay: judged no further */
	AUDIT_WITHOUT_NAME = 64, /* it has no event id: judged no further */
	AUDIT_WRONG_KEY = 128,	 /* its key is not the one that its row has */
};

/* Of a partition. */
struct audit_counts {
	uint64_t records, repeated, repeated_runs /* of one after the other */, out_of_order,
	    overlapping, misplaced, wrong_key, unknown, replayed, without_name;
	bool in_run; /* the last record was a repeat */
};

struct audit;

enum audit_rule {
	AUDIT_ORDERED =
	    1, /* events of a key are to come in the order of their ids, in one partition */
	/* Rows may name partitions: a key is in as many as they name, and has an order in each.
	 * Where no row is known, nothing is misplaced. */
	AUDIT_PLACED = 2,
};

/* rules: a set of them. Fewer than 16 million places. */
struct audit *audit_new(size_t places, unsigned rules);
void audit_free(struct audit **audit);

/* id: AUDIT_NO_ID where it is not known. The same event may be told of more than once: excused
 * counts more than due, due more than known. */
void audit_know(struct audit *audit, struct audit_name name, int64_t id, enum audit_known known);

/* Of an event that is known. Where its rows differ, nothing follows from them. */
void audit_expect(struct audit *audit, struct audit_name name,
		  const struct audit_expected *expected);

/* Places: of a repeat, where the event arrived first; of what is misplaced, where its key was, or
 * the partition that its row names. Of what is out of order, the id of the later event that it
 * comes after. */
struct audit_before {
	size_t event, key;
	int32_t named; /* AUDIT_BY_KEY: key says where */
	int64_t ahead;
};

/* A set of enum audit_finding. Of *before is set what belongs to them. */
unsigned audit_record(struct audit *audit, const struct audit_record *record,
		      struct audit_before *before);

/* What was found out of order last in this place had no order to keep: it counts as overlapping. */
void audit_pardon(struct audit *audit, size_t place);

/* An event that must have arrived and has not, until it is excused; in no order. each may call
 * audit_know for it. */
void audit_missing(struct audit *audit, void (*each)(void *arg, struct audit_name name, int64_t id),
		   void *arg);

/* Whether the event must have arrived and has not. */
bool audit_is_missing(const struct audit *audit, struct audit_name name);

/* What is known of an event; AUDIT_NO_ID if nothing is. */
int64_t audit_id(const struct audit *audit, struct audit_name name);

const struct audit_counts *audit_counts(const struct audit *audit, size_t place);
struct audit_counts audit_total(const struct audit *audit);
uint64_t audit_due(const struct audit *audit); /* events that must have arrived */
size_t audit_bytes(const struct audit *audit); /* of its tables */

#endif
