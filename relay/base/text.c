/* SPDX-License-Identifier: ISC */
/*
 * text.c - UTF-8: characters, and text that is cut between two of them
 */
#include "base/text.h"

#include "base/xalloc.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t wanted_by(unsigned char first)
{
	if (first < 0x80)
		return 1;
	return first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

static bool continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

size_t text_character(const char *text, size_t room)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = wanted_by(s[0]);

	if (len > room)
		return 0;
	for (size_t i = 1; i < len; i++)
		if (!continues(text[i]))
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

bool text_is_control(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	return *s < 0x20 || *s == 0x7f || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

char *text_clean(const char *text)
{
	char *clean = xmalloc(strlen(text) * strlen(TEXT_REPLACEMENT) + 1), *out = clean;

	while (*text != '\0') {
		size_t len = text_character(text, 4);

		memcpy(out, len ? text : TEXT_REPLACEMENT, len ? len : strlen(TEXT_REPLACEMENT));
		out += len ? len : strlen(TEXT_REPLACEMENT);
		text += len ? len : 1;
	}
	*out = '\0';
	return clean;
}

json_t *json_text(const char *text)
{
	char *clean = text ? text_clean(text) : NULL;
	json_t *json = clean ? json_string(clean) : json_null();

	free(clean);
	return json;
}

/* Takes the beginning of a character off that has lost its end. */
static void end_between_characters(char *text)
{
	size_t len = strlen(text), at = len;

	while (at > 0 && len - at < 3 && continues(text[at - 1]))
		at--;
	if (at > 0 && wanted_by((unsigned char)text[at - 1]) > len - at + 1)
		text[at - 1] = '\0';
}

void text_vprint(char *out, size_t size, const char *format, va_list args)
{
	int needed = vsnprintf(out, size, format, args);

	if (needed >= 0 && (size_t)needed >= size)
		end_between_characters(out);
}

void text_print(char *out, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text_vprint(out, size, format, args);
	va_end(args);
}
