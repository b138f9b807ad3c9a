/* SPDX-License-Identifier: ISC */
/*
 * kafka_rig.h - a stand-in for the engine and a consumer, for the tests of the Kafka sink
 *
 * The rig sends its events in order, sends returned ones again once the sink has been rebuilt, and
 * writes down what it hears. An independent consumer reads what has arrived.
 */
#ifndef OUTBOX_KAFKA_RIG_H
#define OUTBOX_KAFKA_RIG_H

#include "base/xalloc.h"
#include "kafka/internal.h"

#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PARTITIONS = 4, PATIENCE_US = 60 * 1000 * 1000, PRODUCE = 0 /* the protocol's ApiKey */ };

struct rig {
	struct loop *loop;
	struct loop_timer *guard, *poll;
	rd_kafka_mock_cluster_t *mock; /* the sink's */
	struct metrics metrics;
	struct kafka_options options;
	struct sink *sink;
	const struct producer_id *id; /* with transactions; NULL: without */
	struct event *events;
	struct message *messages;
	size_t count;
	size_t in_flight, delivered, rejected, returned, refused;
	unsigned broken, ready, unreachable, writable;
	bool down; /* between broken() and ready() */
	bool in_call;
	bool reachable;
	char why[512];	  /* of the last broken() */
	char reject[512]; /* of the last reject */
	enum reject_reason reason;
	bool (*until)(const struct rig *rig);
};

static void check(struct rig *rig)
{
	assert_false(
	    rig->in_call); /* nothing may be reported from inside the sink's own functions */
	if (rig->until != NULL && rig->until(rig))
		loop_stop(rig->loop);
}

/* A new producer ends what the last one had begun: as the engine does, all of it is sent again. */
static void forget_delivered(struct rig *rig)
{
	for (size_t i = 0; i < rig->count; i++) {
		if (rig->events[i].state != EVENT_DELIVERED)
			continue;
		rig->events[i].state = EVENT_RETURNED;
		rig->delivered--;
	}
}

static void rebuild_if_idle(struct rig *rig)
{
	if (!rig->down || rig->in_flight > 0 || rig->ready > rig->broken)
		return;
	if (rig->id != NULL)
		forget_delivered(rig);
	rig->in_call = true;
	rig->sink->ops->rebuild(rig->sink, rig->id);
	rig->in_call = false;
}

static void pump(struct rig *rig)
{
	struct error err;

	for (size_t i = 0; i < rig->count && !rig->down; i++) {
		struct event *event = &rig->events[i];
		enum reject_reason reason = REJECT_NONE;
		enum sink_answer answer;

		if (event->state != EVENT_CLAIMED && event->state != EVENT_RETURNED)
			continue;
		rig->in_call = true;
		answer =
		    rig->sink->ops->produce(rig->sink, event, &rig->messages[i], &reason, &err);
		rig->in_call = false;
		if (answer == SINK_LATER || answer == SINK_NO_TOPIC)
			return;
		if (answer == SINK_REFUSED) {
			event->state = EVENT_REJECTED;
			rig->refused++;
			rig->reason = reason;
			snprintf(rig->reject, sizeof(rig->reject), "%.500s", err.text);
			continue;
		}
		event->state = EVENT_SENT;
		rig->in_flight++;
	}
}

static void reported(struct rig *rig, struct event *event, enum event_state state)
{
	assert_int_equal(event->state, EVENT_SENT);
	event->state = state;
	rig->in_flight--;
	rebuild_if_idle(rig);
	check(rig);
}

static void on_delivered(void *owner, struct event *event)
{
	((struct rig *)owner)->delivered++;
	reported(owner, event, EVENT_DELIVERED);
}

static void on_rejected(void *owner, struct event *event, enum reject_reason reason,
			const char *code, const char *why)
{
	assert_true(code[0] != '\0');
	struct rig *rig = owner;

	rig->rejected++;
	rig->reason = reason;
	snprintf(rig->reject, sizeof(rig->reject), "%s", why);
	reported(rig, event, EVENT_REJECTED);
}

static void on_returned(void *owner, struct event *event)
{
	((struct rig *)owner)->returned++;
	reported(owner, event, EVENT_RETURNED);
}

static void on_writable(void *owner)
{
	((struct rig *)owner)->writable++;
	pump(owner);
	check(owner);
}

static void on_broken(void *owner, const char *why)
{
	struct rig *rig = owner;

	rig->broken++;
	rig->down = true;
	snprintf(rig->why, sizeof(rig->why), "%s", why);
	rebuild_if_idle(rig);
	check(rig);
}

static void on_reachable(void *owner, bool yes)
{
	struct rig *rig = owner;

	rig->reachable = yes;
	rig->unreachable += !yes;
	check(rig);
}

static void on_unreachable_why(void *owner)
{
	check(owner);
}

static void on_refused(void *owner, const char *why)
{
	(void)owner;
	fail_msg("a broker refuses the login: %s", why);
}

static void on_ready(void *owner)
{
	struct rig *rig = owner;

	rig->ready++;
	rig->down = false;
	pump(rig);
	check(rig);
}

static const struct sink_events rig_events = {
    .delivered = on_delivered,
    .rejected = on_rejected,
    .returned = on_returned,
    .writable = on_writable,
    .broken = on_broken,
    .reachable = on_reachable,
    .unreachable_why = on_unreachable_why,
    .refused = on_refused,
    .ready = on_ready,
};

static inline void too_long(void *arg)
{
	struct rig *rig = arg;

	fail_msg("waited too long: %zu of %zu delivered, %zu outstanding, broken %u (%s), ready %u",
		 rig->delivered, rig->count, rig->in_flight, rig->broken, rig->why, rig->ready);
}

static inline void run_until(struct rig *rig, bool (*until)(const struct rig *rig))
{
	rig->until = until;
	if (!until(rig)) {
		loop_timer_set(rig->guard, PATIENCE_US);
		loop_run(rig->loop);
		loop_timer_stop(rig->guard);
	}
	rig->until = NULL;
	assert_true(until(rig));
}

static inline bool all_settled(const struct rig *rig)
{
	return rig->delivered + rig->rejected + rig->refused == rig->count;
}

static inline bool heard_unreachable(const struct rig *rig)
{
	return rig->unreachable > 0;
}

static inline bool heard_ready(const struct rig *rig)
{
	return rig->ready > 0;
}

static inline bool one_delivered(const struct rig *rig)
{
	return rig->delivered > 0;
}

static int set_up(void **state)
{
	struct rig *rig = xcalloc(1, sizeof(*rig));

	rig->loop = loop_new();
	rig->guard = loop_timer_new(rig->loop, too_long, rig);
	metrics_init(&rig->metrics, "test", "public.outbox_events");
	rig->options.embedded = true;
	rig->options.metrics = &rig->metrics;
	*state = rig;
	return 0;
}

static inline void connect_sink(struct rig *rig)
{
	struct error err = {""};

	rig->sink = kafka_sink_new(rig->loop, &rig->options, &rig_events, rig, &err);
	if (rig->sink == NULL)
		fail_msg("%s", err.text);
	rig->mock = ((struct kafka *)rig->sink)->embedded.cluster;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	if (rig->sink != NULL)
		kafka_sink_free(&rig->sink, 5000);
	loop_timer_free(&rig->guard);
	loop_free(&rig->loop);
	metrics_fini(&rig->metrics);
	free(rig->events);
	free(rig->messages);
	free(rig);
	return 0;
}

static struct message *add(struct rig *rig, const char *topic, struct slice key, struct slice value)
{
	struct message *message;
	struct event *event;

	rig->events = xrealloc(rig->events, (rig->count + 1) * sizeof(*rig->events));
	rig->messages = xrealloc(rig->messages, (rig->count + 1) * sizeof(*rig->messages));
	event = &rig->events[rig->count];
	message = &rig->messages[rig->count];
	*event = (struct event){
	    .id = (int64_t)rig->count + 1, .payload = value, .payload_bytes = (int64_t)value.len};
	*message = (struct message){.topic = slice_of(topic), .key = key, .value = value};
	rig->count++;
	return message;
}

/* Numbered values, each key's in ascending order. */
static inline void add_many(struct rig *rig, const char *topic, size_t count, size_t keys,
			    char (*text)[16])
{
	for (size_t i = 0; i < count; i++) {
		snprintf(text[i], sizeof(text[i]), "%zu", i);
		add(rig, topic, slice_of(text[i % keys]), slice_of(text[i]));
	}
}

/* Everything in the topic, in the order of each partition; each is freed by the caller. */
struct arrivals {
	rd_kafka_message_t **items;
	size_t count;
	rd_kafka_t *consumer;
};

static inline struct arrivals consume(const struct rig *rig, const char *topic)
{
	struct arrivals arrivals = {0};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(PARTITIONS);
	int ended = 0;

	rd_kafka_conf_set(conf, "bootstrap.servers", kafka_bootstrap(rig->sink), NULL, 0);
	rd_kafka_conf_set(conf, "group.id", "test", NULL, 0);
	rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0);
	rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
	arrivals.consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
	for (int i = 0; i < PARTITIONS; i++)
		rd_kafka_topic_partition_list_add(all, topic, i)->offset =
		    RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(arrivals.consumer, all);
	rd_kafka_topic_partition_list_destroy(all);
	while (ended < PARTITIONS) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(arrivals.consumer, 10000);

		assert_non_null(message);
		if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
			assert_int_equal(message->err, RD_KAFKA_RESP_ERR__PARTITION_EOF);
			ended++;
			rd_kafka_message_destroy(message);
			continue;
		}
		arrivals.items =
		    xrealloc(arrivals.items, (arrivals.count + 1) * sizeof(*arrivals.items));
		arrivals.items[arrivals.count++] = message;
	}
	return arrivals;
}

static inline void arrivals_free(struct arrivals *arrivals)
{
	for (size_t i = 0; i < arrivals->count; i++)
		rd_kafka_message_destroy(arrivals->items[i]);
	free(arrivals->items);
	rd_kafka_consumer_close(arrivals->consumer);
	rd_kafka_destroy(arrivals->consumer);
}

static inline const rd_kafka_message_t *with_key(const struct arrivals *arrivals, const char *key)
{
	for (size_t i = 0; i < arrivals->count; i++) {
		const rd_kafka_message_t *item = arrivals->items[i];

		if (item->key != NULL && item->key_len == strlen(key) &&
		    memcmp(item->key, key, item->key_len) == 0)
			return item;
	}
	fail_msg("no record with key \"%s\"", key);
	return NULL;
}

/* Each value once; each key's in ascending order. */
static inline void assert_complete_and_ordered(const struct rig *rig, const char *topic,
					       size_t count, size_t keys)
{
	struct arrivals arrivals = consume(rig, topic);
	long *last = xcalloc(keys, sizeof(long));

	assert_int_equal(arrivals.count, count);
	for (size_t i = 0; i < arrivals.count; i++) {
		char key[16] = "", value[16] = "";

		memcpy(key, arrivals.items[i]->key, arrivals.items[i]->key_len);
		memcpy(value, arrivals.items[i]->payload, arrivals.items[i]->len);
		assert_true(atol(value) + 1 > last[atol(key)]);
		last[atol(key)] = atol(value) + 1;
	}
	free(last);
	arrivals_free(&arrivals);
}

static inline void assert_header(const rd_kafka_message_t *message, size_t index, const char *name,
				 const char *value)
{
	rd_kafka_headers_t *headers;
	const char *got_name;
	const void *got;
	size_t len;

	assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
	assert_int_equal(rd_kafka_header_get_all(headers, index, &got_name, &got, &len), 0);
	assert_string_equal(got_name, name);
	if (value == NULL) {
		assert_null(got);
		return;
	}
	assert_int_equal(len, strlen(value));
	assert_memory_equal(got, value, len);
}

#endif
