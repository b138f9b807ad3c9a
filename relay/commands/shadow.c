/* SPDX-License-Identifier: ISC */
/*
 * shadow.c - the command `shadow`: publishes what is in the table, and what comes, to topics with a
 * prefix, and changes nothing
 *
 * It is a replay of all rows (replay_run.c) that writes nothing down.
 */
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "core/route.h"
#include "kafka.h"
#include "postgres.h"
#include "replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] =
    "Usage: outbox-relay shadow [-c FILE] --prefix PREFIX [options]\n"
    "\n"
    "Publishes the rows of the table, in the order of their ids, as the relay would, but to "
    "topics\n"
    "whose names begin with PREFIX. Rows are only read: a connector or a poller goes on beside "
    "it.\n"
    "It goes on with rows that come, until it is told to stop. Then `outbox-relay compare`.\n"
    "\n"
    "  -c, --config FILE    configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --prefix PREFIX  before the name of each topic; \"shadow.\"\n"
    "      --from WHERE     begin with the first row (start), with what is committed from now on\n"
    "                       (now, the default), or with the row of this id\n"
    "      --once           end when all is published that was there when it began\n"
    "      --rate N         so many events a second; 0, the default: as fast as it goes\n"
    "      --json           the outcome as JSON\n"
    "  -h, --help           this text\n"
    "\n"
    "Exit status: 0 it was told to stop, or has come to the end, 1 an event was rejected, or\n"
    "database or brokers could not be used, 2 wrong usage, or the file is wrong.\n";

struct shadow {
	const char *path, *prefix;
	struct replay_follow follow;
	int64_t from; /* id; INT64_MIN: the first row */
	int64_t rate;
	bool json;
};

/* ---- options ---- */

static bool take_from(void *to, const char *text, struct error *err)
{
	struct shadow *shadow = to;

	shadow->follow.from_now = strcmp(text, "now") == 0;
	shadow->from = INT64_MIN;
	if (shadow->follow.from_now || strcmp(text, "start") == 0)
		return true;
	return command_number(text, INT64_MIN + 1, INT64_MAX, &shadow->from, err) ||
	       error_set(err, "\"%s\" is none of start, now, and an id", text);
}

static int parse(int argc, char **argv, struct shadow *shadow)
{
	const struct command_flag flags[] = {{"prefix", NULL, command_take_prefix, &shadow->prefix},
					     {"from", NULL, take_from, shadow},
					     {"once", &shadow->follow.once, NULL, NULL},
					     {"rate", NULL, command_take_count, &shadow->rate},
					     {"json", &shadow->json, NULL, NULL},
					     {0}};

	return command_options(argc, argv, HELP, &shadow->path, flags);
}

/* ---- the report ---- */

static void print_json(const struct shadow *shadow, const struct replay_job *job)
{
	const struct replay *replay = &job->replay;
	json_t *out = json_object();

	json_object_set_new(out, "outbox", json_text(job->shown));
	json_object_set_new(out, "prefix", json_text(shadow->prefix));
	json_object_set_new(out, "published", json_integer(replay->published));
	json_object_set_new(out, "rejected", json_integer(replay->rejected));
	json_object_set_new(out, "position",
			    replay->position == INT64_MIN ? json_null()
							  : json_integer(replay->position));
	json_object_set_new(out, "finished", json_boolean(job->ended));
	command_print(out);
	json_decref(out);
}

static void report(const struct shadow *shadow, const struct replay_job *job)
{
	const struct replay *replay = &job->replay;

	if (shadow->json) {
		print_json(shadow, job);
		return;
	}
	printf("published  %" PRId64 "\n", replay->published);
	printf("rejected   %" PRId64 "\n", replay->rejected);
	if (replay->position != INT64_MIN)
		printf("position   id %" PRId64 "\n", replay->position);
}

static int conclude(const struct shadow *shadow, const struct replay_job *job, bool good)
{
	const struct replay *replay = &job->replay;

	report(shadow, job);
	if (replay->position > INT64_MIN && replay->position < INT64_MAX)
		fprintf(stderr,
			"go on with: outbox-relay shadow -c %s --prefix %s --from %" PRId64 "\n",
			shadow->path, shadow->prefix, replay->position + 1);
	return good && (job->ended || job->interrupted) && replay->rejected == 0 ? EXIT_DONE
										 : EXIT_FAILED;
}

/* ---- the command ---- */

/* A standby does not show who writes (manual: pg_locks). */
static bool is_primary(PGconn *conn, struct error *err)
{
	PGresult *result = pgsync_query(conn, "looking at the server",
					"SELECT pg_is_in_recovery() AS standby", 0, NULL, err);
	bool standby = result != NULL && pgsync_bool(result, 0, "standby");

	if (standby)
		error_set(err, "this server is a standby, which does not show who writes to the "
			       "table; connect to the primary");
	PQclear(result);
	return result != NULL && !standby;
}

static bool open_job(struct replay_job *job, struct error *err)
{
	job->conn = command_connect(job->config, job->application, err);
	if (job->conn == NULL || !is_primary(job->conn, err))
		return false;
	job->rows = replay_rows_new(job->config, err);
	return job->rows != NULL && replay_rows_look(job->rows, job->conn, err) &&
	       replay_take(job->conn, 0, err);
}

static int perform(const struct shadow *shadow, const struct pgname *name, struct replay_job *job)
{
	struct error err;
	char *outbox;

	if (open_job(job, &err)) {
		outbox = xasprintf("%s.%s", name->schema, name->table);
		log_about(PQdb(job->conn), outbox);
		free(outbox);
		return conclude(shadow, job, replay_run(job));
	}
	command_failed("shadow", &err);
	command_hint();
	return EXIT_FAILED;
}

/* As the relay would have it, but for the topics; whether rows are settled does not matter. */
static int run(struct shadow *shadow, const struct config *config)
{
	struct config shadowed = *config;
	struct replay_job job = {
	    .config = &shadowed,
	    .application = "outbox-relay shadow",
	    .follow = &shadow->follow,
	    .topic_prefix = shadow->prefix,
	    .replay = {.rate = shadow->rate,
		       .position = shadow->from == INT64_MIN ? INT64_MIN : shadow->from - 1}};
	struct pgname name;
	struct error err;
	int status;

	shadowed.outbox.settle = SETTLE_DELETE;
	shadow->follow.poll_us = config->outbox.poll_interval_ms * 1000;
	if (!pgname_parse(config->outbox.table, &name, &err)) {
		status = command_wrong("shadow", err.text);
	} else {
		pgname_print(&name, job.table);
		pgname_show(&name, job.shown);
		status = perform(shadow, &name, &job);
	}
	if (job.conn != NULL)
		PQfinish(job.conn);
	replay_rows_free(&job.rows);
	free(job.event_ids);
	return status;
}

int cmd_shadow(int argc, char **argv)
{
	struct shadow shadow = {
	    .path = COMMAND_CONFIG_FILE, .from = INT64_MIN, .follow.from_now = true};
	int status = parse(argc, argv, &shadow);
	struct config *config = NULL;

	if (status < 0 && shadow.prefix == NULL)
		status = command_wrong(
		    "shadow",
		    "--prefix is missing: what the names of the topics are to begin with, "
		    "such as \"shadow.\"");
	if (status < 0) {
		config = command_config(shadow.path);
		status = config == NULL ? EXIT_USAGE : -1;
	}
	if (status < 0 && config->kafka.embedded)
		status = command_wrong(
		    "shadow",
		    "kafka.embedded keeps its topics within this process; name brokers in "
		    "kafka.bootstrap_servers, with kafka.embedded = false");
	if (status < 0)
		status = run(&shadow, config);
	config_free(&config);
	if (kafka_left_behind())
		_exit(command_finish("shadow", status));
	return status;
}
