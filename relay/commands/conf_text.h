/* SPDX-License-Identifier: ISC */
/*
 * conf_text.h - writes a configuration file, in the syntax of libconfig. Pure
 */
#ifndef OUTBOX_CMD_CONF_TEXT_H
#define OUTBOX_CMD_CONF_TEXT_H

#include "config.h"

struct conf_text {
	char *text; /* owned; NULL before the first line */
	int depth;
};

/* A line of its own that says something. */
void conf_comment(struct conf_text *conf, const char *comment);

void conf_open(struct conf_text *conf, const char *group);
void conf_close(struct conf_text *conf);

/* comment: what the setting came from, or NULL. */
void conf_string(struct conf_text *conf, const char *name, const char *value, const char *comment);
/* A number, or true or false. */
void conf_word(struct conf_text *conf, const char *name, const char *word, const char *comment);
void conf_list(struct conf_text *conf, const char *name, const struct config_strings *items,
	       const char *comment);

#endif
