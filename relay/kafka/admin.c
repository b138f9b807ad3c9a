/* SPDX-License-Identifier: ISC */
/*
 * admin.c - questions to the brokers: settings, and why a topic is not created
 *
 * A client that asks for a topic's metadata only learns that there is none. A broker that is asked
 * to create it, and not to do it (CreateTopics with validate_only), says what is in the way: a name
 * that collides with another topic's, a policy, a right that is missing.
 */
#include "base/text.h"
#include "internal.h"

static rd_kafka_AdminOptions_t *options_new(rd_kafka_t *rk, rd_kafka_admin_op_t operation,
					    int timeout_ms, void *opaque)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, operation);
	char words[128];

	rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, words, sizeof(words));
	rd_kafka_AdminOptions_set_opaque(options, opaque);
	return options;
}

void kafka_ask_settings(rd_kafka_t *rk, rd_kafka_ResourceType_t type, const char *name,
			int timeout_ms, void *opaque, rd_kafka_queue_t *queue)
{
	rd_kafka_AdminOptions_t *options =
	    options_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms, opaque);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(type, name);

	rd_kafka_DescribeConfigs(rk, &resource, 1, options, queue);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
}

struct settings kafka_settings_of(rd_kafka_event_t *answer)
{
	struct settings settings = {.code = RD_KAFKA_RESP_ERR__TIMED_OUT, .why = "no answer"};
	const rd_kafka_ConfigResource_t **resources = NULL;
	size_t count = 0;

	if (answer == NULL)
		return settings;
	settings.code = rd_kafka_event_error(answer);
	settings.why = rd_kafka_event_error_string(answer);
	if (settings.code == RD_KAFKA_RESP_ERR_NO_ERROR)
		resources = rd_kafka_DescribeConfigs_result_resources(
		    rd_kafka_event_DescribeConfigs_result(answer), &count);
	if (count == 0)
		return settings;
	settings.code = rd_kafka_ConfigResource_error(resources[0]);
	settings.why = rd_kafka_ConfigResource_error_string(resources[0]);
	if (settings.code == RD_KAFKA_RESP_ERR_NO_ERROR)
		settings.entries = rd_kafka_ConfigResource_configs(resources[0], &settings.count);
	return settings;
}

const char *kafka_setting(const struct settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->count; i++)
		if (strcmp(rd_kafka_ConfigEntry_name(settings->entries[i]), name) == 0)
			return rd_kafka_ConfigEntry_value(settings->entries[i]);
	return NULL;
}

void kafka_ask_topic(rd_kafka_t *rk, rd_kafka_NewTopic_t *wanted, bool only_validates,
		     int timeout_ms, void *opaque, rd_kafka_queue_t *queue)
{
	rd_kafka_AdminOptions_t *options =
	    options_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms, opaque);
	char words[128];

	rd_kafka_AdminOptions_set_validate_only(options, only_validates, words, sizeof(words));
	rd_kafka_CreateTopics(rk, &wanted, 1, options, queue);
	rd_kafka_NewTopic_destroy(wanted);
	rd_kafka_AdminOptions_destroy(options);
}

void kafka_ask_creation(rd_kafka_t *rk, const char *topic, int timeout_ms, void *opaque,
			rd_kafka_queue_t *queue)
{
	char words[128];
	/* Partitions and replicas as the broker has them by default. */
	rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(topic, -1, -1, words, sizeof(words));

	kafka_ask_topic(rk, wanted, true, timeout_ms, opaque, queue);
}

static bool is_about_the_topic(rd_kafka_resp_err_t code)
{
	return code > RD_KAFKA_RESP_ERR_NO_ERROR &&
	       code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS &&
	       code != RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT &&
	       code != RD_KAFKA_RESP_ERR_NOT_CONTROLLER &&
	       code != RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION;
}

bool kafka_creation_refused(rd_kafka_event_t *answer, char why[KAFKA_CREATION_WORDS])
{
	const rd_kafka_topic_result_t **results;
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(answer);
	size_t count = 0;

	if (result == NULL || rd_kafka_event_error(answer) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	results = rd_kafka_CreateTopics_result_topics(result, &count);
	if (count == 0 || !is_about_the_topic(rd_kafka_topic_result_error(results[0])))
		return false;
	text_print(why, KAFKA_CREATION_WORDS, "%s (%s)",
		   rd_kafka_topic_result_error_string(results[0]),
		   rd_kafka_err2name(rd_kafka_topic_result_error(results[0])));
	return true;
}
