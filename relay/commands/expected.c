/* SPDX-License-Identifier: ISC */
/*
 * expected.c - what the record of a row must be, by the code that publishes it
 */
#include "expected.h"

#include "base/xalloc.h"
#include "core/encode.h"
#include "core/template.h"
#include "outbox/table.h"
#include "postgres.h"
#include "routed.h"

#include <stdlib.h>

struct expected {
	const struct config *config; /* borrowed */
	struct routed routed;
	struct config_encoding encoding; /* the configuration's, of the key alone */
	struct encoder *encoder;	 /* NULL: a key is as it is */
	struct field_type types[ROUTE_FIELDS_MAX], id_type;
	bool tells_keys;
};

static struct config_encoding encoding_of_keys(const struct config *config)
{
	static char nothing[] = "";

	return (struct config_encoding){.key = config->encode.key,
					.schema_namespace = nothing,
					.schema_version = nothing,
					.decimal = config->encode.decimal,
					.time = config->encode.time,
					.binary = config->encode.binary,
					.interval = config->encode.interval};
}

/* They parse, as they were checked when the file was read. */
static bool make_route(struct expected *expected, struct error *err)
{
	const struct config_columns *columns = &expected->config->outbox.columns;
	const struct route_rules rules = routed_rules(expected->config);

	expected->encoding = encoding_of_keys(expected->config);
	if (!routed_init(&expected->routed, &rules, columns, err))
		return false;
	if (expected->encoding.key == ENCODE_PLAIN)
		return true;
	expected->encoder = encoder_new(&expected->encoding, &rules, columns->payload, routed_field,
					&expected->routed, err);
	return expected->encoder != NULL;
}

/* StringConverter prints of bytes how many there are. */
static bool tells_keys(struct expected *expected)
{
	struct error ignored;
	struct template *key =
	    template_new(expected->config->route.key, routed_field, &expected->routed, &ignored);
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
	const struct routed *routed = &expected->routed;
	PGresult *columns =
	    pgsync_query(conn, "looking at the columns", outbox_columns_question, 1, params, err);
	bool good = columns != NULL &&
		    outbox_columns_types(columns, (const char *const *)routed->fields,
					 routed->count, expected->types, err) &&
		    outbox_columns_types(columns, &event_id, 1, &expected->id_type, err);

	if (good && expected->encoder != NULL)
		encoder_types(expected->encoder, expected->types, routed->count, &text);
	PQclear(columns);
	return good;
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
	return expected;
}

void expected_free(struct expected **expected)
{
	struct expected *own = *expected;

	if (own == NULL)
		return;
	encoder_free(&own->encoder);
	routed_free(&own->routed);
	free(own);
	*expected = NULL;
}

const char *expected_columns(const struct expected *expected)
{
	return expected->routed.columns;
}

bool expected_record(struct expected *expected, const PGresult *rows, int row, int first,
		     struct message *message)
{
	struct event event = {.fields = expected->routed.values};
	struct error ignored;

	return routed_row(&expected->routed, rows, row, first, message) &&
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
