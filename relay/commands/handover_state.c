/* SPDX-License-Identifier: ISC */
/*
 * handover_state.c - what is in an outbox, who writes to it, and where it lies
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "handover.h"
#include "postgres.h"
#include "relays.h"
#include "unsettled.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT_CAP = 10000 };

/* Functions that a provider may have taken from the public are not called then. */
static const char SERVER_SQL[] =
    "SELECT CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')"
    "  THEN (SELECT system_identifier::text FROM pg_control_system()) END AS system_identifier,"
    " CASE WHEN has_function_privilege('pg_control_checkpoint()', 'EXECUTE')"
    "  THEN (SELECT timeline_id::text FROM pg_control_checkpoint()) END AS timeline,"
    " (SELECT oid::text FROM pg_database WHERE datname = current_database()) AS database,"
    " pg_postmaster_start_time()::text AS started, current_setting('server_version') AS version,"
    " to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at,"
    " pg_is_in_recovery() AS standby,"
    " (SELECT o.paused FROM outbox_relay.outboxes o WHERE o.outbox = to_regclass($1)) AS paused";

/* 0 while it has drawn none, NULL without a sequence, or with one that may not be read. */
static const char DRAWN_SQL[] =
    "SELECT coalesce(pg_sequence_last_value(s), CASE WHEN has_sequence_privilege(s,"
    " 'SELECT, USAGE') THEN 0 END) AS drawn FROM (SELECT coalesce("
    "pg_get_serial_sequence($1, $2)::regclass,"
    " (SELECT d.refobjid FROM pg_attribute a"
    "  JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum"
    "  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid"
    "  JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'"
    "  WHERE a.attrelid = to_regclass($1) AND a.attname = $2"
    "   AND d.refclassid = 'pg_class'::regclass LIMIT 1)::regclass)) AS sequences (s)";

/* An INSERT holds this lock from before it draws its id to the end of its transaction; so does a
 * relay's claim. A prepared transaction has no pid (manual: pg_locks). */
static const char WRITERS_SQL[] =
    "SELECT l.pid, a.application_name AS application, pg_get_userbyid(a.usesysid) AS role,"
    " extract(epoch FROM clock_timestamp() - a.xact_start)::int8 AS seconds"
    " FROM (SELECT DISTINCT pid, virtualtransaction FROM pg_locks WHERE locktype = 'relation'"
    "  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    "  AND relation IN (SELECT to_regclass($1) UNION"
    "   SELECT relid FROM pg_partition_tree(to_regclass($1)))"
    "  AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()) AS l"
    " LEFT JOIN pg_stat_activity a ON a.pid = l.pid ORDER BY l.pid";

static const char LETTERS_SQL[] =
    "SELECT count(*) FILTER (WHERE held_for IS NULL) AS dead, count(held_for) AS held"
    " FROM outbox_relay.dead_letters WHERE outbox = to_regclass($1)";

static json_t *text_or_null(const PGresult *result, int row, const char *column)
{
	return json_text(pgsync_text(result, row, column));
}

static PGresult *ask(const struct handover *handover, const char *what, const char *sql, int count,
		     struct error *err)
{
	const char *params[] = {handover->table, handover->config->outbox.columns.id};

	return pgsync_query(handover->conn, what, sql, count, params, err);
}

static bool add_server(const struct handover *handover, json_t *state, struct error *err)
{
	static const char *const MEMBERS[] = {"system_identifier", "timeline", "database",
					      "started", "version"};
	PGresult *result = ask(handover, "looking at the server", SERVER_SQL, 1, err);
	json_t *server = json_object();
	bool standby;

	json_object_set_new(state, "server", server);
	if (!result)
		return false;
	for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(MEMBERS[0]); i++)
		json_object_set_new(server, MEMBERS[i], text_or_null(result, 0, MEMBERS[i]));
	json_object_set_new(state, "at", text_or_null(result, 0, "at"));
	json_object_set_new(state, "paused", json_boolean(pgsync_bool(result, 0, "paused")));
	standby = pgsync_bool(result, 0, "standby");
	PQclear(result);
	return !standby ||
	       error_set(err, "this server is a standby and takes no writes; promote it, or "
			      "point database.dsn at the primary");
}

static bool add_drawn(const struct handover *handover, json_t *state, struct error *err)
{
	PGresult *result = ask(handover, "reading the last id", DRAWN_SQL, 2, err);

	if (!result)
		return false;
	json_object_set_new(state, "last_id", command_result_number(result, 0, "drawn"));
	PQclear(result);
	return true;
}

static bool is_relay(const json_t *relays, json_int_t pid)
{
	const json_t *relay;
	size_t i;

	json_array_foreach(relays, i, relay)
	{
		if (json_integer_value(json_object_get(relay, "pid")) == pid)
			return true;
	}
	return false;
}

static bool add_writers(const struct handover *handover, json_t *state, struct error *err)
{
	json_t *writer, *writers = json_array();
	json_t *relays = group_read(handover->conn, handover->table, err);
	PGresult *result =
	    relays ? ask(handover, "looking for writers", WRITERS_SQL, 1, err) : NULL;

	json_object_set_new(state, "writers", writers);
	json_object_set_new(state, "relays", relays ? relays : json_array());
	if (!result)
		return false;
	for (int row = 0; row < PQntuples(result); row++) {
		if (is_relay(relays, pgsync_number(result, row, "pid")))
			continue;
		writer = json_object();
		json_object_set_new(writer, "pid", command_result_number(result, row, "pid"));
		json_object_set_new(writer, "application",
				    text_or_null(result, row, "application"));
		json_object_set_new(writer, "role", text_or_null(result, row, "role"));
		json_object_set_new(writer, "seconds",
				    command_result_number(result, row, "seconds"));
		json_array_append_new(writers, writer);
	}
	PQclear(result);
	return true;
}

static char *waiting_sql(const struct handover *handover, const char *rows, bool exact)
{
	char id[PGNAME_QUOTED_SIZE], limit[32] = "", *order, *sql;

	pgname_quote(handover->config->outbox.columns.id, id);
	if (!exact)
		snprintf(limit, sizeof(limit), " LIMIT %d", COUNT_CAP + 1);
	order = unsettled_order(handover->config, id);
	sql = xasprintf("SELECT count(*) AS many, min(id) AS first, max(id) AS last FROM"
			" (SELECT t.%s AS id FROM %s%s%s) AS waiting",
			id, rows, order, limit);
	free(order);
	return sql;
}

static PGresult *count_waiting(const struct handover *handover, bool exact, struct error *err)
{
	char *rows = unsettled_rows(handover->conn, handover->config, handover->table, err);
	PGresult *result = NULL;
	char *sql;

	if (rows) {
		sql = waiting_sql(handover, rows, exact);
		result = ask(handover, "counting what waits", sql, 0, err);
		free(sql);
	}
	free(rows);
	return result;
}

bool handover_waiting_upto(const struct handover *handover, json_int_t last, json_int_t *count,
			   json_int_t *first, struct error *err)
{
	char id[PGNAME_QUOTED_SIZE], number[32], *rows, *sql;
	const char *params[] = {number};
	PGresult *result;

	rows = unsettled_rows(handover->conn, handover->config, handover->table, err);
	if (!rows)
		return false;
	pgname_quote(handover->config->outbox.columns.id, id);
	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, last);
	sql = xasprintf("SELECT count(*) AS many, min(t.%s) AS first FROM %s WHERE t.%s <= $1", id,
			rows, id);
	result = pgsync_query(handover->conn, "counting what waits", sql, 1, params, err);
	free(sql);
	free(rows);
	if (!result)
		return false;
	*count = pgsync_number(result, 0, "many");
	*first = pgsync_number(result, 0, "first");
	PQclear(result);
	return true;
}

static bool add_left(const struct handover *handover, json_t *state, bool exact, struct error *err)
{
	json_t *left = json_object(), *waiting;
	PGresult *result;

	json_object_set_new(state, "left", left);
	result = count_waiting(handover, exact, err);
	if (!result)
		return false;
	waiting = json_object();
	json_object_set_new(waiting, "count", command_result_number(result, 0, "many"));
	json_object_set_new(waiting, "exact",
			    json_boolean(exact || pgsync_number(result, 0, "many") <= COUNT_CAP));
	json_object_set_new(waiting, "first_id", command_result_number(result, 0, "first"));
	json_object_set_new(waiting, "last_id", command_result_number(result, 0, "last"));
	json_object_set_new(left, "waiting", waiting);
	PQclear(result);
	result = ask(handover, "counting dead letters", LETTERS_SQL, 1, err);
	if (!result)
		return false;
	json_object_set_new(left, "dead_letters", command_result_number(result, 0, "dead"));
	json_object_set_new(left, "held", command_result_number(result, 0, "held"));
	PQclear(result);
	return true;
}

json_t *handover_state(const struct handover *handover, bool exact, struct error *err)
{
	json_t *state = json_object();

	if (add_server(handover, state, err) && add_drawn(handover, state, err) &&
	    add_writers(handover, state, err) && add_left(handover, state, exact, err))
		return state;
	json_decref(state);
	return NULL;
}

json_int_t handover_waiting(const json_t *state)
{
	const json_t *waiting = json_object_get(json_object_get(state, "left"), "waiting");

	return json_integer_value(json_object_get(waiting, "count"));
}
