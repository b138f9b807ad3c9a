/*
 * outbox_sql.c - the statements of the outbox source, made to the table's shape
 */
#include "outbox_sql.h"

#include "pgname.h"
#include "xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void outbox_shape_free(struct outbox_shape *shape)
{
	free(shape->table);
	for (size_t i = 0; i < shape->column_count; i++)
		free(shape->columns[i].name);
	free(shape->columns);
	memset(shape, 0, sizeof(*shape));
}

const struct outbox_column *outbox_shape_column(const struct outbox_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->column_count; i++)
		if (strcmp(shape->columns[i].name, name) == 0)
			return &shape->columns[i];
	return NULL;
}

static uint32_t type_of(const struct outbox_shape *shape, const char *name)
{
	const struct outbox_column *column = outbox_shape_column(shape, name);
	return column ? column->type : 0;
}

/* ---- checks
 * ------------------------------------------------------------------------------------------ */

static bool one_of(uint32_t type, const uint32_t *types)
{
	for (; *types != 0; types++)
		if (*types == type)
			return true;
	return false;
}

static const uint32_t id_types[] = {TYPE_INT8, TYPE_INT4, 0};
static const uint32_t payload_types[] = {TYPE_JSONB,   TYPE_JSON,  TYPE_TEXT,
					 TYPE_VARCHAR, TYPE_BYTEA, 0};
static const uint32_t headers_types[] = {TYPE_JSONB, TYPE_JSON, TYPE_TEXT, 0};
static const uint32_t created_types[] = {TYPE_TIMESTAMPTZ, TYPE_TIMESTAMP, 0};

static bool check_column(const struct outbox_shape *shape, const char *role, const char *name,
			 const uint32_t *types, const char *wanted, struct error *err)
{
	uint32_t type = type_of(shape, name);
	if (type == 0)
		return error_set(
		    err,
		    "table %s has no column \"%s\" (outbox.columns.%s); add it, or name "
		    "the right one in the configuration",
		    shape->table, name, role);
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
					 "names; add it, or mend the template",
					 shape->table, shape->fields[i]);
	return true;
}

bool outbox_shape_check(const struct outbox_shape *shape, struct error *err)
{
	const struct config_columns *names = shape->names;
	if (shape->mark && outbox_shape_column(shape, "published_at") == NULL)
		return error_set(err,
				 "table %s has no column published_at, which outbox.settle = "
				 "\"mark\" needs; run outbox-relay migrate",
				 shape->table);
	return check_column(shape, "id", names->id, id_types, "bigint or integer", err) &&
	       check_column(shape, "event_id", names->event_id, NULL, NULL, err) &&
	       check_column(shape, "aggregate_type", names->aggregate_type, NULL, NULL, err) &&
	       check_column(shape, "aggregate_id", names->aggregate_id, NULL, NULL, err) &&
	       check_column(shape, "event_type", names->event_type, NULL, NULL, err) &&
	       check_column(shape, "payload", names->payload, payload_types,
			    "jsonb, json, text, varchar or bytea", err) &&
	       (names->headers[0] == '\0' ||
		check_column(shape, "headers", names->headers, headers_types, "jsonb, json or text",
			     err)) &&
	       (names->created_at[0] == '\0' ||
		check_column(shape, "created_at", names->created_at, created_types,
			     "timestamptz or timestamp", err)) &&
	       check_fields(shape, err);
}

/* ---- pieces
 * -------------------------------------------------------------------------------------------- */

static char *quoted(const char *name)
{
	char *out = xmalloc(PGNAME_QUOTED_SIZE);
	pgname_quote(name, out);
	return out;
}

bool outbox_type_is_native(uint32_t type)
{
	return type == TYPE_TEXT || type == TYPE_VARCHAR || type == TYPE_UUID ||
	       type == TYPE_INT2 || type == TYPE_INT4 || type == TYPE_INT8;
}

static bool is_text(uint32_t type)
{
	return type == TYPE_TEXT || type == TYPE_VARCHAR;
}

/* Bytes a value will take in memory. octet_length of text and bytea tells without reading them from
 * their TOAST table (textoctetlen), and so does the size of uncompressed jsonb and json on disk.
 * What is compressed may be a hundred times as long: only its text tells. */
static char *size_estimate(const char *column, uint32_t type)
{
	if (type == TYPE_BYTEA || is_text(type))
		return xasprintf("coalesce(octet_length(%s), 0)", column);
	return xasprintf("coalesce(CASE WHEN pg_column_compression(%s) IS NULL "
			 "THEN pg_column_size(%s) ELSE octet_length(%s::text) END, 0)",
			 column, column, column);
}

/* Whether a value may be fetched. The exact length of jsonb needs its text, so the cheap tests come
 * first: pglz and lz4 expand by less than 256, and uncompressed jsonb is about as long as its text.
 */
static char *fits(const struct outbox_shape *shape, const char *column, uint32_t type)
{
	size_t max = shape->withhold_bytes;
	if (type == TYPE_BYTEA || is_text(type))
		return xasprintf("octet_length(%s) <= %zu", column, max);
	return xasprintf("CASE WHEN pg_column_size(%s) <= %zu THEN true "
			 "WHEN pg_column_compression(%s) IS NULL AND pg_column_size(%s) <= %zu "
			 "THEN true ELSE octet_length(%s::text) <= %zu END",
			 column, max / 256, column, column, max / 2, column, max);
}

static char *exact_size(const char *column, uint32_t type)
{
	const char *cast = type == TYPE_JSONB || type == TYPE_JSON ? "::text" : "";
	return xasprintf("coalesce(octet_length(%s%s), 0)::int8", column, cast);
}

static const char *unpublished(const struct outbox_shape *shape)
{
	return shape->mark ? " AND published_at IS NULL" : "";
}

static const char *verb(const struct outbox_shape *shape)
{
	return shape->mark ? "UPDATE" : "DELETE FROM";
}

static const char *set(const struct outbox_shape *shape)
{
	return shape->mark ? " SET published_at = clock_timestamp()" : "";
}

/* ---- the claim
 * ----------------------------------------------------------------------------------------- */

struct quoted_names {
	char *id, *payload, *headers; /* headers is "NULL::text" where there are none */
	uint32_t payload_type, headers_type;
};

static void quote_names(const struct outbox_shape *shape, struct quoted_names *q)
{
	const struct config_columns *names = shape->names;
	q->id = quoted(names->id);
	q->payload = quoted(names->payload);
	q->payload_type = type_of(shape, names->payload);
	bool has = names->headers[0] != '\0';
	q->headers = has ? quoted(names->headers) : xstrdup("NULL::text");
	q->headers_type = has ? type_of(shape, names->headers) : TYPE_TEXT;
}

static void free_names(struct quoted_names *q)
{
	free(q->id);
	free(q->payload);
	free(q->headers);
}

/* Appends to a malloc'd text and frees the old one. */
static char *append(char *text, char *more)
{
	char *both = xasprintf("%s%s", text, more);
	free(text);
	free(more);
	return both;
}

static char *field_list(const struct outbox_shape *shape)
{
	char *list = xstrdup("");
	for (size_t i = 0; i < shape->field_count; i++) {
		char *name = quoted(shape->fields[i]);
		bool native = outbox_type_is_native(type_of(shape, shape->fields[i]));
		list = append(list, xasprintf(", %s%s", name, native ? "" : "::text"));
		free(name);
	}
	return list;
}

static char *row_size(const struct quoted_names *q)
{
	char *size = append(size_estimate(q->payload, q->payload_type), xstrdup(" + "));
	return append(size, size_estimate(q->headers, q->headers_type));
}

/* In the order of CLAIM_*. */
static char *returning(const struct outbox_shape *shape, const struct quoted_names *q)
{
	char *fits_payload = fits(shape, q->payload, q->payload_type);
	char *fits_headers = fits(shape, q->headers, q->headers_type);
	char *payload_size = exact_size(q->payload, q->payload_type);
	char *headers_size = exact_size(q->headers, q->headers_type);
	char *created =
	    shape->names->created_at[0] ? quoted(shape->names->created_at) : xstrdup("NULL");
	char *fields = field_list(shape);
	/* A NULL payload is neither fitting nor not: it is NULL and not withheld. */
	char *list =
	    xasprintf("%s::int8, %s::timestamptz, CASE WHEN %s THEN %s END, "
		      "CASE WHEN NOT coalesce((%s) AND coalesce(%s, true), coalesce(%s, true)) "
		      "THEN %s + %s END, "
		      "CASE WHEN %s THEN %s END%s",
		      q->id, created, fits_payload, q->payload, fits_payload, fits_headers,
		      fits_headers, payload_size, headers_size, fits_headers, q->headers, fields);
	free(fits_payload);
	free(fits_headers);
	free(payload_size);
	free(headers_size);
	free(created);
	free(fields);
	return list;
}

/*
 * One statement that locks and takes rows in order of id. ctid = ANY(ARRAY(...)) and not IN (...):
 * a subquery under IN may be run again and take more than the limit. The running sum keeps the
 * result within $3 bytes whatever comes, at a few percent of the statement's time. RETURNING has no
 * order.
 */
char *outbox_sql_claim(const struct outbox_shape *shape)
{
	struct quoted_names q;
	quote_names(shape, &q);
	char *size = row_size(&q), *list = returning(shape, &q);
	char *sql =
	    xasprintf("%s %s%s WHERE ctid = ANY (ARRAY(SELECT ctid FROM ("
		      "SELECT ctid, sum(size) OVER w AS size, row_number() OVER w AS n FROM ("
		      "SELECT ctid, %s AS id, %s AS size FROM %s "
		      "WHERE %s > $1::int8%s AND tableoid = %u::oid ORDER BY %s LIMIT $2::int8 "
		      "FOR UPDATE SKIP LOCKED) AS locked "
		      "WINDOW w AS (ORDER BY id ROWS UNBOUNDED PRECEDING)) AS summed "
		      "WHERE size <= $3::int8 OR n = 1)) RETURNING %s",
		      verb(shape), shape->table, set(shape), q.id, size, shape->table, q.id,
		      unpublished(shape), shape->oid, q.id, list);
	free(size);
	free(list);
	free_names(&q);
	return sql;
}

/* ---- horizon and bell
 * -------------------------------------------------------------------------------------- */

static char *last_drawn(const struct outbox_shape *shape)
{
	if (shape->sequence == 0)
		return xstrdup("NULL::int8");
	return xasprintf("pg_sequence_last_value(%u::oid::regclass)", shape->sequence);
}

char *outbox_sql_drawn(const struct outbox_shape *shape)
{
	char *drawn = last_drawn(shape), *table = pgname_literal(shape->table);
	char *sql = xasprintf("SELECT %s, coalesce(to_regclass(%s)::oid = %u::oid, false)", drawn,
			      table, shape->oid);
	free(drawn);
	free(table);
	return sql;
}

/* The table's lock is taken before an id is drawn and kept to the end of the transaction; a
 * prepared transaction has no pid and shows here too (manual: pg_locks). */
char *outbox_sql_writers(const struct outbox_shape *shape)
{
	return xasprintf("SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' "
			 "AND database = %u::oid AND relation = %u::oid "
			 "AND mode = 'RowExclusiveLock' AND granted "
			 "AND pid IS DISTINCT FROM pg_backend_pid()",
			 shape->database, shape->oid);
}

/* setval assigns a transaction id and would wait for the WAL's flush; the bell need not be durable.
 */
char *outbox_sql_bell(const struct outbox_shape *shape)
{
	return xasprintf("SELECT set_config('synchronous_commit', 'off', true), "
			 "setval(%u::oid::regclass, 1, $1::boolean)",
			 shape->bell);
}

char *outbox_sql_bell_off(const struct outbox_shape *shape)
{
	return xasprintf("SELECT setval(%u::oid::regclass, 1, false)", shape->bell);
}

/* ---- recovery
 * ---------------------------------------------------------------------------------------------- */

/*
 * Where the given rows lie, of a list "given" with id and event_id. OFFSET 0 keeps the subquery one
 * of its own, so that each id is looked up in the index: a plain join, planned while the table was
 * small, walks the whole of it for each id. Not "=": the event_id of an adopted table may be NULL.
 */
static char *places(const struct outbox_shape *shape, const char *filter)
{
	char *id = quoted(shape->names->id), *event_id = quoted(shape->names->event_id);
	char *sql = xasprintf("LATERAL (SELECT t.ctid AS place FROM %s AS t WHERE t.%s = given.id "
			      "AND t.%s::text IS NOT DISTINCT FROM given.event_id%s OFFSET 0) "
			      "AS found",
			      shape->table, id, event_id, filter);
	free(id);
	free(event_id);
	return sql;
}

char *outbox_sql_settle(const struct outbox_shape *shape)
{
	char *found = places(shape, unpublished(shape));
	char *sql = xasprintf("%s %s%s WHERE ctid = ANY (ARRAY(SELECT found.place FROM "
			      "unnest($1::int8[], $2::text[]) AS given (id, event_id), %s))",
			      verb(shape), shape->table, set(shape), found);
	free(found);
	return sql;
}

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

/* A function takes at most 100 arguments (FUNC_MAX_ARGS). */
enum { PAIRS_MAX = 50 };

/* The columns that play no role, as a jsonb object. */
static char *extra_columns(const struct outbox_shape *shape)
{
	char *list = xstrdup("");
	size_t pairs = 0;
	for (size_t i = 0; i < shape->column_count; i++) {
		const char *name = shape->columns[i].name;
		if (is_mapped(shape->names, name))
			continue;
		char *column = quoted(name), *key = pgname_literal(name);
		const char *between = pairs % PAIRS_MAX ? ", " : ") || jsonb_build_object(";
		list = append(list, xasprintf("%s%s, gone.%s", pairs ? between : "", key, column));
		pairs++;
		free(column);
		free(key);
	}
	char *object = list[0] ? xasprintf("jsonb_build_object(%s)", list) : xstrdup("NULL::jsonb");
	free(list);
	return object;
}

static char *optional(const char *name, const char *cast)
{
	if (name[0] == '\0')
		return xasprintf("NULL%s", cast);
	char *column = quoted(name);
	char *text = xasprintf("gone.%s%s", column, cast);
	free(column);
	return text;
}

/* All of it happens in the server: the payload may be larger than the relay cares to hold. Its
 * bytes are those that the session would have been given. */
char *outbox_sql_set_aside(const struct outbox_shape *shape)
{
	const struct config_columns *names = shape->names;
	const struct outbox_column *payload_column = outbox_shape_column(shape, names->payload);
	char *id = quoted(names->id), *event_id = quoted(names->event_id);
	char *type = quoted(names->aggregate_type), *key = quoted(names->aggregate_id);
	char *event_type = quoted(names->event_type), *payload = quoted(names->payload);
	char *headers = optional(names->headers, "::text");
	char *created = optional(names->created_at, "::timestamptz");
	char *extra = extra_columns(shape), *found = places(shape, "");
	bool raw = payload_column->type == TYPE_BYTEA;
	char *sql = xasprintf(
	    "WITH gone AS (DELETE FROM %s AS t USING (SELECT found.place AS \"given place\", "
	    "reason AS \"given reason\", error AS \"given error\" "
	    "FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[]) "
	    "AS given (id, event_id, reason, error), %s OFFSET 0) AS given "
	    "WHERE t.ctid = \"given place\" RETURNING *) "
	    "INSERT INTO outbox_relay.dead_letters (outbox, id, event_id, aggregate_type, "
	    "aggregate_id, event_type, payload, payload_type, headers, created_at, extra, error, "
	    "reason) SELECT %u::oid::regclass, gone.%s, coalesce(gone.%s::text, ''), "
	    "gone.%s::text, "
	    "gone.%s::text, "
	    "gone.%s::text, %sgone.%s%s, %u::oid::regtype::text, %s, %s, %s, "
	    "\"given error\", \"given reason\" "
	    "FROM gone ON CONFLICT (outbox, id, event_id) DO UPDATE "
	    "SET attempts = dead_letters.attempts + 1, error = excluded.error, "
	    "reason = excluded.reason, dead_at = clock_timestamp()",
	    shape->table, found, shape->oid, id, event_id, type, key, event_type,
	    raw ? "" : "convert_to(", payload, raw ? "" : "::text, pg_client_encoding())",
	    payload_column->type, headers, created, extra);
	free(id);
	free(event_id);
	free(type);
	free(key);
	free(event_type);
	free(payload);
	free(headers);
	free(created);
	free(extra);
	free(found);
	return sql;
}

/* ---- housekeeping
 * -------------------------------------------------------------------------------------------- */

/* waiting (up to the cap + 1), first id, age of the first in seconds, last id drawn, dead letters.
 */
char *outbox_sql_gauges(const struct outbox_shape *shape)
{
	char *id = quoted(shape->names->id);
	char *created =
	    shape->names->created_at[0] ? quoted(shape->names->created_at) : xstrdup("NULL");
	char *drawn = last_drawn(shape);
	char *sql = xasprintf(
	    "SELECT (SELECT count(*) FROM (SELECT 1 FROM %s WHERE %s > $1::int8%s LIMIT "
	    "%d) AS waiting), "
	    "first.id, first.age, %s, (SELECT count(*) FROM (SELECT 1 FROM "
	    "outbox_relay.dead_letters "
	    "WHERE outbox = %u::oid LIMIT %d) AS dead) FROM (SELECT 1) AS one LEFT JOIN "
	    "(SELECT %s::int8 AS id, CASE WHEN isfinite(%s::timestamptz) THEN "
	    "extract(epoch FROM clock_timestamp() - %s::timestamptz)::float8 END AS age "
	    "FROM %s WHERE %s > $1::int8%s ORDER BY %s LIMIT 1) AS first ON true",
	    shape->table, id, unpublished(shape), GAUGE_CAP + 1, drawn, shape->oid, GAUGE_CAP + 1,
	    id, created, created, shape->table, id, unpublished(shape), id);
	free(id);
	free(created);
	free(drawn);
	return sql;
}

/* The oldest published rows have the lowest ids, so looking at the first few thousand is enough.
 * Rows that somebody else has locked are for another time: waiting would end the session. */
char *outbox_sql_purge(const struct outbox_shape *shape, int64_t retention_ms)
{
	char *id = quoted(shape->names->id);
	char *sql = xasprintf(
	    "DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %s WHERE ctid = ANY (ARRAY("
	    "SELECT ctid FROM (SELECT ctid, published_at "
	    "FROM %s WHERE published_at IS NOT NULL ORDER BY %s LIMIT %d) AS oldest "
	    "WHERE published_at < clock_timestamp() - %lld * interval '1 millisecond')) "
	    "FOR UPDATE SKIP LOCKED))",
	    shape->table, shape->table, shape->table, id, PURGE_ROWS, (long long)retention_ms);
	free(id);
	return sql;
}
