/* SPDX-License-Identifier: ISC */
/*
 * fuzz_properties.c - any bytes as a file of properties: refused with words, or read; and what was
 * read, written with every character escaped, is read again as the same
 */
#include "commands/properties.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_properties: %s\n", what);
	abort();
}

struct entries {
	char *keys[64], *values[64];
	size_t count;
};

static void keep(const char *key, const char *value, void *arg)
{
	struct entries *entries = arg;

	if (entries->count == 64)
		return;
	entries->keys[entries->count] = xstrdup(key);
	entries->values[entries->count++] = xstrdup(value);
}

static void entries_free(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++) {
		free(entries->keys[i]);
		free(entries->values[i]);
	}
}

static uint32_t character_at(const char *text, size_t len)
{
	static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = (unsigned char)*text & masks[len];

	for (size_t i = 1; i < len; i++)
		c = c << 6 | ((unsigned char)text[i] & 0x3f);
	return c;
}

/* Each character as Java escapes it. */
static char *escape(char *out, const char *text)
{
	size_t len;

	for (; *text != '\0'; text += len) {
		uint32_t c;

		len = text_character(text, strnlen(text, 4));
		must(len > 0, "what was read is no UTF-8");
		c = character_at(text, len);
		if (c >= 0x10000)
			out += sprintf(out, "\\u%04X\\u%04x", 0xd7c0 + (c >> 10),
				       0xdc00 + (c & 0x3ff));
		else
			out += sprintf(out, "\\u%04x", c);
	}
	return out;
}

static size_t length_of(const struct entries *entries)
{
	size_t length = 1;

	for (size_t i = 0; i < entries->count; i++)
		length += 6 * (strlen(entries->keys[i]) + strlen(entries->values[i])) + 8;
	return length;
}

/* An empty key and value make an empty line, which is none; so there is always a "=". */
static char *write_all(const struct entries *entries)
{
	char *text = xmalloc(length_of(entries)), *out = text;

	for (size_t i = 0; i < entries->count; i++) {
		out = escape(out, entries->keys[i]);
		out += sprintf(out, " = ");
		out = escape(out, entries->values[i]);
		out += sprintf(out, "\r\n");
	}
	*out = '\0';
	return text;
}

static void must_be_equal(const struct entries *a, const struct entries *b)
{
	must(a->count == b->count, "another number of entries");
	for (size_t i = 0; i < a->count; i++) {
		must(strcmp(a->keys[i], b->keys[i]) == 0, "another key");
		must(strcmp(a->values[i], b->values[i]) == 0, "another value");
	}
}

static void read_again(const struct entries *entries)
{
	struct entries again = {.count = 0};
	char *text = write_all(entries);
	struct error err;

	must(properties_read(text, keep, &again, &err), "what was written is refused");
	must_be_equal(entries, &again);
	entries_free(&again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct entries entries = {.count = 0};
	char *text = xcalloc(size + 1, 1);
	struct error err = {""};
	bool right;

	if (size > 0)
		memcpy(text, data, size);
	right = properties_read(text, keep, &entries, &err);
	must(right || err.text[0] != '\0', "no words for a refusal");
	read_again(&entries);
	entries_free(&entries);
	free(text);
	return 0;
}
