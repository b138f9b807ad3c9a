/* SPDX-License-Identifier: ISC */
/*
 * connect.c - data of Kafka Connect with its schema, and how converters write it
 *
 * JsonConverter.convertToJson and asJsonSchema, StringConverter.fromConnectData, Values.append of
 * Kafka 3.9.
 */
#include "connect.h"

#include "civil.h"
#include "java.h"

#include <stdio.h>
#include <string.h>

static const int64_t day_ms = 86400 * INT64_C(1000);

/* ---- schemas ---- */

static bool same_members(const struct connect_schema *a, const struct connect_schema *b)
{
	if (a->member_count != b->member_count)
		return false;
	for (size_t i = 0; i < a->member_count; i++)
		if (!slice_equal(a->members[i].name, b->members[i].name) ||
		    !connect_same_schema(a->members[i].schema, b->members[i].schema))
			return false;
	return true;
}

bool connect_same_schema(const struct connect_schema *a, const struct connect_schema *b)
{
	if (a == b)
		return true;
	if (a->type != b->type || a->optional != b->optional || !slice_equal(a->name, b->name))
		return false;
	if (a->type == CONNECT_ARRAY)
		return connect_same_schema(a->items, b->items);
	return a->type != CONNECT_STRUCT || same_members(a, b);
}

static const char *const type_names[] = {
    [CONNECT_INT16] = "int16",	 [CONNECT_INT32] = "int32",    [CONNECT_INT64] = "int64",
    [CONNECT_FLOAT32] = "float", [CONNECT_FLOAT64] = "double", [CONNECT_BOOLEAN] = "boolean",
    [CONNECT_STRING] = "string", [CONNECT_BYTES] = "bytes",    [CONNECT_ARRAY] = "array",
    [CONNECT_STRUCT] = "struct",
};

static void put_schema(struct buffer *out, const struct connect_schema *schema,
		       const struct slice *field);

static void put_fields(struct buffer *out, const struct connect_schema *schema)
{
	buffer_text(out, ",\"fields\":[");
	for (size_t i = 0; i < schema->member_count; i++) {
		if (i > 0)
			buffer_byte(out, ',');
		put_schema(out, schema->members[i].schema, &schema->members[i].name);
	}
	buffer_byte(out, ']');
}

static void put_parameters(struct buffer *out, const struct connect_schema *schema)
{
	for (size_t i = 0; i < schema->parameter_count; i++) {
		buffer_text(out, i == 0 ? ",\"parameters\":{" : ",");
		buffer_json(out, slice_of(schema->parameters[i].name));
		buffer_byte(out, ':');
		buffer_json(out, schema->parameters[i].value);
	}
	if (schema->parameter_count > 0)
		buffer_byte(out, '}');
}

static void put_named(struct buffer *out, const char *key, struct slice value)
{
	buffer_text(out, key);
	buffer_json(out, value);
}

/* field: the name, where it is a struct's. */
static void put_schema(struct buffer *out, const struct connect_schema *schema,
		       const struct slice *field)
{
	put_named(out, "{\"type\":", slice_of(type_names[schema->type]));
	if (schema->type == CONNECT_STRUCT)
		put_fields(out, schema);
	if (schema->type == CONNECT_ARRAY) {
		buffer_text(out, ",\"items\":");
		put_schema(out, schema->items, NULL);
	}
	buffer_text(out, schema->optional ? ",\"optional\":true" : ",\"optional\":false");
	if (schema->name.data != NULL)
		put_named(out, ",\"name\":", schema->name);
	if (schema->versioned) {
		buffer_text(out, ",\"version\":");
		buffer_integer(out, schema->version);
	}
	if (schema->doc != NULL)
		put_named(out, ",\"doc\":", slice_of(schema->doc));
	put_parameters(out, schema);
	if (field != NULL)
		put_named(out, ",\"field\":", *field);
	buffer_byte(out, '}');
}

void connect_schema_json(struct buffer *out, const struct connect_schema *schema)
{
	put_schema(out, schema, NULL);
}

/* ---- JSON ---- */

/* Jackson quotes what JSON has no number for. */
static void put_real(struct buffer *out, const struct connect_schema *schema, double real)
{
	size_t before = out->len;

	if (schema->type == CONNECT_FLOAT32)
		java_float(out, (float)real);
	else
		java_double(out, real);
	char last = out->data[out->len - 1];
	if (last == 'N' || last == 'y') {
		char text[16];
		size_t len = out->len - before;

		memcpy(text, out->data + before, len);
		out->len = before;
		buffer_json(out, (struct slice){text, len});
	}
}

static void put_bytes(struct buffer *out, struct slice bytes)
{
	buffer_byte(out, '"');
	buffer_base64(out, bytes, BASE64);
	buffer_byte(out, '"');
}

static bool put_items(struct buffer *out, const struct connect_schema *schema,
		      const struct connect_value *value)
{
	buffer_byte(out, '[');
	for (size_t i = 0; i < value->count; i++) {
		if (i > 0)
			buffer_byte(out, ',');
		if (!connect_json(out, schema->items, &value->items[i]))
			return false;
	}
	buffer_byte(out, ']');
	return true;
}

static bool put_members(struct buffer *out, const struct connect_schema *schema,
			const struct connect_value *value)
{
	buffer_byte(out, '{');
	for (size_t i = 0; i < value->count; i++) {
		if (i > 0)
			buffer_byte(out, ',');
		buffer_json(out, schema->members[i].name);
		buffer_byte(out, ':');
		if (!connect_json(out, schema->members[i].schema, &value->items[i]))
			return false;
	}
	buffer_byte(out, '}');
	return true;
}

static bool put_decimal(struct buffer *out, struct slice text)
{
	struct buffer bytes = {0};
	int scale;
	bool good = java_unscaled(&bytes, text, &scale);

	put_bytes(out, (struct slice){bytes.data, bytes.len});
	buffer_free(&bytes);
	return good;
}

bool connect_json(struct buffer *out, const struct connect_schema *schema,
		  const struct connect_value *value)
{
	if (value->null) {
		buffer_text(out, "null");
		return schema == NULL || schema->optional;
	}
	switch (schema == NULL ? CONNECT_STRING : schema->type) {
	case CONNECT_INT16:
	case CONNECT_INT32:
	case CONNECT_INT64:
		buffer_integer(out, value->integer);
		break;
	case CONNECT_FLOAT32:
	case CONNECT_FLOAT64:
		put_real(out, schema, value->real);
		break;
	case CONNECT_BOOLEAN:
		buffer_text(out, value->integer ? "true" : "false");
		break;
	case CONNECT_STRING:
		buffer_json(out, value->text);
		break;
	case CONNECT_BYTES:
		if (schema->logical == LOGICAL_DECIMAL)
			return put_decimal(out, value->text);
		put_bytes(out, value->text);
		break;
	case CONNECT_ARRAY:
		return put_items(out, schema, value);
	case CONNECT_STRUCT:
		return put_members(out, schema, value);
	}
	return true;
}

/* ---- times as java.util.Date ---- */

static int64_t milliseconds(const struct connect_schema *schema, const struct connect_value *value)
{
	return schema->logical == LOGICAL_DATE ? value->integer * day_ms : value->integer;
}

struct moment {
	int64_t days;
	struct civil_day day;
	int hour, minute, second, millisecond;
};

static struct moment moment_of(int64_t ms)
{
	int64_t days = ms / day_ms - (ms % day_ms < 0);
	int64_t of_day = ms - days * day_ms;

	return (struct moment){.days = days,
			       .day = civil_day(days),
			       .hour = (int)(of_day / 3600000),
			       .minute = (int)(of_day / 60000 % 60),
			       .second = (int)(of_day / 1000 % 60),
			       .millisecond = (int)(of_day % 1000)};
}

static void put_clock(struct buffer *out, const struct moment *moment)
{
	char text[40];

	snprintf(text, sizeof(text), "%02d:%02d:%02d.%03dZ", moment->hour, moment->minute,
		 moment->second, moment->millisecond);
	buffer_text(out, text);
}

/* Values.dateFormatFor: what is on the first day or before is taken for a time of the day. */
static void put_iso(struct buffer *out, int64_t ms)
{
	struct moment moment = moment_of(ms);
	char text[40];

	if (ms < day_ms) {
		put_clock(out, &moment);
		return;
	}
	snprintf(text, sizeof(text), "%04lld-%02d-%02d", (long long)moment.day.year,
		 moment.day.month, moment.day.day);
	buffer_text(out, text);
	if (ms % day_ms == 0)
		return;
	buffer_byte(out, 'T');
	put_clock(out, &moment);
}

/* java.util.Date.toString in UTC. */
static void put_date_string(struct buffer *out, int64_t ms)
{
	static const char *const days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	struct moment moment = moment_of(ms);
	char text[64];

	snprintf(text, sizeof(text), "%s %s %02d %02d:%02d:%02d UTC %lld",
		 days[(moment.days % 7 + 7) % 7], months[moment.day.month - 1], moment.day.day,
		 moment.hour, moment.minute, moment.second, (long long)moment.day.year);
	buffer_text(out, text);
}

static bool is_date(const struct connect_schema *schema)
{
	return schema->logical == LOGICAL_DATE || schema->logical == LOGICAL_TIME ||
	       schema->logical == LOGICAL_TIMESTAMP;
}

/* ---- text ---- */

/* What is no string, bytes, list or struct prints the same for both. False if it is one of these.
 */
static bool put_scalar(struct buffer *out, const struct connect_schema *schema,
		       const struct connect_value *value)
{
	if (schema->logical == LOGICAL_DECIMAL)
		java_decimal(out, value->text);
	else if (schema->type == CONNECT_FLOAT32)
		java_float(out, (float)value->real);
	else if (schema->type == CONNECT_FLOAT64)
		java_double(out, value->real);
	else if (schema->type == CONNECT_BOOLEAN)
		buffer_text(out, value->integer ? "true" : "false");
	else if (schema->type <= CONNECT_INT64)
		buffer_integer(out, value->integer);
	else
		return false;
	return true;
}

/* java.nio.HeapByteBuffer.toString, which tells nothing but the length. */
static void put_byte_buffer(struct buffer *out, size_t len)
{
	char text[80];

	snprintf(text, sizeof(text), "java.nio.HeapByteBuffer[pos=0 lim=%zu cap=%zu]", len, len);
	buffer_text(out, text);
}

static void put_list(struct buffer *out, const struct connect_schema *schema,
		     const struct connect_value *value)
{
	buffer_byte(out, '[');
	for (size_t i = 0; i < value->count; i++) {
		if (i > 0)
			buffer_text(out, ", ");
		if (value->items[i].null)
			buffer_text(out, "null");
		else
			connect_string(out, schema->items, &value->items[i]);
	}
	buffer_byte(out, ']');
}

static void put_struct(struct buffer *out, const struct connect_schema *schema,
		       const struct connect_value *value)
{
	bool first = true;

	buffer_text(out, "Struct{");
	for (size_t i = 0; i < value->count; i++) {
		if (value->items[i].null)
			continue;
		if (!first)
			buffer_byte(out, ',');
		first = false;
		buffer_slice(out, schema->members[i].name);
		buffer_byte(out, '=');
		connect_string(out, schema->members[i].schema, &value->items[i]);
	}
	buffer_byte(out, '}');
}

void connect_string(struct buffer *out, const struct connect_schema *schema,
		    const struct connect_value *value)
{
	if (schema == NULL || schema->type == CONNECT_STRING)
		buffer_slice(out, value->text);
	else if (is_date(schema))
		put_date_string(out, milliseconds(schema, value));
	else if (schema->type == CONNECT_ARRAY)
		put_list(out, schema, value);
	else if (schema->type == CONNECT_STRUCT)
		put_struct(out, schema, value);
	else if (!put_scalar(out, schema, value))
		put_byte_buffer(out, value->text.len);
}

/* ---- Values.append ---- */

/* Only these two are escaped. */
static void put_quoted(struct buffer *out, struct slice text)
{
	buffer_byte(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '"' || text.data[i] == '\\')
			buffer_byte(out, '\\');
		buffer_byte(out, text.data[i]);
	}
	buffer_byte(out, '"');
}

static void put_embedded(struct buffer *out, const struct connect_schema *schema,
			 const struct connect_value *value)
{
	if (value->null)
		buffer_text(out, "null");
	else if (schema->type == CONNECT_STRING)
		put_quoted(out, value->text);
	else if (schema->type == CONNECT_BYTES && schema->logical == LOGICAL_NONE)
		put_bytes(out, value->text);
	else
		connect_simple(out, schema, value);
}

static void put_simple_list(struct buffer *out, const struct connect_schema *schema,
			    const struct connect_value *value)
{
	buffer_byte(out, '[');
	for (size_t i = 0; i < value->count; i++) {
		if (i > 0)
			buffer_byte(out, ',');
		put_embedded(out, schema->items, &value->items[i]);
	}
	buffer_byte(out, ']');
}

static void put_simple_struct(struct buffer *out, const struct connect_schema *schema,
			      const struct connect_value *value)
{
	buffer_byte(out, '{');
	for (size_t i = 0; i < value->count; i++) {
		if (i > 0)
			buffer_byte(out, ',');
		put_quoted(out, schema->members[i].name);
		buffer_byte(out, ':');
		put_embedded(out, schema->members[i].schema, &value->items[i]);
	}
	buffer_byte(out, '}');
}

void connect_simple(struct buffer *out, const struct connect_schema *schema,
		    const struct connect_value *value)
{
	if (schema->type == CONNECT_STRING)
		buffer_slice(out, value->text);
	else if (is_date(schema))
		put_iso(out, milliseconds(schema, value));
	else if (schema->type == CONNECT_ARRAY)
		put_simple_list(out, schema, value);
	else if (schema->type == CONNECT_STRUCT)
		put_simple_struct(out, schema, value);
	else if (!put_scalar(out, schema, value))
		buffer_base64(out, value->text, BASE64);
}
