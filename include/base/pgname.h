/* SPDX-License-Identifier: ISC */
/*
 * pgname.h - names of tables and columns: parsed as SQL does, and quoted for SQL
 *
 * Names from the configuration reach SQL text only through here. Pure. Thread: any.
 */
#ifndef OUTBOX_PGNAME_H
#define OUTBOX_PGNAME_H

#include "base/error.h"

#include <stddef.h>

enum {
	PGNAME_SIZE = 64,			  /* Postgres' NAMEDATALEN, with the '\0' */
	PGNAME_QUOTED_SIZE = 2 * PGNAME_SIZE + 1, /* one name in quotes */
	PGNAME_FULL_SIZE = 2 * PGNAME_QUOTED_SIZE /* "schema"."table" */
};

struct pgname {
	char schema[PGNAME_SIZE]; /* as in the catalog, unquoted */
	char table[PGNAME_SIZE];
};

/* Parses "table" or "schema.table", where each part may be in double quotes and is folded to lower
 * case if it is not. Without a schema it is "public": no search_path decides what we read. */
bool pgname_parse(const char *text, struct pgname *name, struct error *err);

/* Whether a table of this name may be an outbox: schema outbox_relay holds none. */
bool pgname_check(const struct pgname *name, struct error *err);

/* One name as a quoted identifier. out has PGNAME_QUOTED_SIZE bytes; ident is under PGNAME_SIZE. */
void pgname_quote(const char *ident, char *out);

/* "schema"."table", quoted; out has PGNAME_FULL_SIZE bytes. */
void pgname_print(const struct pgname *name, char *out);

/* For people and configuration files: quoted only where pgname_parse needs it, and without the
 * schema if that is public. out has PGNAME_FULL_SIZE bytes. */
void pgname_show(const struct pgname *name, char *out);

/* Any text as an SQL string literal, whatever standard_conforming_strings is; malloc'd. */
char *pgname_literal(const char *text);

#endif
