/*
 * sink.c - events in, verdicts out: produce, delivery reports, and incidents
 *
 * A broker that refuses one record of a batch refuses, in most versions, the whole batch with the
 * same error. So an error that may be an event's own fault makes suspects first; if there is more
 * than one, they are returned, and the next producer sends one record a batch until they have all
 * been judged alone. What is refused alone, kafka/refusal.c judges.
 */
#include "base/backoff.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "internal.h"
#include "verdict.h"

#include <assert.h>
#include <stdlib.h>

static void begin_draining(struct kafka *kafka)
{
	kafka->state = KAFKA_DRAINING;
	kafka->incident_returned = 0;
	loop_timer_stop(kafka->restart);
	kafka_judge_soon(kafka);
}

static void begin_incident(struct kafka *kafka, const char *why)
{
	begin_draining(kafka);
	kafka->sink.events->broken(kafka->sink.owner, why);
}

/* What has not been sent is taken back immediately. False if that has been done. */
static bool take_back(struct kafka *kafka)
{
	if (kafka->state == KAFKA_CLOSING || kafka->state == KAFKA_REBUILDING || kafka->hard)
		return false;
	kafka->hard = true;
	kafka_purge(kafka);
	return true;
}

/* The producer can no longer be used. */
void kafka_break(struct kafka *kafka, const char *why)
{
	if (take_back(kafka) && kafka->state != KAFKA_DRAINING)
		begin_incident(kafka, why);
}

/* The producer is to be replaced, but finishes what it has. */
void kafka_drain(struct kafka *kafka, const char *why)
{
	if (kafka->state == KAFKA_READY)
		begin_incident(kafka, why);
}

bool kafka_wants_solo(const struct kafka *kafka)
{
	return kafka->solo_left > 0;
}

static void count_solo(struct kafka *kafka)
{
	if (!kafka->solo || kafka->solo_left == 0)
		return;
	if (--kafka->solo_left == 0)
		kafka_drain(kafka, "the refused batch is sorted out: back to whole batches");
}

static void delivered(struct kafka *kafka, struct event *event)
{
	event->topic->metrics->published += PLANTED("count-twice") ? 2 : 1;
	kafka->failures = 0;
	kafka->ever_answered = true;
	if (!kafka->reachable)
		kafka_set_reachable(kafka, true);
	kafka_taken(kafka, event->topic);
	if (kafka->trouble.topic == NULL || kafka->trouble.topic == event->topic)
		kafka_trouble_over(kafka);
	kafka->sink.events->delivered(kafka->sink.owner, event);
	count_solo(kafka);
}

void kafka_return(struct kafka *kafka, struct event *event)
{
	kafka->incident_returned++;
	kafka->sink.events->returned(kafka->sink.owner, event);
}

void kafka_reject(struct kafka *kafka, struct event *event, enum reject_reason reason,
		  rd_kafka_resp_err_t code)
{
	struct error why;

	error_set(&why, "topic %s refused it: %s (%s)", event->topic->name, rd_kafka_err2name(code),
		  rd_kafka_err2str(code));
	kafka->sink.events->rejected(kafka->sink.owner, event, reason, why.text);
	count_solo(kafka);
}

static void suspect(struct kafka *kafka, struct suspect suspect)
{
	if (kafka->suspects_count == kafka->suspects_capacity) {
		kafka->suspects_capacity = kafka->suspects_capacity * 2 + 16;
		kafka->suspects =
		    xrealloc(kafka->suspects, kafka->suspects_capacity * sizeof(suspect));
	}
	kafka->suspects[kafka->suspects_count++] = suspect;
}

/* Everything sent has been reported: who did it? */
static void judge_suspects(struct kafka *kafka)
{
	size_t count = kafka->suspects_count;

	kafka->suspects_count = 0;
	if (count == 1) {
		kafka_refused(kafka, &kafka->suspects[0]);
		return;
	}
	kafka->solo_left = kafka->incident_returned + count;
	for (size_t i = 0; i < count; i++)
		kafka_return(kafka, kafka->suspects[i].event);
}

/* The error is not, or not known to be, the event's own fault. */
static void break_for(struct kafka *kafka, const struct topic *topic, rd_kafka_resp_err_t code)
{
	const char *name = rd_kafka_err2name(code);
	struct error why;

	if (code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
		return;
	error_set(&why, "topic %s: %s (%s)%s", topic->name, name, rd_kafka_err2str(code),
		  verdict_advice(name));
	if (verdict_of(name) == REJECT_NONE)
		kafka_trouble(kafka, topic, "%s", why.text);
	kafka_break(kafka, why.text);
}

/* It was deleted, or lost partitions. A new producer would wait for it for a long time
 * (topic.metadata.propagation.max.ms), with the transaction open: it is asked for first. */
static bool is_topic_gone(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
	       code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
	       code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static void failed(struct kafka *kafka, struct event *event, const rd_kafka_message_t *report)
{
	enum reject_reason reason = verdict_of(rd_kafka_err2name(report->err));
	struct suspect found = {event, reason, report->err,
				kafka_key_hash(report->key, report->key_len)};

	break_for(kafka, event->topic, report->err);
	if (is_topic_gone(report->err))
		kafka_topic_doubt(kafka, event->topic);
	if (reason == REJECT_NONE) {
		kafka_return(kafka, event);
		return;
	}
	kafka->blamed = true;
	if (reason == REJECT_TOO_LARGE)
		kafka_topic_doubt(kafka, event->topic);
	if (kafka->solo)
		kafka_refused(kafka, &found);
	else
		suspect(kafka, found);
}

static void on_report(struct kafka *kafka, const rd_kafka_message_t *report)
{
	struct event *event = report->_private;

	MAGIC_CHECK(event->topic, MAGIC_KAFKA_TOPIC);
	kafka->in_flight--;
	if (kafka->state == KAFKA_CLOSING)
		return;
	kafka_lane_reported(event->topic, event, report->partition,
			    report->err == RD_KAFKA_RESP_ERR_NO_ERROR, kafka->now_us);
	if (report->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		delivered(kafka, event);
	else
		failed(kafka, event, report);
	if (kafka->in_flight == 0 && kafka->suspects_count > 0)
		judge_suspects(kafka);
	if (kafka->in_flight == 0)
		kafka_judge_soon(kafka);
}

void kafka_on_reports(struct kafka *kafka, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *report;

	while ((report = rd_kafka_event_message_next(event)) != NULL)
		on_report(kafka, report);
}

/* What the record is at most as a batch of its own, uncompressed. */
static size_t wire_size(const struct event *event, const struct message *message)
{
	size_t size = KAFKA_RECORD_OVERHEAD + message->key.len;

	size += event->withheld ? (size_t)event->payload_bytes : message->value.len;
	for (size_t i = 0; i < message->header_count; i++)
		size += KAFKA_HEADER_OVERHEAD + message->headers[i].name.len +
			message->headers[i].value.len;
	return size;
}

static enum sink_answer refuse_size(const struct kafka *kafka, const struct event *event,
				    const struct message *message, enum reject_reason *reason,
				    struct error *err)
{
	const struct topic *topic = event->topic;
	bool by_topic = topic->max_bytes <= kafka->max_bytes;
	size_t limit = by_topic ? topic->max_bytes : kafka->max_bytes;
	char what[80] = "";

	*reason = REJECT_TOO_LARGE;
	if ((size_t)event->payload_bytes <= limit)
		snprintf(what, sizeof(what), "record of up to %zu bytes with a ",
			 wire_size(event, message));
	if (by_topic)
		error_set(err,
			  "%spayload of %lld bytes is larger than topic %s accepts "
			  "(max.message.bytes = %zu)",
			  what, (long long)event->payload_bytes, topic->name, limit);
	else
		error_set(err,
			  "%spayload of %lld bytes for topic %s is larger than the relay sends "
			  "(message.max.bytes = %zu, see kafka.properties)",
			  what, (long long)event->payload_bytes, topic->name, limit);
	return SINK_REFUSED;
}

static rd_kafka_headers_t *headers_of(const struct message *message)
{
	rd_kafka_headers_t *headers;

	if (message->header_count == 0)
		return NULL;
	headers = rd_kafka_headers_new(message->header_count);
	for (size_t i = 0; i < message->header_count; i++) {
		const struct header *header = &message->headers[i];

		rd_kafka_header_add(headers, header->name.data, (ssize_t)header->name.len,
				    header->value.data, (ssize_t)header->value.len);
	}
	return headers;
}

static enum sink_answer not_taken(struct kafka *kafka, const struct event *event,
				  const struct message *message, rd_kafka_resp_err_t code,
				  enum reject_reason *reason, struct error *err)
{
	if (kafka_lane_refused(event->topic)) {
		kafka->full = true;
		return SINK_LATER;
	}
	switch (code) {
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		return refuse_size(kafka, event, message, reason, err);
	case RD_KAFKA_RESP_ERR__QUEUE_FULL:
		kafka->full = true;
		break;
	case RD_KAFKA_RESP_ERR__FATAL:
		break; /* an event tells */
	default:
		kafka_topic_failed(kafka, event->topic, code);
		kafka->blocked = true;
		break;
	}
	return SINK_LATER;
}

static enum sink_answer produce(struct sink *sink, struct event *event,
				const struct message *message, enum reject_reason *reason,
				struct error *err)
{
	struct kafka *kafka = (struct kafka *)sink;
	struct topic *topic;
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t code;
	size_t size;

	if (kafka->state != KAFKA_READY)
		return SINK_LATER;
	event->topic = topic = kafka_topic(kafka, message->topic);
	if (!kafka_topic_usable(kafka, topic)) {
		kafka->blocked = true;
		return SINK_LATER;
	}
	size = wire_size(event, message);
	if (event->withheld || size > topic->max_bytes || size > kafka->max_bytes)
		return refuse_size(kafka, event, message, reason, err);
	if (kafka_hold_back(kafka, event, message))
		return SINK_TAKEN;
	if (!kafka_lane_is_open(topic)) {
		kafka->full = true;
		return SINK_LATER;
	}
	headers = headers_of(message);
	code = rd_kafka_producev(
	    kafka->rk, RD_KAFKA_V_RKT(topic->handle),
	    RD_KAFKA_V_KEY(message->key.data, message->key.len),
	    RD_KAFKA_V_VALUE((void *)(uintptr_t)message->value.data, message->value.len),
	    RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(event), RD_KAFKA_V_END);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
		if (headers != NULL)
			rd_kafka_headers_destroy(headers);
		return not_taken(kafka, event, message, code, reason, err);
	}
	kafka_lane_sent(topic, event, kafka->now_us);
	topic->trouble_since_us = 0;
	topic->failures = 0;
	kafka->in_flight++;
	return SINK_TAKEN;
}

static void rebuild(struct sink *sink)
{
	struct kafka *kafka = (struct kafka *)sink;
	bool wait = kafka->hard && !kafka->blamed;

	assert(kafka->in_flight == 0);
	if (kafka->state == KAFKA_REBUILDING)
		return;
	kafka->state = KAFKA_REBUILDING;
	kafka->hard = kafka->blamed = kafka->full = kafka->blocked = false;
	kafka->options.metrics->retries[PEER_KAFKA]++;
	loop_timer_stop(kafka->purge);
	kafka_restart_in(kafka, wait ? backoff_us(kafka->failures++, &kafka->random) : 0);
}

static void give_up(struct sink *sink)
{
	struct kafka *kafka = (struct kafka *)sink;

	if (take_back(kafka) && kafka->state != KAFKA_DRAINING)
		begin_draining(kafka);
}

static void probe(struct sink *sink)
{
	struct kafka *kafka = (struct kafka *)sink;

	if (kafka->rk != NULL && kafka->reachable)
		kafka_ask(kafka->rk);
}

const struct sink_ops kafka_sink_ops = {
    .produce = produce, .rebuild = rebuild, .probe = probe, .give_up = give_up};
