/* SPDX-License-Identifier: ISC */
/*
 * xalloc.c - allocation that aborts instead of failing
 */
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
	static const char words[] = "outbox-relay: out of memory\n";

	if (memory == NULL) {
		/* No logging here: it might allocate. */
		fwrite(words, 1, sizeof(words) - 1, stderr);
		abort();
	}
	return memory;
}

/* malloc(0) may be NULL without being out of memory. */
void *xmalloc(size_t size)
{
	return must(malloc(size ? size : 1));
}

void *xcalloc(size_t count, size_t size)
{
	return must(count && size ? calloc(count, size) : calloc(1, 1));
}

void *xrealloc(void *old, size_t size)
{
	return must(realloc(old, size ? size : 1));
}

char *xstrdup(const char *text)
{
	return must(strdup(text));
}

char *xvasprintf(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	return must(text);
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = xvasprintf(format, args);
	va_end(args);
	return text;
}

void xappend(char **text, const char *format, ...)
{
	va_list args;
	char *more, *longer;

	va_start(args, format);
	more = xvasprintf(format, args);
	va_end(args);
	longer = xasprintf("%s%s", *text, more);
	free(more);
	free(*text);
	*text = longer;
}
