/* SPDX-License-Identifier: ISC */
/*
 * fuzz_expand.c - payloads of any bytes: what is expanded is JSON, and another parser reads it
 */
#include "core/expand.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_expand: %s\n", what);
	abort();
}

/* jansson wants UTF-8, which a database's text is. */
static bool is_text(const uint8_t *data, size_t size)
{
	json_t *text = json_stringn((const char *)data, size);
	bool good = text != NULL;

	json_decref(text);
	return good;
}

static void check_text(struct slice text, const struct expand_options *options)
{
	const size_t flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;
	struct arena arena = {0};
	struct buffer out = {0};
	const struct connect_schema *schema = NULL;
	struct connect_value value;
	struct error err = {""};
	json_error_t why;

	switch (expand(&arena, options, text, &schema, &value, &err)) {
	case EXPANDED:
		must(connect_json(&out, schema, &value), "a value without its schema");
		json_t *read = json_loadb(out.data, out.len, flags, &why);
		must(read != NULL, "what is expanded is no JSON");
		json_decref(read);
		buffer_clear(&out);
		connect_schema_json(&out, schema);
		connect_string(&out, schema, &value);
		break;
	case EXPAND_FAILED:
		must(err.text[0] != '\0', "no words for a refusal");
		break;
	case EXPAND_KEPT:
	case EXPAND_NO_SCHEMA:
		break;
	}
	buffer_free(&out);
	arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct expand_options dropping = {.name = {"payload", 7}};
	const struct expand_options keeping = {
	    .name = {"payload", 7}, .keeps_nulls = true, .keeps_empty_arrays = true};
	/* Of its own size, so that a byte too far is seen. */
	char *copy = malloc(size + 1);
	struct slice text = {memcpy(copy, data, size), size};

	copy[size] = '\0';
	if (is_text(data, size)) {
		check_text(text, &dropping);
		check_text(text, &keeping);
	}
	free(copy);
	return 0;
}
