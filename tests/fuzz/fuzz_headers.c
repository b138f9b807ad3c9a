/* SPDX-License-Identifier: ISC */
/*
 * fuzz_headers.c - headers_parse on any bytes, held against another JSON parser
 */
#include "core/headers.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_headers: %s\n", what);
	abort();
}

static bool has_control(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c == 0x7F ||
		    (c == 0xC2 && i + 1 < len && (unsigned char)name[i + 1] < 0xA0))
			return true;
	}
	return false;
}

/* Whether the object is one that headers_parse must take. */
static bool is_flat(json_t *object)
{
	void *it;

	if (!json_is_object(object) || json_object_size(object) > 1000)
		return false;
	for (it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
		const char *name = json_object_iter_key(it);
		json_t *value = json_object_iter_value(it);

		if (json_is_object(value) || json_is_array(value) ||
		    has_control(name, strlen(name)))
			return false;
	}
	return true;
}

static bool same_value(struct slice ours, json_t *theirs)
{
	if (json_is_null(theirs))
		return ours.data == NULL;
	if (ours.data == NULL)
		return false;
	if (json_is_string(theirs))
		return ours.len == json_string_length(theirs) &&
		       memcmp(ours.data, json_string_value(theirs), ours.len) == 0;
	if (json_is_boolean(theirs))
		return slice_equal(ours, slice_of(json_is_true(theirs) ? "true" : "false"));
	return ours.len > 0 &&
	       (ours.data[0] == '-' || (ours.data[0] >= '0' && ours.data[0] <= '9'));
}

static void compare(const struct headers *headers, json_t *object)
{
	void *it = json_object_iter(object);

	must(headers->count == json_object_size(object), "the number of headers differs");
	for (size_t i = 0; i < headers->count; i++, it = json_object_iter_next(object, it)) {
		must(slice_equal(headers->items[i].name, slice_of(json_object_iter_key(it))),
		     "a name differs");
		must(same_value(headers->items[i].value, json_object_iter_value(it)),
		     "a value differs");
	}
}

/* Two parses into one list: the first one's headers must survive the growth for the second. */
static void parse_again(struct headers *headers, struct slice json, struct slice first_value)
{
	size_t count = headers->count;
	char *copy = first_value.data ? malloc(first_value.len + 1) : NULL;
	struct error err;

	if (copy != NULL)
		memcpy(copy, first_value.data, first_value.len);
	must(headers_parse(headers, json, &err), "a second parse fails");
	must(headers->count == 2 * count, "a second parse differs");
	must(slice_equal(headers->items[0].value, (struct slice){copy, first_value.len}),
	     "a second parse spoils the first");
	free(copy);
}

static void check_error(const struct error *err)
{
	must(strncmp(err->text, "headers ", 8) == 0, "no words for a refusal");
	must(!has_control(err->text, strlen(err->text)), "a control character in a message");
}

static void check(struct slice json)
{
	struct headers headers = {0};
	struct error err = {""};
	json_error_t problem;
	bool ok = headers_parse(&headers, json, &err);
	json_t *any = json_loadb(json.data, json.len, JSON_ALLOW_NUL, &problem);
	json_t *unique;

	if (!ok)
		check_error(&err);
	/* No JSON has such a byte; the other parser swallows one behind a number. */
	if (memchr(json.data, '\0', json.len) != NULL) {
		must(!ok, "taken with a NUL byte");
		json_decref(any);
		headers_free(&headers);
		return;
	}
	/* It cannot hold every number; ours go out as written. */
	must(!ok || any != NULL || json_error_code(&problem) == json_error_numeric_overflow,
	     "taken, and the other parser refuses it");
	unique = json_loadb(json.data, json.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &problem);
	must(ok || unique == NULL || !is_flat(unique), "refused, and it is a flat object");
	if (ok && unique != NULL)
		compare(&headers, unique);
	if (ok && headers.count > 0)
		parse_again(&headers, json, headers.items[0].value);
	json_decref(any);
	json_decref(unique);
	headers_free(&headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of its own: reading past the end is then seen. */
	char *copy = malloc(size ? size : 1);

	memcpy(copy, data ? (const void *)data : "", size);
	check((struct slice){copy, size});
	free(copy);
	return 0;
}
