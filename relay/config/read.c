/* SPDX-License-Identifier: ISC */
/*
 * read.c - reads a configuration file, and says all that is wrong with it
 */
#include "base/secret_text.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "table.h"

#include <libconfig.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INCLUDES_MAX = 100 };

/* Where something stands. rank is the order of reading, in which problems are listed. */
struct place {
	const char *directory, *separator, *file; /* printed one after the other */
	unsigned line;				  /* 0: nowhere, as what is missing */
	size_t rank;
};

/* A string that is right in itself. */
struct reading {
	const struct option *option;
	const char *text; /* borrowed from the configuration */
	struct place place;
};

struct reader {
	const char *path;
	char *directory; /* owned; of path */
	struct config *config;
	struct config_problems *problems;
	size_t *ranks;	      /* owned; of the problems */
	struct place *places; /* owned; of each option, with line 0 where it is not in the file */
	struct place *homes;  /* owned; of each option, the group it belongs to, likewise */
	struct reading *readings; /* owned; what is to be judged once all is read */
	size_t reading_count;
	size_t rank; /* of the last setting visited */
};

static bool check_includes(struct reader *reader, const char *included, const char *text,
			   int *left);
static void add_problem(struct reader *reader, struct place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Keeps the list in the order of places, for what is only found at the end. */
static void insert_problem(struct reader *reader, size_t rank, char *text)
{
	struct config_problems *problems = reader->problems;
	size_t at = problems->count++;

	problems->items = xrealloc(problems->items, problems->count * sizeof(problems->items[0]));
	reader->ranks = xrealloc(reader->ranks, problems->count * sizeof(reader->ranks[0]));
	for (; at > 0 && reader->ranks[at - 1] > rank; at--) {
		problems->items[at] = problems->items[at - 1];
		reader->ranks[at] = reader->ranks[at - 1];
	}
	problems->items[at].text = text;
	reader->ranks[at] = rank;
}

static void add_problem(struct reader *reader, struct place place, const char *format, ...)
{
	va_list args;
	struct error what;
	char *text;

	va_start(args, format);
	text_vprint(what.text, sizeof(what.text), format, args);
	va_end(args);
	if (place.line > 0)
		text = xasprintf("%s%s%s:%u: %s", place.directory, place.separator, place.file,
				 place.line, what.text);
	else
		text = xasprintf("%s: %s", place.file, what.text);
	insert_problem(reader, place.rank, text);
}

/* libconfig gives an included file as @include names it, and the file itself as NULL. */
static struct place place_at(struct reader *reader, const char *included, unsigned line)
{
	struct place place = {"", "", reader->path, line, reader->rank};

	if (included != NULL) {
		place.directory = reader->directory;
		place.separator = "/";
		place.file = included;
	}
	return place;
}

/*
 * libconfig names an included file as @include does; since 1.7 with the directory of
 * config_set_include_dir before it (config_default_include_func).
 */
static const char *as_included(const struct reader *reader, const char *file)
{
	bool with_directory = LIBCONFIG_VER_MAJOR > 1 || LIBCONFIG_VER_MINOR >= 7;

	if (file == NULL || !with_directory)
		return file;
	return file + strlen(reader->directory) + strlen("/");
}

static struct place place_of(struct reader *reader, const config_setting_t *setting)
{
	return place_at(reader, as_included(reader, config_setting_source_file(setting)),
			config_setting_source_line(setting));
}

static const char *type_of(const config_setting_t *setting)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_GROUP:
		return "a group";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "a whole number";
	case CONFIG_TYPE_FLOAT:
		return "a number with a fraction";
	case CONFIG_TYPE_STRING:
		return "a string";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	default:
		return "a list";
	}
}

static const char *wanted(enum option_type type)
{
	switch (type) {
	case OPTION_STRING:
	case OPTION_ENUM:
		return "a string is needed";
	case OPTION_STRINGS:
		return "a list of strings is needed";
	case OPTION_INT:
		return "a whole number is needed, without quotes";
	case OPTION_BOOL:
		return "true or false is needed, without quotes";
	case OPTION_DURATION:
		return "a duration is needed: a string with a unit";
	case OPTION_SIZE:
		return "a size is needed: a string with a unit";
	}
	return NULL;
}

static void wrong_type(struct reader *reader, const struct option *option,
		       const config_setting_t *setting)
{
	const char *example = option->example != NULL ? option->example : option->fallback;
	bool bare = option->type == OPTION_INT || option->type == OPTION_BOOL;
	bool list = option->type == OPTION_STRINGS;

	add_problem(reader, place_of(reader, setting), "%s is %s; %s, such as %s%s%s", option->path,
		    type_of(setting), wanted(option->type),
		    list   ? "( \""
		    : bare ? ""
			   : "\"",
		    example,
		    list   ? "\" )"
		    : bare ? ""
			   : "\"");
}

static void note_reading(struct reader *reader, const struct option *option, struct place place)
{
	struct reading reading = {option, option_string(option, reader->config), place};

	reader->readings =
	    xrealloc(reader->readings, (reader->reading_count + 1) * sizeof(reader->readings[0]));
	reader->readings[reader->reading_count++] = reading;
}

/* A string as it is written, made into the option's value. */
static void read_string(struct reader *reader, const struct option *option,
			const config_setting_t *setting)
{
	const char *written = config_setting_get_string(setting);
	struct place place = place_of(reader, setting);
	struct error err;
	char *text = config_expand(written, reader->directory, &err), *path;

	if (strncmp(option->path, "database.", 9) == 0 || strncmp(option->path, "kafka.", 6) == 0)
		reader->config->holds_secret |= config_holds_secret(written);
	config_note_files(written, reader->directory, &reader->config->secret_files);
	if (text != NULL && option->is_path && *text != '\0') {
		path = config_path(text, reader->directory);
		secret_wipe(&text);
		text = path;
	}
	if (text == NULL)
		add_problem(reader, place, "%s: %s", option->path, err.text);
	else if (!option_set(option, reader->config, text, written, &err))
		add_problem(reader, place, "%s", err.text);
	else if (option->type == OPTION_STRING || option->type == OPTION_STRINGS)
		note_reading(reader, option, place);
	secret_wipe(&text);
}

static void read_list(struct reader *reader, const struct option *option,
		      const config_setting_t *list)
{
	for (unsigned i = 0; i < (unsigned)config_setting_length(list); i++) {
		const config_setting_t *item = config_setting_get_elem(list, i);

		reader->rank++;
		if (config_setting_type(item) == CONFIG_TYPE_STRING)
			read_string(reader, option, item);
		else
			add_problem(reader, place_of(reader, item),
				    "%s, item %u is %s; a string is needed", option->path, i + 1,
				    type_of(item));
	}
}

static void read_bare(struct reader *reader, const struct option *option,
		      const config_setting_t *setting)
{
	char text[32];
	struct error err;

	if (option->type == OPTION_BOOL)
		snprintf(text, sizeof(text), "%s",
			 config_setting_get_bool(setting) ? "true" : "false");
	else
		snprintf(text, sizeof(text), "%lld", config_setting_get_int64(setting));
	if (!option_set(option, reader->config, text, text, &err))
		add_problem(reader, place_of(reader, setting), "%s", err.text);
}

static void read_option(struct reader *reader, const struct option *option,
			const config_setting_t *setting)
{
	int type = config_setting_type(setting);
	bool bare = option->type == OPTION_INT || option->type == OPTION_BOOL;
	bool whole = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;

	reader->places[option - options] = place_of(reader, setting);
	if (option->type == OPTION_STRINGS &&
	    (type == CONFIG_TYPE_LIST || type == CONFIG_TYPE_ARRAY))
		read_list(reader, option, setting);
	else if (option->type == OPTION_INT ? whole : bare && type == CONFIG_TYPE_BOOL)
		read_bare(reader, option, setting);
	else if (option->type != OPTION_STRINGS && !bare && type == CONFIG_TYPE_STRING)
		read_string(reader, option, setting);
	else
		wrong_type(reader, option, setting);
}

static void unknown(struct reader *reader, const char *group, const char *path,
		    const config_setting_t *setting)
{
	const char *kind = config_setting_is_group(setting) ? "group" : "option";
	char *near = config_suggest(path);
	char *members = config_members(group);

	if (near != NULL)
		add_problem(reader, place_of(reader, setting), "unknown %s %s; did you mean %s?",
			    kind, path, near);
	else
		add_problem(reader, place_of(reader, setting), "unknown %s %s; allowed%s%s: %s",
			    kind, path, *group != '\0' ? " in " : "", group, members);
	free(near);
	free(members);
}

static const struct option *find_option(const char *path)
{
	for (size_t i = 0; i < option_count; i++) {
		if (strcmp(options[i].path, path) == 0)
			return &options[i];
	}
	return NULL;
}

/* Remembers where options of the group that are missing should have been. */
static void note_home(struct reader *reader, const char *group, const config_setting_t *setting)
{
	size_t len = strlen(group);

	for (size_t i = 0; i < option_count; i++) {
		if (strncmp(options[i].path, group, len) == 0 && options[i].path[len] == '.')
			reader->homes[i] = place_of(reader, setting);
	}
}

/* group is "" for the file itself. Recursion ends with the table's groups. */
static void read_group(struct reader *reader, const char *group, const config_setting_t *setting)
{
	note_home(reader, group, setting);
	for (unsigned i = 0; i < (unsigned)config_setting_length(setting); i++) {
		const config_setting_t *member = config_setting_get_elem(setting, i);
		char *path = xasprintf("%s%s%s", group, *group != '\0' ? "." : "",
				       config_setting_name(member));
		const struct option *option = find_option(path);

		reader->rank++;
		if (option != NULL)
			read_option(reader, option, member);
		else if (!config_is_group(path))
			unknown(reader, group, path, member);
		else if (config_setting_is_group(member))
			read_group(reader, path, member);
		else
			add_problem(reader, place_of(reader, member),
				    "%s is %s; a group is needed: %s = { ... };", path,
				    type_of(member), config_setting_name(member));
		free(path);
	}
}

static struct place *place_in(struct reader *reader, const void *member)
{
	size_t offset = (size_t)((const char *)member - (const char *)reader->config);
	size_t i = 0;

	while (options[i].offset != offset)
		i++;
	return &reader->places[i];
}

/* What the file leaves out. A string that could not be read gets its default too: others may look
 * at it while they judge the rest. */
static void fill_in(struct reader *reader)
{
	struct config *config = reader->config;

	for (size_t i = 0; i < option_count; i++) {
		bool needed =
		    options[i].offset != offsetof(struct config, kafka.bootstrap_servers) ||
		    !config->kafka.embedded;

		if (reader->places[i].line > 0) {
			if (options[i].type == OPTION_STRING &&
			    option_string(&options[i], config) == NULL)
				option_set_default(&options[i], config);
			continue;
		}
		option_set_default(&options[i], config);
		if (options[i].fallback == NULL && needed)
			add_problem(reader,
				    reader->homes[i].line > 0 ? reader->homes[i]
							      : place_at(reader, NULL, 0),
				    "%s is missing; it is required, such as %s = \"%s\"",
				    options[i].path, strrchr(options[i].path, '.') + 1,
				    options[i].example);
	}
}

static void check_rows(struct reader *reader)
{
	struct config *config = reader->config;
	struct place *claim = place_in(reader, &config->outbox.claim_rows);
	struct place *batch = place_in(reader, &config->outbox.batch_rows);

	if (config->outbox.claim_rows > config->outbox.batch_rows && config->outbox.batch_rows > 0)
		add_problem(
		    reader, claim->line > 0 ? *claim : *batch,
		    "outbox.claim_rows is %lld, more than outbox.batch_rows, which is %lld; "
		    "a claim is part of a batch, so lower the one or raise the other",
		    (long long)config->outbox.claim_rows, (long long)config->outbox.batch_rows);
}

static void check_standbys(struct reader *reader)
{
	struct config *config = reader->config;
	bool waits = config->outbox.publish_after == PUBLISH_AFTER_STANDBY;
	const char *standbys = config->outbox.publish_standbys;
	bool named = standbys[strspn(standbys, " \t\n")] != '\0';

	if (waits && !named)
		add_problem(reader, *place_in(reader, &config->outbox.publish_after),
			    "outbox.publish_after = \"standby\" waits for standbys, and none is "
			    "named; set outbox.publish_standbys, such as \"ANY 1 (a, b)\"");
	if (named && !waits)
		add_problem(reader, *place_in(reader, &config->outbox.publish_standbys),
			    "outbox.publish_standbys is set, and nobody waits for them; set "
			    "outbox.publish_after = \"standby\", or remove it");
}

/* Who takes what others have left needs shards to know what that may be. */
static void check_delivery(struct reader *reader)
{
	struct config *config = reader->config;

	if (config->kafka.delivery == DELIVERY_EXACTLY_ONCE &&
	    config->outbox.ordering == ORDERING_NONE)
		add_problem(reader, *place_in(reader, &config->kafka.delivery),
			    "kafka.delivery = \"exactly-once\" goes with an order only; remove "
			    "outbox.ordering = \"none\"");
	if (config->kafka.delivery == DELIVERY_EXACTLY_ONCE && config->kafka.embedded)
		add_problem(reader, *place_in(reader, &config->kafka.delivery),
			    "kafka.delivery = \"exactly-once\" needs brokers of Kafka; the one in "
			    "the relay (kafka.embedded) has no transactions that last");
}

/* What is right by itself and wrong together. */
static void check_together(struct reader *reader)
{
	struct config *config = reader->config;

	check_rows(reader);
	check_standbys(reader);
	check_delivery(reader);
	if (config->database.password_file[0] != '\0' &&
	    config->database.password_command[0] != '\0')
		add_problem(reader, *place_in(reader, &config->database.password_command),
			    "database.password_file and database.password_command are both set; "
			    "remove one");
	if (config->outbox.settle == SETTLE_POSITION && config->outbox.ordering == ORDERING_NONE)
		add_problem(reader, *place_in(reader, &config->outbox.settle),
			    "outbox.settle = \"position\" needs an order, as it keeps how far each "
			    "shard is; set outbox.ordering = \"key\", or another outbox.settle");
}

static void judge_group(struct reader *reader, config_judge_fn judge, const char *group,
			const void *member)
{
	struct place home = reader->homes[place_in(reader, member) - reader->places];
	struct error err;

	if (home.line > 0 && !judge(reader->config, group, "", &err))
		add_problem(reader, home, "%s", err.text);
}

/* What other parts of the relay say of the strings, and of what is in a group together. */
static void judge_all(struct reader *reader, config_judge_fn judge)
{
	struct config *config = reader->config;
	struct error err;

	for (size_t i = 0; i < reader->reading_count; i++) {
		const struct reading *reading = &reader->readings[i];

		if (!judge(reader->config, reading->option->path, reading->text, &err))
			add_problem(reader, reading->place, "%s", err.text);
	}
	judge_group(reader, judge, "route", &config->route.topic);
	judge_group(reader, judge, "encode", &config->encode.key);
}

/* What @include names on this line, up to the closing quote; NULL if the line has none. */
static const char *included_name(const char *line)
{
	line += strspn(line, " \t");
	if (strncmp(line, "@include", 8) != 0)
		return NULL;
	line += 8;
	line += strspn(line, " \t");
	return *line == '"' ? line + 1 : NULL;
}

/* Whether one @include may reach libconfig, whose scanner ends the process when it is to read
 * a directory, and whose versions differ on absolute names. A missing file is for libconfig to
 * report. */
static bool check_include(struct reader *reader, struct place place, const char *name, int *left)
{
	char *path = xasprintf("%s/%s", reader->directory, name);
	struct stat status;
	bool exists = stat(path, &status) == 0;
	struct error err;
	char *text = NULL;
	bool right = true;

	if (name[0] == '/')
		right = error_set(&err, "names start at the directory of %s", reader->path);
	else if (exists && !S_ISREG(status.st_mode))
		right = error_set(&err, "it is not a file; give each file an @include of its own");
	else if (exists && --*left < 0)
		right = error_set(&err, "more than %d files are included", INCLUDES_MAX);
	else if (exists)
		right = (text = secret_slurp(path, CONFIG_FILE_MAX, &err)) != NULL;
	if (!right)
		add_problem(reader, place, "cannot include \"%s\": %s", name, err.text);
	else if (text != NULL)
		right = check_includes(reader, name, text, left);
	secret_wipe(&text);
	free(path);
	return right;
}

/* libconfig would read another number (in versions before 1.7), without a word. */
static bool check_numbers(struct reader *reader, const char *included, const char *text)
{
	bool right = true;
	unsigned line = 1;
	size_t len = 0;

	while ((text = config_cut_number(text, &line, &len)) != NULL) {
		add_problem(reader, place_at(reader, included, line),
			    "%.*s is too large for a whole number; the largest is %d", (int)len,
			    text, INT32_MAX);
		text += len;
		right = false;
	}
	return right;
}

/* included is NULL for the file itself. */
static bool check_includes(struct reader *reader, const char *included, const char *text, int *left)
{
	bool right = check_numbers(reader, included, text);
	unsigned line = 0;

	while (right && *text != '\0') {
		const char *name = included_name(text);

		line++;
		if (name != NULL) {
			char *copy = xasprintf("%.*s", (int)strcspn(name, "\"\n"), name);

			right = check_include(reader, place_at(reader, included, line), copy, left);
			free(copy);
		}
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return right;
}

/* What to do about what libconfig cannot read, by its own words. */
static const char *remedy(const char *what)
{
	if (strstr(what, "duplicate") != NULL)
		return "give each option once";
	if (strstr(what, "include") != NULL)
		return "names start at the directory of the configuration";
	return "look for a missing quote, bracket or = on this line and before it";
}

static void read_text(struct reader *reader, const char *text, config_judge_fn judge)
{
	int left = INCLUDES_MAX;
	config_t file;

	if (!check_includes(reader, NULL, text, &left))
		return;
	config_init(&file);
	config_set_include_dir(&file, reader->directory);
	if (config_read_string(&file, text)) {
		read_group(reader, "", config_root_setting(&file));
		reader->rank++;
		fill_in(reader);
		check_together(reader);
		if (judge != NULL)
			judge_all(reader, judge);
	} else {
		add_problem(reader,
			    place_at(reader, as_included(reader, config_error_file(&file)),
				     (unsigned)config_error_line(&file)),
			    "%s; %s", config_error_text(&file), remedy(config_error_text(&file)));
	}
	config_destroy(&file);
}

static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return xstrdup(".");
	return xasprintf("%.*s", slash == path ? 1 : (int)(slash - path), path);
}

struct config *config_load(const char *path, config_judge_fn judge,
			   struct config_problems *problems)
{
	struct config *config = xcalloc(1, sizeof(*config));
	struct reader reader = {.path = path, .config = config, .problems = problems};
	struct error err;
	char *text = secret_slurp(path, CONFIG_FILE_MAX, &err);

	reader.directory = directory_of(path);
	reader.places = xcalloc(option_count, sizeof(reader.places[0]));
	reader.homes = xcalloc(option_count, sizeof(reader.homes[0]));
	if (text != NULL)
		read_text(&reader, text, judge);
	else
		insert_problem(&reader, 0,
			       xasprintf("cannot read %s: %s; name the configuration with -c FILE",
					 path, err.text));
	secret_wipe(&text);
	free(reader.directory);
	free(reader.places);
	free(reader.homes);
	free(reader.readings);
	free(reader.ranks);
	if (problems->count > 0)
		config_free(&config);
	return config;
}
