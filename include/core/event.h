/* SPDX-License-Identifier: ISC */
/*
 * event.h - an event on its way from a source to a sink
 *
 * The bytes belong to the chunk (one claim's result) that the event came in, and live until the
 * batch that holds the chunk is settled. Nothing here knows of rows, SQL or Kafka.
 */
#ifndef OUTBOX_EVENT_H
#define OUTBOX_EVENT_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What became of an event. Written only by batch.c. */
enum event_state {
	EVENT_CLAIMED,	 /* taken from the source, not yet handed to the sink */
	EVENT_SENT,	 /* handed to the sink, no report yet */
	EVENT_DELIVERED, /* acknowledged */
	EVENT_REJECTED,	 /* can never be accepted: the reject policy decides */
	EVENT_RETURNED,	 /* the sink gave it back undelivered: it is to be published again */
	EVENT_DEFERRED,	 /* not sent: its topic cannot be used, and it is to wait for that aside */
};

/* Why an event is rejected: the reason label of outbox_relay_rejected_total. */
enum reject_reason {
	REJECT_NONE,
	REJECT_TOO_LARGE,
	REJECT_UNREADABLE,	 /* the source cannot print or fetch a value */
	REJECT_TOPIC,		 /* the routed topic name is not a legal one, or a column is NULL */
	REJECT_KEY,		 /* a column that the key's template needs is NULL */
	REJECT_HEADERS,		 /* headers are not a flat JSON object, or a column is NULL */
	REJECT_INVALID_RECORD,	 /* the broker's word for good */
	REJECT_POLICY_VIOLATION, /* likewise */
	REJECT_ENCODING,	 /* it cannot be written as it is to be */
	REJECT_REASONS
};
/* What becomes of an event that is rejected. */
enum reject_policy {
	REJECT_HALTS,	     /* nothing is published past it */
	REJECT_DEAD_LETTERS, /* it is set aside, and its key goes on */
	REJECT_PARKS,	     /* it is set aside, and later events of its key wait behind it */
	REJECT_SKIPS,	     /* it is left out, which only a replay may do: its row stays */
};
/* Thread: any. */
const char *reject_reason_name(enum reject_reason reason); /* "too_large", "topic", ... */

/* What is told with a copy of a rejected event: where it goes, and what of the reject; data ==
 * NULL: not known. As text. */
enum copy_note {
	COPY_TO,
	COPY_REASON,
	COPY_ERROR,
	COPY_TOPIC, /* that the event was meant for */
	COPY_OUTBOX,
	COPY_ID,
	COPY_ATTEMPTS,
	COPY_AT, /* when it was rejected */
	COPY_NOTES
};

struct chunk;
struct topic; /* the sink's record of a topic */

struct event {
	int64_t id; /* position in the source's order; unique among waiting events */
	const struct slice *fields; /* by the index that the source's field lookup gave; borrowed */
	struct slice payload;	    /* data == NULL: a tombstone, unless withheld */
	struct slice headers;	    /* JSON text or NULL */
	struct slice identity;	/* differs from that of any other event that ever had the same id */
	int64_t created_us;	/* microseconds since 1970; 0 where the table has no such column */
	int64_t payload_bytes;	/* true size, also when withheld */
	bool withheld;		/* payload over the limit given with the claim: not fetched */
	bool unreadable;	/* withheld since it is more than the source can ever hand out */
	enum event_state state; /* batch.c writes it */
	enum reject_reason reason; /* set when state is EVENT_REJECTED */
	char *why;	/* owned; words for the reject, the topic of what is deferred, or NULL */
	bool again;	/* it was rejected before, and is tried again */
	bool parks;	/* rejected: its key waits; false where it has none */
	int64_t letter; /* it was set aside, and this is its number there; 0: it was not */
	/* It is a copy of that letter, which stays, and these are its notes; NULL: it is none.
	 * Borrowed as the fields are. */
	const struct slice *copy;
	struct chunk *chunk; /* borrowed: where it came in */
	struct topic *topic; /* borrowed from the sink; set when sent */
	bool placed;	     /* likewise: to this partition */
	int32_t partition;
};

/* Events in source order, of one claim. Made by the source, owned by the batch once delivered. */
struct chunk {
	struct event *events; /* owned */
	size_t count;
	size_t bytes;	 /* what it holds in memory, about */
	int64_t took_us; /* how long the source was at it */
	struct chunk *next;
	void (*free)(struct chunk *chunk); /* the source's: frees all, the chunk too */
};

#endif
