/* SPDX-License-Identifier: ISC */
/*
 * import_table.c - the table and its columns: the group "outbox"
 */
#include "base/xalloc.h"
#include "core/route.h"
#include "import.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the table ---- */

/*
 * The names that a regular expression of table.include.list stands for, if it is plain text: of
 * what it may have, "\." is a dot. Debezium matches the whole of "schema.table". malloc'd, or NULL.
 */
static char *plain_text(const char *regex)
{
	char *text = xstrdup(regex), *out = text;

	regex += *regex == '^';
	for (; *regex != '\0'; regex++) {
		if (regex[0] == '$' && regex[1] == '\0')
			break;
		if (regex[0] == '\\' && regex[1] != '\0' && ispunct((unsigned char)regex[1]))
			regex++;
		else if (strchr("\\*+?[](){}|^$", *regex) != NULL)
			break;
		*out++ = *regex;
	}
	*out = '\0';
	if (*regex == '\0' || *regex == '$')
		return text;
	free(text);
	return NULL;
}

/* "schema.table" as in the catalog. False if it is no such name. */
static bool split_name(const char *text, struct pgname *name)
{
	const char *dot = strchr(text, '.');
	size_t schema = dot != NULL ? (size_t)(dot - text) : 0;

	if (dot == NULL || schema == 0 || schema >= PGNAME_SIZE || dot[1] == '\0' ||
	    strlen(dot + 1) >= PGNAME_SIZE)
		return false;
	snprintf(name->schema, sizeof(name->schema), "%.*s", (int)schema, text);
	snprintf(name->table, sizeof(name->table), "%s", dot + 1);
	return true;
}

static bool is_outbox(const struct pgname *name)
{
	return strcasestr(name->table, "outbox") != NULL;
}

/* The table of a list: the first that is called an outbox, or else the first. */
struct choice {
	struct pgname name;
	size_t items, plain; /* in the list */
	bool certain;	     /* name is called an outbox */
};

static struct choice choose(const char *list)
{
	struct choice choice = {.items = 0};
	struct pgname name;
	char *item, *text;

	while ((item = debezium_item(&list)) != NULL) {
		text = plain_text(item);
		choice.items++;
		if (text != NULL && split_name(text, &name)) {
			if (choice.plain++ == 0 || (is_outbox(&name) && !choice.certain))
				choice.name = name;
			choice.certain |= is_outbox(&name);
		}
		free(text);
		free(item);
	}
	return choice;
}

static void note_choice(struct import *import, const struct debezium_option *option,
			const struct choice *choice)
{
	char shown[PGNAME_FULL_SIZE];

	pgname_show(&import->name, shown);
	if (import_is_elsewhere(option->value))
		import_note(
		    import->notes, option->written, option->value,
		    "it refers to a value that stands elsewhere, where this command does not look; "
		    "outbox.table is set to %s, name the right one by --table TABLE",
		    shown);
	else if (choice->plain == 0)
		import_note(
		    import->notes, option->written, option->value,
		    "it is a regular expression; a relay publishes one table: outbox.table is "
		    "set to %s, name the right one by --table TABLE",
		    shown);
	else if (choice->items > 1)
		import_note(
		    import->notes, option->written, option->value,
		    "a relay publishes one table: outbox.table is set to %s; for each other "
		    "outbox import again with --table TABLE, and run a relay of its own",
		    shown);
}

static const struct debezium_option *listed(const struct import *import)
{
	const struct debezium_option *option = debezium_find(import->from, "table.include.list");

	return option != NULL ? option : debezium_find(import->from, "table.whitelist");
}

void import_table(struct import *import)
{
	const struct debezium_option *option = listed(import);
	struct choice choice = {.name = {"public", "outbox"}};
	struct error ignored;

	if (import->wishes->table != NULL) {
		pgname_parse(import->wishes->table, &import->name, &ignored);
		import->table_from = "--table";
		return;
	}
	if (option == NULL) {
		import->name = choice.name;
		import_note(
		    import->notes, "table.include.list", NULL,
		    "it is not in the file, so the connector read other tables, too; outbox.table "
		    "is set to outbox, name the right one by --table TABLE");
		return;
	}
	choice = choose(option->value);
	if (choice.plain == 0)
		choice.name = (struct pgname){"public", "outbox"};
	import->name = choice.name;
	import->table_from = option->written;
	note_choice(import, option, &choice);
}

/* ---- columns ---- */

char *import_value(struct import *import, const char *name)
{
	const struct debezium_option *option = debezium_find(import->from, name);

	return option != NULL ? import_text(import, option)
			      : xstrdup(debezium_value(import->from, name));
}

/* Debezium knows the column that routes, which is most often the aggregate's type. */
void import_columns(struct import *import)
{
	static const char time[] = "router:table.field.event.timestamp";
	struct config_columns *columns = &import->columns;

	columns->id = xstrdup("relay_id");
	columns->event_id = import_value(import, "router:table.field.event.id");
	columns->aggregate_id = import_value(import, "router:table.field.event.key");
	columns->event_type = import_value(import, "router:table.field.event.type");
	columns->payload = import_value(import, "router:table.field.event.payload");
	columns->headers = xstrdup("");
	columns->created_at =
	    debezium_find(import->from, time) != NULL ? import_value(import, time) : xstrdup("");
	import->routed = import_value(import, "router:route.by.field");
	columns->aggregate_type = xstrdup(
	    strcmp(import->routed, columns->event_type) != 0 ? import->routed : "aggregatetype");
}

const char *import_field(const struct import *import, const char *column)
{
	const struct config_columns *columns = &import->columns;
	const struct {
		const char *part, *column;
	} parts[] = {
	    {"event_id", columns->event_id},	     {"aggregate_type", columns->aggregate_type},
	    {"aggregate_id", columns->aggregate_id}, {"event_type", columns->event_type},
	    {"payload", columns->payload},	     {"created_at", columns->created_at},
	};
	const char *field = column, *found;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strcmp(parts[i].column, column) == 0) {
			field = parts[i].part;
			break;
		}
	found = strpbrk(field, "{}") == NULL ? route_column(columns, field) : NULL;
	return found != NULL && strcmp(found, column) == 0 ? field : NULL;
}

/* ---- written ---- */

/* A column, and which option says that it plays this part. */
static void write_column(struct import *import, const char *part, const char *name,
			 const char *option)
{
	const struct debezium_option *from = debezium_find(import->from, option);
	char *comment = from != NULL ? xstrdup(from->written)
				     : xasprintf("the default of %s", option + strlen("router:"));

	conf_string(&import->conf, part, name, comment);
	free(comment);
}

static bool any_names(const struct config_strings *items, const char *field)
{
	for (size_t i = 0; i < items->count; i++)
		if (strstr(items->items[i], field) != NULL)
			return true;
	return false;
}

/* Debezium does not look at the event's type unless it is told to, so tables may lack it. */
static void write_event_type(struct import *import)
{
	static const char option[] = "router:table.field.event.type";
	const char *name = import->columns.event_type;
	bool needed = debezium_find(import->from, option) != NULL ||
		      any_names(&import->route_headers, "${event_type}") ||
		      any_names(&import->envelope, "${event_type}") ||
		      strcmp(import->routed, name) == 0;

	if (needed)
		write_column(import, "event_type", name, option);
	else
		conf_string(
		    &import->conf, "event_type", name,
		    "the default of table.field.event.type; \"\" if there is no such column");
}

static void write_columns(struct import *import)
{
	const struct config_columns *columns = &import->columns;
	struct conf_text *conf = &import->conf;

	conf_open(conf, "columns");
	conf_string(conf, "id", columns->id,
		    "`outbox-relay migrate --adopt` adds it, or says which column serves");
	write_column(import, "event_id", columns->event_id, "router:table.field.event.id");
	write_column(import, "aggregate_type", columns->aggregate_type, "router:route.by.field");
	write_column(import, "aggregate_id", columns->aggregate_id, "router:table.field.event.key");
	write_event_type(import);
	write_column(import, "payload", columns->payload, "router:table.field.event.payload");
	conf_string(conf, "headers", columns->headers, "Debezium knows no such column");
	if (*columns->created_at != '\0')
		write_column(import, "created_at", columns->created_at,
			     "router:table.field.event.timestamp");
	else
		conf_string(conf, "created_at", "",
			    "a column with the time of insert, if there is one");
	conf_close(conf);
}

void import_outbox(struct import *import)
{
	char shown[PGNAME_FULL_SIZE];

	pgname_show(&import->name, shown);
	conf_open(&import->conf, "outbox");
	conf_string(&import->conf, "table", shown, import->table_from);
	write_columns(import);
	conf_string(&import->conf, "settle", "delete",
		    "Debezium leaves rows in the table; so does \"position\"");
	import_group(import, "outbox", NULL);
	conf_close(&import->conf);
}
