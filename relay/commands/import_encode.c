/* SPDX-License-Identifier: ISC */
/*
 * import_encode.c - converters: the group "encode"
 */
#include "base/xalloc.h"
#include "import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_CONVERTER	 "org.apache.kafka.connect.json.JsonConverter"
#define STRING_CONVERTER "org.apache.kafka.connect.storage.StringConverter"
#define SIMPLE_CONVERTER "org.apache.kafka.connect.storage.SimpleHeaderConverter"
#define BINARY_CONVERTER "io.debezium.converters.BinaryDataConverter"
#define BYTES_CONVERTER	 "org.apache.kafka.connect.converters.ByteArrayConverter"

/* A part of a record. */
struct part {
	const char *name;     /* "key", as options have it */
	const char *fallback; /* of the option of the relay, where nothing is like the converter */
	const char *simple, *bytes; /* words for converters that not every part has; or NULL */
};
static const struct part key_part = {"key", "string", NULL, NULL};
static const struct part value_part = {"value", "bytes", NULL, "bytes"};
static const struct part header_part = {"header", "string", "simple", NULL};

/* An option whose name has the part's in it; NULL if the file does not have it. */
static const struct debezium_option *find_of(const struct import *import, const char *format,
					     const struct part *part)
{
	char name[80];

	snprintf(name, sizeof(name), format, part->name);
	return debezium_find(import->from, name);
}

/* ---- Debezium Server: formats ---- */

/* The converter of a format; NULL: it has none here (Json.java and others of debezium-api, and
 * ConverterBuilder). Whatever class is named wins. */
static const char *server_class(const struct import *import, const struct part *part,
				const struct debezium_option *format)
{
	static const struct {
		const char *format, *class;
	} formats[] = {
	    {"json", JSON_CONVERTER},
	    {"jsonbytearray", JSON_CONVERTER},
	    {"simplestring", STRING_CONVERTER},
	    {"binary", BINARY_CONVERTER},
	};
	const struct debezium_option *class = find_of(import, "%s.converter.class", part);
	const char *word = format != NULL ? format->value : "json";

	if (class == NULL)
		class = debezium_find(import->from, "format.class");
	if (class != NULL)
		return class->value;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(formats[i].format, word) == 0)
			return formats[i].class;
	return NULL;
}

/* ---- Kafka Connect: classes ---- */

/* What a connector does not say, its worker does, which is in another file. */
static const char *connect_class(struct import *import, const struct part *part,
				 const struct debezium_option *class)
{
	char name[40];

	if (class != NULL)
		return class->value;
	if (part == &header_part)
		return SIMPLE_CONVERTER;
	snprintf(name, sizeof(name), "%s.converter", part->name);
	import_note(import->notes, name, NULL,
		    "it is not in the file, so the worker's counts; taken for " JSON_CONVERTER
		    " with schemas, as in Kafka's sample and Debezium's images. Look into the "
		    "worker's configuration, and set encode.%s",
		    part->name);
	return JSON_CONVERTER;
}

/* ---- both ---- */

static bool has_schemas(const struct import *import, const struct part *part)
{
	const struct debezium_option *option = find_of(import, "%s.converter.schemas.enable", part);
	bool own = import->from->server || find_of(import, "%s.converter", part) != NULL;

	if (option == NULL && import->from->server)
		option = debezium_find(import->from, "format.schemas.enable");
	if (option == NULL && import->from->server)
		option = debezium_find(import->from, "converter.schemas.enable");
	return option == NULL || !own || debezium_says_true(option->value);
}

/* What the relay calls a converter; NULL if it has none like it. */
static const char *word_of(const struct import *import, const struct part *part, const char *class)
{
	static const char *const binary[] = {
	    BINARY_CONVERTER,
	    "io.debezium.converters.ByteBufferConverter",
	    "io.debezium.converters.ByteArrayConverter",
	    BYTES_CONVERTER,
	};

	if (debezium_is_class(class, STRING_CONVERTER))
		return "string";
	if (debezium_is_class(class, JSON_CONVERTER))
		return has_schemas(import, part) ? "json-schema" : "json";
	if (debezium_is_class(class, SIMPLE_CONVERTER))
		return part->simple;
	for (size_t i = 0; i < sizeof(binary) / sizeof(binary[0]); i++)
		if (debezium_is_class(class, binary[i]))
			return part->bytes;
	return NULL;
}

static const char *format_of(struct import *import, const struct part *part)
{
	bool server = import->from->server;
	const struct debezium_option *option =
	    find_of(import, server ? "format.%s" : "%s.converter", part);
	const char *class =
	    server ? server_class(import, part, option) : connect_class(import, part, option);
	const char *word = class != NULL ? word_of(import, part, class) : NULL;

	if (word != NULL)
		return word;
	if (option != NULL && import_is_elsewhere(option->value)) {
		import_note_elsewhere(import, option, part->fallback);
		return part->fallback;
	}
	import_note(import->notes, option != NULL ? option->written : part->name,
		    option != NULL ? option->value : class,
		    "the relay has no such converter, and CONSUMERS WOULD GET OTHER BYTES: it has "
		    "those for strings, JSON and (of values) bytes; serialize in the application, "
		    "into a bytea payload, or stay with Debezium");
	return part->fallback;
}

void import_formats(struct import *import)
{
	import->key = format_of(import, &key_part);
	import->value = format_of(import, &value_part);
	import->headers = format_of(import, &header_part);
}

/* ---- written ---- */

static bool is_bytes(const struct import *import)
{
	return strcmp(import->value, "bytes") == 0;
}

/* Options of expanded payloads are refused where payloads stay as they are. */
static bool is_idle(const struct import *import, const struct debezium_option *option)
{
	bool expands = debezium_is_true(import->from, "router:table.expand.json.payload");

	if (strstr(option->name, "expand.json") != NULL)
		return is_bytes(import);
	return strstr(option->name, "table.json.payload") != NULL && (is_bytes(import) || !expands);
}

static void write_format(struct import *import, const struct part *part, const char *option,
			 const char *word)
{
	bool server = import->from->server;
	const struct debezium_option *from =
	    find_of(import, server ? "format.%s" : "%s.converter", part);
	char *comment = from != NULL ? xasprintf("%s = %s", from->written, from->value)
				     : xasprintf("the default of %s%s",
						 server ? "debezium.format." : part->name,
						 server ? part->name : ".converter");

	conf_string(&import->conf, option, word, comment);
	free(comment);
}

static char *prefix_of(struct import *import)
{
	static const char *const options[] = {"topic.prefix", "database.server.name"};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (debezium_find(import->from, options[i]) != NULL)
			return import_value(import, options[i]);
	return xstrdup("");
}

static void write_schema(struct import *import)
{
	const struct debezium_option *version =
	    debezium_find(import->from, "router:table.field.event.schema.version");
	char *prefix = prefix_of(import);
	char *name = xasprintf("%s.%s.%s", prefix, import->name.schema, import->name.table);

	conf_string(&import->conf, "schema_namespace", name, "topic.prefix, and the table");
	free(name);
	free(prefix);
	if (version == NULL)
		return;
	name = import_text(import, version);
	conf_string(&import->conf, "schema_version", name, version->written);
	free(name);
}

static void write_envelope(struct import *import)
{
	if (import->envelope.count == 0)
		return;
	if (is_bytes(import)) {
		import_note(import->notes, "table.fields.additional.placement", NULL,
			    "an envelope is not written with encode.value = \"bytes\"; place these "
			    "columns as headers, or serialize the whole in the application");
		return;
	}
	conf_list(&import->conf, "envelope", &import->envelope,
		  "table.fields.additional.placement");
	if (strcmp(import->value, "json-schema") == 0)
		write_schema(import);
}

/* Debezium gives what is no bytes to a converter behind this one, which may be another one. */
static void tell_of_bytes(struct import *import)
{
	const char *expands = "router:table.expand.json.payload";

	if (is_bytes(import) && debezium_is_true(import->from, expands))
		import_note(import->notes, debezium_find(import->from, expands)->written, "true",
			    "payloads are not expanded with encode.value = \"bytes\"; if consumers "
			    "get JSON that is expanded, set encode.value to \"json\" or "
			    "\"json-schema\", and encode.expand, and compare");
}

void import_encode(struct import *import)
{
	tell_of_bytes(import);
	conf_open(&import->conf, "encode");
	write_format(import, &key_part, "key", import->key);
	write_format(import, &value_part, "value", import->value);
	write_format(import, &header_part, "headers", import->headers);
	write_envelope(import);
	import_group(import, "encode", is_idle);
	conf_close(&import->conf);
}
