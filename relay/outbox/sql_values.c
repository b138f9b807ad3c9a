/* SPDX-License-Identifier: ISC */
/*
 * sql_values.c - what the claim knows of a row's size, what it returns of it, and how a row is
 * found again by that
 *
 * Memory is bounded by a running sum over the rows, which must cost next to nothing. The length of
 * text and bytea is told without reading it from its TOAST table (octet_length). All else has a
 * text that only making it tells, and making it twice is half the price of a claim. So the sum goes
 * by the size stored, uncompressed, which text follows closely, and the text itself, made once, is
 * held to that: beyond twice the stored size and a little more the statement fails (jsonb stores
 * 1e131071 in 16 bytes), and so it does where more is stored than an event may have. The source
 * then takes the exact statement for a while, which takes one row and measures it first. Measuring
 * has no place in the cheap one: what a statement is set up with is paid for at each poll, used or
 * not.
 */
#include "sql_internal.h"

#include "base/xalloc.h"

#include <stdlib.h>

/* The cheap statement's allowance on top of twice the stored size; what pglz and lz4 expand by at
 * the most. */
enum { SLACK = 1024, COMPRESSION_MAX = 256 };

/* jsonb's shortest number takes 16 bytes with its place in an array, and has up to 131,072 digits
 * before the point and 16,383 behind (manual: "Numeric Types"): of so many bytes any text can be
 * made. What is escaped is at most six times what is stored, and has a comma. */
enum { HARMLESS = 65536, ESCAPED = 7 };

/* Of an event that is not fetched, so many characters of a text are left: more than a topic's name
 * has. */
enum { REMNANT = 1000 };

/* ---- values ---- */

struct value {
	char *name; /* owned; quoted */
	uint32_t type;
	bool sent_raw; /* bytea as it is, not as text */
};

struct values {
	struct value payload, headers; /* headers is NULL::text where there are none */
	struct value *fields;	       /* owned, each too; the identity is the first */
	size_t count, limit;	       /* of fields; bytes that may be fetched of a value */
	bool exact;
	const char *whole; /* exact: whether all of the row may be fetched */
};

static bool is_text(uint32_t type)
{
	return type == TYPE_TEXT || type == TYPE_VARCHAR;
}

/* octet_length tells all of it without reading it. */
static bool is_plain(const struct value *value)
{
	return is_text(value->type) || (value->type == TYPE_BYTEA && value->sent_raw);
}

/* A few bytes. */
static bool is_fixed(uint32_t type)
{
	return outbox_type_is_native(type) && !is_text(type);
}

static struct value value_of(const struct outbox_shape *shape, const char *name, bool sent_raw)
{
	return (struct value){outbox_sql_quoted(name), outbox_sql_type(shape, name), sent_raw};
}

struct values *outbox_sql_values_new(const struct outbox_shape *shape, bool exact)
{
	struct values *row = xcalloc(1, sizeof(*row));
	const struct config_columns *names = shape->names;
	bool has_headers = names->headers[0] != '\0';
	row->payload = value_of(shape, names->payload, true);
	row->headers = has_headers
			   ? value_of(shape, names->headers, false)
			   : (struct value){.name = xstrdup("NULL::text"), .type = TYPE_TEXT};
	row->count = shape->field_count;
	row->fields = xcalloc(row->count + 1, sizeof(*row->fields));
	for (size_t i = 0; i < row->count; i++)
		row->fields[i] = value_of(shape, shape->fields[i], false);
	row->limit = shape->withhold_bytes < PRINTABLE ? shape->withhold_bytes : PRINTABLE;
	row->exact = exact;
	row->whole = "(SELECT whole FROM taken)";
	return row;
}

struct values *outbox_sql_values_read(const struct outbox_shape *shape, const char *whole)
{
	struct values *row = outbox_sql_values_new(shape, true);
	row->whole = whole;
	return row;
}

void outbox_sql_values_free(struct values **values)
{
	struct values *row = *values;
	free(row->payload.name);
	free(row->headers.name);
	for (size_t i = 0; i < row->count; i++)
		free(row->fields[i].name);
	free(row->fields);
	free(row);
	*values = NULL;
}

/* ---- sizes ---- */

/* The bytes stored, uncompressed: an array's elements are (construct_md_array). */
static char *stored(const char *name)
{
	return xasprintf("CASE WHEN pg_column_compression(%s) IS NULL THEN pg_column_size(%s) "
			 "ELSE pg_column_size(ARRAY[%s]) END",
			 name, name, name);
}

/* The most that the text of a jsonb value may have, from a look at its numbers only. */
static char *text_bound(const char *name, const char *bytes)
{
	return xasprintf(
	    "(%s)::int8 * %d + (SELECT coalesce(sum(scale(n) + CASE "
	    "WHEN abs(n) < 1e30 THEN 32 WHEN abs(n) < 1e100 THEN 102 "
	    "WHEN abs(n) < 1e1000 THEN 1002 WHEN abs(n) < 1e10000 THEN 10002 "
	    "ELSE 131074 END), 0) FROM (SELECT number::numeric AS n FROM "
	    "jsonb_path_query(%s, 'strict $.** ? (@.type() == \"number\")') AS number) "
	    "AS numbers)",
	    bytes, ESCAPED, name);
}

char *outbox_sql_length(const char *name, uint32_t type)
{
	if (type == TYPE_BYTEA || is_text(type))
		return xasprintf("octet_length(%s)::int8", name);
	if (type != TYPE_JSONB)
		return xasprintf("octet_length(%s::text)::int8", name);
	SCRATCH char *bytes = stored(name), *bound = text_bound(name, bytes);
	return xasprintf("CASE WHEN %s > %d THEN (SELECT CASE WHEN bound > %d THEN bound "
			 "ELSE octet_length(%s::text)::int8 END FROM (SELECT %s AS bound "
			 "OFFSET 0) AS measured) ELSE octet_length(%s::text)::int8 END",
			 bytes, HARMLESS, PRINTABLE, name, bound, name);
}

static char *exact_length(const struct value *value)
{
	if (value->type == TYPE_BYTEA && !value->sent_raw)
		return outbox_sql_length(value->name, 0);
	return outbox_sql_length(value->name, value->type);
}

/* What a value counts in the sum; never NULL. */
static char *size_of(const struct values *row, const struct value *value)
{
	SCRATCH char *size = row->exact	       ? exact_length(value)
			     : is_plain(value) ? xasprintf("octet_length(%s)", value->name)
					       : stored(value->name);
	return xasprintf("coalesce(%s, 0)", size);
}

char *outbox_sql_row_size(const struct values *row)
{
	SCRATCH char *payload = size_of(row, &row->payload), *headers = size_of(row, &row->headers);
	char *sum = xasprintf("%s + %s", payload, headers);
	for (size_t i = 0; i < row->count; i++)
		if (!is_fixed(row->fields[i].type)) {
			xappend(&sum, " + ");
			sum = outbox_sql_append(sum, size_of(row, &row->fields[i]));
		}
	return sum;
}

/* What can be sent, and what is not so large that no record could hold it. */
size_t outbox_sql_whole_size(const struct values *row)
{
	return row->limit < PRINTABLE / 2 ? row->limit * 2 : PRINTABLE;
}

/* Whether payload or headers may be fetched; never NULL. Most rows are done with the first test. */
static char *fits(const struct values *row, const struct value *value)
{
	if (row->exact)
		return xstrdup(row->whole);
	if (is_plain(value))
		return xasprintf("coalesce(octet_length(%s), 0) <= %zu", value->name, row->limit);
	SCRATCH char *bytes = stored(value->name);
	return xasprintf("CASE WHEN pg_column_size(%s) > %zu THEN %s <= %zu ELSE true END",
			 value->name, row->limit / COMPRESSION_MAX, bytes, row->limit);
}

/* ---- what is returned ---- */

/* At most so many characters. What is shorter in bytes is not looked at (varchar()). */
static char *cut(char *text, size_t characters)
{
	char *sql = xasprintf("\"varchar\"(%s::varchar, %zu, true)", text, characters + 4);
	free(text);
	return sql;
}

/* A value's text. Unless it was measured, it fails where it is too far from what is stored. */
static char *text_of(const struct values *row, const struct value *value)
{
	if (is_plain(value) || is_fixed(value->type))
		return xstrdup(value->name);
	if (row->exact)
		return xasprintf("%s::text", value->name);
	SCRATCH char *bytes = stored(value->name);
	return xasprintf("\"varchar\"(%s::text::varchar, %d + 2 * %s, false)", value->name,
			 SLACK + 4, bytes);
}

/* Of what is longer, enough is left for the event to be refused. */
static size_t text_limit(size_t withhold_bytes)
{
	return (withhold_bytes < PRINTABLE ? withhold_bytes : PRINTABLE) + 1;
}

/* Text as it is, or cut where no event fits any more. */
static char *identity_text(const struct outbox_shape *shape, const char *expression)
{
	char *text = xasprintf("%s::text", expression);
	if (is_fixed(outbox_sql_type(shape, shape->names->event_id)))
		return text;
	return cut(text, text_limit(shape->withhold_bytes));
}

char *outbox_sql_identity(const struct outbox_shape *shape)
{
	SCRATCH char *name = outbox_sql_quoted(shape->names->event_id);
	SCRATCH char *event_id = xasprintf("t.%s", name);
	return identity_text(shape, event_id);
}

/* Fails as a text does that is too far from what is stored. Not of constants only, since those are
 * evaluated before it is known whether they are needed (manual: "Conditional Expressions"). */
static char *else_fail(const struct value *value)
{
	return xasprintf(" ELSE \"varchar\"(('--' || pg_column_size(%s))::varchar, 5, false)",
			 value->name);
}

/* Payload or headers. What does not fit and was not measured is left to the exact statement. */
static char *document(const struct values *row, const struct value *value)
{
	SCRATCH char *fitting = fits(row, value), *text = text_of(row, value);
	SCRATCH char *rest = row->exact || is_plain(value) ? xstrdup("") : else_fail(value);
	return xasprintf("CASE WHEN %s THEN %s%s END", fitting, text, rest);
}

/* Of an event that is not fetched there is something left of each, so that its size is what it is
 * refused for. */
static char *field(const struct values *row, const struct value *value)
{
	if (is_fixed(value->type))
		return xstrdup(value->name);
	if (!row->exact)
		return cut(text_of(row, value), text_limit(row->limit));
	SCRATCH char *left = value->type == TYPE_JSONB
				 ? xasprintf("jsonb_typeof(%s)", value->name)
				 : cut(xasprintf("%s::text", value->name), REMNANT);
	SCRATCH char *fitting = fits(row, value), *text = text_of(row, value);
	return xasprintf("CASE WHEN %s THEN %s ELSE %s END", fitting, text, left);
}

/* Settling finds the row by just this text, so it must not be less where the event is not fetched.
 */
static char *identity(const struct outbox_shape *shape, const struct values *row)
{
	const struct value *value = &row->fields[0];
	if (is_fixed(value->type) || !row->exact)
		return field(row, value);
	return identity_text(shape, value->name);
}

/* What payload or headers add to the length of an event that is not fetched. */
static char *length_of(const struct values *row, const struct value *value)
{
	return row->exact || is_plain(value)
		   ? exact_length(value)
		   : xasprintf("octet_length(%s::text)::int8", value->name);
}

/* Whether a value lets its event be fetched, as far as that is not a failure. */
static char *allows(const struct values *row, const struct value *value)
{
	return row->exact || is_plain(value) ? fits(row, value) : xstrdup("true");
}

/* The length of an event whose payload or headers are not fetched, otherwise NULL. */
static char *withheld(const struct values *row)
{
	SCRATCH char *payload = length_of(row, &row->payload),
		     *headers = length_of(row, &row->headers);
	SCRATCH char *first = allows(row, &row->payload), *second = allows(row, &row->headers);
	return xasprintf("CASE WHEN NOT ((%s) AND (%s)) THEN (coalesce(%s, 0) + "
			 "coalesce(%s, 0))::int8 END",
			 first, second, payload, headers);
}

/* How many rows the claim meant to take. */
static char *meant(const struct outbox_shape *shape)
{
	if (shape->position)
		return xstrdup("-2"); /* PLACES_STAY */
	if (!shape->mark)
		return xstrdup("(SELECT cardinality(places) FROM taken)");
	SCRATCH char *unmarked = xasprintf("(%s) IS NOT TRUE", outbox_sql_published(shape));
	const char *lacks = shape->words.untimed ? unmarked : outbox_sql_unmarked(shape) + 5;
	return xasprintf("CASE WHEN %s THEN -1 ELSE (SELECT cardinality(places) FROM taken) END",
			 lacks);
}

static char *append_fields(char *list, const struct outbox_shape *shape, const struct values *row)
{
	list = outbox_sql_append(list, identity(shape, row));
	for (size_t i = 1; i < row->count; i++) {
		xappend(&list, ", ");
		list = outbox_sql_append(list, field(row, &row->fields[i]));
	}
	return list;
}

/* In the order of CLAIM_*. */
char *outbox_sql_returning(const struct outbox_shape *shape, const struct values *row,
			   const char *gone)
{
	const char *created = shape->names->created_at;
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *time = created[0] ? outbox_sql_quoted(created) : xstrdup("NULL::timestamptz");
	SCRATCH char *payload = document(row, &row->payload),
		     *headers = document(row, &row->headers);
	SCRATCH char *length = withheld(row), *places = meant(shape);
	char *list = xasprintf(
	    "%s::int8, %s, CASE WHEN NOT %s THEN %s END, %s, CASE WHEN NOT %s THEN %s END, (SELECT "
	    "cut FROM taken), %s, CASE WHEN %s THEN 0::int8 END, ",
	    id, time, gone, payload, length, gone, headers, places, gone);
	return append_fields(list, shape, row);
}

char *outbox_sql_reading(const struct outbox_shape *shape, const struct values *row)
{
	const char *created = shape->names->created_at;
	SCRATCH char *id = outbox_sql_quoted(shape->names->id);
	SCRATCH char *time = created[0] ? outbox_sql_quoted(created) : xstrdup("NULL::timestamptz");
	SCRATCH char *payload = document(row, &row->payload),
		     *headers = document(row, &row->headers);
	SCRATCH char *length = withheld(row);
	char *list = xasprintf("%s::int8, %s, %s, %s, %s, NULL::int4, 1::int4, NULL::int8, ", id,
			       time, payload, length, headers);
	return append_fields(list, shape, row);
}
