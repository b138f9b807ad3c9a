/*
 * debt.h - events whose removal is committed but not yet durable
 *
 * While a backlog waits, batches are committed without waiting for the WAL's flush, which then
 * happens while the next batch is claimed. A crash of the server may undo such a commit: its events
 * would come back and be published twice. So they are remembered until a later commit of the same
 * session has been waited for (it flushes, and replicates, all that came before), and settled by
 * identity if a session is lost before. The relay's memory is all that is at stake: a commit is
 * lost only if the server crashes, and an event repeated only if the relay dies with it.
 */
#ifndef OUTBOX_OUTBOX_DEBT_H
#define OUTBOX_OUTBOX_DEBT_H

#include "ids.h"

/* A commit that leaves more than so many events in debt is waited for. */
enum { DEBT_EVENTS_MAX = 50000, DEBT_BATCHES_MAX = 32 };

struct outbox_debt {
	struct outbox_ids batches[DEBT_BATCHES_MAX]; /* owned */
	size_t count, events;
};

/* Whether a batch of so many events may be committed without waiting. */
bool outbox_debt_has_room(const struct outbox_debt *debt, size_t events);

/* Remembers the delivered events of a batch. There must be room. */
void outbox_debt_add(struct outbox_debt *debt, const struct batch *batch);

/* All of it is durable, or settled again. */
void outbox_debt_clear(struct outbox_debt *debt);

#endif
