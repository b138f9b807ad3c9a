/*
 * outbox_ids.h - the events of a batch as array parameters: who is settled, who is set aside
 *
 * Postgres array literals (manual: "Array Value Input"), built once per recovery. Pure.
 */
#ifndef OUTBOX_OUTBOX_IDS_H
#define OUTBOX_OUTBOX_IDS_H

#include "batch.h"

struct outbox_ids {
	size_t count;
	char *ids, *identities; /* owned; {1,2} and {"a",NULL} */
	char *reasons, *errors; /* owned; of rejected events */
};

/* The events of the batch that are in this state. */
void outbox_ids_collect(struct outbox_ids *ids, const struct batch *batch, enum event_state state);
/* The rejected ones, with their words: as they are in a UTF-8 database, else in ASCII only. */
void outbox_ids_rejected(struct outbox_ids *ids, const struct batch *batch, bool utf8);
void outbox_ids_free(struct outbox_ids *ids);

#endif
