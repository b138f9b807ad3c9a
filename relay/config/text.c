/* SPDX-License-Identifier: ISC */
/*
 * text.c - ${env:NAME} and ${file:PATH} in a string; and whole numbers that libconfig would cut to
 * 32 bits without a word
 */
#include "base/secret_text.h"
#include "base/xalloc.h"
#include "table.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *from_environment(const char *name, struct error *err)
{
	const char *value = getenv(name);

	if (value != NULL)
		return xstrdup(value);
	error_set(err, "the environment variable %s is not set", name);
	return NULL;
}

char *config_path(const char *name, const char *directory)
{
	return name[0] == '/' ? xstrdup(name) : xasprintf("%s/%s", directory, name);
}

static char *from_file(const char *name, const char *directory, struct error *err)
{
	char *path = config_path(name, directory);
	struct error why;
	char *text = secret_slurp(path, CONFIG_FILE_MAX, &why);

	if (text == NULL)
		error_set(err, "cannot read secret file %s: %s", path, why.text);
	else
		secret_trim(text);
	free(path);
	return text;
}

/* The value of the reference whose name is the len bytes at name. */
static char *look_up(bool environment, const char *name, size_t len, const char *directory,
		     struct error *err)
{
	char *copy, *value;

	if (len == 0) {
		error_set(err, "${%s:} names nothing", environment ? "env" : "file");
		return NULL;
	}
	copy = xasprintf("%.*s", (int)len, name);
	value = environment ? from_environment(copy, err) : from_file(copy, directory, err);
	free(copy);
	return value;
}

/* Appends, and leaves no copy of the old text behind. */
static void append(char **text, const char *more, size_t len)
{
	char *longer = xasprintf("%s%.*s", *text, (int)len, more);

	secret_wipe(text);
	*text = longer;
}

/* The next ${env: or ${file: from at on, or NULL. */
static const char *find_reference(const char *at, bool *environment, const char **name)
{
	for (at = strstr(at, "${"); at != NULL; at = strstr(at + 2, "${")) {
		*environment = strncmp(at, "${env:", 6) == 0;
		*name = at + (*environment ? 6 : 7);
		if (*environment || strncmp(at, "${file:", 7) == 0)
			return at;
	}
	return NULL;
}

char *config_expand(const char *text, const char *directory, struct error *err)
{
	const char *reference, *name, *end;
	char *all = xstrdup(""), *value;
	bool environment;

	while ((reference = find_reference(text, &environment, &name)) != NULL) {
		append(&all, text, (size_t)(reference - text));
		end = strchr(name, '}');
		if (end == NULL) {
			error_set(err, "${%s: has no closing }", environment ? "env" : "file");
			secret_wipe(&all);
			return NULL;
		}
		value = look_up(environment, name, (size_t)(end - name), directory, err);
		if (value == NULL) {
			secret_wipe(&all);
			return NULL;
		}
		append(&all, value, strlen(value));
		secret_wipe(&value);
		text = end + 1;
	}
	append(&all, text, strlen(text));
	return all;
}

/* ---- who else may read it ---- */

void config_note_files(const char *text, const char *directory, struct config_strings *files)
{
	const char *name, *end;
	bool environment;

	for (; find_reference(text, &environment, &name) != NULL; text = end) {
		end = name + strcspn(name, "}");
		if (environment || end == name)
			continue;
		char *copy = xasprintf("%.*s", (int)(end - name), name);
		files->items = xrealloc(files->items, (files->count + 1) * sizeof(*files->items));
		files->items[files->count++] = config_path(copy, directory);
		free(copy);
	}
}

/* Behind these a value follows, perhaps in quotes. */
static bool has_value(const char *text, const char *name)
{
	for (text = strstr(text, name); text != NULL; text = strstr(text + 1, name)) {
		const char *value = text + strlen(name);

		value += strspn(value, " ='\"");
		if (*value != '\0' && strncmp(value, "${", 2) != 0)
			return true;
	}
	return false;
}

/* "scheme://user:password@..." */
static bool has_login(const char *text)
{
	const char *user = strstr(text, "://"), *colon;
	size_t len;

	if (user == NULL)
		return false;
	user += 3;
	len = strcspn(user, "@");
	colon = memchr(user, ':', len);
	return user[len] == '@' && colon != NULL && strncmp(colon + 1, "${", 2) != 0;
}

bool config_holds_secret(const char *text)
{
	return has_value(text, "password=") || has_value(text, "password =") ||
	       has_value(text, ".secret=") || has_login(text);
}

/* ---- numbers ---- */

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
