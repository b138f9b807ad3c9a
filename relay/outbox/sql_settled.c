/* SPDX-License-Identifier: ISC */
/*
 * sql_settled.c - what is settled, and settling it by its identity
 *
 * Where rows stay (settle = "position"), the position of its shard says whether a row is published.
 * A row that is settled before the position has come to it is noted in outbox_relay.settled_ahead,
 * and the claim that comes to it leaves it out.
 */
#include "sql_internal.h"

#include "base/failpoints.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* ---- positions ---- */

/* While positions are of another layout, whoever has the first of our shards claims for all. */
char *outbox_sql_shards(const struct outbox_shape *shape, size_t leaf, const char *mine)
{
	if (shape->position_layout == 0)
		return xasprintf("ARRAY[%u::int8]", shape->leaves[leaf].oid);
	if (!shape->aligns)
		return shape->hashed > 0 ? xasprintf("%s::int8[]", mine)
					 : xstrdup("ARRAY[0::int8]");
	SCRATCH char *all = xasprintf("ARRAY(SELECT k::int8 FROM generate_series(0, %d) AS k)",
				      shape->position_layout - 1);
	return shape->hashed > 0
		   ? xasprintf("CASE WHEN 0 = ANY (%s::int8[]) THEN %s ELSE '{}' END", mine, all)
		   : xstrdup(all);
}

char *outbox_sql_shard(const struct outbox_shape *shape, size_t leaf)
{
	if (shape->position_layout <= 1)
		return xasprintf("%u::int8",
				 shape->position_layout == 0 ? shape->leaves[leaf].oid : 0);
	SCRATCH char *key =
	    outbox_sql_hash((const char *const *)shape->position_keys, shape->position_key_count);
	return xasprintf("((%s & 9223372036854775807) %% %d)", key, shape->position_layout);
}

char *outbox_sql_last_positions(const struct outbox_shape *shape, const char *shards)
{
	return xasprintf(
	    "unnest(%s) AS m (shard) CROSS JOIN LATERAL (SELECT p.ctid AS place, p.finished, "
	    "p.target, p.reached, p.walks FROM outbox_relay.positions AS p WHERE p.outbox = "
	    "%u::oid AND "
	    "p.layout = %d AND p.shard = m.shard ORDER BY p.number DESC LIMIT 1) AS p",
	    shards, shape->oid, shape->position_layout);
}

/* Of those with the same xmax, the later one has fewer that are under way. */
char *outbox_sql_snapshot_age(const char *snapshot)
{
	return xasprintf("pg_snapshot_xmax(%s), (SELECT -count(*) FROM pg_snapshot_xip(%s))",
			 snapshot, snapshot);
}

/*
 * The transactions that `goal` shows and `finished` does not, as spans of x: what lies between
 * those that are still open of all that were begun since, and each that was open then and is not
 * now. So the rows of a large transaction that is still open are not looked at. Snapshots say which
 * are open in text only, and there is no arithmetic on xid8.
 */
static char *spans(const char *from)
{
	return xasprintf(
	    "(SELECT span.low::text::xid8 AS low, span.high::text::xid8 AS high FROM (SELECT "
	    "b.low, coalesce(lead(b.low) OVER (ORDER BY b.low) - 1, b.last) AS high FROM (SELECT "
	    "pg_snapshot_xmax(finished)::text::int8 AS low, pg_snapshot_xmax(goal)::text::int8 AS "
	    "last FROM %s UNION ALL SELECT running::text::int8 + 1, "
	    "pg_snapshot_xmax(goal)::text::int8 FROM %s, pg_snapshot_xip(goal) AS running WHERE "
	    "running >= pg_snapshot_xmax(finished)) AS b UNION ALL SELECT running::text::int8, "
	    "running::text::int8 + 1 FROM %s, "
	    "pg_snapshot_xip(finished) AS running WHERE pg_visible_in_snapshot(running, goal)) AS "
	    "span WHERE span.low < span.high)",
	    from, from, from);
}

char *outbox_sql_by_x(const char *row, const char *from)
{
	SCRATCH char *between = spans(from);
	return xasprintf("SELECT found.* FROM %s AS span CROSS JOIN LATERAL (%s t.x >= span.low "
			 "AND t.x < span.high OFFSET 0) AS found",
			 between, row);
}

char *outbox_sql_any_ahead(const struct outbox_shape *shape)
{
	return xasprintf("(SELECT true FROM outbox_relay.settled_ahead AS a WHERE a.outbox = "
			 "%u::oid LIMIT 1)",
			 shape->oid);
}

/* As the position of its shard says. */
static char *is_published(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *shard = outbox_sql_shard(shape, leaf),
		     *shards = xasprintf("ARRAY[%s]", shard);
	SCRATCH char *last = outbox_sql_last_positions(shape, shards);
	return xasprintf("(SELECT pg_visible_in_snapshot(t.x, p.finished) OR p.target IS NOT NULL "
			 "AND pg_visible_in_snapshot(t.x, p.target) AND t.%s <= p.reached FROM %s)",
			 id, last);
}

char *outbox_sql_not_settled(const struct outbox_shape *shape, size_t leaf)
{
	if (!shape->position)
		return xstrdup(outbox_sql_unmarked(shape));
	SCRATCH char *id = outbox_sql_quoted(shape->names->id),
		     *identity = outbox_sql_identity(shape);
	SCRATCH char *published = is_published(shape, leaf);
	return xasprintf(" AND %s IS NOT TRUE AND NOT EXISTS (SELECT FROM "
			 "outbox_relay.settled_ahead AS a WHERE a.outbox = %u::oid AND a.id = t.%s "
			 "AND a.event_id IS NOT DISTINCT FROM %s)",
			 published, shape->oid, id, identity);
}

char *outbox_sql_note_ahead(const struct outbox_shape *shape, const char *from)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id),
		     *identity = outbox_sql_identity(shape);
	return xasprintf("INSERT INTO outbox_relay.settled_ahead (outbox, id, event_id) SELECT "
			 "%u::oid, t.%s, %s FROM %s",
			 shape->oid, id, identity, from);
}

/* Notes that no claim comes to: their rows are gone, or another session has published them
 * meanwhile. They would keep all claims from being plain. */
char *outbox_sql_forget_ahead(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id),
		     *identity = outbox_sql_identity(shape);
	SCRATCH char *published = is_published(shape, leaf);
	SCRATCH char *same = xasprintf(
	    "AS t WHERE t.%s = a.id AND %s IS NOT DISTINCT FROM a.event_id", id, identity);
	const char *table = shape->leaves[leaf].table,
		   *only = outbox_sql_only(&shape->leaves[leaf]);
	return xasprintf("DELETE FROM outbox_relay.settled_ahead AS a WHERE a.outbox = %u::oid AND "
			 "(NOT EXISTS (SELECT FROM %s %s) OR EXISTS (SELECT FROM %s%s %s AND %s) "
			 "AND NOT EXISTS (SELECT FROM %s%s %s AND %s IS NOT TRUE))",
			 shape->oid, shape->table, same, only, table, same, published, only, table,
			 same, published);
}

/* ---- rows that are found again by what was returned of them ---- */

/*
 * Where the given rows lie, of a list "given" with id and event_id. OFFSET 0 keeps the subquery one
 * of its own, so that each id is looked up in the index: a plain join, planned while the table was
 * small, walks the whole of it for each id. Not "=": the event_id of an adopted table may be NULL.
 * A row that another session has locked is passed over: waiting for it would hold up everything.
 */
static char *found(const struct outbox_shape *shape, size_t leaf, const char *what,
		   const char *filter, const char *lock)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *text = outbox_sql_identity(shape);
	return xasprintf("LATERAL (SELECT %s FROM %s%s AS t WHERE t.%s = given.id "
			 "AND %s IS NOT DISTINCT FROM given.event_id%s OFFSET 0%s) AS found",
			 what, outbox_sql_only(&shape->leaves[leaf]), shape->leaves[leaf].table, id,
			 text, filter, lock);
}

char *outbox_sql_places(const struct outbox_shape *shape, size_t leaf, const char *filter)
{
	return found(shape, leaf, "t.tableoid AS part, t.ctid AS place", filter,
		     shape->position ? "" : " FOR UPDATE SKIP LOCKED");
}

/* Rows that stay are noted, each once, whatever number of them have this identity. */
static char *note(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *waits = outbox_sql_not_settled(shape, leaf);
	SCRATCH char *rows = found(shape, leaf, "t.*", waits, "");
	SCRATCH char *from = xasprintf("(SELECT found.* FROM (SELECT DISTINCT id, event_id FROM "
				       "unnest($1::int8[], $2::text[]) AS given (id, event_id)) AS "
				       "given, %s) AS t",
				       rows);
	return outbox_sql_note_ahead(shape, from);
}

/* By a planted error only what is in shards of ours. */
static char *of_own_shards(const struct outbox_shape *shape, const char *filter)
{
	static const char owned[] =
	    "ARRAY(SELECT objid::int8 & 4095 FROM pg_locks WHERE pid = pg_backend_pid() AND "
	    "locktype = 'advisory' AND objid::int8 >> 24 = 111)";
	char *text = xstrdup(filter);
	if (PLANTED("settles-own-shards")) {
		SCRATCH char *mine = outbox_sql_mine(shape, owned);
		xappend(&text, "%s", mine);
	}
	return text;
}

char *outbox_sql_settle(const struct outbox_shape *shape, size_t leaf)
{
	if (shape->position)
		return note(shape, leaf);
	SCRATCH char *filter = of_own_shards(shape, outbox_sql_unmarked(shape));
	SCRATCH char *found = outbox_sql_places(shape, leaf, filter);
	if (shape->leaves[leaf].parted)
		return xasprintf("%s %s AS t%s %s (SELECT found.part, found.place FROM "
				 "unnest($1::int8[], $2::text[]) AS given (id, event_id), %s "
				 "OFFSET 0) AS given WHERE t.tableoid = given.part AND t.ctid = "
				 "given.place",
				 outbox_sql_verb_on(shape, &shape->leaves[leaf]),
				 shape->leaves[leaf].table, outbox_sql_set(shape),
				 shape->mark ? "FROM" : "USING", found);
	return xasprintf("%s %s%s WHERE ctid = ANY (ARRAY(SELECT found.place FROM "
			 "unnest($1::int8[], $2::text[]) AS given (id, event_id), %s))",
			 outbox_sql_verb(shape), shape->leaves[leaf].table, outbox_sql_set(shape),
			 found);
}

/* Cut short: it is for people. */
static char *key_in_words(const struct outbox_shape *shape)
{
	SCRATCH char *columns = xstrdup("NULL");
	for (size_t i = 0; i < shape->key_count; i++) {
		SCRATCH char *name = outbox_sql_quoted(shape->keys[i]);
		xappend(&columns, ", left(t.%s::text, 64)", name);
	}
	return xasprintf("nullif(concat_ws(' ', %s), '')", columns);
}

/* Whoever has locked them. */
char *outbox_sql_still(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *hold = outbox_sql_hold(shape), *name = key_in_words(shape);
	SCRATCH char *what = xasprintf("given.id, given.event_id, %s AS hold, %s AS name, "
				       "t.ctid::text || ' ' || t.xmin::text AS version",
				       hold, name);
	SCRATCH char *waits = outbox_sql_not_settled(shape, leaf);
	SCRATCH char *filter = of_own_shards(shape, waits);
	SCRATCH char *rows = found(shape, leaf, what, filter, "");
	return xasprintf("SELECT found.* FROM unnest($1::int8[], $2::text[]) AS given (id, "
			 "event_id), %s",
			 rows);
}
