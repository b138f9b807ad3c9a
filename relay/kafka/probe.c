/* SPDX-License-Identifier: ISC */
/*
 * probe.c - reads what a cluster says, for `check`: blocking, and it creates nothing
 */
#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"

#include <limits.h>
#include <stdlib.h>

/* A first answer over TLS and SASL may take some; a metadata request that is given up is sent
 * again. */
enum {
	SLICE_MS = 500,
	PRODUCER_ID_MS = 3000,
	REFUSED_MS = 1000,
	CLOSED_MS = 3000,
	OTHER_MS = 1000
};

struct probe {
	const struct kafka_options *options;
	const char *bootstrap; /* borrowed */
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue; /* its events */
	int64_t until_us;
	char last_error[512]; /* librdkafka's words; "" when there were none */
	struct login_notes notes;
	bool all_down;
	char fatal[512]; /* "" when there was none */
	bool has_producer_id;
	struct kafka_offers offers;
	enum probe_answer settings; /* whether they are to be had */
	bool embedded;		    /* the cluster is another relay's embedded broker */
	const struct rd_kafka_metadata *metadata; /* owned: of all topics we may see */
	const struct kafka_probe_events *events;
	void *arg; /* theirs */
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
	struct login_fault fault;

	if (rd_kafka_event_error_is_fatal(event)) {
		text_print(probe->fatal, sizeof(probe->fatal), "%s", reason);
		return;
	}
	probe->all_down = probe->all_down || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
	/* That all are down says less than what came before it. */
	fault = kafka_login_fault(&probe->notes, reason, rd_kafka_version());
	if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN &&
	    (fault.what != NULL || !kafka_is_closed(reason)))
		text_print(probe->last_error, sizeof(probe->last_error), "%s", reason);
	if (fault.kind == LOGIN_REFUSED || fault.kind == LOGIN_MISMATCH ||
	    code == RD_KAFKA_RESP_ERR__AUTHENTICATION)
		give_up_in(probe, REFUSED_MS);
	if (probe->last_error[0] == '\0')
		give_up_in(probe, CLOSED_MS);
}

/* Findings are reported, not logged. But that a producer got its id, which takes the right to write
 * somewhere, is only to be had from the log of 2.0.2 (rd_kafka_idemp_pid_update). */
static void on_log(struct probe *probe, rd_kafka_event_t *event)
{
	const char *facility, *text;

	if (rd_kafka_event_log(event, &facility, &text, NULL) != 0)
		return;
	kafka_login_note(&probe->notes, facility, text);
	kafka_offers_note(&probe->offers, facility, text);
	if (strcmp(facility, "GETPID") == 0 && strstr(text, "Acquired PID") != NULL)
		probe->has_producer_id = true;
}

/* Getting a token takes as long as its command; that is no broker's time. Why there is none comes
 * as an error. */
static void on_token_wanted(struct probe *probe)
{
	int64_t begun_us = clock_monotonic_us();

	kafka_token_awaited(probe->rk, probe->options);
	probe->until_us += clock_monotonic_us() - begun_us;
}

/* The next event, for the caller to destroy; NULL: none came. */
static rd_kafka_event_t *next_event(struct probe *probe, int wait_ms)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(probe->queue, wait_ms);

	if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
		on_error(probe, event);
	else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
		on_log(probe, event);
	else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
		on_token_wanted(probe);
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
	int64_t until_us = clock_monotonic_us() + (left_ms(probe) + 500) * INT64_C(1000);

	while (clock_monotonic_us() < until_us) {
		rd_kafka_event_t *event = next_event(probe, SLICE_MS);

		if (rd_kafka_event_type(event) == type)
			return event;
		rd_kafka_event_destroy(event);
	}
	return NULL;
}

static bool probe_open(struct probe *probe, const struct kafka_options *options,
		       const char *bootstrap, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, bootstrap, NULL, err);

	if (conf == NULL)
		return false;
	kafka_conf_must_set(conf, "debug", "eos,feature");
	kafka_conf_must_set(conf, "log_level", "7");
	probe->rk = kafka_client_new(RD_KAFKA_PRODUCER, conf, &probe->queue, err);
	if (probe->rk != NULL)
		kafka_password_awaited(probe->rk, options);
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

/* Why no broker has let us in. *remedy: NULL if none is known. */
static void describe_refusal(const struct probe *probe, const char *bootstrap, int timeout_ms,
			     const char **remedy, struct error *err)
{
	struct login_fault fault =
	    kafka_login_fault(&probe->notes, probe->last_error, rd_kafka_version());
	char what[500];

	if (probe->last_error[0] == '\0' && probe->all_down) {
		fault = kafka_closed_fault(probe->rk);
		*remedy = fault.remedy;
		error_set(err, "broker %s: %s", bootstrap, fault.what);
		return;
	}
	*remedy = fault.remedy;
	kafka_login_print(what, sizeof(what), &fault, probe->last_error);
	if (fault.kind == LOGIN_REFUSED || fault.kind == LOGIN_MISMATCH)
		error_set(err, "%s", what);
	else
		error_set(err, "no Kafka broker of %s %s within %d ms%s%s", bootstrap,
			  fault.kind == LOGIN_UNREACHABLE ? "answered" : "let the relay in",
			  timeout_ms, what[0] != '\0' ? ": " : "", what);
}

static bool probe_metadata(struct probe *probe, const char *bootstrap, int timeout_ms,
			   const char **remedy, struct error *err)
{
	rd_kafka_resp_err_t code = ask_for_all_topics(probe);
	bool is_known;

	if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
		probe->embedded = kafka_serves_embedded(probe->rk, &is_known);
		return true;
	}
	describe_refusal(probe, bootstrap, timeout_ms, remedy, err);
	return false;
}

/* The answer that the settings lie in. */
static rd_kafka_event_t *settings_get(struct probe *probe, rd_kafka_ResourceType_t type,
				      const char *name, struct settings *settings)
{
	rd_kafka_event_t *event;

	kafka_ask_settings(probe->rk, type, name, left_ms(probe), NULL, probe->queue);
	event = answer(probe, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT);
	*settings = kafka_settings_of(event);
	return event;
}

/* Asked, a broker may not answer, or say that it does not know the question. That there is no right
 * to ask is an answer. */
static bool is_not_answered(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
	       code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
	       code == RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION ||
	       code == RD_KAFKA_RESP_ERR_INVALID_REQUEST;
}

/* Why they are not there, in words; NULL: they are. */
static const char *problem_of(const struct settings *settings, char words[300])
{
	if (settings->code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return NULL;
	text_print(words, 300, "its settings cannot be read: %s (%s)",
		   rd_kafka_err2name(settings->code), rd_kafka_err2str(settings->code));
	return words;
}

static int64_t setting_number(const struct settings *settings, const char *name)
{
	const char *value = kafka_setting(settings, name);

	return value != NULL ? strtoll(value, NULL, 10) : -1;
}

/* A producer asks for its id by itself, and publishes nothing with that. */
static void await_producer_id(struct probe *probe)
{
	int64_t until_us = clock_monotonic_us() + PRODUCER_ID_MS * INT64_C(1000);

	while (!probe->has_producer_id && probe->fatal[0] == '\0' &&
	       clock_monotonic_us() < until_us)
		serve(probe, 50);
}

/* A setting that is not there is of a later version. */
static enum probe_answer setting_answer(const struct settings *settings, const char *name)
{
	const char *value = kafka_setting(settings, name);

	if (settings->code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return PROBE_NOT_KNOWN;
	return value != NULL && strcmp(value, "true") == 0 ? PROBE_YES : PROBE_NO;
}

static const char *codec_of(const struct probe *probe, char *codec, size_t size)
{
	text_print(codec, size, "none");
	rd_kafka_conf_get(rd_kafka_conf(probe->rk), "compression.codec", codec, &size);
	return codec;
}

/* Settings of topics are the controller's to tell, and some brokers name none. */
static enum probe_answer settings_answered(const struct probe *probe, rd_kafka_resp_err_t code)
{
	if (kafka_offers_settings(&probe->offers) == PROBE_NO || is_not_answered(code) ||
	    rd_kafka_controllerid(probe->rk, 0) < 0)
		return PROBE_NO;
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ? PROBE_YES : PROBE_NOT_KNOWN;
}

/* The metadata came by a bootstrap address, and named another one. */
static const char *unreachable(const struct probe *probe, rd_kafka_resp_err_t code)
{
	bool no_answer =
	    code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT;
	bool connects = strstr(probe->last_error, ": Connect to ") == NULL &&
			strstr(probe->last_error, ": Failed to resolve ") == NULL;

	return no_answer && !connects && strstr(probe->last_error, "/bootstrap") == NULL
		   ? probe->last_error
		   : NULL;
}

static void judge_offers(struct probe *probe, struct kafka_probe_cluster *cluster)
{
	cluster->product = kafka_product_of(probe->bootstrap, cluster->id);
	cluster->defeats_compression =
	    kafka_offers_defeat(&probe->offers, cluster->codec, rd_kafka_version());
	cluster->transactions = kafka_offers_transactions(&probe->offers);
	cluster->idempotence =
	    probe->has_producer_id ? PROBE_YES : kafka_offers_idempotence(&probe->offers);
	/* That it is offered is not enough. */
	if (cluster->idempotence == PROBE_YES && !probe->has_producer_id)
		cluster->idempotence = PROBE_NOT_KNOWN;
	cluster->settings = probe->settings;
}

/* Each broker has settings of its own, and coordinates some of the transactions: the worst counts.
 */
static void read_transactions(const struct settings *settings, struct kafka_probe_cluster *cluster)
{
	enum probe_answer verifies =
	    setting_answer(settings, "transaction.partition.verification.enable");
	int64_t max_ms = setting_number(settings, "transaction.max.timeout.ms");

	if (verifies != PROBE_YES && cluster->verifies != PROBE_NO)
		cluster->verifies = verifies;
	if (max_ms >= 0 &&
	    (cluster->transaction_max_ms < 0 || max_ms < cluster->transaction_max_ms))
		cluster->transaction_max_ms = max_ms;
}

/* The answer that the settings of a broker lie in, by its place in the metadata. */
static rd_kafka_event_t *broker_settings(struct probe *probe, int place, struct settings *settings)
{
	char broker[16] = "0";

	if (place < probe->metadata->broker_cnt)
		snprintf(broker, sizeof(broker), "%d", (int)probe->metadata->brokers[place].id);
	return settings_get(probe, RD_KAFKA_RESOURCE_BROKER, broker, settings);
}

/* Where transactions are used. The first that does not answer in its share of the time ends it: the
 * topics are still to be asked for. */
static void ask_other_brokers(struct probe *probe, struct kafka_probe_cluster *cluster)
{
	int64_t until_us = probe->until_us;
	struct settings settings = {.code = RD_KAFKA_RESP_ERR_NO_ERROR};

	if (probe->options->transactional_prefix == NULL || probe->settings != PROBE_YES)
		return;
	for (int i = 1; i < probe->metadata->broker_cnt && !is_not_answered(settings.code); i++) {
		rd_kafka_event_t *event;

		if (left_ms(probe) > OTHER_MS)
			probe->until_us = clock_monotonic_us() + OTHER_MS * INT64_C(1000);
		event = broker_settings(probe, i, &settings);
		read_transactions(&settings, cluster);
		rd_kafka_event_destroy(event);
		probe->until_us = until_us;
	}
}

static void report_cluster(struct probe *probe)
{
	char *id = rd_kafka_clusterid(probe->rk, 0), words[300], codec[32];
	struct kafka_probe_cluster cluster = {.brokers = probe->metadata->broker_cnt,
					      .controller = rd_kafka_controllerid(probe->rk, 0),
					      .id = id};
	struct settings settings;
	rd_kafka_event_t *event;
	const char *auto_create;

	event = broker_settings(probe, 0, &settings);
	auto_create = kafka_setting(&settings, "auto.create.topics.enable");
	cluster.auto_create = auto_create != NULL ? strcmp(auto_create, "true") == 0 : -1;
	cluster.broker_version = kafka_setting(&settings, "inter.broker.protocol.version");
	cluster.verifies = PROBE_YES; /* until one says otherwise */
	cluster.transaction_max_ms = -1;
	read_transactions(&settings, &cluster);
	await_producer_id(probe);
	cluster.no_producer = probe->fatal[0] != '\0' ? probe->fatal : NULL;
	cluster.problem = problem_of(&settings, words);
	cluster.codec = codec_of(probe, codec, sizeof(codec));
	probe->settings = settings_answered(probe, settings.code);
	cluster.unreachable = unreachable(probe, settings.code);
	ask_other_brokers(probe, &cluster);
	judge_offers(probe, &cluster);
	probe->events->cluster(probe->arg, &cluster);
	rd_kafka_event_destroy(event);
	if (id != NULL)
		rd_kafka_mem_free(probe->rk, id);
}

static void find_partitions(const struct rd_kafka_metadata *metadata,
			    struct kafka_probe_topic *topic)
{
	const rd_kafka_metadata_topic_t *found = NULL;

	for (int i = 0; i < metadata->topic_cnt && found == NULL; i++)
		if (strcmp(metadata->topics[i].topic, topic->name) == 0)
			found = &metadata->topics[i];
	if (found == NULL)
		return;
	topic->exists = true;
	topic->partitions = found->partition_cnt;
	for (int i = 0; i < found->partition_cnt; i++)
		if (i == 0 || found->partitions[i].replica_cnt < topic->replication)
			topic->replication = found->partitions[i].replica_cnt;
}

static bool is_made_by_producers(const struct settings *settings)
{
	const char *type = kafka_setting(settings, "message.timestamp.type");

	return type != NULL && strcmp(type, "CreateTime") == 0;
}

static void read_settings(const struct settings *settings, struct kafka_probe_topic *topic)
{
	topic->min_insync_replicas = (int)setting_number(settings, "min.insync.replicas");
	topic->max_message_bytes = setting_number(settings, "max.message.bytes");
	topic->cleanup_policy = kafka_setting(settings, "cleanup.policy");
	topic->compaction_lag_ms = setting_number(settings, "min.compaction.lag.ms");
	topic->unclean_elections = setting_answer(settings, "unclean.leader.election.enable");
	topic->ahead_ms = topic->behind_ms = -1;
	if (is_made_by_producers(settings)) {
		topic->ahead_ms = setting_number(settings, "message.timestamp.after.max.ms");
		topic->behind_ms = setting_number(settings, "message.timestamp.before.max.ms");
	}
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

static void report_topic(struct probe *probe, const char *name)
{
	struct kafka_probe_topic topic = {.name = name};
	struct settings settings = {.code = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART};
	bool ask = !probe->embedded && probe->settings != PROBE_NO;
	rd_kafka_event_t *event = NULL;
	char why[KAFKA_CREATION_WORDS], words[300];

	if (ask)
		event = settings_get(probe, RD_KAFKA_RESOURCE_TOPIC, name, &settings);
	find_partitions(probe->metadata, &topic);
	topic.exists = topic.exists || settings.code == RD_KAFKA_RESP_ERR_NO_ERROR;
	read_settings(&settings, &topic);
	if (!topic.exists && !probe->embedded && rd_kafka_controllerid(probe->rk, 0) >= 0 &&
	    would_not_create(probe, name, why))
		topic.uncreatable = why;
	if (settings.code != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		topic.problem = problem_of(&settings, words);
	probe->events->topic(probe->arg, &topic);
	rd_kafka_event_destroy(event);
}

static void probe_close(struct probe *probe)
{
	if (probe->metadata != NULL)
		rd_kafka_metadata_destroy(probe->metadata);
	if (probe->rk == NULL)
		return;
	rd_kafka_queue_destroy(probe->queue);
	rd_kafka_destroy(probe->rk);
}

bool kafka_probe(const struct kafka_options *options, const char *const *topics, size_t count,
		 int timeout_ms, const struct kafka_probe_events *events, void *arg,
		 const char **remedy, struct error *err)
{
	struct probe probe = {.options = options,
			      .events = events,
			      .arg = arg,
			      .until_us = clock_monotonic_us() + timeout_ms * INT64_C(1000)};
	struct embedded embedded = {0};
	char *bootstrap = NULL;
	bool ok = true;

	*remedy = NULL;
	if (options->embedded)
		ok = kafka_embedded_new(&embedded, &bootstrap, err);
	else
		bootstrap = xstrdup(options->bootstrap_servers);
	probe.bootstrap = bootstrap;
	ok = ok && probe_open(&probe, options, bootstrap, err) &&
	     probe_metadata(&probe, bootstrap, timeout_ms, remedy, err);
	if (ok)
		report_cluster(&probe);
	for (size_t i = 0; ok && i < count; i++)
		report_topic(&probe, topics[i]);
	probe_close(&probe);
	kafka_embedded_free(&embedded);
	free(bootstrap);
	return ok;
}
