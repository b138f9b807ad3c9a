/* SPDX-License-Identifier: ISC */
/*
 * kafka.c - the life of the sink and of its producers, and their events served from the loop
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "helper.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
	/* How often to see whether Kafka is back. librdkafka tries to connect less often. */
	POLL_US = 100 * 1000,
	/* And whether a broker that is connected has answered. */
	ANSWER_US = 20 * 1000,
	/* Trouble that is not heard of again for so long is over: longer than the longest pause
	 * between two tries (backoff.h). */
	TROUBLE_US = 20 * 1000 * 1000,
	/* Events that are served before others on the loop get their turn; a batch's reports are
	 * one. */
	SERVE_MOST = 64,
	/* Brokers that have just started give no producer id for a moment. */
	NO_ID_US = 3 * 1000 * 1000,
	/* For how long the end of a producer is awaited whose request for an id may be on its way:
	 * it would take the id from the next. */
	INIT_US = 5 * 1000 * 1000,
	INIT_AGAIN_US = 20 * 1000,
};

const char *kafka_version(void)
{
	return rd_kafka_version_str();
}

const char *kafka_bootstrap(const struct sink *sink)
{
	return ((const struct kafka *)sink)->bootstrap;
}

size_t kafka_sink_max_bytes(const struct sink *sink)
{
	return ((const struct kafka *)sink)->producer.max_bytes;
}

/* The largest batch that no known topic refuses, as far as the configuration allows. */
static size_t batch_bytes(const struct kafka *kafka)
{
	size_t bytes = kafka->producer.wanted_batch_bytes;

	if (bytes > kafka->producer.max_bytes)
		bytes = kafka->producer.max_bytes;
	return bytes < kafka->topics.smallest ? bytes : kafka->topics.smallest;
}

/* Before a rebuild has given it an id a producer only finds out whether Kafka can be reached. */
static bool has_id(const struct kafka *kafka)
{
	return kafka_is_transactional(kafka) && kafka->state == KAFKA_REBUILDING &&
	       kafka->transaction.id.number >= 0;
}

/* One with transactions has a helper. */
static bool watched_client_new(struct kafka *kafka, rd_kafka_conf_t *conf, struct error *err)
{
	struct producer *producer = &kafka->producer;
	struct helper *helper = helper_new();

	kafka_conf_transactional(conf, &kafka->options, &kafka->transaction.id);
	helper_watch(helper, conf);
	producer->rk = kafka_watched_client_new(conf, &producer->queue, err);
	if (producer->rk != NULL && helper_start(helper, producer->rk, kafka->wake_fd)) {
		producer->helper = helper;
		return true;
	}
	if (producer->rk == NULL) {
		helper_leave(&helper);
		return false;
	}
	rd_kafka_queue_destroy(producer->queue);
	rd_kafka_destroy(producer->rk);
	producer->rk = NULL;
	helper_free(&helper);
	return error_set(err, "no thread can be made for the transactions of Kafka");
}

static bool client_new(struct kafka *kafka, rd_kafka_conf_t *conf, struct error *err)
{
	struct producer *producer = &kafka->producer;

	if (has_id(kafka))
		return watched_client_new(kafka, conf, err);
	if (kafka_is_transactional(kafka)) {
		/* It writes nothing, and is to ask for no id. */
		kafka_conf_must_set(conf, "enable.gapless.guarantee", "false");
		kafka_conf_must_set(conf, "enable.idempotence", "false");
	}
	producer->rk = kafka_client_new(RD_KAFKA_PRODUCER, conf, &producer->queue, err);
	return producer->rk != NULL;
}

static bool producer_new(struct kafka *kafka, struct error *err)
{
	struct producer *producer = &kafka->producer;
	rd_kafka_conf_t *conf =
	    kafka_conf_new(&kafka->options, kafka->bootstrap, kafka->secrets.password, err);
	char text[32];

	if (conf == NULL)
		return false;
	producer->max_bytes = kafka_conf_get_size(conf, "message.max.bytes");
	producer->wanted_batch_bytes = kafka_conf_get_size(conf, "batch.size");
	producer->batch_bytes = batch_bytes(kafka);
	snprintf(text, sizeof(text), "%zu", producer->batch_bytes);
	kafka_conf_must_set(conf, "batch.size", text);
	if (kafka->uncompressed)
		kafka_conf_must_set(conf, "compression.codec", "none");
	producer->compresses = kafka_conf_compresses(conf);
	producer->no_id_us = 0;
	producer->single = kafka->refusals.singles_left > 0;
	if (producer->single)
		kafka_conf_must_set(conf, "batch.num.messages", "1");
	if (!client_new(kafka, conf, err))
		return false;
	rd_kafka_queue_io_event_enable(producer->queue, kafka->wake_fd, &(uint64_t){1}, 8);
	kafka_secrets_begin(kafka);
	return true;
}

/* librdkafka asks again, without an end and without an error (rd_kafka_handle_InitProducerId).
 * While no broker serves us, the reason for that says more. */
static void note_no_id(struct kafka *kafka, rd_kafka_event_t *event)
{
	static const char words[] = "Failed to acquire idempotence PID";
	const char *facility, *text, *at;
	int64_t now = clock_monotonic_us();

	if (!kafka->connection.reachable ||
	    rd_kafka_event_log(event, &facility, &text, NULL) != 0 ||
	    (at = strstr(text, words)) == NULL)
		return;
	if (kafka->producer.no_id_us == 0)
		kafka->producer.no_id_us = now;
	if (now - kafka->producer.no_id_us > NO_ID_US)
		kafka_trouble(kafka, NULL,
			      "the brokers give the relay no producer id, and without one (with "
			      "idempotence) it publishes nothing:%s",
			      at + sizeof(words) - 1);
}

static void *destroy_producer(void *arg)
{
	rd_kafka_destroy(arg);
	return NULL;
}

/* On a thread of its own, or of the producer's helper. */
static bool destroy_in_background(struct producer *producer, bool aborts,
				  struct background_destroy *background)
{
	background->helper = producer->helper;
	if (producer->helper == NULL)
		return pthread_create(&background->thread, NULL, destroy_producer, producer->rk) ==
		       0;
	helper_end(producer->helper, aborts);
	background->thread = helper_thread(producer->helper);
	return true;
}

/* Lets go of the producer; its threads end in their own time. */
static void producer_free(struct kafka *kafka)
{
	struct producer *producer = &kafka->producer;
	bool aborts = kafka->transaction.leaves_open;
	struct background_destroy *background;

	if (producer->rk == NULL)
		return;
	background = xcalloc(1, sizeof(*background));
	background->since_us = clock_monotonic_us();
	background->may_init = producer->helper != NULL && !kafka->transaction.reads;
	kafka_topics_forget_producer(kafka);
	kafka_transaction_forget_producer(kafka);
	rd_kafka_queue_io_event_enable(producer->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(producer->queue);
	if (!destroy_in_background(producer, aborts, background)) {
		rd_kafka_destroy(producer->rk); /* no thread to be had: this one may block */
		free(background);
	} else {
		background->next = kafka->destroys;
		kafka->destroys = background;
	}
	producer->rk = NULL;
	producer->helper = NULL;
}

/* Whether the thread has ended by then. musl has no pthread_clockjoin_np. */
static bool join_by(pthread_t thread, int64_t until_us)
{
	static const struct timespec nap = {.tv_nsec = 1000 * 1000};

	while (pthread_tryjoin_np(thread, NULL) != 0) {
		if (clock_monotonic_us() >= until_us)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

/* Frees what the destruction of producers that has ended by then leaves. */
static void join_destroys(struct kafka *kafka, int64_t until_us)
{
	struct background_destroy **at = &kafka->destroys;

	while (*at != NULL) {
		struct background_destroy *background = *at;

		if (!join_by(background->thread, until_us)) {
			at = &background->next;
			continue;
		}
		*at = background->next;
		helper_free(&background->helper);
		free(background);
	}
}

/* The request for an id of one that has not ended may come after that of the next. */
static bool must_wait_for_end(struct kafka *kafka)
{
	int64_t now = clock_monotonic_us();

	join_destroys(kafka, 0);
	for (const struct background_destroy *at = kafka->destroys; at != NULL; at = at->next)
		if (at->may_init && now - at->since_us < INIT_US)
			return true;
	return false;
}

static bool serve_one(struct kafka *kafka)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(kafka->producer.queue, 0);

	switch (rd_kafka_event_type(event)) {
	case RD_KAFKA_EVENT_NONE:
		return false;
	case RD_KAFKA_EVENT_DR:
		kafka_on_reports(kafka, event);
		break;
	case RD_KAFKA_EVENT_ERROR:
		kafka_on_error(kafka, event);
		break;
	case RD_KAFKA_EVENT_LOG:
		note_no_id(kafka, event);
		kafka_transaction_note(kafka, event);
		kafka_log_event(event, &kafka->connection.notes);
		break;
	case RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT:
		kafka_topics_settings(kafka, event);
		break;
	case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
		kafka_token_wanted(kafka);
		break;
	case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
		kafka_topics_creation(kafka, event);
		break;
	default:
		break; /* statistics, if the user's properties ask for them */
	}
	rd_kafka_event_destroy(event);
	return true;
}

/* librdkafka's waits go by the wall clock: one of 10 ms takes an hour if that is set back by an
 * hour meanwhile. */
static void serve_or_nap(struct kafka *kafka)
{
	if (!serve_one(kafka))
		helper_nap(10);
}

static void serve(struct kafka *kafka)
{
	uint64_t ignored;
	int served = 0;

	kafka->now_us = clock_monotonic_us();
	while (read(kafka->wake_fd, &ignored, sizeof(ignored)) < 0 && errno == EINTR)
		;
	kafka_takeover_serve(kafka);
	kafka_transaction_serve(kafka);
	if (kafka->producer.rk == NULL)
		return;
	while (served < SERVE_MOST && serve_one(kafka))
		served++;
	if (served == SERVE_MOST)
		eventfd_write(kafka->wake_fd, 1);
	if (served > 0)
		kafka_writable(kafka, WAITS_FOR_REPORTS);
}

static void on_wake(int what, void *arg)
{
	(void)what;
	serve(arg);
}

static int64_t look_again_us(const struct kafka *kafka)
{
	return clock_monotonic_us() + (kafka->connection.connected_us != 0 ? ANSWER_US : POLL_US);
}

static void on_tick(void *arg)
{
	struct kafka *kafka = arg;
	struct connection *connection = &kafka->connection;

	serve(kafka);
	join_destroys(kafka, 0);
	if (connection->reachable && clock_monotonic_us() - kafka->trouble.at_us > TROUBLE_US)
		kafka_trouble_over(kafka);
	if (kafka->producer.rk != NULL) {
		kafka_secrets_tick(kafka, clock_monotonic_us());
		kafka_look_for_broker(kafka);
		kafka_look_for_loss(kafka);
		kafka_explain_silence(kafka);
		kafka_topics_tick(kafka, clock_monotonic_us());
	}
	kafka_tick_at(kafka, connection->reachable ? kafka->topics.due_us : look_again_us(kafka));
}

/* False: it is tried again. */
static bool replace_producer(struct kafka *kafka)
{
	struct error err;

	producer_free(kafka);
	if (kafka_is_transactional(kafka) && must_wait_for_end(kafka)) {
		loop_timer_set(kafka->incident.restart, INIT_AGAIN_US);
		return false;
	}
	kafka->connection.lost_us = 0; /* the connections of this one are yet to come */
	if (producer_new(kafka, &err))
		return true;
	log_fact(LOG_ERROR, "producer_failed", NULL, "%s; trying again", err.text);
	loop_timer_set(kafka->incident.restart,
		       backoff_us(kafka->incident.failures++, &kafka->random));
	return false;
}

/* The end of a rebuild, or of the start. */
static void on_restart(void *arg)
{
	struct kafka *kafka = arg;

	if (kafka->state == KAFKA_REBUILDING && !replace_producer(kafka))
		return;
	loop_timer_set(kafka->tick, 0);
	if (kafka_is_transactional(kafka)) {
		if (kafka->embedded.cluster != NULL)
			kafka_set_reachable(kafka, true);
		if (kafka->producer.helper != NULL)
			kafka_take_over(kafka);
		return;
	}
	kafka->state = KAFKA_READY;
	if (kafka->embedded.cluster != NULL)
		kafka_set_reachable(kafka, true);
	kafka->sink.events->ready(kafka->sink.owner);
}

/* Of a producer whose end was not awaited: its threads may still read a topic, to choose the
 * partition of a record. Kept until the process ends, and known here so that it is no leak. */
static struct kafka *left_behind;

bool kafka_left_behind(void)
{
	return left_behind != NULL;
}

static void kafka_free(struct kafka *kafka, int64_t until_us)
{
	kafka_secrets_free(kafka);
	producer_free(kafka); /* may set the tick */
	loop_io_free(&kafka->io);
	loop_timer_free(&kafka->tick);
	loop_timer_free(&kafka->incident.restart);
	loop_timer_free(&kafka->incident.purge);
	loop_timer_free(&kafka->refusals.judge);
	loop_timer_free(&kafka->transaction.again);
	join_destroys(kafka, until_us);
	if (kafka->destroys != NULL) {
		left_behind = kafka;
		return;
	}
	kafka_embedded_free(&kafka->embedded);
	kafka_topics_free(kafka);
	kafka_transaction_free(kafka);
	close(kafka->wake_fd);
	free(kafka->refusals.items);
	free(kafka->refusals.held);
	free(kafka->refusals.kept);
	free(kafka->bootstrap);
	free(kafka);
}

static bool start(struct kafka *kafka, struct error *err)
{
	if (kafka->wake_fd < 0)
		return error_set(err, "cannot make an eventfd: %s", strerror(errno));
	if (!kafka->options.embedded)
		kafka->bootstrap = xstrdup(kafka->options.bootstrap_servers);
	else if (!kafka_embedded_new(&kafka->embedded, &kafka->bootstrap, err))
		return false;
	return producer_new(kafka, err);
}

struct sink *kafka_sink_new(struct loop *loop, const struct kafka_options *options,
			    const struct sink_events *events, void *owner, struct error *err)
{
	struct kafka *kafka = xcalloc(1, sizeof(*kafka));

	kafka->sink = (struct sink){.ops = &kafka_sink_ops,
				    .events = events,
				    .owner = owner,
				    .trouble = kafka->trouble.text};
	kafka->options = *options;
	if (kafka_is_transactional(kafka))
		kafka->sink.ops = &kafka_transactional_ops;
	kafka->loop = loop;
	kafka->random = (uint64_t)clock_realtime_us();
	kafka->topics.smallest = SIZE_MAX;
	kafka->transaction.id.number = -1;
	kafka->tick = loop_timer_new(loop, on_tick, kafka);
	kafka->incident.restart = loop_timer_new(loop, on_restart, kafka);
	kafka->incident.purge = loop_timer_new(loop, kafka_on_purge, kafka);
	kafka->refusals.judge = loop_timer_new(loop, kafka_judge, kafka);
	kafka->transaction.again = loop_timer_new(loop, kafka_take_over_again, kafka);
	kafka->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!start(kafka, err)) {
		kafka_free(kafka, 0);
		return NULL;
	}
	kafka->io = loop_io_new(loop, kafka->wake_fd, LOOP_READ, on_wake, kafka);
	loop_timer_set(kafka->incident.restart, 0);
	return &kafka->sink;
}

void kafka_sink_reload(struct sink *sink, const struct kafka_options *options)
{
	struct kafka *kafka = (struct kafka *)sink;

	kafka->options.sasl_password_file = options->sasl_password_file;
	kafka->options.oauthbearer_token_command = options->oauthbearer_token_command;
	kafka->secrets.read_us = 0;
}

/* Readers of committed records would wait for its timeout. With what is left of the patience all
 * else is to end, too. */
static void abort_transaction(struct kafka *kafka, int64_t patience_ms)
{
	int64_t until_us = clock_monotonic_us() + patience_ms * 1000 / 4 * 3;

	if (!kafka_transaction_abort(kafka))
		return;
	while (!kafka_transaction_aborted(kafka) && clock_monotonic_us() < until_us)
		serve_or_nap(kafka);
}

bool kafka_sink_free(struct sink **sink, int64_t patience_ms)
{
	struct kafka *kafka = (struct kafka *)*sink;
	int64_t until_us = clock_monotonic_us() + patience_ms * 1000;
	bool all_reported;

	if (kafka == NULL)
		return true;
	*sink = NULL;
	kafka->state = KAFKA_CLOSING;
	abort_transaction(kafka, patience_ms);
	if (kafka->producer.rk != NULL)
		rd_kafka_purge(kafka->producer.rk, RD_KAFKA_PURGE_F_QUEUE |
						       RD_KAFKA_PURGE_F_INFLIGHT |
						       RD_KAFKA_PURGE_F_NON_BLOCKING);
	while (kafka->producer.rk != NULL && kafka->producer.in_flight > 0 &&
	       clock_monotonic_us() < until_us)
		serve_or_nap(kafka);
	all_reported = kafka->producer.in_flight == 0;
	kafka_free(kafka, until_us);
	return all_reported;
}
