/*
 * kafka.c - the life of the sink and of its producers, and their queues served from the loop
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"
#include "verdict.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
	/* A wake-up that got lost would be found after this. */
	TICK_US = 250 * 1000,
	/* How often to look whether Kafka is back. librdkafka tries to connect less often. */
	LOOK_US = 100 * 1000,
	/* How long a failed producer's requests may take to be answered. */
	GRACE_US = 5 * 1000 * 1000,
	PURGE_US = 20 * 1000,
	/* Trouble that is not heard of again for so long is over: longer than the longest pause
	 * between two tries (backoff.h). */
	TROUBLE_US = 20 * 1000 * 1000,
	/* Events that are served before others on the loop get their turn; a batch's reports are
	 * one. */
	SERVE_MOST = 64,
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
	return ((const struct kafka *)sink)->max_bytes;
}

void kafka_trouble(struct kafka *kafka, const struct topic *topic, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text_vprint(kafka->trouble.text, sizeof(kafka->trouble.text), format, args);
	va_end(args);
	kafka->trouble.topic = topic;
	kafka->trouble.at_us = clock_monotonic_us();
}

void kafka_trouble_over(struct kafka *kafka)
{
	kafka->trouble.text[0] = '\0';
	kafka->trouble.topic = NULL;
}

void kafka_set_reachable(struct kafka *kafka, bool yes)
{
	if (kafka->reachable == yes || kafka->state == KAFKA_CLOSING)
		return;
	kafka->reachable = yes;
	kafka->reachable_us = clock_monotonic_us();
	if (yes && kafka->trouble.topic == NULL)
		kafka_trouble_over(kafka);
	kafka->options.metrics->connected[PEER_KAFKA] = yes;
	kafka->sink.events->reachable(kafka->sink.owner, yes);
}

static void broke_down(struct kafka *kafka, rd_kafka_resp_err_t code, const char *words)
{
	/* Follows from the refusal of a record, whose report comes next and says more
	 * (rd_kafka_handle_Produce_error). */
	if (code == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE)
		return;
	kafka_trouble(kafka, NULL, "%s%s", words, verdict_advice(rd_kafka_err2name(code)));
	kafka_break(kafka, kafka->trouble.text);
}

/* Kept for /readyz until a broker lets the relay in. That nothing listens at an address says no
 * more than that no broker answers. */
static void note_reason(struct kafka *kafka, const char *reason)
{
	kafka->refused_connection = strstr(reason, ": Connect to ") != NULL;
	if (kafka->refused_connection)
		kafka_trouble_over(kafka);
	else if (!kafka_is_closed(reason))
		kafka_trouble(kafka, NULL, "%s", reason);
}

/* The reason for it may come after it, so the second time counts. */
static void note_all_down(struct kafka *kafka)
{
	if (kafka->ever_answered || kafka->refused_connection || kafka->trouble.text[0] != '\0') {
		kafka->downs_unexplained = 0;
		return;
	}
	if (++kafka->downs_unexplained < 2)
		return;
	kafka_trouble(kafka, NULL, KAFKA_CLOSED_WORDS);
	kafka_log(4, "CLOSED", KAFKA_CLOSED_WORDS);
}

static void on_error(struct kafka *kafka, rd_kafka_event_t *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *name = rd_kafka_err2name(code), *reason = rd_kafka_event_error_string(event);

	if (rd_kafka_event_error_is_fatal(event)) {
		broke_down(kafka, code, reason);
		return;
	}
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		note_all_down(kafka);
	else if (!kafka->reachable)
		note_reason(kafka, reason);
	/* What happens to one broker is in the log already; that there is no token to show it is
	 * not. */
	if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION)
		kafka_log(4, name, reason);
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		kafka_log(4, name, reason);
		kafka_set_reachable(kafka, false);
	}
}

/* The size of a batch that no known topic refuses, as far as the configuration allows. */
static size_t batch_bytes(const struct kafka *kafka)
{
	size_t bytes = kafka->batch_bytes;

	if (bytes > kafka->max_bytes)
		bytes = kafka->max_bytes;
	if (bytes > kafka->topics.smallest)
		bytes = kafka->topics.smallest;
	return bytes;
}

static bool producer_new(struct kafka *kafka, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(&kafka->options, kafka->bootstrap, err);
	char text[32];

	if (conf == NULL)
		return false;
	kafka_conf_get_size(conf, "message.max.bytes", &kafka->max_bytes);
	kafka_conf_get_size(conf, "batch.size", &kafka->batch_bytes);
	kafka->producer_batch_bytes = batch_bytes(kafka);
	snprintf(text, sizeof(text), "%zu", kafka->producer_batch_bytes);
	kafka_conf_must_set(conf, "batch.size", text);
	kafka->solo = kafka_wants_solo(kafka);
	if (kafka->solo)
		kafka_conf_must_set(conf, "batch.num.messages", "1");
	kafka->rk = kafka_client_new(conf, &kafka->queue, err);
	if (kafka->rk == NULL)
		return false;
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->wake_fd, &(uint64_t){1}, 8);
	return true;
}

static void *bury(void *arg)
{
	rd_kafka_destroy(arg);
	return NULL;
}

/* Lets go of the producer; its threads end in their own time. */
static void producer_free(struct kafka *kafka)
{
	struct grave *grave;

	if (kafka->rk == NULL)
		return;
	kafka_topics_forget_producer(kafka);
	rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(kafka->queue);
	grave = xcalloc(1, sizeof(*grave));
	if (pthread_create(&grave->thread, NULL, bury, kafka->rk) != 0) {
		rd_kafka_destroy(kafka->rk); /* no thread to be had: late is better than never */
		free(grave);
	} else {
		grave->next = kafka->graves;
		kafka->graves = grave;
	}
	kafka->rk = NULL;
}

/* Collects producers that are gone; those still there at the deadline are left to themselves. False
 * if there were any. */
static bool collect_graves(struct kafka *kafka, const struct timespec *deadline)
{
	struct grave **at = &kafka->graves;
	bool all = true;

	while (*at != NULL) {
		struct grave *grave = *at;
		int rc = deadline != NULL
			     ? pthread_clockjoin_np(grave->thread, NULL, CLOCK_MONOTONIC, deadline)
			     : pthread_tryjoin_np(grave->thread, NULL);

		if (rc != 0 && deadline == NULL) {
			at = &grave->next;
			continue;
		}
		if (rc != 0)
			pthread_detach(grave->thread);
		all = all && rc == 0;
		*at = grave->next;
		free(grave);
	}
	return all;
}

static bool serve_one(struct kafka *kafka, int wait_ms)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(kafka->queue, wait_ms);

	switch (rd_kafka_event_type(event)) {
	case RD_KAFKA_EVENT_NONE:
		return false;
	case RD_KAFKA_EVENT_DR:
		kafka_on_reports(kafka, event);
		break;
	case RD_KAFKA_EVENT_ERROR:
		on_error(kafka, event);
		break;
	case RD_KAFKA_EVENT_LOG:
		kafka_log_event(event);
		break;
	case RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT:
		kafka_topics_answer(kafka, event);
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

static void serve(struct kafka *kafka)
{
	uint64_t ignored;
	int served = 0;

	if (kafka->rk == NULL)
		return;
	kafka->now_us = clock_monotonic_us();
	while (read(kafka->wake_fd, &ignored, sizeof(ignored)) < 0 && errno == EINTR)
		;
	while (served < SERVE_MOST && serve_one(kafka, 0))
		served++;
	if (served == SERVE_MOST)
		eventfd_write(kafka->wake_fd, 1);
	if (kafka->full && served > 0 && kafka->state == KAFKA_READY) {
		kafka->full = false;
		kafka->sink.events->writable(kafka->sink.owner);
	}
}

static void on_wake(int what, void *arg)
{
	(void)what;
	serve(arg);
}

/* Ticks at the time given, or in TICK_US if that is sooner. */
void kafka_tick_at(struct kafka *kafka, int64_t at_us)
{
	int64_t now = clock_monotonic_us();

	if (at_us < now)
		at_us = now;
	loop_timer_set(kafka->tick, at_us - now < TICK_US ? at_us - now : TICK_US);
}

/* Whether a broker is connected, has let us in and speaks. librdkafka connects again by itself and
 * tells when the last broker is lost, but not when one is back. A question that may not wait tells:
 * without a connection it is refused immediately; with one it is sent, and its answer is not
 * awaited. Should none come within socket.timeout.ms, the connection is given up.
 */
bool kafka_ask(rd_kafka_t *rk)
{
	const struct rd_kafka_metadata *metadata = NULL;
	rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, NULL, &metadata, 0);

	if (metadata != NULL)
		rd_kafka_metadata_destroy(metadata);
	return code != RD_KAFKA_RESP_ERR__TRANSPORT;
}

static void on_tick(void *arg)
{
	struct kafka *kafka = arg;

	serve(kafka);
	collect_graves(kafka, NULL);
	if (kafka->reachable && clock_monotonic_us() - kafka->trouble.at_us > TROUBLE_US)
		kafka_trouble_over(kafka);
	if (kafka->rk != NULL) {
		if (!kafka->reachable && kafka_ask(kafka->rk))
			kafka_set_reachable(kafka, true);
		kafka_topics_tick(kafka, clock_monotonic_us());
	}
	kafka_tick_at(kafka,
		      kafka->reachable ? kafka->topics.due_us : clock_monotonic_us() + LOOK_US);
}

void kafka_restart_in(struct kafka *kafka, int64_t us)
{
	loop_timer_set(kafka->restart, us);
}

/* The end of a rebuild, or of the start. */
static void on_restart(void *arg)
{
	struct kafka *kafka = arg;
	struct error err;

	if (kafka->state == KAFKA_REBUILDING) {
		producer_free(kafka);
		if (!producer_new(kafka, &err)) {
			log_error("%s; trying again", err.text);
			kafka_restart_in(kafka, backoff_us(kafka->failures++, &kafka->random));
			return;
		}
	}
	kafka->state = KAFKA_READY;
	loop_timer_set(kafka->tick, 0);
	if (kafka->mock != NULL)
		kafka_set_reachable(kafka, true);
	kafka->sink.events->ready(kafka->sink.owner);
}

/* Records of a failed producer may come back into its queues after a purge, from requests that it
 * would send again if it still could. So purge until all are reported; in the end also what is in
 * flight. */
static void on_purge(void *arg)
{
	struct kafka *kafka = arg;
	int flags = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING;

	if (kafka->rk == NULL || kafka->state != KAFKA_DRAINING || kafka->in_flight == 0)
		return;
	if (clock_monotonic_us() >= kafka->give_up_at_us)
		flags |= RD_KAFKA_PURGE_F_INFLIGHT;
	rd_kafka_purge(kafka->rk, flags);
	loop_timer_set(kafka->purge, PURGE_US);
}

/* Takes back what has not been sent, and waits a while for the answers to what has. */
void kafka_purge(struct kafka *kafka)
{
	kafka->give_up_at_us = clock_monotonic_us() + GRACE_US;
	loop_timer_set(kafka->purge, 0);
}

/* Of a producer whose end was not awaited: its threads may still look at a topic, to choose the
 * partition of a record. Kept until the process ends, and known here so that it is no leak. */
static struct kafka *left_behind;

static void kafka_free(struct kafka *kafka, const struct timespec *deadline)
{
	producer_free(kafka); /* may set the tick */
	loop_io_free(&kafka->io);
	loop_timer_free(&kafka->tick);
	loop_timer_free(&kafka->restart);
	loop_timer_free(&kafka->purge);
	loop_timer_free(&kafka->judge);
	if (!collect_graves(kafka, deadline)) {
		left_behind = kafka;
		return;
	}
	kafka_embedded_free(kafka->mock, kafka->mock_handle);
	kafka_topics_free(kafka);
	close(kafka->wake_fd);
	free(kafka->suspects);
	free(kafka->refusals);
	free(kafka->held);
	free(kafka->bootstrap);
	free(kafka);
}

static struct timespec deadline_in(int64_t ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

struct sink *kafka_sink_new(struct loop *loop, const struct kafka_options *options,
			    const struct sink_events *events, void *owner, struct error *err)
{
	struct kafka *kafka = xcalloc(1, sizeof(*kafka));
	bool ok = true;

	kafka->sink = (struct sink){&kafka_sink_ops, events, owner, kafka->trouble.text};
	kafka->options = *options;
	kafka->random = (uint64_t)clock_realtime_us();
	kafka->topics.smallest = SIZE_MAX;
	kafka->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (kafka->wake_fd < 0)
		ok = error_set(err, "cannot make an eventfd: %s", strerror(errno));
	kafka->io = ok ? loop_io_new(loop, kafka->wake_fd, LOOP_READ, on_wake, kafka) : NULL;
	kafka->tick = loop_timer_new(loop, on_tick, kafka);
	kafka->restart = loop_timer_new(loop, on_restart, kafka);
	kafka->purge = loop_timer_new(loop, on_purge, kafka);
	kafka->judge = loop_timer_new(loop, kafka_judge, kafka);
	if (ok && options->embedded)
		ok = (kafka->mock =
			  kafka_embedded_new(&kafka->mock_handle, &kafka->bootstrap, err)) != NULL;
	else if (ok)
		kafka->bootstrap = xstrdup(options->bootstrap_servers);
	if (!ok || !producer_new(kafka, err)) {
		kafka_free(kafka, &(struct timespec){0, 0});
		return NULL;
	}
	kafka_restart_in(kafka, 0);
	return &kafka->sink;
}

bool kafka_sink_free(struct sink **sink, int64_t patience_ms)
{
	struct kafka *kafka = (struct kafka *)*sink;
	struct timespec deadline = deadline_in(patience_ms);
	int64_t until_us = clock_monotonic_us() + patience_ms * 1000;

	bool all_reported;

	if (kafka == NULL)
		return true;
	*sink = NULL;
	kafka->state = KAFKA_CLOSING;
	if (kafka->rk != NULL)
		rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
					      RD_KAFKA_PURGE_F_NON_BLOCKING);
	while (kafka->rk != NULL && kafka->in_flight > 0 && clock_monotonic_us() < until_us)
		serve_one(kafka, 10);
	all_reported = kafka->in_flight == 0;
	kafka_free(kafka, &deadline);
	return all_reported;
}
