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
	char *ids, *identities; /* owned; {1,2} and {"a",NULL} */
	char *reasons, *errors; /* owned; of rejected events */
};

/* A row to be settled. */
struct outbox_ids_item {
	int64_t id;
	struct slice identity;	      /* borrowed */
	const struct event *rejected; /* borrowed; NULL: it is published */
};

/* Of so many items those that are published. */
void outbox_ids_published(struct outbox_ids *ids, const struct outbox_ids_item *items,
			  size_t count);

/* One row that is published. identity may be NULL. */
void outbox_ids_one(struct outbox_ids *ids, int64_t id, const char *identity);

/* Those that are rejected, with their words: as they are in a UTF-8 database, else in ASCII only.
 */
void outbox_ids_rejected(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count,
			 bool utf8);

void outbox_ids_free(struct outbox_ids *ids);

#endif
