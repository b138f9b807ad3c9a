/* SPDX-License-Identifier: ISC */
/*
 * routed.c - rows of the outbox that a command has read: their topics and keys
 */
#include "routed.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

struct route_rules routed_rules(const struct config *config)
{
	static const struct config_strings none = {NULL, 0};
	struct route_rules rules = route_rules_of(config);

	rules.headers = &none;
	return rules;
}

static int add_column(struct routed *routed, const char *column)
{
	char quoted[PGNAME_QUOTED_SIZE];

	pgname_quote(column, quoted);
	xappend(&routed->columns, ", t.%s::text", quoted);
	routed->fields[routed->count] = xstrdup(column);
	return (int)routed->count++;
}

int routed_field(const char *name, void *arg)
{
	struct routed *routed = arg;
	const char *column = route_column(routed->names, name);

	for (size_t i = 0; column != NULL && i < routed->count; i++)
		if (strcmp(routed->fields[i], column) == 0)
			return (int)i;
	return column != NULL && routed->count < ROUTE_FIELDS_MAX ? add_column(routed, column) : -1;
}

bool routed_init(struct routed *routed, const struct route_rules *rules,
		 const struct config_columns *names, struct error *err)
{
	*routed = (struct routed){.names = names, .columns = xstrdup("")};
	routed->route = route_new(rules, routed_field, routed, err);
	return routed->route != NULL;
}

void routed_free(struct routed *routed)
{
	route_free(&routed->route);
	for (size_t i = 0; i < routed->count; i++)
		free(routed->fields[i]);
	free(routed->columns);
	*routed = (struct routed){0};
}

static struct slice value_of(const PGresult *rows, int row, int column)
{
	if (PQgetisnull(rows, row, column))
		return SLICE_NULL;
	return (struct slice){PQgetvalue(rows, row, column),
			      (size_t)PQgetlength(rows, row, column)};
}

bool routed_row(struct routed *routed, const PGresult *rows, int row, int first,
		struct message *message)
{
	struct event event = {.fields = routed->values};
	struct error ignored;

	for (size_t i = 0; i < routed->count; i++)
		routed->values[i] = value_of(rows, row, first + (int)i);
	*message = (struct message){0};
	if (route_event(routed->route, &event, message, &ignored) == REJECT_NONE)
		return true;
	message->topic = SLICE_NULL;
	message->key = route_key(routed->route, &event);
	return false;
}
