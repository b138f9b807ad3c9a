/* SPDX-License-Identifier: ISC */
/*
 * sql_dead_letters.c - the statement that moves rejected events to the dead letters
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

static bool is_mapped(const struct config_columns *names, const char *name)
{
	const char *const mapped[] = {names->id,	   names->event_id,   names->aggregate_type,
				      names->aggregate_id, names->event_type, names->payload,
				      names->headers,	   names->created_at, "published_at"};
	for (size_t i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++)
		if (strcmp(mapped[i], name) == 0)
			return true;
	return false;
}

/* A function takes at most 100 arguments (FUNC_MAX_ARGS). An event id is part of a key, and an
 * index has no room for long ones (manual: "B-Tree Indexes"). */
enum { PAIRS_MAX = 50, EVENT_ID_MAX = 600 };

static char *gone(const char *name)
{
	SCRATCH char *column = outbox_sql_quoted(name);
	return xasprintf("gone.%s", column);
}

/* A column's text; NULL where Postgres could not make it. */
static char *gone_text(const struct outbox_shape *shape, const char *name)
{
	if (name[0] == '\0')
		return xstrdup("NULL::text");
	SCRATCH char *column = gone(name), *length = outbox_sql_length(column, TYPE_JSONB);
	return outbox_sql_type(shape, name) == TYPE_JSONB
		   ? xasprintf("CASE WHEN %s <= %d THEN %s::text END", length, PRINTABLE, column)
		   : xasprintf("%s::text", column);
}

/* Adds a column that has a place of its own to the extra ones, should its place not hold it all. */
static char *overflow(const struct outbox_shape *shape, const char *name, uint32_t type)
{
	SCRATCH char *column = gone(name), *key = pgname_literal(name);
	if (type == TYPE_JSONB) {
		SCRATCH char *length = outbox_sql_length(column, type);
		return xasprintf(" || CASE WHEN %s > %d THEN jsonb_build_object(%s, %s) "
				 "ELSE '{}' END",
				 length, PRINTABLE, key, column);
	}
	if (strcmp(name, shape->names->event_id) == 0)
		return xasprintf(" || CASE WHEN char_length(%s::text) > %d "
				 "THEN jsonb_build_object(%s, %s) ELSE '{}' END",
				 column, EVENT_ID_MAX, key, column);
	return xstrdup("");
}

/* The columns that play no role, as a jsonb object, and what overflows. json goes in as text: it
 * may hold what jsonb cannot (\u0000, 1e400000). Without these columns only a document that
 * overflows is left, which is jsonb as it is. */
static char *extra_columns(const struct outbox_shape *shape, bool own_columns)
{
	SCRATCH char *list = xstrdup(""), *more = xstrdup("");
	size_t pairs = 0;
	for (size_t i = 0; i < shape->column_count; i++) {
		const struct outbox_column *own = &shape->columns[i];
		if (is_mapped(shape->names, own->name)) {
			if (own_columns || own->type == TYPE_JSONB)
				more =
				    outbox_sql_append(more, overflow(shape, own->name, own->type));
			continue;
		}
		if (!own_columns)
			continue;
		SCRATCH char *column = gone(own->name), *key = pgname_literal(own->name);
		const char *between = pairs % PAIRS_MAX ? ", " : ") || jsonb_build_object(";
		xappend(&list, "%s%s, %s%s", pairs ? between : "", key, column,
			own->type == TYPE_JSON ? "::text" : "");
		pairs++;
	}
	return xasprintf("nullif(jsonb_build_object(%s)%s, '{}')", list, more);
}

/* The bytes that the session would have been given. */
static char *gone_payload(const struct outbox_shape *shape)
{
	const char *name = shape->names->payload;
	if (outbox_sql_type(shape, name) == TYPE_BYTEA)
		return gone(name);
	SCRATCH char *text = gone_text(shape, name);
	return xasprintf("convert_to(%s, pg_client_encoding())", text);
}

/* A timestamp is taken for UTC. A cast would go by the session's zone, and fail near the ends of
 * the range. */
static char *gone_time(const struct outbox_shape *shape, const char *name)
{
	if (name[0] == '\0')
		return xstrdup("NULL::timestamptz");
	const char *zone =
	    outbox_sql_type(shape, name) == TYPE_TIMESTAMP ? " AT TIME ZONE 'UTC'" : "";
	SCRATCH char *column = gone(name);
	return xasprintf("%s%s", column, zone);
}

/* All of it happens in the server: the payload may be larger than the relay cares to hold. */
char *outbox_sql_dead_letter(const struct outbox_shape *shape, size_t leaf, bool extra)
{
	const struct config_columns *names = shape->names;
	SCRATCH char *found = outbox_sql_places(shape, leaf, "");
	SCRATCH char *id = gone(names->id), *event_id = gone(names->event_id);
	SCRATCH char *list = xasprintf("%u::oid::regclass, %s, left(coalesce(%s::text, ''), %d), ",
				       shape->oid, id, event_id, EVENT_ID_MAX);
	char *const columns[] = {
	    gone_text(shape, names->aggregate_type),
	    gone_text(shape, names->aggregate_id),
	    gone_text(shape, names->event_type),
	    gone_payload(shape),
	    xasprintf("%u::oid::regtype::text", outbox_sql_type(shape, names->payload)),
	    gone_text(shape, names->headers),
	    gone_time(shape, names->created_at),
	    extra_columns(shape, extra)};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		list = outbox_sql_append(list, columns[i]);
		xappend(&list, ", ");
	}
	return xasprintf(
	    "WITH gone AS (DELETE FROM ONLY %s AS t USING (SELECT found.place AS \"given place\", "
	    "reason AS \"given reason\", error AS \"given error\" "
	    "FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[]) "
	    "AS given (id, event_id, reason, error), %s OFFSET 0) AS given "
	    "WHERE t.ctid = \"given place\" RETURNING *) "
	    "INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, aggregate_type, "
	    "aggregate_id, event_type, payload, payload_type, headers, created_at, extra, error, "
	    "reason) SELECT %s\"given error\", \"given reason\" "
	    "FROM gone ON CONFLICT (outbox, id, event_id) DO UPDATE "
	    "SET attempts = dead_letters.attempts + 1, dead_at = clock_timestamp(), "
	    "aggregate_type = excluded.aggregate_type, aggregate_id = excluded.aggregate_id, "
	    "event_type = excluded.event_type, payload = excluded.payload, "
	    "payload_type = excluded.payload_type, headers = excluded.headers, "
	    "created_at = excluded.created_at, extra = excluded.extra, "
	    "error = excluded.error, reason = excluded.reason",
	    shape->leaves[leaf].table, found, list);
}
