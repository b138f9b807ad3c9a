/* SPDX-License-Identifier: ISC */
/*
 * known.c - whether the database knows the outbox, and whether this role may ask for it
 */
#include "known.h"

#include "config.h"
#include "outbox/migrations.h"
#include "postgres.h"

#include <string.h>

/* An older schema lacks some of the columns. Who is under no policy sees all (manual: "Row Security
 * Policies"): the owner, a superuser, or anybody where the schema is older than roles. */
static const char SQL[] =
    "SELECT current_user AS me, to_jsonb(o) ->> 'settle' AS settle,"
    " CAST(to_jsonb(o) ->> 'paused' AS boolean) AS paused,"
    " (SELECT max(version) FROM outbox_relay.schema_version) AS version,"
    " concat_ws(' or ', to_jsonb(o) ->> 'operator', to_jsonb(o) ->> 'relay') AS roles,"
    " NOT row_security_active('outbox_relay.outboxes')"
    "  OR coalesce(pg_has_role(CAST(to_jsonb(o) ->> 'operator' AS regrole), 'USAGE'), false)"
    "  OR coalesce(pg_has_role(CAST(to_jsonb(o) ->> 'relay' AS regrole), 'USAGE'), false) AS may"
    " FROM outbox_relay.outboxes AS o WHERE o.outbox = to_regclass($1)";

static bool judge(const PGresult *result, const struct known_question *question, struct error *err)
{
	if (PQntuples(result) == 0)
		return error_set(err,
				 "table %s is not known to schema outbox_relay; run `outbox-relay "
				 "migrate` for it, or fix outbox.table",
				 question->shown);
	if (!question->any_version &&
	    !migrate_is_new_enough((int)pgsync_number(result, 0, "version"), err))
		return false;
	return pgsync_bool(result, 0, "may") ||
	       error_set(err, "role %s may not %s table %s; connect as a member of role %s",
			 pgsync_text(result, 0, "me"), question->act, question->shown,
			 pgsync_text(result, 0, "roles"));
}

bool known_outbox(PGconn *conn, const struct known_question *question, struct known *known,
		  struct error *err)
{
	PGresult *result =
	    pgsync_query(conn, "looking for the outbox", SQL, 1, &question->table, err);
	bool good = result && judge(result, question, err);

	if (good) {
		const char *settle = pgsync_text(result, 0, "settle");

		known->settle = config_settle_of(settle ? settle : "");
		known->paused = pgsync_bool(result, 0, "paused");
	}
	PQclear(result);
	return good;
}
