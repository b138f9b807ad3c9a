/* SPDX-License-Identifier: ISC */
/*
 * ledger.c - reads the ledger of a producer: what its earlier transactions have committed
 *
 * The end is asked for first, from the partition's leader and behind any transaction that is still
 * open (ListOffsets, read_uncommitted); then all records below it are read that were committed. If
 * they do not reach up to the end, a transaction is open that no producer of this id can have begun
 * any more, and what is behind it is not known: that is an error, as is everything else that is
 * not read. Nobody may take what could not be read for what is not there.
 *
 * By librdkafka's simple consumer, which needs no right on a group.
 */
#include "ledger.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdlib.h>

enum {
	TAIL_OFFSETS = 1000, /* the first try; then so many times as far back: */
	FURTHER = 8,
	ASK_MS = 500,
	/* Nothing new is heard of the brokers, or of the log, for so long. */
	PATIENCE_US = 10 * 1000 * 1000,
};

struct client {
	rd_kafka_t *rk;
	rd_kafka_queue_t *events; /* errors; log lines are of no interest */
	rd_kafka_topic_t *topic;
};

/* One try. */
struct attempt {
	struct ledger_reading *reading;
	const struct helper *helper;
	struct client asks, reads;
	char words[300]; /* librdkafka's, of the last error; "": none */
	int partitions;
	uint64_t used; /* of these, as bits */
	int64_t low, high;
	int64_t position; /* all below has been read */
	int64_t heard_us; /* when something was last heard */
	bool held;	  /* a transaction that is open keeps from the rest */
};

/* ---- clients ---- */

static void serve_client(struct attempt *attempt, struct client *client)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(client->events, 0)) != NULL) {
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			text_print(attempt->words, sizeof(attempt->words), "%s",
				   rd_kafka_event_error_string(event));
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
			kafka_pass_show(attempt->reading->pass, client->rk);
		rd_kafka_event_destroy(event);
	}
}

/* False if there is no going on: another producer is wanted meanwhile, or nothing comes. */
static bool may_wait(struct attempt *attempt)
{
	serve_client(attempt, &attempt->asks);
	if (attempt->reads.rk != NULL)
		serve_client(attempt, &attempt->reads);
	return !helper_ceases(attempt->helper) &&
	       clock_monotonic_us() - attempt->heard_us < PATIENCE_US;
}

static rd_kafka_conf_t *conf_of(const struct ledger_reading *reading, const char *isolation)
{
	static const char *const settings[][2] = {
	    {"enable.auto.commit", "false"},
	    {"auto.offset.reset", "error"}, /* what is no longer there must not be passed over */
	    {"enable.partition.eof", "true"},
	    {"allow.auto.create.topics", "false"},
	    {"client.rack", ""}, /* or a follower would be read, which may be behind */
	    {"socket.timeout.ms", "2000"},
	    {"fetch.wait.max.ms", "10"},
	    {"queued.max.messages.kbytes", "4096"},
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_dup(reading->conf);

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		kafka_conf_must_set(conf, settings[i][0], settings[i][1]);
	kafka_conf_must_set(conf, "isolation.level", isolation);
	return conf;
}

static bool client_new(struct client *client, const struct ledger_reading *reading,
		       const char *isolation, struct error *err)
{
	client->rk =
	    kafka_client_new(RD_KAFKA_CONSUMER, conf_of(reading, isolation), &client->events, err);
	if (client->rk == NULL)
		return false;
	kafka_pass_show(reading->pass, client->rk);
	client->topic = rd_kafka_topic_new(client->rk, reading->topic, NULL);
	return client->topic != NULL ||
	       error_set(err, "%s", rd_kafka_err2str(rd_kafka_last_error()));
}

static void client_free(struct client *client)
{
	if (client->rk == NULL)
		return;
	if (client->topic != NULL)
		rd_kafka_topic_destroy(client->topic);
	rd_kafka_queue_destroy(client->events);
	rd_kafka_destroy(client->rk);
}

/* ---- whether it is there, and where it ends ---- */

static bool refused(const struct attempt *attempt, const char *what, rd_kafka_resp_err_t code)
{
	const struct ledger_reading *reading = attempt->reading;
	bool right = code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

	return error_set(&attempt->reading->err,
			 "partition %d of the ledger topic %s %s: %s (%s)%s%s%s",
			 reading->id.number, reading->topic, what, rd_kafka_err2str(code),
			 rd_kafka_err2name(code),
			 right ? "; grant the relay READ, WRITE and DESCRIBE on the topic" : "",
			 attempt->words[0] != '\0' ? "; last: " : "", attempt->words);
}

/* What the brokers say of the topic. */
static bool judge(struct attempt *attempt, const struct rd_kafka_metadata_topic *found)
{
	struct ledger_reading *reading = attempt->reading;

	if (found->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return error_set(&reading->err,
				 "the ledger topic %s does not exist: \"outbox-relay check "
				 "--create\" makes it",
				 reading->topic);
	if (found->err == RD_KAFKA_RESP_ERR_NO_ERROR && found->partition_cnt <= reading->id.number)
		return error_set(&reading->err,
				 "the ledger topic %s has %d partitions, and this relay's is "
				 "number %d, from 0: give it 64 partitions",
				 reading->topic, found->partition_cnt, reading->id.number);
	if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
	    found->err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
		return refused(attempt, "cannot be used", found->err);
	attempt->partitions = found->partition_cnt;
	return true;
}

/* A client asks by itself, too, but takes its time. */
static bool find(struct attempt *attempt, const struct client *client)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t code;
	bool good;

	do
		code = rd_kafka_metadata(client->rk, 0, client->topic, &metadata, ASK_MS);
	while (code != RD_KAFKA_RESP_ERR_NO_ERROR && may_wait(attempt));
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return refused(attempt, "cannot be read", code);
	good = metadata->topic_cnt == 1
		   ? judge(attempt, &metadata->topics[0])
		   : refused(attempt, "cannot be read", RD_KAFKA_RESP_ERR__BAD_MSG);
	rd_kafka_metadata_destroy(metadata);
	return good;
}

static bool read_ends(struct attempt *attempt, const rd_kafka_topic_partition_list_t *ends)
{
	uint64_t used = 0;

	for (int i = 0; i < ends->cnt; i++) {
		if (ends->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return false;
		if (ends->elems[i].offset > 0)
			used |= UINT64_C(1) << ends->elems[i].partition;
	}
	attempt->used = used;
	return true;
}

static rd_kafka_resp_err_t ask_ends(struct attempt *attempt, rd_kafka_topic_partition_list_t *ends)
{
	rd_kafka_resp_err_t code;

	for (int i = 0; i < ends->cnt; i++)
		ends->elems[i].offset = RD_KAFKA_OFFSET_END;
	code = rd_kafka_offsets_for_times(attempt->asks.rk, ends, ASK_MS);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR && !read_ends(attempt, ends))
		code = RD_KAFKA_RESP_ERR__PARTIAL;
	return code;
}

/* Which partitions have, or had, anything: one question to each broker, as a time of -1 stands for
 * the end (ListOffsets). */
static bool find_used(struct attempt *attempt)
{
	int count = attempt->partitions < LEDGER_PRODUCERS ? attempt->partitions : LEDGER_PRODUCERS;
	rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(count);
	rd_kafka_resp_err_t code;

	for (int i = 0; i < count; i++)
		rd_kafka_topic_partition_list_add(ends, attempt->reading->topic, i);
	while ((code = ask_ends(attempt, ends)) != RD_KAFKA_RESP_ERR_NO_ERROR && may_wait(attempt))
		helper_nap(20);
	rd_kafka_topic_partition_list_destroy(ends);
	return code == RD_KAFKA_RESP_ERR_NO_ERROR
		   ? true
		   : refused(attempt, "does not tell its ends", code);
}

static bool mark(struct attempt *attempt)
{
	const struct ledger_reading *reading = attempt->reading;
	rd_kafka_resp_err_t code;

	while ((code = rd_kafka_query_watermark_offsets(
		    attempt->asks.rk, reading->topic, reading->id.number, &attempt->low,
		    &attempt->high, ASK_MS)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
		if (!may_wait(attempt))
			return refused(attempt, "does not tell its end", code);
		helper_nap(20);
	}
	return attempt->low >= 0 && attempt->high >= attempt->low
		   ? true
		   : refused(attempt, "does not tell its end", RD_KAFKA_RESP_ERR__BAD_MSG);
}

/* ---- reading ---- */

static bool take_record(struct attempt *attempt, const rd_kafka_message_t *message)
{
	struct ledger_reading *reading = attempt->reading;
	struct slice key = {message->key, message->key_len};
	struct slice value = {message->payload, message->len};
	struct error why;

	if (message->offset >= attempt->high)
		return true;
	attempt->position = message->offset + 1;
	return ledger_notes_add(reading->notes, key, value, &why) ||
	       error_set(&reading->err, "partition %d of the ledger topic %s, offset %lld: %s",
			 reading->id.number, reading->topic, (long long)message->offset, why.text);
}

/* What is no record. The end that is told lies behind markers of transactions, which are none. */
static bool take_word(struct attempt *attempt, const rd_kafka_message_t *message)
{
	switch (message->err) {
	case RD_KAFKA_RESP_ERR__PARTITION_EOF:
		if (message->offset > attempt->position)
			attempt->position = message->offset;
		attempt->held = attempt->position < attempt->high;
		return true;
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		return refused(attempt, "cannot be read", message->err);
	default:
		text_print(attempt->words, sizeof(attempt->words), "%s",
			   rd_kafka_message_errstr(message));
		return true;
	}
}

static bool not_reached(struct attempt *attempt)
{
	const struct ledger_reading *reading = attempt->reading;

	if (!attempt->held)
		return refused(attempt, "cannot be read", RD_KAFKA_RESP_ERR__TIMED_OUT);
	return error_set(&attempt->reading->err,
			 "partition %d of the ledger topic %s is held up at offset %lld of %lld by "
			 "a transaction that has not ended: if it stays, it may hang; see "
			 "kafka-transactions.sh find-hanging",
			 reading->id.number, reading->topic, (long long)attempt->position,
			 (long long)attempt->high);
}

static bool read_up(struct attempt *attempt, rd_kafka_queue_t *queue)
{
	rd_kafka_message_t *message;
	bool good = true;

	while (good && attempt->position < attempt->high) {
		message = rd_kafka_consume_queue(queue, 100);
		if (message == NULL && !may_wait(attempt))
			return not_reached(attempt);
		if (message == NULL)
			continue;
		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
			attempt->heard_us = clock_monotonic_us();
			good = take_record(attempt, message);
		} else {
			good = take_word(attempt, message);
		}
		rd_kafka_message_destroy(message);
		if (helper_ceases(attempt->helper))
			return false;
	}
	return good;
}

/* From there to the end, into new notes. */
static bool read_from(struct attempt *attempt, int64_t begin)
{
	struct ledger_reading *reading = attempt->reading;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(attempt->reads.rk);
	bool good;

	ledger_notes_free(&reading->notes);
	reading->notes = ledger_notes_new(reading->id.group, reading->id.settled);
	attempt->position = begin;
	attempt->held = false;
	attempt->heard_us = clock_monotonic_us();
	if (rd_kafka_consume_start_queue(attempt->reads.topic, reading->id.number, begin, queue) !=
	    0) {
		rd_kafka_queue_destroy(queue);
		return refused(attempt, "cannot be read", rd_kafka_last_error());
	}
	good = read_up(attempt, queue);
	rd_kafka_consume_stop(attempt->reads.topic, reading->id.number);
	rd_kafka_queue_destroy(queue);
	return good;
}

/* The end of it is enough, if a batch is there that is settled. */
static bool read_back(struct attempt *attempt)
{
	int64_t offsets = TAIL_OFFSETS, begin;

	do {
		begin = ledger_window(attempt->low, attempt->high, offsets);
		if (!read_from(attempt, begin))
			return false;
		offsets = offsets > INT64_MAX / FURTHER ? INT64_MAX : offsets * FURTHER;
	} while (begin > attempt->low && ledger_notes_are_cut(attempt->reading->notes));
	return true;
}

/* ---- what else is asked on this occasion ---- */

/* Whether it keeps what it is told. What a relay may not ask for is not known, and goes. */
static bool judge_settings(struct ledger_reading *reading, const struct settings *settings)
{
	const char *policy = kafka_setting(settings, "cleanup.policy");
	const char *unclean = kafka_setting(settings, "unclean.leader.election.enable");

	if (policy != NULL && strcmp(policy, "compact") != 0)
		return error_set(&reading->err,
				 "the ledger topic %s has cleanup.policy=%s, so that what it has "
				 "of a batch would be deleted after a while; set it to compact",
				 reading->topic, policy);
	if (unclean != NULL && strcmp(unclean, "true") == 0)
		return error_set(&reading->err,
				 "the ledger topic %s has unclean.leader.election.enable=true, so "
				 "that it could forget what was committed; set it to false",
				 reading->topic);
	return true;
}

/* Also the topic's limit, which may be smaller than what the producer sends. */
static bool ask_settings(struct attempt *attempt, rd_kafka_t *rk)
{
	struct ledger_reading *reading = attempt->reading;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *answer;
	struct settings settings;
	const char *limit;
	bool is_known, good;

	if (kafka_serves_embedded(rk, &is_known) || rd_kafka_controllerid(rk, 0) < 0)
		return true;
	queue = rd_kafka_queue_new(rk);
	kafka_ask_settings(rk, RD_KAFKA_RESOURCE_TOPIC, reading->topic, ASK_MS, NULL, queue);
	answer = rd_kafka_queue_poll(queue, ASK_MS);
	settings = kafka_settings_of(answer);
	limit = kafka_setting(&settings, "max.message.bytes");
	if (limit != NULL)
		reading->max_bytes = (size_t)strtoull(limit, NULL, 10);
	good = judge_settings(reading, &settings);
	if (answer != NULL)
		rd_kafka_event_destroy(answer);
	rd_kafka_queue_destroy(queue);
	return good;
}

/* The producer is to know the partitions: the first record of a topic that it does not know waits
 * for up to a second (librdkafka before 2.10.1). */
static void warm(const struct attempt *attempt, rd_kafka_t *rk)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, attempt->reading->topic, NULL);
	const struct rd_kafka_metadata *metadata;

	if (topic == NULL)
		return;
	if (rd_kafka_metadata(rk, 0, topic, &metadata, HELPER_SLICE_MS) ==
	    RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(topic);
}

static bool ask_more(struct attempt *attempt)
{
	struct ledger_reading *reading = attempt->reading;
	rd_kafka_t *rk = helper_client(attempt->helper);
	char *cluster = rd_kafka_clusterid(rk, HELPER_SLICE_MS);

	if (cluster != NULL) {
		reading->cluster = xstrdup(cluster);
		rd_kafka_mem_free(rk, cluster);
	}
	reading->ledger.cluster = reading->cluster;
	reading->ledger.used = attempt->used;
	warm(attempt, rk);
	return ask_settings(attempt, rk);
}

void ledger_read(struct helper *helper, void *arg)
{
	struct ledger_reading *reading = arg;
	struct attempt attempt = {
	    .reading = reading, .helper = helper, .heard_us = clock_monotonic_us()};
	struct error why;

	error_set(&reading->err, "the ledger is not read");
	if (helper_ceases(helper))
		return;
	reading->good = client_new(&attempt.asks, reading, "read_uncommitted", &reading->err) &&
			client_new(&attempt.reads, reading, "read_committed", &reading->err) &&
			find(&attempt, &attempt.asks) && mark(&attempt) && find_used(&attempt) &&
			find(&attempt, &attempt.reads) && read_back(&attempt);
	if (reading->good && !ledger_notes_end(reading->notes, &reading->ledger, &why))
		reading->good = error_set(&reading->err, "partition %d of the ledger topic %s: %s",
					  reading->id.number, reading->topic, why.text);
	reading->good = reading->good && ask_more(&attempt) && ledger_announce(reading, helper);
	client_free(&attempt.reads);
	client_free(&attempt.asks);
}

struct ledger_reading *ledger_reading_new(rd_kafka_conf_t *conf, struct kafka_pass *pass,
					  const char *topic, const struct producer_id *id)
{
	struct ledger_reading *reading = xcalloc(1, sizeof(*reading));

	reading->conf = conf;
	reading->pass = pass;
	reading->topic = xstrdup(topic);
	reading->id = *id;
	reading->max_bytes = SIZE_MAX;
	return reading;
}

void ledger_reading_free(void *arg)
{
	struct ledger_reading *reading = arg;

	if (reading == NULL)
		return;
	rd_kafka_conf_destroy(reading->conf);
	kafka_pass_free(&reading->pass);
	ledger_notes_free(&reading->notes);
	free(reading->cluster);
	free(reading->topic);
	free(reading);
}
