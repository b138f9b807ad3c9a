/*
 * cmd_check_partitions.c - `check`: whether the partitions of an outbox can be its shards
 */
#include "check.h"
#include "outbox_locks.h"
#include "pgsync.h"
#include "route.h"

#include <inttypes.h>
#include <string.h>

struct search {
	const struct config_columns *columns;
	const char *wanted;
	bool found;
};

static void compare(const char *field, void *arg)
{
	struct search *search = arg;

	if (strcmp(route_column(search->columns, field), search->wanted) == 0)
		search->found = true;
}

/* Whether events with the same key have the same value in this column. */
static bool is_part_of_key(const struct config *config, const char *column)
{
	static const struct config_strings no_headers = {NULL, 0};
	struct search search = {&config->outbox.columns, column, false};
	struct error err;

	/* False it cannot be: the template was looked at when the file was read. */
	route_fields("topic", config->route.key, &no_headers, compare, &search, &err);
	return search.found;
}

static bool check_key(struct check *check, const struct config *config, PGconn *conn,
		      const char *name, const char *shown)
{
	static const char SQL[] = "SELECT a.attname FROM pg_partitioned_table p JOIN pg_attribute a"
				  " ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)"
				  " WHERE p.partrelid = to_regclass($1) ORDER BY a.attnum";
	struct error err;
	PGresult *result = pgsync_query(conn, "looking at the partition key", SQL, 1, &name, &err);
	const char *column;
	bool good = result != NULL;
	int row;

	if (!result)
		check_error(check, "see that this role may read the catalog", "%s", err.text);
	for (row = 0; result && row < PQntuples(result); row++) {
		column = pgsync_text(result, row, "attname");
		if (is_part_of_key(config, column))
			continue;
		check_error(check,
			    "put the column into route.key, or partition by the columns of the key",
			    "table %s is partitioned by column \"%s\", which is no part of "
			    "route.key \"%s\"; events of one key lie in several partitions and "
			    "have no order",
			    shown, column, config->route.key);
		good = false;
	}
	PQclear(result);
	return good;
}

void check_partitions(struct check *check, const struct config *config, PGconn *conn,
		      const char *name, const char *shown, int partitions)
{
	int64_t shards = config->outbox.shards;
	bool ordered = config->outbox.ordering != ORDERING_NONE;

	if (ordered && !check_key(check, config, conn, name, shown))
		return;
	if (partitions > OUTBOX_SHARDS_MAX)
		check_error(check, "make a table with fewer",
			    "table %s has %d partitions, and %d is the most that relays can share",
			    shown, partitions, OUTBOX_SHARDS_MAX);
	else if (shards != 1 && shards != partitions)
		check_error(check, "leave outbox.shards out",
			    "outbox.shards is %" PRId64
			    ", but each of the %d partitions of table %s is a shard",
			    shards, partitions, shown);
	else if (ordered)
		check_ok(check, "each of the %d partitions of table %s is a shard", partitions,
			 shown);
}
