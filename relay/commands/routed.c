/* SPDX-License-Identifier: ISC */
/*
 * routed.c - rows of the outbox that a command has read: their topics and keys
 */
#include "routed.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

static int field_index(const char *name, void *arg)
{
	const struct routed *routed = arg;

	for (size_t i = 0; i < routed->count; i++)
		if (strcmp(routed->fields[i], name) == 0)
			return (int)i;
	return -1;
}

static void add_field(const char *name, void *arg)
{
	struct routed *routed = arg;

	if (routed->count < ROUTE_FIELDS_MAX)
		routed->fields[routed->count++] = xstrdup(name);
}

bool routed_init(struct routed *routed, const struct config *config, struct error *err)
{
	static const struct config_strings none = {NULL, 0};
	struct route_rules rules = route_rules_of(config);

	memset(routed, 0, sizeof(*routed));
	rules.headers = &none;
	rules.partition = rules.timestamp = NULL;
	if (!route_fields(&rules, add_field, routed, err))
		return false;
	routed->route = route_new(&rules, field_index, routed, err);
	return routed->route != NULL;
}

void routed_free(struct routed *routed)
{
	route_free(&routed->route);
	for (size_t i = 0; i < routed->count; i++)
		free(routed->fields[i]);
	routed->count = 0;
}

char *routed_columns(const struct routed *routed, const struct config_columns *columns)
{
	char name[PGNAME_QUOTED_SIZE], *sql = xstrdup("");

	for (size_t i = 0; i < routed->count; i++) {
		pgname_quote(route_column(columns, routed->fields[i]), name);
		xappend(&sql, ", t.%s::text", name);
	}
	return sql;
}

bool routed_row(struct routed *routed, const PGresult *rows, int row, int first,
		struct message *message)
{
	struct slice fields[ROUTE_FIELDS_MAX];
	struct event event = {.fields = fields};
	struct error ignored;

	for (size_t i = 0; i < routed->count; i++) {
		int column = first + (int)i;

		fields[i] = PQgetisnull(rows, row, column)
				? SLICE_NULL
				: slice_of(PQgetvalue(rows, row, column));
	}
	if (route_event(routed->route, &event, message, &ignored) == REJECT_NONE)
		return true;
	message->topic = SLICE_NULL;
	message->key = route_key(routed->route, &event);
	return false;
}
