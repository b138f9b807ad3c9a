/* SPDX-License-Identifier: ISC */
/*
 * producers.h - exactly once: this session's slot, what it may have in doubt, and settling that
 *
 * A slot is one of 64 producers of the outbox in Kafka; its lock (outbox/locks.h) goes with the
 * session. Before a shard is claimed from, the database knows that the slot may have events of it
 * in doubt (outbox_relay.producer_shards); a shard that another slot may have such events of waits
 * until that one is resolved. See sql/0016_exactly_once.sql.
 *
 * Where kafka.delivery is "at-least-once" there is none of that; only that nothing is in doubt is
 * seen to, once. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_PRODUCERS_H
#define OUTBOX_OUTBOX_PRODUCERS_H

#include "base/loop.h"
#include "core/source.h"
#include "reconcile.h"

struct producers;

struct producers_events {
	/* The session has a slot, and source->producer is set: the group can be joined. */
	void (*slotted)(void *owner);
	/* What is ours may be claimed from. */
	void (*owned)(void *owner);
	/* The ledger was settled: so many events. */
	void (*resolved)(void *owner, int64_t events);
	/* It must not be: source->refusal says why. */
	void (*refused)(void *owner);
};

struct producers *producers_new(struct loop *loop, struct session *session, struct source *source,
				struct reconciler *reconciler,
				const struct producers_events *events, void *owner);
void producers_free(struct producers **producers);

/* slotted, perhaps from inside. unavailable: rather not one that somebody has left in doubt, since
 * this relay cannot resolve it now. */
void producers_begin(struct producers *producers, bool unavailable);

/* Shards were gained: owned, perhaps from inside. Until then nothing may be claimed. */
void producers_own(struct producers *producers);

/* Shards are about to be handed over. False: what this slot has in doubt goes with them, and the
 * session is ended, so that others can resolve it. */
bool producers_give(struct producers *producers, const struct shards *shards);

/* No shard is ours. False: the slot may be in doubt, this relay has come to be without Kafka since
 * it took it, and the session is ended, so that others can resolve it. */
bool producers_stand_by(struct producers *producers, bool unavailable);

/* All shards are given up, and the session with them: whoever has them next need not wait. */
void producers_leave(struct producers *producers);

/* See source.h. The batch's own transaction writes down that it is settled. */
void producers_describe(struct producers *producers, const struct batch *batch,
			struct ledger_batch *described);
void producers_settle(struct producers *producers);
void producers_settled(struct producers *producers);
void producers_resolve(struct producers *producers, const struct ledger *ledger);

#endif
