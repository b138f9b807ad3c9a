/* SPDX-License-Identifier: ISC */
/*
 * import.h - a configuration made from one of Debezium: a file for each group of it
 *
 * Pure but for import_kafka, which asks librdkafka about properties.
 */
#ifndef OUTBOX_CMD_IMPORT_H
#define OUTBOX_CMD_IMPORT_H

#include "base/pgname.h"
#include "conf_text.h"
#include "config.h"
#include "debezium.h"
#include "import_notes.h"

#include <stdbool.h>

/* What is wanted instead of what the file says; each may be NULL. dsn and table are such
 * as parse. */
struct import_wishes {
	const char *dsn, *bootstrap, *table;
};

/* The configuration that does what this one of Debezium did (see debezium_read); malloc'd. NULL and
 * err, which begins with what the text does: "is no ...". */
char *import_make(const char *text, const struct import_wishes *wishes, struct import_notes *notes,
		  struct error *err);

/* ---- its parts ---- */

struct import {
	struct debezium *from;
	const struct import_wishes *wishes;
	struct import_notes *notes; /* what is lost */
	struct conf_text conf;	    /* what is written */

	/* What one group has to know of another; found out before any is written. */
	struct config_columns columns;	   /* each owned */
	struct pgname name;		   /* of the table */
	const char *table_from;		   /* the option that names it, for comments; or NULL */
	const char *key, *value, *headers; /* options of the group encode */
	struct config_strings route_headers, envelope;
	char *partition; /* a column; owned; or NULL */
	char *routed;	 /* the column that routes; owned */
};

/* Each writes its group. */
void import_database(struct import *import);
void import_outbox(struct import *import);
void import_kafka(struct import *import);
void import_route(struct import *import);
void import_encode(struct import *import);

/* Notes every option that is lost by its rule, and every transform but the router. */
void import_note_lost(struct import *import);

/* Takes options out, with notes, whose values have to be known and are references. */
void import_drop_references(struct import *import);

/* Each finds something out. */
void import_table(struct import *import);
void import_columns(struct import *import);
void import_placements(struct import *import); /* after import_columns */
void import_formats(struct import *import);

/* ---- shared ---- */

/* The value as the relay can read it: references to what Kafka Connect takes from elsewhere become
 * those that a configuration may have, with a note where that is another place. malloc'd. */
char *import_text(struct import *import, const struct debezium_option *option);

/* Whether there is a reference in it. */
bool import_is_elsewhere(const char *value);

/* Notes that an option is a reference where the value itself is needed. instead: what it is taken
 * for; NULL: it is left out. */
void import_note_elsewhere(struct import *import, const struct debezium_option *option,
			   const char *instead);

/* The same of an option by its name, or its default if the file does not have it, of which there is
 * one; malloc'd. */
char *import_value(struct import *import, const char *name);

/* The reference alone that the value consists of, as import_text has it: "${env:NAME}" or
 * "${file:PATH}"; malloc'd. NULL if it is none, or one that only Kafka Connect can resolve. */
char *import_reference(const char *value);

/* Whether the template of a column stands for it; NULL if none does. Borrowed from columns, or the
 * column itself. */
const char *import_field(const struct import *import, const char *column);

/* What an option's value becomes by its rule; malloc'd. NULL, with a note, if it is lost. */
char *import_word(struct import *import, const struct debezium_option *option);

/* Writes the options of this group that have one of Debezium's by their rules; skip may be NULL,
 * and says which of them mean nothing. */
void import_group(struct import *import, const char *group,
		  bool (*skip)(const struct import *import, const struct debezium_option *option));

void import_add(struct config_strings *strings, char *item); /* owned from now on */
void import_strings_free(struct config_strings *strings);

#endif
