/* SPDX-License-Identifier: ISC */
/*
 * verify.c - the command `verify`: compares the topics with what the outbox says was published
 */
#include "verify.h"

#include "base/pgname.h"
#include "commands.h"
#include "converted.h"
#include "known.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INTERVAL_MS = 10000, PATIENCE_MS = 30000 };

static const char HELP[] =
    "Usage: outbox-relay verify [-c FILE] [options]\n"
    "       outbox-relay verify --continuous [-c FILE] [options]\n"
    "\n"
    "Reads the topics, without a consumer group, and compares them with what the outbox says was\n"
    "published. Reports events that are missing, that came more than once, that came out of\n"
    "order within their key, and that are in a wrong partition or have a wrong key. Changes\n"
    "nothing.\n"
    "\n"
    "  -c, --config FILE          configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --topic TOPIC          only this one; may be given again (default: all that\n"
    "                             route.topic may name)\n"
    "      --since T, --until T   rows published (outbox.settle = \"position\": created) from T\n"
    "                             on, before T: a time as PostgreSQL reads it, or how long ago\n"
    "                             (2h)\n"
    "      --from-id N, --to-id N rows with these ids only\n"
    "      --from-event-ids FILE  what must be there are the event ids in FILE, one a line\n"
    "      --allow-repeats        repeats are told, and are no finding\n"
    "      --allow-overlaps TIME  an event may come after one of its key that was inserted less\n"
    "                             than TIME later: their transactions may have overlapped\n"
    "      --samples N            show at most so many of a kind (default 10; 100 with --json)\n"
    "      --payloads             with their payloads\n"
    "      --json                 the outcome as JSON\n"
    "  -h, --help                 this text\n"
    "\n"
    "With --continuous it inserts an event of its own again and again, reads it back, and "
    "measures\n"
    "how long that takes, until it is told to stop.\n"
    "\n"
    "      --dsn DSN              insert with this instead of database.dsn\n"
    "      --canary-type TYPE     aggregate type of these events (default\n"
    "                             outbox-relay-canary); their topic must exist\n"
    "      --interval TIME        one so often (default 10s)\n"
    "      --timeout TIME         one that is not back by then is lost (default 30s)\n"
    "      --listen ADDRESS       /metrics there, and go on after a loss; without it, the\n"
    "                             first loss ends it with status 1\n"
    "\n"
    "With outbox.settle = \"delete\" no row says what was published: repeats and order are looked\n"
    "at, and --from-event-ids says what must be there.\n"
    "\n"
    "Exit status: 0 nothing was found, 1 something was, or database or brokers could not be\n"
    "asked, 2 wrong usage, or the file is wrong.\n";

/* ---- options ---- */

static bool take_topic(void *to, const char *text, struct error *err)
{
	struct config_strings *topics = to;

	(void)err;
	topics->items[topics->count++] = (char *)(uintptr_t)text;
	return true;
}

/* Digits, to stand in SQL as they are. */
static bool take_id(void *to, const char *text, struct error *err)
{
	int64_t ignored;

	*(const char **)to = text;
	return command_number(text, INT64_MIN, INT64_MAX, &ignored, err);
}

static int parse(int argc, char **argv, struct verify_options *options)
{
	struct canary_options *canary = &options->canary;
	const struct command_flag flags[] = {
	    {"topic", NULL, take_topic, &options->topics},
	    {"since", NULL, command_take_text, &options->since},
	    {"until", NULL, command_take_text, &options->until},
	    {"from-id", NULL, take_id, &options->from_id},
	    {"to-id", NULL, take_id, &options->to_id},
	    {"from-event-ids", NULL, command_take_text, &options->ids_path},
	    {"allow-repeats", &options->allow_repeats, NULL, NULL},
	    {"allow-overlaps", NULL, command_take_duration, &options->overlaps_ms},
	    {"samples", NULL, command_take_count, &options->samples},
	    {"payloads", &options->payloads, NULL, NULL},
	    {"json", &options->json, NULL, NULL},
	    {"continuous", &options->continuous, NULL, NULL},
	    {"dsn", NULL, command_take_text, &canary->dsn},
	    {"canary-type", NULL, command_take_text, &canary->type},
	    {"interval", NULL, command_take_duration, &canary->interval_ms},
	    {"timeout", NULL, command_take_duration, &canary->timeout_ms},
	    {"listen", NULL, command_take_text, &canary->listen},
	    {0}};

	return command_options(argc, argv, HELP, &options->path, flags);
}

static bool is_ranged(const struct verify_options *options)
{
	return options->since != NULL || options->until != NULL || options->from_id != NULL ||
	       options->to_id != NULL;
}

/* Options that say how to compare, and those that say how to measure, exclude each other. */
static bool is_mixed(const struct verify_options *options)
{
	const struct canary_options *canary = &options->canary;
	bool compares = is_ranged(options) || options->ids_path != NULL ||
			options->topics.count > 0 || options->samples >= 0 || options->payloads ||
			options->json || options->allow_repeats || options->overlaps_ms > 0;
	bool measures = canary->dsn != NULL || canary->listen != NULL || canary->type != NULL ||
			canary->interval_ms > 0 || canary->timeout_ms > 0;

	return options->continuous ? compares : measures;
}

/* What does not go with the configuration, in words; NULL: all does. */
static const char *misfit(const struct config *config, const struct verify_options *options)
{
	char *header;

	if (is_mixed(options))
		return "--dsn, --canary-type, --interval, --timeout and --listen go with "
		       "--continuous, and the other options do not";
	if (config->kafka.embedded)
		return COMMAND_EMBEDDED;
	if (config->outbox.settle == SETTLE_DELETE &&
	    (options->until != NULL || options->from_id != NULL || options->to_id != NULL))
		return "--until, --from-id and --to-id choose rows that were marked, and "
		       "outbox.settle is \"delete\"; use --since, and --from-event-ids";
	if (options->overlaps_ms > 0 && (config->outbox.settle == SETTLE_DELETE ||
					 config->outbox.columns.created_at[0] == '\0'))
		return "--allow-overlaps looks at the times of rows: it needs outbox.settle "
		       "= \"mark\" or \"position\", and outbox.columns.created_at";
	if (config->outbox.settle == SETTLE_POSITION &&
	    config->outbox.columns.created_at[0] == '\0' &&
	    (options->since != NULL || options->until != NULL))
		return "with outbox.settle = \"position\" --since and --until choose rows by "
		       "when they were created: name outbox.columns.created_at";
	if (config->outbox.settle == SETTLE_DELETE && config->route.timestamp[0] != '\0' &&
	    options->since != NULL)
		return "with route.timestamp records have the times of their events, so "
		       "--since cannot choose those that were published since; leave it out";
	header = verify_header_of(config, "event_id");
	if (header == NULL)
		return "no header carries the event id, by which records are told apart: "
		       "add \"id=${event_id}\" to route.headers";
	free(header);
	return NULL;
}

/* ---- the command ---- */

/* Whatever is seen settled has arrived before. */
static bool pin(struct verify *verify, struct error *err)
{
	return kafka_reader_mark(verify->reader, err);
}

/* What a header has of an event id must be what the database has of it. */
static bool check_ids(const struct verify *verify, struct error *err)
{
	return converted_keeps_text(verify->config->encode.headers,
				    expected_id_kind(verify->expected)) ||
	       error_set(err,
			 "encode.headers writes column \"%s\", the event id, not as the database "
			 "prints it, so no record can be told to be a row's; let a column of type "
			 "uuid, text or bigint be outbox.columns.event_id",
			 verify->config->outbox.columns.event_id);
}

static bool compare(struct verify *verify, struct error *err)
{
	const struct known_question question = {verify->table, verify->shown, "verify", false};
	struct known ignored;

	verify->conn = command_connect(verify->config, "outbox-relay verify", err);
	if (verify->conn == NULL || !known_outbox(verify->conn, &question, &ignored, err))
		return false;
	verify->expected = expected_new(verify->config, verify->conn, verify->table, err);
	if (verify->expected == NULL || !check_ids(verify, err) ||
	    !when_read(verify->conn, verify->options->since, &verify->since, err) ||
	    !when_read(verify->conn, verify->options->until, &verify->until, err) ||
	    !verify_open_topics(verify, err) || !verify_read_ids(verify, err) ||
	    !verify_read_outbox(verify, pin, err))
		return false;
	verify->due = audit_due(verify->audit);
	return verify_read_topics(verify, err) && verify_find_missing(verify, err);
}

static int verify_once(const struct config *config, const struct verify_options *options)
{
	struct verify verify = {.options = options,
				.config = config,
				.stay = config->outbox.settle != SETTLE_DELETE,
				.ranged = is_ranged(options),
				.earliest_ms = INT64_MAX,
				.unread = json_array(),
				.event_id_header = verify_header_of(config, "event_id"),
				.id_header = verify_header_of(config, "id")};
	struct pgname name;
	struct error err;
	int status;

	if (!pgname_parse(config->outbox.table, &name, &err))
		return command_wrong("verify", err.text);
	pgname_print(&name, verify.table);
	pgname_show(&name, verify.shown);
	for (int i = 0; i < LISTS; i++)
		verify.samples[i] = json_array();
	if (compare(&verify, &err)) {
		status = verify_report(&verify);
	} else {
		status = command_failed("verify", &err);
		command_hint();
	}
	for (int i = 0; i < LISTS; i++)
		json_decref(verify.samples[i]);
	json_decref(verify.unread);
	kafka_reader_free(&verify.reader);
	audit_free(&verify.audit);
	expected_free(&verify.expected);
	if (verify.conn != NULL)
		PQfinish(verify.conn);
	free(verify.settled);
	free(verify.compacted);
	free(verify.firsts);
	free(verify.event_id_header);
	free(verify.id_header);
	return status;
}

static int watch(const struct config *config, struct canary_options *canary)
{
	if (canary->type == NULL)
		canary->type = "outbox-relay-canary";
	if (canary->interval_ms == 0)
		canary->interval_ms = INTERVAL_MS;
	if (canary->timeout_ms == 0)
		canary->timeout_ms = PATIENCE_MS;
	return canary_run(config, canary);
}

int cmd_verify(int argc, char **argv)
{
	char *topics[argc]; /* more cannot be given */
	struct verify_options options = {
	    .path = COMMAND_CONFIG_FILE, .topics = {topics, 0}, .samples = -1};
	int status = parse(argc, argv, &options);
	const char *misfits;
	struct config *config;

	if (status >= 0)
		return status;
	config = command_config(options.path);
	if (config == NULL)
		return EXIT_USAGE;
	misfits = misfit(config, &options);
	if (misfits != NULL)
		status = command_wrong("verify", misfits);
	else
		status = options.continuous ? watch(config, &options.canary)
					    : verify_once(config, &options);
	config_free(&config);
	return status;
}
