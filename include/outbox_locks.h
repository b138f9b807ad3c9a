/*
 * outbox_locks.h - the advisory locks by which the relays of an outbox know each other
 *
 * pg_advisory_lock(key1, key2): key1 is the oid of the outbox table (of the parent, should it be
 * partitioned), key2 one of those below. A session that serves holds
 *
 * - one member lock, shared: "I am here, and my layout has so many shards". While it cannot reach
 * the sink it is the lock of an abstainer instead: "I am here, and leave the shards to others";
 * - the lock of each shard it owns, exclusively. The number of shards is part of the key, so that
 *   relays with another number, who would put a key in another shard, see each other: nobody begins
 *   to work while a shard lock of another layout is held.
 *
 * Layout 0 is that of relays without order (outbox.ordering = "none"): they hold its shard 0, all
 * of them, shared.
 */
#ifndef OUTBOX_OUTBOX_LOCKS_H
#define OUTBOX_OUTBOX_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	OUTBOX_ABSTAIN_LOCK = 0x6d000000,
	OUTBOX_MEMBER_LOCK = 0x6e000000,
	OUTBOX_SHARD_LOCK = 0x6f000000
};

static inline int32_t outbox_member_lock(int shards, bool abstains)
{
	return (abstains ? OUTBOX_ABSTAIN_LOCK : OUTBOX_MEMBER_LOCK) | shards;
}

static inline int32_t outbox_shard_lock(int shards, int shard)
{
	return OUTBOX_SHARD_LOCK | shards << 12 | shard;
}

#endif
