/*
 * number.c - whole numbers in a configuration's text that libconfig would cut to 32 bits
 * without a word
 */
#include "table.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* To behind the terminator, or to the end. */
static size_t span_to(const char *p, size_t skip, const char *terminator)
{
	const char *end = strstr(p + skip, terminator);

	return end != NULL ? (size_t)(end - p) + strlen(terminator) : strlen(p);
}

static size_t span_string(const char *p)
{
	size_t len = 1;

	while (p[len] != '\0' && p[len] != '"')
		len += p[len] == '\\' && p[len + 1] != '\0' ? 2 : 1;
	return len + (p[len] == '"');
}

/* What is no number at p: a comment, a string, a name, or one character. */
static size_t span_other(const char *p)
{
	size_t len = 0;

	if (*p == '"')
		return span_string(p);
	if (p[0] == '/' && p[1] == '*')
		return span_to(p, 2, "*/");
	if (*p == '#' || (p[0] == '/' && p[1] == '/'))
		return strcspn(p, "\n");
	while (isalnum((unsigned char)p[len]) || p[len] == '_' || p[len] == '-' || p[len] == '*')
		len++;
	return len > 0 && isalpha((unsigned char)*p) ? len : 1;
}

/* A number with a fraction or with an L is not cut. */
static bool is_cut(const char *p, size_t *len)
{
	bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(p, &end, hex ? 16 : 10);
	*len = (size_t)(end - p);
	if (!hex && *end != '\0' && strchr(".eE", *end) != NULL) {
		*len += strspn(end, ".eE+-0123456789");
		return false;
	}
	return *end != 'L' && (number > INT32_MAX || errno == ERANGE);
}

const char *config_cut_number(const char *text, unsigned *line, size_t *len)
{
	size_t span;

	for (const char *p = text; *p != '\0'; p += span) {
		if (isdigit((unsigned char)*p)) {
			if (is_cut(p, &span)) {
				*len = span;
				return p;
			}
			continue;
		}
		span = span_other(p);
		for (size_t i = 0; i < span; i++)
			*line += p[i] == '\n';
	}
	return NULL;
}
