/* SPDX-License-Identifier: ISC */
/*
 * pgname.c - names of tables and columns: parsed as SQL does, and quoted for SQL
 */
#include "base/pgname.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool starts_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

static bool continues_plain(char c)
{
	return starts_plain(c) || (c >= '0' && c <= '9') || c == '$';
}

/* Reads a quoted part up to and with its closing quote; NULL if there is none. */
static const char *read_quoted(const char *p, char *out, size_t *len)
{
	for (p++; *p; p++) {
		if (*p == '"' && *++p != '"')
			return p;
		if (*len < PGNAME_SIZE)
			out[(*len)++] = *p;
	}
	return NULL;
}

static const char *read_plain(const char *p, char *out, size_t *len)
{
	if (!starts_plain(*p))
		return NULL;
	for (; continues_plain(*p); p++) {
		if (*len < PGNAME_SIZE)
			out[(*len)++] = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
	}
	return p;
}

/* One part into out (PGNAME_SIZE bytes); returns what follows it, or NULL. */
static const char *read_part(const char *text, const char *p, char *out, struct error *err)
{
	char part[PGNAME_SIZE];
	size_t len = 0;

	p = *p == '"' ? read_quoted(p, part, &len) : read_plain(p, part, &len);
	if (!p || len == 0) {
		error_set(err,
			  "table name \"%s\" does not parse; write table or schema.table, and put "
			  "parts with special characters in double quotes",
			  text);
		return NULL;
	}
	if (len >= PGNAME_SIZE) {
		error_set(err, "table name \"%s\" has a part of more than %d bytes", text,
			  PGNAME_SIZE - 1);
		return NULL;
	}
	memcpy(out, part, len);
	out[len] = '\0';
	return p;
}

bool pgname_parse(const char *text, struct pgname *name, struct error *err)
{
	const char *p = read_part(text, text, name->table, err);

	strcpy(name->schema, "public");
	if (p && *p == '.') {
		strcpy(name->schema, name->table);
		p = read_part(text, p + 1, name->table, err);
	}
	if (!p)
		return false;
	if (*p)
		return error_set(err,
				 "table name \"%s\" has something after the table; write table or "
				 "schema.table",
				 text);
	return true;
}

bool pgname_check(const struct pgname *name, struct error *err)
{
	return strcmp(name->schema, "outbox_relay") != 0 ||
	       error_set(err, "schema outbox_relay is the relay's own and holds no outbox; move "
			      "the table with ALTER TABLE ... SET SCHEMA, or name another one");
}

void pgname_quote(const char *ident, char *out)
{
	assert(strlen(ident) < PGNAME_SIZE);
	*out++ = '"';
	for (; *ident; ident++) {
		if (*ident == '"')
			*out++ = '"';
		*out++ = *ident;
	}
	*out++ = '"';
	*out = '\0';
}

void pgname_print(const struct pgname *name, char *out)
{
	pgname_quote(name->schema, out);
	out += strlen(out);
	*out++ = '.';
	pgname_quote(name->table, out);
}

static void show_part(const char *ident, char *out)
{
	bool plain = starts_plain(*ident);
	const char *p;

	for (p = ident; *p; p++)
		plain = plain && continues_plain(*p) && !(*p >= 'A' && *p <= 'Z');
	if (plain)
		strcpy(out, ident);
	else
		pgname_quote(ident, out);
}

void pgname_show(const struct pgname *name, char *out)
{
	if (strcmp(name->schema, "public") != 0) {
		show_part(name->schema, out);
		out += strlen(out);
		*out++ = '.';
	}
	show_part(name->table, out);
}

char *pgname_literal(const char *text)
{
	char *literal = xmalloc(2 * strlen(text) + 5);
	char *out = literal;

	/* As PQescapeLiteral: the blank keeps the E apart from what stands before it. */
	if (strchr(text, '\\')) {
		*out++ = ' ';
		*out++ = 'E';
	}
	*out++ = '\'';
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			*out++ = *text;
		*out++ = *text;
	}
	*out++ = '\'';
	*out = '\0';
	return literal;
}
