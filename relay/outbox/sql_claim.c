/* SPDX-License-Identifier: ISC */
/*
 * sql_claim.c - the statement that takes events: which rows, in what order
 *
 * The next rows in order of id are looked up, then locked where they lie, and taken. A later event
 * of a key must not be taken before one that another session has locked. So the claim compares what
 * it has locked with what it has seen; if it is not the same, it judges the rows key by key. Only
 * where that leaves it too little, since most of what it has seen is of keys that are held back, it
 * looks at many more.
 *
 * Rows that are dead but still in the index are passed once for each look-up, and with a lock at
 * the head of a backlog they become many, since the low watermark stays below it: what has been
 * seen is found again by its place.
 */
#include "sql_making.h"

#include "base/failpoints.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* With the count it tells sets of places apart. The count alone does not: of a row that was updated
 * meanwhile the new version is locked. */
static const char digest[] = "bit_xor(hashtidextended(place, 0::int8)) AS digest";

/* The next rows that can be seen. */
static char *waiting(const struct making *m, const char *filter, const char *limit)
{
	return xasprintf("FROM ONLY %s AS t WHERE t.%s >= $1::int8%s%s%s AND tableoid = %u::oid "
			 "ORDER BY t.%s LIMIT %s",
			 m->leaf->table, m->id, outbox_sql_unpublished(m->shape), m->ours, filter,
			 m->leaf->oid, m->id, limit);
}

/* Their places and sizes, in their order: an aggregate sees the rows of a sorted subquery so
 * (manual: "Aggregate Functions"). */
static char *seen(const struct making *m, const char *name, const char *limit)
{
	SCRATCH char *rows = waiting(m, m->none, limit);
	return xasprintf("%s AS MATERIALIZED (SELECT array_agg(place) AS places, "
			 "array_agg(size) AS sizes, sum(size) AS total, count(*) AS count, "
			 "%s FROM (SELECT t.ctid AS place, %s AS size %s) AS next)",
			 name, digest, m->size, rows);
}

/* Those of them that nobody else has locked. Of a row that was updated after our snapshot the new
 * version is locked (manual: "Read Committed Isolation Level"), whose place this statement cannot
 * see to take it. */
static char *locked(const struct making *m, const char *name, const char *rows)
{
	return xasprintf("%s AS MATERIALIZED (SELECT array_agg(place) AS places, count(*) AS "
			 "count, %s FROM (SELECT t.ctid AS place FROM ONLY %s AS t WHERE t.ctid = "
			 "ANY ((SELECT places FROM %s)::tid[])%s FOR UPDATE SKIP LOCKED) AS "
			 "lockable)",
			 name, digest, m->leaf->table, rows,
			 outbox_sql_still_unpublished(m->shape));
}

/*
 * A row is clear if none of its key was passed over up to it. IN in a list of columns makes a hash
 * table of the places, whatever the settings and the statistics are; a join would compare each with
 * each, since our session has hash joins off. OFFSET 0: otherwise whole rows are sorted, payloads
 * and all.
 */
static char *judged(const struct making *m, const char *name, const char *rows,
		    const char *lockable)
{
	return xasprintf(
	    "%s AS MATERIALIZED (SELECT place, id, key, size, bool_and(free) OVER (PARTITION BY "
	    "key ORDER BY id) AS clear FROM (SELECT t.ctid AS place, t.%s::int8 AS id, %s AS key, "
	    "%s AS size, t.ctid IN (SELECT unnest(places) FROM %s) AS free FROM ONLY %s AS t WHERE "
	    "t.ctid = ANY ((SELECT places FROM %s)::tid[]) OFFSET 0) AS rows)",
	    name, m->id, m->key, m->size, lockable, m->leaf->table, rows);
}

static char *clear(const struct making *m, const char *name, const char *rows)
{
	return xasprintf("%s AS MATERIALIZED (SELECT array_agg(place) AS places, array_agg(size) "
			 "AS sizes, sum(size) AS total, count(*) AS count FROM (SELECT place, size "
			 "FROM %s WHERE clear ORDER BY id LIMIT %s) AS next)",
			 name, rows, m->limit);
}

/* Rows, which are named by the first statement: locked, judged, and what is clear of them.
 */
static char *look(const struct making *m, const char *first, const char *const names[4])
{
	SCRATCH char *lockable = locked(m, names[1], names[0]);
	SCRATCH char *known = judged(m, names[2], names[0], names[1]);
	SCRATCH char *free_rows = clear(m, names[3], names[2]);
	char *sql = xasprintf("%s, %s, %s, %s", first, lockable, known, free_rows);
	return sql;
}

/* A look at the next rows. Their sizes are asked for immediately, since mostly all is taken. */
static char *near(const struct making *m)
{
	static const char *const names[] = {"seen", "locked", "judged", "near"};
	SCRATCH char *first = seen(m, names[0], m->limit);
	return look(m, first, names);
}

/* What is worth locking of the rows far ahead: of the keys that a near look found held back, what
 * it found clear. If that look found much locked, there will be more. OR: no subquery becomes a
 * join. */
static char *others(const struct making *m)
{
	SCRATCH char *most = xasprintf("%s + %d", m->limit, HELD_MAX), *rows = waiting(m, "", most);
	return xasprintf(
	    "others AS MATERIALIZED (SELECT array_agg(place) AS places FROM (SELECT place FROM "
	    "(SELECT t.ctid AS place, %s AS key %s) AS next WHERE key NOT IN (SELECT key FROM "
	    "judged WHERE NOT clear) OR place IN (SELECT place FROM judged WHERE clear) LIMIT %s + "
	    "(SELECT %d * (seen.count - locked.count) / seen.count FROM seen, locked)) AS found)",
	    m->key, rows, m->limit, HELD_MAX);
}

/* A look past the keys that are held back. */
static char *far(const struct making *m)
{
	static const char *const names[] = {"others", "others_locked", "others_judged", "far"};
	SCRATCH char *first = others(m);
	return look(m, first, names);
}

/*
 * All that was seen if all of it could be locked; otherwise what is clear of it, or of a look far
 * ahead. What is not chosen is not run: a CTE is when it is first read, and a condition that is the
 * same for all rows is tested before that. If fewer were seen than asked for, there are no more.
 */
static char *best(const struct making *m)
{
	SCRATCH char *first = near(m), *second = far(m);
	return xasprintf(
	    "%s, %s, choice AS MATERIALIZED (SELECT CASE WHEN seen.count = locked.count AND "
	    "seen.digest IS NOT DISTINCT FROM locked.digest THEN 'seen' WHEN seen.count < %s OR "
	    "(SELECT count FROM near) * %d >= "
	    "seen.count THEN 'near' ELSE 'far' END AS name FROM seen, locked), chosen AS "
	    "MATERIALIZED ("
	    "SELECT places, sizes, total, NULL::int4 AS held FROM seen WHERE (SELECT name FROM "
	    "choice) = 'seen' UNION ALL "
	    "SELECT places, sizes, total, CASE WHEN (SELECT count FROM seen) < %s THEN %d ELSE %d "
	    "END FROM near WHERE (SELECT name FROM choice) = 'near' UNION ALL "
	    "SELECT places, sizes, total, %d FROM far WHERE (SELECT name FROM choice) = 'far')",
	    first, second, m->limit, WORTH, m->limit, CUT_HELD, CUT_HELD_FULL, CUT_HELD);
}

/* Competing relays hold whole claims locked, and no key back: each looks for what it can lock. */
static char *chosen(const struct making *m)
{
	if (!m->shape->competing && !PLANTED("pass-over-locked"))
		return best(m);
	SCRATCH char *rows = xasprintf("%s FOR UPDATE SKIP LOCKED", m->limit);
	SCRATCH char *first = seen(m, "locked", rows);
	return xasprintf("%s, chosen AS MATERIALIZED (SELECT places, sizes, total, NULL::int4 "
			 "AS held FROM locked)",
			 first);
}

/*
 * The places of as many of these rows as $3 bytes have room for, and of one at least. The running
 * sum is only made where the rows are too many: windows cost more than the two arrays.
 */
static char *taken(void)
{
	return xasprintf("taken AS MATERIALIZED (SELECT CASE WHEN total > $3::int8 THEN "
			 "ARRAY(SELECT place FROM (SELECT place, size, sum(size) OVER (ORDER BY n "
			 "ROWS UNBOUNDED PRECEDING) AS upto FROM unnest(places, sizes) WITH "
			 "ORDINALITY AS row (place, size, n)) AS summed WHERE upto <= $3::int8 OR "
			 "upto = size) ELSE places END AS places, CASE WHEN held IS NOT NULL THEN "
			 "held WHEN total > $3::int8 AND cardinality(places) > 1 THEN %d END AS "
			 "cut FROM chosen)",
			 CUT_BYTES);
}

/* The place of the next row, and whether all of it may be fetched. */
static char *taken_alone(const struct making *m, const char *size, size_t most)
{
	return xasprintf("taken AS MATERIALIZED (SELECT places, coalesce(held, %d) AS cut, (SELECT "
			 "bool_and(%s <= %zu) FROM ONLY %s WHERE ctid = ANY (chosen.places)) AS "
			 "whole FROM chosen)",
			 CUT_BYTES, size, most, m->leaf->table);
}

/* What is to be moved, and its copies, see sql_aside.c. The rows themselves are taken with the
 * others.
 */
static char *parting(const struct making *m, size_t leaf)
{
	if (m->plain || PLANTED("publishes-parked"))
		return xstrdup("");
	SCRATCH char *from = xasprintf("ONLY %s AS t", m->leaf->table);
	SCRATCH char *rows = outbox_sql_aside_rows(
	    m->shape, from, " AND t.ctid = ANY ((SELECT places FROM taken)::tid[])");
	SCRATCH char *places =
	    xasprintf("%s WHERE t.ctid = ANY ((SELECT places FROM aside)::tid[])", from);
	SCRATCH char *copies = outbox_sql_aside_copies(m->shape, leaf, places);
	SCRATCH char *members = outbox_sql_aside_members(m->shape);
	return xasprintf(", %s, aside AS MATERIALIZED (SELECT %s FROM %s), %s", members,
			 outbox_sql_aside_arrays, rows, copies);
}

/* One statement that locks rows and takes them. ctid = ANY(an array) and not IN (...): a subquery
 * under IN may be run again and take more than the limit. RETURNING has no order. */
static char *claim(const struct outbox_shape *shape, size_t leaf, bool exact, bool plain)
{
	if (shape->position)
		return outbox_sql_claim_position(shape, leaf, exact, plain);
	if (shape->leaves[leaf].parted)
		return outbox_sql_claim_parts(shape, leaf, exact, plain);
	struct values *values = outbox_sql_values_new(shape, exact);
	SCRATCH char *size = outbox_sql_row_size(values);
	struct making m = outbox_sql_making_new(shape, leaf, exact, plain);
	if (!exact)
		m.size = size;
	SCRATCH char *moved =
	    plain || PLANTED("publishes-parked") ? xstrdup("false") : outbox_sql_is_aside(shape);
	SCRATCH char *list = outbox_sql_returning(shape, values, moved), *rows = chosen(&m);
	SCRATCH char *places =
	    exact ? taken_alone(&m, size, outbox_sql_whole_size(values)) : taken();
	SCRATCH char *parts = parting(&m, leaf);
	char *sql = xasprintf("WITH %s, %s%s %s %s AS t%s WHERE t.ctid = ANY ((SELECT places FROM "
			      "taken)::tid[]) RETURNING %s",
			      rows, places, parts, outbox_sql_verb(shape), m.leaf->table,
			      outbox_sql_set(shape), list);
	outbox_sql_values_free(&values);
	outbox_sql_making_free(&m);
	return sql;
}

char *outbox_sql_claim(const struct outbox_shape *shape, size_t leaf, bool exact)
{
	return claim(shape, leaf, exact, false);
}

char *outbox_sql_claim_plain(const struct outbox_shape *shape, size_t leaf)
{
	return claim(shape, leaf, false, true);
}

char *outbox_sql_suspect(const struct outbox_shape *shape, size_t leaf)
{
	if (shape->position)
		return outbox_sql_suspect_position(shape, leaf);
	if (shape->leaves[leaf].parted)
		return outbox_sql_suspect_parts(shape, leaf);
	struct making m = outbox_sql_making_new(shape, leaf, true, false);
	SCRATCH char *rows = chosen(&m), *hold = outbox_sql_hold(shape);
	SCRATCH char *identity = outbox_sql_identity(shape);
	char *sql = xasprintf("WITH %s SELECT t.%s::int8, %s, %s FROM ONLY %s AS t WHERE t.ctid = "
			      "ANY ((SELECT places FROM chosen)::tid[])",
			      rows, m.id, identity, hold, m.leaf->table);
	outbox_sql_making_free(&m);
	return sql;
}
