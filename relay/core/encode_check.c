/* SPDX-License-Identifier: ISC */
/*
 * encode_check.c - which options of the group "encode" go together
 */
#include "core/encode.h"
#include "core/template.h"

#include <string.h>

/* Whether anything is written as a converter does: the modes are about its types. */
static bool is_typed(const struct config_encoding *options)
{
	return options->key != ENCODE_PLAIN || options->value != ENCODE_PLAIN ||
	       options->headers != ENCODE_PLAIN;
}

static bool check_modes(const struct config_encoding *options, struct error *err)
{
	const struct {
		const char *name;
		bool set;
	} modes[] = {{"decimal", options->decimal != DECIMAL_PRECISE},
		     {"time", options->time != TIME_ADAPTIVE},
		     {"binary", options->binary != BINARY_BYTES},
		     {"interval", options->interval != INTERVAL_NUMERIC}};

	for (size_t i = 0; !is_typed(options) && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (modes[i].set)
			return error_set(err,
					 "encode.%s is for what is written as a converter of Kafka "
					 "Connect does; set encode.key, encode.value or "
					 "encode.headers, or remove it",
					 modes[i].name);
	return true;
}

static bool check_expand(const struct config_encoding *options, struct error *err)
{
	if (options->expand && options->value == ENCODE_PLAIN)
		return error_set(err, "encode.expand makes JSON of a payload, which encode.value = "
				      "\"bytes\" leaves as it is; set encode.value = \"json\"");
	if (!options->expand && options->null_fields != EXPAND_DROP)
		return error_set(err, "encode.null_fields is about payloads that are expanded; set "
				      "encode.expand = true, or remove it");
	if (!options->expand && options->empty_arrays != EXPAND_DROP)
		return error_set(err, "encode.empty_arrays is about payloads that are expanded; "
				      "set encode.expand = true, or remove it");
	return true;
}

static size_t name_len(const char *member)
{
	return strcspn(member, "=");
}

static bool same_name(const char *a, const char *b)
{
	return name_len(a) == name_len(b) && strncmp(a, b, name_len(a)) == 0;
}

static bool is_taken(const struct config_strings *envelope, size_t item)
{
	for (size_t i = 0; i < item; i++)
		if (same_name(envelope->items[item], envelope->items[i]))
			return true;
	return same_name(envelope->items[item], "payload");
}

static bool check_names(const struct config_strings *envelope, struct error *err)
{
	for (size_t i = 0; i < envelope->count; i++)
		if (is_taken(envelope, i))
			return error_set(err,
					 "encode.envelope has two members \"%.*s\" (\"payload\" is "
					 "the payload's); give one another name",
					 (int)name_len(envelope->items[i]), envelope->items[i]);
	return true;
}

static bool check_envelope(const struct config_encoding *options, struct error *err)
{
	bool has_envelope = options->envelope.count > 0;
	bool named = has_envelope && options->value == ENCODE_JSON_SCHEMA;

	if (has_envelope && options->value == ENCODE_PLAIN)
		return error_set(err,
				 "encode.envelope is an object around the payload, which "
				 "encode.value = \"bytes\" leaves as it is; set encode.value = "
				 "\"json\"");
	if (named && options->schema_namespace[0] == '\0')
		return error_set(err, "encode.envelope has a schema with encode.value = "
				      "\"json-schema\", and no name for it; set "
				      "encode.schema_namespace, such as \"shop.public.outbox\"");
	if (!named && options->schema_namespace[0] != '\0')
		return error_set(err,
				 "encode.schema_namespace names the schema of an envelope; set "
				 "encode.envelope and encode.value = \"json-schema\", or remove "
				 "it");
	if (!named && options->schema_version[0] != '\0')
		return error_set(err,
				 "encode.schema_version is of the schema of an envelope; set "
				 "encode.envelope and encode.value = \"json-schema\", or remove "
				 "it");
	return check_names(&options->envelope, err);
}

bool encode_check(const struct config_encoding *options, struct error *err)
{
	return check_modes(options, err) && check_expand(options, err) &&
	       check_envelope(options, err);
}

static int any_column(const char *name, void *arg)
{
	const struct config_columns *const *columns = arg;

	return route_column(*columns, name) != NULL ? 0 : -1;
}

bool encode_check_member(const char *text, const struct config_columns *columns, struct error *err)
{
	struct error inner;
	const char *value = text + name_len(text) + 1;
	struct template *tpl = template_new(value, any_column, &columns, &inner);
	bool good = tpl != NULL;

	template_free(&tpl);
	return good || error_set(err, "encode.envelope \"%s\": %s", text, inner.text);
}
