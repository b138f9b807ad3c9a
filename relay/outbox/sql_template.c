/* SPDX-License-Identifier: ISC */
/*
 * sql_template.c - a template of route as an expression of SQL
 *
 * It renders to what template.c renders to, with one difference that loses nothing: it is NULL
 * where any field is.
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"
#include "core/template.h"

#include <stdlib.h>
#include <string.h>

struct making {
	const struct outbox_shape *shape;
	char *sql; /* owned */
};

static void add_literal(struct slice text, void *arg)
{
	struct making *m = arg;
	SCRATCH char *plain = xasprintf("%.*s", (int)text.len, text.data);
	SCRATCH char *literal = pgname_literal(plain);
	xappend(&m->sql, " || %s", literal);
}

static void add_field(int index, void *arg)
{
	struct making *m = arg;
	SCRATCH char *name = outbox_sql_quoted(m->shape->fields[index]);
	xappend(&m->sql, " || t.%s::text", name);
}

static int find_field(const char *name, void *arg)
{
	const struct outbox_shape *shape = arg;
	const char *column = route_column(shape->names, name);
	for (size_t i = 0; column != NULL && i < shape->field_count; i++)
		if (strcmp(shape->fields[i], column) == 0)
			return (int)i;
	return -1;
}

char *outbox_sql_template(const struct outbox_shape *shape, const char *text)
{
	struct making m = {.shape = shape};
	struct error err;
	struct template *tpl = NULL;
	if (text != NULL)
		tpl = template_new(text, find_field, (void *)(uintptr_t)shape, &err);
	if (tpl == NULL)
		return xstrdup("NULL::text");
	m.sql = xstrdup("(''");
	template_walk(tpl, add_literal, add_field, &m);
	xappend(&m.sql, ")");
	template_free(&tpl);
	return m.sql;
}
