/* SPDX-License-Identifier: ISC */
/*
 * import.c - a configuration made from one of Debezium, as a whole
 */
#include "import.h"

#include <stdlib.h>

static void plan(struct import *import)
{
	import_drop_references(import);
	import_table(import);
	import_columns(import);
	import_formats(import);
	import_placements(import);
}

/* Nothing, if the file says nothing of it. */
static void write_log(struct import *import)
{
	static const char *const options[] = {"quarkus.log.level", "quarkus.log.console.json",
					      "quarkus.log.console.json.enabled"};
	bool any = false;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		any |= debezium_find(import->from, options[i]) != NULL;
	if (!any)
		return;
	conf_open(&import->conf, "log");
	import_group(import, "log", NULL);
	conf_close(&import->conf);
}

static void import_free(struct import *import)
{
	struct config_columns *columns = &import->columns;

	free(columns->id);
	free(columns->event_id);
	free(columns->aggregate_type);
	free(columns->aggregate_id);
	free(columns->event_type);
	free(columns->payload);
	free(columns->headers);
	free(columns->created_at);
	import_strings_free(&import->route_headers);
	import_strings_free(&import->envelope);
	free(import->partition);
	free(import->routed);
}

static void write_head(struct import *import)
{
	conf_comment(&import->conf, "Made by outbox-relay import-debezium. docs/debezium.md says "
				    "what becomes of each option.");
	conf_comment(&import->conf, "Rows that are in the table when the relay starts count as not "
				    "yet published,");
	conf_comment(&import->conf, "and a row that is deleted before it is published is never "
				    "published.");
}

static void write_all(struct import *import)
{
	write_head(import);
	import_database(import);
	import_outbox(import);
	import_kafka(import);
	import_route(import);
	import_encode(import);
	write_log(import);
	import_note_lost(import);
}

char *import_make(const char *text, const struct import_wishes *wishes, struct import_notes *notes,
		  struct error *err)
{
	struct debezium *debezium = debezium_read(text, notes, err);
	struct import import = {.from = debezium, .wishes = wishes, .notes = notes};

	if (debezium != NULL) {
		plan(&import);
		write_all(&import);
	}
	import_free(&import);
	debezium_free(&debezium);
	return import.conf.text;
}
