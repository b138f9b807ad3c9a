/* SPDX-License-Identifier: ISC */
/*
 * import_route.c - where events go: the group "route"
 */
#include "base/xalloc.h"
#include "import.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PLACEMENT "router:table.fields.additional.placement"

void import_add(struct config_strings *strings, char *item)
{
	strings->items = xrealloc(strings->items, (strings->count + 1) * sizeof(*strings->items));
	strings->items[strings->count++] = item;
}

void import_strings_free(struct config_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct config_strings){NULL, 0};
}

/* ---- additional fields ---- */

/* "column:placement" or "column:placement:alias". */
struct placement {
	const char *item;
	char *column, *where, *alias; /* owned */
};

/* The next part up to a colon, without the blanks around it; malloc'd, or NULL at the end. */
static char *next_part(const char **at)
{
	const char *part;
	size_t len;

	if (*at == NULL || **at == '\0')
		return NULL;
	part = *at;
	len = strcspn(part, ":");
	*at = part[len] == ':' ? part + len + 1 : NULL;
	while (len > 0 && isspace((unsigned char)*part)) {
		part++;
		len--;
	}
	while (len > 0 && isspace((unsigned char)part[len - 1]))
		len--;
	return xasprintf("%.*s", (int)len, part);
}

static void placement_free(struct placement *placement)
{
	free(placement->column);
	free(placement->where);
	free(placement->alias);
}

/* Whether it has two parts or three, as Debezium wants it. */
static bool placement_read(const char *item, struct placement *placement)
{
	const char *at = item;

	placement->item = item;
	placement->column = next_part(&at);
	placement->where = next_part(&at);
	placement->alias = next_part(&at);
	if (placement->alias == NULL && placement->column != NULL)
		placement->alias = xstrdup(placement->column);
	return placement->column != NULL && *placement->column != '\0' &&
	       placement->where != NULL && (at == NULL || *at == '\0');
}

/* A name before "=template". */
static bool is_name(const char *alias)
{
	return *alias != '\0' && strchr(alias, '=') == NULL;
}

static void place_text(struct import *import, const struct debezium_option *option,
		       const struct placement *placement, struct config_strings *strings)
{
	const char *field = import_field(import, placement->column);

	if (!is_name(placement->alias))
		import_note(import->notes, option->written, placement->item,
			    "the name \"%s\" cannot stand before \"=\"; give it another one",
			    placement->alias);
	else if (field == NULL)
		import_note(
		    import->notes, option->written, placement->item,
		    "no template can name the column %s, since a part of the outbox is called "
		    "so; rename the column, or leave it out",
		    placement->column);
	else
		import_add(strings, xasprintf("%s=${%s}", placement->alias, field));
}

/* The sink of Debezium Server does not tell Kafka the partition (KafkaChangeConsumer.handle). */
static void place_partition(struct import *import, const struct debezium_option *option,
			    const struct placement *placement)
{
	if (import->from->server) {
		import_note(
		    import->notes, option->written, placement->item,
		    "Debezium Server ignores the placement of %s as partition: the key "
		    "chooses the partition, and does so here; route.partition = \"%s\" would "
		    "do what was meant",
		    placement->column, placement->column);
		return;
	}
	free(import->partition);
	import->partition = xstrdup(placement->column);
}

static void place(struct import *import, const struct debezium_option *option, const char *item)
{
	struct placement placement;
	bool right = placement_read(item, &placement);

	if (right && strcasecmp(placement.where, "header") == 0)
		place_text(import, option, &placement, &import->route_headers);
	else if (right && strcasecmp(placement.where, "envelope") == 0)
		place_text(import, option, &placement, &import->envelope);
	else if (right && strcasecmp(placement.where, "partition") == 0)
		place_partition(import, option, &placement);
	else
		import_note(import->notes, option->written, item,
			    "it is not column:placement or column:placement:alias, with header, "
			    "envelope or partition; Debezium refuses it, too");
	placement_free(&placement);
}

void import_placements(struct import *import)
{
	const struct debezium_option *option = debezium_find(import->from, PLACEMENT);
	const char *list;
	char *item;

	import_add(&import->route_headers, xstrdup("id=${event_id}"));
	if (option == NULL)
		return;
	list = option->value;
	while ((item = debezium_item(&list)) != NULL) {
		place(import, option, item);
		free(item);
	}
}

/* ---- the topic ---- */

/* Regular expressions that take any value whole, and what stands for it in a replacement beside
 * "$0". */
struct whole {
	const char *regex, *name, *number;
};
static const struct whole wholes[] = {
    {"(?<routedByValue>.*)", "${routedByValue}", "$1"},
    {"(.*)", "$1", "$1"},
    {".*", "$0", "$0"},
};

static const struct whole *find_whole(const char *regex)
{
	for (size_t i = 0; i < sizeof(wholes) / sizeof(wholes[0]); i++)
		if (strcmp(wholes[i].regex, regex) == 0)
			return &wholes[i];
	return NULL;
}

static bool begins(const char *text, const char *reference)
{
	size_t len = strlen(reference);

	return strncmp(text, reference, len) == 0 && !isdigit((unsigned char)text[len]);
}

/* The length of what stands for the whole value at text, or 0. */
static size_t reference_at(const char *text, const struct whole *whole)
{
	if (begins(text, whole->name))
		return strlen(whole->name);
	return begins(text, whole->number) || begins(text, "$0") ? 2 : 0;
}

/* The replacement as a template, where field stands for the whole value; malloc'd, or NULL if there
 * is more to it. */
static char *as_template(const char *regex, const char *replacement, const char *field)
{
	const struct whole *whole = find_whole(regex);
	char *template = whole != NULL ? xstrdup("") : NULL;
	size_t len;

	while (template != NULL && *replacement != '\0') {
		len = reference_at(replacement, whole);
		if (len > 0) {
			xappend(&template, "${%s}", field);
		} else if (strchr("$\\", *replacement) != NULL) {
			free(template);
			return NULL;
		} else {
			xappend(&template, "%c", *replacement);
			len = 1;
		}
		replacement += len;
	}
	return template;
}

/* The schema of an envelope is named by what the topic was before its replacement. */
static bool names_schema(const struct import *import)
{
	return import->envelope.count > 0 && strcmp(import->value, "json-schema") == 0;
}

static void write_renamed(struct import *import, const char *regex, const char *replacement,
			  const char *field)
{
	char *topic = xasprintf("${%s}", field);

	conf_string(&import->conf, "topic", topic, "route.by.field");
	conf_string(&import->conf, "topic_regex", regex, "route.topic.regex");
	conf_string(&import->conf, "topic_replacement", replacement, "route.topic.replacement");
	free(topic);
}

static void write_topic(struct import *import)
{
	char *regex = import_value(import, "router:route.topic.regex");
	char *replacement = import_value(import, "router:route.topic.replacement");
	const char *field = import_field(import, import->routed);
	char *template;

	assert(field != NULL); /* import_columns has given it a part */
	template = names_schema(import) ? NULL : as_template(regex, replacement, field);
	if (template != NULL && *template != '\0')
		conf_string(&import->conf, "topic", template, "route.topic.replacement");
	else
		write_renamed(import, regex, replacement, field);
	free(regex);
	free(replacement);
	free(template);
}

/* ---- the rest ---- */

static void write_timestamp(struct import *import)
{
	const struct debezium_option *option =
	    debezium_find(import->from, "router:table.field.event.timestamp");

	if (option == NULL)
		return;
	if (import->from->server)
		import_note(import->notes, option->written, option->value,
			    "Debezium Server ignores it: records have the time of publishing, and "
			    "have it here; route.timestamp = \"%s\" would do what was meant",
			    option->value);
	else
		conf_string(&import->conf, "timestamp", import->columns.created_at,
			    option->written);
}

void import_route(struct import *import)
{
	conf_open(&import->conf, "route");
	write_topic(import);
	conf_string(&import->conf, "key", "${aggregate_id}", "table.field.event.key");
	conf_list(&import->conf, "headers", &import->route_headers,
		  "id, then table.fields.additional.placement");
	if (import->partition != NULL)
		conf_string(&import->conf, "partition", import->partition,
			    "table.fields.additional.placement");
	write_timestamp(import);
	conf_close(&import->conf);
}
