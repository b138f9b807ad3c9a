/* SPDX-License-Identifier: ISC */
/*
 * topic.c - the topics seen so far: whether they exist, what sizes they take, their first records
 *
 * A topic takes events once a broker has said its limit, or has said that it will not say it.
 * Asking for it first also makes librdkafka fetch its metadata, and an auto-creating broker create
 * it.
 *
 * The first record that a producer sends to a partition goes alone. A broker that knows nothing of
 * a producer takes any sequence number of it as the first. So if the first request is refused, as
 * happens while the broker does not know yet that it leads a partition that was just made, and the
 * second is on its way already, the second is written and the first never can be: librdkafka gets
 * OUT_OF_ORDER_SEQUENCE_NUMBER for it, takes it for a repetition of what was written, and reports
 * it as delivered (KAFKA-15591, KAFKA-14312; brokers refuse the second since apache/kafka#23234 of
 * August 2026). So the gate of a partition lets no other record through until it has acknowledged
 * one of this producer. A broker forgets idle producers after producer.id.expiration.ms, a day.
 *
 * librdkafka chooses the partition within rd_kafka_producev, by the function given to it, and there
 * a record can be refused. Only while it does not know the topic's partitions yet it chooses later,
 * on a thread of its own: such a record is the only one of its topic.
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

enum {
	ASK_TIMEOUT_MS = 5000,
	/* Questions in a row that lengthen the pause: after them it is a second or so. */
	FAILURES_MOST = 4,
};

static const int64_t refresh_us = 5 * 60 * INT64_C(1000000);
/* Unless what is known refuses an event that is tried again. */
static const int64_t stale_us = 5 * INT64_C(1000000);
/* A right that was lacking is tried again after so long, then twice as long: each try costs a
 * producer, which finishes what it has first. */
static const int64_t denied_us = 4 * INT64_C(1000000);
enum { DENIALS_MOST = 3 };
/* Which cluster it is, a broker says with its first metadata. */
static const int64_t cluster_us = 200 * 1000;
static const int64_t warn_after_us = 3 * INT64_C(1000000);
static const int64_t warn_every_us = 30 * INT64_C(1000000);

/* The sink is not told when the events that waited for a topic are gone. While they wait, the
 * engine offers them every 5 s or so, but not while its transaction is open, which lasts for the
 * stall_timeout: a warning is for what is known to wait, a question costs next to nothing. */
static const int64_t warn_wanted_us = 7 * INT64_C(1000000);
static const int64_t ask_wanted_us = 60 * INT64_C(1000000);

/* A broker that does not know the question may close the connection at it. */
enum { UNKNOWN_MOST = 3 };

/* What stands for a partition instead of the time of its last acknowledgement. */
enum gate_state { GATE_NEW = 0, GATE_CLOSED = -1 };

/* Acknowledged so long ago, a partition is as good as new. */
static const int64_t gate_forgets_us = 60 * 60 * INT64_C(1000000);

uint32_t kafka_hash(const void *bytes, size_t len)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const unsigned char *)bytes)[i]) * 16777619u;
	return hash;
}

static int compare_names(const void *a, const void *b)
{
	const struct topic *left = a, *right = b;

	if (left->len != right->len)
		return left->len < right->len ? -1 : 1;
	return memcmp(left->name, right->name, left->len);
}

static void gates_grow(struct topic *topic, int32_t count)
{
	size_t size = (size_t)count * sizeof(*topic->gates), old;

	if (count <= topic->gate_count)
		return;
	old = (size_t)topic->gate_count * sizeof(*topic->gates);
	topic->gates = xrealloc(topic->gates, size);
	memset((char *)topic->gates + old, 0, size - old);
	topic->gate_count = count;
}

static void gates_forget(struct topic *topic)
{
	free(topic->gates);
	topic->gates = NULL;
	topic->gate_count = 0;
	topic->unplaced = NULL;
}

/* Java's partitioner (librdkafka: rd_kafka_msg_partitioner_murmur2_random). */
static int32_t partition_of(const rd_kafka_topic_t *handle, const void *key, size_t len,
			    int32_t count)
{
	if (PLANTED("default-partitioner"))
		return rd_kafka_msg_partitioner_consistent_random(handle, key, len, count, NULL,
								  NULL);
	return rd_kafka_msg_partitioner_murmur2_random(handle, key, len, count, NULL, NULL);
}

/* Thread: any; librdkafka's own, if it did not know the partitions when the record was produced. */
static int32_t choose(const rd_kafka_topic_t *handle, const void *key, size_t len, int32_t count,
		      void *opaque, void *event)
{
	struct topic *topic = opaque;
	const struct event *own = event;
	int32_t partition = own->placed ? own->partition : partition_of(handle, key, len, count);

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	if (!pthread_equal(pthread_self(), topic->thread))
		return partition;
	if (partition >= count) {
		topic->short_of = count;
		return partition;
	}
	gates_grow(topic, count);
	topic->chosen = partition;
	return topic->gates[partition] == GATE_CLOSED ? count : partition;
}

bool kafka_gate_is_open(struct topic *topic)
{
	topic->chosen = RD_KAFKA_PARTITION_UA;
	topic->short_of = 0;
	return topic->unplaced == NULL;
}

bool kafka_gate_refused(const struct topic *topic)
{
	return topic->chosen != RD_KAFKA_PARTITION_UA && topic->gates[topic->chosen] == GATE_CLOSED;
}

void kafka_gate_sent(struct topic *topic, const struct event *event, int64_t now_us)
{
	int64_t *gate;

	if (topic->chosen == RD_KAFKA_PARTITION_UA) {
		topic->unplaced = event;
		return;
	}
	gate = &topic->gates[topic->chosen];
	if (*gate == GATE_NEW || now_us - *gate > gate_forgets_us)
		*gate = GATE_CLOSED;
}

void kafka_gate_reported(struct topic *topic, const struct event *event, int32_t partition,
			 bool delivered, int64_t now_us)
{
	if (topic->unplaced == event)
		topic->unplaced = NULL;
	if (!delivered || partition < 0)
		return;
	gates_grow(topic, partition + 1);
	topic->gates[partition] = now_us;
}

static bool make_handle(struct kafka *kafka, struct topic *topic)
{
	rd_kafka_topic_conf_t *conf;

	if (topic->handle != NULL)
		return true;
	conf = rd_kafka_default_topic_conf_dup(kafka->producer.rk);
	topic->thread = pthread_self();
	rd_kafka_topic_conf_set_opaque(conf, topic);
	rd_kafka_topic_conf_set_partitioner_cb(conf, choose);
	/* It frees conf. */
	topic->handle = rd_kafka_topic_new(kafka->producer.rk, topic->name, conf);
	return topic->handle != NULL;
}

/* Asks a broker for the topic's settings. */
static void ask(struct kafka *kafka, struct topic *topic)
{
	make_handle(kafka, topic);
	topic->asking = true;
	if (topic->state == TOPIC_UNKNOWN && topic->trouble_since_us == 0)
		topic->trouble_since_us = clock_monotonic_us();
	kafka_ask_settings(kafka->producer.rk, RD_KAFKA_RESOURCE_TOPIC, topic->name, ASK_TIMEOUT_MS,
			   topic, kafka->producer.queue);
}

static void ask_at(struct kafka *kafka, struct topic *topic, int64_t at_us)
{
	topic->ask_at_us = at_us;
	if (at_us < kafka->topics.due_us) {
		kafka->topics.due_us = at_us;
		kafka_tick_at(kafka, at_us);
	}
}

static struct topic *topic_new(struct kafka *kafka, struct slice name)
{
	struct topic *topic = xcalloc(1, sizeof(*topic));

	topic->magic = MAGIC_KAFKA_TOPIC;
	topic->name = xmalloc(name.len + 1);
	memcpy(topic->name, name.data, name.len);
	topic->name[name.len] = '\0';
	topic->len = name.len;
	topic->metrics = metrics_topic(kafka->options.metrics, name);
	topic->max_bytes = SIZE_MAX;
	topic->next = kafka->topics.first;
	kafka->topics.first = topic;
	return topic;
}

struct topic *kafka_topic(struct kafka *kafka, struct slice name)
{
	struct topics *topics = &kafka->topics;
	struct topic wanted = {.name = (char *)(uintptr_t)name.data, .len = name.len};
	struct topic **found;

	if (topics->last != NULL && compare_names(&wanted, topics->last) == 0)
		return topics->last;
	found = tfind(&wanted, &topics->tree, compare_names);
	topics->last = found != NULL ? *found : topic_new(kafka, name);
	if (found == NULL) {
		if (tsearch(topics->last, &topics->tree, compare_names) == NULL)
			abort(); /* out of memory, as in xalloc.h */
		ask_at(kafka, topics->last, 0);
	}
	return topics->last;
}

/* Asked for each event: mostly no clock is read. */
static bool is_denied(const struct topic *topic)
{
	return topic->denials > 0 && clock_monotonic_us() < topic->denied_until_us;
}

/* A broker that has just come back may not know its topics yet. */
bool kafka_topic_is_out(const struct kafka *kafka, const struct topic *topic)
{
	int64_t since_us = topic->absent_since_us;

	if (since_us < kafka->connection.reachable_us)
		since_us = kafka->connection.reachable_us;
	if (is_denied(topic))
		return true;
	return topic->state == TOPIC_UNKNOWN && topic->absent_since_us != 0 &&
	       clock_monotonic_us() - since_us >= warn_after_us;
}

void kafka_topic_denied(struct kafka *kafka, struct topic *topic)
{
	int64_t pause =
	    denied_us << (topic->denials < DENIALS_MOST ? topic->denials : DENIALS_MOST);

	if (is_denied(topic))
		return; /* an event that was sent with the first one */
	topic->denied_until_us = clock_monotonic_us() + pause;
	topic->denials++;
	topic->state = TOPIC_UNKNOWN;
	ask_at(kafka, topic, topic->denied_until_us); /* the answer says that it is worth a try */
	kafka_drain(kafka, kafka->trouble.text);
}

bool kafka_topic_usable(struct kafka *kafka, struct topic *topic)
{
	if (is_denied(topic))
		return false;
	if (topic->state == TOPIC_KNOWN && make_handle(kafka, topic))
		return true;
	topic->wanted_us = clock_monotonic_us();
	if (topic->ask_at_us == INT64_MAX)
		ask_at(kafka, topic, 0);
	return false;
}

/* Nothing waits for it any more: it may well be retired. */
static void let_go(struct topic *topic)
{
	topic->ask_at_us = INT64_MAX;
	topic->trouble_since_us = 0;
	topic->failures = 0;
}

/* code: 0 if the broker has given none. */
static void trouble(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code,
		    const char *what)
{
	int64_t now = clock_monotonic_us();

	if (now - topic->wanted_us > ask_wanted_us) {
		let_go(topic);
		return;
	}
	ask_at(kafka, topic, now + backoff_us(topic->failures, &kafka->random));
	topic->failures = topic->failures < FAILURES_MOST ? topic->failures + 1 : FAILURES_MOST;
	if (topic->trouble_since_us == 0)
		topic->trouble_since_us = now;
	if (now - topic->trouble_since_us < warn_after_us ||
	    now - topic->wanted_us > warn_wanted_us ||
	    (topic->warned_us != 0 && now - topic->warned_us < warn_every_us))
		return;
	topic->warned_us = now;
	log_fact(LOG_WARNING, "topic_missing",
		 LOG_FIELDS(field_text("topic", topic->name),
			    field_text("error_code", code != RD_KAFKA_RESP_ERR_NO_ERROR
							 ? rd_kafka_err2name(code)
							 : ""),
			    field_seconds("waits_seconds", now - topic->trouble_since_us)),
		 "topic \"%s\" %s; its events wait", topic->name, what);
}

static void absent(struct kafka *kafka, struct topic *topic)
{
	topic->state = TOPIC_UNKNOWN;
	if (topic->absent_since_us == 0)
		topic->absent_since_us = clock_monotonic_us();
	topic->asking = true;
	kafka_ask_creation(kafka->producer.rk, topic->name, ASK_TIMEOUT_MS, topic,
			   kafka->producer.queue);
}

void kafka_topics_creation(struct kafka *kafka, rd_kafka_event_t *answer)
{
	struct topic *topic = rd_kafka_event_opaque(answer);
	char why[KAFKA_CREATION_WORDS];
	struct error what;

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	topic->asking = false;
	if (kafka_creation_refused(answer, why)) {
		error_set(&what, "does not exist, and the brokers do not create it: %s", why);
		trouble(kafka, topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, what.text);
		return;
	}
	trouble(kafka, topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
		"does not exist and the brokers have not created it: create it, or set "
		"auto.create.topics.enable on the brokers");
}

void kafka_topic_failed(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code)
{
	char what[256];

	topic->state = TOPIC_UNKNOWN;
	topic->wanted_us = clock_monotonic_us();
	text_print(what, sizeof(what), "cannot be written: %s (%s)", rd_kafka_err2name(code),
		   rd_kafka_err2str(code));
	trouble(kafka, topic, code, what);
}

void kafka_topic_doubt(struct kafka *kafka, struct topic *topic)
{
	topic->state = TOPIC_UNKNOWN;
	ask_at(kafka, topic, 0);
}

bool kafka_topic_is_stale(const struct kafka *kafka, const struct topic *topic)
{
	return kafka->now_us - topic->learned_us > stale_us;
}

static size_t smallest_of(const struct topics *topics)
{
	size_t smallest = SIZE_MAX;

	for (const struct topic *topic = topics->first; topic != NULL; topic = topic->next)
		if (topic->max_bytes < smallest)
			smallest = topic->max_bytes;
	return smallest > 0 ? smallest : 1;
}

static void learn(struct kafka *kafka, struct topic *topic, size_t max_bytes)
{
	struct error why;

	kafka->connection.ever_answered = true;
	topic->learned_us = clock_monotonic_us();
	if (max_bytes != topic->max_bytes) {
		topic->max_bytes = max_bytes;
		kafka->topics.smallest = smallest_of(&kafka->topics);
	}
	ask_at(kafka, topic, clock_monotonic_us() + refresh_us);
	topic->state = TOPIC_KNOWN;
	topic->absent_since_us = 0;
	if (kafka->topics.smallest < kafka->producer.batch_bytes) {
		error_set(&why,
			  "topic \"%s\" takes batches of at most %zu bytes, and the producer's are "
			  "larger",
			  topic->name, max_bytes);
		kafka_drain(kafka, why.text);
	}
	kafka_writable(kafka, WAITS_FOR_TOPIC);
}

static bool is_no_answer(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT ||
	       code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__DESTROY ||
	       code == RD_KAFKA_RESP_ERR__STATE || code == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE ||
	       code == RD_KAFKA_RESP_ERR__SSL || code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
	       code == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT ||
	       code == RD_KAFKA_RESP_ERR_NOT_CONTROLLER;
}

/* The question goes to the controller, which may be unreachable while other brokers serve. */
static void unanswered(struct kafka *kafka, struct topic *topic, const char *why)
{
	char what[400];

	if (topic->state == TOPIC_KNOWN || !kafka->connection.reachable) {
		ask_at(kafka, topic,
		       clock_monotonic_us() + backoff_us(topic->failures++, &kafka->random));
		return;
	}
	text_print(
	    what, sizeof(what),
	    "is not usable yet: the cluster's controller does not report its settings (%s); see "
	    "that it runs, and that the address it advertises can be reached from here",
	    why);
	trouble(kafka, topic, RD_KAFKA_RESP_ERR_NO_ERROR, what);
}

/* No right to ask, or a broker that does not know the question (the embedded one): our own limit
 * has to do, and a reject would show it. */
static void learn_without_limit(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code)
{
	if (!topic->limit_logged && code != RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE &&
	    code != RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION)
		log_fact(LOG_INFO, "topic_limit_unknown",
			 LOG_FIELDS(field_text("topic", topic->name),
				    field_text("error_code", rd_kafka_err2name(code))),
			 "topic \"%s\": its max.message.bytes is not known (%s); "
			 "grant DescribeConfigs on it to have sizes checked before sending",
			 topic->name, rd_kafka_err2name(code));
	topic->limit_logged = true;
	learn(kafka, topic, SIZE_MAX);
}

/* They are asked no more, not even for other topics: if it costs the connection, other requests are
 * lost with it. */
static void count_unknown(struct kafka *kafka, struct topic *topic, const struct settings *settings)
{
	bool closed = settings->code == RD_KAFKA_RESP_ERR__TRANSPORT;
	bool nobody = settings->code == RD_KAFKA_RESP_ERR__TIMED_OUT &&
		      rd_kafka_controllerid(kafka->producer.rk, 0) < 0;

	topic->unknown = closed || nobody ? topic->unknown + 1 : 0;
	if (topic->unknown < UNKNOWN_MOST || kafka->topics.mute)
		return;
	kafka->topics.mute = true;
	log_fact(LOG_WARNING, "settings_unanswered", LOG_FIELDS(field_text("peer", "kafka")),
		 "%s: they are asked for topics' settings no more, so that limits are not "
		 "known, and an event that is too large shows when it is refused",
		 closed ? "the brokers close the connection at DescribeConfigs"
			: "the brokers name no controller");
}

void kafka_topics_settings(struct kafka *kafka, rd_kafka_event_t *answer)
{
	struct topic *topic = rd_kafka_event_opaque(answer);
	struct settings settings = kafka_settings_of(answer);
	const char *limit = kafka_setting(&settings, "max.message.bytes");

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	topic->asking = false;
	count_unknown(kafka, topic, &settings);
	if (kafka->topics.mute && is_no_answer(settings.code))
		learn(kafka, topic, SIZE_MAX);
	else if (is_no_answer(settings.code))
		unanswered(kafka, topic, settings.why);
	else if (settings.code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		absent(kafka, topic);
	else if (settings.code == RD_KAFKA_RESP_ERR_NO_ERROR)
		learn(kafka, topic, limit != NULL ? strtoull(limit, NULL, 10) : SIZE_MAX);
	else
		learn_without_limit(kafka, topic, settings.code);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Whether there is nothing to ask, or nobody: the embedded broker makes any topic, and knows no
 * limits; the question goes to the controller, and some brokers name none. That comes with the
 * cluster's id. */
static bool cannot_ask(struct kafka *kafka, bool *is_known)
{
	*is_known = true;
	if (kafka->embedded.cluster != NULL || kafka->topics.mute ||
	    kafka_serves_embedded(kafka->producer.rk, is_known))
		return true;
	return *is_known && rd_kafka_controllerid(kafka->producer.rk, 0) < 0;
}

void kafka_topics_tick(struct kafka *kafka, int64_t now_us)
{
	struct topics *topics = &kafka->topics;
	bool mute, is_known;

	/* While a request waits for a broker that is unreachable, librdkafka (2.0.2) keeps a core
	 * busy. */
	if (now_us < topics->due_us ||
	    (!kafka->connection.reachable && kafka->embedded.cluster == NULL))
		return;
	mute = cannot_ask(kafka, &is_known);
	if (!is_known && now_us - kafka->connection.reachable_us < cluster_us) {
		topics->due_us = now_us + cluster_us / 10;
		return;
	}
	topics->due_us = INT64_MAX;
	for (struct topic *topic = topics->first; topic != NULL; topic = topic->next) {
		if (topic->asking)
			continue;
		if (topic->ask_at_us > now_us)
			topics->due_us = earlier(topics->due_us, topic->ask_at_us);
		else if (mute)
			learn(kafka, topic, SIZE_MAX);
		else
			ask(kafka, topic);
	}
}

/* The producer is about to go: its handles and its unanswered questions with it. The next may ask
 * anew: brokers that crash again and again look as those that do not know the question. */
void kafka_topics_forget_producer(struct kafka *kafka)
{
	kafka->topics.mute = false;
	for (struct topic *topic = kafka->topics.first; topic != NULL; topic = topic->next) {
		if (topic->handle != NULL)
			rd_kafka_topic_destroy(topic->handle);
		topic->handle = NULL;
		topic->unknown = 0;
		gates_forget(topic);
		if (topic->asking)
			ask_at(kafka, topic, 0);
		topic->asking = false;
	}
}

static void topic_free(void *arg)
{
	struct topic *topic = arg;

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	gates_forget(topic);
	free(topic->name);
	free(topic);
}

void kafka_topics_free(struct kafka *kafka)
{
	tdestroy(kafka->topics.tree, topic_free);
}
