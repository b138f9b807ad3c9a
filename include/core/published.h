/* SPDX-License-Identifier: ISC */
/*
 * published.h - which of the rows that wait in an outbox are published already
 *
 * First the rows, then the records that the topics hold, in any order; then what came of it. A row
 * is found by its event id. Keys tell which rows are left behind a published one: they can only be
 * published after it. Pure: no I/O, no clock. Thread: any, but one at a time for a set.
 *
 * Memory: 40 bytes a row that is looked up and 16 a key of which a row is published, in hash tables
 * that are between half and three quarters full; 8 bytes a row that counts as published, and 8 more
 * one that is found, and 16 one that is behind. Ids and keys are not kept as text: an event is
 * known by 16 bytes (audit_name), a key by 8.
 */
#ifndef OUTBOX_PUBLISHED_H
#define OUTBOX_PUBLISHED_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct published;

/* Instead of a topic: the row can be routed to none. */
#define PUBLISHED_NOWHERE SIZE_MAX

struct published_row {
	int64_t id;
	struct slice event_id; /* data == NULL: it has none, and is not looked up */
	struct slice key;      /* data == NULL: none, and there is no order to keep */
	size_t topic;	       /* as published_topic_of says, or PUBLISHED_NOWHERE */
	int64_t created_ms;    /* since 1970; 0: not known */
	bool counts;	       /* as published, without being looked up */
};

/* Of the rows that are routed there. */
struct published_topic {
	const char *name;
	uint64_t waiting, counted, looked_up, found, left;
	int64_t oldest_ms; /* of those looked up; 0: not known of some */
};

struct published_counts {
	uint64_t waiting; /* counted + found + left */
	uint64_t counted, looked_up, found, left, behind;
	uint64_t nameless; /* left, since they have no event id */
	uint64_t doubled;  /* left, since a row before them has the same event id */
	uint64_t nowhere;  /* can be routed to no topic, whether found or not */
	int64_t first_left, last_left;
};

/* A row that is left, and the highest id of its key that is published. */
struct published_behind {
	int64_t id, ahead;
};

struct published *published_new(void);
void published_free(struct published **published);

/* ---- the rows ---- */

/* The number of the topic of this name, from 0 on, in the order of the first time. */
size_t published_topic_of(struct published *published, struct slice name);
void published_take(struct published *published, const struct published_row *row);

size_t published_topics(const struct published *published);
/* Holds until a row is taken. */
const struct published_topic *published_topic(const struct published *published, size_t topic);

/* ---- the records. Whether it is the first of a row that waits ---- */

bool published_record(struct published *published, struct slice event_id);

/* ---- what came of it: once, after all records ---- */

void published_judge(struct published *published);
const struct published_counts *published_counts(const struct published *published);

/* Ids of the rows that are published, ascending: those found; those that count so. */
const int64_t *published_found(const struct published *published, size_t *count);
const int64_t *published_counted(const struct published *published, size_t *count);
/* Those that are behind, by id. */
const struct published_behind *published_behind(const struct published *published, size_t *count);

/* Whether the row with this id and event id was found. */
bool published_is_found(const struct published *published, int64_t id, struct slice event_id);

/* What is held now. */
size_t published_bytes(const struct published *published);

#endif
