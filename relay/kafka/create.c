/* SPDX-License-Identifier: ISC */
/*
 * create.c - makes a topic, for `check --create`: blocking
 */
#include "base/clock.h"
#include "internal.h"

#include <stdlib.h>

enum { SLICE_MS = 200 };

static void set(rd_kafka_NewTopic_t *topic, const char *name, int64_t value)
{
	char number[24];

	snprintf(number, sizeof(number), "%lld", (long long)value);
	rd_kafka_NewTopic_set_config(topic, name, number);
}

static rd_kafka_NewTopic_t *describe(const struct kafka_new_topic *wanted, struct error *err)
{
	char words[200] = "";
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(wanted->name, wanted->partitions,
							   wanted->replicas, words, sizeof(words));

	if (topic == NULL) {
		error_set(err, "%s", words);
		return NULL;
	}
	rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "compact");
	rd_kafka_NewTopic_set_config(topic, "unclean.leader.election.enable", "false");
	set(topic, "min.insync.replicas", wanted->min_insync_replicas);
	set(topic, "min.compaction.lag.ms", wanted->compaction_lag_ms);
	return topic;
}

static rd_kafka_event_t *await(rd_kafka_t *rk, const struct kafka_options *options,
			       rd_kafka_queue_t *queue, int timeout_ms)
{
	int64_t until_us = clock_monotonic_us() + (timeout_ms + 500) * INT64_C(1000);

	while (clock_monotonic_us() < until_us) {
		rd_kafka_event_t *event = rd_kafka_queue_poll(queue, SLICE_MS);
		rd_kafka_event_type_t type = rd_kafka_event_type(event);

		if (type == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
			return event;
		if (type == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
			kafka_token_awaited(rk, options);
		rd_kafka_event_destroy(event);
	}
	return NULL;
}

static bool judge(rd_kafka_event_t *answer, struct error *err)
{
	const rd_kafka_topic_result_t **results;
	size_t count = 0;

	if (answer == NULL)
		return error_set(err, "no broker has answered");
	if (rd_kafka_event_error(answer) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return error_set(err, "%s", rd_kafka_event_error_string(answer));
	results =
	    rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer), &count);
	if (count > 0 && rd_kafka_topic_result_error(results[0]) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return error_set(err, "%s (%s)", rd_kafka_topic_result_error_string(results[0]),
				 rd_kafka_err2name(rd_kafka_topic_result_error(results[0])));
	return true;
}

static bool create(rd_kafka_t *rk, const struct kafka_options *options, rd_kafka_queue_t *queue,
		   const struct kafka_new_topic *wanted, int timeout_ms, struct error *err)
{
	rd_kafka_NewTopic_t *topic = describe(wanted, err);
	rd_kafka_event_t *answer;
	bool good;

	if (topic == NULL)
		return false;
	kafka_password_awaited(rk, options);
	kafka_ask_topic(rk, topic, false, timeout_ms, NULL, queue);
	answer = await(rk, options, queue, timeout_ms);
	good = judge(answer, err);
	rd_kafka_event_destroy(answer);
	return good;
}

bool kafka_create_topic(const struct kafka_options *options, const struct kafka_new_topic *topic,
			int timeout_ms, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, options->bootstrap_servers, NULL, err);
	rd_kafka_queue_t *queue;
	rd_kafka_t *rk;
	bool good;

	if (conf == NULL)
		return false;
	rk = kafka_client_new(RD_KAFKA_PRODUCER, conf, &queue, err);
	if (rk == NULL)
		return false;
	good = create(rk, options, queue, topic, timeout_ms, err);
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy(rk);
	return good;
}
