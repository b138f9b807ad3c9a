/* SPDX-License-Identifier: ISC */
/*
 * lines.c - text from anywhere as lines of a terminal: wrapped, counted and harmless
 */
#include "lines.h"

#include "base/xalloc.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* No entry takes the screen from the others, however long a name is. */
enum { ENTRY_LINES = 4, CELLS_MAX = 4096, LABEL = 14 };

/* One character. */
struct cell {
	char bytes[8];
	int width;
};

/* Those of width 0 that are no accents turn the direction of writing, or hide. */
static bool is_shown(wchar_t c)
{
	return !(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) &&
	       !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff && wcwidth(c) >= 0;
}

/* How many bytes it takes; at least one. */
static size_t take(const char *text, size_t len, struct cell *cell)
{
	mbstate_t start;
	wchar_t c = 0;
	size_t bytes;

	memset(&start, 0, sizeof(start));
	bytes = mbrtowc(&c, text, len, &start);
	*cell = (struct cell){"\xef\xbf\xbd", 1};
	if (bytes == 0 || bytes > sizeof(cell->bytes) - 1)
		return 1;
	if (is_shown(c)) {
		*cell = (struct cell){"", wcwidth(c)};
		memcpy(cell->bytes, text, bytes);
	}
	return bytes;
}

static size_t take_ascii(const char *text, struct cell *cell)
{
	size_t bytes = 1;

	*cell = (struct cell){"?", 1};
	if (*text >= ' ' && *text <= '~')
		cell->bytes[0] = *text;
	else if ((*text & 0xc0) == 0xc0)
		while ((text[bytes] & 0xc0) == 0x80)
			bytes++;
	return bytes;
}

static size_t cells_of(const char *text, bool unicode, struct cell *cells)
{
	size_t left = strlen(text), bytes, count = 0;

	for (; left > 0 && count < CELLS_MAX; text += bytes, left -= bytes, count++) {
		if (unicode)
			bytes = take(text, left, &cells[count]);
		else
			bytes = take_ascii(text, &cells[count]);
		if (*text == '\n' || *text == '\t')
			cells[count] = (struct cell){" ", 1};
	}
	return count;
}

/* Behind the last of them that has room in width: before a word, or within one that is longer. */
static size_t end_of_line(const struct cell *cells, size_t from, size_t count, int width)
{
	size_t at, space = 0;
	int filled = 0;

	for (at = from; at < count; at++) {
		filled += cells[at].width;
		if (filled > width)
			break;
		if (cells[at].bytes[0] == ' ')
			space = at + 1;
	}
	if (at == count || space <= from)
		return at > from ? at : from + 1;
	return space;
}

static void append(struct lines *lines, enum tone tone, char *text)
{
	lines->items = xrealloc(lines->items, (lines->count + 1) * sizeof(*lines->items));
	lines->items[lines->count++] = (struct line){text, tone};
}

static void wrap(struct lines *lines, enum tone tone, const char *label, struct cell *cells,
		 size_t count)
{
	int width = lines->columns - LABEL - 1;
	size_t from = 0, to;

	width = width < 4 ? 4 : width;
	for (int n = 1; n <= ENTRY_LINES && (from < count || n == 1); n++, from = to) {
		char *text = xasprintf("%-*.*s ", LABEL, LABEL, n == 1 ? label : "");
		bool cut;

		to = end_of_line(cells, from, count, width);
		cut = n == ENTRY_LINES && to < count;
		if (cut)
			to = end_of_line(cells, from, count, width - 3);
		for (size_t i = from; i < to && i < count; i++)
			xappend(&text, "%s", cells[i].bytes);
		if (cut)
			xappend(&text, "...");
		append(lines, tone, text);
	}
}

void lines_add(struct lines *lines, enum tone tone, const char *label, const char *format, ...)
{
	struct cell *cells = xcalloc(CELLS_MAX, sizeof(*cells));
	va_list args;
	char *text;

	va_start(args, format);
	text = xvasprintf(format, args);
	va_end(args);
	wrap(lines, tone, label, cells, cells_of(text, lines->unicode, cells));
	free(text);
	free(cells);
}

void lines_free(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		free(lines->items[i].text);
	free(lines->items);
	lines->items = NULL;
	lines->count = 0;
}
