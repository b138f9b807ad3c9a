/* SPDX-License-Identifier: ISC */
/*
 * sql_dead_letters.c - a row of the outbox as a letter, and the statement that moves rejected rows
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_mapped(const struct outbox_shape *shape, const char *name)
{
	const struct config_columns *names = shape->names;
	const char *const mapped[] = {names->id,	   names->event_id,   names->aggregate_type,
				      names->aggregate_id, names->event_type, names->payload,
				      names->headers,	   names->created_at};
	for (size_t i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++)
		if (strcmp(mapped[i], name) == 0)
			return true;
	if (strcmp(name, "published_at") == 0)
		return true;
	return (shape->position && strcmp(name, "x") == 0) ||
	       (shape->mark && names->published_at != NULL &&
		strcmp(name, names->published_at) == 0);
}

/* A function takes at most 100 arguments (FUNC_MAX_ARGS). An event id is part of a key, and an
 * index has no room for long ones (manual: "B-Tree Indexes"). */
enum { PAIRS_MAX = 50, EVENT_ID_MAX = LETTER_EVENT_ID_MAX };

static char *moved(const char *name)
{
	SCRATCH char *column = outbox_sql_quoted(name);
	return xasprintf("t.%s", column);
}

/* A column's text; NULL where Postgres could not make it. */
static char *moved_text(const struct outbox_shape *shape, const char *name)
{
	if (name[0] == '\0')
		return xstrdup("NULL::text");
	SCRATCH char *column = moved(name), *length = outbox_sql_length(column, TYPE_JSONB);
	return outbox_sql_type(shape, name) == TYPE_JSONB
		   ? xasprintf("CASE WHEN %s <= %d THEN %s::text END", length, PRINTABLE, column)
		   : xasprintf("%s::text", column);
}

/* Adds a column that has a place of its own to the extra ones, should its place not hold it all. */
static char *overflow(const struct outbox_shape *shape, const char *name, uint32_t type)
{
	SCRATCH char *column = moved(name), *key = pgname_literal(name);
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

/* Whether jsonb has it as it is. All else goes in as text, which is what templates make of it; json
 * may hold what jsonb cannot (\u0000, 1e400000), too. */
static bool is_exact_in_jsonb(uint32_t type)
{
	return outbox_type_is_native(type) || type == TYPE_JSONB || type == TYPE_BOOL ||
	       type == TYPE_NUMERIC;
}

/* The columns that play no role, as a jsonb object, and what overflows. A jsonb column that is NULL
 * is left out, as the null of JSON is another value. Without these columns only
 * a document that overflows is left, which is jsonb as it is. */
static char *extra_columns(const struct outbox_shape *shape, bool own_columns)
{
	SCRATCH char *list = xstrdup(""), *more = xstrdup("");
	size_t pairs = 0;
	for (size_t i = 0; i < shape->column_count; i++) {
		const struct outbox_column *own = &shape->columns[i];
		if (is_mapped(shape, own->name)) {
			if (own_columns || own->type == TYPE_JSONB)
				more =
				    outbox_sql_append(more, overflow(shape, own->name, own->type));
			continue;
		}
		if (!own_columns)
			continue;
		SCRATCH char *column = moved(own->name), *key = pgname_literal(own->name);
		if (own->type == TYPE_JSONB) {
			xappend(&more,
				" || CASE WHEN %s IS NULL THEN '{}' ELSE jsonb_build_object(%s, "
				"%s) END",
				column, key, column);
			continue;
		}
		const char *between = pairs % PAIRS_MAX ? ", " : ") || jsonb_build_object(";
		xappend(&list, "%s%s, %s%s", pairs ? between : "", key, column,
			is_exact_in_jsonb(own->type) ? "" : "::text");
		pairs++;
	}
	return xasprintf("nullif(jsonb_build_object(%s)%s, '{}')", list, more);
}

/* The bytes that the session would have been given. */
static char *moved_payload(const struct outbox_shape *shape)
{
	const char *name = shape->names->payload;
	if (outbox_sql_type(shape, name) == TYPE_BYTEA)
		return moved(name);
	SCRATCH char *text = moved_text(shape, name);
	return xasprintf("convert_to(%s, pg_client_encoding())", text);
}

/* A timestamp is taken for UTC. A cast would go by the session's zone, and fail near the ends of
 * the range. */
static char *moved_time(const struct outbox_shape *shape, const char *name)
{
	if (name[0] == '\0')
		return xstrdup("NULL::timestamptz");
	const char *zone =
	    outbox_sql_type(shape, name) == TYPE_TIMESTAMP ? " AT TIME ZONE 'UTC'" : "";
	SCRATCH char *column = moved(name);
	return xasprintf("%s%s", column, zone);
}

#define LETTER_COLUMNS                                                                             \
	"outbox, id, event_id, aggregate_type, aggregate_id, event_type, payload, payload_type, "  \
	"headers, created_at, extra, key, key_hash, key_layout, topic, leaf, held_for, error, "    \
	"reason, attempts"

const char outbox_sql_letter_columns[] = "(" LETTER_COLUMNS ")";

/* All of it happens in the server: the payload may be larger than the relay cares to hold. */
char *outbox_sql_letter_values(const struct outbox_shape *shape, size_t leaf, bool extra)
{
	const struct config_columns *names = shape->names;
	SCRATCH char *id = moved(names->id), *event_id = moved(names->event_id);
	SCRATCH char *has_key = outbox_sql_has_key(shape), *hash = outbox_sql_key(shape);
	char *list = xasprintf("%u::oid::regclass, %s, left(%s::text, %d)", shape->oid, id,
			       event_id, EVENT_ID_MAX);
	char *const columns[] = {
	    moved_text(shape, names->aggregate_type),
	    moved_text(shape, names->aggregate_id),
	    moved_text(shape, names->event_type),
	    moved_payload(shape),
	    xasprintf("%u::oid::regtype::text", outbox_sql_type(shape, names->payload)),
	    moved_text(shape, names->headers),
	    moved_time(shape, names->created_at),
	    extra_columns(shape, extra),
	    outbox_sql_template(shape, shape->key_template),
	    xasprintf("CASE WHEN %s THEN %s END", has_key, hash),
	    xasprintf("%" PRIu32 "::int8", outbox_sql_key_layout(shape)),
	    outbox_sql_template(shape, shape->topic_template),
	    xasprintf("%u::oid", shape->leaves[leaf].oid)};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		xappend(&list, ", ");
		list = outbox_sql_append(list, columns[i]);
	}
	return list;
}

/* The rows that are rejected, with what is given of each. Rows that stay would be found once for
 * each of those that have the same identity. */
static char *rejected_rows(const struct outbox_shape *shape, size_t leaf)
{
	const struct outbox_leaf *own = &shape->leaves[leaf];
	SCRATCH char *waits = outbox_sql_not_settled(shape, leaf);
	SCRATCH char *found = outbox_sql_places(shape, leaf, waits);
	SCRATCH char *given = xasprintf(
	    "(SELECT found.part AS \"given part\", found.place AS \"given place\", reason AS "
	    "\"given reason\", error AS \"given error\", held AS \"given held\" FROM (SELECT %s* "
	    "FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[]) AS given (id, "
	    "event_id, reason, error, held)) AS given, %s OFFSET 0) AS given WHERE t.tableoid = "
	    "\"given part\" AND t.ctid = \"given place\"",
	    shape->position ? "DISTINCT ON (id, event_id) " : "", found);
	if (shape->position)
		return xasprintf("SELECT t.*, given.* FROM %s%s AS t, %s", outbox_sql_only(own),
				 own->table, given);
	return xasprintf("%s %s AS t%s %s %s RETURNING *", outbox_sql_verb_on(shape, own),
			 own->table, outbox_sql_set(shape), shape->mark ? "FROM" : "USING", given);
}

/* In mark mode the letter is a copy, and the row counts as settled. One statement takes the row and
 * makes the letter, so that after a COMMIT whose answer was lost there is one of the two, and never
 * both: each row has a letter of its own, whatever its id and event id are. One of a key may be
 * rejected behind another that waits for its topic: their numbers are in the order of their ids. */
char *outbox_sql_dead_letter(const struct outbox_shape *shape, size_t leaf, bool extra)
{
	SCRATCH char *rows = rejected_rows(shape, leaf);
	SCRATCH char *values = outbox_sql_letter_values(shape, leaf, extra);
	SCRATCH char *has_key = outbox_sql_has_key(shape);
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *notes =
	    shape->position ? outbox_sql_note_ahead(shape, "t") : xstrdup("SELECT");
	return xasprintf(
	    "WITH t AS (%s), noted AS (%s) "
	    "INSERT INTO outbox_relay.dead_letters (" LETTER_COLUMNS ", copy_owed_since) SELECT "
	    "%s, CASE WHEN \"given held\" = "
	    "'topic' OR (%s) THEN \"given held\" END, \"given error\", \"given reason\", "
	    "(\"given reason\" IS NOT NULL)::int, CASE WHEN $6::bool AND \"given reason\" IS NOT "
	    "NULL THEN clock_timestamp() END FROM t ORDER BY t.%s",
	    rows, notes, values, has_key, id);
}

/* By the id they are found in their index. The time tells events apart whose ids are the same. A
 * note may have an event id whole. */
char *outbox_sql_is_letter_of(const struct outbox_shape *shape)
{
	const struct config_columns *names = shape->names;
	SCRATCH char *id = moved(names->id), *event_id = moved(names->event_id);
	SCRATCH char *created_at = moved_time(shape, names->created_at);
	char *sql = xasprintf("d.id = %s AND left(d.event_id, %d) IS NOT DISTINCT FROM "
			      "left(%s::text, %d)",
			      id, EVENT_ID_MAX, event_id, EVENT_ID_MAX);
	if (names->created_at[0] != '\0')
		xappend(&sql, " AND coalesce(d.created_at = %s, true)", created_at);
	return sql;
}

/* As it was in the row: of a column that has a place of its own, or of one of the extra ones. */
char *outbox_sql_letter_field(const struct outbox_shape *shape, const char *name)
{
	const struct config_columns *names = shape->names;
	const struct {
		const char *column, *place;
	} places[] = {{names->id, "d.id::text"},
		      {names->event_id, "d.event_id"},
		      {names->aggregate_type, "d.aggregate_type"},
		      {names->aggregate_id, "d.aggregate_id"},
		      {names->event_type, "d.event_type"},
		      {names->created_at, outbox_sql_type(shape, name) == TYPE_TIMESTAMP
					      ? "(d.created_at AT TIME ZONE 'UTC')::text"
					      : "d.created_at::text"}};
	SCRATCH char *key = pgname_literal(name);
	char *extra = outbox_sql_type(shape, name) == TYPE_JSONB
			  ? xasprintf("(d.extra -> %s)::text", key)
			  : xasprintf("d.extra ->> %s", key);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strcmp(places[i].column, name) == 0) {
			char *sql = xasprintf("coalesce(%s, %s)", extra, places[i].place);
			free(extra);
			return sql;
		}
	return extra;
}
