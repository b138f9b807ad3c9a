/* SPDX-License-Identifier: ISC */
/*
 * sql_housekeeping.c - how much waits, and what is deleted in time
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* More rows than that are not looked at above where a walk is. */
enum { WALK_CAP = 10 * GAUGE_CAP };

/* Rows "t" that wait, if they meet this, each by the position of its own shard. from: the table. */
static char *waiting_of(const struct outbox_shape *shape, size_t leaf, const char *from,
			const char *where)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *time = shape->names->created_at[0]
				 ? outbox_sql_quoted(shape->names->created_at)
				 : xstrdup("NULL::timestamptz");
	SCRATCH char *shard = outbox_sql_shard(shape, leaf);
	return xasprintf(
	    "SELECT t.%s::int8 AS id, CASE WHEN isfinite(%s) THEN %s END AS created FROM %s AS t, "
	    "newest AS n WHERE n.shard = %s AND NOT pg_visible_in_snapshot(t.x, n.finished) AND "
	    "(n.target IS NULL OR NOT pg_visible_in_snapshot(t.x, n.target) OR (t.%s <= n.reached) "
	    "IS NOT TRUE)%s AND %s",
	    id, time, time, from, shard, id, outbox_sql_event(shape), where);
}

/* Above the lowest id that a walk has come to all rows are looked at, in the order of ids: what it
 * has passed, and would be found by x, may be millions. */
static char *walked(const struct outbox_shape *shape, size_t leaf)
{
	const struct outbox_leaf *own = &shape->leaves[leaf];
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *rows =
	    xasprintf("(SELECT * FROM %s%s AS t WHERE t.%s > (SELECT walk FROM low) ORDER BY t.%s "
		      "LIMIT %d)",
		      outbox_sql_only(own), own->table, id, id, WALK_CAP);
	return waiting_of(shape, leaf, rows, "true");
}

/* What was begun later than all that the position shows which is furthest behind; of a shard that
 * walks, later than its target. */
static char *gauges_position(const struct outbox_shape *shape, size_t leaf)
{
	const struct outbox_leaf *own = &shape->leaves[leaf];
	SCRATCH char *shards = outbox_sql_shards(shape, leaf, "$2");
	SCRATCH char *last = outbox_sql_last_positions(shape, shards);
	SCRATCH char *drawn = outbox_sql_last_drawn(shape);
	SCRATCH char *age = outbox_sql_snapshot_age("at"), *walk = walked(shape, leaf);
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *table = xasprintf("%s%s", outbox_sql_only(own), own->table);
	SCRATCH char *below = xasprintf("(t.%s > (SELECT walk FROM low)) IS NOT TRUE AND ", id);
	SCRATCH char *row = waiting_of(shape, leaf, table, below);
	SCRATCH char *rows = outbox_sql_by_x(row, "low");
	return xasprintf(
	    "WITH newest AS MATERIALIZED (SELECT m.shard, p.finished::text::pg_snapshot AS "
	    "finished, p.target::text::pg_snapshot AS target, p.reached, p.walks FROM %s), low AS "
	    "MATERIALIZED (SELECT at AS finished, pg_current_snapshot() AS goal, (SELECT "
	    "min(coalesce(reached, -9223372036854775808)) FROM newest WHERE walks) AS walk FROM "
	    "(SELECT CASE WHEN walks THEN target ELSE finished END AS at FROM newest) AS n ORDER "
	    "BY %s LIMIT 1), waiting AS MATERIALIZED (SELECT * FROM (%s UNION ALL %s) AS rows "
	    "LIMIT %d) SELECT count(*), min(id), extract(epoch FROM clock_timestamp() - "
	    "min(created))::float8, %s FROM waiting WHERE $1::int8 IS NOT NULL",
	    last, age, walk, rows, GAUGE_CAP + 1, drawn);
}

static char *purge_position(const struct outbox_shape *shape, size_t leaf, int64_t retention_ms)
{
	if (shape->names->created_at[0] == '\0') /* nothing says how old a row is */
		return xstrdup("SELECT 0::int8 WHERE $1::int8 + $2::int8 + $3::int8 IS NULL");
	SCRATCH char *created = pgname_literal(shape->names->created_at);
	return xasprintf("SELECT * FROM outbox_relay.purge_settled(%u::oid::regclass, "
			 "%u::oid::regclass, %s, %lld::int8, $1::int8, $2::int8, $3::int8)",
			 shape->oid, shape->leaves[leaf].oid, created, (long long)retention_ms);
}

/* waiting (up to the cap + 1), first id, age of the first in seconds, last id drawn */
char *outbox_sql_gauges(const struct outbox_shape *shape, size_t leaf)
{
	if (shape->position)
		return gauges_position(shape, leaf);
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *created = shape->names->created_at[0]
				    ? outbox_sql_quoted(shape->names->created_at)
				    : xstrdup("NULL::timestamptz");
	SCRATCH char *drawn = outbox_sql_last_drawn(shape), *mine = outbox_sql_mine(shape, "$2");
	SCRATCH char *table =
	    xasprintf("%s%s", outbox_sql_only(&shape->leaves[leaf]), shape->leaves[leaf].table);
	/* "t." says that it is the column and not the output, by which no index is ordered. */
	return xasprintf(
	    "SELECT (SELECT count(*) FROM (SELECT 1 FROM %s AS t WHERE %s >= $1::int8%s%s "
	    "LIMIT %d) AS waiting), "
	    "first.id, first.age, %s FROM (SELECT 1) AS one LEFT JOIN "
	    "(SELECT %s::int8 AS id, CASE WHEN isfinite(%s) THEN (extract(epoch FROM "
	    "clock_timestamp()) - extract(epoch FROM %s))::float8 END AS age "
	    "FROM %s AS t WHERE %s >= $1::int8%s%s ORDER BY t.%s LIMIT 1) AS first ON true",
	    table, id, outbox_sql_unpublished(shape), mine, GAUGE_CAP + 1, drawn, id, created,
	    created, table, id, outbox_sql_unpublished(shape), mine, id);
}

/* The oldest published rows have the lowest ids, so looking at the first few thousand is enough;
 * but not at those that were marked while the clock was far ahead. Rows that another session has
 * locked are for another time: waiting would end the session. $1: at most so many, $2: after so
 * many that are passed over, $3: of those with higher ids than this. Answers how many were deleted,
 * and up to which id no row need be looked at again soon; NULL: there was none to look at. By
 * positions the first is NULL where all rows up to that id stay, and those behind it were not
 * looked at. */
char *outbox_sql_purge(const struct outbox_shape *shape, size_t leaf, int64_t retention_ms)
{
	if (shape->position)
		return purge_position(shape, leaf, retention_ms);
	SCRATCH char *id = outbox_sql_quoted(shape->names->id), *time = outbox_sql_mark_time(shape);
	const char *table = shape->leaves[leaf].table,
		   *only = outbox_sql_only(&shape->leaves[leaf]);
	if (time == NULL) /* nothing says how long it is published */
		return xstrdup("SELECT 0::int8 WHERE $1::int8 + $2::int8 + $3::int8 IS NULL");
	return xasprintf(
	    "WITH seen AS MATERIALIZED (SELECT t.tableoid AS part, t.ctid AS place, t.%s::int8 AS "
	    "id, %s AS published_at FROM %s%s AS t WHERE %s%s AND t.%s > $3::int8 AND %s < "
	    "clock_timestamp() + interval '1 day' ORDER BY t.%s LIMIT $1::int8 OFFSET $2::int8), "
	    "old AS MATERIALIZED (SELECT t.tableoid AS part, t.ctid AS place FROM %s%s AS t, seen "
	    "WHERE t.tableoid = seen.part AND t.ctid = seen.place AND seen.published_at < "
	    "clock_timestamp() - %lld * interval '1 millisecond' FOR UPDATE OF t SKIP LOCKED), "
	    "gone AS (DELETE FROM %s%s AS t USING old WHERE t.tableoid = old.part AND t.ctid = "
	    "old.place RETURNING t.%s::int8 AS id) "
	    "SELECT count(*), coalesce(max(id), (SELECT min(id) - 1 FROM seen)) FROM gone",
	    id, time, only, table, outbox_sql_published(shape), outbox_sql_event(shape), id, time,
	    id, only, table, (long long)retention_ms, only, table, id);
}
