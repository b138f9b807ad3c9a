/* SPDX-License-Identifier: ISC */
/*
 * sql_claim_parts.c - the claim of sql_claim.c where the rows of a key lie in several tables
 *
 * Partitions by range or list. The steps are the same. All of it is one statement, and so has one
 * snapshot: if each part had a statement of its own, a row of a key could be committed in the first
 * part after that was looked at, and a later one of the key be seen in the second. The next rows in
 * order of id are looked up through the table above the parts. A place is a place in one part, so
 * what has been seen is kept part by part, and found again there.
 */
#include "sql_making.h"

#include "base/failpoints.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* Rows of "next" with part, place, id and size, part by part. */
static const char arrays[] =
    "SELECT part, array_agg(place) AS places, array_agg(id) AS ids, array_agg(size) AS sizes, "
    "sum(size) AS total, count(*) AS count, bit_xor(hashtidextended(place, part::int8)) AS digest";

/* The next rows that can be seen. */
static char *waiting(const struct making *m, const char *filter, const char *limit)
{
	return xasprintf("FROM %s AS t WHERE t.%s >= $1::int8%s%s%s ORDER BY t.%s LIMIT %s",
			 m->leaf->table, m->id, outbox_sql_unpublished(m->shape), m->ours, filter,
			 m->id, limit);
}

static char *seen(const struct making *m, const char *name, const char *limit)
{
	SCRATCH char *rows = waiting(m, m->none, limit);
	return xasprintf("%s AS MATERIALIZED (%s FROM (SELECT t.tableoid AS part, t.ctid AS place, "
			 "t.%s::int8 AS id, %s AS size %s) AS next GROUP BY part)",
			 name, arrays, m->id, m->size, rows);
}

/* The condition for the places of one part. */
static char *at(const struct outbox_part *part, const char *rows)
{
	return xasprintf("t.ctid = ANY ((SELECT places FROM %s WHERE part = %u::oid)::tid[])", rows,
			 part->oid);
}

/* For FROM: the rows at these places as "t". */
char *outbox_sql_rows_of_parts(const struct making *m, const char *rows)
{
	SCRATCH char *columns = outbox_sql_all_columns(m->shape);
	char *sql = xstrdup("(");
	for (size_t i = 0; i < m->leaf->part_count; i++) {
		SCRATCH char *there = at(&m->leaf->parts[i], rows);
		xappend(&sql, "%sSELECT %s FROM ONLY %s AS t WHERE %s", i > 0 ? " UNION ALL " : "",
			columns, m->leaf->parts[i].table, there);
	}
	xappend(&sql, ") AS t");
	return sql;
}

/* Those that nobody else has locked, see sql_claim.c. */
static char *locked(const struct making *m, const char *name, const char *rows)
{
	char *sql = xasprintf("%s AS MATERIALIZED (", name);
	for (size_t i = 0; i < m->leaf->part_count; i++) {
		const struct outbox_part *part = &m->leaf->parts[i];
		SCRATCH char *there = at(part, rows);
		xappend(&sql,
			"%sSELECT %u::oid AS part, array_agg(place) AS places, count(*) AS count, "
			"bit_xor(hashtidextended(place, %u::int8)) AS digest FROM (SELECT t.ctid "
			"AS place FROM ONLY %s AS t WHERE %s%s FOR UPDATE SKIP LOCKED) AS lockable",
			i > 0 ? " UNION ALL " : "", part->oid, part->oid, part->table, there,
			outbox_sql_still_unpublished(m->shape));
	}
	xappend(&sql, ")");
	return sql;
}

/* A row is clear if none of its key was passed over up to it, in whatever part. */
static char *judged(const struct making *m, const char *name, const char *rows,
		    const char *lockable)
{
	SCRATCH char *there = outbox_sql_rows_of_parts(m, rows);
	return xasprintf(
	    "%s AS MATERIALIZED (SELECT part, place, id, key, size, bool_and(free) OVER (PARTITION "
	    "BY key ORDER BY id) AS clear FROM (SELECT t.tableoid AS part, t.ctid AS place, "
	    "t.%s::int8 AS id, %s AS key, %s AS size, (t.tableoid, t.ctid) IN (SELECT part, "
	    "unnest(places) FROM %s) AS free FROM %s OFFSET 0) AS rows)",
	    name, m->id, m->key, m->size, lockable, there);
}

static char *clear(const struct making *m, const char *name, const char *rows)
{
	return xasprintf("%s AS MATERIALIZED (%s FROM (SELECT part, place, id, size FROM %s WHERE "
			 "clear ORDER BY id LIMIT %s) AS next GROUP BY part)",
			 name, arrays, rows, m->limit);
}

static char *look(const struct making *m, const char *first, const char *const names[4])
{
	SCRATCH char *lockable = locked(m, names[1], names[0]);
	SCRATCH char *known = judged(m, names[2], names[0], names[1]);
	SCRATCH char *free_rows = clear(m, names[3], names[2]);
	return xasprintf("%s, %s, %s, %s", first, lockable, known, free_rows);
}

/* Of all parts, for FROM: how many there are, and which. */
static char *summed(const char *rows)
{
	return xasprintf(
	    "(SELECT coalesce(sum(count), 0)::int8 AS count, bit_xor(digest) AS digest "
	    "FROM %s) AS %s",
	    rows, rows);
}

static char *near(const struct making *m)
{
	static const char *const names[] = {"seen", "locked", "judged", "near"};
	SCRATCH char *first = seen(m, names[0], m->limit);
	return look(m, first, names);
}

static char *far(const struct making *m)
{
	static const char *const names[] = {"others", "others_locked", "others_judged", "far"};
	SCRATCH char *most = xasprintf("%s + %d", m->limit, HELD_MAX), *rows = waiting(m, "", most);
	SCRATCH char *seen_count = summed("seen"), *locked_count = summed("locked");
	SCRATCH char *first = xasprintf(
	    "others AS MATERIALIZED (SELECT part, array_agg(place) AS places FROM (SELECT part, "
	    "place FROM (SELECT t.tableoid AS part, t.ctid AS place, %s AS key %s) AS next WHERE "
	    "key NOT IN (SELECT key FROM judged WHERE NOT clear) OR (part, place) IN (SELECT part, "
	    "place FROM judged WHERE clear) LIMIT %s + (SELECT %d * (seen.count - locked.count) / "
	    "seen.count FROM %s, %s)) AS found GROUP BY part)",
	    m->key, rows, m->limit, HELD_MAX, seen_count, locked_count);
	return look(m, first, names);
}

static char *choice(const struct making *m)
{
	SCRATCH char *seen_count = summed("seen"), *locked_count = summed("locked");
	SCRATCH char *near_count = summed("near");
	return xasprintf("choice AS MATERIALIZED (SELECT CASE WHEN seen.count = locked.count AND "
			 "seen.digest IS NOT DISTINCT FROM locked.digest THEN 'seen' WHEN "
			 "seen.count < %s OR (SELECT count FROM %s) * %d >= seen.count THEN 'near' "
			 "ELSE 'far' END AS name, seen.count FROM %s, %s)",
			 m->limit, near_count, WORTH, seen_count, locked_count);
}

/* All that was seen, or what is clear of it or of a look far ahead, see sql_claim.c. */
static char *best(const struct making *m)
{
	static const char columns[] = "SELECT part, places, ids, sizes, total, ";
	SCRATCH char *first = near(m), *second = far(m), *chooses = choice(m);
	return xasprintf(
	    "%s, %s, %s, chosen AS MATERIALIZED (%sNULL::int4 AS held FROM seen WHERE (SELECT name "
	    "FROM choice) = 'seen' UNION ALL %sCASE WHEN (SELECT count FROM choice) < %s THEN %d "
	    "ELSE %d END FROM near WHERE (SELECT name FROM choice) = 'near' UNION ALL %s%d FROM "
	    "far WHERE (SELECT name FROM choice) = 'far')",
	    first, second, chooses, columns, columns, m->limit, CUT_HELD, CUT_HELD_FULL, columns,
	    CUT_HELD);
}

static char *chosen(const struct making *m)
{
	if (!m->shape->competing && !PLANTED("pass-over-locked"))
		return best(m);
	SCRATCH char *rows = xasprintf("%s FOR UPDATE SKIP LOCKED", m->limit);
	SCRATCH char *first = seen(m, "locked", rows);
	return xasprintf("%s, chosen AS MATERIALIZED (SELECT part, places, ids, sizes, total, "
			 "NULL::int4 AS held FROM locked)",
			 first);
}

/* As many rows as $3 bytes have room for, in order of id, and one at least; part by part in picked,
 * and in words that sql_values.c knows in taken. */
static char *taken(void)
{
	return xasprintf(
	    "picked AS MATERIALIZED (SELECT part, places FROM chosen WHERE (SELECT sum(total) FROM "
	    "chosen) <= $3::int8 UNION ALL SELECT part, array_agg(place) FROM (SELECT part, place, "
	    "size, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS upto FROM chosen, "
	    "unnest(places, ids, sizes) AS row (place, id, size) WHERE (SELECT sum(total) FROM "
	    "chosen) > $3::int8) AS summed WHERE upto <= $3::int8 OR upto = size GROUP BY part), "
	    "taken AS MATERIALIZED (SELECT (SELECT array_agg(place) FROM picked, unnest(places) AS "
	    "place) AS places, coalesce(max(held), CASE WHEN sum(total) > $3::int8 AND "
	    "sum(cardinality(places)) > 1 THEN %d END) AS cut FROM chosen)",
	    CUT_BYTES);
}

static char *taken_alone(const struct making *m, const char *size, size_t most)
{
	SCRATCH char *there = outbox_sql_rows_of_parts(m, "picked");
	return xasprintf("picked AS MATERIALIZED (SELECT part, places FROM chosen), taken AS "
			 "MATERIALIZED (SELECT places, coalesce(held, %d) AS cut, (SELECT "
			 "bool_and(%s <= %zu) FROM %s) AS whole FROM chosen)",
			 CUT_BYTES, size, most, there);
}

/* The picked rows of all parts are taken, each part's by a statement of its own within this one. */
static char *gone(const struct making *m, const char *list)
{
	char *sql = xstrdup("");
	SCRATCH char *all = xstrdup("");
	for (size_t i = 0; i < m->leaf->part_count; i++) {
		SCRATCH char *there = at(&m->leaf->parts[i], "picked");
		xappend(&sql, ", gone_%zu AS (%s %s AS t%s WHERE %s RETURNING %s)", i,
			outbox_sql_verb(m->shape), m->leaf->parts[i].table,
			outbox_sql_set(m->shape), there, list);
		xappend(&all, "%sSELECT * FROM gone_%zu", i > 0 ? " UNION ALL " : " ", i);
	}
	xappend(&sql, "%s", all);
	return sql;
}

static char *parting(const struct making *m, size_t leaf)
{
	if (m->plain || PLANTED("publishes-parked"))
		return xstrdup("");
	SCRATCH char *picked = outbox_sql_rows_of_parts(m, "picked");
	SCRATCH char *places = outbox_sql_rows_of_parts(m, "aside_at");
	return outbox_sql_parting(m->shape, leaf, picked, places);
}

char *outbox_sql_claim_parts(const struct outbox_shape *shape, size_t leaf, bool exact, bool plain)
{
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
	SCRATCH char *letters = parting(&m, leaf), *rest = gone(&m, list);
	char *sql = xasprintf("WITH %s, %s%s%s", rows, places, letters, rest);
	outbox_sql_values_free(&values);
	outbox_sql_making_free(&m);
	return sql;
}

char *outbox_sql_suspect_parts(const struct outbox_shape *shape, size_t leaf)
{
	struct making m = outbox_sql_making_new(shape, leaf, true, false);
	SCRATCH char *rows = chosen(&m), *hold = outbox_sql_hold(shape);
	SCRATCH char *identity = outbox_sql_identity(shape);
	SCRATCH char *there = outbox_sql_rows_of_parts(&m, "chosen");
	char *sql = xasprintf("WITH %s SELECT t.%s::int8, %s, %s FROM %s", rows, m.id, identity,
			      hold, there);
	outbox_sql_making_free(&m);
	return sql;
}
