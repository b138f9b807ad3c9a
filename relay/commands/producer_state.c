/* SPDX-License-Identifier: ISC */
/*
 * producer_state.c - exactly once: which relay has which producer slot, and what is in doubt: for
 * `status`
 */
#include "producer_state.h"

#include "base/text.h"
#include "base/xalloc.h"
#include "outbox/locks.h"
#include "postgres.h"

#include <stdlib.h>

static char *question(void)
{
	return xasprintf(
	    "SELECT p.slot, p.settled, coalesce(p.line = outbox_relay.server_line(), true) AS "
	    "known, (SELECT count(*) FROM outbox_relay.producer_shards AS s"
	    "  WHERE s.outbox = p.outbox AND s.slot = p.slot) AS shards,"
	    " h.pid IS NOT NULL AS held, h.application"
	    " FROM outbox_relay.producers AS p LEFT JOIN LATERAL ("
	    "  SELECT l.pid, a.application_name AS application FROM pg_locks AS l"
	    "   LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid"
	    "   WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted"
	    "    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	    "    AND l.classid = p.outbox::oid AND l.objid::int8 = %d + p.slot LIMIT 1) AS h ON "
	    "true"
	    " WHERE p.outbox = to_regclass($1) ORDER BY p.slot",
	    OUTBOX_SLOT_LOCK);
}

static json_t *producer_of(const PGresult *result, int row)
{
	int64_t shards = pgsync_number(result, row, "shards");
	bool known = pgsync_bool(result, row, "known"), held = pgsync_bool(result, row, "held");
	const char *application = pgsync_text(result, row, "application");
	json_t *producer = json_object();

	json_object_set_new(producer, "slot", json_integer(pgsync_number(result, row, "slot")));
	json_object_set_new(producer, "settled",
			    json_integer(pgsync_number(result, row, "settled")));
	json_object_set_new(producer, "shards", json_integer(shards));
	json_object_set_new(producer, "known", json_boolean(known));
	json_object_set_new(producer, "held_by",
			    held ? json_text(application ? application : "unknown") : json_null());
	json_object_set_new(producer, "in_doubt", json_boolean(!held && (shards > 0 || !known)));
	return producer;
}

/* A schema that is older than this binary has none of this, a role whose rights were granted by
 * hand may not see it, and a standby cannot tell its timeline. */
static const char MAY_SEE_SQL[] =
    "SELECT NOT pg_is_in_recovery() AND "
    "coalesce(has_table_privilege(to_regclass('outbox_relay.producers')::oid, 'SELECT')"
    " AND has_table_privilege(to_regclass('outbox_relay.producer_shards')::oid, 'SELECT')"
    " AND has_function_privilege(to_regprocedure('outbox_relay.server_line()')::oid, 'EXECUTE'),"
    " false) AS may";

static bool may_see(PGconn *conn, bool *may, struct error *err)
{
	PGresult *result = pgsync_query(conn, "looking for producers", MAY_SEE_SQL, 0, NULL, err);

	*may = result != NULL && pgsync_bool(result, 0, "may");
	PQclear(result);
	return result != NULL;
}

bool producer_state_add(json_t *out, PGconn *conn, const char *table, struct error *err)
{
	json_t *producers = json_array();
	PGresult *result;
	bool may;
	char *sql;

	json_object_set_new(out, "producers", producers);
	if (!may_see(conn, &may, err))
		return false;
	if (!may)
		return true;
	sql = question();
	result = pgsync_query(conn, "reading producer slots", sql, 1, &table, err);
	free(sql);
	for (int row = 0; result != NULL && row < PQntuples(result); row++)
		json_array_append_new(producers, producer_of(result, row));
	PQclear(result);
	return result != NULL;
}

/* ---- in words ---- */

static json_int_t integer_of(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

static char *describe_doubt(const json_t *producer)
{
	json_int_t shards = integer_of(producer, "shards");
	char *text = xasprintf("slot %" JSON_INTEGER_FORMAT ": no relay has it, and ",
			       integer_of(producer, "slot"));

	if (json_is_true(json_object_get(producer, "known")))
		xappend(&text,
			"events of %" JSON_INTEGER_FORMAT " shard%s may be in doubt; whoever takes "
			"over settles them first",
			shards, shards == 1 ? "" : "s");
	else
		xappend(&text, "nothing is known of it since the database has come up as another "
			       "server; the next relay that begins settles it first");
	return text;
}

void producer_state_tell(const json_t *from, void (*told)(void *arg, bool warns, const char *text),
			 void *arg)
{
	const json_t *producer, *holder;
	size_t i;

	json_array_foreach(json_object_get(from, "producers"), i, producer)
	{
		bool doubt = json_is_true(json_object_get(producer, "in_doubt"));
		char *text;

		holder = json_object_get(producer, "held_by");
		if (!doubt && !json_is_string(holder))
			continue;
		text = doubt ? describe_doubt(producer)
			     : xasprintf("slot %" JSON_INTEGER_FORMAT ": %s, %" JSON_INTEGER_FORMAT
					 " batches settled",
					 integer_of(producer, "slot"), json_string_value(holder),
					 integer_of(producer, "settled"));
		told(arg, doubt, text);
		free(text);
	}
}
