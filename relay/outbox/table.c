/* SPDX-License-Identifier: ISC */
/*
 * table.c - whether a table can be an outbox, and its partitions the shards
 */
#include "outbox/table.h"

#include "base/shards.h"
#include "core/route.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const PGresult *result, const char *column)
{
	return PQgetvalue(result, 0, PQfnumber(result, column));
}

void outbox_table_read(const PGresult *result, struct outbox_table *table)
{
	*table = (struct outbox_table){.misfit = text_of(result, "misfit"),
				       .obstacle = text_of(result, "obstacle"),
				       .remedy = text_of(result, "remedy"),
				       .mark_obstacle = text_of(result, "mark_obstacle"),
				       .mark_remedy = text_of(result, "mark_remedy"),
				       .partitions = atoi(text_of(result, "partitions")),
				       .parts = atoi(text_of(result, "parts")),
				       .partitioned_by = text_of(result, "partitioned_by")};
}

bool outbox_table_check(const struct outbox_table *table, const char *name, bool mark,
			struct error *err)
{
	if (*table->misfit != '\0')
		return error_set(err,
				 "%s %s; name a plain table, or a partitioned one whose rows lie "
				 "in plain tables, in outbox.table",
				 name, table->misfit);
	if (*table->obstacle != '\0')
		return error_set(err, "%s %s; %s", name, table->obstacle, table->remedy);
	return !mark || *table->mark_obstacle == '\0' ||
	       error_set(err, "%s %s; %s", name, table->mark_obstacle, table->mark_remedy);
}

struct search {
	const struct config_columns *columns;
	const char *wanted; /* not terminated */
	size_t len;
	bool found;
};

static void compare(const char *field, void *arg)
{
	struct search *search = arg;
	const char *column = route_column(search->columns, field);

	if (strlen(column) == search->len && memcmp(column, search->wanted, search->len) == 0)
		search->found = true;
}

/* Whether events with the same key have the same value in this column. */
static bool is_part_of_key(const struct config *config, const char *column, size_t len)
{
	static const struct config_strings no_headers = {NULL, 0};
	const struct route_rules key = {
	    .topic = "topic", .key = config->route.key, .headers = &no_headers};
	struct search search = {&config->outbox.columns, column, len, false};
	struct error err;

	/* False it cannot be: the template was looked at when the file was read. */
	route_fields(&key, compare, &search, &err);
	return search.found;
}

/* Those of the columns that are no part of the key: "a", "b". */
static void find_strays(const struct outbox_table *table, const struct config *config,
			struct error *strays)
{
	const char *column = table->partitioned_by;
	size_t len, used = 0;

	for (strays->text[0] = '\0'; *column != '\0'; column += len + (column[len] == '\n')) {
		len = strcspn(column, "\n");
		if (!is_part_of_key(config, column, len) && used < sizeof(strays->text))
			used += (size_t)snprintf(strays->text + used, sizeof(strays->text) - used,
						 "%s\"%.*s\"", used ? ", " : "", (int)len, column);
	}
}

bool outbox_partitions_check(const struct outbox_table *table, const struct config *config,
			     const char *name, struct error *err)
{
	int64_t shards = config->outbox.shards;
	struct error strays;

	find_strays(table, config, &strays);
	if (config->outbox.ordering != ORDERING_NONE && strays.text[0] != '\0')
		return error_set(err,
				 "table %s is partitioned by column %s, which is no part of "
				 "route.key \"%s\"; events of one key lie in several partitions "
				 "and have no order; put the column into route.key, or partition "
				 "by the columns of the key",
				 name, strays.text, config->route.key);
	if (table->partitions > SHARDS_MAX)
		return error_set(err,
				 "table %s has %d partitions, and %d is the most that relays can "
				 "share; make a table with fewer",
				 name, table->partitions, SHARDS_MAX);
	return shards == 1 || shards == table->partitions ||
	       config->outbox.ordering == ORDERING_NONE ||
	       error_set(err,
			 "outbox.shards is %" PRId64 ", but each of the %d partitions of table %s "
			 "is a shard; leave outbox.shards out",
			 shards, table->partitions, name);
}
