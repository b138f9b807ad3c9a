/*
 * registry.c - what the relay's schema knows of the outbox, and whether `run` begins with it
 */
#include "outbox/registry.h"

#include "outbox/migrations.h"

#include <stdlib.h>
#include <string.h>

const char outbox_registry[] =
    "SELECT bell::oid::int8, (SELECT max(version) FROM outbox_relay.schema_version) AS version, "
    "settle, current_user, concat_ws(', ', "
    "CASE WHEN has_sequence_privilege(bell::oid, 'UPDATE') IS NOT TRUE THEN 'UPDATE on ' || bell "
    "END, CASE WHEN NOT has_sequence_privilege(sequence, 'SELECT') THEN 'SELECT on ' || sequence "
    "END, CASE WHEN $3 AND NOT has_column_privilege(outbox, 'published_at', 'UPDATE') "
    "THEN 'UPDATE (published_at) on ' || outbox END, "
    "CASE WHEN NOT (has_table_privilege(letters, 'SELECT') AND has_table_privilege(letters, "
    "'INSERT') AND has_table_privilege(letters, 'UPDATE')) "
    "THEN 'SELECT, INSERT and UPDATE on ' || letters END) AS lacks "
    "FROM outbox_relay.outboxes, CAST('outbox_relay.dead_letters' AS regclass) AS letters, "
    "CAST(pg_get_serial_sequence($1, $2) AS regclass) AS sequence "
    "WHERE outbox = to_regclass($1)";

bool outbox_registry_check(const PGresult *result, const char *table, bool mark, struct error *err)
{
	const char *settle = mark ? "mark" : "delete";
	if (PQntuples(result) != 1)
		return error_set(
		    err, "table %s is not known to schema outbox_relay; run outbox-relay migrate",
		    table);
	int version = atoi(PQgetvalue(result, 0, REGISTRY_VERSION)), ours = migrate_latest();
	if (version < ours)
		return error_set(err,
				 "schema outbox_relay has version %d, this relay needs %d; run "
				 "outbox-relay migrate",
				 version, ours);
	/* In delete mode a claim takes the published rows that mark mode has kept, too. */
	if (strcmp(PQgetvalue(result, 0, REGISTRY_SETTLE), settle) != 0)
		return error_set(err,
				 "table %s was migrated for outbox.settle = \"%s\", the "
				 "configuration says \"%s\"; mend outbox.settle, or delete the "
				 "published rows that must not be published again and run "
				 "outbox-relay migrate",
				 table, PQgetvalue(result, 0, REGISTRY_SETTLE), settle);
	if (PQgetvalue(result, 0, REGISTRY_LACKS)[0] != '\0')
		return error_set(err,
				 "role %s lacks the right to %s; run outbox-relay migrate, and "
				 "connect as the role outbox_relay or a member of it",
				 PQgetvalue(result, 0, REGISTRY_USER),
				 PQgetvalue(result, 0, REGISTRY_LACKS));
	return true;
}
