/* SPDX-License-Identifier: ISC */
/*
 * import_notes.c - what could not be carried over, a line for each option
 */
#include "import_notes.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SHOWN = 120, VALUE_SHOWN = 100, WORDS_SHOWN = 700 };

static bool matches(const char *text, const char *const *patterns, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fnmatch(patterns[i], text, FNM_CASEFOLD) == 0)
			return true;
	return false;
}

/* Whether a value may be a secret, or hold one: by the option's name, or as in a URL. */
static bool is_secret(const char *option, const char *value)
{
	static const char *const names[] = {
	    "*pass*", "*pwd*",	       "*secret*",     "*jaas*",    "*token*",
	    "*cred*", "*keystore.key", "*basic.auth*", "*private*", "*api*key*",
	};
	static const char *const values[] = {"*://*:*@*", "*password*=*", "*-----BEGIN*"};

	char *beginning = xasprintf("%.*s", 4 * VALUE_SHOWN, value);
	bool secret = matches(option, names, sizeof(names) / sizeof(names[0])) ||
		      matches(beginning, values, sizeof(values) / sizeof(values[0]));

	free(beginning);
	return secret;
}

/* Control characters could do something to a terminal. */
static void blank_controls(char *text)
{
	size_t len;

	for (; *text != '\0'; text += len) {
		len = text_character(text, strnlen(text, 4));
		if (text_is_control(text, len))
			memset(text, ' ', len);
	}
}

char *import_shown(const char *text, size_t size)
{
	char *clean = text_clean(text), *shown = xmalloc(size);
	char *line;

	text_print(shown, size, "%s", clean);
	blank_controls(shown);
	line = xasprintf("%s%s", shown, strlen(clean) >= size ? "..." : "");
	free(clean);
	free(shown);
	return line;
}

static void append_shown(char **line, const char *text, size_t size)
{
	char *shown = import_shown(text, size);

	xappend(line, "%s", shown);
	free(shown);
}

static void append_value(char **line, const char *option, const char *value)
{
	if (is_secret(option, value)) {
		xappend(line, " = (not shown)");
		return;
	}
	xappend(line, " = \"");
	append_shown(line, value, VALUE_SHOWN);
	xappend(line, "\"");
}

void import_note(struct import_notes *notes, const char *option, const char *value,
		 const char *format, ...)
{
	char *line = xstrdup(""), words[WORDS_SHOWN];
	va_list args;

	append_shown(&line, option, NAME_SHOWN);
	if (value != NULL)
		append_value(&line, option, value);
	va_start(args, format);
	text_vprint(words, sizeof(words), format, args);
	va_end(args);
	xappend(&line, ": ");
	append_shown(&line, words, sizeof(words));
	notes->lines = xrealloc(notes->lines, (notes->count + 1) * sizeof(*notes->lines));
	notes->lines[notes->count++] = line;
}

void import_notes_free(struct import_notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		free(notes->lines[i]);
	free(notes->lines);
	*notes = (struct import_notes){NULL, 0};
}
