/* SPDX-License-Identifier: ISC */
/*
 * copies.h - the copies that letters are owed, for route.dead_letter_topic
 *
 * letters.c asks in its own name: all of it is part of its lane. A copy goes to the topic that the
 * option names at that moment; while it is empty, what is owed waits.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_COPIES_H
#define OUTBOX_OUTBOX_COPIES_H

#include "claim.h"
#include "ids.h"

struct copies;

struct copies *copies_new(struct session *session);
void copies_free(struct copies **copies);

/* The statements. To be synced. */
void copies_prepare(const struct copies *copies, const struct asker *asker);

/* Whether one is owed of what is rejected now, as a parameter. */
struct pg_param copies_param(const struct copies *copies);

/* Whether some are to be claimed now, if any are owed. */
bool copies_may_go(const struct copies *copies);
/* Begins a transaction and claims some. */
void copies_ask(const struct copies *copies, const struct asker *asker, int tag,
		const struct claim *claim);
/* To be told of the answer. */
void copies_claimed(struct copies *copies, const PGresult *result);

/* Asks whether any are owed, unless none are to be claimed now: one row and column. */
void copies_look(const struct copies *copies, const struct asker *asker, int tag);

/* Those that are published are owed no more. Within a transaction; answers how many to the asker.
 */
void copies_settle(const struct asker *asker, int tag, const struct outbox_ids_item *items,
		   size_t count);

#endif
