/* SPDX-License-Identifier: ISC */
/*
 * compare.c - the command `compare`: differences, by event id, between two sets of topics
 */
#include "compare.h"

#include "base/clock.h"
#include "commands.h"
#include "core/route.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "Usage: outbox-relay compare [-c FILE] [options]\n"
    "\n"
    "Reads the topics of a live connector and those that `outbox-relay shadow` has published to,\n"
    "without a consumer group, and reports by event id how they differ. Changes nothing.\n"
    "\n"
    "  -c, --config FILE        configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --bootstrap SERVERS  these brokers; without -c no file is read\n"
    "      --prefix PREFIX      topics of the shadow begin so, and go on as the live ones are\n"
    "                           called (default \"shadow.\")\n"
    "      --live TOPIC         only this live topic; may be given again (default: for each topic\n"
    "                           with the prefix the one without)\n"
    "      --pair LIVE=SHADOW   compare these two; may be given again\n"
    "      --id-header NAME     the header with the event id (default \"id\")\n"
    "      --ignore-header NAME do not compare headers of this name; may be given again\n"
    "      --since T, --until T only records from T on, before T: 2026-11-30T03:00:00Z, or how\n"
    "                           long ago (2h)\n"
    "      --timestamps         the records' timestamps must be the same, too\n"
    "      --allow-repeats      repeats are told, and are no difference\n"
    "      --samples N          show at most so many of a kind (default 10; 100 with --json)\n"
    "      --json               the outcome as JSON\n"
    "  -h, --help               this text\n"
    "\n"
    "Exit status: 0 no difference, 1 there are differences, or the brokers could not be asked,\n"
    "2 wrong usage, or the file is wrong.\n";

/* ---- options ---- */

static bool take_name(void *to, const char *text, struct error *err)
{
	struct config_strings *names = to;

	(void)err;
	names->items[names->count++] = (char *)(uintptr_t)text;
	return true;
}

static bool take_topic(void *to, const char *text, struct error *err)
{
	return route_topic_is_legal(slice_of(text))
		   ? take_name(to, text, err)
		   : error_set(err, "\"%s\" is no legal name of a topic", text);
}

static bool take_pair(void *to, const char *text, struct error *err)
{
	struct slice live = {text, strcspn(text, "=")};
	const char *shadow = text[live.len] == '=' ? text + live.len + 1 : "";

	if (route_topic_is_legal(live) && route_topic_is_legal(slice_of(shadow)))
		return take_name(to, text, err);
	return error_set(err, "\"%s\" is not LIVE=SHADOW, two legal names of topics", text);
}

static int parse(int argc, char **argv, struct compare_options *options)
{
	const struct command_flag flags[] = {
	    {"bootstrap", NULL, command_take_text, &options->bootstrap},
	    {"prefix", NULL, command_take_prefix, &options->prefix},
	    {"live", NULL, take_topic, &options->live},
	    {"pair", NULL, take_pair, &options->pairs},
	    {"id-header", NULL, command_take_text, &options->id_header},
	    {"ignore-header", NULL, take_name, &options->ignored},
	    {"since", NULL, command_take_text, &options->since},
	    {"until", NULL, command_take_text, &options->until},
	    {"timestamps", &options->timestamps, NULL, NULL},
	    {"allow-repeats", &options->allow_repeats, NULL, NULL},
	    {"samples", NULL, command_take_count, &options->samples},
	    {"json", &options->json, NULL, NULL},
	    {0}};

	return command_options(argc, argv, HELP, &options->path, flags);
}

/* ---- the command ---- */

static bool read_range(struct comparison *comparison, struct error *err)
{
	const struct compare_options *options = comparison->options;
	struct compare_range *range = &comparison->range;
	int64_t now_ms = clock_realtime_us() / 1000;

	*range = (struct compare_range){INT64_MIN, INT64_MAX};
	if ((options->since != NULL &&
	     !compare_time(options->since, now_ms, &range->since_ms, err)) ||
	    (options->until != NULL &&
	     !compare_time(options->until, now_ms, &range->until_ms, err)))
		return false;
	return range->since_ms < range->until_ms || error_set(err, "--until is not after --since");
}

static int compare_topics(const struct compare_options *options, const struct config *config)
{
	struct comparison comparison = {.options = options};
	struct error err;
	int status;

	if (config != NULL)
		comparison.kafka = command_kafka_options(config);
	if (options->bootstrap != NULL)
		comparison.kafka.bootstrap_servers = options->bootstrap;
	if (!read_range(&comparison, &err))
		return command_wrong("compare", err.text);
	for (int i = 0; i < COMPARE_LISTS; i++)
		comparison.samples[i] = json_array();
	for (int side = 0; side < COMPARE_SIDES; side++)
		comparison.topics[side] = json_array();
	if (compare_open(&comparison, &err) && compare_read(&comparison, &err))
		status = compare_report(&comparison);
	else
		status = command_failed("compare", &err);
	compare_close(&comparison);
	return status;
}

static int run(const struct compare_options *options)
{
	bool reads_file = options->path != NULL || options->bootstrap == NULL;
	struct config *config = NULL;
	int status;

	if (reads_file) {
		config =
		    command_config(options->path != NULL ? options->path : COMMAND_CONFIG_FILE);
		if (config == NULL)
			return EXIT_USAGE;
	}
	if (config != NULL && config->kafka.embedded && options->bootstrap == NULL)
		status = command_wrong(
		    "compare", "kafka.embedded keeps its topics within the relay's process; say "
			       "--bootstrap");
	else
		status = compare_topics(options, config);
	config_free(&config);
	return status;
}

int cmd_compare(int argc, char **argv)
{
	char *live[argc], *pairs[argc], *ignored[argc]; /* more cannot be given */
	struct compare_options options = {.prefix = "shadow.",
					  .id_header = "id",
					  .live = {live, 0},
					  .pairs = {pairs, 0},
					  .ignored = {ignored, 0},
					  .samples = -1};
	int status = parse(argc, argv, &options);

	return status >= 0 ? status : run(&options);
}
