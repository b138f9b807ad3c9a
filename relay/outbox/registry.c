/* SPDX-License-Identifier: ISC */
/*
 * registry.c - what the schema knows of the outbox
 */
#include "outbox/registry.h"

#include "config.h"
#include "outbox/migrations.h"

#include <stdlib.h>
#include <string.h>

const char outbox_registry[] =
    "SELECT bell::oid::int8, (SELECT max(version) FROM outbox_relay.schema_version) AS version, "
    "settle, current_user, concat_ws(', ', "
    "CASE WHEN has_sequence_privilege(bell::oid, 'UPDATE') IS NOT TRUE THEN 'UPDATE on ' || bell "
    "END, CASE WHEN NOT has_sequence_privilege(sequence, 'SELECT') THEN 'SELECT on ' || sequence "
    "END, CASE WHEN $3 AND NOT has_column_privilege(outbox, $4, 'UPDATE') "
    "THEN format('UPDATE (%I) on %s', $4, outbox) END, "
    "CASE WHEN NOT (has_table_privilege(dead_letters, 'SELECT') AND "
    "has_table_privilege(dead_letters, "
    "'INSERT') AND has_table_privilege(dead_letters, 'UPDATE')) "
    "THEN 'SELECT, INSERT and UPDATE on ' || dead_letters END) AS lacks, "
    "condition, coalesce(mark_column, '') AS mark_column, coalesce(mark_value, '') AS mark_value, "
    "coalesce(mark_waits, '') AS mark_waits, coalesce(mark_timed, true) AS mark_timed, waits, "
    "published, marked "
    "FROM outbox_relay.outboxes, CAST('outbox_relay.dead_letters' AS regclass) AS dead_letters, "
    "CAST(pg_get_serial_sequence($1, $2) AS regclass) AS sequence "
    "WHERE outbox = to_regclass($1)";

const char outbox_settling[] =
    "SELECT settle FROM outbox_relay.outboxes WHERE outbox = to_regclass($1)";

bool outbox_settling_check(const char *settled, const char *table, int settle, struct error *err)
{
	const char *word = config_settle_word(settle);
	if (strcmp(settled, word) == 0)
		return true;
	/* In delete mode a claim takes the published rows that mark mode has kept, too. */
	bool takes_kept = config_settle_of(settled) == SETTLE_MARK && settle == SETTLE_DELETE;
	return error_set(err,
			 "table %s was migrated for outbox.settle = \"%s\", the configuration says "
			 "\"%s\"; fix outbox.settle, or %srun outbox-relay migrate",
			 table, settled, word,
			 takes_kept ? "delete the published rows that must not be published again "
				      "and "
				    : "");
}

bool outbox_home_check(const char *home, const char *here, const char *table, struct error *err)
{
	if (home[0] != '\0' && strcmp(home, here) == 0)
		return true;
	return error_set(
	    err,
	    "the positions of table %s are of another server, database or table (%s, "
	    "this is %s): it was restored or copied, and they tell nothing of its "
	    "rows; have its owner say where to go on: SELECT "
	    "outbox_relay.set_position('%s', 'end'), or 'start', 'keep' or 'from' (see "
	    "docs/positions.md)",
	    table, home[0] != '\0' ? home : "none", here[0] != '\0' ? here : "not known", table);
}

/* Rows that are no events by what the database knows would be published, or deleted, by a relay
 * that does not know it. */
static bool check_condition(const char *known, const struct config *config, const char *table,
			    struct error *err)
{
	bool strict = known[0] != '\0' || config->outbox.settle == SETTLE_POSITION;
	return !strict || strcmp(known, config->outbox.where) == 0 ||
	       error_set(err,
			 "table %s was migrated for outbox.where = \"%s\", the configuration says "
			 "\"%s\"; fix outbox.where, or run outbox-relay migrate",
			 table, known, config->outbox.where);
}

bool outbox_registry_marks_check(const PGresult *result, const char *table,
				 const struct config *config, struct error *err)
{
	if (PQntuples(result) != 1)
		return error_set(
		    err, "table %s is not known to schema outbox_relay; run outbox-relay migrate",
		    table);
	const char *column = PQgetvalue(result, 0, REGISTRY_MARK_COLUMN),
		   *value = PQgetvalue(result, 0, REGISTRY_MARK_VALUE),
		   *waits = PQgetvalue(result, 0, REGISTRY_MARK_WAITS);
	if (!check_condition(PQgetvalue(result, 0, REGISTRY_CONDITION), config, table, err))
		return false;
	return config->outbox.settle != SETTLE_MARK ||
	       (strcmp(column, config->outbox.columns.published_at) == 0 &&
		strcmp(value, config->outbox.published_value) == 0 &&
		strcmp(waits, config->outbox.pending_value) == 0) ||
	       error_set(err,
			 "table %s was migrated for rows that column %s marks (published_value "
			 "\"%s\", pending_value \"%s\"), the configuration says column %s (\"%s\", "
			 "\"%s\"); fix it, or run outbox-relay migrate",
			 table, column, value, waits, config->outbox.columns.published_at,
			 config->outbox.published_value, config->outbox.pending_value);
}

void outbox_registry_marks(const PGresult *result, struct outbox_marks *marks)
{
	*marks =
	    (struct outbox_marks){.waits = PQgetvalue(result, 0, REGISTRY_WAITS),
				  .published = PQgetvalue(result, 0, REGISTRY_PUBLISHED),
				  .marked = PQgetvalue(result, 0, REGISTRY_MARKED),
				  .timed = PQgetvalue(result, 0, REGISTRY_MARK_TIMED)[0] == 't'};
}

bool outbox_registry_check(const PGresult *result, const char *table, const struct config *config,
			   struct error *err)
{
	int settle = config->outbox.settle;
	if (PQntuples(result) != 1)
		return error_set(
		    err, "table %s is not known to schema outbox_relay; run outbox-relay migrate",
		    table);
	if (!migrate_is_new_enough(atoi(PQgetvalue(result, 0, REGISTRY_VERSION)), err))
		return false;
	if (!outbox_settling_check(PQgetvalue(result, 0, REGISTRY_SETTLE), table, settle, err))
		return false;
	if (PQgetvalue(result, 0, REGISTRY_LACKS)[0] != '\0')
		return error_set(err,
				 "role %s lacks the right to %s; run outbox-relay migrate, and "
				 "connect as the role outbox_relay or a member of it",
				 PQgetvalue(result, 0, REGISTRY_USER),
				 PQgetvalue(result, 0, REGISTRY_LACKS));
	return outbox_registry_marks_check(result, table, config, err);
}
