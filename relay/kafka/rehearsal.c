/* SPDX-License-Identifier: ISC */
/*
 * rehearsal.c - whether the brokers let this relay do what it takes to deliver exactly once, for
 * `check`: blocking
 *
 * A producer of its own takes an id that no relay has. What is sent to the ledger is a record that
 * brokers refuse for what it is, after they have looked at the right to write it: without a key, in
 * a topic that is compacted (Kafka's LogValidator). So nothing is written there; where it is all
 * the same, relays pass over it.
 */
#include "base/clock.h"
#include "base/text.h"
#include "helper.h"
#include "internal.h"

#include <stdlib.h>

/* A coordinator that is not ready may say so immediately. */
enum { SLICE_MS = 200, NAP_MS = 20 };

struct rehearsal {
	const struct kafka_options *options;
	rd_kafka_t *rk;
	rd_kafka_queue_t *events;
	int64_t until_us;
	rd_kafka_resp_err_t report; /* of the record */
	bool reported;
};

/* Getting a token takes as long as its command; that is no broker's time. */
static void get_token(struct rehearsal *rehearsal)
{
	int64_t begun_us = clock_monotonic_us();

	kafka_token_awaited(rehearsal->rk, rehearsal->options);
	rehearsal->until_us += clock_monotonic_us() - begun_us;
}

static bool in_time(const struct rehearsal *rehearsal)
{
	return clock_monotonic_us() < rehearsal->until_us;
}

static void take_report(struct rehearsal *rehearsal, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message = rd_kafka_event_message_next(event);

	if (message == NULL)
		return;
	rehearsal->report = message->err;
	rehearsal->reported = true;
}

static void serve(struct rehearsal *rehearsal, int wait_ms)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(rehearsal->events, wait_ms)) != NULL) {
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
			get_token(rehearsal);
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			take_report(rehearsal, event);
		rd_kafka_event_destroy(event);
		wait_ms = 0;
	}
}

/* What is tried with the client. */
typedef bool rehearsed(struct rehearsal *rehearsal, struct error *err);

/* By a client of its own, of this conf, which is taken. */
static bool rehearse(const struct kafka_options *options, rd_kafka_type_t type,
		     rd_kafka_conf_t *conf, int timeout_ms, rehearsed *try, struct error *err)
{
	struct rehearsal rehearsal = {
	    .options = options, .until_us = clock_monotonic_us() + timeout_ms * INT64_C(1000)};
	bool good;

	rehearsal.rk = kafka_client_new(type, conf, &rehearsal.events, err);
	if (rehearsal.rk == NULL)
		return false;
	kafka_password_awaited(rehearsal.rk, options);
	good = try(&rehearsal, err);
	rd_kafka_queue_destroy(rehearsal.events);
	rd_kafka_destroy(rehearsal.rk);
	return good;
}

static bool refused(rd_kafka_resp_err_t code, struct error *err)
{
	return error_set(err, "%s (%s)", rd_kafka_err2name(code), rd_kafka_err2str(code));
}

/* ---- the id ---- */

static bool take_id(struct rehearsal *rehearsal, struct error *err)
{
	struct outcome outcome;

	do {
		outcome = kafka_outcome(rd_kafka_init_transactions(rehearsal->rk, SLICE_MS));
		serve(rehearsal, NAP_MS);
	} while (outcome.kind == OUTCOME_AGAIN && in_time(rehearsal));
	return outcome.kind == OUTCOME_GOOD || error_set(err, "%s", outcome.words);
}

bool kafka_rehearse_id(const struct kafka_options *options, const struct producer_id *id,
		       int timeout_ms, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, options->bootstrap_servers, NULL, err);

	if (conf == NULL)
		return false;
	kafka_conf_transactional(conf, options, id);
	return rehearse(options, RD_KAFKA_PRODUCER, conf, timeout_ms, take_id, err);
}

/* ---- writing ---- */

static bool send_refusable(struct rehearsal *rehearsal, struct error *err)
{
	rd_kafka_resp_err_t code = rd_kafka_producev(
	    rehearsal->rk, RD_KAFKA_V_TOPIC(rehearsal->options->ledger_topic),
	    RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE("", (size_t)0), RD_KAFKA_V_END);

	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return refused(code, err);
	while (!rehearsal->reported && in_time(rehearsal))
		serve(rehearsal, SLICE_MS);
	if (!rehearsal->reported)
		return error_set(err, "no broker has answered");
	return rehearsal->report == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
		       rehearsal->report == RD_KAFKA_RESP_ERR_NO_ERROR
		   ? true
		   : refused(rehearsal->report, err);
}

bool kafka_rehearse_write(const struct kafka_options *options, int timeout_ms, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, options->bootstrap_servers, NULL, err);

	if (conf == NULL)
		return false;
	/* What is refused would be the end of one that has these. */
	kafka_conf_must_set(conf, "enable.gapless.guarantee", "false");
	kafka_conf_must_set(conf, "enable.idempotence", "false");
	return rehearse(options, RD_KAFKA_PRODUCER, conf, timeout_ms, send_refusable, err);
}

/* ---- reading ---- */

/* Its end is told by whoever may read it. */
static bool read_end(struct rehearsal *rehearsal, rd_kafka_queue_t *queue, struct error *err)
{
	rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;

	while (in_time(rehearsal)) {
		rd_kafka_message_t *message = rd_kafka_consume_queue(queue, SLICE_MS);

		serve(rehearsal, 0);
		if (message == NULL)
			continue;
		code = message->err;
		rd_kafka_message_destroy(message);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			return true;
		if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
			break;
	}
	return refused(code, err);
}

static bool read_topic(struct rehearsal *rehearsal, struct error *err)
{
	rd_kafka_topic_t *topic =
	    rd_kafka_topic_new(rehearsal->rk, rehearsal->options->ledger_topic, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rehearsal->rk);
	bool good = topic != NULL &&
		    rd_kafka_consume_start_queue(topic, 0, RD_KAFKA_OFFSET_END, queue) == 0;

	if (good) {
		good = read_end(rehearsal, queue, err);
		rd_kafka_consume_stop(topic, 0);
	} else {
		refused(rd_kafka_last_error(), err);
	}
	rd_kafka_queue_destroy(queue);
	if (topic != NULL)
		rd_kafka_topic_destroy(topic);
	return good;
}

bool kafka_rehearse_read(const struct kafka_options *options, int timeout_ms, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, options->bootstrap_servers, NULL, err);

	if (conf == NULL)
		return false;
	kafka_conf_must_set(conf, "enable.partition.eof", "true");
	kafka_conf_must_set(conf, "fetch.wait.max.ms", "10");
	return rehearse(options, RD_KAFKA_CONSUMER, conf, timeout_ms, read_topic, err);
}
