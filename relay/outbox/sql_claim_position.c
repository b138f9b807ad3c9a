/* SPDX-License-Identifier: ISC */
/*
 * sql_claim_position.c - claims where rows stay (settle = "position"): what the position says is
 * next
 *
 * See sql/0014_positions.sql for what a position is. The claim reads the position that it goes on
 * from, and writes the one behind what it takes, in its own statement: of two claims under way the
 * second begins where the first ends. The session's lock on the shard, which was taken by an
 * earlier statement, keeps all others away.
 *
 * What lies between two snapshots is found by x: what was begun later than all that the older one
 * shows, and what was under way when it was taken. Few such rows are sorted by id; where they are
 * many, the table is walked in the order of ids from the lowest of them, which a first claim looks
 * for.
 */
#include "sql_making.h"

#include "base/failpoints.h"
#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* More rows than that are not sorted for each claim. */
enum { FEW = 10000 };

/* A position stays as it is while nothing is found, up to so many transactions: then it is brought
 * forward, so that the rows of other shards are not looked through again and again. */
enum { STALE_XIDS = 1000 };

/* Nor if they are so many: a server may be without other transactions for hours. */
enum { STALE_ROWS = 1000 };

#define LOWEST	"'-9223372036854775808'::int8"
#define HIGHEST "'9223372036854775807'::int8"

/* Whether a snapshot shows all that another one does. */
static char *shows(const char *later, const char *earlier)
{
	return xasprintf("pg_snapshot_xmax(%s) >= pg_snapshot_xmax(%s) AND NOT EXISTS (SELECT FROM "
			 "pg_snapshot_xip(%s) AS running WHERE pg_visible_in_snapshot(running, "
			 "%s))",
			 later, earlier, later, earlier);
}

/*
 * The position to go on from: of several shards, of those that are furthest behind, as "pos" with
 * its shards. Their next target is what others have finished, if they are ahead, so that all come
 * to one position. As text in between: a snapshot that was stored compressed would be expanded for
 * each row.
 */
static char *position(const struct outbox_shape *shape, const char *shards, const char *where)
{
	SCRATCH char *last = outbox_sql_last_positions(shape, shards);
	SCRATCH char *ahead = shows("n.finished::pg_snapshot", "b.finished::pg_snapshot");
	SCRATCH char *next = outbox_sql_snapshot_age("n.finished::pg_snapshot");
	SCRATCH char *own = outbox_sql_snapshot_age("finished::pg_snapshot");
	SCRATCH char *has = outbox_sql_has_positions(shape);
	return xasprintf(
	    "newest AS MATERIALIZED (SELECT m.shard, p.place, p.finished::text AS finished, "
	    "p.target::text AS target, p.reached, p.walks FROM %s WHERE EXISTS (SELECT FROM "
	    "outbox_relay.outboxes AS o WHERE o.outbox = %u::oid AND %s)%s), pos AS "
	    "MATERIALIZED (SELECT b.shards, b.before, b.finished::pg_snapshot AS finished, "
	    "coalesce(coalesce(b.target, b.next)::pg_snapshot, pg_current_snapshot()) AS goal, "
	    "coalesce(b.target, b.next) IS NOT NULL AS bound, b.reached, CASE WHEN b.reached IS "
	    "NULL THEN " LOWEST " WHEN b.reached < " HIGHEST " THEN b.reached + 1 END AS start, "
	    "b.walks FROM (SELECT b.*, (SELECT n.finished FROM newest "
	    "AS n WHERE n.finished <> b.finished AND %s ORDER BY %s LIMIT 1) AS next FROM (SELECT "
	    "array_agg(shard) AS shards, array_agg(place) AS before, finished, target, reached, "
	    "walks FROM newest GROUP BY finished, target, reached, walks ORDER BY %s, target, "
	    "reached NULLS FIRST, walks LIMIT 1) AS b OFFSET 0) AS b)",
	    last, shape->oid, has, where, ahead, next, own);
}

/* The condition that a row of "t" is shown by the goal, and not yet by what is finished. */
static const char is_next[] =
    "pg_visible_in_snapshot(t.x, (SELECT goal FROM pos)) AND NOT pg_visible_in_snapshot(t.x, "
    "(SELECT finished FROM pos))";

/* What is to be known of a row, of "t". held: whether it must not be taken, nor any after it. */
static char *columns(const struct making *m)
{
	return xasprintf("t.tableoid AS part, t.ctid AS place, t.%s::int8 AS id, %s AS size, %s AS "
			 "held",
			 m->id, m->size, m->key);
}

/* Rows of the interval by x. (id >= ...) IS TRUE is no condition for an index: that of the ids
 * would be walked from there. */
static char *by_x(const struct making *m, const char *what, const char *where)
{
	SCRATCH char *row =
	    xasprintf("SELECT %s FROM %s%s AS t WHERE (t.%s >= (SELECT start FROM pos)) IS TRUE "
		      "AND %s%s AND ",
		      what, outbox_sql_only(m->leaf), m->leaf->table, m->id, is_next, where);
	return outbox_sql_by_x(row, "pos");
}

/* By x: all that there is, if that is few. */
static char *few(const struct making *m)
{
	SCRATCH char *what = columns(m);
	SCRATCH char *ours = xasprintf("%s AND NOT (SELECT walks FROM pos)", m->ours);
	SCRATCH char *rows = by_x(m, what, ours);
	return xasprintf("few AS MATERIALIZED (%s LIMIT %d + 1), found AS MATERIALIZED (SELECT "
			 "count(*) AS count, count(*) > %d AS many FROM few)",
			 rows, FEW, FEW);
}

/* For FROM and WHERE: rows "t" of the walk. */
static char *walk(const struct making *m)
{
	return xasprintf("%s%s AS t WHERE (SELECT walks FROM pos) AND t.%s >= (SELECT start FROM "
			 "pos) AND %s%s",
			 outbox_sql_only(m->leaf), m->leaf->table, m->id, is_next, m->ours);
}

/* The next rows. Those with the same id stay together, as the position cannot lie between them. A
 * plain claim asks for their sum only. */
static char *next(const struct making *m)
{
	SCRATCH char *what = columns(m), *rows = walk(m);
	return xasprintf("next AS %sMATERIALIZED (SELECT * FROM (SELECT * FROM few WHERE NOT "
			 "(SELECT many FROM found) ORDER BY id FETCH FIRST (%s) ROWS WITH TIES) AS "
			 "few UNION ALL SELECT * FROM (SELECT %s FROM %s ORDER BY t.%s FETCH FIRST "
			 "(%s) ROWS WITH TIES) AS walk)",
			 m->plain ? "NOT " : "", m->limit, what, rows, m->id, m->limit);
}

/* Up to which id there is room for them, and for one at least; a held one, and those behind it,
 * stay. NULL: none. */
static char *fitting(const char *bytes)
{
	return xasprintf(
	    "span AS MATERIALIZED (SELECT count(*) AS count, sum(size) AS total, min(id) AS first, "
	    "max(id) AS last, min(id) FILTER (WHERE held) AS held FROM next), fitting AS "
	    "MATERIALIZED (SELECT count, last, CASE WHEN total > %s OR held IS NOT NULL THEN "
	    "(SELECT max(id) FROM (SELECT id, sum(size) OVER (ORDER BY id) AS upto FROM next) AS "
	    "summed WHERE (upto <= %s OR id = span.first) AND (id >= span.held) IS NOT TRUE) ELSE "
	    "last END AS upto FROM span)",
	    bytes, bytes);
}

/* All that the target has is taken. */
static char *whole(const struct making *m)
{
	return xasprintf("fitting.upto IS NOT DISTINCT FROM fitting.last AND NOT found.many AND "
			 "CASE WHEN pos.walks THEN fitting.count < %s ELSE fitting.count = "
			 "found.count END",
			 m->limit);
}

/* " OR ...": there are many rows that are no events, or of other shards, which are looked through
 * by each claim until the position has passed them. */
static char *any_others(const struct making *m)
{
	SCRATCH char *rows = by_x(m, "1", "");
	return m->ours[0] == '\0'
		   ? xstrdup("")
		   : xasprintf(" OR EXISTS (%s LIMIT 1 OFFSET %d)", rows, STALE_ROWS);
}

/*
 * The position behind what is taken. It is written where something is taken, where the target was
 * decided on before, and where the rows turn out to be many: then the walk begins below the lowest
 * of them. Also where shards have come to different positions: these cannot always be compared,
 * since a transaction is not open in a snapshot that it takes itself.
 */
static char *behind(const struct making *m)
{
	SCRATCH char *done = whole(m), *id = xasprintf("t.%s::int8 AS id", m->id);
	SCRATCH char *all = by_x(m, id, m->ours), *others = any_others(m);
	return xasprintf(
	    "behind AS MATERIALIZED (SELECT pos.*, fitting.upto, found.many, %s AS done, CASE WHEN "
	    "found.many THEN (SELECT CASE WHEN min(id) > " LOWEST
	    " THEN min(id) - 1 END FROM (%s) AS all_of_it) ELSE "
	    "coalesce(fitting.upto, pos.reached) END AS reaches FROM pos, found, fitting), onward "
	    "AS MATERIALIZED (SELECT * FROM behind WHERE many OR upto IS NOT NULL OR done AND "
	    "(bound OR pg_snapshot_xmax(goal)::text::int8 - pg_snapshot_xmax(finished)::text::int8 "
	    "> %d OR EXISTS (SELECT FROM newest AS n WHERE n.finished <> "
	    "behind.finished::text)%s))",
	    done, all, STALE_XIDS, others);
}

/* The one before is deleted at its place: whoever looked for it by its number could walk all that
 * vacuum cannot remove yet. Nobody else changes it, since the shard is locked. */
static char *written(const struct making *m)
{
	SCRATCH char *before = behind(m);
	return xasprintf(
	    "%s, written AS (INSERT INTO outbox_relay.positions (outbox, layout, shard, finished, "
	    "target, reached, walks) SELECT %u::oid, %d, unnest(shards), CASE WHEN done THEN goal "
	    "ELSE finished END, CASE WHEN NOT done THEN goal END, CASE WHEN NOT done THEN reaches "
	    "END, NOT done AND (many OR walks) FROM onward), outdated AS (DELETE FROM "
	    "outbox_relay.positions AS p WHERE p.ctid = ANY ((SELECT before FROM "
	    "onward)::tid[]))",
	    before, m->shape->oid, m->shape->position_layout);
}

char *outbox_sql_rows_at(const struct making *m, const char *places)
{
	if (m->leaf->parted)
		return outbox_sql_rows_of_parts(m, places);
	return xasprintf("(SELECT t.tableoid, t.ctid, t.* FROM ONLY %s AS t WHERE t.ctid = ANY "
			 "((SELECT places FROM %s)::tid[])) AS t",
			 m->leaf->table, places);
}

/* The places of the rows that there is room for, part by part, as this. */
static char *placed(const char *name, const char *where)
{
	return xasprintf("%s AS MATERIALIZED (SELECT part, array_agg(place) AS places FROM next, "
			 "fitting WHERE next.id <= fitting.upto%s GROUP BY part)",
			 name, where);
}

/* What of them is taken, as "picked": not what is settled ahead. Each row is looked up among that
 * (OFFSET 0): thousands may be, after a batch that was rolled back. */
static char *picked(const struct making *m)
{
	SCRATCH char *any = outbox_sql_any_ahead(m->shape),
		     *rows = outbox_sql_rows_at(m, "passing");
	SCRATCH char *identity = outbox_sql_identity(m->shape), *passing = placed("passing", "");
	return xasprintf(
	    "%s, passed AS (DELETE FROM outbox_relay.settled_ahead AS a USING (SELECT given.part, "
	    "given.place, note.at FROM (SELECT t.tableoid AS part, t.ctid AS place, t.%s::int8 AS "
	    "id, %s AS event_id FROM %s WHERE %s OFFSET 0) AS given CROSS JOIN LATERAL (SELECT "
	    "n.ctid AS at FROM outbox_relay.settled_ahead AS n WHERE n.outbox = %u::oid AND n.id = "
	    "given.id AND n.event_id IS NOT DISTINCT FROM given.event_id OFFSET 0) AS note OFFSET "
	    "0) AS given WHERE a.ctid = given.at RETURNING given.part, given.place), picked AS "
	    "MATERIALIZED (SELECT part, places FROM passing WHERE %s IS NULL UNION ALL SELECT "
	    "part, "
	    "array_agg(place) AS places FROM passing, unnest(places) AS place WHERE %s AND (part, "
	    "place) NOT IN (SELECT part, place FROM passed) GROUP BY part)",
	    passing, m->id, identity, rows, any, m->shape->oid, any, any);
}

/* In the words that sql_values.c knows. size: of an exact claim, which fetches what is small enough
 * only. */
static char *taken(const struct making *m, const char *size, size_t most)
{
	SCRATCH char *rows = outbox_sql_rows_at(m, "picked");
	SCRATCH char *whole_row =
	    size != NULL
		? xasprintf(", (SELECT bool_and(%s <= %zu) FROM %s) AS whole", size, most, rows)
		: xstrdup("");
	return xasprintf("taken AS MATERIALIZED (SELECT (SELECT array_agg(place) FROM picked, "
			 "unnest(picked.places) AS place) AS places, CASE WHEN NOT done THEN %d "
			 "END AS cut%s FROM behind)",
			 CUT_BYTES, whole_row);
}

/* A row that is no event: the position has moved on, and there may be more. none: the condition
 * that the claim has taken nothing. */
static char *moved_on(const struct outbox_shape *shape, const char *none)
{
	SCRATCH char *fields = xstrdup("");
	for (size_t i = 0; i < shape->field_count; i++)
		xappend(&fields, ", NULL");
	return xasprintf("SELECT 0::int8, NULL, NULL, NULL, NULL, cut, %d, 0::int8%s FROM behind, "
			 "taken WHERE (many OR upto IS NOT NULL OR done AND bound) AND %s",
			 PLACES_STAY, fields, none);
}

/* What is known of the next rows. */
static char *known(const struct making *m, size_t leaf, const char *mine, const char *where)
{
	SCRATCH char *shards = outbox_sql_shards(m->shape, leaf, mine);
	SCRATCH char *from = position(m->shape, shards, where);
	SCRATCH char *rows = few(m), *first = next(m);
	return xasprintf("%s, %s, %s", from, rows, first);
}

/* " AND ...": the rows of "t" that are of the shards of the position. */
static char *mine(const struct outbox_shape *shape, size_t leaf)
{
	if (shape->position_layout <= 1)
		return xstrdup("");
	SCRATCH char *shard = outbox_sql_shard(shape, leaf);
	return xasprintf(" AND %s = ANY ((SELECT shards FROM pos)::int8[])", shard);
}

/* And the condition that they are events: the position passes all others. */
static char *ours(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *own = mine(shape, leaf);
	return xasprintf("%s%s", own, outbox_sql_event(shape));
}

static struct making making_of(const struct outbox_shape *shape, size_t leaf, bool alone)
{
	SCRATCH char *hold = outbox_sql_hold(shape);
	const char *held = alone ? "$2" : "$4";
	return (struct making){
	    .shape = shape,
	    .leaf = &shape->leaves[leaf],
	    .id = outbox_sql_quoted(shape->names->id),
	    .key =
		xasprintf("(%s::int8[] IS NOT NULL AND %s = ANY (%s::int8[]))", held, hold, held),
	    .ours = ours(shape, leaf),
	    .none = xstrdup(""),
	    .size = "0",
	    .limit = alone ? "1" : "$2::int8"};
}

/* Where nothing is set aside, a walk returns its rows as it comes to them. */
static char *plain(const struct outbox_shape *shape, size_t leaf, struct making *m)
{
	struct values *values = outbox_sql_values_new(shape, false);
	SCRATCH char *size = outbox_sql_row_size(values), *none = outbox_sql_none_aside(shape);
	m->size = size;
	m->plain = true;
	SCRATCH char *before = known(m, leaf, "$5", none), *room = fitting("$3::int8");
	SCRATCH char *writes = written(m), *all = outbox_sql_all_columns(shape), *rows = walk(m);
	SCRATCH char *few_places = placed("picked", " AND NOT (SELECT walks FROM pos)");
	SCRATCH char *few_rows = outbox_sql_rows_at(m, "picked");
	SCRATCH char *list = outbox_sql_returning(shape, values, "false");
	SCRATCH char *last = moved_on(shape, "upto IS NULL");
	char *sql = xasprintf(
	    "WITH %s, %s, %s, %s, taken AS MATERIALIZED (SELECT CASE WHEN NOT done THEN %d END AS "
	    "cut FROM behind) SELECT %s FROM (SELECT %s FROM %s AND t.%s <= (SELECT upto FROM "
	    "fitting) UNION ALL SELECT %s FROM %s) AS t WHERE $1::int8 IS NOT NULL UNION ALL %s",
	    before, room, writes, few_places, CUT_BYTES, list, all, rows, m->id, all, few_rows,
	    last);
	outbox_sql_values_free(&values);
	return sql;
}

static char *careful(const struct outbox_shape *shape, size_t leaf, struct making *m, bool exact)
{
	struct values *values = outbox_sql_values_new(shape, exact);
	SCRATCH char *size = outbox_sql_row_size(values);
	if (!exact)
		m->size = size;
	bool moves = !PLANTED("publishes-parked");
	SCRATCH char *before = known(m, leaf, exact ? "$3" : "$5", "");
	SCRATCH char *room = fitting(exact ? "NULL::int8" : "$3::int8"), *writes = written(m);
	SCRATCH char *some = picked(m);
	SCRATCH char *words =
	    taken(m, exact ? size : NULL, exact ? outbox_sql_whole_size(values) : 0);
	SCRATCH char *rows = outbox_sql_rows_at(m, "picked");
	SCRATCH char *aside = outbox_sql_rows_at(m, "aside_at");
	SCRATCH char *parting = moves ? outbox_sql_parting(shape, leaf, rows, aside) : xstrdup("");
	SCRATCH char *moved = moves ? outbox_sql_is_aside(shape) : xstrdup("false");
	SCRATCH char *list = outbox_sql_returning(shape, values, moved);
	SCRATCH char *last = moved_on(shape, "places IS NULL");
	char *sql = xasprintf("WITH %s, %s, %s, %s, %s%s SELECT %s FROM %s WHERE $1::int8 IS NOT "
			      "NULL UNION ALL %s",
			      before, room, writes, some, words, parting, list, rows, last);
	outbox_sql_values_free(&values);
	return sql;
}

char *outbox_sql_claim_position(const struct outbox_shape *shape, size_t leaf, bool exact,
				bool is_plain)
{
	struct making m = making_of(shape, leaf, exact);
	char *sql = is_plain ? plain(shape, leaf, &m) : careful(shape, leaf, &m, exact);
	outbox_sql_making_free(&m);
	return sql;
}

char *outbox_sql_suspect_position(const struct outbox_shape *shape, size_t leaf)
{
	struct making m = making_of(shape, leaf, true);
	SCRATCH char *before = known(&m, leaf, "$3", "");
	SCRATCH char *rows = outbox_sql_rows_at(&m, "first"), *hold = outbox_sql_hold(shape);
	SCRATCH char *identity = outbox_sql_identity(shape);
	char *sql = xasprintf("WITH %s, first AS MATERIALIZED (SELECT part, array_agg(place) AS "
			      "places FROM next GROUP BY part) SELECT t.%s::int8, %s, %s FROM %s "
			      "WHERE $1::int8 IS NOT NULL",
			      before, m.id, identity, hold, rows);
	outbox_sql_making_free(&m);
	return sql;
}

char *outbox_sql_take_up(const struct outbox_shape *shape)
{
	SCRATCH char *keys = xstrdup("");
	for (size_t i = 0; i < shape->key_count; i++) {
		SCRATCH char *key = pgname_literal(shape->keys[i]);
		xappend(&keys, "%s%s", i > 0 ? ", " : "", key);
	}
	return xasprintf(
	    "SELECT outbox_relay.take_up(%u::oid::regclass, %d, %d, ARRAY[%s]::text[], "
	    "%s)",
	    shape->oid, shape->position_layout, shape->hashed > 0 ? shape->hashed : 1, keys,
	    shape->hashed > 0 ? "0 = ANY ($1::int8[])" : "true");
}

/* ---- one row, that was rejected and is to be tried again ---- */

/* The places of one row, in the words that sql_values.c and sql_making.c know. */
static char *only(const struct making *m, size_t leaf, const char *size, size_t most)
{
	SCRATCH char *waits = outbox_sql_not_settled(m->shape, leaf);
	SCRATCH char *mine = outbox_sql_mine(m->shape, "$3");
	SCRATCH char *rows = outbox_sql_rows_at(m, "picked");
	return xasprintf(
	    "picked AS MATERIALIZED (SELECT t.tableoid AS part, ARRAY[t.ctid] AS places FROM %s%s "
	    "AS t WHERE t.%s = $1::int8 AND $2::int8[] IS NULL%s%s LIMIT 1), taken AS MATERIALIZED "
	    "(SELECT (SELECT places FROM picked) AS places, %d AS cut, (SELECT bool_and(%s <= %zu) "
	    "FROM %s) AS whole)",
	    outbox_sql_only(m->leaf), m->leaf->table, m->id, mine, waits, CUT_BYTES, size, most,
	    rows);
}

char *outbox_sql_claim_one(const struct outbox_shape *shape, size_t leaf)
{
	struct values *values = outbox_sql_values_new(shape, true);
	struct making m = outbox_sql_making_new(shape, leaf, true, false);
	SCRATCH char *size = outbox_sql_row_size(values);
	SCRATCH char *row = only(&m, leaf, size, outbox_sql_whole_size(values));
	SCRATCH char *rows = outbox_sql_rows_at(&m, "picked");
	SCRATCH char *aside = outbox_sql_rows_at(&m, "aside_at");
	SCRATCH char *parting = outbox_sql_parting(shape, leaf, rows, aside);
	SCRATCH char *moved = outbox_sql_is_aside(shape),
		     *notes = outbox_sql_note_ahead(shape, rows);
	SCRATCH char *list = outbox_sql_returning(shape, values, moved);
	char *sql = xasprintf("WITH %s%s, noted AS (%s) SELECT %s FROM %s", row, parting, notes,
			      list, rows);
	outbox_sql_values_free(&values);
	outbox_sql_making_free(&m);
	return sql;
}
