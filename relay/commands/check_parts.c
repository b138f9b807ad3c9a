/* SPDX-License-Identifier: ISC */
/*
 * check_parts.c - `check`: partitions by range or list, who makes them, and how many are ahead
 */
#include "check_subject.h"
#include "postgres.h"

enum { PARTS_MANY = 100, AHEAD_FEW = 2 };

/* Each claim looks into all tables of a shard. */
static void check_count(struct check *check, const struct outbox_table *table, const char *shown)
{
	int parts = table->partitions > 0 ? table->parts / table->partitions : table->parts;

	if (parts > PARTS_MANY)
		check_warn(check,
			   "make larger partitions, and drop those that are published sooner",
			   "claims look into %d partitions of table %s at a time, which makes them "
			   "slow",
			   parts, shown);
	else
		check_ok(check, "the events of table %s lie in %d partitions by range or list",
			 shown, table->parts);
}

static void check_ahead(struct check *check, int64_t ahead, bool managed, const char *shown)
{
	const char *remedy =
	    managed ? "see the relay's log: it makes them, if it runs"
		    : "make more, or have the relay do it: `outbox-relay migrate --partition-by`";

	if (ahead < AHEAD_FEW)
		check_warn(check, remedy,
			   "table %s has %lld partition%s ahead; inserts fail where there is none",
			   shown, (long long)ahead, ahead == 1 ? "" : "s");
	else
		check_ok(check, "table %s has %lld partitions ahead", shown, (long long)ahead);
}

/* Partitions by time tell it by their bounds. */
static void check_age(const struct subject *s, const PGresult *result)
{
	if (*s->config->outbox.columns.created_at != '\0' ||
	    !pgsync_bool(result, 0, "needs_created_at"))
		return;
	check_warn(s->check,
		   "name the column in outbox.columns.created_at, or drop partitions yourself",
		   "no column says when a row of table %s was created: the relay cannot tell which "
		   "partitions are older than outbox.retention, and drops none with rows",
		   s->shown);
}

static void judge(struct check *check, const PGresult *result, const char *shown)
{
	bool managed = pgsync_bool(result, 0, "managed");
	const char *trouble = pgsync_text(result, 0, "trouble");

	if (trouble && managed)
		check_error(
		    check,
		    "make another table with `outbox-relay migrate --table --partition-by`, or "
		    "make and drop partitions yourself: UPDATE outbox_relay.outboxes SET "
		    "partition_step = NULL",
		    "the relay makes and drops no partitions of table %s, since it %s", shown,
		    trouble);
	else if (managed)
		check_ok(check, "the relay makes and drops the partitions of table %s, each of %s",
			 shown, pgsync_text(result, 0, "step"));
	else if (pgsync_bool(result, 0, "partman"))
		check_ok(check,
			 "pg_partman makes and drops the partitions of table %s; the relay only "
			 "claims from them",
			 shown);
	else
		check_ok(check, "the relay makes and drops no partitions of table %s", shown);
	if (trouble)
		check_ok(check,
			 "how many partitions of table %s are ahead cannot be told, since it %s",
			 shown, trouble);
	else if (pgsync_text(result, 0, "ahead"))
		check_ahead(check, pgsync_number(result, 0, "ahead"), managed, shown);
}

void check_parts(const struct subject *s)
{
	const char *params[] = {s->name};
	PGresult *result;

	if (s->table.outbox.parts == 0)
		return;
	check_count(s->check, &s->table.outbox, s->shown);
	result = subject_query(
	    s, "looking at the partitions",
	    "SELECT o.partition_step IS NOT NULL AS managed, o.partition_step AS step,"
	    " outbox_relay.kept_by_partman(o.outbox) IS NOT FALSE AS partman,"
	    " outbox_relay.partitions_ahead(o.outbox) AS ahead,"
	    " outbox_relay.range_trouble(o.outbox) AS trouble,"
	    " o.partition_step ~ '^[0-9]+$' AND o.settle <> 'delete' AND o.mark_timed IS NOT TRUE"
	    "  AS needs_created_at"
	    " FROM outbox_relay.outboxes o WHERE o.outbox = to_regclass($1)",
	    1, params);
	if (result && PQntuples(result) > 0) {
		judge(s->check, result, s->shown);
		check_age(s, result);
	}
	PQclear(result);
}
