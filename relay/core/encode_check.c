/* SPDX-License-Identifier: ISC */
/*
 * encode_check.c - which options of the group "encode" go together
 */
#include "core/encode.h"

#include "base/xalloc.h"
#include "core/template.h"

#include <stdlib.h>
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

bool encode_is_needed(const struct config_encoding *options)
{
	return is_typed(options) || options->tombstone_on_empty;
}

/* ---- fields ---- */

struct names {
	char *items[ROUTE_FIELDS_MAX + 1]; /* owned; columns */
	size_t count;
	const struct config_columns *columns;
};

static void take_down(const char *name, void *arg)
{
	struct names *names = arg;
	const char *column = route_column(names->columns, name);

	for (size_t i = 0; i < names->count; i++)
		if (column == NULL || strcmp(names->items[i], column) == 0)
			return;
	if (column != NULL && names->count <= ROUTE_FIELDS_MAX)
		names->items[names->count++] = xstrdup(column);
}

bool encode_check_fields(const struct config *config, struct error *err)
{
	const struct route_rules rules = route_rules_of(config);
	struct names names = {.columns = &config->outbox.columns};
	struct error ignored;
	bool few;

	/* Where it fails, another check says so. */
	route_fields(&rules, take_down, &names, &ignored);
	encode_fields(&config->encode, take_down, &names);
	few = names.count <= ROUTE_FIELDS_MAX;
	for (size_t i = 0; i < names.count; i++)
		free(names.items[i]);
	return few || error_set(err,
				"route and encode together name more than %d different "
				"fields; name fewer",
				ROUTE_FIELDS_MAX);
}

/* ---- columns ---- */

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

struct search {
	const struct config_columns *columns;
	const char *wanted;
	bool found;
};

static int compare(const char *name, void *arg)
{
	struct search *search = arg;
	const char *column = route_column(search->columns, name);

	search->found |= column != NULL && strcmp(column, search->wanted) == 0;
	return 0;
}

/* Whether the template is the column, and nothing else. */
static bool is_all_of(const char *text, const struct config_columns *columns, const char *column)
{
	struct search search = {columns, column, false};
	struct error ignored;
	struct template *tpl = template_new(text, compare, &search, &ignored);
	bool all = tpl != NULL && search.found && template_field(tpl) >= 0;

	template_free(&tpl);
	return all;
}

static bool any_is_all_of(const struct config_strings *items, const struct config_columns *columns,
			  const char *column)
{
	for (size_t i = 0; i < items->count; i++)
		if (is_all_of(items->items[i] + name_len(items->items[i]) + 1, columns, column))
			return true;
	return false;
}

/* The option that writes the column as a value of its type, or NULL. */
static const char *writer_of(const struct config *config, const char *column)
{
	const struct config_columns *columns = &config->outbox.columns;
	const struct config_encoding *options = &config->encode;

	if (options->key != ENCODE_PLAIN && is_all_of(config->route.key, columns, column))
		return "route.key";
	if (options->headers != ENCODE_PLAIN &&
	    any_is_all_of(&config->route.headers, columns, column))
		return "route.headers";
	return any_is_all_of(&options->envelope, columns, column) ? "encode.envelope" : NULL;
}

static bool is_column(const struct config *config, const char *option, const char *column)
{
	const char *named = *option != '\0' ? route_column(&config->outbox.columns, option) : NULL;

	return named != NULL && strcmp(named, column) == 0;
}

static bool check_use(const char *option, const char *column, bool right, const char *wanted,
		      struct error *err)
{
	return right || error_set(err,
				  "%s names column \"%s\", which is not of type %s; name "
				  "another one",
				  option, column, wanted);
}

static bool is_known(const struct field_type *type)
{
	return type->kind != FIELD_UNKNOWN &&
	       (type->kind != FIELD_ARRAY || type->element != FIELD_UNKNOWN);
}

bool encode_check_column(const struct config *config, const char *column,
			 const struct field_type *type, struct error *err)
{
	const char *writer = writer_of(config, column);
	bool is_int = type->kind == FIELD_INT16 || type->kind == FIELD_INT32;
	bool is_time = type->kind == FIELD_TIMESTAMP || type->kind == FIELD_TIMESTAMP_UTC;

	if (writer != NULL && !is_known(type))
		return error_set(err,
				 "%s writes column \"%s\" as encode says, and there is no rule for "
				 "its type; take it out, or write it as text, such as "
				 "\" ${%s}\"",
				 writer, column, column);
	if (is_column(config, config->route.partition, column) &&
	    !check_use("route.partition", column, is_int, "integer or smallint", err))
		return false;
	if (is_column(config, config->route.timestamp, column) &&
	    !check_use("route.timestamp", column, is_time, "timestamp or timestamptz", err))
		return false;
	return !is_column(config, config->encode.schema_version, column) ||
	       check_use("encode.schema_version", column, type->kind == FIELD_INT32, "integer",
			 err);
}
