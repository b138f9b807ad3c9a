/* SPDX-License-Identifier: ISC */
/*
 * replay.c - the command `replay`: published rows are published once more
 */
#include "replay.h"

#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "core/route.h"
#include "kafka.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RATE = 1000 };

static const char HELP[] =
    "Usage: outbox-relay replay [-c FILE] SELECTION [options]\n"
    "       outbox-relay replay [-c FILE] --resume N [--rate N] [--json]\n"
    "\n"
    "Publishes rows once more that are published already and still in the outbox\n"
    "(outbox.settle = \"mark\" or \"position\"), in the order of their ids. Each record has the\n"
    "header outbox-relay-replay with the number of the replay. Relays go on meanwhile.\n"
    "\n"
    "The selection, all of it together:\n"
    "      --from-id N, --to-id N  rows with these ids\n"
    "      --event-id ID           this event; may be given again\n"
    "      --key KEY               events with this key, as route.key renders it\n"
    "      --since T, --until T    rows published (outbox.settle = \"position\": created) from T\n"
    "                              on, before T: a time as PostgreSQL reads it, or how long ago\n"
    "                              (2h)\n"
    "      --all                   every published row\n"
    "\n"
    "  -c, --config FILE           configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --to-topic TOPIC        publish to this topic, and not to route.topic\n"
    "      --rate N                so many events a second (default 1000); 0: as fast as it goes\n"
    "      --dry-run               only count what would be published\n"
    "      --resume N              go on with replay N, which was stopped\n"
    "      --anew                  begin although a replay of the same rows was stopped\n"
    "      --json                  the outcome as JSON\n"
    "  -h, --help                  this text\n"
    "\n"
    "Exit status: 0 done, 1 stopped before the end, an event was rejected, no row matches, or\n"
    "database or brokers could not be used, 2 wrong usage, or the file is wrong.\n";

/* ---- options ---- */

/* The lock of a replay has 32 bits for its number. */
static bool take_resume(void *to, const char *text, struct error *err)
{
	return command_number(text, 1, INT32_MAX, &((struct replay_request *)to)->resume, err);
}

static bool take_topic(void *to, const char *text, struct error *err)
{
	((struct replay_request *)to)->topic = text;
	return route_topic_is_legal(slice_of(text)) ||
	       error_set(err, "\"%s\" is no legal name of a topic", text);
}

static bool take_event_id(void *to, const char *text, struct error *err)
{
	json_t *ids = json_object_get(to, "event_ids");
	const char *clean;

	if (!command_take_utf8(&clean, text, err))
		return false;
	if (ids == NULL) {
		ids = json_array();
		json_object_set_new(to, "event_ids", ids);
	}
	json_array_append_new(ids, json_text(clean));
	return true;
}

static bool take_id(json_t *to, const char *name, const char *text, struct error *err)
{
	int64_t ignored;

	if (!command_number(text, INT64_MIN, INT64_MAX, &ignored, err))
		return false;
	json_object_set_new(to, name, json_text(text));
	return true;
}

static bool take_member(json_t *to, const char *name, const char *text, struct error *err)
{
	const char *clean;

	if (!command_take_utf8(&clean, text, err))
		return false;
	json_object_set_new(to, name, json_text(clean));
	return true;
}

static bool take_from_id(void *to, const char *text, struct error *err)
{
	return take_id(to, "from_id", text, err);
}

static bool take_to_id(void *to, const char *text, struct error *err)
{
	return take_id(to, "to_id", text, err);
}

static bool take_key(void *to, const char *text, struct error *err)
{
	return take_member(to, "key", text, err);
}

static bool take_since(void *to, const char *text, struct error *err)
{
	return take_member(to, "since", text, err);
}

static bool take_until(void *to, const char *text, struct error *err)
{
	return take_member(to, "until", text, err);
}

static int parse(int argc, char **argv, struct replay_request *request)
{
	json_t *selection = request->selection;
	const struct command_flag flags[] = {{"from-id", NULL, take_from_id, selection},
					     {"to-id", NULL, take_to_id, selection},
					     {"event-id", NULL, take_event_id, selection},
					     {"key", NULL, take_key, selection},
					     {"since", NULL, take_since, selection},
					     {"until", NULL, take_until, selection},
					     {"all", &request->all, NULL, NULL},
					     {"to-topic", NULL, take_topic, request},
					     {"rate", NULL, command_take_count, &request->rate},
					     {"resume", NULL, take_resume, request},
					     {"anew", &request->anew, NULL, NULL},
					     {"dry-run", &request->dry_run, NULL, NULL},
					     {"json", &request->json, NULL, NULL},
					     {0}};

	return command_options(argc, argv, HELP, &request->path, flags);
}

/* What does not go together, in words; NULL: all does. */
static const char *misfit(const struct replay_request *request)
{
	bool selects = json_object_size(request->selection) > 0;

	if (request->resume > 0 && (selects || request->all || request->topic != NULL ||
				    request->anew || request->dry_run))
		return "--resume goes on with the rows and the topic of that replay; only "
		       "--rate may be given with it";
	if (request->resume == 0 && !selects && !request->all)
		return "no rows are selected: see --help, or say --all";
	if (selects && request->all)
		return "--all is every published row; leave it out, or the others";
	return NULL;
}

/* ---- the report ---- */

static void add_replay(const struct replay_job *job, json_t *out)
{
	const struct replay *replay = &job->replay;

	json_object_set_new(out, "replay", json_integer(replay->number));
	json_object_set_new(out, "published", json_integer(replay->published));
	json_object_set_new(out, "rejected", json_integer(replay->rejected));
	json_object_set_new(out, "position", json_integer(replay->position));
	json_object_set_new(out, "finished", json_boolean(job->ended));
}

static json_t *outcome(const struct replay_job *job)
{
	json_t *out = json_object();

	json_object_set_new(out, "outbox", json_text(job->shown));
	json_object_set_new(out, "dry_run", json_boolean(job->request->dry_run));
	json_object_set_new(out, "events", json_integer(job->events));
	if (job->events > 0) {
		json_object_set_new(out, "first_id", json_integer(job->replay.first_id));
		json_object_set_new(out, "last_id", json_integer(job->replay.last_id));
	}
	json_object_set_new(out, "to_topic", json_text(job->topic));
	json_object_update(out, job->counted);
	if (job->replay.number > 0)
		add_replay(job, out);
	return out;
}

static void print_end(const struct replay_job *job, const char *label, int64_t id, const char *time)
{
	const char *at = json_string_value(json_object_get(job->counted, time));
	bool created = job->config->outbox.settle == SETTLE_POSITION;

	printf("%-10s id %" PRId64 "%s%s\n", label, id,
	       at == NULL ? ""
	       : created  ? ", created "
			  : ", published ",
	       at ? at : "");
}

static void print_count(const struct replay_job *job)
{
	json_t *topics = json_object_get(job->counted, "topics"), *count;
	const char *topic;

	printf("events     %" PRId64 "\n", job->events);
	if (job->events == 0)
		return;
	print_end(job, "first", job->replay.first_id, "first_at");
	print_end(job, "last", job->replay.last_id, "last_at");
	json_object_foreach(topics, topic, count)
	{
		printf("topic      %s: %" JSON_INTEGER_FORMAT "\n",
		       *topic ? topic : "(none: route.topic names a field that is NULL)",
		       json_integer_value(count));
	}
}

static void print_replay(const struct replay_job *job)
{
	const struct replay *replay = &job->replay;

	printf("replay     %" PRId64 "\n", replay->number);
	printf("events     %" PRId64 "\n", job->events);
	printf("published  %" PRId64 "\n", replay->published);
	printf("rejected   %" PRId64 "\n", replay->rejected);
	printf("position   id %" PRId64 "\n", replay->position);
}

static void report(const struct replay_job *job)
{
	json_t *out;

	if (job->request->json) {
		out = outcome(job);
		command_print(out);
		json_decref(out);
	} else if (job->replay.number > 0) {
		print_replay(job);
	} else {
		print_count(job);
	}
}

/* ---- the command ---- */

static int failed(const struct error *err)
{
	command_failed("replay", err);
	command_hint();
	return EXIT_FAILED;
}

static int conclude(struct replay_job *job, bool good)
{
	struct error err;
	bool noted = replay_end(job, &err);

	report(job);
	if (!noted)
		failed(&err);
	if (!job->ended || !noted)
		fprintf(stderr,
			"replay %" PRId64 " has come to id %" PRId64
			"; go on with: outbox-relay replay -c %s --resume %" PRId64 "\n",
			job->replay.number, job->replay.position, job->request->path,
			job->replay.number);
	return good && noted && job->ended && job->replay.rejected == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* As `dlq`: whoever asks for an event wants to know that there is none. */
static int report_none(const struct replay_job *job)
{
	report(job);
	command_flush();
	fprintf(stderr, "outbox-relay replay: no published row of %s matches\n", job->shown);
	return EXIT_FAILED;
}

static int perform(struct replay_job *job)
{
	const struct replay_request *request = job->request;
	struct error err;
	bool good;

	if (!replay_check(job, &err) || (request->resume == 0 && !replay_count(job, &err)))
		return failed(&err);
	if (request->resume == 0 && job->events == 0)
		return report_none(job);
	if (request->dry_run) {
		report(job);
		return EXIT_DONE;
	}
	good = request->resume > 0 ? replay_resume(job, &err) : replay_begin(job, &err);
	if (!good)
		return failed(&err);
	fprintf(stderr, "replay %" PRId64 ": %" PRId64 " events\n", job->replay.number,
		job->events);
	return conclude(job, replay_run(job));
}

static int replay(const struct replay_request *request, const struct config *config)
{
	struct replay_job job = {.request = request,
				 .config = config,
				 .application = "outbox-relay replay",
				 .replay.rate = request->rate};
	struct pgname name;
	struct error err;
	int status;

	if (!pgname_parse(config->outbox.table, &name, &err))
		return command_wrong("replay", err.text);
	if (config->kafka.embedded)
		return command_wrong("replay", COMMAND_EMBEDDED);
	pgname_print(&name, job.table);
	pgname_show(&name, job.shown);
	status = perform(&job);
	if (job.conn != NULL)
		PQfinish(job.conn);
	replay_rows_free(&job.rows);
	json_decref(job.selection);
	json_decref(job.counted);
	free(job.event_ids);
	free(job.topic);
	free(job.since);
	free(job.until);
	return status;
}

int cmd_replay(int argc, char **argv)
{
	struct replay_request request = {
	    .path = COMMAND_CONFIG_FILE, .rate = RATE, .selection = json_object()};
	int status = parse(argc, argv, &request);
	const char *misfits = status < 0 ? misfit(&request) : NULL;
	struct config *config = NULL;

	if (misfits != NULL)
		status = command_wrong("replay", misfits);
	if (request.all)
		json_object_set_new(request.selection, "all", json_true());
	if (status < 0)
		config = command_config(request.path);
	if (status < 0)
		status = config != NULL ? replay(&request, config) : EXIT_USAGE;
	json_decref(request.selection);
	config_free(&config);
	if (kafka_left_behind())
		_exit(command_finish("replay", status));
	return status;
}
