/* SPDX-License-Identifier: ISC */
/*
 * locks.h - the advisory locks by which the relays of an outbox know each other
 *
 * pg_advisory_lock(key1, key2). Where nothing else is said, key1 is the oid of the outbox table (of
 * the parent, should it be partitioned), key2 one of those below. A session that serves holds
 *
 * - one member lock, shared: "I am here, and my layout has so many shards". While it cannot reach
 * the sink it is the lock of an unavailable relay instead: "I am here, and leave the shards to
 * others";
 * - one layout lock, shared. Its key1 is a fingerprint of all else that decides which shard a row
 *   is in (outbox_sql_fingerprint);
 * - the lock of each shard it owns, exclusively. The number of shards is part of the key.
 *
 * and, exactly once, that of its slot, exclusively: OUTBOX_SLOT_LOCK and the slot, from 0.
 *
 * Relays of another layout, be it another number or another fingerprint, would put a key in another
 * shard: nobody begins to work while one of them holds a shard lock.
 *
 * Layout 0 is that of relays without order (outbox.ordering = "none"): they hold its shard 0, all
 * of them, shared.
 *
 * Any login may take any advisory lock. So only sessions that may be relays are counted. Member and
 * layout locks have a salt, a number of no meaning: whoever finds a key occupied takes another one.
 * A shard's lock cannot be had while another session holds it, and relays say who does.
 *
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_LOCKS_H
#define OUTBOX_OUTBOX_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	OUTBOX_SLOT_LOCK = 0x6b000000,
	OUTBOX_LAYOUT_LOCK = 0x6c000000,
	OUTBOX_BE_UNAVAILABLE_LOCK = 0x6d000000,
	OUTBOX_MEMBER_LOCK = 0x6e000000,
	OUTBOX_SHARD_LOCK = 0x6f000000
};

enum { OUTBOX_SALTS = 1 << 12 };

static inline int32_t outbox_member_lock(int shards, bool unavailable, unsigned salt)
{
	return (unavailable ? OUTBOX_BE_UNAVAILABLE_LOCK : OUTBOX_MEMBER_LOCK) |
	       (int32_t)salt << 12 | shards;
}

static inline int32_t outbox_layout_lock(unsigned salt)
{
	return OUTBOX_LAYOUT_LOCK | (int32_t)salt;
}

static inline int32_t outbox_shard_lock(int shards, int shard)
{
	return OUTBOX_SHARD_LOCK | shards << 12 | shard;
}

/* Of any of these locks but a layout's: the number of shards that its session counts. */
static inline int outbox_lock_layout(uint32_t key)
{
	return (int)((key >= OUTBOX_SHARD_LOCK ? key >> 12 : key) & 0xfff);
}

static inline int outbox_lock_shard(uint32_t key)
{
	return (int)(key & 0xfff);
}

/* SQL: the locks of relays in this database, as (class, key, pid, mode, granted), among them the
 * layout locks of other outboxes' relays. Two-key locks have objsubid 2 (manual: pg_locks). */
#define OUTBOX_SQL_LOCKS(table)                                                                    \
	"SELECT l.classid::int8 AS class, l.objid::int8 AS key, l.pid, l.mode, l.granted "         \
	"FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'advisory' AND l.objsubid = 2 "          \
	"AND l.database = (SELECT oid FROM pg_catalog.pg_database "                                \
	"WHERE datname = pg_catalog.current_database()) "                                          \
	"AND (l.objid::int8 >> 24 = 108 "                                                          \
	"OR (l.objid::int8 >> 24 BETWEEN 109 AND 111 AND l.classid = " table "))"

/* SQL: whether session a of pg_stat_activity may be a relay of this outbox: its role may DELETE
 * from it, or may become a role that may. Where rows stay nobody needs to: there it is a member of
 * the role of its relays. A session that has just ended has no role. Sessions of the role that asks
 * may be, also when its right was revoked: it says so itself. */
#define OUTBOX_SQL_MAY_RELAY(table)                                                                \
	"coalesce(pg_get_userbyid(a.usesysid) = session_user OR "                                  \
	"has_table_privilege(a.usesysid, " table ", 'DELETE') OR EXISTS (SELECT FROM "             \
	"pg_catalog.pg_class AS c WHERE c.oid = " table                                            \
	" AND (pg_has_role(a.usesysid, c.relowner, 'MEMBER') "                                     \
	"OR EXISTS (SELECT FROM aclexplode(c.relacl) AS x WHERE x.privilege_type = 'DELETE' "      \
	"AND x.grantee <> 0 AND pg_has_role(a.usesysid, x.grantee, 'MEMBER')))) OR EXISTS ("       \
	"SELECT FROM outbox_relay.outboxes AS o WHERE o.outbox = " table                           \
	" AND o.settle = 'position' AND pg_has_role(a.usesysid, to_regrole(to_jsonb(o) ->> "       \
	"'relay'), 'MEMBER')), true)"

#endif
