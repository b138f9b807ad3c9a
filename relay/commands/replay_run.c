/* SPDX-License-Identifier: ISC */
/*
 * replay_run.c - `replay` and `shadow` at work: the worker of `run`, over rows that are only read
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "commands.h"
#include "core/worker.h"
#include "desk.h"
#include "kafka.h"
#include "progress.h"
#include "replay.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* As `run` has them. */
enum { STOP_PATIENCE_US = 10 * 1000 * 1000, SINK_PATIENCE_MS = 1000, SIGNALS = 3 };

/* A shadow says so often where it stands, while it moves. */
enum { POSITION_EVERY_US = 60 * 1000 * 1000 };

struct rig {
	struct replay_job *job;
	struct desk desk;
	struct sink *sink;
	struct source *source;
	struct route *route;
	struct encoder *encoder;       /* NULL: nothing is encoded */
	struct config_strings headers; /* owned, not its items but the last one */
	struct loop_timer *patience;
	struct loop_signal *signals[SIGNALS];
	struct log_limit told;
};

/* ---- what the source tells ---- */

static void tell_position(const struct replay *replay)
{
	log_fact(LOG_INFO, "shadow_at",
		 LOG_FIELDS(field_number("id", replay->position),
			    field_number("published", replay->published),
			    field_number("rejected", replay->rejected)),
		 "the shadow has come to id %" PRId64 ": %" PRId64 " events published, %" PRId64
		 " rejected",
		 replay->position, replay->published, replay->rejected);
}

static void on_moved(void *owner)
{
	struct rig *rig = owner;

	progress_step(rig->job->replay.published);
	if (rig->job->follow != NULL &&
	    log_limit_due(&rig->told, clock_monotonic_us(), POSITION_EVERY_US))
		tell_position(&rig->job->replay);
}

static void on_begun(void *owner, int64_t upto)
{
	struct rig *rig = owner;
	const struct replay *replay = &rig->job->replay;

	/* The first line is due a minute later. */
	log_limit_due(&rig->told, clock_monotonic_us(), POSITION_EVERY_US);
	if (upto == INT64_MIN)
		log_fact(LOG_INFO, "shadow_begins", NULL,
			 "the shadow begins; the table has no rows yet");
	else if (replay->position == INT64_MIN)
		log_fact(LOG_INFO, "shadow_begins", LOG_FIELDS(field_number("upto", upto)),
			 "the shadow begins with the first row; the table ends at id %" PRId64,
			 upto);
	else
		log_fact(
		    LOG_INFO, "shadow_begins",
		    LOG_FIELDS(field_number("id", replay->position), field_number("upto", upto)),
		    "the shadow begins behind id %" PRId64 "; the table ends at id %" PRId64,
		    replay->position, upto);
}

static void on_ended(void *owner)
{
	struct rig *rig = owner;

	rig->job->ended = true;
	worker_stop(rig->desk.worker, false);
}

/* ---- stopping ---- */

static void on_patience(void *arg)
{
	worker_stop(((struct rig *)arg)->desk.worker, true);
}

static void on_signal(int signo, void *arg)
{
	struct rig *rig = arg;
	bool now = rig->job->interrupted;

	(void)signo;
	rig->job->interrupted = true;
	loop_timer_set(rig->patience, STOP_PATIENCE_US);
	worker_stop(rig->desk.worker, now);
}

static void catch_signals(struct rig *rig)
{
	static const int signals[SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

	for (int i = 0; i < SIGNALS; i++)
		rig->signals[i] = loop_signal_new(rig->desk.loop, signals[i], on_signal, rig);
	rig->patience = loop_timer_new(rig->desk.loop, on_patience, rig);
}

/* ---- the parts ---- */

static void make_worker(struct rig *rig)
{
	const struct config *config = rig->job->config;
	const struct engine_options options = {.batch_rows = config->outbox.batch_rows,
					       .batch_bytes = config->outbox.batch_bytes,
					       .policy = REJECT_SKIPS};

	metrics_init(&rig->desk.metrics, "", rig->job->shown);
	desk_open(&rig->desk);
	desk_worker(&rig->desk, &options, config->outbox.stall_timeout_ms * 1000);
}

/* The configured headers, and one that says that this is a replay. A shadow's records are as the
 * relay's would be. */
static void make_headers(struct rig *rig)
{
	const struct config_strings *configured = &rig->job->config->route.headers;
	struct config_strings *headers = &rig->headers;

	headers->items = xcalloc(configured->count + 1, sizeof(char *));
	for (; headers->count < configured->count; headers->count++)
		headers->items[headers->count] = configured->items[headers->count];
	if (rig->job->follow != NULL)
		return;
	headers->items[headers->count++] =
	    xasprintf("outbox-relay-replay=%" PRId64, rig->job->replay.number);
}

static bool make_route(struct rig *rig, struct error *err)
{
	const struct config *config = rig->job->config;
	struct route_rules rules = route_rules_of(config);

	if (rig->job->topic != NULL) {
		rules.topic = rig->job->topic;
		rules.topic_regex = rules.topic_replacement = NULL;
	}
	rules.topic_prefix = rig->job->topic_prefix;
	make_headers(rig);
	rules.headers = &rig->headers;
	rig->route = route_new(&rules, replay_rows_field, rig->job->rows, err);
	if (rig->route == NULL || !encode_is_needed(&config->encode))
		return rig->route != NULL;
	rig->encoder = encoder_new(&config->encode, &rules, config->outbox.columns.payload,
				   replay_rows_field, rig->job->rows, err);
	return rig->encoder != NULL;
}

static void make_source(struct rig *rig)
{
	static const struct replay_events events = {on_begun, on_moved, on_ended};
	struct replay_job *job = rig->job;
	const struct replay_options options = {.config = job->config,
					       .rows = job->rows,
					       .selection = replay_selected(job),
					       .follow = job->follow,
					       .application = job->application,
					       .replay = &job->replay,
					       .login = command_login(job->config, NULL),
					       .events = &events,
					       .owner = rig};

	replay_rows_withhold(job->rows, kafka_sink_max_bytes(rig->sink));
	rig->source = replay_source_new(rig->desk.loop, &options, job->conn, &worker_source_events,
					rig->desk.worker);
	job->conn = NULL;
}

static bool make(struct rig *rig, struct error *err)
{
	struct kafka_options kafka = command_kafka_options(rig->job->config);

	make_worker(rig);
	catch_signals(rig);
	kafka.metrics = &rig->desk.metrics;
	rig->sink =
	    kafka_sink_new(rig->desk.loop, &kafka, &worker_sink_events, rig->desk.worker, err);
	if (rig->sink == NULL || !make_route(rig, err))
		return false;
	make_source(rig);
	worker_attach(rig->desk.worker, rig->source, rig->sink, rig->route);
	worker_encode(rig->desk.worker, rig->encoder);
	return true;
}

/* The sink first, as in `run`: it may still hold pointers into the worker's batch. */
static void take_down(struct rig *rig)
{
	static struct worker *kept;

	if (!kafka_sink_free(&rig->sink, SINK_PATIENCE_MS))
		kept = rig->desk.worker;
	replay_source_free(&rig->source);
	encoder_free(&rig->encoder);
	route_free(&rig->route);
	for (int i = 0; i < SIGNALS; i++)
		loop_signal_free(&rig->signals[i]);
	loop_timer_free(&rig->patience);
	desk_free(&rig->desk, kept != NULL);
	metrics_fini(&rig->desk.metrics);
	if (rig->headers.count > 0 && rig->job->follow == NULL)
		free(rig->headers.items[rig->headers.count - 1]);
	free(rig->headers.items);
}

bool replay_run(struct replay_job *job)
{
	struct rig rig = {.job = job};
	enum log_level level = (enum log_level)job->config->log.level;
	struct error err;
	bool made;

	/* That all goes well is said by the progress and the report; a shadow runs for days. */
	log_setup(level == LOG_INFO && job->follow == NULL ? LOG_WARNING : level,
		  (enum log_format)job->config->log.format);
	made = make(&rig, &err);
	if (made) {
		progress_begin(job->follow == NULL ? job->events : -1, "events");
		worker_start(rig.desk.worker);
		loop_run(rig.desk.loop);
		progress_end();
	} else {
		command_failed(job->follow == NULL ? "replay" : "shadow", &err);
	}
	take_down(&rig);
	return made && !rig.desk.failed;
}
