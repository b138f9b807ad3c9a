/* SPDX-License-Identifier: ISC */
/*
 * debezium_expand.c - ${NAME} in application.properties
 *
 * ExpressionConfigSourceInterceptor of SmallRye Config is what reads it in Debezium Server: NAME is
 * another property, or a variable of the environment; ${NAME:default}; "\$" and "$$" are a dollar
 * sign.
 */
#include "base/xalloc.h"
#include "debezium.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEPTH_MAX = 32,	       /* as SmallRye has it */
	BYTES_MAX = 64 * 1024, /* of a value; no option is nearly so long */
	STEPS_MAX = 50000000,  /* bytes read in one file: values of values double at each turn */
};

struct expansion {
	const json_t *properties;
	json_t *helpers; /* names of properties that others refer to */
	struct import_notes *notes;
	const char *name; /* of the property that is being expanded */
	char *out;	  /* owned */
	size_t len;
	int depth;
	long steps;
	bool broken; /* told already */
};

static void expand(struct expansion *expansion, const char *text, size_t len);

static void put(struct expansion *expansion, const char *bytes, size_t len)
{
	if (expansion->len + len > BYTES_MAX) {
		expansion->broken = true;
		return;
	}
	memcpy(expansion->out + expansion->len, bytes, len);
	expansion->len += len;
}

/* The brace that ends the expression which begins at "${", or NULL; a default may hold others. */
static const char *find_end(struct expansion *expansion, const char *text, const char *end)
{
	int depth = 0;

	for (; text < end; text++) {
		expansion->steps++;
		if (text + 1 < end && text[0] == '$' && text[1] == '{')
			depth++;
		else if (*text == '}' && --depth == 0)
			return text;
	}
	return NULL;
}

/* What a property is called as a variable of the environment (StringUtil.replaceNonAlphanumeric of
 * SmallRye, in capitals); malloc'd. */
static char *as_variable(const char *name)
{
	char *variable = xstrdup(name);

	for (char *c = variable; *c != '\0'; c++)
		*c = (char)(isalnum((unsigned char)*c) ? toupper((unsigned char)*c) : '_');
	return variable;
}

static bool is_variable(const char *name)
{
	return *name != '\0' && name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0';
}

/* A group of the router's regular expression is not meant for Quarkus, which would not start. */
static bool is_group(const struct expansion *expansion, const char *name)
{
	return strncmp(expansion->name, "debezium.transforms.", 20) == 0 && !is_variable(name);
}

static void put_variable(struct expansion *expansion, const char *name, bool has_fallback)
{
	char *variable = as_variable(name);

	put(expansion, "${env:", 6);
	put(expansion, variable, strlen(variable));
	put(expansion, "}", 1);
	if (has_fallback)
		import_note(expansion->notes, expansion->name, NULL,
			    "the default behind ${%s:...} is not carried over; set %s in the "
			    "environment of the relay",
			    name, variable);
	free(variable);
}

static void expand_value(struct expansion *expansion, const char *name, const char *value)
{
	json_object_set_new(expansion->helpers, name, json_true());
	expand(expansion, value, strlen(value));
}

/* Whether an expression stays: a secret that a handler of SmallRye decodes ("${handler::...}"), or
 * a group of the router's regular expression. */
static bool stays(const struct expansion *expansion, const char *name, const char *colon)
{
	return colon != NULL ? colon[1] == ':'
			     : json_object_get(expansion->properties, name) == NULL &&
				   is_group(expansion, name);
}

/* The expression from text ("${") to end ("}"). */
static void expand_one(struct expansion *expansion, const char *text, const char *end)
{
	size_t len = (size_t)(end - text) - 2;
	const char *colon = memchr(text + 2, ':', len), *value;
	size_t name_len = colon != NULL ? (size_t)(colon - text) - 2 : len;
	char *name = xasprintf("%.*s", (int)name_len, text + 2);

	value = json_string_value(json_object_get(expansion->properties, name));
	if (stays(expansion, name, colon))
		put(expansion, text, (size_t)(end - text) + 1);
	else if (value != NULL)
		expand_value(expansion, name, value);
	else
		put_variable(expansion, name, colon != NULL);
	free(name);
}

static void expand(struct expansion *expansion, const char *text, size_t len)
{
	const char *end = text + len, *close;

	if (expansion->depth >= DEPTH_MAX)
		expansion->broken = true;
	expansion->depth++;
	while (text < end && !expansion->broken) {
		if (expansion->steps++ > STEPS_MAX)
			expansion->broken = true;
		if (text + 1 < end && (memcmp(text, "\\$", 2) == 0 || memcmp(text, "$$", 2) == 0)) {
			put(expansion, "$", 1);
			text += 2;
		} else if (text + 1 < end && memcmp(text, "${", 2) == 0 &&
			   (close = find_end(expansion, text, end)) != NULL) {
			expand_one(expansion, text, close);
			text = close + 1;
		} else {
			put(expansion, text++, 1);
		}
	}
	expansion->depth--;
}

/* Whether it is Debezium's or Quarkus', and no helper of others in the file. */
static bool is_option(const char *name)
{
	return strncmp(name, "debezium.", 9) == 0 || strncmp(name, "quarkus.", 8) == 0;
}

static void expand_property(struct expansion *expansion, json_t *properties, const char *name,
			    const char *text)
{
	expansion->name = name;
	expansion->len = 0;
	expansion->broken = strlen(text) > BYTES_MAX;
	expand(expansion, text, strlen(text));
	if (expansion->broken)
		import_note(expansion->notes, name, text,
			    "it refers to itself, or becomes too long; written as it is");
	else
		json_object_set_new(properties, name, json_stringn(expansion->out, expansion->len));
}

static void drop_helpers(json_t *properties, json_t *helpers)
{
	json_t *ignored;
	const char *name;

	json_object_foreach(helpers, name, ignored)
	{
		if (!is_option(name))
			json_object_del(properties, name);
	}
}

void debezium_expand(struct json_t *properties, struct import_notes *notes)
{
	struct expansion expansion = {
	    .notes = notes, .out = xmalloc(BYTES_MAX), .helpers = json_object()};
	json_t *from = json_deep_copy(properties), *value;
	const char *name;

	expansion.properties = from;
	json_object_foreach(from, name, value)
	{
		if (is_option(name) && strchr(json_string_value(value), '$') != NULL)
			expand_property(&expansion, properties, name, json_string_value(value));
	}
	drop_helpers(properties, expansion.helpers);
	json_decref(expansion.helpers);
	json_decref(from);
	free(expansion.out);
}
