/* SPDX-License-Identifier: ISC */
/*
 * table.h - what an option is: private to relay/config/
 *
 * The table of config/table.c says all there is to say about an option; config/config.c turns text
 * into values by it, config/read.c walks a file by it.
 */
#ifndef OUTBOX_CONFIG_TABLE_H
#define OUTBOX_CONFIG_TABLE_H

#include "config.h"

enum option_type {
	OPTION_STRING,	 /* char * */
	OPTION_STRINGS,	 /* struct config_strings */
	OPTION_ENUM,	 /* int */
	OPTION_INT,	 /* int64_t */
	OPTION_BOOL,	 /* bool */
	OPTION_DURATION, /* int64_t, milliseconds */
	OPTION_SIZE,	 /* int64_t, bytes */
};

struct option_choice {
	const char *name; /* NULL ends the list */
	int value;
};

struct option {
	const char *path; /* "group.name" */
	enum option_type type;
	size_t offset;	      /* in struct config */
	const char *fallback; /* the default as text, the items of a list by '\n'; NULL: required */
	const char *example;  /* for messages, where the default will not do */
	int64_t min, max;     /* of a string, or each item of a list: the length in bytes */
	const struct option_choice *choices;		    /* of an enum, or NULL */
	bool (*check)(const char *text, struct error *err); /* of each item, or NULL */
	bool reloadable;
	bool is_path; /* a string: if it is relative, it starts at the file's directory */
};

extern const struct option options[];
extern const size_t option_count;

/* config/config.c. Sets the option from text; of a list, appends an item. shown is the text as it
 * was written, before secrets were put in: what a message may quote. False and err, which names the
 * option. */
bool option_set(const struct option *option, struct config *config, const char *text,
		const char *shown, struct error *err);
void option_set_default(const struct option *option, struct config *config);

/* The string, or the last item of the list; NULL if there is none yet. */
const char *option_string(const struct option *option, const struct config *config);
bool option_equal(const struct option *option, const struct config *a, const struct config *b);
void option_swap(const struct option *option, struct config *a, struct config *b);

/* Frees and zeroes the value, overwriting secrets. */
void option_clear(const struct option *option, struct config *config);

/* config/check.c: the shapes of option.check. */
bool config_check_table(const char *text, struct error *err);
bool config_check_listen(const char *text, struct error *err);
bool config_check_header(const char *text, struct error *err);
bool config_check_standbys(const char *text, struct error *err); /* config/standbys.c */
bool config_check_where(const char *text, struct error *err);	 /* config/where.c */
bool config_check_property(const char *text, struct error *err);

/* config/text.c. Puts in what ${env:NAME} and ${file:PATH} stand for, once, and leaves every
 * other ${...} alone; a relative PATH starts at directory. NULL and err if one has no value. The
 * caller wipes and frees. */
char *config_expand(const char *text, const char *directory, struct error *err);

/* config/text.c. Adds the paths of the ${file:PATH} in the text. */
void config_note_files(const char *text, const char *directory, struct config_strings *files);
/* Whether a text, as it was written, holds a password or the like, and not a reference to one. */
bool config_holds_secret(const char *text);

/* The path of the option or group that an unknown path may stand for, or NULL;
 * the caller frees it. */
char *config_suggest(const char *path);
bool config_is_group(const char *path);
/* What may stand in a group ("" = the file itself): "a, b, c"; the caller frees it. */
char *config_members(const char *group);

/* The first whole number in the text that is too large for 32 bits and has no L,
 * or NULL; *line goes on by the newlines before it. */
const char *config_cut_number(const char *text, unsigned *line, size_t *len);

/* The most that is read of a file: the configuration, or what ${file:PATH} names. */
enum { CONFIG_FILE_MAX = 1 << 20 };

/* A path that starts at directory unless it is absolute; malloc'd. */
char *config_path(const char *name, const char *directory);

#endif
