/* SPDX-License-Identifier: ISC */
/*
 * import_database.c - where the outbox is: the group "database"
 */
#include "base/xalloc.h"
#include "import.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_FILE "/etc/outbox-relay/database-password"

/* Appends "keyword=value" as libpq reads it (Connection Strings in its manual). */
static void append_keyword(char **dsn, const char *keyword, const char *value)
{
	bool plain = *value != '\0' && strpbrk(value, " \t\r\n\f\v'\\") == NULL;

	xappend(dsn, "%s%s=", **dsn != '\0' ? " " : "", keyword);
	if (plain) {
		xappend(dsn, "%s", value);
		return;
	}
	xappend(dsn, "'");
	for (; *value != '\0'; value++)
		xappend(dsn, "%s%c", strchr("'\\", *value) != NULL ? "\\" : "", *value);
	xappend(dsn, "'");
}

/* ---- from the file ---- */

static void append_option(struct import *import, char **dsn, const char *keyword, const char *name)
{
	const struct debezium_option *option = debezium_find(import->from, name);
	char *text;

	if (option == NULL || *option->value == '\0')
		return;
	text = import_text(import, option);
	append_keyword(dsn, keyword, text);
	free(text);
}

/* Options that their rules carry over: "dsn KEYWORD". */
static void append_others(struct import *import, char **dsn)
{
	for (size_t i = 0; i < import->from->count; i++) {
		const struct debezium_option *option = &import->from->options[i];
		const char *to = option->rule->to;
		char *word =
		    to != NULL && strncmp(to, "dsn ", 4) == 0 ? import_word(import, option) : NULL;

		if (word != NULL)
			append_keyword(dsn, to + 4, word);
		free(word);
	}
}

/* What holds the password, so that it can be referred to: NULL, or malloc'd. */
static char *password_reference(const struct import *import)
{
	const struct debezium_option *option = debezium_find(import->from, "database.password");

	return option != NULL ? import_reference(option->value) : NULL;
}

static char *dsn_of_file(struct import *import)
{
	char *dsn = xstrdup(""), *reference = password_reference(import);

	append_option(import, &dsn, "host", "database.hostname");
	append_option(import, &dsn, "port", "database.port");
	append_option(import, &dsn, "dbname", "database.dbname");
	append_option(import, &dsn, "user", "database.user");
	append_others(import, &dsn);
	if (reference != NULL && strncmp(reference, "${env:", 6) == 0)
		xappend(&dsn, " password='%s'", reference);
	free(reference);
	return dsn;
}

static void write_password_file(struct import *import)
{
	const struct debezium_option *option = debezium_find(import->from, "database.password");
	char *reference = password_reference(import), *path;

	if (option == NULL || *option->value == '\0' ||
	    (reference != NULL && strncmp(reference, "${env:", 6) == 0)) {
		free(reference);
		return;
	}
	path = reference != NULL ? xasprintf("%.*s", (int)strlen(reference) - 8, reference + 7)
				 : xstrdup(PASSWORD_FILE);
	conf_string(&import->conf, "password_file", path, option->written);
	if (reference == NULL)
		import_note(import->notes, option->written, option->value,
			    "a password is not copied; write it into the file " PASSWORD_FILE
			    ", or change database.password_file");
	free(reference);
	free(path);
}

static void write_from_file(struct import *import)
{
	char *dsn;

	if (debezium_find(import->from, "database.hostname") == NULL) {
		import_note(import->notes, "database.hostname", NULL,
			    "it is not in the file; give --dsn DSN, or set OUTBOX_RELAY_DSN in the "
			    "environment of the relay");
		conf_string(&import->conf, "dsn", "${env:OUTBOX_RELAY_DSN}",
			    "database.hostname is not in the file");
		return;
	}
	dsn = dsn_of_file(import);
	conf_string(&import->conf, "dsn", dsn, "database.*");
	write_password_file(import);
	free(dsn);
}

/* ---- from the command line ---- */

/* The string without its password; malloc'd. It parses: the command has looked. */
static char *without_password(const char *dsn)
{
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);
	char *text = xstrdup("");

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL;
	     option++)
		if (option->val != NULL && strcmp(option->keyword, "password") != 0)
			append_keyword(&text, option->keyword, option->val);
	PQconninfoFree(options);
	return text;
}

static void write_given(struct import *import)
{
	char *dsn;

	if (!pg_dsn_has_password(import->wishes->dsn)) {
		conf_string(&import->conf, "dsn", import->wishes->dsn, "--dsn");
		return;
	}
	dsn = without_password(import->wishes->dsn);
	conf_string(&import->conf, "dsn", dsn, "--dsn, without its password");
	conf_string(&import->conf, "password_file", PASSWORD_FILE, NULL);
	import_note(import->notes, "--dsn", NULL,
		    "its password is not copied; write it into the file " PASSWORD_FILE
		    ", or change database.password_file");
	free(dsn);
}

void import_database(struct import *import)
{
	conf_open(&import->conf, "database");
	if (import->wishes->dsn != NULL)
		write_given(import);
	else
		write_from_file(import);
	conf_close(&import->conf);
}
