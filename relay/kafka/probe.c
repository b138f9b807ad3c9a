/*
 * probe.c - one look at a cluster for `check`: blocking, and it creates nothing
 */
#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"

#include <limits.h>
#include <stdlib.h>

/* A first answer over TLS and SASL may take some; a metadata request that is given up is sent
 * again. */
enum { SLICE_MS = 500, PRODUCER_ID_MS = 3000, REFUSED_MS = 1000, CLOSED_MS = 3000 };

struct probe {
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue; /* its events */
	int64_t until_us;
	char last_error[512];
	char fatal[512]; /* "" when there was none */
	bool has_producer_id;
	bool embedded; /* the cluster is another relay's embedded broker */
	const struct rd_kafka_metadata *metadata; /* owned: of all topics we may see */
};

/* The settings of one broker or topic; owns the answer its strings lie in. */
struct settings {
	rd_kafka_event_t *event;
	const rd_kafka_ConfigResource_t *resource; /* NULL: no answer */
	rd_kafka_resp_err_t code;
	char problem[300]; /* "" when there is none */
};

static int left_ms(const struct probe *probe)
{
	int64_t left = (probe->until_us - clock_monotonic_us()) / 1000;

	return left > 1 ? (int)left : 1;
}

/* Another broker may let us in, but trying for long does not help. */
static void give_up_in(struct probe *probe, int ms)
{
	if (probe->metadata == NULL && left_ms(probe) > ms)
		probe->until_us = clock_monotonic_us() + ms * INT64_C(1000);
}

static void on_error(struct probe *probe, rd_kafka_event_t *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *reason = rd_kafka_event_error_string(event);

	if (rd_kafka_event_error_is_fatal(event)) {
		text_print(probe->fatal, sizeof(probe->fatal), "%s", reason);
		return;
	}
	/* That all are down says less than what came before it. */
	if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !kafka_is_closed(reason))
		text_print(probe->last_error, sizeof(probe->last_error), "%s", reason);
	else if (probe->last_error[0] == '\0')
		text_print(probe->last_error, sizeof(probe->last_error), KAFKA_CLOSED_WORDS);
	if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL)
		give_up_in(probe, REFUSED_MS);
	if (strcmp(probe->last_error, KAFKA_CLOSED_WORDS) == 0)
		give_up_in(probe, CLOSED_MS);
}

/* Findings are told, not logged. But that a producer got its id, which takes the right to write
 * somewhere, is only to be had from the log of 2.0.2 (rd_kafka_idemp_pid_update). */
static void on_log(struct probe *probe, rd_kafka_event_t *event)
{
	const char *facility, *text;

	if (rd_kafka_event_log(event, &facility, &text, NULL) == 0 &&
	    strcmp(facility, "GETPID") == 0 && strstr(text, "Acquired PID") != NULL)
		probe->has_producer_id = true;
}

/* The next event, for the caller to destroy; NULL: none came. */
static rd_kafka_event_t *next_event(struct probe *probe, int wait_ms)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(probe->queue, wait_ms);

	if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
		on_error(probe, event);
	else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
		on_log(probe, event);
	return event;
}

static bool serve(struct probe *probe, int wait_ms)
{
	rd_kafka_event_t *event = next_event(probe, wait_ms);

	rd_kafka_event_destroy(event);
	return event != NULL;
}

/* The answer to the one question that is open. NULL: none came in time. */
static rd_kafka_event_t *answer(struct probe *probe, rd_kafka_event_type_t type)
{
	int64_t until_us = probe->until_us + 500 * 1000;
	rd_kafka_event_t *event = NULL;

	do {
		rd_kafka_event_destroy(event);
		event = next_event(probe, SLICE_MS);
	} while (rd_kafka_event_type(event) != type && clock_monotonic_us() < until_us);
	return event;
}

static bool probe_open(struct probe *probe, const struct kafka_options *options,
		       const char *bootstrap, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, bootstrap, err);

	if (conf == NULL)
		return false;
	kafka_conf_must_set(conf, "debug", "eos");
	kafka_conf_must_set(conf, "log_level", "7");
	probe->rk = kafka_client_new(conf, &probe->queue, err);
	return probe->rk != NULL;
}

/* Asks in slices: an error in between may end it sooner. */
static rd_kafka_resp_err_t ask_for_all_topics(struct probe *probe)
{
	rd_kafka_resp_err_t code;
	int slice;

	do {
		slice = left_ms(probe) < SLICE_MS ? left_ms(probe) : SLICE_MS;
		/* All topics, since to ask for one by name would make it where brokers do that. */
		code = rd_kafka_metadata(probe->rk, 1, NULL, &probe->metadata, slice);
		while (serve(probe, 0))
			;
	} while (code != RD_KAFKA_RESP_ERR_NO_ERROR && left_ms(probe) > 1);
	return code;
}

static bool probe_metadata(struct probe *probe, const char *bootstrap, int timeout_ms,
			   struct error *err)
{
	rd_kafka_resp_err_t code = ask_for_all_topics(probe);
	bool is_known;

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
		probe->embedded = kafka_serves_embedded(probe->rk, &is_known);
		return true;
	}
	return error_set(err, "no Kafka broker of %s answered within %d ms: %s", bootstrap,
			 timeout_ms,
			 probe->last_error[0] != '\0' ? probe->last_error : rd_kafka_err2str(code));
}

static void settings_get(struct probe *probe, rd_kafka_ResourceType_t type, const char *name,
			 struct settings *settings)
{
	rd_kafka_AdminOptions_t *options =
	    rd_kafka_AdminOptions_new(probe->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(type, name);
	const rd_kafka_ConfigResource_t **resources = NULL;
	size_t count = 0;
	char words[128];

	rd_kafka_AdminOptions_set_request_timeout(options, left_ms(probe), words, sizeof(words));
	rd_kafka_DescribeConfigs(probe->rk, &resource, 1, options, probe->queue);
	settings->event = answer(probe, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT);
	settings->code = settings->event != NULL ? rd_kafka_event_error(settings->event)
						 : RD_KAFKA_RESP_ERR__TIMED_OUT;
	settings->resource = NULL;
	if (settings->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		resources = rd_kafka_DescribeConfigs_result_resources(
		    rd_kafka_event_DescribeConfigs_result(settings->event), &count);
	if (count > 0)
		settings->code = rd_kafka_ConfigResource_error(resources[0]);
	if (count > 0 && settings->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		settings->resource = resources[0];
	settings->problem[0] = '\0';
	if (settings->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		text_print(settings->problem, sizeof(settings->problem),
			   "its settings cannot be read: %s (%s)",
			   rd_kafka_err2name(settings->code), rd_kafka_err2str(settings->code));
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
}

static const char *setting(const struct settings *settings, const char *name)
{
	size_t count = 0;
	const rd_kafka_ConfigEntry_t **entries =
	    settings->resource != NULL ? rd_kafka_ConfigResource_configs(settings->resource, &count)
				       : NULL;

	for (size_t i = 0; i < count; i++)
		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
			return rd_kafka_ConfigEntry_value(entries[i]);
	return NULL;
}

static int64_t setting_number(const struct settings *settings, const char *name)
{
	const char *value = setting(settings, name);

	return value != NULL ? strtoll(value, NULL, 10) : -1;
}

static void settings_done(struct settings *settings)
{
	rd_kafka_event_destroy(settings->event);
}

/* A producer asks for its id by itself, and publishes nothing with that. */
static void await_producer_id(struct probe *probe)
{
	int64_t until_us = clock_monotonic_us() + PRODUCER_ID_MS * INT64_C(1000);

	while (!probe->has_producer_id && probe->fatal[0] == '\0' &&
	       clock_monotonic_us() < until_us)
		serve(probe, 50);
}

static void tell_cluster(struct probe *probe, const struct kafka_probe_events *events, void *arg)
{
	char *id = rd_kafka_clusterid(probe->rk, 0);
	struct kafka_probe_cluster cluster = {.brokers = probe->metadata->broker_cnt,
					      .controller = rd_kafka_controllerid(probe->rk, 0),
					      .id = id};
	struct settings settings = {0};
	const char *auto_create;
	char broker[16] = "0";

	if (probe->metadata->broker_cnt > 0)
		snprintf(broker, sizeof(broker), "%d", (int)probe->metadata->brokers[0].id);
	settings_get(probe, RD_KAFKA_RESOURCE_BROKER, broker, &settings);
	auto_create = setting(&settings, "auto.create.topics.enable");
	cluster.auto_create = auto_create != NULL ? strcmp(auto_create, "true") == 0 : -1;
	cluster.broker_version = setting(&settings, "inter.broker.protocol.version");
	await_producer_id(probe);
	cluster.no_producer = probe->fatal[0] != '\0' ? probe->fatal : NULL;
	cluster.problem = settings.problem[0] != '\0' ? settings.problem : NULL;
	events->cluster(arg, &cluster);
	settings_done(&settings);
	if (id != NULL)
		rd_kafka_mem_free(probe->rk, id);
}

static const rd_kafka_metadata_topic_t *find_topic(const struct rd_kafka_metadata *metadata,
						   const char *name)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
		if (strcmp(metadata->topics[i].topic, name) == 0)
			return &metadata->topics[i];
	return NULL;
}

static int fewest_replicas(const rd_kafka_metadata_topic_t *topic)
{
	int fewest = INT_MAX;

	for (int i = 0; i < topic->partition_cnt; i++)
		if (topic->partitions[i].replica_cnt < fewest)
			fewest = topic->partitions[i].replica_cnt;
	return fewest < INT_MAX ? fewest : 0;
}

static bool is_made_by_producers(const struct settings *settings)
{
	const char *type = setting(settings, "message.timestamp.type");

	return type != NULL && strcmp(type, "CreateTime") == 0;
}

static bool would_not_create(struct probe *probe, const char *name, char *why)
{
	rd_kafka_event_t *event;
	bool refused;

	kafka_ask_creation(probe->rk, name, left_ms(probe), NULL, probe->queue);
	event = answer(probe, RD_KAFKA_EVENT_CREATETOPICS_RESULT);
	refused = kafka_creation_refused(event, why);
	rd_kafka_event_destroy(event);
	return refused;
}

static void tell_topic(struct probe *probe, const char *name,
		       const struct kafka_probe_events *events, void *arg)
{
	const rd_kafka_metadata_topic_t *found = find_topic(probe->metadata, name);
	struct kafka_probe_topic topic = {.name = name};
	struct settings settings = {0};
	char why[KAFKA_CREATION_WORDS];

	if (!probe->embedded)
		settings_get(probe, RD_KAFKA_RESOURCE_TOPIC, name, &settings);
	else
		settings.code = RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE;
	topic.exists = found != NULL || settings.code == RD_KAFKA_RESP_ERR_NO_ERROR;
	if (found != NULL) {
		topic.partitions = found->partition_cnt;
		topic.replication = fewest_replicas(found);
	}
	topic.min_insync_replicas = (int)setting_number(&settings, "min.insync.replicas");
	topic.max_message_bytes = setting_number(&settings, "max.message.bytes");
	topic.ahead_ms = topic.behind_ms = -1;
	if (is_made_by_producers(&settings)) {
		topic.ahead_ms = setting_number(&settings, "message.timestamp.after.max.ms");
		topic.behind_ms = setting_number(&settings, "message.timestamp.before.max.ms");
	}
	if (!topic.exists && !probe->embedded && would_not_create(probe, name, why))
		topic.uncreatable = why;
	topic.cleanup_policy = setting(&settings, "cleanup.policy");
	if (settings.problem[0] != '\0' && settings.code != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		topic.problem = settings.problem;
	events->topic(arg, &topic);
	settings_done(&settings);
}

static bool look(struct probe *probe, const struct kafka_options *options, const char *bootstrap,
		 const char *const *topics, size_t count, int timeout_ms,
		 const struct kafka_probe_events *events, void *arg, struct error *err)
{
	if (!probe_open(probe, options, bootstrap, err) ||
	    !probe_metadata(probe, bootstrap, timeout_ms, err))
		return false;
	tell_cluster(probe, events, arg);
	for (size_t i = 0; i < count; i++)
		tell_topic(probe, topics[i], events, arg);
	return true;
}

bool kafka_probe(const struct kafka_options *options, const char *const *topics, size_t count,
		 int timeout_ms, const struct kafka_probe_events *events, void *arg,
		 struct error *err)
{
	struct probe probe = {.until_us = clock_monotonic_us() + timeout_ms * INT64_C(1000)};
	rd_kafka_mock_cluster_t *mock = NULL;
	rd_kafka_t *mock_handle = NULL;
	char *bootstrap = NULL;
	bool ok = true;

	if (options->embedded)
		ok = (mock = kafka_embedded_new(&mock_handle, &bootstrap, err)) != NULL;
	else
		bootstrap = xstrdup(options->bootstrap_servers);
	ok = ok && look(&probe, options, bootstrap, topics, count, timeout_ms, events, arg, err);
	if (probe.metadata != NULL)
		rd_kafka_metadata_destroy(probe.metadata);
	if (probe.rk != NULL) {
		rd_kafka_queue_destroy(probe.queue);
		rd_kafka_destroy(probe.rk);
	}
	kafka_embedded_free(mock, mock_handle);
	free(bootstrap);
	return ok;
}
