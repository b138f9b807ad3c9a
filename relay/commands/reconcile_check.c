/* SPDX-License-Identifier: ISC */
/*
 * reconcile_check.c - whether `reconcile` may begin: the outbox is as the configuration says, the
 * role may settle, and nobody publishes
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "known.h"
#include "outbox/registry.h"
#include "postgres.h"
#include "reconcile.h"
#include "relays.h"
#include "unsettled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION "outbox-relay reconcile"

/* As a relay's session: the table may be empty one second and a million rows the next, and what was
 * settled must survive a crash. */
static const char SETTINGS[] =
    "SELECT set_config(name, value, false) FROM (VALUES ('enable_seqscan', 'off'),"
    " ('enable_bitmapscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),"
    " ('jit', 'off'), ('statement_timeout', '0'), ('default_transaction_read_only', 'off'),"
    " ('default_transaction_isolation', 'read committed'), ('synchronous_commit',"
    "  coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')))"
    " AS settings (name, value)";

bool reconcile_connect(struct reconcile *reconcile, struct error *err)
{
	if (reconcile->conn != NULL)
		PQfinish(reconcile->conn);
	pgsync_be_patient();
	reconcile->conn = command_connect(reconcile->config, APPLICATION, err);
	return reconcile->conn != NULL &&
	       pgsync_script(reconcile->conn, "setting up the session", SETTINGS, err);
}

/* ---- the outbox ---- */

/* By which column rows are marked, and which rows are events. */
static bool check_marks(const struct reconcile *reconcile, struct error *err)
{
	const struct config *config = reconcile->config;
	const char *params[] = {reconcile->table, config->outbox.columns.id,
				config->outbox.settle == SETTLE_MARK ? "true" : "false",
				config->outbox.columns.published_at};
	PGresult *result = pgsync_query(reconcile->conn, "looking what marks rows", outbox_registry,
					4, params, err);
	bool good =
	    result != NULL && outbox_registry_marks_check(result, reconcile->shown, config, err);

	PQclear(result);
	return good;
}

/* What the relay's role has, and an operator's lacks. */
static const char RIGHTS_SQL[] =
    "SELECT current_user AS role, CASE $2 WHEN 'delete' THEN has_table_privilege($1, 'DELETE')"
    " WHEN 'mark' THEN has_column_privilege($1, $3, 'UPDATE')"
    " ELSE has_table_privilege('outbox_relay.settled_ahead', 'INSERT') END AS may";

static bool check_rights(const struct reconcile *reconcile, struct error *err)
{
	const struct config *config = reconcile->config;
	const char *params[] = {reconcile->table, config_settle_word(config->outbox.settle),
				config->outbox.columns.published_at};
	PGresult *result =
	    pgsync_query(reconcile->conn, "looking for rights", RIGHTS_SQL, 3, params, err);
	bool good = result != NULL && pgsync_bool(result, 0, "may");

	if (result != NULL && !good)
		error_set(
		    err,
		    "role %s may not settle rows of table %s; connect as the relay does, as a "
		    "member of its role",
		    pgsync_text(result, 0, "role"), reconcile->shown);
	PQclear(result);
	return good;
}

/* Rows are looked up by topic and key: what else the relay rejects them for, another publisher may
 * have published. */
static bool make_route(struct reconcile *reconcile, struct error *err)
{
	struct route_rules rules = routed_rules(reconcile->config);

	rules.partition = rules.timestamp = NULL;
	return routed_init(&reconcile->routed, &rules, &reconcile->config->outbox.columns, err);
}

bool reconcile_check(struct reconcile *reconcile, struct error *err)
{
	const struct known_question question = {reconcile->table, reconcile->shown, "settle",
						false};
	const struct config *config = reconcile->config;
	struct known known;

	return known_outbox(reconcile->conn, &question, &known, err) &&
	       outbox_settling_check(config_settle_word(known.settle), reconcile->shown,
				     config->outbox.settle, err) &&
	       check_marks(reconcile, err) &&
	       unsettled_known(reconcile->conn, config, reconcile->table, NULL, err) &&
	       check_rights(reconcile, err) &&
	       when_read(reconcile->conn, reconcile->options->before, &reconcile->before, err) &&
	       make_route(reconcile, err);
}

/* ---- relays ---- */

static bool refuse_relay(const struct reconcile *reconcile, const json_t *relay, struct error *err)
{
	const char *name = json_string_value(json_object_get(relay, "application"));

	return error_set(err,
			 "relay %s, session %" JSON_INTEGER_FORMAT ", is connected to %s; stop all "
			 "of its relays, and run this again",
			 name != NULL ? name : "unknown",
			 json_integer_value(json_object_get(relay, "pid")), reconcile->shown);
}

static bool check_relays(const struct reconcile *reconcile, struct error *err)
{
	json_t *relays = group_read(reconcile->conn, reconcile->table, err);
	bool good = relays != NULL && (json_array_size(relays) == 0 ||
				       refuse_relay(reconcile, json_array_get(relays, 0), err));

	json_decref(relays);
	return good;
}

/* ---- replication slots ---- */

/* Those that a connector may read this database by. */
static const char SLOTS_SQL[] =
    "SELECT slot_name::text AS name, active, active_pid AS pid, confirmed_flush_lsn::text AS"
    " flushed FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical'"
    " AND database = current_database() ORDER BY 1";

static bool refuse_unknown(const struct reconcile *reconcile, const PGresult *slots,
			   struct error *err)
{
	char *names = xstrdup("");

	for (int row = 0; row < PQntuples(slots); row++)
		xappend(&names, "%s %s", row > 0 ? "," : ": there are",
			pgsync_text(slots, row, "name"));
	error_set(err, "this database has no logical replication slot \"%s\"%s; fix --slot",
		  reconcile->options->slot, *names != '\0' ? names : ", and no other");
	free(names);
	return false;
}

static bool check_slot(struct reconcile *reconcile, const PGresult *slots, int row,
		       struct error *err)
{
	if (pgsync_bool(slots, row, "active"))
		return error_set(
		    err,
		    "replication slot %s is active: session %s reads from it; stop the "
		    "connector, and run this again",
		    reconcile->options->slot, pgsync_text(slots, row, "pid"));
	json_decref(reconcile->slot);
	reconcile->slot = json_object();
	json_object_set_new(reconcile->slot, "name", json_text(reconcile->options->slot));
	json_object_set_new(reconcile->slot, "confirmed_flush_lsn",
			    json_text(pgsync_text(slots, row, "flushed")));
	return true;
}

static bool find_slot(struct reconcile *reconcile, const PGresult *slots, struct error *err)
{
	for (int row = 0; row < PQntuples(slots); row++)
		if (strcmp(pgsync_text(slots, row, "name"), reconcile->options->slot) == 0)
			return check_slot(reconcile, slots, row, err);
	return refuse_unknown(reconcile, slots, err);
}

/* One of them may be the connector's. */
static void note_active(struct reconcile *reconcile, const PGresult *slots)
{
	for (int row = 0; row < PQntuples(slots); row++)
		if (pgsync_bool(slots, row, "active"))
			reconcile_note(reconcile,
				       "replication slot %s is active: if a connector publishes "
				       "this outbox by it, stop it, and run this again with --slot",
				       pgsync_text(slots, row, "name"));
}

bool reconcile_is_alone(struct reconcile *reconcile, struct error *err)
{
	bool first = json_array_size(reconcile->notes) == 0, good;
	PGresult *slots;

	if (!check_relays(reconcile, err))
		return false;
	slots =
	    pgsync_query(reconcile->conn, "looking for replication slots", SLOTS_SQL, 0, NULL, err);
	if (slots == NULL)
		return false;
	good = reconcile->options->slot == NULL || find_slot(reconcile, slots, err);
	if (reconcile->options->slot == NULL && first)
		note_active(reconcile, slots);
	PQclear(slots);
	return good;
}
