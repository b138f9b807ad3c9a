/* SPDX-License-Identifier: ISC */
/*
 * status_read.c - what `status` shows: from the database, and from the relay at http.listen
 */
#include "status_read.h"

#include "base/pgname.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "depth_guard.h"
#include "http.h"
#include "outbox/letter_counts.h"
#include "position_state.h"
#include "postgres.h"
#include "producer_state.h"
#include "relays.h"
#include "unsettled.h"

#include <stdlib.h>

enum { COUNT_CAP = 10000, HTTP_TIMEOUT_MS = 2000 };

/* Counted as far as that is cheap; beyond, by how many ids were given out. */
static char *waiting_sql(const struct config *config, const char *rows)
{
	char id[PGNAME_QUOTED_SIZE], created[PGNAME_QUOTED_SIZE] = "NULL::timestamptz";
	const struct config_columns *columns = &config->outbox.columns;
	char *order, *sql;

	pgname_quote(columns->id, id);
	if (*columns->created_at)
		pgname_quote(columns->created_at, created);
	order = unsettled_order(config, id);
	sql = xasprintf(
	    "WITH head AS (SELECT t.%s AS id, %s%s AS at FROM %s%s LIMIT %d)"
	    " SELECT count(*) AS counted, max(id) AS last,"
	    " pg_sequence_last_value(pg_get_serial_sequence($1::text, $2::text)::regclass) AS "
	    "drawn,"
	    " (SELECT CASE WHEN isfinite(at) THEN extract(epoch FROM clock_timestamp())"
	    " - extract(epoch FROM at) END"
	    "  FROM head ORDER BY id LIMIT 1) AS age FROM head",
	    id, *columns->created_at ? "t." : "", created, rows, order, COUNT_CAP + 1);
	free(order);
	return sql;
}

static bool count_waiting(json_t *out, const struct config *config, PGconn *conn, const char *table,
			  const char *rows, struct error *err)
{
	char *sql = waiting_sql(config, rows);
	const char *params[] = {table, config->outbox.columns.id};
	PGresult *result = pgsync_query(conn, "counting what waits", sql, 2, params, err);
	int64_t depth, behind;
	const char *age;

	free(sql);
	if (!result)
		return false;
	depth = pgsync_number(result, 0, "counted");
	json_object_set_new(out, "depth_exact", json_boolean(depth <= COUNT_CAP));
	if (depth > COUNT_CAP) {
		bool fits = !__builtin_sub_overflow(pgsync_number(result, 0, "drawn"),
						    pgsync_number(result, 0, "last"), &behind);
		depth += fits && behind > 0 ? behind : 0;
	}
	json_object_set_new(out, "depth", json_integer(depth));
	age = pgsync_text(result, 0, "age");
	json_object_set_new(out, "oldest_age_seconds",
			    age ? json_real(strtod(age, NULL)) : json_null());
	PQclear(result);
	return true;
}

/* What waits is not known where positions tell nothing of the rows. */
static bool add_waiting(json_t *out, const struct config *config, PGconn *conn, const char *table,
			struct error *err)
{
	char *rows;
	bool good;

	if (json_object_get(json_object_get(out, "position"), "error") != NULL) {
		json_object_set_new(out, "depth", json_null());
		json_object_set_new(out, "depth_exact", json_false());
		json_object_set_new(out, "oldest_age_seconds", json_null());
		return true;
	}
	rows = unsettled_rows(conn, config, table, err);
	good = rows != NULL && count_waiting(out, config, conn, table, rows, err);
	free(rows);
	return good;
}

static bool count_letters(json_t *out, PGconn *conn, uint32_t outbox, struct error *err)
{
	char *question = letter_counts_question(outbox);
	const char *params[] = {"{}", "-9223372036854775808"};
	PGresult *result = pgsync_query(conn, "counting dead letters", question, 2, params, err);
	struct letter_gauges letters = {0};

	free(question);
	if (!result)
		return false;
	letter_counts_add(result, &letters);
	PQclear(result);
	letters_json(out, &letters);
	return true;
}

/* In a schema that is older than this binary no letter holds a key. */
static bool count_old_letters(json_t *out, PGconn *conn, const char *table, struct error *err)
{
	static const char SQL[] = "SELECT count(*) AS letters FROM outbox_relay.dead_letters"
				  " WHERE outbox = to_regclass($1)";
	PGresult *result = pgsync_query(conn, "counting dead letters", SQL, 1, &table, err);

	if (!result)
		return false;
	json_object_set_new(out, "dead_letters", json_integer(pgsync_number(result, 0, "letters")));
	PQclear(result);
	return true;
}

/* Copies that are still to be sent. */
static bool count_copies(json_t *out, PGconn *conn, const char *table, struct error *err)
{
	static const char SQL[] = "SELECT count(*) AS owed FROM outbox_relay.dead_letters"
				  " WHERE outbox = to_regclass($1) AND copy_owed_since IS NOT NULL";
	PGresult *result =
	    pgsync_query(conn, "counting copies of dead letters", SQL, 1, &table, err);

	if (!result)
		return false;
	json_object_set_new(out, "copies_owed", json_integer(pgsync_number(result, 0, "owed")));
	PQclear(result);
	return true;
}

/* In a schema that is older than this binary some columns are not there. */
static bool add_letters(json_t *out, PGconn *conn, const char *table, struct error *err)
{
	static const char SQL[] =
	    "SELECT to_regclass($1)::oid::int8 AS outbox,"
	    " coalesce(bool_or(a.attname = 'held_for'), false) AS parks,"
	    " coalesce(bool_or(a.attname = 'copy_owed_since'), false) AS copies"
	    " FROM pg_attribute AS a WHERE a.attrelid = to_regclass('outbox_relay.dead_letters')";
	PGresult *result = pgsync_query(conn, "looking for dead letters", SQL, 1, &table, err);
	uint32_t outbox;
	bool parks, copies;

	if (!result)
		return false;
	outbox = (uint32_t)pgsync_number(result, 0, "outbox");
	parks = pgsync_bool(result, 0, "parks");
	copies = pgsync_bool(result, 0, "copies");
	PQclear(result);
	return (parks ? count_letters(out, conn, outbox, err)
		      : count_old_letters(out, conn, table, err)) &&
	       (!copies || count_copies(out, conn, table, err));
}

/* A schema that is older than this binary has no such table. */
static bool add_actions(json_t *out, PGconn *conn, const char *table, struct error *err)
{
	static const char SQL[] =
	    "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at,"
	    " role, action, detail FROM outbox_relay.operator_actions"
	    " WHERE outbox = to_regclass($1) ORDER BY number DESC LIMIT 10";
	static const char *const MEMBERS[] = {"at", "role", "action", "detail"};
	json_t *actions = json_array();
	PGresult *result =
	    pgsync_query(conn, "looking for the actions of operators",
			 "SELECT to_regclass('outbox_relay.operator_actions') IS NOT NULL AS known",
			 0, NULL, err);
	bool known = result && pgsync_bool(result, 0, "known"), asked = result != NULL;

	PQclear(result);
	json_object_set_new(out, "operator_actions", actions);
	if (!known)
		return asked;
	result = pgsync_query(conn, "reading the actions of operators", SQL, 1, &table, err);
	if (!result)
		return false;
	for (int row = 0; row < PQntuples(result); row++) {
		json_t *action = json_object();

		for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(MEMBERS[0]); i++)
			json_object_set_new(action, MEMBERS[i],
					    json_text(pgsync_text(result, row, MEMBERS[i])));
		json_array_append_new(actions, action);
	}
	PQclear(result);
	return true;
}

static bool add_depth_guard(json_t *out, PGconn *conn, const char *table, struct error *err)
{
	json_t *guard = depth_guard_read(conn, table, err);

	return guard && json_object_set_new(out, "depth_guard", guard) == 0;
}

void status_add_relay(json_t *out, const struct config *config)
{
	struct error err = {""};
	char *body = NULL;
	json_t *relay = NULL;
	size_t len = 0;
	int code;

	code = http_get(config->http.listen, "/status", HTTP_TIMEOUT_MS, &body, &len, &err);
	if (code == 200)
		relay = json_loadb(body, len, 0, NULL);
	if (code >= 0 && !json_is_object(relay))
		error_set(&err, "what answers at %s is not a relay (HTTP %d)", config->http.listen,
			  code);
	if (json_is_object(relay))
		json_object_set(out, "relay", relay);
	else
		json_object_set_new(out, "relay", json_null());
	json_object_set_new(out, "relay_error",
			    json_is_object(relay) ? json_null() : json_text(err.text));
	json_decref(relay);
	free(body);
}

bool status_add_outbox(json_t *out, const struct config *config, struct error *err)
{
	char shown[PGNAME_FULL_SIZE];
	struct pgname name;

	if (!pgname_parse(config->outbox.table, &name, err))
		return false;
	pgname_show(&name, shown);
	json_object_set_new(out, "outbox", json_text(shown));
	json_object_set_new(out, "settle", json_string(config_settle_word(config->outbox.settle)));
	return true;
}

bool status_add_database(json_t *out, const struct config *config, PGconn *conn, struct error *err)
{
	char table[PGNAME_FULL_SIZE];
	struct pgname name;

	if (!pgname_parse(config->outbox.table, &name, err))
		return false;
	pgname_print(&name, table);
	/* Empty one second and a million rows the next: never trust the statistics. What a plan
	 * may not use counts as so costly that it would be compiled each time. */
	return pgsync_script(
		   conn, "preparing to read",
		   "BEGIN READ ONLY; SET LOCAL enable_seqscan = off; SET LOCAL jit = off;"
		   " SET LOCAL enable_bitmapscan = off; SET LOCAL statement_timeout = '15s'",
		   err) &&
	       position_state_add(out, config, conn, table, err) &&
	       add_waiting(out, config, conn, table, err) &&
	       group_add(out, config, conn, table, err) &&
	       producer_state_add(out, conn, table, err) &&
	       add_depth_guard(out, conn, table, err) && add_letters(out, conn, table, err) &&
	       add_actions(out, conn, table, err) &&
	       pgsync_script(conn, "ending the reading", "COMMIT", err);
}
