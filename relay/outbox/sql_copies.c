/* SPDX-License-Identifier: ISC */
/*
 * sql_copies.c - the statements on copies of letters, for the topic of dead letters
 */
#include "sql_internal.h"

#include "base/xalloc.h"

#include <stdlib.h>

/* FROM and WHERE: the letters "d" of these shards whose copies are owed. */
static char *owed(const struct outbox_shape *shape, const char *param)
{
	SCRATCH char *ours = outbox_sql_letters_mine(shape, param);
	return xasprintf("FROM outbox_relay.dead_letters AS d WHERE d.outbox = %u::oid AND "
			 "d.copy_owed_since IS NOT NULL%s",
			 shape->oid, ours);
}

/* In the order of enum copy_note. */
static const char notes[] =
    "$3::text, d.reason, d.error, left(d.topic, 1000), $4::text, d.id::text, d.attempts::text, "
    "to_char(d.dead_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

/* Where relays compete, another one may be at it: what it has locked is left to it. Of the first
 * one, its size does not matter. */
char *outbox_sql_copies_claim(const struct outbox_shape *shape)
{
	SCRATCH char *some = owed(shape, "$5");
	SCRATCH char *returned = outbox_sql_letters_returned(shape, "d.number");
	return xasprintf(
	    "WITH upcoming AS MATERIALIZED (SELECT d.number, d.copy_owed_since AS since, "
	    "coalesce(octet_length(d.payload), 0) + 1 AS size %s ORDER BY d.copy_owed_since, "
	    "d.number LIMIT $1::int8 FOR UPDATE SKIP LOCKED), due AS MATERIALIZED (SELECT "
	    "array_agg(number ORDER BY since, number) AS numbers FROM (SELECT number, since, size, "
	    "sum(size) OVER (ORDER BY "
	    "since, number) AS upto FROM upcoming) AS summed WHERE upto <= $2::int8 OR upto = "
	    "size) UPDATE outbox_relay.dead_letters AS d SET copy_owed_since = NULL WHERE d.number "
	    "= ANY ((SELECT numbers FROM due)::int8[]) RETURNING %s, %s, "
	    "((SELECT numbers FROM due)::int8[])[1]",
	    some, returned, notes);
}

char *outbox_sql_copies_owed(const struct outbox_shape *shape)
{
	SCRATCH char *some = owed(shape, "$1");
	return xasprintf("SELECT EXISTS (SELECT %s)", some);
}
