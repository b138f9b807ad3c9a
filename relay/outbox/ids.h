/* SPDX-License-Identifier: ISC */
/*
 * ids.h - the events of a batch as array parameters: who is settled, who is dead-lettered
 *
 * Postgres array literals (manual: "Array Value Input"), built once per reconciliation. Pure.
 */
#ifndef OUTBOX_OUTBOX_IDS_H
#define OUTBOX_OUTBOX_IDS_H

#include "core/batch.h"

struct outbox_ids {
	size_t count;
	char *ids, *identities;	       /* owned; {1,2} and {"a",NULL} */
	char *reasons, *errors, *held; /* owned; of rejected and deferred events */
	char *attempts;		       /* owned; of copies */
};

/* A row to be settled. */
struct outbox_ids_item {
	int64_t id;
	struct slice identity;	      /* borrowed */
	const struct event *rejected; /* borrowed; or deferred; NULL: it is published */
	bool parks;		      /* rejected: its key is to wait */
	int64_t letter;		      /* it is this letter, and no row; 0: a row */
	const struct slice *copy;     /* borrowed; no more than its copy, of these notes; or NULL */
};

/* Of so many items the rows that are published. */
void outbox_ids_published(struct outbox_ids *ids, const struct outbox_ids_item *items,
			  size_t count);

/* The rows that published letters were, as items; room for `count` of them. After a failover a
 * letter may be a row again. Not where an event is known by its row's id, which another event may
 * have by then. How many. Pure. */
size_t outbox_ids_rows_of_letters(struct outbox_ids_item *rows, const struct outbox_ids_item *items,
				  size_t count);

/* One row that is published. identity may be NULL. */
void outbox_ids_one(struct outbox_ids *ids, int64_t id, const char *identity);

/* The rows that are rejected, with their words: as they are in a UTF-8 database, else in ASCII
 * only.
 */
void outbox_ids_rejected(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count,
			 bool utf8);

/* The letters that are published, or rejected: ids are their numbers. */
void outbox_ids_letters_published(struct outbox_ids *ids, const struct outbox_ids_item *items,
				  size_t count);
void outbox_ids_letters_rejected(struct outbox_ids *ids, const struct outbox_ids_item *items,
				 size_t count, bool utf8);

/* The letters whose copies are published: ids are their numbers, attempts how often they had been
 * rejected. */
void outbox_ids_copied(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count);

void outbox_ids_free(struct outbox_ids *ids);

/* So many texts as text[]; malloc'd. */
char *outbox_ids_texts(const char *const *texts, size_t count);

#endif
