/*
 * outbox_sql_claim.c - the statement that takes events: which rows, in what order
 *
 * Rows are locked in order of id, those that somebody else has locked are passed over, and what is
 * locked is taken. A later event of a key must not be taken before one that was passed over. So
 * the claim compares what it has locked with what it could see there; if it is not the same, it
 * judges the rows key by key, which costs a walk of its own and happens next to never.
 */
#include "outbox_sql_internal.h"

#include "plants.h"
#include "xalloc.h"

#include <stdlib.h>

/* So many rows are judged when some are locked by somebody else: as many events of keys that are
 * held back do not hold back the others. */
enum { JUDGED = 20000 };

/* One claim's text under way. */
struct making {
	const struct outbox_shape *shape;
	const struct outbox_leaf *leaf;
	char *id, *mine, *size; /* owned */
	const char *limit;	/* of rows */
	bool exact;
};

/* What is there to take from the first id on. */
static char *waiting(const struct making *m)
{
	return xasprintf("FROM ONLY %s AS t WHERE t.%s >= $1::int8%s%s AND tableoid = %u::oid",
			 m->leaf->table, m->id, outbox_sql_unpublished(m->shape), m->mine,
			 m->leaf->oid);
}

/* The next rows, locked: their places and what else is asked of them. */
static char *locked(const struct making *m)
{
	char *rows = waiting(m);
	char *sql = xasprintf("locked AS MATERIALIZED (SELECT array_agg(ctid) AS places, "
			      "array_agg(size) AS sizes, sum(size) AS total, count(*) AS count, "
			      "max(id) AS last, sum(hashtid(ctid)) AS print FROM (SELECT ctid, "
			      "%s::int8 AS id, %s AS size %s "
			      "ORDER BY t.%s LIMIT %s FOR UPDATE SKIP LOCKED) AS next)",
			      m->id, m->exact ? "0" : m->size, rows, m->id, m->limit);
	free(rows);
	return sql;
}

/* Whether there were others than were locked, up to the last that was, or in all if they were fewer
 * than the limit. Not by their number: of a row that was updated after our snapshot the new version
 * is locked (manual: "Read Committed Isolation Level"), whose place this statement cannot see to
 * take it. */
static char *passed(const struct making *m)
{
	if (m->shape->competing || PLANTED("pass-over-locked"))
		return xstrdup("passed AS MATERIALIZED (SELECT false AS over)");
	char *rows = waiting(m);
	char *sql = xasprintf(
	    "passed AS MATERIALIZED (SELECT (SELECT sum(hashtid(ctid)) FROM (SELECT ctid %s AND "
	    "t.%s <= "
	    "(SELECT CASE WHEN count < %s THEN 9223372036854775807 ELSE last END FROM locked) "
	    "LIMIT %s + 1) AS seen) IS DISTINCT FROM print AS over FROM locked)",
	    rows, m->id, m->limit, m->limit);
	free(rows);
	return sql;
}

/* The places of rows before which none of their key was passed over: each row that can be seen is
 * there once more if it can be locked. */
static char *judged(const struct making *m)
{
	char *rows = waiting(m), *key = outbox_sql_key(m->shape);
	const char *size = m->exact ? "0" : m->size;
	char *sql = xasprintf(
	    "SELECT place FROM (SELECT place, id, size, sum(size) OVER (ORDER BY id ROWS UNBOUNDED "
	    "PRECEDING) AS upto FROM (SELECT place, id, size, bool_and(free) OVER (PARTITION BY "
	    "key ORDER BY id) AS clear FROM (SELECT place, id, key, max(size) AS size, count(*) = "
	    "2 "
	    "AS free FROM (SELECT * FROM (SELECT ctid AS place, %s::int8 AS id, %s AS key, %s AS "
	    "size %s ORDER BY t.%s LIMIT %d) AS visible UNION ALL SELECT * FROM (SELECT ctid, "
	    "%s::int8, %s, %s %s ORDER BY t.%s LIMIT %d FOR UPDATE SKIP LOCKED) AS lockable) AS "
	    "both_ways GROUP BY place, id, key) AS known) AS told WHERE clear) AS summed "
	    "WHERE %s ORDER BY id LIMIT %s",
	    m->id, key, size, rows, m->id, JUDGED, m->id, key, size, rows, m->id, JUDGED,
	    m->exact ? "true" : "upto <= $3::int8 OR upto = size", m->limit);
	free(rows);
	free(key);
	return sql;
}

/*
 * The places of as many of the next $2 rows as $3 bytes have room for, and of one at least. The
 * running sum is only made where the rows are too many: windows cost more than the two arrays. An
 * aggregate sees the rows of a sorted subquery in its order (manual: "Aggregate Functions").
 */
static char *taken(const struct making *m)
{
	char *held = judged(m);
	char *sql = xasprintf(
	    "taken AS MATERIALIZED (SELECT CASE WHEN over THEN ARRAY(%s) "
	    "WHEN total > $3::int8 THEN ARRAY(SELECT place FROM (SELECT place, size, "
	    "sum(size) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS upto "
	    "FROM unnest(places, sizes) WITH ORDINALITY AS row (place, size, n)) AS summed "
	    "WHERE upto <= $3::int8 OR upto = size) ELSE places END AS places, "
	    "CASE WHEN over THEN %d WHEN total > $3::int8 AND cardinality(places) > 1 THEN %d END "
	    "AS cut FROM locked, passed)",
	    held, CUT_HELD, CUT_BYTES);
	free(held);
	return sql;
}

/* The place of the next row, and whether all of it may be fetched. */
static char *taken_alone(const struct making *m, size_t most)
{
	char *held = judged(m);
	char *sql =
	    xasprintf("chosen AS MATERIALIZED (SELECT CASE WHEN over THEN ARRAY(%s) ELSE "
		      "places END AS places, CASE WHEN over THEN %d ELSE %d END AS cut "
		      "FROM locked, passed), "
		      "taken AS MATERIALIZED (SELECT places, cut, (SELECT bool_and(%s <= "
		      "%zu) FROM ONLY %s WHERE ctid = ANY (chosen.places)) AS whole FROM chosen)",
		      held, CUT_HELD, CUT_BYTES, m->size, most, m->leaf->table);
	free(held);
	return sql;
}

/* One statement that locks rows and takes them. ctid = ANY(an array) and not IN (...): a subquery
 * under IN may be run again and take more than the limit. RETURNING has no order. */
char *outbox_sql_claim(const struct outbox_shape *shape, size_t leaf, bool exact)
{
	struct values *values = outbox_sql_values_new(shape, exact);
	struct making m = {.shape = shape,
			   .leaf = &shape->leaves[leaf],
			   .id = outbox_sql_quoted(shape->names->id),
			   .mine = outbox_sql_mine(shape, exact ? "$2" : "$4"),
			   .size = outbox_sql_row_size(values),
			   .limit = exact ? "1" : "$2::int8",
			   .exact = exact};
	char *list = outbox_sql_returning(shape, values), *next = locked(&m), *over = passed(&m);
	char *places = exact ? taken_alone(&m, outbox_sql_whole_size(values)) : taken(&m);
	char *sql = xasprintf("WITH %s, %s, %s %s %s%s WHERE ctid = ANY ((SELECT places FROM "
			      "taken)::tid[]) RETURNING %s",
			      next, over, places, outbox_sql_verb(shape), m.leaf->table,
			      outbox_sql_set(shape), list);
	outbox_sql_values_free(&values);
	free(m.id);
	free(m.mine);
	free(m.size);
	free(list);
	free(next);
	free(over);
	free(places);
	return sql;
}
