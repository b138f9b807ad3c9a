/* SPDX-License-Identifier: ISC */
/*
 * sink.c - events in, answers out: produce, and delivery reports
 */
#include "base/failpoints.h"
#include "internal.h"

/* An upper bound of what the protocol adds to one record sent alone: the batch's header, the
 * record's own fields at their widest, and two lengths for each header. */
enum { RECORD_OVERHEAD = 61 + 36, HEADER_OVERHEAD = 10 };

/* As far as the broker is concerned; with transactions the commit is still to come. */
static void count_delivered(struct kafka *kafka, const struct event *event)
{
	if (kafka_is_transactional(kafka)) {
		kafka_transaction_delivered(kafka, event);
		return;
	}
	kafka->incident.failures = 0;
	if (event->copy == NULL)
		event->topic->metrics->published++;
	if (PLANTED("count-twice"))
		event->topic->metrics->published++;
}

static void delivered(struct kafka *kafka, struct event *event)
{
	count_delivered(kafka, event);
	event->topic->denials = 0;
	kafka->connection.ever_answered = true;
	kafka_set_reachable(kafka, true);
	kafka_taken(kafka, event->topic);
	if (kafka->trouble.topic == NULL || kafka->trouble.topic == event->topic ||
	    kafka_topic_is_out(kafka, kafka->trouble.topic))
		kafka_trouble_over(kafka);
	kafka->sink.events->delivered(kafka->sink.owner, event);
	if (!kafka_is_transactional(kafka))
		kafka_single_settled(kafka);
}

/* Whatever codec is wanted: how a record travels is no part of it, and waiting brings nothing. */
static void forgo_compression(struct kafka *kafka, const struct topic *topic,
			      rd_kafka_resp_err_t code)
{
	struct error why;

	kafka->uncompressed = true;
	kafka->incident.blamed = true;
	error_set(&why,
		  "topic %s: %s (%s); the brokers do not accept this compression: the relay goes "
		  "on without any, until it is restarted; see compression.codec in "
		  "kafka.properties, and docs/brokers.md",
		  topic->name, rd_kafka_err2name(code), rd_kafka_err2str(code));
	kafka_break(kafka, why.text);
}

/* The error is not, or not known to be, the event's own fault. */
static void break_for(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code)
{
	const char *name = rd_kafka_err2name(code);
	struct error why;

	if (code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) {
		/* By librdkafka, if not by us (rd_kafka_txn_set_abortable_error0). */
		if (kafka_is_transactional(kafka))
			kafka_break(kafka, "the transaction has failed");
		return;
	}
	if (kafka->producer.compresses && kafka_refuses_codec(name)) {
		forgo_compression(kafka, topic, code);
		return;
	}
	error_set(&why, "topic %s: %s (%s)%s", topic->name, name, rd_kafka_err2str(code),
		  kafka_advice(name));
	if (!kafka_knows(name))
		metrics_unknown_error(kafka->options.metrics, name);
	if (kafka_verdict(name) == REJECT_NONE)
		kafka_trouble(kafka, topic, "%s", why.text);
	if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
		kafka_topic_denied(kafka, topic);
	else
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
	enum reject_reason reason = kafka_verdict(rd_kafka_err2name(report->err));
	struct candidate candidate = {event, reason, report->err,
				      kafka_hash(report->key, report->key_len)};

	break_for(kafka, event->topic, report->err);
	if (is_topic_gone(report->err))
		kafka_topic_doubt(kafka, event->topic);
	if (reason == REJECT_NONE) {
		kafka_return(kafka, event);
		return;
	}
	kafka->incident.blamed = true;
	if (reason == REJECT_TOO_LARGE)
		kafka_topic_doubt(kafka, event->topic);
	kafka_refused(kafka, &candidate);
}

static void on_report(struct kafka *kafka, const rd_kafka_message_t *report)
{
	struct event *event = report->_private;

	if (event == NULL) { /* the ledger's */
		kafka_ledger_reported(kafka, report);
		return;
	}
	MAGIC_CHECK(event->topic, MAGIC_KAFKA_TOPIC);
	kafka->producer.in_flight--;
	if (kafka->state == KAFKA_CLOSING)
		return;
	kafka_gate_reported(event->topic, event, report->partition,
			    report->err == RD_KAFKA_RESP_ERR_NO_ERROR, kafka->now_us);
	if (report->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		delivered(kafka, event);
	else
		failed(kafka, event, report);
	if (kafka->producer.in_flight == 0)
		kafka_all_reported(kafka);
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
	size_t size = RECORD_OVERHEAD + message->key.len;

	size += event->withheld ? (size_t)event->payload_bytes : message->value.len;
	for (size_t i = 0; i < message->header_count; i++)
		size +=
		    HEADER_OVERHEAD + message->headers[i].name.len + message->headers[i].value.len;
	return size;
}

static enum sink_answer refuse_size(const struct kafka *kafka, const struct event *event,
				    const struct message *message, enum reject_reason *reason,
				    struct error *err)
{
	const struct topic *topic = event->topic;
	bool by_topic = topic->max_bytes <= kafka->producer.max_bytes;
	size_t limit = by_topic ? topic->max_bytes : kafka->producer.max_bytes;
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

static enum sink_answer later(struct kafka *kafka, enum kafka_wait reason)
{
	kafka->waits_for = reason;
	return SINK_LATER;
}

/* An operator may have raised the topic's limit for this event. */
static bool is_worth_asking(const struct kafka *kafka, const struct event *event, size_t size)
{
	return event->again && !event->withheld && size <= kafka->producer.max_bytes &&
	       kafka_topic_is_stale(kafka, event->topic);
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

static enum sink_answer refuse_partition(const struct event *event, enum reject_reason *reason,
					 struct error *err)
{
	*reason = REJECT_ENCODING;
	error_set(err,
		  "route.partition is %d, and topic %s has %d partitions, from 0; fix the column, "
		  "or add partitions",
		  (int)event->partition, event->topic->name, (int)event->topic->short_of);
	return SINK_REFUSED;
}

static enum sink_answer not_taken(struct kafka *kafka, const struct event *event,
				  const struct message *message, rd_kafka_resp_err_t code,
				  enum reject_reason *reason, struct error *err)
{
	if (event->topic->short_of > 0)
		return refuse_partition(event, reason, err);
	if (kafka_gate_refused(event->topic))
		return later(kafka, WAITS_FOR_REPORTS);
	switch (code) {
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		return refuse_size(kafka, event, message, reason, err);
	case RD_KAFKA_RESP_ERR__QUEUE_FULL:
		return later(kafka, WAITS_FOR_REPORTS);
	case RD_KAFKA_RESP_ERR__FATAL:
		return SINK_LATER; /* an event of its own says so */
	default:
		kafka_topic_failed(kafka, event->topic, code);
		return later(kafka, WAITS_FOR_TOPIC);
	}
}

static enum sink_answer refuse_ledger(const struct message *message, enum reject_reason *reason,
				      struct error *err)
{
	*reason = REJECT_TOPIC;
	error_set(err, "topic %.*s is the relay's ledger, which takes no events",
		  (int)message->topic.len, message->topic.data);
	return SINK_REFUSED;
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
	if (kafka_is_ledger(kafka, message->topic))
		return refuse_ledger(message, reason, err);
	event->topic = topic = kafka_topic(kafka, message->topic);
	if (!kafka_topic_usable(kafka, topic)) {
		later(kafka, WAITS_FOR_TOPIC);
		/* No event waits until a topic is known that only copies go to. */
		return event->copy != NULL || kafka_topic_is_out(kafka, topic) ? SINK_NO_TOPIC
									       : SINK_LATER;
	}
	size = wire_size(event, message);
	if (event->withheld || size > topic->max_bytes || size > kafka->producer.max_bytes) {
		if (is_worth_asking(kafka, event, size)) {
			kafka_topic_doubt(kafka, topic);
			return later(kafka, WAITS_FOR_TOPIC);
		}
		return refuse_size(kafka, event, message, reason, err);
	}
	if (kafka_was_rejected(kafka, event, message, reason, err))
		return SINK_REFUSED;
	if (kafka_hold_back(kafka, event, message))
		return SINK_TAKEN;
	if (!kafka_gate_is_open(topic))
		return later(kafka, WAITS_FOR_REPORTS);
	if (kafka_is_transactional(kafka) && !kafka_transaction_takes(kafka))
		return later(kafka, WAITS_FOR_BEGIN);
	headers = headers_of(message);
	event->placed = message->placed;
	event->partition = message->partition;
	code = rd_kafka_producev(
	    kafka->producer.rk, RD_KAFKA_V_RKT(topic->handle),
	    RD_KAFKA_V_KEY(message->key.data, message->key.len),
	    RD_KAFKA_V_VALUE((void *)(uintptr_t)message->value.data, message->value.len),
	    RD_KAFKA_V_MSGFLAGS(message->transient ? RD_KAFKA_MSG_F_COPY : 0),
	    RD_KAFKA_V_TIMESTAMP(message->timestamp_ms), RD_KAFKA_V_HEADERS(headers),
	    RD_KAFKA_V_OPAQUE(event), RD_KAFKA_V_END);
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
		if (headers != NULL)
			rd_kafka_headers_destroy(headers);
		return not_taken(kafka, event, message, code, reason, err);
	}
	kafka_gate_sent(topic, event, kafka->now_us);
	topic->trouble_since_us = 0;
	topic->failures = 0;
	kafka->producer.in_flight++;
	return SINK_TAKEN;
}

static void rebuild(struct sink *sink, const struct producer_id *id)
{
	struct kafka *kafka = (struct kafka *)sink;

	if (kafka_is_transactional(kafka))
		kafka_transaction_supersede(kafka, id);
	kafka_rebuild(kafka);
}

static void commit(struct sink *sink, const struct ledger_batch *batch)
{
	kafka_transaction_commit((struct kafka *)sink, batch);
}

static void give_up(struct sink *sink)
{
	kafka_give_up((struct kafka *)sink);
}

/* librdkafka connects again by itself and reports when the last broker is lost, but not when one is
 * back. A question that may not wait shows it: without a connection it is refused immediately; with
 * one it is sent, and its answer is not awaited. Should none come within socket.timeout.ms, the
 * connection is given up. */
bool kafka_ask(rd_kafka_t *rk)
{
	const struct rd_kafka_metadata *metadata = NULL;
	rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, NULL, &metadata, 0);

	if (metadata != NULL)
		rd_kafka_metadata_destroy(metadata);
	return code != RD_KAFKA_RESP_ERR__TRANSPORT;
}

static void probe(struct sink *sink)
{
	struct kafka *kafka = (struct kafka *)sink;

	if (kafka->producer.rk != NULL && kafka->connection.reachable)
		kafka_ask(kafka->producer.rk);
}

const struct sink_ops kafka_sink_ops = {
    .produce = produce, .rebuild = rebuild, .probe = probe, .give_up = give_up};

const struct sink_ops kafka_transactional_ops = {
    .produce = produce,
    .rebuild = rebuild,
    .commit = commit,
    .probe = probe,
    .give_up = give_up,
};
