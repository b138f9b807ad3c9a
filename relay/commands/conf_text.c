/* SPDX-License-Identifier: ISC */
/*
 * conf_text.c - writes a configuration file, in the syntax of libconfig
 */
#include "conf_text.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct conf_text *conf)
{
	if (conf->text == NULL)
		conf->text = xstrdup("");
	xappend(&conf->text, "%*s", 2 * conf->depth, "");
}

/* What follows # ends with the line, so control characters of any kind become blanks. */
static void end(struct conf_text *conf, const char *comment)
{
	size_t behind = strlen(conf->text) + 4;

	if (comment == NULL) {
		xappend(&conf->text, "\n");
		return;
	}
	xappend(&conf->text, "  # %s\n", comment);
	for (char *c = conf->text + behind; c[1] != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
}

/* A string in quotes, with the escapes of libconfig; malloc'd. */
static char *quote(const char *value)
{
	static const char from[] = "\"\\\n\r\t\f", to[] = "\"\\nrtf";
	char *quoted = xmalloc(4 * strlen(value) + 3), *out = quoted;
	const char *known;

	*out++ = '"';
	for (; *value != '\0'; value++) {
		known = strchr(from, *value);
		if (known != NULL) {
			*out++ = '\\';
			*out++ = to[known - from];
		} else if ((unsigned char)*value < ' ' || *value == 0x7f) {
			out += sprintf(out, "\\x%02x", (unsigned)*value);
		} else {
			*out++ = *value;
		}
	}
	*out++ = '"';
	*out = '\0';
	return quoted;
}

void conf_comment(struct conf_text *conf, const char *comment)
{
	begin(conf);
	xappend(&conf->text, "# %s\n", comment);
}

void conf_open(struct conf_text *conf, const char *group)
{
	if (conf->depth == 0 && conf->text != NULL)
		xappend(&conf->text, "\n");
	begin(conf);
	xappend(&conf->text, "%s = {\n", group);
	conf->depth++;
}

void conf_close(struct conf_text *conf)
{
	conf->depth--;
	begin(conf);
	xappend(&conf->text, "};\n");
}

void conf_word(struct conf_text *conf, const char *name, const char *word, const char *comment)
{
	begin(conf);
	xappend(&conf->text, "%s = %s;", name, word);
	end(conf, comment);
}

void conf_string(struct conf_text *conf, const char *name, const char *value, const char *comment)
{
	char *quoted = quote(value);

	conf_word(conf, name, quoted, comment);
	free(quoted);
}

void conf_list(struct conf_text *conf, const char *name, const struct config_strings *items,
	       const char *comment)
{
	begin(conf);
	xappend(&conf->text, "%s = (", name);
	if (comment != NULL && items->count > 0)
		end(conf, comment);
	else
		xappend(&conf->text, "%s", items->count > 0 ? "\n" : " );\n");
	conf->depth++;
	for (size_t i = 0; i < items->count; i++) {
		char *quoted = quote(items->items[i]);

		begin(conf);
		xappend(&conf->text, "%s%s\n", quoted, i + 1 < items->count ? "," : "");
		free(quoted);
	}
	conf->depth--;
	if (items->count > 0) {
		begin(conf);
		xappend(&conf->text, ");\n");
	}
}
