/* SPDX-License-Identifier: ISC */
/*
 * dlq_text.c - what was in an event, as text that does a terminal no harm; tables
 */
#include "dlq_text.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ESCAPED_MAX = 10 }; /* bytes for one character or byte: \u{10ffff} */

static uint32_t code_of(const char *text, size_t len)
{
	static const unsigned char first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t code = (unsigned char)text[0] & first[len];

	for (size_t i = 1; i < len; i++)
		code = code << 6 | ((unsigned char)text[i] & 0x3f);
	return code;
}

/* Those of no width that are no accents turn the direction of writing, or hide. */
static bool hides(uint32_t c)
{
	return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0x061c ||
	       (c >= 0xe0000 && c <= 0xe007f);
}

static const char *named(char c)
{
	return c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : NULL;
}

/* Prints one character, or one byte that is none; how many bytes of text it took. */
static size_t escape_one(const char *text, size_t room, char out[ESCAPED_MAX + 1])
{
	size_t len = text_character(text, room);

	if (named(*text))
		snprintf(out, ESCAPED_MAX + 1, "%s", named(*text));
	else if (len == 0 || text_is_control(text, len))
		snprintf(out, ESCAPED_MAX + 1, "\\x%02x",
			 len == 2 ? (unsigned char)text[1] : (unsigned char)text[0]);
	else if (hides(code_of(text, len)))
		snprintf(out, ESCAPED_MAX + 1, "\\u{%x}", (unsigned)code_of(text, len));
	else
		snprintf(out, ESCAPED_MAX + 1, "%.*s", (int)len, text);
	return len ? len : 1;
}

char *dlq_escape_bytes(const char *bytes, size_t len)
{
	char *escaped = xmalloc(len * 4 + ESCAPED_MAX + 1), *out = escaped;

	for (size_t i = 0; i < len;) {
		i += escape_one(bytes + i, len - i, out);
		out += strlen(out);
	}
	*out = '\0';
	return escaped;
}

char *dlq_escape(const char *text)
{
	return dlq_escape_bytes(text, strlen(text));
}

bool dlq_is_text(const char *bytes, size_t len)
{
	for (size_t i = 0, one; i < len; i += one) {
		one = text_character(bytes + i, len - i);
		if (one == 0 || bytes[i] == '\0')
			return false;
	}
	return true;
}

/* ---- tables ---- */

static size_t characters(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

/* Cuts it behind so many characters. */
static void cut(char *text, size_t max)
{
	size_t count = 0;

	for (; *text; text++) {
		if (((unsigned char)*text & 0xc0) == 0x80)
			continue;
		if (count++ == max)
			break;
	}
	*text = '\0';
}

void dlq_table_add(struct dlq_table *table, size_t max, const char *text)
{
	char *cell = dlq_escape(text);

	if (characters(cell) > max) {
		cut(cell, max - 3);
		xappend(&cell, "...");
	}
	table->cells = xrealloc(table->cells, (table->count + 1) * sizeof(*table->cells));
	table->cells[table->count++] = cell;
}

static void measure(const struct dlq_table *table, size_t *widths)
{
	for (size_t i = 0; i < table->count; i++) {
		size_t width = characters(table->cells[i]), column = i % table->columns;

		if (width > widths[column])
			widths[column] = width;
	}
}

char *dlq_table_draw(struct dlq_table *table)
{
	size_t *widths = xcalloc(table->columns, sizeof(*widths)), len = 0, size = 1;
	char *out;

	measure(table, widths);
	for (size_t i = 0; i < table->count; i++)
		size += strlen(table->cells[i]) + widths[i % table->columns] + 2;
	out = xmalloc(size);
	out[0] = '\0';
	for (size_t i = 0; i < table->count; i++) {
		size_t column = i % table->columns, pad = 0;

		if (column + 1 < table->columns)
			pad = widths[column] + 2 - characters(table->cells[i]);
		len += (size_t)snprintf(out + len, size - len, "%s%*s%s", table->cells[i], (int)pad,
					"", column + 1 < table->columns ? "" : "\n");
		free(table->cells[i]);
	}
	free(table->cells);
	free(widths);
	*table = (struct dlq_table){0};
	return out;
}
