/*
 * topic.c - the topics seen so far: their handles, whether they exist, what sizes they take
 *
 * A topic takes events once a broker has told its limit, or has told that it will not tell. Asking
 * for it first also makes librdkafka fetch its metadata, and an auto-creating broker create it.
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"

#include <stdlib.h>

enum {
	SLOTS_AT_FIRST = 64,
	ASK_TIMEOUT_MS = 5000,
	/* Asks in a row that lengthen the pause: after them it is a second or so. */
	FAILURES_MOST = 4,
};

static const int64_t refresh_us = 5 * 60 * INT64_C(1000000);
/* Which cluster it is, a broker tells with its first metadata. */
static const int64_t cluster_us = 200 * 1000;
static const int64_t warn_after_us = 3 * INT64_C(1000000);
static const int64_t warn_every_us = 30 * INT64_C(1000000);

/* Nobody tells when the events that waited for a topic are gone. While they wait, the engine comes
 * with them every 5 s or so, but not while its transaction is open, which lasts for the
 * stall_timeout: a warning is for what is known to wait, a question costs next to nothing. */
static const int64_t warn_wanted_us = 7 * INT64_C(1000000);
static const int64_t ask_wanted_us = 60 * INT64_C(1000000);

static uint32_t hash_of(struct slice name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < name.len; i++)
		hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
	return hash;
}

static bool is_named(const struct topic *topic, struct slice name)
{
	return topic->len == name.len && memcmp(topic->name, name.data, name.len) == 0;
}

/* The slot of the name, or the free one where it belongs. */
static struct topic **slot_of(struct topics *topics, struct slice name, uint32_t hash)
{
	size_t i = hash & (topics->capacity - 1);

	while (topics->slots[i] != NULL &&
	       (topics->slots[i]->hash != hash || !is_named(topics->slots[i], name)))
		i = (i + 1) & (topics->capacity - 1);
	return &topics->slots[i];
}

static void grow(struct topics *topics)
{
	struct topics old = *topics;

	if (topics->count * 2 < topics->capacity)
		return;
	topics->capacity = old.capacity > 0 ? old.capacity * 2 : SLOTS_AT_FIRST;
	topics->slots = xcalloc(topics->capacity, sizeof(struct topic *));
	for (size_t i = 0; i < old.capacity; i++)
		if (old.slots[i] != NULL)
			*slot_of(topics, (struct slice){old.slots[i]->name, old.slots[i]->len},
				 old.slots[i]->hash) = old.slots[i];
	free(old.slots);
}

static bool make_handle(struct kafka *kafka, struct topic *topic)
{
	if (topic->handle == NULL)
		topic->handle = kafka_lane_handle(kafka->rk, topic);
	return topic->handle != NULL;
}

/* Asks a broker for the topic's settings. */
static void ask(struct kafka *kafka, struct topic *topic)
{
	rd_kafka_AdminOptions_t *options =
	    rd_kafka_AdminOptions_new(kafka->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource =
	    rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic->name);
	char words[128];

	make_handle(kafka, topic);
	topic->asking = true;
	if (topic->state == TOPIC_UNKNOWN && topic->trouble_since_us == 0)
		topic->trouble_since_us = clock_monotonic_us();
	rd_kafka_AdminOptions_set_request_timeout(options, ASK_TIMEOUT_MS, words, sizeof(words));
	rd_kafka_AdminOptions_set_opaque(options, topic);
	rd_kafka_DescribeConfigs(kafka->rk, &resource, 1, options, kafka->queue);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
}

static void ask_at(struct kafka *kafka, struct topic *topic, int64_t at_us)
{
	topic->ask_at_us = at_us;
	if (at_us < kafka->topics.due_us) {
		kafka->topics.due_us = at_us;
		kafka_tick_at(kafka, at_us);
	}
}

struct topic *kafka_topic(struct kafka *kafka, struct slice name)
{
	struct topics *topics = &kafka->topics;
	struct topic **slot, *topic;
	uint32_t hash;

	if (topics->last != NULL && is_named(topics->last, name))
		return topics->last;
	grow(topics);
	hash = hash_of(name);
	slot = slot_of(topics, name, hash);
	if (*slot == NULL) {
		*slot = topic = xcalloc(1, sizeof(*topic));
		topic->magic = MAGIC_KAFKA_TOPIC;
		topic->name = xmalloc(name.len + 1);
		memcpy(topic->name, name.data, name.len);
		topic->name[name.len] = '\0';
		topic->len = name.len;
		topic->hash = hash;
		topic->metrics = metrics_topic(kafka->options.metrics, name);
		topic->max_bytes = SIZE_MAX;
		topics->count++;
		ask_at(kafka, topic, 0);
	}
	topics->last = *slot;
	return *slot;
}

bool kafka_topic_usable(struct kafka *kafka, struct topic *topic)
{
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

static void trouble(struct kafka *kafka, struct topic *topic, const char *what)
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
	log_warning("topic \"%s\" %s; its events wait", topic->name, what);
}

static void absent(struct kafka *kafka, struct topic *topic)
{
	topic->state = TOPIC_UNKNOWN;
	topic->asking = true;
	kafka_ask_creation(kafka->rk, topic->name, ASK_TIMEOUT_MS, topic, kafka->queue);
}

void kafka_topics_creation(struct kafka *kafka, rd_kafka_event_t *event)
{
	struct topic *topic = rd_kafka_event_opaque(event);
	char why[KAFKA_CREATION_WORDS];
	struct error what;

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	topic->asking = false;
	if (kafka_creation_refused(event, why)) {
		error_set(&what, "does not exist, and the brokers do not create it: %s", why);
		trouble(kafka, topic, what.text);
		return;
	}
	trouble(kafka, topic,
		"does not exist and the brokers have not created it: create it, or set "
		"auto.create.topics.enable on the brokers");
}

/* A send was refused immediately because of what librdkafka knows of the topic. */
void kafka_topic_failed(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code)
{
	char what[256];

	topic->state = TOPIC_UNKNOWN;
	topic->wanted_us = clock_monotonic_us();
	text_print(what, sizeof(what), "cannot be written: %s (%s)", rd_kafka_err2name(code),
		   rd_kafka_err2str(code));
	trouble(kafka, topic, what);
}

/* What is known of it is not true any more: a broker found something too large, or no such topic.
 */
void kafka_topic_doubt(struct kafka *kafka, struct topic *topic)
{
	topic->state = TOPIC_UNKNOWN;
	ask_at(kafka, topic, 0);
}

static size_t smallest_of(const struct topics *topics)
{
	size_t smallest = SIZE_MAX;

	for (size_t i = 0; i < topics->capacity; i++)
		if (topics->slots[i] != NULL && topics->slots[i]->max_bytes < smallest)
			smallest = topics->slots[i]->max_bytes;
	return smallest > 0 ? smallest : 1;
}

static void learn(struct kafka *kafka, struct topic *topic, size_t max_bytes)
{
	char why[400];

	kafka->ever_answered = true;
	if (max_bytes != topic->max_bytes) {
		topic->max_bytes = max_bytes;
		kafka->topics.smallest = smallest_of(&kafka->topics);
	}
	ask_at(kafka, topic, clock_monotonic_us() + refresh_us);
	topic->state = TOPIC_KNOWN;
	if (kafka->topics.smallest < kafka->producer_batch_bytes) {
		snprintf(why, sizeof(why),
			 "topic \"%s\" takes batches of at most %zu bytes: the producer is made "
			 "anew with smaller ones",
			 topic->name, max_bytes);
		kafka_drain(kafka, why);
	}
	if (kafka->blocked && kafka->state == KAFKA_READY) {
		kafka->blocked = false;
		kafka->sink.events->writable(kafka->sink.owner);
	}
}

static size_t limit_in(const rd_kafka_ConfigResource_t *resource)
{
	size_t count;
	const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);

	for (size_t i = 0; i < count; i++) {
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);

		if (value != NULL &&
		    strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0)
			return (size_t)strtoull(value, NULL, 10);
	}
	return SIZE_MAX;
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

/* The question goes to the controller, which may be away while other brokers serve. */
static void unanswered(struct kafka *kafka, struct topic *topic, const char *why)
{
	char what[400];

	if (topic->state == TOPIC_KNOWN || !kafka->reachable) {
		ask_at(kafka, topic,
		       clock_monotonic_us() + backoff_us(topic->failures++, &kafka->random));
		return;
	}
	text_print(
	    what, sizeof(what),
	    "is not usable yet: the cluster's controller does not tell its settings (%s); see "
	    "that it runs, and that the address it advertises can be reached from here",
	    why);
	trouble(kafka, topic, what);
}

static void answered(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code,
		     const rd_kafka_ConfigResource_t *resource, const char *why)
{
	topic->asking = false;
	if (is_no_answer(code)) {
		unanswered(kafka, topic, why);
	} else if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
		absent(kafka, topic);
	} else if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
		learn(kafka, topic, limit_in(resource));
	} else {
		/* No right to ask, or a broker that does not know the question (the embedded
		 * one): our own limit has to do, and a reject would tell. */
		if (!topic->limit_told && code != RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
			log_info("topic \"%s\": its max.message.bytes is not known (%s); "
				 "grant DescribeConfigs on it to have sizes checked before sending",
				 topic->name, rd_kafka_err2name(code));
		topic->limit_told = true;
		learn(kafka, topic, SIZE_MAX);
	}
}

void kafka_topics_answer(struct kafka *kafka, rd_kafka_event_t *event)
{
	struct topic *topic = rd_kafka_event_opaque(event);
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *why = rd_kafka_event_error_string(event);
	const rd_kafka_ConfigResource_t **resources = NULL;
	size_t count = 0;

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		resources = rd_kafka_DescribeConfigs_result_resources(
		    rd_kafka_event_DescribeConfigs_result(event), &count);
	if (count > 0) {
		code = rd_kafka_ConfigResource_error(resources[0]);
		why = rd_kafka_ConfigResource_error_string(resources[0]);
	}
	answered(kafka, topic, code, count > 0 ? resources[0] : NULL, why);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Whether there is nothing to ask: the broker makes any topic, and knows no limits. */
static bool is_embedded(struct kafka *kafka, bool *is_known)
{
	*is_known = true;
	return kafka->mock != NULL || kafka_serves_embedded(kafka->rk, is_known);
}

void kafka_topics_tick(struct kafka *kafka, int64_t now_us)
{
	struct topics *topics = &kafka->topics;
	bool embedded, is_known;

	/* While a request waits for a broker that is unreachable, librdkafka (2.0.2) keeps a core
	 * busy. */
	if (now_us < topics->due_us || (!kafka->reachable && kafka->mock == NULL))
		return;
	embedded = is_embedded(kafka, &is_known);
	if (!is_known && now_us - kafka->reachable_us < cluster_us) {
		topics->due_us = now_us + cluster_us / 10;
		return;
	}
	topics->due_us = INT64_MAX;
	for (size_t i = 0; i < topics->capacity; i++) {
		struct topic *topic = topics->slots[i];

		if (topic == NULL || topic->asking)
			continue;
		if (topic->ask_at_us > now_us)
			topics->due_us = earlier(topics->due_us, topic->ask_at_us);
		else if (embedded)
			learn(kafka, topic, SIZE_MAX);
		else
			ask(kafka, topic);
	}
}

/* The producer is about to go: its handles and its unanswered questions with it. */
void kafka_topics_forget_producer(struct kafka *kafka)
{
	struct topics *topics = &kafka->topics;

	for (size_t i = 0; i < topics->capacity; i++) {
		struct topic *topic = topics->slots[i];

		if (topic == NULL)
			continue;
		if (topic->handle != NULL)
			rd_kafka_topic_destroy(topic->handle);
		topic->handle = NULL;
		kafka_lanes_forget(topic);
		if (topic->asking)
			ask_at(kafka, topic, 0);
		topic->asking = false;
	}
}

void kafka_topics_free(struct kafka *kafka)
{
	for (size_t i = 0; i < kafka->topics.capacity; i++) {
		if (kafka->topics.slots[i] == NULL)
			continue;
		kafka_lanes_forget(kafka->topics.slots[i]);
		free(kafka->topics.slots[i]->name);
		free(kafka->topics.slots[i]);
	}
	free(kafka->topics.slots);
}
