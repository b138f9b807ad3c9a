/* SPDX-License-Identifier: ISC */
/*
 * import_rules.c - options that are carried over, or lost, by what their rules say
 */
#include "base/xalloc.h"
#include "import.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A value without the blanks around it; words are the same in any case of letters. malloc'd. */
static char *trimmed(const char *value)
{
	size_t len;

	value = debezium_bare(value, &len);
	return xasprintf("%.*s", (int)len, value);
}

static bool is_word(const char *value, const char *word, size_t len)
{
	return strlen(value) == len && strncasecmp(value, word, len) == 0;
}

/* Looks a value up in "theirs=ours|...", where "theirs=" stands for the same word, and "theirs" for
 * nothing but that it is there. malloc'd, or NULL. */
static char *look_up(const char *words, const char *value)
{
	for (;;) {
		size_t len = strcspn(words, "|"), theirs = strcspn(words, "=|");
		size_t ours = theirs < len ? len - theirs - 1 : 0;

		if (is_word(value, words, theirs))
			return ours > 0 ? xasprintf("%.*s", (int)ours, words + theirs + 1)
					: xasprintf("%.*s", (int)theirs, words);
		words += len;
		if (*words == '\0')
			return NULL;
		words++;
	}
}

char *import_word(struct import *import, const struct debezium_option *option)
{
	const struct debezium_rule *rule = option->rule;
	char *value, *word;

	if (rule->values == NULL)
		return import_text(import, option);
	value = trimmed(option->value);
	word = look_up(rule->values, value);
	free(value);
	if (word == NULL)
		import_note(import->notes, option->written, option->value, "%s",
			    rule->why != NULL
				? rule->why
				: "it is neither true nor false; Debezium takes it for "
				  "false");
	return word;
}

/* What is behind the group's name in the rule's target, or NULL. */
static const char *target_in(const struct debezium_rule *rule, const char *group)
{
	size_t len = strlen(group);

	if (rule->to == NULL || strncmp(rule->to, group, len) != 0 || rule->to[len] != '.')
		return NULL;
	return rule->to + len + 1;
}

static bool is_bare(const char *word)
{
	return strcmp(word, "true") == 0 || strcmp(word, "false") == 0;
}

/* Whether an option before it becomes the same, as where a newer name is beside an older one. */
static bool is_repeated(const struct import *import, size_t at)
{
	const struct debezium_option *options = import->from->options;

	for (size_t i = 0; i < at; i++)
		if (options[i].rule->to != NULL &&
		    strcmp(options[i].rule->to, options[at].rule->to) == 0)
			return true;
	return false;
}

void import_group(struct import *import, const char *group,
		  bool (*skip)(const struct import *import, const struct debezium_option *option))
{
	for (size_t i = 0; i < import->from->count; i++) {
		const struct debezium_option *option = &import->from->options[i];
		const char *target = target_in(option->rule, group);
		char *word;

		if (target == NULL || is_repeated(import, i) ||
		    (skip != NULL && skip(import, option)))
			continue;
		word = import_word(import, option);

		if (word != NULL && is_bare(word))
			conf_word(&import->conf, target, word, option->written);
		else if (word != NULL)
			conf_string(&import->conf, target, word, option->written);
		free(word);
	}
}

/* ---- lost ---- */

/* Without any blanks, as in "u, d"; malloc'd. */
static char *squeezed(const char *value)
{
	char *text = xstrdup(value), *out = text;

	for (; *value != '\0'; value++)
		if (!isspace((unsigned char)*value))
			*out++ = *value;
	*out = '\0';
	return text;
}

static bool is_harmless(const struct debezium_option *option)
{
	char *value, *word;
	bool harmless;

	if (option->rule->values == NULL)
		return false;
	value = squeezed(option->value);
	word = look_up(option->rule->values, value);
	harmless = word != NULL;
	free(value);
	free(word);
	return harmless;
}

/* With --dsn nothing of the database is taken from the file, so that nothing of it is lost. */
static bool is_replaced(const struct import *import, const struct debezium_option *option)
{
	return import->wishes->dsn != NULL && (strncmp(option->name, "database.", 9) == 0 ||
					       strncmp(option->name, "driver.", 7) == 0);
}

/* Whether what is made depends on which word it is. */
static bool is_choice(const struct debezium_rule *rule)
{
	return rule->chooses || (rule->fate == DEBEZIUM_CARRIED && rule->values != NULL);
}

void import_drop_references(struct import *import)
{
	static const struct debezium_rule nothing = {.fate = DEBEZIUM_NOTHING};

	for (size_t i = 0; i < import->from->count; i++) {
		struct debezium_option *option = &import->from->options[i];

		if (!is_choice(option->rule) || is_replaced(import, option) ||
		    !import_is_elsewhere(option->value))
			continue;
		import_note_elsewhere(import, option, NULL);
		option->rule = &nothing;
		json_object_del(import->from->index, option->name);
	}
}

static void note_transform(struct import *import, const char *alias, bool *before)
{
	char *name = xasprintf("transforms.%s.type", alias);
	const struct debezium_option *type = debezium_find(import->from, name);

	if (strcmp(alias, import->from->router) == 0)
		*before = false;
	else
		import_note(
		    import->notes, type != NULL ? type->written : name,
		    type != NULL ? type->value : NULL,
		    "the relay has no transforms; what this one does to %s must be done in the "
		    "application, or by route.headers, route.topic_regex or outbox.where",
		    *before ? "rows before the router" : "records behind the router");
	free(name);
}

static void note_transforms(struct import *import)
{
	const char *list = debezium_value(import->from, "transforms");
	bool before = true;
	char *alias;

	while ((alias = debezium_item(&list)) != NULL) {
		note_transform(import, alias, &before);
		free(alias);
	}
}

void import_note_lost(struct import *import)
{
	note_transforms(import);
	for (size_t i = 0; i < import->from->count; i++) {
		const struct debezium_option *option = &import->from->options[i];

		if (option->rule->fate == DEBEZIUM_LOST && !is_harmless(option) &&
		    !is_replaced(import, option))
			import_note(import->notes, option->written, option->value, "%s",
				    option->rule->why);
	}
}
