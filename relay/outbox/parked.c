/* SPDX-License-Identifier: ISC */
/*
 * parked.c - whether what is parked lies by the key that the configuration names, and before what
 * is to come
 *
 * Letters hold their key by a hash of its columns. With another route.key, or other columns in it,
 * no later event would be found to be of a parked key, and all would overtake it. All letters of an
 * outbox lie by the same key, since a relay with another one does not begin: one of them tells.
 */
#include "outbox/parked.h"

#include "base/text.h"
#include "core/route.h"
#include "core/template.h"
#include "outbox/sql.h"

#include <stdlib.h>
#include <string.h>

const char parked_question[] =
    "SELECT first.*, "
    "coalesce(pg_sequence_last_value('outbox_relay.dead_letters_number_seq'), 0) < "
    "(SELECT max(d.number) FROM outbox_relay.dead_letters AS d) FROM (SELECT) AS one LEFT JOIN "
    "(SELECT d.key_layout, left(d.event_id, 100), left(d.key, 100) FROM "
    "outbox_relay.dead_letters AS d WHERE d.outbox = to_regclass($1) AND d.held_for = 'key' ORDER "
    "BY d.key_hash, d.number LIMIT 1) AS first ON true";

static const char key_remedy[] =
    "go back to the old route.key until outbox-relay dlq list shows no parked key, by dlq retry or "
    "dlq discard, and then change it";

static const char numbers_remedy[] =
    "run outbox-relay handover --new, or by itself: SELECT outbox_relay.raise_letters();";

enum { PARKED_LAYOUT, PARKED_EVENT_ID, PARKED_KEY, PARKED_BEHIND };

/* So many bytes of an event id or a key: an error has room for all the words then. */
enum { NAME_SIZE = 121 };

struct columns {
	const struct config_columns *names;
	const char *keys[ROUTE_FIELDS_MAX]; /* borrowed from the names and the template */
	size_t count;
};

/* A template_new's field function, which takes down each column once. */
static int add(const char *field, void *arg)
{
	struct columns *columns = arg;
	const char *column = route_column(columns->names, field);
	if (column == NULL)
		return -1;
	for (size_t i = 0; i < columns->count; i++)
		if (strcmp(columns->keys[i], column) == 0)
			return (int)i;
	if (columns->count == ROUTE_FIELDS_MAX)
		return -1;
	columns->keys[columns->count] = column;
	return (int)columns->count++;
}

uint32_t parked_layout(const struct config *config)
{
	struct columns columns = {.names = &config->outbox.columns};
	struct error ignored; /* the configuration has been checked */
	struct template *key = template_new(config->route.key, add, &columns, &ignored);
	struct outbox_shape shape = {.keys = columns.keys, .key_count = columns.count};
	uint32_t layout = outbox_sql_key_layout(&shape);
	template_free(&key);
	return layout;
}

const char *parked_check(const PGresult *result, const char *table, int64_t layout,
			 struct error *err)
{
	if (PQgetvalue(result, 0, PARKED_BEHIND)[0] == 't') {
		error_set(err, "outbox_relay.dead_letters was copied here without its sequence: "
			       "later events would be numbered before those that are there, and "
			       "overtake them");
		return numbers_remedy;
	}
	if (layout == PARKED_BY_ANY_KEY || PQgetisnull(result, 0, PARKED_LAYOUT) ||
	    strtoll(PQgetvalue(result, 0, PARKED_LAYOUT), NULL, 10) == layout)
		return NULL;
	char event_id[NAME_SIZE], key[NAME_SIZE];
	text_print(event_id, sizeof(event_id), "%s", PQgetvalue(result, 0, PARKED_EVENT_ID));
	text_print(key, sizeof(key), "%s", PQgetvalue(result, 0, PARKED_KEY));
	error_set(
	    err,
	    "events of table %s are parked by another key, one of them is event_id %s, key %s: "
	    "route.key or the columns in it have changed, and later events would overtake them",
	    table, event_id, key);
	return key_remedy;
}
