/* SPDX-License-Identifier: ISC */
/*
 * open_fields.c - the columns that a session fetches, and those that the key is made of
 */
#include "open_fields.h"

#include "base/xalloc.h"
#include "core/template.h"

#include <stdlib.h>
#include <string.h>

static int index_of(char *const *names, size_t count, const char *column)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], column) == 0)
			return (int)i;
	return -1;
}

static int add_column(char **names, size_t *count, size_t most, const char *column)
{
	int at = column != NULL ? index_of(names, *count, column) : -1;
	if (at >= 0 || column == NULL || *count == most)
		return at;
	names[*count] = xstrdup(column);
	return (int)(*count)++;
}

int open_fields_add(struct open_fields *own, const char *name)
{
	return add_column(own->fields, &own->field_count, OPEN_FIELDS_MAX,
			  route_column(&own->config->outbox.columns, name));
}

/* A template_new's field function, which only takes down what is named. */
static int add_key(const char *name, void *arg)
{
	struct open_fields *own = arg;
	return add_column(own->keys, &own->key_count, ROUTE_FIELDS_MAX,
			  route_column(&own->config->outbox.columns, name));
}

bool open_fields_begin(struct open_fields *own, const struct config *config, struct error *err)
{
	own->config = config;
	add_column(own->fields, &own->field_count, OPEN_FIELDS_MAX,
		   config->outbox.columns.event_id);
	struct template *key = template_new(config->route.key, add_key, own, err);
	bool parsed = key != NULL;
	template_free(&key);
	return parsed;
}

void open_fields_free(struct open_fields *own)
{
	for (size_t i = 0; i < own->field_count; i++)
		free(own->fields[i]);
	for (size_t i = 0; i < own->key_count; i++)
		free(own->keys[i]);
}
