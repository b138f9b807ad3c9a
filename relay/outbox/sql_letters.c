/* SPDX-License-Identifier: ISC */
/*
 * sql_letters.c - the statements on letters: which are due, and what becomes of them
 *
 * A key is parked as long as a letter of it exists; nothing else says so. Its first letter is due
 * when it was not rejected (what was before it is gone), or when an operator has asked for it.
 * Behind one that was not rejected, all others follow up to the first that was. A dead letter,
 * which keeps nothing waiting, is due when it is asked for.
 *
 * There may be many letters and few keys, or many keys: a walk that skips from key to key in the
 * index costs a look-up for each key (PostgreSQL wiki: "Loose indexscan").
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <inttypes.h>
#include <stdlib.h>

/* So many requests are carried out at a time. */
enum { REQUESTS_MAX = 1000 };

char *outbox_sql_letters_mine(const struct outbox_shape *shape, const char *param)
{
	if (shape->competing)
		return xstrdup("");
	if (shape->hashed > 0)
		return xasprintf(" AND (coalesce(d.key_hash, 0) & 9223372036854775807) %% %d = ANY "
				 "(%s::int8[])",
				 shape->hashed, param);
	if (!shape->partitioned)
		return xstrdup("");
	SCRATCH char *leaves = xstrdup("");
	for (size_t i = 0; i < shape->leaf_count; i++)
		xappend(&leaves, "%s%u", i == 0 ? "" : ",", shape->leaves[i].oid);
	return xasprintf(" AND coalesce(array_position('{%s}'::oid[], d.leaf), 1) - 1 = ANY "
			 "(%s::int8[])",
			 leaves, param);
}

/* The letters "d" of this outbox that are held for this. */
static char *held_for(const struct outbox_shape *shape, const char *what)
{
	return xasprintf("FROM outbox_relay.dead_letters AS d WHERE d.outbox = %u::oid AND "
			 "d.held_for = '%s'",
			 shape->oid, what);
}

/* The first letter of each parked key, as "head"; of each topic that is waited for, its name, as
 * "topic". Of keys that are "after", and at most as many as "limit" says; "reach" has the hashes of
 * these keys, whosever they are. */
static char *heads(const struct outbox_shape *shape, const char *param, const char *after,
		   const char *limit)
{
	SCRATCH char *parked = held_for(shape, "key"),
		     *ours = outbox_sql_letters_mine(shape, param);
	SCRATCH char *waits = held_for(shape, "topic");
	return xasprintf(
	    "WITH RECURSIVE lane (key_hash) AS ((SELECT d.key_hash %s%s ORDER BY d.key_hash LIMIT "
	    "1) "
	    "UNION ALL SELECT (SELECT d.key_hash %s AND d.key_hash > lane.key_hash "
	    "ORDER BY d.key_hash LIMIT 1) FROM lane WHERE lane.key_hash IS NOT NULL), "
	    "reach AS (SELECT key_hash FROM lane WHERE key_hash IS NOT NULL%s), head AS "
	    "MATERIALIZED (SELECT d.* FROM reach CROSS JOIN LATERAL (SELECT d.key_hash, d.leaf, "
	    "d.number, d.reason, d.reason IS NOT NULL AS rejected, d.topic, d.created_at, "
	    "d.dead_at %s AND d.key_hash = reach.key_hash ORDER BY d.key_hash, d.number LIMIT 1) "
	    "AS d WHERE true%s), topic (name) AS ((SELECT d.topic %s ORDER BY d.topic LIMIT 1) "
	    "UNION ALL "
	    "SELECT (SELECT d.topic %s AND d.topic > topic.name ORDER BY d.topic LIMIT 1) FROM "
	    "topic WHERE topic.name IS NOT NULL)",
	    parked, after, parked, limit, parked, ours, waits, waits);
}

/* Whether a topic is none of those that are left alone, which are in this parameter. */
static char *usable(const char *topic, const char *param)
{
	return xasprintf("coalesce(%s <> ALL (%s::text[]), true)", topic, param);
}

/* Whether a retry is asked for. With an edit or a discard that is carried out first. */
static char *asked_for(const char *number)
{
	return xasprintf("(SELECT bool_and(r.action = 'retry') FROM outbox_relay.letter_requests "
			 "AS r WHERE r.letter = %s)",
			 number);
}

/* Of the parked keys: the first letter alone, if it was rejected and is asked for. */
static char *due_heads(void)
{
	SCRATCH char *may = usable("head.topic", "$3"), *asked = asked_for("head.number");
	return xasprintf("SELECT number FROM head WHERE rejected AND %s AND %s", may, asked);
}

/* Whether an edit or a discard of the letter "d" is yet to be carried out: the claim sees what was
 * asked for since, and what another session had locked. */
static const char to_change[] = "EXISTS (SELECT FROM outbox_relay.letter_requests AS r WHERE "
				"r.letter = d.number AND r.action <> 'retry')";

/* Likewise: those that follow what is gone, up to one that has to wait for an operator or a topic.
 */
static char *due_runs(const struct outbox_shape *shape)
{
	SCRATCH char *parked = held_for(shape, "key"), *may = usable("d.topic", "$3");
	return xasprintf(
	    "SELECT run.number FROM head CROSS JOIN LATERAL (SELECT number, bool_or(stops) OVER "
	    "(ORDER BY number) AS behind FROM (SELECT d.number, d.reason IS NOT NULL OR %s OR NOT "
	    "%s AS stops %s AND d.key_hash = head.key_hash ORDER BY d.key_hash, d.number LIMIT "
	    "$1::int8) AS next) AS run WHERE NOT head.rejected AND NOT run.behind",
	    to_change, may, parked);
}

/* Of the topics that are waited for: all, or one to see whether it can be used; none past one that
 * is to be changed. */
static char *due_topics(const struct outbox_shape *shape)
{
	SCRATCH char *waits = held_for(shape, "topic"),
		     *ours = outbox_sql_letters_mine(shape, "$5");
	SCRATCH char *may = usable("topic.name", "$3");
	return xasprintf(
	    "SELECT run.number FROM topic CROSS JOIN LATERAL (SELECT number, bool_or(stops) OVER "
	    "(ORDER BY number) AS behind FROM (SELECT d.number, %s AS stops %s AND d.topic = "
	    "topic.name%s ORDER BY d.topic, d.number LIMIT CASE WHEN topic.name = ANY ($4::text[]) "
	    "THEN 1 ELSE $1::int8 END) AS next) AS run WHERE %s AND NOT run.behind",
	    to_change, waits, ours, may);
}

/* Each letter is known by its number: no word may make it seem cheaper to walk a partial index on
 * all dead letters (outbox_sql_still_unpublished says why). */
static char *due_dead_letters(const struct outbox_shape *shape)
{
	SCRATCH char *ours = outbox_sql_letters_mine(shape, "$5"), *may = usable("d.topic", "$3");
	SCRATCH char *asked = asked_for("d.number");
	return xasprintf(
	    "SELECT d.number FROM outbox_relay.letter_requests AS r JOIN "
	    "outbox_relay.dead_letters AS d ON d.number = r.letter WHERE r.outbox = "
	    "%u::oid AND r.action = 'retry' AND num_nulls(d.held_for) = 1 AND %s AND %s%s",
	    shape->oid, asked, may, ours);
}

/* The first that are "ready", each with its size. Where relays compete, all of them come to the
 * same letters: what another one has locked is left to it, and others are taken instead. Its edit
 * may have been passed over for such a lock, which may be gone by now. */
static char *upcoming(const struct outbox_shape *shape)
{
	static const char size[] = "d.number, coalesce(octet_length(d.payload), 0) + 1 AS size";
	if (shape->competing)
		return xasprintf("SELECT %s FROM outbox_relay.dead_letters AS d WHERE d.number = "
				 "ANY ((SELECT array_agg(number) FROM ready)::int8[]) AND NOT %s "
				 "ORDER BY d.number LIMIT $1::int8 FOR UPDATE SKIP LOCKED",
				 size, to_change);
	return xasprintf("SELECT %s FROM (SELECT number FROM ready ORDER BY number LIMIT $1::int8) "
			 "AS upcoming JOIN outbox_relay.dead_letters AS d USING (number)",
			 size);
}

/* What is due, as "due": an array of numbers; of the first one, whatever its size is. */
static char *due(const struct outbox_shape *shape)
{
	SCRATCH char *first = heads(shape, "$5", "", ""), *alone = due_heads();
	SCRATCH char *runs = due_runs(shape);
	SCRATCH char *topics = due_topics(shape), *dead = due_dead_letters(shape);
	SCRATCH char *next = upcoming(shape);
	return xasprintf(
	    "%s, ready AS (%s UNION ALL %s UNION ALL %s UNION ALL %s), due AS MATERIALIZED (SELECT "
	    "array_agg(number) AS numbers FROM (SELECT number, size, sum(size) OVER (ORDER BY "
	    "number) AS upto FROM (%s) AS sized) AS summed WHERE upto <= $2::int8 OR upto = size)",
	    first, alone, runs, topics, dead, next);
}

char *outbox_sql_letters_attempt(const struct outbox_shape *shape)
{
	SCRATCH char *next = due(shape);
	return xasprintf("%s UPDATE outbox_relay.dead_letters SET attempted_at = clock_timestamp() "
			 "WHERE number = ANY ((SELECT numbers FROM due)::int8[]) AND attempted_at "
			 "IS NULL",
			 next);
}

/* The length of an event whose payload or headers are not fetched, otherwise NULL. What has no text
 * lies among the extra columns (sql_dead_letters.c). */
static char *withheld(const struct outbox_shape *shape)
{
	SCRATCH char *payload = pgname_literal(shape->names->payload);
	SCRATCH char *headers = pgname_literal(shape->names->headers);
	return xasprintf(
	    "CASE WHEN octet_length(d.payload) > %zu OR octet_length(d.headers) > %zu THEN "
	    "coalesce(octet_length(d.payload), 0)::int8 + coalesce(octet_length(d.headers), 0) "
	    "WHEN d.extra ?| ARRAY[%s, %s] THEN %d::int8 END",
	    shape->withhold_bytes, shape->withhold_bytes, payload, headers, PRINTABLE + 1);
}

/* Binary, as a claim's: bytea is the payload's bytes, and all fields are text. */
char *outbox_sql_letters_returned(const struct outbox_shape *shape, const char *letter)
{
	SCRATCH char *length = withheld(shape);
	char *list = xasprintf(
	    "d.id, d.created_at, CASE WHEN octet_length(d.payload) <= %zu THEN d.payload END, %s, "
	    "CASE WHEN octet_length(d.headers) <= %zu THEN d.headers END, NULL::int4, "
	    "cardinality((SELECT numbers FROM due)), %s",
	    shape->withhold_bytes, length, shape->withhold_bytes, letter);
	for (size_t i = 0; i < shape->field_count; i++) {
		xappend(&list, ", ");
		list = outbox_sql_append(list, outbox_sql_letter_field(shape, shape->fields[i]));
	}
	return list;
}

/* What has become due since the others were marked waits for the next claim, and so does its
 * request. */
char *outbox_sql_letters_claim(const struct outbox_shape *shape)
{
	SCRATCH char *next = due(shape),
		     *returned = outbox_sql_letters_returned(
			 shape, "CASE WHEN d.reason IS NULL THEN d.number ELSE - d.number END");
	return xasprintf(
	    "%s, asked AS (DELETE FROM outbox_relay.letter_requests AS r WHERE r.letter = ANY "
	    "((SELECT "
	    "numbers FROM due)::int8[]) AND r.action = 'retry' AND (SELECT d.attempted_at IS NOT "
	    "NULL FROM outbox_relay.dead_letters AS d WHERE d.number = r.letter)) DELETE FROM "
	    "outbox_relay.dead_letters "
	    "AS d WHERE d.number = ANY ((SELECT numbers FROM due)::int8[]) AND d.attempted_at IS "
	    "NOT "
	    "NULL RETURNING %s",
	    next, returned);
}

/* Requests of this kind for letters of ours, oldest first, as "wanted". Where relays compete,
 * another one may be at the letter. */
static char *wanted(const struct outbox_shape *shape, const char *action)
{
	SCRATCH char *ours = outbox_sql_letters_mine(shape, "$1");
	return xasprintf(
	    "WITH wanted AS MATERIALIZED (SELECT r.number, r.letter, r.payload, r.headers FROM "
	    "outbox_relay.letter_requests AS r JOIN outbox_relay.dead_letters AS d ON d.number = "
	    "r.letter AND d.outbox = r.outbox WHERE r.outbox = %u::oid AND r.action = '%s'%s ORDER "
	    "BY r.number LIMIT %d FOR UPDATE OF r%s SKIP LOCKED)",
	    shape->oid, action, ours, REQUESTS_MAX, shape->competing ? ", d" : "");
}

/* What a note has of a letter "d". The event id whole (sql_dead_letters.c), as `verify` compares
 * it. */
static char *noted(const struct outbox_shape *shape)
{
	SCRATCH char *event_id = pgname_literal(shape->names->event_id);
	return xasprintf("d.id, coalesce(d.extra ->> %s, d.event_id) AS event_id, d.created_at",
			 event_id);
}

/* Where rows stay, those of these letters are settled, and were not published as they are. That is
 * noted, so that no replay publishes them. The rows are left to the retention: another session may
 * have locked one, and a foreign key or a trigger may want to keep it. Notes are forgotten whose
 * rows are gone: the oldest go first. */
static char *note_withdrawn(const struct outbox_shape *shape, const char *letters)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	if (!shape->mark && !shape->position)
		return xstrdup("");
	return xasprintf(
	    ", withdrawn AS (INSERT INTO outbox_relay.withdrawn (outbox, id, event_id, "
	    "created_at) SELECT %u::oid, d.id, d.event_id, d.created_at FROM %s AS d), "
	    "forgotten AS (DELETE FROM outbox_relay.withdrawn AS w WHERE w.ctid = ANY "
	    "(ARRAY(SELECT o.ctid FROM outbox_relay.withdrawn AS o WHERE o.outbox = "
	    "%u::oid ORDER BY o.id LIMIT %d)) AND NOT EXISTS (SELECT FROM %s AS t WHERE "
	    "t.%s = w.id))",
	    shape->oid, letters, shape->oid, REQUESTS_MAX, shape->table, id);
}

char *outbox_sql_letters_edit(const struct outbox_shape *shape)
{
	SCRATCH char *requests = wanted(shape, "edit"), *note = note_withdrawn(shape, "edited");
	SCRATCH char *returned = noted(shape);
	SCRATCH char *payload = pgname_literal(shape->names->payload);
	SCRATCH char *headers = pgname_literal(shape->names->headers);
	return xasprintf("%s, edited AS (UPDATE outbox_relay.dead_letters AS d SET payload = "
			 "wanted.payload, headers = wanted.headers, extra = d.extra - %s - %s FROM "
			 "wanted WHERE d.number = wanted.letter RETURNING %s)%s DELETE FROM "
			 "outbox_relay.letter_requests AS r USING wanted WHERE r.number = "
			 "wanted.number",
			 requests, payload, headers, returned, note);
}

/* With the letter goes every request for it, and those for letters that are gone, each of which is
 * looked up: NOT EXISTS may be answered by reading all letters. */
char *outbox_sql_letters_discard(const struct outbox_shape *shape)
{
	SCRATCH char *requests = wanted(shape, "discard"), *note = note_withdrawn(shape, "gone");
	SCRATCH char *returned = noted(shape);
	return xasprintf(
	    "%s, gone AS (DELETE FROM outbox_relay.dead_letters AS d USING wanted WHERE d.number = "
	    "wanted.letter RETURNING %s)%s DELETE FROM "
	    "outbox_relay.letter_requests "
	    "AS "
	    "r WHERE r.outbox = %u::oid AND (r.letter IN (SELECT letter FROM wanted) OR (SELECT "
	    "true FROM outbox_relay.dead_letters AS d WHERE d.number = r.letter AND d.outbox = "
	    "r.outbox) IS NULL)",
	    requests, returned, note, shape->oid);
}

/* ---- counting ---- */

/* ", count(*) ...": of each reason, in their order. */
static char *by_reason(void)
{
	char *list = xstrdup("");
	for (int reason = 0; reason < REJECT_REASONS; reason++)
		xappend(&list, ", count(*) FILTER (WHERE reason = '%s')",
			reject_reason_name((enum reject_reason)reason));
	return list;
}

/* Whether anything of these heads and topics is due, or asked for. */
static char *any_due(const struct outbox_shape *shape)
{
	SCRATCH char *may = usable("topic", "$1"), *may_topic = usable("name", "$1");
	return xasprintf("(EXISTS (SELECT FROM outbox_relay.letter_requests AS r WHERE r.outbox = "
			 "%u::oid) OR EXISTS (SELECT FROM head WHERE NOT rejected AND %s) OR "
			 "EXISTS (SELECT FROM topic WHERE %s AND name IS NOT NULL))",
			 shape->oid, may, may_topic);
}

/* How many events there are of these heads' keys. No other key is looked at. */
static char *events_of_heads(const struct outbox_shape *shape)
{
	SCRATCH char *parked = held_for(shape, "key");
	return xasprintf("(SELECT count(*) FROM (SELECT FROM head CROSS JOIN LATERAL (SELECT %s "
			 "AND d.key_hash = head.key_hash ORDER BY d.key_hash, d.number OFFSET 0) "
			 "AS event LIMIT %d) AS events)",
			 parked, GAUGE_CAP + 1);
}

/* In seconds; the difference of two times may be beyond what an interval holds. */
static char *age(const char *at)
{
	return xasprintf("extract(epoch FROM clock_timestamp()) - extract(epoch FROM %s)", at);
}

/* The rows w, dead and parked, each with what it counts first. */
static char *counts(const struct outbox_shape *shape)
{
	SCRATCH char *waits = held_for(shape, "topic"),
		     *ours = outbox_sql_letters_mine(shape, "$3");
	SCRATCH char *since = age("CASE WHEN isfinite(created_at) THEN created_at ELSE dead_at "
				  "END");
	SCRATCH char *reasons = by_reason();
	return xasprintf("(SELECT count(*), min(created_at) FILTER (WHERE isfinite(created_at)) AS "
			 "oldest FROM (SELECT d.created_at %s%s LIMIT %d) AS some_letters) AS w, "
			 "(SELECT count(*)%s FROM (SELECT d.reason FROM outbox_relay.dead_letters "
			 "AS d WHERE d.outbox = %u::oid AND d.held_for IS NULL ORDER BY d.number "
			 "LIMIT %d) AS some_letters) AS dead, (SELECT count(*), max(%s)%s FROM "
			 "head) AS parked",
			 waits, ours, GAUGE_CAP + 1, reasons, shape->oid, GAUGE_CAP + 1, since,
			 reasons);
}

char *outbox_sql_letters_gauges(const struct outbox_shape *shape)
{
	SCRATCH char *limit = xasprintf(" LIMIT %d", GAUGE_CAP + 1), *due = any_due(shape);
	SCRATCH char *first = heads(shape, "$3", " AND d.key_hash >= $2::int8", limit);
	SCRATCH char *events = events_of_heads(shape), *all = counts(shape);
	SCRATCH char *waiting = age("w.oldest");
	return xasprintf("%s SELECT %s, w.count, %s, (SELECT CASE WHEN count(*) = %d THEN "
			 "nullif(max(key_hash), %" PRId64 ") + 1 END FROM reach), %s, dead.*, "
			 "parked.* FROM %s",
			 first, due, waiting, GAUGE_CAP + 1, INT64_MAX, events, all);
}

/* Of "given" the letters "d" that are still those of the same events: after a failover that lost
 * commits their numbers are given again to others. */
static char *same_letters(void)
{
	return xasprintf("d.number = given.number AND d.event_id IS NOT DISTINCT FROM "
			 "left(given.event_id, %d)",
			 LETTER_EVENT_ID_MAX);
}

char *outbox_sql_letters_settle(void)
{
	SCRATCH char *same = same_letters();
	return xasprintf(
	    "WITH gone AS (DELETE FROM outbox_relay.dead_letters AS d USING "
	    "unnest($1::int8[], $2::text[]) AS given (number, event_id) WHERE %s RETURNING "
	    "d.number), asked AS (DELETE FROM outbox_relay.letter_requests AS r USING gone WHERE "
	    "r.letter = gone.number) SELECT number FROM gone",
	    same);
}

/* What waited for its topic parks its key now, if it has one. A dead letter stays one. */
char *outbox_sql_letters_refused(void)
{
	SCRATCH char *same = same_letters();
	return xasprintf(
	    "WITH refused AS (UPDATE outbox_relay.dead_letters AS d SET attempts = "
	    "d.attempts + 1, reason = given.reason, error = given.error, dead_at = "
	    "clock_timestamp(), held_for = CASE WHEN d.held_for IS NOT NULL AND d.key_hash IS NOT "
	    "NULL THEN given.held END, copy_owed_since = CASE WHEN $6::bool AND given.reason IS "
	    "NOT NULL THEN clock_timestamp() END FROM "
	    "unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[]) AS given "
	    "(number, event_id, reason, error, held) WHERE %s RETURNING d.number), "
	    "asked AS (DELETE FROM outbox_relay.letter_requests AS r USING refused WHERE "
	    "r.letter = refused.number AND r.action = 'retry') SELECT number FROM refused",
	    same);
}

char *outbox_sql_copies_settle(void)
{
	SCRATCH char *same = same_letters();
	return xasprintf("UPDATE outbox_relay.dead_letters AS d SET copy_owed_since = NULL FROM "
			 "unnest($1::int8[], $2::text[], $3::text[]) AS given (number, event_id, "
			 "attempts) WHERE %s AND d.attempts::text = given.attempts",
			 same);
}

/* The letter is found by its id: no index is asked by the outbox's number, or by what it is held
 * for. */
char *outbox_sql_letters_join(const struct outbox_shape *shape)
{
	return xasprintf(
	    "UPDATE outbox_relay.dead_letters AS d SET held_for = 'key' FROM (SELECT DISTINCT "
	    "k.key_hash FROM unnest($1::int8[], $2::text[]) AS given (id, event_id) CROSS JOIN "
	    "LATERAL (SELECT k.key_hash FROM outbox_relay.dead_letters AS k WHERE "
	    "k.outbox::oid::int8 = %u AND k.id = given.id AND k.event_id IS "
	    "NOT DISTINCT FROM left(given.event_id, %d) AND coalesce(k.held_for, '') = 'key' "
	    "OFFSET 0) AS k) AS "
	    "parked "
	    "WHERE d.outbox = %u::oid AND d.held_for = 'topic' AND d.key_hash = "
	    "parked.key_hash",
	    shape->oid, LETTER_EVENT_ID_MAX, shape->oid);
}
