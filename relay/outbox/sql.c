/* SPDX-License-Identifier: ISC */
/*
 * sql.c - the statements of the outbox source, made to the table's shape
 */
#include "outbox/sql.h"

#include "base/pgname.h"
#include "base/xalloc.h"
#include "outbox/locks.h"
#include "outbox/obstacles.h"
#include "sql_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_leaf(struct outbox_leaf *leaf)
{
	free(leaf->table);
	for (size_t i = 0; i < leaf->part_count; i++)
		free(leaf->parts[i].table);
	free(leaf->parts);
}

void outbox_shape_free(struct outbox_shape *shape)
{
	free(shape->table);
	for (size_t i = 0; i < shape->leaf_count; i++)
		free_leaf(&shape->leaves[i]);
	free(shape->leaves);
	free(shape->tree);
	for (size_t i = 0; i < shape->column_count; i++) {
		free(shape->columns[i].name);
		free(shape->columns[i].labels);
	}
	free(shape->columns);
	free(shape->field_types);
	for (size_t i = 0; i < shape->position_key_count; i++)
		free(shape->position_keys[i]);
	free(shape->position_keys);
	outbox_words_free(&shape->words);
	memset(shape, 0, sizeof(*shape));
}

const struct outbox_column *outbox_shape_column(const struct outbox_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->column_count; i++)
		if (strcmp(shape->columns[i].name, name) == 0)
			return &shape->columns[i];
	return NULL;
}

uint32_t outbox_sql_type(const struct outbox_shape *shape, const char *name)
{
	const struct outbox_column *column = outbox_shape_column(shape, name);
	return column ? column->type : 0;
}

/* ---- checks ---- */

static bool one_of(uint32_t type, const uint32_t *types)
{
	for (; *types != 0; types++)
		if (*types == type)
			return true;
	return false;
}

static const uint32_t id_types[] = {TYPE_INT8, TYPE_INT4, 0};
static const uint32_t payload_types[] = {TYPE_JSONB, TYPE_JSON, TYPE_TEXT,   TYPE_VARCHAR,
					 TYPE_BYTEA, TYPE_XML,	TYPE_BPCHAR, 0};
static const uint32_t headers_types[] = {TYPE_JSONB, TYPE_JSON, TYPE_TEXT, 0};
static const uint32_t created_types[] = {TYPE_TIMESTAMPTZ, TYPE_TIMESTAMP, 0};

/* An event can do without these. */
static bool may_lack(const char *role)
{
	return strcmp(role, "aggregate_type") == 0 || strcmp(role, "event_type") == 0 ||
	       strcmp(role, "headers") == 0 || strcmp(role, "created_at") == 0;
}

static bool check_column(const struct outbox_shape *shape, const char *role, const char *name,
			 const uint32_t *types, const char *wanted, struct error *err)
{
	uint32_t type = outbox_sql_type(shape, name);
	if (type == 0)
		return error_set(
		    err,
		    "table %s has no column \"%s\" (outbox.columns.%s); add it, or name "
		    "the right one in the configuration%s",
		    shape->table, name, role, may_lack(role) ? ", or \"\" if there is none" : "");
	if (types != NULL && !one_of(type, types))
		return error_set(err, "column \"%s\" of table %s (outbox.columns.%s) must be %s",
				 name, shape->table, role, wanted);
	return true;
}

static bool check_fields(const struct outbox_shape *shape, struct error *err)
{
	for (size_t i = 0; i < shape->field_count; i++)
		if (outbox_shape_column(shape, shape->fields[i]) == NULL)
			return error_set(err,
					 "table %s has no column \"%s\", which a template of route "
					 "names; add it, or fix the template",
					 shape->table, shape->fields[i]);
	return true;
}

bool outbox_shape_check(const struct outbox_shape *shape, struct error *err)
{
	const struct config_columns *names = shape->names;
	const char *mark = names->published_at != NULL ? names->published_at : "published_at";
	if (shape->mark && outbox_shape_column(shape, mark) == NULL)
		return error_set(err,
				 "table %s has no column %s, which outbox.settle = "
				 "\"mark\" needs; run outbox-relay migrate",
				 shape->table, mark);
	const struct outbox_column *x = outbox_shape_column(shape, "x");
	if (shape->position && (x == NULL || x->type != TYPE_XID8))
		return error_set(
		    err,
		    "table %s has no column x of type xid8, in which outbox.settle = "
		    "\"position\" keeps which transaction inserted a row; rename a column "
		    "x of yours, and have its owner say where to go on: SELECT "
		    "outbox_relay.set_position('%s', 'end'), or 'start' or 'from'",
		    shape->table, shape->table);
	return check_column(shape, "id", names->id, id_types, "bigint or integer", err) &&
	       check_column(shape, "event_id", names->event_id, NULL, NULL, err) &&
	       (names->aggregate_type[0] == '\0' ||
		check_column(shape, "aggregate_type", names->aggregate_type, NULL, NULL, err)) &&
	       check_column(shape, "aggregate_id", names->aggregate_id, NULL, NULL, err) &&
	       (names->event_type[0] == '\0' ||
		check_column(shape, "event_type", names->event_type, NULL, NULL, err)) &&
	       check_column(shape, "payload", names->payload, payload_types,
			    "jsonb, json, text, varchar or bytea, or char, citext or xml", err) &&
	       (names->headers[0] == '\0' ||
		check_column(shape, "headers", names->headers, headers_types, "jsonb, json or text",
			     err)) &&
	       (names->created_at[0] == '\0' ||
		check_column(shape, "created_at", names->created_at, created_types,
			     "timestamptz or timestamp", err)) &&
	       check_fields(shape, err);
}

/* ---- pieces ---- */

char *outbox_sql_quoted(const char *name)
{
	char *out = xmalloc(PGNAME_QUOTED_SIZE);
	pgname_quote(name, out);
	return out;
}

char *outbox_sql_append(char *text, char *more)
{
	xappend(&text, "%s", more);
	free(more);
	return text;
}

void outbox_sql_drop(char **text)
{
	free(*text);
}

bool outbox_type_is_native(uint32_t type)
{
	return type == TYPE_TEXT || type == TYPE_VARCHAR || type == TYPE_UUID ||
	       type == TYPE_INT2 || type == TYPE_INT4 || type == TYPE_INT8;
}

const char *outbox_sql_verb(const struct outbox_shape *shape)
{
	return shape->mark ? "UPDATE ONLY" : "DELETE FROM ONLY";
}

const char *outbox_sql_verb_on(const struct outbox_shape *shape, const struct outbox_leaf *leaf)
{
	if (!leaf->parted)
		return outbox_sql_verb(shape);
	return shape->mark ? "UPDATE" : "DELETE FROM";
}

const char *outbox_sql_only(const struct outbox_leaf *leaf)
{
	return leaf->parted ? "" : "ONLY ";
}

/* Bytes, whatever the columns' collation holds for equal. */
char *outbox_sql_hash(const char *const *keys, size_t count)
{
	SCRATCH char *text = xstrdup("''");
	for (size_t i = 0; i < count; i++) {
		SCRATCH char *name = outbox_sql_quoted(keys[i]);
		xappend(&text, " || coalesce(t.%s::text, '') || chr(31)", name);
	}
	return xasprintf("hashtextextended((%s) COLLATE \"C\", 0)", text);
}

char *outbox_sql_key(const struct outbox_shape *shape)
{
	return outbox_sql_hash(shape->keys, shape->key_count);
}

char *outbox_sql_has_key(const struct outbox_shape *shape)
{
	char *text = xstrdup("true");
	for (size_t i = 0; i < shape->key_count; i++) {
		SCRATCH char *name = outbox_sql_quoted(shape->keys[i]);
		xappend(&text, " AND t.%s IS NOT NULL", name);
	}
	return text;
}

char *outbox_sql_mine(const struct outbox_shape *shape, const char *param)
{
	if (shape->hashed == 0)
		return xstrdup("");
	SCRATCH char *key = outbox_sql_key(shape);
	return xasprintf(" AND (%s & 9223372036854775807) %% %d = ANY (%s::int8[])", key,
			 shape->hashed, param);
}

char *outbox_sql_hold(const struct outbox_shape *shape)
{
	if (!shape->competing)
		return outbox_sql_key(shape);
	SCRATCH char *name = outbox_sql_quoted(shape->names->id);
	return xasprintf("t.%s::int8", name);
}

/* Mostly nothing is held, and then no key is computed. */
char *outbox_sql_not_held(const struct outbox_shape *shape, const char *param)
{
	SCRATCH char *hold = outbox_sql_hold(shape);
	return xasprintf(" AND (%s::int8[] IS NULL OR NOT %s = ANY (%s::int8[]))", param, hold,
			 param);
}

/* ---- horizon and bell ---- */

/* Where rows stay, what is left is not told by ids. */
static const char *may_wait(const struct outbox_shape *shape)
{
	return shape->position ? " AND false" : outbox_sql_unpublished(shape);
}

char *outbox_sql_last_drawn(const struct outbox_shape *shape)
{
	if (shape->sequence == 0)
		return xstrdup("NULL::int8");
	return xasprintf("pg_sequence_last_value(%u::oid::regclass)", shape->sequence);
}

static char *tree_of(const struct outbox_shape *shape)
{
	char *text = xstrdup("");
	for (size_t i = 0; i < shape->tree_count; i++)
		xappend(&text, ",%u", shape->tree[i]);
	return text;
}

/* Whether the tables below the outbox are those that the statements were made for. One that is
 * being detached is out already. */
static char *same_tree(const struct outbox_shape *shape)
{
	if (shape->tree_count == 0)
		return xstrdup("true");
	SCRATCH char *tree = tree_of(shape);
	return xasprintf("(SELECT string_agg(inhrelid::text, ',' ORDER BY inhrelid) FROM "
			 "pg_inherits WHERE inhparent IN (%u%s) AND NOT inhdetachpending) "
			 "IS NOT DISTINCT FROM '%s'",
			 shape->oid, tree, tree + 1);
}

/* Whether the table's name means the same table, too. */
static char *still_the_same(const struct outbox_shape *shape)
{
	SCRATCH char *table = pgname_literal(shape->table), *tree = same_tree(shape);
	return xasprintf("coalesce(to_regclass(%s)::oid = %u::oid AND %s, false)", table,
			 shape->oid, tree);
}

static char *file_of(uint32_t oid)
{
	return xasprintf("coalesce(pg_relation_filenode(%u::oid::regclass), 0::oid)::int8", oid);
}

/* Of several files a number that is another one with another file, and never 0. */
static char *file_of_leaf(const struct outbox_leaf *leaf)
{
	if (!leaf->parted)
		return file_of(leaf->oid);
	SCRATCH char *parts = xstrdup("");
	for (size_t i = 0; i < leaf->part_count; i++)
		xappend(&parts, ",%u", leaf->parts[i].oid);
	return xasprintf("(SELECT coalesce(bit_xor(hashint8extended(pg_relation_filenode(part)::"
			 "int8, part::int8)), 0) | 1 FROM unnest('{%s}'::oid[]) AS part)",
			 parts[0] != '\0' ? parts + 1 : "");
}

/* The sequence's lock is taken behind the table's, as INSERT and TRUNCATE do it, and kept to the
 * end of the transaction: RESTART waits for that. Rows are found as outbox_sql_left finds them. */
char *outbox_sql_ids(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *last = outbox_sql_last_drawn(shape),
		     *sequence_file = file_of(shape->sequence);
	SCRATCH char *file = file_of_leaf(&shape->leaves[leaf]);
	SCRATCH char *id = outbox_sql_quoted(shape->names->id),
		     *mine = outbox_sql_mine(shape, "$4");
	SCRATCH char *not_held = outbox_sql_not_held(shape, "$3");
	/* What a claim took of a part is published only if no part was unknown to it. Partitions by
	 * hash are looked at less often: a key stays in one. */
	SCRATCH char *same = shape->leaves[leaf].parted ? same_tree(shape) : xstrdup("true");
	return xasprintf("SELECT %s, %s, %s, (SELECT t.%s::int8 FROM %s%s AS t WHERE "
			 "t.%s > $1::int8 AND t.%s <= $2::int8%s%s%s ORDER BY t.%s DESC LIMIT 1), "
			 "%s",
			 last, sequence_file, file, id, outbox_sql_only(&shape->leaves[leaf]),
			 shape->leaves[leaf].table, id, id, may_wait(shape), not_held, mine, id,
			 same);
}

char *outbox_sql_drawn(const struct outbox_shape *shape)
{
	SCRATCH char *drawn = outbox_sql_last_drawn(shape), *same = still_the_same(shape);
	return xasprintf("SELECT %s, %s", drawn, same);
}

/* The table's lock is taken before an id is drawn and kept to the end of the transaction; a
 * prepared transaction has no pid and shows here too (manual: pg_locks). */
char *outbox_sql_writers(const struct outbox_shape *shape)
{
	SCRATCH char *tree = tree_of(shape), *tables = xasprintf("%u%s", shape->oid, tree);
	return xasprintf("SELECT DISTINCT virtualtransaction FROM pg_locks "
			 "WHERE locktype = 'relation' "
			 "AND database = %u::oid AND relation IN (%s) "
			 "AND mode = 'RowExclusiveLock' AND granted "
			 "AND pid IS DISTINCT FROM pg_backend_pid()",
			 shape->database, tables);
}

/* setval assigns a transaction id and would wait for the WAL's flush; the bell need not be durable.
 */
char *outbox_sql_bell(const struct outbox_shape *shape)
{
	return xasprintf("SELECT set_config('synchronous_commit', 'off', true), "
			 "setval(%u::oid::regclass, 1, $1::boolean)",
			 shape->bell);
}

char *outbox_sql_bell_off(const struct outbox_shape *shape, bool told)
{
	if (!told)
		return xasprintf("SELECT setval(%u::oid::regclass, 1, false)", shape->bell);
	return xasprintf("SELECT set_config('synchronous_commit', 'off', true), "
			 "setval(%u::oid::regclass, 1, false), "
			 "pg_notify('outbox_relay', '%u rest')",
			 shape->bell, shape->oid);
}

/* ---- what is left, and who is there ---- */

char *outbox_sql_left(const struct outbox_shape *shape, size_t leaf)
{
	SCRATCH char *id = outbox_sql_quoted(shape->names->id),
		     *mine = outbox_sql_mine(shape, "$3");
	SCRATCH char *not_held = outbox_sql_not_held(shape, "$2");
	return xasprintf("SELECT t.%s::int8 FROM %s%s AS t WHERE t.%s >= $1::int8%s%s%s "
			 "ORDER BY t.%s LIMIT 1",
			 id, outbox_sql_only(&shape->leaves[leaf]), shape->leaves[leaf].table, id,
			 may_wait(shape), not_held, mine, id);
}

char *outbox_sql_has_positions(const struct outbox_shape *shape)
{
	SCRATCH char *where = pgname_literal(shape->words.where != NULL ? shape->words.where : "");
	SCRATCH char *tree = tree_of(shape);
	/* What a policy hides would be passed, and never be published. */
	return xasprintf("o.settle = 'position' AND o.position_layout = %d AND o.condition = %s "
			 "AND NOT EXISTS (SELECT FROM unnest('{%u%s}'::oid[]) AS h (leaf) "
			 "WHERE " OUTBOX_MAY_HIDE("h.leaf") ")",
			 shape->position_layout, where, shape->oid, tree);
}

/* And "o" says that its rows are settled as this session does. */
static char *same_settling(const struct outbox_shape *shape)
{
	SCRATCH char *same = still_the_same(shape);
	if (!shape->position)
		return xasprintf("%s AND o.settle = '%s'", same, shape->mark ? "mark" : "delete");
	SCRATCH char *positions = outbox_sql_has_positions(shape);
	return xasprintf("%s AND %s", same, positions);
}

/* One row at least while the outbox is known. When a session started is told of those of our own
 * role only (manual: pg_stat_activity). A lock without a process is that of a prepared transaction.
 */
char *outbox_sql_group(const struct outbox_shape *shape)
{
	SCRATCH char *table = xasprintf("%u::oid", shape->oid), *same = same_settling(shape);
	SCRATCH char *may = xasprintf(OUTBOX_SQL_MAY_RELAY("%s"), table, table, table);
	SCRATCH char *locks = xasprintf(OUTBOX_SQL_LOCKS("%s"), table);
	return xasprintf(
	    "WITH locks AS MATERIALIZED (%s), sessions AS MATERIALIZED (SELECT s.pid, "
	    "s.fingerprint, " OUTBOX_SQL_START " AS started, "
	    "a.application_name, host(a.client_addr) AS client, "
	    "CASE WHEN s.pid IS NULL THEN 'a prepared transaction (pg_prepared_xacts)' "
	    "WHEN NOT %s THEN format('session %%s (role %%s, application \"%%s\")', s.pid, "
	    "pg_get_userbyid(a.usesysid), a.application_name) END AS stranger "
	    "FROM (SELECT pid, max(class) FILTER (WHERE key < %d) AS fingerprint FROM locks "
	    "GROUP BY pid) AS s LEFT JOIN LATERAL pg_stat_get_activity(coalesce(s.pid, 0)) AS a "
	    "ON true) "
	    "SELECT l.key, l.pid, o.paused, %s, s.started, s.fingerprint, s.stranger, "
	    "l.granted, l.mode = 'ExclusiveLock', s.application_name, s.client "
	    "FROM outbox_relay.outboxes AS o LEFT JOIN (locks AS l JOIN sessions AS s "
	    "ON l.pid IS NOT DISTINCT FROM s.pid) ON l.key >= %d WHERE o.outbox = %s",
	    locks, may, OUTBOX_BE_UNAVAILABLE_LOCK, same, OUTBOX_BE_UNAVAILABLE_LOCK, table);
}

/* FNV-1a. */
static uint32_t hash_of(const char *text)
{
	uint32_t hash = 2166136261;
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619;
	return hash;
}

uint32_t outbox_sql_fingerprint(const struct outbox_shape *shape)
{
	SCRATCH char *text = shape->hashed > 0 ? outbox_sql_key(shape) : xstrdup("");
	for (size_t i = 0; shape->partitioned && !shape->competing && i < shape->leaf_count; i++)
		xappend(&text, "%u,", shape->leaves[i].oid);
	if (shape->exactly_once)
		xappend(&text, "exactly-once");
	xappend(&text, "%s", outbox_sql_event(shape));
	return hash_of(text);
}

uint32_t outbox_sql_key_layout(const struct outbox_shape *shape)
{
	SCRATCH char *text = outbox_sql_key(shape);
	return hash_of(text);
}
