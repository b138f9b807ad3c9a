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
};

/* Why an event is rejected: the reason label of outbox_relay_rejected_total. */
enum reject_reason {
	REJECT_NONE,
	REJECT_TOO_LARGE,
	REJECT_TOPIC,	/* the routed topic name is not a legal one */
	REJECT_HEADERS, /* headers are not a flat JSON object */
	REJECT_ROUTE,	/* a template's column is NULL */
	REJECT_BROKER,	/* the broker refused the record for good */
	REJECT_REASONS
};
/* Thread: any. */
const char *reject_reason_name(enum reject_reason reason); /* "too_large", "topic", ... */

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
	enum event_state state; /* batch.c writes it */
	enum reject_reason reason; /* set when state is EVENT_REJECTED */
	char *why;		   /* owned; words for the reject, or NULL */
	bool again;		   /* it was rejected before, and is tried again */
	struct chunk *chunk;	   /* borrowed: where it came in */
	struct topic *topic;	   /* borrowed from the sink; set when sent */
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
