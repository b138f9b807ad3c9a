/* SPDX-License-Identifier: ISC */
/*
 * sql_aside.c - what a claim does not publish of the rows it has taken: those that wait behind
 * letters
 *
 * They are copied behind the letters of their key, or of their topic, by the claim's own statement.
 * So each claim goes by the letters that it sees itself, no such row stays to be walked by the next
 * claim, and what holds back a claim holds back a move. The key is asked for first: no event of a
 * parked key waits for its topic alone (sql_letters.c).
 */
#include "sql_internal.h"

#include "base/xalloc.h"

#include <stdlib.h>

/* A letter that is held for this, and that: as a condition of which no planner makes a join. */
static char *letter(const struct outbox_shape *shape, const char *what, const char *that)
{
	return xasprintf(
	    "(SELECT true FROM outbox_relay.dead_letters AS d WHERE d.outbox = %u::oid AND "
	    "d.held_for = '%s'%s LIMIT 1)",
	    shape->oid, what, that);
}

/* As many keys are read, for each row that was taken, as cost no more than the look-ups of all rows
 * would: the walk costs as much for each key as a look-up. */
enum { ROWS_A_KEY = 4 };

/* All that letters are held for of a kind, each once, as "name" with members; few: there are no
 * more of them. A walk from one to the next (PostgreSQL wiki: "Loose indexscan"). */
static char *members(const struct outbox_shape *shape, const char *name, const char *what,
		     const char *column)
{
	SCRATCH char *from =
	    xasprintf("SELECT d.%s FROM outbox_relay.dead_letters AS d WHERE d.outbox = %u::oid "
		      "AND d.held_for = '%s'",
		      column, shape->oid, what);
	SCRATCH char *most =
	    xasprintf("coalesce((SELECT cardinality(places) / %d FROM taken), 0)", ROWS_A_KEY);
	return xasprintf(
	    "%s AS MATERIALIZED (WITH RECURSIVE lane (member) AS ((%s ORDER BY d.%s LIMIT 1) UNION "
	    "ALL SELECT (%s AND d.%s > lane.member ORDER BY d.%s LIMIT 1) FROM lane WHERE "
	    "lane.member IS NOT NULL) SELECT array_agg(member) AS members, count(*) <= %s AS few "
	    "FROM (SELECT member FROM lane WHERE member IS NOT NULL LIMIT %s + 1) AS first)",
	    name, from, column, from, column, column, most, most);
}

/* Whether this of a row of "keyed" is among the members: by a hash table of them, or, where they
 * are many, by a look-up. Not true: it is not. */
static char *is_member(const struct outbox_shape *shape, const char *name, const char *what,
		       const char *column, const char *that)
{
	SCRATCH char *equal = xasprintf(" AND d.%s = keyed.%s", column, that);
	SCRATCH char *own = letter(shape, what, equal);
	return xasprintf("CASE WHEN (SELECT few FROM %s) THEN keyed.%s IN (SELECT unnest(members) "
			 "FROM %s) ELSE %s END",
			 name, that, name, own);
}

/* Whether the key of a row of "keyed" is parked; not true: it is not. */
static char *is_parked(const struct outbox_shape *shape)
{
	if (shape->competing) /* there is no order to keep */
		return xstrdup("false");
	return is_member(shape, "parked_keys", "key", "key_hash", "key");
}

/* Whether other events of its topic wait for that. */
static char *is_waiting(const struct outbox_shape *shape)
{
	return is_member(shape, "waiting_topics", "topic", "topic", "topic");
}

char *outbox_sql_aside_members(const struct outbox_shape *shape)
{
	SCRATCH char *keys = members(shape, "parked_keys", "key", "key_hash");
	SCRATCH char *topics = members(shape, "waiting_topics", "topic", "topic");
	return xasprintf("%s, %s", keys, topics);
}

const char outbox_sql_aside_arrays[] =
    "array_agg(place) AS places, array_agg(DISTINCT key) FILTER (WHERE parked) AS keys, "
    "array_agg(DISTINCT topic) FILTER (WHERE parked IS NOT TRUE) AS topics";

/* While nothing is set aside, that is all that is looked up. Keys are made before they are
 * compared: by an expression with a function that may leak, no index is asked where the letters
 * have policies (manual: "Rules and Privileges"). */
char *outbox_sql_aside_rows(const struct outbox_shape *shape, const char *from, const char *where)
{
	SCRATCH char *key = outbox_sql_key(shape), *has_key = outbox_sql_has_key(shape);
	SCRATCH char *topic = outbox_sql_template(shape, shape->topic_template);
	SCRATCH char *parked = is_parked(shape), *waits = is_waiting(shape);
	SCRATCH char *any_key = letter(shape, "key", ""), *any_topic = letter(shape, "topic", "");
	return xasprintf("(SELECT part, place, key, topic, parked FROM (SELECT keyed.*, %s AS "
			 "parked, %s AS waits "
			 "FROM (SELECT t.tableoid AS part, t.ctid AS place, CASE WHEN %s THEN %s "
			 "END AS key, %s AS "
			 "topic FROM %s WHERE coalesce(%s, %s, false)%s OFFSET 0) AS keyed OFFSET "
			 "0) AS rows WHERE "
			 "parked OR waits) AS rows",
			 parked, waits, has_key, key, topic, from, any_key, any_topic, where);
}

/* OFFSET 0: otherwise the rows are looked for in their order, through all of the index. */
char *outbox_sql_aside_copies(const struct outbox_shape *shape, size_t leaf, const char *from)
{
	SCRATCH char *values = outbox_sql_letter_values(shape, leaf, true);
	SCRATCH char *key = outbox_sql_key(shape), *has_key = outbox_sql_has_key(shape);
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	return xasprintf(
	    "moved AS (INSERT INTO outbox_relay.dead_letters %s SELECT %s, CASE WHEN %s AND %s = "
	    "ANY ((SELECT keys FROM aside)::int8[]) THEN 'key' ELSE 'topic' END, NULL, NULL, 0 "
	    "FROM "
	    "(SELECT t.* FROM %s OFFSET 0) AS t ORDER BY t.%s)",
	    outbox_sql_letter_columns, values, has_key, key, from, id);
}

/* What no plain claim goes past: true or NULL, each. */
static char *any_of(const struct outbox_shape *shape)
{
	SCRATCH char *any_key = letter(shape, "key", ""), *any_topic = letter(shape, "topic", "");
	if (!shape->position)
		return xasprintf("%s, %s", any_key, any_topic);
	SCRATCH char *any_ahead = outbox_sql_any_ahead(shape);
	return xasprintf("%s, %s, %s", any_key, any_topic, any_ahead);
}

char *outbox_sql_none_aside(const struct outbox_shape *shape)
{
	SCRATCH char *any = any_of(shape);
	return xasprintf(" AND coalesce(%s) IS NULL", any);
}

char *outbox_sql_any_aside(const struct outbox_shape *shape)
{
	SCRATCH char *any = any_of(shape);
	return xasprintf("SELECT coalesce(%s, false)", any);
}

char *outbox_sql_is_aside(const struct outbox_shape *shape)
{
	SCRATCH char *key = outbox_sql_key(shape), *has_key = outbox_sql_has_key(shape);
	SCRATCH char *topic = outbox_sql_template(shape, shape->topic_template);
	return xasprintf(
	    "CASE WHEN (SELECT places FROM aside) IS NULL THEN false ELSE coalesce((%s "
	    "AND %s = ANY ((SELECT keys FROM aside)::int8[])) OR %s = ANY ((SELECT "
	    "topics FROM aside)::text[]), false) END",
	    has_key, key, topic);
}
