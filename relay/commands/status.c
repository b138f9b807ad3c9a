/* SPDX-License-Identifier: ISC */
/*
 * status.c - the command `status`: what waits, which relays publish it, and how fast
 *
 * Most comes from the database, so it is known while no relay runs; the rest is asked of
 * the relay at http.listen.
 */
#include "base/pgname.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "http.h"
#include "postgres.h"
#include "relays.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_CAP = 10000, HTTP_TIMEOUT_MS = 2000 };

static const char HELP[] =
    "Usage: outbox-relay status [-c FILE] [--json]\n"
    "\n"
    "Shows how many events wait and since when, which relays there are and who owns which shard,\n"
    "whether they are paused, how many dead letters there are, and what the relay at http.listen "
    "says of "
    "itself.\n"
    "Changes nothing.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          the same for a program\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 done (also when no relay answers), 1 the database could not be asked, 2 the "
    "file\n"
    "is wrong.\n";

/* Counted as far as that is cheap; beyond, by how many ids were given out. */
static char *waiting_sql(const struct config *config, const char *table)
{
	char id[PGNAME_QUOTED_SIZE], created[PGNAME_QUOTED_SIZE] = "NULL::timestamptz";
	const struct config_columns *columns = &config->outbox.columns;

	pgname_quote(columns->id, id);
	if (*columns->created_at)
		pgname_quote(columns->created_at, created);
	return xasprintf(
	    "WITH head AS (SELECT %s AS id, %s AS at FROM %s%s ORDER BY %s LIMIT %d)"
	    " SELECT count(*) AS counted, max(id) AS last,"
	    " pg_sequence_last_value(pg_get_serial_sequence($1::text, $2::text)::regclass) AS "
	    "drawn,"
	    " (SELECT CASE WHEN isfinite(at) THEN extract(epoch FROM clock_timestamp())"
	    " - extract(epoch FROM at) END"
	    "  FROM head ORDER BY id LIMIT 1) AS age FROM head",
	    id, created, table,
	    config->outbox.settle == SETTLE_MARK ? " WHERE published_at IS NULL" : "", id,
	    COUNT_CAP + 1);
}

static bool add_waiting(json_t *out, const struct config *config, PGconn *conn, const char *table,
			struct error *err)
{
	char *sql = waiting_sql(config, table);
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

static bool add_dead_letters(json_t *out, PGconn *conn, const char *table, struct error *err)
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

/* What the relay says of itself, as it says it; or why it does not. */
static void add_relay(json_t *out, const struct config *config)
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

static bool collect(json_t *out, const struct config *config, struct error *err)
{
	char table[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE];
	struct pgname name;
	PGconn *conn;
	bool good;

	if (!pgname_parse(config->outbox.table, &name, err))
		return false;
	pgname_print(&name, table);
	pgname_show(&name, shown);
	json_object_set_new(out, "outbox", json_text(shown));
	json_object_set_new(out, "settle",
			    json_string(config->outbox.settle == SETTLE_MARK ? "mark" : "delete"));
	conn = command_connect(config, "outbox-relay status", err);
	if (!conn)
		return false;
	/* Empty one second and a million rows the next: never trust the statistics. */
	good =
	    pgsync_script(conn, "preparing to read",
			  "BEGIN READ ONLY; SET LOCAL enable_seqscan = off;"
			  " SET LOCAL enable_bitmapscan = off; SET LOCAL statement_timeout = '15s'",
			  err) &&
	    add_waiting(out, config, conn, table, err) &&
	    group_add(out, config, conn, table, err) && add_dead_letters(out, conn, table, err) &&
	    add_actions(out, conn, table, err);
	PQfinish(conn);
	if (good)
		add_relay(out, config);
	return good;
}

static void print_age(const json_t *out)
{
	const json_t *age = json_object_get(out, "oldest_age_seconds");

	if (json_is_number(age))
		printf("%-14s %.1f s\n", "oldest", json_number_value(age));
	else
		printf("%-14s -\n", "oldest");
}

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

static void print_state(const json_t *relay)
{
	const char *explanation = text_of(relay, "explanation");

	printf("%-14s %s for %.1f s%s%s\n", "state", text_of(relay, "state"),
	       json_number_value(json_object_get(relay, "state_seconds")),
	       explanation[0] ? ": " : "", explanation);
	printf("%-14s database %s, Kafka %s\n", "peers",
	       json_is_true(json_object_get(relay, "database")) ? "connected" : "unreachable",
	       json_is_true(json_object_get(relay, "kafka")) ? "connected" : "unreachable");
}

static void print_seconds(const json_t *problem)
{
	const json_t *seconds = json_object_get(problem, "seconds");

	printf("%-14s ", "");
	if (json_is_number(seconds))
		printf("for %.0f s; ", json_number_value(seconds));
}

static void print_problems(const json_t *relay)
{
	const json_t *problem, *problems = json_object_get(relay, "problems");
	size_t i;

	json_array_foreach(problems, i, problem)
	{
		printf("%-14s %s: %s\n", i == 0 ? "problems" : "", text_of(problem, "name"),
		       text_of(problem, "text"));
		print_seconds(problem);
		printf("see %s\n", text_of(problem, "runbook"));
	}
	if (i == 0)
		printf("%-14s none\n", "problems");
}

static void print_numbers(const json_t *relay)
{
	static const struct {
		const char *member, *label, *unit;
	} lines[] = {
	    {"floor", "low watermark", ""},
	    {"parked_keys", "parked keys", ""},
	    {"published", "published", " since its start"},
	    {"rate_10s", "rate", " events/s in the last 10 s"},
	    {"rate_60s", "", " events/s in the last minute"},
	};
	const json_t *value;
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		value = json_object_get(relay, lines[i].member);
		if (json_is_integer(value))
			printf("%-14s %" JSON_INTEGER_FORMAT "%s\n", lines[i].label,
			       json_integer_value(value), lines[i].unit);
		else if (json_is_real(value))
			printf("%-14s %.1f%s\n", lines[i].label, json_real_value(value),
			       lines[i].unit);
	}
}

static void print_latency(const json_t *relay)
{
	const json_t *latency = json_object_get(relay, "latency");

	if (json_is_object(latency))
		printf("%-14s %.3f s, 95 %% within %.3f s, 99 %% within %.3f s (last minute)\n",
		       "latency", json_number_value(json_object_get(latency, "p50")),
		       json_number_value(json_object_get(latency, "p95")),
		       json_number_value(json_object_get(latency, "p99")));
}

/* The last three. */
static void print_actions(const json_t *out)
{
	const json_t *action, *actions = json_object_get(out, "operator_actions");
	size_t i;

	json_array_foreach(actions, i, action)
	{
		if (i == 3)
			return;
		printf("%-14s %s %s by %s (%s)\n", i == 0 ? "operators" : "", text_of(action, "at"),
		       text_of(action, "action"), text_of(action, "role"),
		       text_of(action, "detail"));
	}
}

/* What the relay at http.listen says, in its own words. */
static void print_relay(const json_t *out)
{
	const json_t *relay = json_object_get(out, "relay");

	if (!json_is_object(relay)) {
		printf("%-14s not asked: %s\n", "relay", text_of(out, "relay_error"));
		return;
	}
	print_state(relay);
	print_problems(relay);
	print_numbers(relay);
	print_latency(relay);
}

static void print_text(const json_t *out)
{
	printf("%-14s %s, settle = %s%s\n", "outbox",
	       json_string_value(json_object_get(out, "outbox")),
	       json_string_value(json_object_get(out, "settle")),
	       json_is_true(json_object_get(out, "paused")) ? ", paused" : "");
	printf("%-14s %s%" JSON_INTEGER_FORMAT "%s\n", "depth",
	       json_is_true(json_object_get(out, "depth_exact")) ? "" : "about ",
	       json_integer_value(json_object_get(out, "depth")),
	       json_is_true(json_object_get(out, "depth_exact")) ? "" : " (estimate)");
	print_age(out);
	group_print(out);
	printf("%-14s %" JSON_INTEGER_FORMAT "\n", "dead letters",
	       json_integer_value(json_object_get(out, "dead_letters")));
	print_actions(out);
	print_relay(out);
}

/* What to do about the commonest refusals of the database. */
static void hint(void)
{
	static const struct {
		const char *state, *words;
	} hints[] = {
	    {"42P01", "run `outbox-relay migrate`, or fix outbox.table"},
	    {"42703", "fix outbox.columns, or see `outbox-relay migrate --adopt`"},
	    {"42501", COMMAND_OPERATOR_HINT},
	};
	size_t i;

	for (i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (strcmp(pgsync_sqlstate(), hints[i].state) == 0)
			fprintf(stderr, "%s\n", hints[i].words);
	}
}

static int report(const struct config *config, bool json)
{
	json_t *out = json_object();
	struct error err;
	int status = EXIT_DONE;

	if (!collect(out, config, &err)) {
		status = command_failed("status", &err);
		hint();
	} else if (json) {
		command_print(out);
	} else {
		print_text(out);
	}
	json_decref(out);
	return status;
}

int cmd_status(int argc, char **argv)
{
	const char *path = COMMAND_CONFIG_FILE;
	struct config *config;
	bool json = false;
	int status = command_options(argc, argv, HELP, &path, &json);

	if (status >= 0)
		return status;
	config = command_config(path);
	if (!config)
		return EXIT_USAGE;
	status = report(config, json);
	config_free(&config);
	return status;
}
