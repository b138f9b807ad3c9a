/* SPDX-License-Identifier: ISC */
/*
 * sql_replay.c - the statements of a replay: which rows, how many, the next ones; and of a shadow,
 * which follows all of them
 *
 * What is in outbox_relay.dead_letters is settled in the outbox, and was not published: it is left
 * out. So is what outbox_relay.withdrawn notes, in whatever mode it was noted: the table may have
 * been migrated to another one since.
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"
#include "sql_replay.h"

#include <inttypes.h>
#include <stdlib.h>

static void add_literal(char **sql, const char *before, const char *text, const char *after)
{
	SCRATCH char *literal = pgname_literal(text);
	xappend(sql, "%s%s%s", before, literal, after);
}

static void add_event_ids(char **sql, const struct outbox_shape *shape,
			  const struct replay_selection *selection)
{
	bool is_uuid = outbox_sql_type(shape, shape->names->event_id) == TYPE_UUID;
	SCRATCH char *name = outbox_sql_quoted(shape->names->event_id);
	if (selection->event_id_count == 0)
		return;
	xappend(sql, " AND t.%s%s = ANY (ARRAY[", name, is_uuid ? "" : "::text");
	for (size_t i = 0; i < selection->event_id_count; i++)
		add_literal(sql, i == 0 ? "" : ", ", selection->event_ids[i], "");
	xappend(sql, "]::%s[])", is_uuid ? "uuid" : "text");
}

/* When a row of "t" was published or, where nothing says that, created. */
static char *time_of(const struct outbox_shape *shape)
{
	SCRATCH char *marked = shape->position ? NULL : outbox_sql_mark_time(shape);
	if (marked != NULL)
		return xasprintf("%s::timestamptz", marked);
	if (shape->names->created_at[0] == '\0')
		return xstrdup("NULL::timestamptz");
	SCRATCH char *created = outbox_sql_quoted(shape->names->created_at);
	return xasprintf("t.%s::timestamptz", created);
}

static void add_times(char **sql, const struct outbox_shape *shape,
		      const struct replay_selection *selection)
{
	SCRATCH char *time = time_of(shape);
	if (selection->since != NULL) {
		xappend(sql, " AND %s >= ", time);
		add_literal(sql, "", selection->since, "::timestamptz");
	}
	if (selection->until != NULL) {
		xappend(sql, " AND %s < ", time);
		add_literal(sql, "", selection->until, "::timestamptz");
	}
}

/* The condition on a row of "t". */
static char *selected(const struct outbox_shape *shape, const struct replay_selection *selection,
		      const char *settled)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *lettered = outbox_sql_is_letter_of(shape);
	SCRATCH char *key = outbox_sql_template(shape, shape->key_template);
	char *sql = xasprintf("%s%s", shape->position ? settled : outbox_sql_published(shape),
			      outbox_sql_event(shape));
	if (selection->from_id != NULL) {
		xappend(&sql, " AND t.%s >= ", id);
		add_literal(&sql, "", selection->from_id, "::int8");
	}
	if (selection->to_id != NULL) {
		xappend(&sql, " AND t.%s <= ", id);
		add_literal(&sql, "", selection->to_id, "::int8");
	}
	add_times(&sql, shape, selection);
	if (selection->key != NULL) {
		xappend(&sql, " AND %s = ", key);
		add_literal(&sql, "", selection->key, "");
	}
	add_event_ids(&sql, shape, selection);
	xappend(&sql,
		" AND NOT EXISTS (SELECT FROM outbox_relay.dead_letters AS d WHERE d.outbox = "
		"%u::oid AND %s) AND NOT EXISTS (SELECT FROM outbox_relay.withdrawn AS d WHERE "
		"d.outbox = %u::oid AND %s)",
		shape->oid, lettered, shape->oid, lettered);
	return sql;
}

char *outbox_sql_replay_count(const struct outbox_shape *shape,
			      const struct replay_selection *selection, const char *settled,
			      const char *topic)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *condition = selected(shape, selection, settled);
	SCRATCH char *time = time_of(shape);
	SCRATCH char *routed = topic != NULL ? pgname_literal(topic)
					     : outbox_sql_template(shape, shape->topic_template);
	return xasprintf("SELECT %s::text AS topic, count(*) AS events, min(t.%s)::int8 AS "
			 "first_id, max(t.%s)::int8 AS last_id, "
			 "min(%s)::text AS first_at, max(%s)::text AS last_at FROM %s AS t WHERE "
			 "%s GROUP BY 1 ORDER BY 2 DESC, 1",
			 routed, id, id, time, time, shape->table, condition);
}

/*
 * The rows are measured before their text is fetched, as by an exact claim (sql_values.c). Rows
 * with the same id stay together, as the position cannot lie between them: hence WITH TIES, and the
 * sum, which by default has all that are alike (manual: "Window Function Calls").
 */
static char *page(const struct outbox_shape *shape, const char *condition, const char *last_id)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	struct values *values = outbox_sql_values_read(shape, "t.outbox_relay_whole");
	SCRATCH char *size = outbox_sql_row_size(values);
	SCRATCH char *list = outbox_sql_reading(shape, values);
	char *sql = xasprintf(
	    "SELECT %s FROM (SELECT t.*, outbox_relay_size <= %zu AS outbox_relay_whole, "
	    "sum(outbox_relay_size) OVER (ORDER BY outbox_relay_id) AS outbox_relay_upto, "
	    "min(outbox_relay_id) OVER () AS outbox_relay_first FROM (SELECT t.*, t.%s AS "
	    "outbox_relay_id, %s AS outbox_relay_size FROM %s AS t WHERE t.%s > $1::int8 AND t.%s "
	    "<= %s AND %s ORDER BY t.%s FETCH FIRST ($2::int8) ROWS WITH TIES) AS t) AS t "
	    "WHERE outbox_relay_upto <= $3::int8 OR outbox_relay_id = outbox_relay_first",
	    list, outbox_sql_whole_size(values), id, size, shape->table, id, id, last_id, condition,
	    id);
	outbox_sql_values_free(&values);
	return sql;
}

char *outbox_sql_replay_page(const struct outbox_shape *shape,
			     const struct replay_selection *selection, const char *settled,
			     int64_t last_id)
{
	SCRATCH char *condition = selected(shape, selection, settled);
	SCRATCH char *last = xasprintf("%" PRId64, last_id);
	return page(shape, condition, last);
}

char *outbox_sql_follow_page(const struct outbox_shape *shape)
{
	SCRATCH char *events = xasprintf("true%s", outbox_sql_event(shape));
	return page(shape, events, "$4::int8");
}

char *outbox_sql_follow_last(const struct outbox_shape *shape)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	return xasprintf("SELECT max(t.%s)::int8 AS id FROM %s AS t", id, shape->table);
}

/* As outbox_sql_writers, without asking for the tree before: the table may get another partition.
 */
char *outbox_sql_follow_writers(const struct outbox_shape *shape)
{
	return xasprintf("SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = "
			 "'relation' AND database = (SELECT oid FROM pg_database WHERE datname = "
			 "current_database()) AND (relation = %u::oid OR relation IN (SELECT relid "
			 "FROM pg_partition_tree(%u::oid))) AND mode = 'RowExclusiveLock' AND "
			 "granted AND pid IS DISTINCT FROM pg_backend_pid()",
			 shape->oid, shape->oid);
}
