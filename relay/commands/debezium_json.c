/* SPDX-License-Identifier: ISC */
/*
 * debezium_json.c - finds a connector's options in JSON
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "debezium.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* jansson's words end with what it read last, which may be a secret. */
static int words_of(const json_error_t *why)
{
	const char *near = strstr(why->text, " near '");

	return near != NULL ? (int)(near - why->text) : (int)strlen(why->text);
}

/* The last of several members of a name counts, as for Kafka Connect; but it is told. */
static json_t *parse(const char *text, struct import_notes *notes, struct error *err)
{
	json_error_t why;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	if (root == NULL && json_error_code(&why) == json_error_duplicate_key) {
		import_note(notes, "JSON", NULL, "line %d: %s; the last one counts", why.line,
			    why.text);
		root = json_loads(text, 0, &why);
	}
	if (root == NULL)
		error_set(err, "is no JSON: line %d: %.*s", why.line, words_of(&why), why.text);
	return root;
}

/* A KafkaConnector has the connector's class beside its options. */
static json_t *from_manifest(json_t *root)
{
	json_t *spec = json_object_get(root, "spec"), *config = json_object_get(spec, "config");
	json_t *class = json_object_get(spec, "class");

	if (!json_is_object(config))
		return NULL;
	if (class != NULL && json_object_get(config, "connector.class") == NULL)
		json_object_set(config, "connector.class", class);
	return config;
}

/* GET /connectors?expand=info answers an object of all connectors by their names. */
static json_t *from_listing(json_t *root, struct error *err)
{
	json_t *entry = json_object_iter_value(json_object_iter(root)), *config;

	config = json_object_get(json_object_get(entry, "info"), "config");
	if (!json_is_object(config)) {
		error_set(err, "holds no options of a connector: neither a member "
			       "\"connector.class\" nor an object \"config\"");
		return NULL;
	}
	if (json_object_size(root) > 1) {
		error_set(err,
			  "holds %zu connectors; give the one with the outbox event router: "
			  "GET /connectors/NAME of Kafka Connect answers it",
			  json_object_size(root));
		return NULL;
	}
	return config;
}

static json_t *find(json_t *root, struct error *err)
{
	json_t *config = json_object_get(root, "config");

	if (!json_is_object(root)) {
		error_set(err, "is JSON, but no object of options");
		return NULL;
	}
	if (json_object_get(root, "connector.class") != NULL)
		return root;
	if (json_is_object(config))
		return config;
	config = from_manifest(root);
	return config != NULL ? config : from_listing(root, err);
}

/* Kafka Connect takes every value for text. null is as if it were not there. */
static json_t *as_text(const char *name, const json_t *value, struct import_notes *notes)
{
	char *text;
	json_t *made;

	if (json_is_string(value))
		return json_string(json_string_value(value));
	if (json_is_object(value) || json_is_array(value)) {
		import_note(notes, name, NULL,
			    "it is an object or a list, which is no value of an option; left out");
		return NULL;
	}
	if (json_is_null(value))
		return NULL;
	text = json_dumps(value, JSON_ENCODE_ANY);
	made = json_string(text);
	free(text);
	return made;
}

struct json_t *debezium_json(const char *text, struct import_notes *notes, struct error *err)
{
	json_t *root = parse(text, notes, err), *config, *options = NULL, *value;
	const char *name;

	config = root != NULL ? find(root, err) : NULL;
	if (config != NULL)
		options = json_object();
	json_object_foreach(config, name, value)
	{
		json_t *option = as_text(name, value, notes);

		if (option != NULL)
			json_object_set_new(options, name, option);
	}
	json_decref(root);
	return options;
}
