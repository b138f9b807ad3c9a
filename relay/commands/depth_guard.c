/* SPDX-License-Identifier: ISC */
/*
 * depth_guard.c - the trigger that refuses events while too many wait, as `status` and `check` show
 * it
 */
#include "depth_guard.h"

#include "base/text.h"
#include "postgres.h"

#include <stdio.h>
#include <string.h>

/* The arguments of a trigger are texts, each with a zero byte behind it (pg_trigger.tgargs). A
 * trigger of a role that may not use the schema is found, too. */
static const char SQL[] =
    "SELECT tgname, tgenabled IN ('O', 'A') AS enabled, args[1] AS most, nullif(args[2], '') AS "
    "action FROM ("
    "  SELECT t.tgname, t.tgenabled, string_to_array(encode(t.tgargs, 'escape'), '\\000') AS args"
    "  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
    "  JOIN pg_namespace n ON n.oid = p.pronamespace"
    "  WHERE t.tgrelid = to_regclass($1) AND n.nspname = 'outbox_relay' AND p.proname = "
    "'depth_guard'"
    "  ORDER BY t.tgname LIMIT 1) AS guard";

json_t *depth_guard_read(PGconn *conn, const char *table, struct error *err)
{
	PGresult *result = pgsync_query(conn, "looking for a depth guard", SQL, 1, &table, err);
	json_t *guard;
	const char *action;

	if (!result)
		return NULL;
	guard = json_null();
	if (PQntuples(result) > 0) {
		action = pgsync_text(result, 0, "action");
		guard = json_object();
		json_object_set_new(guard, "limit", json_integer(pgsync_number(result, 0, "most")));
		json_object_set_new(guard, "action", json_text(action ? action : "error"));
		json_object_set_new(guard, "trigger", json_text(pgsync_text(result, 0, "tgname")));
		json_object_set_new(guard, "enabled",
				    json_boolean(pgsync_bool(result, 0, "enabled")));
	}
	PQclear(result);
	return guard;
}

void depth_guard_print(const json_t *guard)
{
	const char *action = json_string_value(json_object_get(guard, "action"));

	if (!action)
		return;
	printf("%-14s %s beyond %" JSON_INTEGER_FORMAT "%s\n", "depth guard", action,
	       json_integer_value(json_object_get(guard, "limit")),
	       json_is_true(json_object_get(guard, "enabled")) ? "" : ", disabled");
}

static void judge(struct check *check, const json_t *guard, const char *shown)
{
	const char *trigger = json_string_value(json_object_get(guard, "trigger"));
	json_int_t limit = json_integer_value(json_object_get(guard, "limit"));
	bool warns = strcmp(json_string_value(json_object_get(guard, "action")), "warn") == 0;

	if (json_is_true(json_object_get(guard, "enabled")))
		check_ok(check, "inserts into %s %s while %" JSON_INTEGER_FORMAT " events wait",
			 shown, warns ? "warn" : "fail", limit);
	else
		check_warn(check, "ALTER TABLE ... ENABLE TRIGGER, or DROP TRIGGER",
			   "trigger %s, which guards the depth of %s, is disabled", trigger, shown);
}

void depth_guard_check(struct check *check, PGconn *conn, const char *table, const char *shown)
{
	struct error err;
	json_t *guard = depth_guard_read(conn, table, &err);

	if (!guard)
		check_error(check, "see the server's log", "%s", err.text);
	else if (json_is_object(guard))
		judge(check, guard, shown);
	json_decref(guard);
}
