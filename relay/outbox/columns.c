/* SPDX-License-Identifier: ISC */
/*
 * columns.c - the outbox's columns, as the catalog has them and as fields
 */
#include "columns.h"

#include "base/xalloc.h"
#include "core/encode.h"
#include "outbox/obstacles.h"

#include <stdlib.h>
#include <string.h>

enum {
	COLUMN_NAME,
	COLUMN_TYPE,
	COLUMN_MODIFIER,
	COLUMN_REQUIRED,
	COLUMN_ELEMENT,
	COLUMN_TYPE_NAME,
	COLUMN_LABELS,
	COLUMN_TABLE
};

/* A domain's columns have the modifier of the domain. */
const char outbox_columns_question[] =
    "SELECT a.attname, " OUTBOX_SENT_TYPE
    "::int8, coalesce((SELECT nullif(d.typtypmod, -1) FROM pg_type AS d "
    "WHERE d.oid = a.atttypid AND d.typtype = 'd'), a.atttypmod), a.attnotnull, CASE WHEN "
    "t.typcategory = 'A' THEN t.typelem::int8 ELSE 0 END, t.typname, CASE WHEN t.typtype = 'e' "
    "THEN (SELECT coalesce(string_agg(e.enumlabel::text, ',' ORDER BY e.enumsortorder), '') FROM "
    "pg_enum AS e WHERE e.enumtypid = t.oid) END, a.attrelid::int8 FROM pg_attribute AS a JOIN "
    "pg_type AS t ON t.oid = " OUTBOX_BASE_TYPE " WHERE a.attrelid = to_regclass($1) AND a.attnum "
    "> 0 AND NOT a.attisdropped ORDER BY a.attnum";

/* ---- types ---- */

struct known {
	uint32_t type;
	enum field_kind kind;
};

static const struct known known[] = {
    {TYPE_BOOL, FIELD_BOOL},
    {TYPE_BYTEA, FIELD_BYTES},
    {TYPE_CHAR, FIELD_TEXT},
    {TYPE_NAME, FIELD_TEXT},
    {TYPE_INT8, FIELD_INT64},
    {TYPE_INT2, FIELD_INT16},
    {TYPE_INT4, FIELD_INT32},
    {TYPE_TEXT, FIELD_TEXT},
    {TYPE_OID, FIELD_INT64},
    {TYPE_JSON, FIELD_JSON},
    {TYPE_XML, FIELD_XML},
    {TYPE_CIDR, FIELD_TEXT},
    {TYPE_FLOAT4, FIELD_FLOAT32},
    {TYPE_FLOAT8, FIELD_FLOAT64},
    {TYPE_INET, FIELD_ADDRESS},
    {TYPE_MACADDR8, FIELD_TEXT},
    {TYPE_MACADDR, FIELD_TEXT},
    {TYPE_BPCHAR, FIELD_CHAR},
    {TYPE_VARCHAR, FIELD_TEXT},
    {TYPE_DATE, FIELD_DATE},
    {TYPE_TIME, FIELD_TIME},
    {TYPE_TIMESTAMP, FIELD_TIMESTAMP},
    {TYPE_TIMESTAMPTZ, FIELD_TIMESTAMP_UTC},
    {TYPE_INTERVAL, FIELD_INTERVAL},
    {TYPE_TIMETZ, FIELD_TIME_ZONED},
    {TYPE_NUMERIC, FIELD_DECIMAL},
    {TYPE_UUID, FIELD_UUID},
    {TYPE_JSONB, FIELD_JSON},
    {TYPE_INT4RANGE, FIELD_TEXT},
    {TYPE_NUMRANGE, FIELD_TEXT},
    {TYPE_TSRANGE, FIELD_TEXT},
    {TYPE_TSTZRANGE, FIELD_TEXT},
    {TYPE_DATERANGE, FIELD_TEXT},
    {TYPE_INT8RANGE, FIELD_TEXT},
};

static enum field_kind kind_of(uint32_t type)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].type == type)
			return known[i].kind;
	return FIELD_UNKNOWN;
}

/* numeric's modifier has both, the lengths of strings count their header (numerictypmodin,
 * anychar_typmodin). The scale has 11 bits with a sign. */
static void read_modifier(struct field_type *is, enum field_kind kind, int modifier)
{
	is->precision = is->scale = -1;
	if (modifier < 0)
		return;
	if (kind == FIELD_DECIMAL) {
		is->precision = (modifier - 4) >> 16 & 0xffff;
		is->scale = (((modifier - 4) & 0x7ff) ^ 1024) - 1024;
	} else {
		is->precision = kind == FIELD_CHAR ? modifier - 4 : modifier;
	}
}

static struct field_type field_of(const PGresult *result, int row, const char *labels)
{
	uint32_t type = (uint32_t)strtoul(PQgetvalue(result, row, COLUMN_TYPE), NULL, 10);
	uint32_t element = (uint32_t)strtoul(PQgetvalue(result, row, COLUMN_ELEMENT), NULL, 10);
	struct field_type is = {.kind = kind_of(type),
				.element = kind_of(element),
				.required = PQgetvalue(result, row, COLUMN_REQUIRED)[0] == 't',
				.labels = labels};

	if (element != 0)
		is.kind = FIELD_ARRAY;
	else if (labels != NULL)
		is.kind = FIELD_ENUM;
	else if (strcmp(PQgetvalue(result, row, COLUMN_TYPE_NAME), "citext") == 0)
		is.kind = FIELD_TEXT;
	read_modifier(&is, is.kind == FIELD_ARRAY ? is.element : is.kind,
		      atoi(PQgetvalue(result, row, COLUMN_MODIFIER)));
	return is;
}

static bool find_type(const PGresult *columns, const char *name, struct field_type *type)
{
	for (int row = 0; row < PQntuples(columns); row++) {
		if (strcmp(PQgetvalue(columns, row, COLUMN_NAME), name) != 0)
			continue;
		*type = field_of(columns, row,
				 PQgetisnull(columns, row, COLUMN_LABELS)
				     ? NULL
				     : PQgetvalue(columns, row, COLUMN_LABELS));
		return true;
	}
	return false;
}

bool outbox_columns_types(const PGresult *columns, const char *const *names, size_t count,
			  struct field_type *types, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (!find_type(columns, names[i], &types[i]))
			return error_set(err,
					 "the outbox has no column \"%s\", which the configuration "
					 "names; add it, or fix outbox.columns or route",
					 names[i]);
	return true;
}

/* ---- the shape ---- */

uint32_t columns_read(struct outbox_shape *shape, const PGresult *result)
{
	shape->column_count = (size_t)PQntuples(result);
	shape->columns = xcalloc(shape->column_count + 1, sizeof(*shape->columns));
	for (int i = 0; i < PQntuples(result); i++) {
		struct outbox_column *column = &shape->columns[i];

		column->name = xstrdup(PQgetvalue(result, i, COLUMN_NAME));
		column->type = (uint32_t)strtoul(PQgetvalue(result, i, COLUMN_TYPE), NULL, 10);
		if (!PQgetisnull(result, i, COLUMN_LABELS))
			column->labels = xstrdup(PQgetvalue(result, i, COLUMN_LABELS));
		column->is = field_of(result, i, column->labels);
	}
	return shape->column_count > 0
		   ? (uint32_t)strtoul(PQgetvalue(result, 0, COLUMN_TABLE), NULL, 10)
		   : 0;
}

bool columns_fields(struct outbox_shape *shape, const struct config *config, struct error *err)
{
	shape->field_types = xcalloc(shape->field_count + 1, sizeof(*shape->field_types));
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct outbox_column *column = outbox_shape_column(shape, shape->fields[i]);

		shape->field_types[i] = column->is;
		if (!encode_check_column(config, column->name, &column->is, err))
			return false;
	}
	return true;
}

struct source_types columns_types(const struct outbox_shape *shape)
{
	return (struct source_types){.fields = shape->field_types,
				     .count = shape->field_count,
				     .payload =
					 outbox_shape_column(shape, shape->names->payload)->is};
}

bool outbox_columns_check(const PGresult *columns, const struct config *config, struct error *err)
{
	struct outbox_shape shape = {0};
	bool good = true;

	columns_read(&shape, columns);
	for (size_t i = 0; good && i < shape.column_count; i++)
		good =
		    encode_check_column(config, shape.columns[i].name, &shape.columns[i].is, err);
	outbox_shape_free(&shape);
	return good;
}
