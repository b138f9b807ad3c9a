/* SPDX-License-Identifier: ISC */
/*
 * standbys.c - outbox.publish_standbys: whose word counts
 */
#include "base/xalloc.h"
#include "table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *skip(const char *text)
{
	return text + strspn(text, " \t\n");
}

static bool is_plain(char c)
{
	return isalnum((unsigned char)c) || strchr("_-.$", c) != NULL || (unsigned char)c >= 0x80;
}

/* A name, in double quotes or not; malloc'd. NULL: there is none. *text goes on behind it. */
static char *take_name(const char **text)
{
	const char *at = *text, *end = at;
	if (*at != '"') {
		while (*end != '\0' && is_plain(*end))
			end++;
		*text = end;
		return end == at ? NULL : xasprintf("%.*s", (int)(end - at), at);
	}
	char *name = xstrdup("");
	for (end = at + 1; *end != '\0' && (*end != '"' || end[1] == '"'); end++) {
		xappend(&name, "%c", *end);
		end += *end == '"';
	}
	if (*end != '"' || *name == '\0') {
		free(name);
		return NULL;
	}
	*text = end + 1;
	return name;
}

/* False if it is there already; standbys are known by their names. */
static bool add(struct config_standbys *standbys, char *name)
{
	struct config_strings *names = &standbys->names;
	for (size_t i = 0; i < names->count; i++)
		if (strcasecmp(names->items[i], name) == 0)
			return false;
	names->items = xrealloc(names->items, (names->count + 1) * sizeof(*names->items));
	names->items[names->count++] = name;
	return true;
}

/* "a, b)" up to the end. */
static bool take_names(const char *text, struct config_standbys *standbys)
{
	for (;;) {
		text = skip(text);
		char *name = take_name(&text);
		if (name == NULL)
			return false;
		if (!add(standbys, name)) {
			free(name);
			return false;
		}
		text = skip(text);
		if (*text == ')')
			return *skip(text + 1) == '\0';
		if (*text++ != ',')
			return false;
	}
}

/* "ANY 2 (a, b, c)" */
static bool take_quorum(const char *text, struct config_standbys *standbys)
{
	char *end;
	if (strncasecmp(text, "any", 3) != 0 || skip(text + 3) == text + 3)
		return false;
	standbys->needed = strtol(text + 3, &end, 10);
	end = (char *)(uintptr_t)skip(end);
	return *end == '(' && take_names(end + 1, standbys) && standbys->needed >= 1 &&
	       (size_t)standbys->needed <= standbys->names.count;
}

/* The one standby. */
static bool take_single(const char *text, struct config_standbys *standbys)
{
	char *name = take_name(&text);
	standbys->needed = 1;
	return name != NULL && add(standbys, name) && *skip(text) == '\0';
}

bool config_standbys_read(const char *text, struct config_standbys *standbys, struct error *err)
{
	*standbys = (struct config_standbys){0};
	text = skip(text);
	if (*text == '\0' || take_quorum(text, standbys))
		return true;
	config_standbys_free(standbys);
	if (take_single(text, standbys))
		return true;
	config_standbys_free(standbys);
	return error_set(
	    err,
	    "\"%s\" does not say whose word counts; write \"ANY 1 (standby1, standby2)\", "
	    "so many of these by their application_name, or the name of a single one",
	    text);
}

void config_standbys_free(struct config_standbys *standbys)
{
	for (size_t i = 0; i < standbys->names.count; i++)
		free(standbys->names.items[i]);
	free(standbys->names.items);
	*standbys = (struct config_standbys){0};
}

char *config_standbys_join(const struct config_standbys *standbys)
{
	char *text = xstrdup("");
	for (size_t i = 0; i < standbys->names.count; i++)
		xappend(&text, "%s%s", i > 0 ? "\x1f" : "", standbys->names.items[i]);
	return text;
}

bool config_check_standbys(const char *text, struct error *err)
{
	struct config_standbys standbys;
	bool good = config_standbys_read(text, &standbys, err);
	config_standbys_free(&standbys);
	return good;
}
