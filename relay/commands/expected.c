/* SPDX-License-Identifier: ISC */
/*
 * expected.c - what the record of a row must be, by the code that publishes it
 */
#include "expected.h"

#include "base/pgname.h"
#include "base/xalloc.h"
#include "core/encode.h"
#include "core/template.h"
#include "outbox/table.h"
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

struct expected {
	const struct config *config;	 /* borrowed */
	struct config_encoding encoding; /* the configuration's, of the key alone */
	char *fields[ROUTE_FIELDS_MAX];	 /* owned; columns */
	struct slice values[ROUTE_FIELDS_MAX];
	struct field_type types[ROUTE_FIELDS_MAX], id_type;
	size_t count;
	struct route *route;
	struct encoder *encoder; /* NULL: a key is as it is */
	bool tells_keys;
	char *columns; /* owned */
};

/* A route_field_fn. */
static int add_field(const char *name, void *arg)
{
	struct expected *expected = arg;
	const char *column = route_column(&expected->config->outbox.columns, name);

	for (size_t i = 0; column != NULL && i < expected->count; i++)
		if (strcmp(expected->fields[i], column) == 0)
			return (int)i;
	if (column == NULL || expected->count == ROUTE_FIELDS_MAX)
		return -1;
	expected->fields[expected->count] = xstrdup(column);
	return (int)expected->count++;
}

/* They parse, as they were checked when the file was read. */
static bool make_route(struct expected *expected, struct error *err)
{
	static const struct config_strings none = {NULL, 0};
	static char nothing[] = "";
	struct route_rules rules = route_rules_of(expected->config);
	struct config_encoding *encoding = &expected->encoding;

	rules.headers = &none;
	expected->route = route_new(&rules, add_field, expected, err);
	*encoding = (struct config_encoding){.key = expected->config->encode.key,
					     .schema_namespace = nothing,
					     .schema_version = nothing,
					     .decimal = expected->config->encode.decimal,
					     .time = expected->config->encode.time,
					     .binary = expected->config->encode.binary,
					     .interval = expected->config->encode.interval};
	if (expected->route == NULL || encoding->key == ENCODE_PLAIN)
		return expected->route != NULL;
	expected->encoder = encoder_new(encoding, &rules, expected->config->outbox.columns.payload,
					add_field, expected, err);
	return expected->encoder != NULL;
}

/* StringConverter prints of bytes how many there are. */
static bool tells_keys(struct expected *expected)
{
	struct error ignored;
	struct template *key =
	    template_new(expected->config->route.key, add_field, expected, &ignored);
	int field = key != NULL ? template_field(key) : -1;

	template_free(&key);
	return field < 0 || expected->encoding.key != ENCODE_STRING ||
	       expected->encoding.binary != BINARY_BYTES ||
	       expected->types[field].kind != FIELD_BYTES;
}

static bool read_types(struct expected *expected, PGconn *conn, const char *table,
		       struct error *err)
{
	static const struct field_type text = {.kind = FIELD_TEXT};
	const char *params[] = {table};
	const char *event_id = expected->config->outbox.columns.event_id;
	PGresult *columns =
	    pgsync_query(conn, "looking at the columns", outbox_columns_question, 1, params, err);
	bool good = columns != NULL &&
		    outbox_columns_types(columns, (const char *const *)expected->fields,
					 expected->count, expected->types, err) &&
		    outbox_columns_types(columns, &event_id, 1, &expected->id_type, err);

	if (good && expected->encoder != NULL)
		encoder_types(expected->encoder, expected->types, expected->count, &text);
	PQclear(columns);
	return good;
}

static char *list_columns(const struct expected *expected)
{
	char name[PGNAME_QUOTED_SIZE], *list = xstrdup("");

	for (size_t i = 0; i < expected->count; i++) {
		pgname_quote(expected->fields[i], name);
		xappend(&list, ", t.%s::text", name);
	}
	return list;
}

struct expected *expected_new(const struct config *config, PGconn *conn, const char *table,
			      struct error *err)
{
	struct expected *expected = xcalloc(1, sizeof(*expected));

	expected->config = config;
	if (!make_route(expected, err) || !read_types(expected, conn, table, err)) {
		expected_free(&expected);
		return NULL;
	}
	expected->tells_keys = tells_keys(expected);
	expected->columns = list_columns(expected);
	return expected;
}

void expected_free(struct expected **expected)
{
	struct expected *own = *expected;

	if (own == NULL)
		return;
	encoder_free(&own->encoder);
	route_free(&own->route);
	for (size_t i = 0; i < own->count; i++)
		free(own->fields[i]);
	free(own->columns);
	free(own);
	*expected = NULL;
}

const char *expected_columns(const struct expected *expected)
{
	return expected->columns;
}

bool expected_record(struct expected *expected, const PGresult *rows, int row, int first,
		     struct message *message)
{
	struct event event = {.fields = expected->values};
	struct error ignored;

	for (int i = 0; i < (int)expected->count; i++)
		expected->values[i] =
		    PQgetisnull(rows, row, first + i)
			? SLICE_NULL
			: (struct slice){PQgetvalue(rows, row, first + i),
					 (size_t)PQgetlength(rows, row, first + i)};
	*message = (struct message){0};
	return route_event(expected->route, &event, message, &ignored) == REJECT_NONE &&
	       (expected->encoder == NULL ||
		encode_event(expected->encoder, &event, message, &ignored) == REJECT_NONE);
}

enum field_kind expected_id_kind(const struct expected *expected)
{
	return expected->id_type.kind;
}

bool expected_tells_keys(const struct expected *expected)
{
	return expected->tells_keys;
}
