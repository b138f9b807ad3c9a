/* SPDX-License-Identifier: ISC */
/*
 * letters.h - what was set aside: carries out what operators ask for, and claims what is due
 *
 * Only the relay that owns a letter's shard changes it, in the session that claims: so nothing of a
 * key is published past a letter of it. Tells what claim.h tells of a claim.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_LETTERS_H
#define OUTBOX_OUTBOX_LETTERS_H

#include "claim.h"
#include "ids.h"

struct letters;

struct letters *letters_new(struct session *session, struct source *source,
			    const struct claimer_events *events, void *owner);
void letters_free(struct letters **letters);

/* The statements, which belong to no leaf. To be synced. */
void letters_prepare(struct letters *letters);

/* Whether a claim of letters may find some. */
bool letters_are_due(const struct letters *letters);

/* Some may be: an operator has asked for something, or the shards have changed. */
void letters_look(struct letters *letters);

/* Counts them, and sees whether some are due; outside a transaction. */
void letters_count(struct letters *letters);

/* Begins a transaction and claims those that are due. */
void letters_ask(struct letters *letters, const struct claim *claim);

/* Of what is rejected now, whether copies are owed, as a parameter of what makes letters. */
struct pg_param letters_copied(const struct letters *letters);

/* Of letters that were claimed: those that are published are gone, those that are rejected stay.
 * Those whose copies are published are owed none.
 * Within a transaction; answers how many are done to the asker. */
void letters_settle(const struct asker *asker, int tag, const struct outbox_ids_item *items,
		    size_t count);
/* What is deferred stays, too; its topic, and that of rows, is left alone for a while. Rows are set
 * aside already. Of a claim whose session is lost nothing is told: another relay may have tried the
 * letters since, and operators may have asked for them anew. */
void letters_keep(struct letters *letters, const struct asker *asker, int tag,
		  const struct outbox_ids_item *items, size_t count);

/* The batch is committed: the topics that were tried can be used. */
void letters_settled(struct letters *letters);

/* Adds the events that wait for their topics to what waits. */
void letters_add(const struct letters *letters, struct gauges *gauges);

#endif
