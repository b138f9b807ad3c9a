/* SPDX-License-Identifier: ISC */
/*
 * config.c - the life of a configuration, and the values of its options
 */
#include "config.h"

#include "base/secret.h"
#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "table.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

union value {
	void *at;
	char **string;
	struct config_strings *strings;
	int *choice;
	int64_t *number;
	bool *boolean;
};

static union value value_of(const struct option *option, struct config *config)
{
	return (union value){.at = (char *)config + option->offset};
}

/* For reading only: the table's offsets do not carry const. */
static union value value_in(const struct option *option, const struct config *config)
{
	return value_of(option, (struct config *)(uintptr_t)config);
}

/* What a person wrote, made fit for one line of a message. */
struct quoted {
	char text[100];
};

static struct quoted quote(const char *shown)
{
	struct quoted quoted;

	if (snprintf(quoted.text, sizeof(quoted.text), "\"%s\"", shown) >=
	    (int)sizeof(quoted.text)) {
		text_print(quoted.text, sizeof(quoted.text) - 4, "\"%s", shown);
		strcat(quoted.text, "...\"");
	}
	for (char *c = quoted.text; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	return quoted;
}

static void print_number(const struct option *option, int64_t number, char *out, size_t size)
{
	char text[32];

	if (option->type == OPTION_INT) {
		snprintf(out, size, "%" PRId64, number);
		return;
	}
	if (option->type == OPTION_DURATION)
		units_print_duration(number, text, sizeof(text));
	else
		units_print_size(number, text, sizeof(text));
	snprintf(out, size, "\"%s\"", text);
}

static bool in_range(const struct option *option, int64_t number, const char *written,
		     struct error *err)
{
	char min[40], max[40];

	if (number >= option->min && number <= option->max)
		return true;
	print_number(option, option->min, min, sizeof(min));
	print_number(option, option->max, max, sizeof(max));
	if (option->min == option->max)
		return error_set(err, "%s is %s; the only value allowed is %s", option->path,
				 written, min);
	return error_set(err, "%s is %s, too %s; allowed are %s to %s", option->path, written,
			 number < option->min ? "small" : "large", min, max);
}

static bool set_number(const struct option *option, int64_t *at, const char *text,
		       const char *shown, struct error *err)
{
	struct quoted quoted = quote(shown);
	int64_t number = 0;

	if (option->type == OPTION_INT) {
		errno = 0;
		number = strtoll(text, NULL, 10);
		if (!in_range(option, number, text, err))
			return false;
	} else if (option->type == OPTION_DURATION) {
		if (!units_parse_duration(text, &number))
			return error_set(err,
					 "%s is %s, not a duration; write a whole number and a "
					 "unit (ms, s, m, h, d), such as \"%s\"",
					 option->path, quoted.text, option->fallback);
	} else if (!units_parse_size(text, &number)) {
		return error_set(err,
				 "%s is %s, not a size; write a whole number and a unit (B, KiB, "
				 "MiB, GiB), such as \"%s\"",
				 option->path, quoted.text, option->fallback);
	}
	if (option->type != OPTION_INT && !in_range(option, number, quoted.text, err))
		return false;
	*at = number;
	return true;
}

static bool set_choice(const struct option *option, int *at, const char *text, const char *shown,
		       struct error *err)
{
	const struct option_choice *choice;
	char allowed[120] = "";

	for (choice = option->choices; choice->name != NULL; choice++) {
		size_t used = strlen(allowed);

		if (strcmp(choice->name, text) == 0) {
			*at = choice->value;
			return true;
		}
		snprintf(allowed + used, sizeof(allowed) - used, "%s\"%s\"", used > 0 ? ", " : "",
			 choice->name);
	}
	return error_set(err, "%s is %s; allowed: %s", option->path, quote(shown).text, allowed);
}

/* The bounds and the shape of a string, which name stands for in messages. */
static bool check_string(const struct option *option, const char *name, const char *text,
			 struct error *err)
{
	int64_t len = (int64_t)strlen(text);
	struct error why;

	if (len < option->min)
		return error_set(err, "%s is empty; a value is needed, such as \"%s\"", name,
				 option->example != NULL ? option->example : option->fallback);
	if (len > option->max)
		return error_set(err, "%s has %" PRId64 " bytes; at most %" PRId64 " are allowed",
				 name, len, option->max);
	if (option->check != NULL && !option->check(text, &why))
		return error_set(err, "%s: %s", name, why.text);
	return true;
}

static bool set_string(const struct option *option, char **at, const char *text, struct error *err)
{
	assert(*at == NULL);
	*at = xstrdup(text);
	return check_string(option, option->path, text, err);
}

static bool append_string(const struct option *option, struct config_strings *strings,
			  const char *text, struct error *err)
{
	char name[80];

	/* A bad item is kept too: it counts, and the configuration it is in is thrown away. */
	strings->items = xrealloc(strings->items, (strings->count + 1) * sizeof(strings->items[0]));
	strings->items[strings->count++] = xstrdup(text);
	snprintf(name, sizeof(name), "%s, item %zu", option->path, strings->count);
	return check_string(option, name, text, err);
}

bool option_set(const struct option *option, struct config *config, const char *text,
		const char *shown, struct error *err)
{
	union value value = value_of(option, config);

	switch (option->type) {
	case OPTION_STRING:
		return set_string(option, value.string, text, err);
	case OPTION_STRINGS:
		return append_string(option, value.strings, text, err);
	case OPTION_ENUM:
		return set_choice(option, value.choice, text, shown, err);
	case OPTION_BOOL:
		*value.boolean = strcmp(text, "true") == 0;
		return true;
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_SIZE:
		break;
	}
	return set_number(option, value.number, text, shown, err);
}

void option_set_default(const struct option *option, struct config *config)
{
	const char *rest = option->fallback != NULL ? option->fallback : "";
	struct error err;

	if (option->type == OPTION_STRING && *rest == '\0') {
		*value_of(option, config).string = xstrdup("");
		return;
	}
	while (*rest != '\0') {
		size_t len = option->type == OPTION_STRINGS ? strcspn(rest, "\n") : strlen(rest);
		char *item = xasprintf("%.*s", (int)len, rest);
		bool right = option_set(option, config, item, item, &err);

		assert(right);
		(void)right;
		free(item);
		rest += len + (rest[len] != '\0');
	}
}

const char *option_string(const struct option *option, const struct config *config)
{
	union value value = value_in(option, config);

	if (option->type == OPTION_STRING)
		return *value.string;
	return value.strings->count > 0 ? value.strings->items[value.strings->count - 1] : NULL;
}

static bool strings_equal(const struct config_strings *a, const struct config_strings *b)
{
	bool equal = a->count == b->count;

	for (size_t i = 0; equal && i < a->count; i++)
		equal = strcmp(a->items[i], b->items[i]) == 0;
	return equal;
}

bool option_equal(const struct option *option, const struct config *a, const struct config *b)
{
	union value left = value_in(option, a), right = value_in(option, b);

	switch (option->type) {
	case OPTION_STRING:
		return strcmp(*left.string, *right.string) == 0;
	case OPTION_STRINGS:
		return strings_equal(left.strings, right.strings);
	case OPTION_ENUM:
		return *left.choice == *right.choice;
	case OPTION_BOOL:
		return *left.boolean == *right.boolean;
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_SIZE:
		break;
	}
	return *left.number == *right.number;
}

static size_t size_of(enum option_type type)
{
	switch (type) {
	case OPTION_STRING:
		return sizeof(char *);
	case OPTION_STRINGS:
		return sizeof(struct config_strings);
	case OPTION_ENUM:
		return sizeof(int);
	case OPTION_BOOL:
		return sizeof(bool);
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_SIZE:
		break;
	}
	return sizeof(int64_t);
}

void option_swap(const struct option *option, struct config *a, struct config *b)
{
	size_t size = size_of(option->type);
	char kept[sizeof(struct config_strings)];

	memcpy(kept, value_of(option, a).at, size);
	memcpy(value_of(option, a).at, value_of(option, b).at, size);
	memcpy(value_of(option, b).at, kept, size);
}

void option_clear(const struct option *option, struct config *config)
{
	union value value = value_of(option, config);

	if (option->type == OPTION_STRING) {
		secret_wipe(value.string);
	} else if (option->type == OPTION_STRINGS) {
		for (size_t i = 0; i < value.strings->count; i++)
			secret_wipe(&value.strings->items[i]);
		free(value.strings->items);
	}
	memset(value.at, 0, size_of(option->type));
}

/* ---- reloaded, freed ---- */

void config_free(struct config **config)
{
	if (*config == NULL)
		return;
	for (size_t i = 0; i < option_count; i++)
		option_clear(&options[i], *config);
	for (size_t i = 0; i < (*config)->secret_files.count; i++)
		free((*config)->secret_files.items[i]);
	free((*config)->secret_files.items);
	free(*config);
	*config = NULL;
}

void config_problems_free(struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		free(problems->items[i].text);
	free(problems->items);
	*problems = (struct config_problems){NULL, 0};
}

void config_reload(struct config *live, struct config *fresh,
		   void (*changed)(const char *path, bool applied, void *arg), void *arg)
{
	for (size_t i = 0; i < option_count; i++) {
		if (option_equal(&options[i], live, fresh))
			continue;
		if (options[i].reloadable)
			option_swap(&options[i], live, fresh);
		changed(options[i].path, options[i].reloadable, arg);
	}
}

void config_password(const struct config *config, struct secret_source *source)
{
	*source = (struct secret_source){
	    .file_option = "database.password_file",
	    .file = config->database.password_file,
	    .command_option = "database.password_command",
	    .command = config->database.password_command,
	};
}

static const char *const settle_words[] = {
    [SETTLE_DELETE] = "delete", [SETTLE_MARK] = "mark", [SETTLE_POSITION] = "position"};

const char *config_settle_word(int settle)
{
	return settle_words[settle];
}

int config_settle_of(const char *word)
{
	for (int settle = SETTLE_POSITION; settle > SETTLE_DELETE; settle--)
		if (strcmp(word, settle_words[settle]) == 0)
			return settle;
	return SETTLE_DELETE;
}
