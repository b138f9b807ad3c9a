/* SPDX-License-Identifier: ISC */
/*
 * status.c - the command `status`: what waits, which relays publish it, and how fast
 *
 * Most comes from the database, so it is known while no relay runs; the rest is asked of
 * the relay at http.listen.
 */
#include "commands.h"
#include "depth_guard.h"
#include "position_state.h"
#include "postgres.h"
#include "producer_state.h"
#include "relays.h"
#include "status_read.h"
#include "watch.h"
#include "words.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: outbox-relay status [-c FILE] [--json | --watch]\n"
    "\n"
    "Shows how many events wait and since when, which relays there are and who owns which shard,\n"
    "whether they are paused, how many keys are parked and dead letters there are, and what the\n"
    "relay at http.listen says of itself.\n"
    "Changes nothing.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          the same for a program\n"
    "      --watch         the same as a page in the terminal, every 2 s; q ends it\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 done (also when no relay answers), 1 the database could not be asked, 2 the "
    "file\n"
    "is wrong.\n";

static bool collect(json_t *out, const struct config *config, struct error *err)
{
	PGconn *conn;
	bool good;

	if (!status_add_outbox(out, config, err))
		return false;
	conn = command_connect(config, "outbox-relay status", err);
	if (!conn)
		return false;
	good = status_add_database(out, config, conn, err);
	PQfinish(conn);
	if (good)
		status_add_relay(out, config);
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
	    {"held_keys", "held keys", ""},
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

static void print_words(const char *label, char *words)
{
	printf("%-14s %s\n", label, words);
	free(words);
}

static void print_letters(const json_t *out)
{
	print_words("dead letters", words_dead_letters(out));
	print_words("parked keys", words_parked_keys(out));
	if (json_integer_value(json_object_get(out, "deferred_events")) > 0)
		print_words("for topics", words_deferred(out, json_object_get(out, "relay")));
}

static void print_depth(const json_t *out)
{
	const json_t *depth = json_object_get(out, "depth");
	bool exact = json_is_true(json_object_get(out, "depth_exact"));

	if (!json_is_integer(depth))
		printf("%-14s not known\n", "depth");
	else
		printf("%-14s %s%" JSON_INTEGER_FORMAT "%s\n", "depth", exact ? "" : "about ",
		       json_integer_value(depth), exact ? "" : " (estimate)");
}

static void print_labelled(void *arg, bool warns, const char *text)
{
	const char **label = arg;

	(void)warns;
	printf("%-14s %s\n", *label, text);
	*label = "";
}

static void print_text(const json_t *out)
{
	const char *position = "position", *producers = "producers";

	printf("%-14s %s, settle = %s%s\n", "outbox",
	       json_string_value(json_object_get(out, "outbox")),
	       json_string_value(json_object_get(out, "settle")),
	       json_is_true(json_object_get(out, "paused")) ? ", paused" : "");
	print_depth(out);
	print_age(out);
	position_state_tell(out, print_labelled, &position);
	depth_guard_print(json_object_get(out, "depth_guard"));
	group_print(out);
	producer_state_tell(out, print_labelled, &producers);
	print_letters(out);
	if (json_integer_value(json_object_get(out, "copies_owed")) > 0)
		printf("%-14s %" JSON_INTEGER_FORMAT "\n", "copies owed",
		       json_integer_value(json_object_get(out, "copies_owed")));
	print_actions(out);
	print_relay(out);
}

static int report(const struct config *config, bool json)
{
	json_t *out = json_object();
	struct error err;
	int status = EXIT_DONE;

	if (!collect(out, config, &err)) {
		status = command_failed("status", &err);
		command_hint();
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
	bool json = false, watch = false;
	const struct command_flag flags[] = {
	    {"json", &json, NULL, NULL}, {"watch", &watch, NULL, NULL}, {0}};
	int status = command_options(argc, argv, HELP, &path, flags);

	if (status >= 0)
		return status;
	if (json && watch) {
		fprintf(stderr, "outbox-relay status: --watch is for people, --json for programs; "
				"call status --json as often as you need\n");
		return EXIT_USAGE;
	}
	config = command_config(path);
	if (!config)
		return EXIT_USAGE;
	status = watch ? watch_status(config) : report(config, json);
	config_free(&config);
	return status;
}
