/* SPDX-License-Identifier: ISC */
/*
 * encode.c - what a routed event is as a record, as converters of Kafka Connect write it
 *
 * EventRouterDelegate.apply of Debezium 3.0, and the converters behind it.
 */
#include "core/encode.h"

#include "base/xalloc.h"
#include "civil.h"
#include "column.h"
#include "core/template.h"
#include "expand.h"

#include <stdlib.h>
#include <string.h>

/* A key, a header or a member of the envelope. */
struct part {
	struct slice name;	   /* borrowed; of a header or a member */
	struct template *template; /* owned */
	int field;		   /* that it is all of; -1: it is text */
	struct column_modes modes;
	struct field_type type;
	const struct connect_schema *schema; /* the lasting arena's */
};

/* Where it is in the output, which moves as it grows. */
struct span {
	size_t at, len;
	bool null;
};

struct encoder {
	const struct config_encoding *options; /* borrowed */
	struct slice payload_name;	       /* borrowed */
	struct part key;
	struct part *headers, *members; /* owned */
	size_t header_count, member_count;
	int version; /* a field; -1: none */
	struct part payload;

	struct arena lasting; /* schemas, as of the types told last */
	struct arena scratch; /* of the event */
	struct buffer out, name;
	struct span *spans;  /* owned; of the headers */
	struct header *list; /* owned */
	size_t list_size;
};

/* ---- made once ---- */

static struct column_modes modes_of(const struct config_encoding *options, int format)
{
	return (struct column_modes){.decimal = options->decimal,
				     .time = options->time,
				     .binary = options->binary,
				     .interval = options->interval,
				     .printed = format == ENCODE_STRING};
}

static bool make_part(struct encoder *encoder, struct part *part, const char *text, int format,
		      route_field_fn field, void *arg, struct error *err)
{
	part->template = template_new(text, field, arg, err);
	if (part->template == NULL)
		return false;
	part->field = template_field(part->template);
	part->modes = modes_of(encoder->options, format);
	return true;
}

static bool make_named(struct encoder *encoder, struct part *part, const char *item, int format,
		       route_field_fn field, void *arg, struct error *err)
{
	size_t len = strcspn(item, "=");

	part->name = (struct slice){item, len};
	return make_part(encoder, part, item + len + 1, format, field, arg, err);
}

static bool make_list(struct encoder *encoder, struct part **parts, size_t *count,
		      const struct config_strings *items, int format, route_field_fn field,
		      void *arg, struct error *err)
{
	*parts = xcalloc(items->count + 1, sizeof(**parts));
	for (; *count < items->count; ++*count)
		if (!make_named(encoder, &(*parts)[*count], items->items[*count], format, field,
				arg, err))
			return false;
	return true;
}

static bool make_all(struct encoder *encoder, const struct route_rules *rules, route_field_fn field,
		     void *arg, struct error *err)
{
	const struct config_encoding *options = encoder->options;

	if (options->schema_version[0] != '\0')
		encoder->version = field(options->schema_version, arg);
	return make_part(encoder, &encoder->key, rules->key, options->key, field, arg, err) &&
	       make_list(encoder, &encoder->headers, &encoder->header_count, rules->headers,
			 options->headers, field, arg, err) &&
	       make_list(encoder, &encoder->members, &encoder->member_count, &options->envelope,
			 options->value, field, arg, err);
}

struct encoder *encoder_new(const struct config_encoding *options, const struct route_rules *rules,
			    const char *payload, route_field_fn field, void *arg, struct error *err)
{
	struct encoder *encoder = xcalloc(1, sizeof(*encoder));

	encoder->options = options;
	encoder->payload_name = slice_of(payload);
	encoder->payload.modes = modes_of(options, options->value);
	encoder->version = -1;
	encoder->spans = xcalloc(rules->headers->count + 1, sizeof(*encoder->spans));
	if (!make_all(encoder, rules, field, arg, err))
		encoder_free(&encoder);
	return encoder;
}

static void free_list(struct part *parts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		template_free(&parts[i].template);
	free(parts);
}

void encoder_free(struct encoder **encoder)
{
	struct encoder *own = *encoder;

	if (own == NULL)
		return;
	template_free(&own->key.template);
	free_list(own->headers, own->header_count);
	free_list(own->members, own->member_count);
	arena_free(&own->lasting);
	arena_free(&own->scratch);
	buffer_free(&own->out);
	buffer_free(&own->name);
	free(own->spans);
	free(own->list);
	free(own);
	*encoder = NULL;
}

/* ---- types ---- */

static void give_type(struct encoder *encoder, struct part *part, const struct field_type *type)
{
	part->type = *type;
	part->type.labels = NULL; /* the schema has them */
	part->schema = column_schema(&encoder->lasting, type, &part->modes);
}

/* Text that is more than a field has Schema.STRING_SCHEMA. */
static void give_types(struct encoder *encoder, struct part *parts, size_t count,
		       const struct field_type *fields, size_t field_count)
{
	static const struct field_type text = {.kind = FIELD_TEXT, .required = true};

	for (size_t i = 0; i < count; i++)
		give_type(encoder, &parts[i],
			  parts[i].field >= 0 && (size_t)parts[i].field < field_count
			      ? &fields[parts[i].field]
			      : &text);
}

void encoder_types(struct encoder *encoder, const struct field_type *fields, size_t count,
		   const struct field_type *payload)
{
	arena_reset(&encoder->lasting);
	give_types(encoder, &encoder->key, 1, fields, count);
	give_types(encoder, encoder->headers, encoder->header_count, fields, count);
	give_types(encoder, encoder->members, encoder->member_count, fields, count);
	give_type(encoder, &encoder->payload, payload);
}

struct telling {
	void (*each)(const char *name, void *arg);
	void *arg;
};

static int tell(const char *name, void *arg)
{
	const struct telling *telling = arg;

	telling->each(name, telling->arg);
	return 0;
}

void encode_fields(const struct config_encoding *options, void (*each)(const char *name, void *arg),
		   void *arg)
{
	struct telling telling = {each, arg};
	struct error ignored;

	for (size_t i = 0; i < options->envelope.count; i++) {
		const char *item = options->envelope.items[i];
		struct template *tpl =
		    template_new(item + strcspn(item, "=") + 1, tell, &telling, &ignored);

		template_free(&tpl);
	}
	if (options->schema_version[0] != '\0')
		each(options->schema_version, arg);
}

/* ---- writing ---- */

/* Begins a value; ended by end_span. */
static struct span begin_span(const struct encoder *encoder)
{
	return (struct span){.at = encoder->out.len};
}

static void end_span(const struct encoder *encoder, struct span *span)
{
	span->len = encoder->out.len - span->at;
}

static struct slice bytes_of(const struct encoder *encoder, struct span span)
{
	return span.null ? SLICE_NULL : (struct slice){encoder->out.data + span.at, span.len};
}

/* With "json-schema" the schema in front; JsonConverter.convertToJsonWithEnvelope. */
static bool write_json(struct buffer *out, int format, const struct connect_schema *schema,
		       const struct connect_value *value)
{
	bool good;

	if (format == ENCODE_JSON)
		return connect_json(out, schema, value);
	buffer_text(out, "{\"schema\":");
	if (schema != NULL)
		connect_schema_json(out, schema);
	else
		buffer_text(out, "null");
	buffer_text(out, ",\"payload\":");
	good = connect_json(out, schema, value);
	buffer_byte(out, '}');
	return good;
}

static bool write_value(struct encoder *encoder, int format, const struct connect_schema *schema,
			const struct connect_value *value, struct span *span, struct error *err)
{
	*span = begin_span(encoder);
	if (format == ENCODE_JSON || format == ENCODE_JSON_SCHEMA) {
		if (!write_json(&encoder->out, format, schema, value))
			return error_set(err,
					 "a value is NULL, or no number, where its schema wants "
					 "one; change it");
	} else if (value->null) {
		span->null = true;
	} else if (format == ENCODE_SIMPLE) {
		connect_simple(&encoder->out, schema, value);
	} else {
		connect_string(&encoder->out, schema, value);
	}
	end_span(encoder, span);
	return true;
}

/* What a template that is more than a field renders to. */
static bool render(struct encoder *encoder, const struct part *part, const struct slice *fields,
		   struct slice *text, struct error *err)
{
	const char *null_field;
	char *bytes;
	size_t len;

	if (!template_measure(part->template, fields, &len, &null_field))
		return error_set(
		    err,
		    "encode.envelope needs the field \"%s\", which is NULL; fill it in, "
		    "or take what is around it out of the template",
		    null_field);
	bytes = arena_take(&encoder->scratch, len + 1);
	template_write(part->template, fields, bytes);
	*text = (struct slice){bytes, len};
	return true;
}

static bool read_text(struct encoder *encoder, const struct part *part, struct slice text,
		      struct connect_value *value, struct error *err)
{
	return column_value(&encoder->scratch, &part->type, &part->modes, text, value, err);
}

/* text: of what is no field. */
static bool read_part(struct encoder *encoder, const struct part *part, const struct slice *fields,
		      struct slice text, struct connect_value *value, struct error *err)
{
	if (part->field >= 0)
		text = fields[part->field];
	return read_text(encoder, part, text, value, err);
}

static bool encode_key(struct encoder *encoder, const struct event *event,
		       const struct message *message, struct span *span, struct error *err)
{
	struct connect_value value;

	return read_part(encoder, &encoder->key, event->fields, message->key, &value, err) &&
	       write_value(encoder, encoder->options->key, encoder->key.schema, &value, span, err);
}

/* Of those routed, a header that is all of a field is missing where that is NULL. */
static bool encode_headers(struct encoder *encoder, const struct event *event,
			   const struct message *message, struct error *err)
{
	size_t routed = 0;

	for (size_t i = 0; i < encoder->header_count; i++) {
		const struct part *part = &encoder->headers[i];
		bool missing = part->field >= 0 && event->fields[part->field].data == NULL;
		struct slice text = missing ? SLICE_NULL : message->headers[routed++].value;
		struct connect_value value;

		if (!read_part(encoder, part, event->fields, text, &value, err) ||
		    !write_value(encoder, encoder->options->headers, part->schema, &value,
				 &encoder->spans[i], err))
			return false;
	}
	return true;
}

/* ---- the value ---- */

static bool is_blank(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.data[i] > ' ')
			return false;
	return true;
}

/* A payload of bytes is no text, and of what it has as one nothing is blank. */
static bool is_empty(const struct encoder *encoder, const struct event *event)
{
	bool bytes =
	    encoder->payload.type.kind == FIELD_BYTES && encoder->options->binary == BINARY_BYTES;

	return event->payload.data == NULL || (!bytes && is_blank(event->payload));
}

static bool read_payload(struct encoder *encoder, const struct event *event,
			 const struct connect_schema **schema, struct connect_value *value,
			 struct error *err)
{
	const struct expand_options options = {encoder->payload_name,
					       encoder->options->null_fields == EXPAND_KEEP,
					       encoder->options->empty_arrays == EXPAND_KEEP};
	bool bytes = encoder->payload.type.kind == FIELD_BYTES;

	*schema = encoder->payload.schema;
	*value =
	    (struct connect_value){.null = event->payload.data == NULL, .text = event->payload};
	if (value->null)
		return true;
	if (bytes) {
		column_bytes(&encoder->scratch, &encoder->payload.modes, event->payload, value);
		return true;
	}
	if (encoder->payload.type.kind == FIELD_CHAR &&
	    !read_text(encoder, &encoder->payload, event->payload, value, err))
		return false;
	if (!encoder->options->expand)
		return true;
	switch (expand(&encoder->scratch, &options, value->text, schema, value, err)) {
	case EXPAND_FAILED:
		return false;
	case EXPAND_KEPT:
		*schema = encoder->payload.schema;
		break;
	case EXPAND_NO_SCHEMA:
	case EXPANDED:
		break;
	}
	return true;
}

static struct slice schema_name(struct encoder *encoder, struct slice routed)
{
	struct buffer *name = &encoder->name;

	buffer_clear(name);
	buffer_text(name, encoder->options->schema_namespace);
	buffer_byte(name, '.');
	buffer_slice(name, routed);
	buffer_text(name, ".Value");
	return (struct slice){name->data, name->len};
}

static bool read_version(const struct encoder *encoder, const struct event *event,
			 struct connect_schema *schema, struct error *err)
{
	struct slice text = encoder->version < 0 ? SLICE_NULL : event->fields[encoder->version];

	schema->versioned = text.data != NULL;
	if (text.data == NULL || civil_integer(text, &schema->version))
		return true;
	return error_set(err, "encode.schema_version is no whole number; fix the column");
}

static bool read_member(struct encoder *encoder, const struct part *part, const struct event *event,
			struct connect_value *value, struct error *err)
{
	struct slice text = SLICE_NULL;

	if (part->field < 0 && !render(encoder, part, event->fields, &text, err))
		return false;
	return read_part(encoder, part, event->fields, text, value, err);
}

/* The object around the payload. */
static bool wrap(struct encoder *encoder, const struct event *event, struct slice routed,
		 const struct connect_schema **schema, struct connect_value *value,
		 struct error *err)
{
	size_t count = encoder->member_count + 1;
	struct connect_schema *outer = arena_take(&encoder->scratch, sizeof(*outer));
	struct connect_member *members = arena_take(&encoder->scratch, count * sizeof(*members));
	struct connect_value *items = arena_take(&encoder->scratch, count * sizeof(*items));

	if (*schema == NULL)
		return error_set(err, "an envelope has no place for an empty array, which is "
				      "without a schema; change the payload");
	members[0] = (struct connect_member){slice_of("payload"), *schema};
	items[0] = *value;
	for (size_t i = 1; i < count; i++) {
		const struct part *part = &encoder->members[i - 1];

		members[i] = (struct connect_member){part->name, part->schema};
		if (!read_member(encoder, part, event, &items[i], err))
			return false;
	}
	*outer = (struct connect_schema){.type = CONNECT_STRUCT,
					 .name = schema_name(encoder, routed),
					 .members = members,
					 .member_count = count};
	*value = (struct connect_value){.items = items, .count = count};
	*schema = outer;
	return read_version(encoder, event, outer, err);
}

static bool encode_value(struct encoder *encoder, const struct event *event,
			 const struct message *message, struct span *span, struct error *err)
{
	const struct connect_schema *schema;
	struct connect_value value;

	if (encoder->options->tombstone_on_empty && is_empty(encoder, event)) {
		span->null = true;
		return true;
	}
	return read_payload(encoder, event, &schema, &value, err) &&
	       (encoder->member_count == 0 ||
		wrap(encoder, event, message->routed, &schema, &value, err)) &&
	       write_value(encoder, encoder->options->value, schema, &value, span, err);
}

/* ---- the record ---- */

/* Those of the rules, and behind them the event's own. */
static void list_headers(struct encoder *encoder, struct message *message)
{
	size_t own = message->header_count - message->configured;
	size_t count = encoder->header_count + own;

	if (count > encoder->list_size) {
		encoder->list_size = count * 2;
		encoder->list =
		    xrealloc(encoder->list, encoder->list_size * sizeof(*encoder->list));
	}
	for (size_t i = 0; i < encoder->header_count; i++)
		encoder->list[i] =
		    (struct header){encoder->headers[i].name, bytes_of(encoder, encoder->spans[i])};
	for (size_t i = 0; i < own; i++)
		encoder->list[encoder->header_count + i] =
		    message->headers[message->configured + i];
	message->headers = encoder->list;
	message->header_count = count;
	message->configured = encoder->header_count;
}

/* A tombstone of an empty payload is made without a copy. */
static bool is_value_plain(const struct encoder *encoder)
{
	return encoder->options->value == ENCODE_PLAIN;
}

enum reject_reason encode_event(struct encoder *encoder, const struct event *event,
				struct message *message, struct error *err)
{
	const struct config_encoding *options = encoder->options;
	struct span key = {0}, value = {0};

	arena_reset(&encoder->scratch);
	buffer_clear(&encoder->out);
	if ((options->key != ENCODE_PLAIN && !encode_key(encoder, event, message, &key, err)) ||
	    (options->headers != ENCODE_PLAIN && !encode_headers(encoder, event, message, err)) ||
	    (!is_value_plain(encoder) && !event->withheld &&
	     !encode_value(encoder, event, message, &value, err)))
		return REJECT_ENCODING;
	if (options->key != ENCODE_PLAIN)
		message->key = bytes_of(encoder, key);
	if (options->headers != ENCODE_PLAIN)
		list_headers(encoder, message);
	if (is_value_plain(encoder) && options->tombstone_on_empty && is_empty(encoder, event))
		message->value = SLICE_NULL;
	if (!is_value_plain(encoder) && !event->withheld) {
		message->value = bytes_of(encoder, value);
		message->transient = true;
	}
	return REJECT_NONE;
}
