/* SPDX-License-Identifier: ISC */
/*
 * reader.c - reads what topics hold, in no consumer group
 *
 * By librdkafka's simple consumer (rd_kafka_consume_start_queue), which needs no group.id, and so
 * no right on a group. A few partitions are read at a time: each has a queue of its own.
 */
#include "kafka/reader.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	SLICE_MS = 200,
	ASK_MS = 10000,
	AGAIN_US = 100000,
	SILENCE_US = 60 * 1000000,
	HELD_US = 5 * 1000000,
	AT_A_TIME = 16,
	BATCH = 500
};

struct place {
	struct kafka_place shown;
	rd_kafka_topic_t *handle; /* borrowed from the reader */
	bool started, done;
	int64_t held_us; /* since when a transaction holds it up; 0: none does */
};

struct kafka_reader {
	struct kafka_options options; /* what it points to is borrowed */
	/* Where partitions end is behind a transaction that is open; reading stops before it. */
	struct client {
		rd_kafka_t *rk;
		rd_kafka_queue_t *events; /* errors and logs */
	} asks, reads;
	rd_kafka_queue_t *queue; /* records */
	const struct rd_kafka_metadata *metadata;
	struct login_notes notes;
	char last_error[512]; /* librdkafka's words; "": none */
	bool all_down;	      /* none of the brokers answered when it was last tried */

	struct topic_places {
		rd_kafka_topic_t *handle; /* owned */
		size_t first;		  /* its places begin there */
	} * topics;			  /* owned */
	size_t topic_count, last_topic;
	struct place *places; /* owned; by topic, then by number */
	size_t place_count, next_place, open, done;
	bool follows;

	rd_kafka_message_t
	    *batch[BATCH]; /* owned, from `taken` on; the one before is the caller's */
	size_t taken, batch_count;
	int64_t heard_us; /* when something was last read */
	struct kafka_record record;
};

/* ---- what librdkafka says ---- */

static void note_error(struct kafka_reader *reader, rd_kafka_event_t *event)
{
	/* That all are down says less than what came before it. */
	if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		reader->all_down = true;
	else
		text_print(reader->last_error, sizeof(reader->last_error), "%s",
			   rd_kafka_event_error_string(event));
}

static void note_log(struct kafka_reader *reader, rd_kafka_event_t *event)
{
	const char *facility, *text;

	if (rd_kafka_event_log(event, &facility, &text, NULL) == 0)
		kafka_login_note(&reader->notes, facility, text);
}

static void serve_client(struct kafka_reader *reader, struct client *client)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(client->events, 0)) != NULL) {
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			note_error(reader, event);
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
			note_log(reader, event);
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH)
			kafka_token_awaited(client->rk, &reader->options);
		rd_kafka_event_destroy(event);
	}
}

static void serve(struct kafka_reader *reader)
{
	serve_client(reader, &reader->asks);
	serve_client(reader, &reader->reads);
}

static bool is_refused(const struct kafka_reader *reader)
{
	enum login_kind kind =
	    kafka_login_fault(&reader->notes, reader->last_error, rd_kafka_version()).kind;

	return kind == LOGIN_REFUSED || kind == LOGIN_MISMATCH;
}

/* ---- its life ---- */

static void tune(rd_kafka_conf_t *conf)
{
	static const char *const settings[][2] = {
	    {"enable.auto.commit", "false"},
	    {"auto.offset.reset", "earliest"}, /* what retention takes away while we read */
	    {"enable.partition.eof", "true"},
	    {"fetch.wait.max.ms", "100"},
	    {"queued.max.messages.kbytes", "4096"},
	    {"fetch.message.max.bytes", "1048576"}};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		kafka_conf_must_set(conf, settings[i][0], settings[i][1]);
}

static bool connect_to(struct kafka_reader *reader, int timeout_ms, struct error *err)
{
	int64_t until_us = clock_monotonic_us() + timeout_ms * INT64_C(1000);
	rd_kafka_resp_err_t code;

	do {
		/* All topics, since to ask for one by name would make it where brokers do that. */
		code = rd_kafka_metadata(reader->asks.rk, 1, NULL, &reader->metadata, SLICE_MS);
		serve(reader);
	} while (code != RD_KAFKA_RESP_ERR_NO_ERROR && clock_monotonic_us() < until_us &&
		 !reader->all_down && !is_refused(reader));
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		return true;
	return error_set(
	    err, "no Kafka broker of %s has answered: %s", reader->options.bootstrap_servers,
	    reader->last_error[0] != '\0' ? reader->last_error : rd_kafka_err2str(code));
}

static bool client_new(struct client *client, const struct kafka_options *options,
		       const char *isolation, struct error *err)
{
	rd_kafka_conf_t *conf = kafka_conf_new(options, options->bootstrap_servers, NULL, err);

	if (conf == NULL)
		return false;
	tune(conf);
	kafka_conf_must_set(conf, "isolation.level", isolation);
	client->rk = kafka_client_new(RD_KAFKA_CONSUMER, conf, &client->events, err);
	if (client->rk != NULL)
		kafka_password_awaited(client->rk, options);
	return client->rk != NULL;
}

static void client_free(struct client *client)
{
	if (client->rk == NULL)
		return;
	rd_kafka_queue_destroy(client->events);
	rd_kafka_destroy(client->rk);
}

struct kafka_reader *kafka_reader_new(const struct kafka_options *options, int timeout_ms,
				      struct error *err)
{
	struct kafka_reader *reader = xcalloc(1, sizeof(*reader));
	bool good = client_new(&reader->asks, options, "read_uncommitted", err) &&
		    client_new(&reader->reads, options, "read_committed", err);

	reader->options = *options;
	if (good)
		reader->queue = rd_kafka_queue_new(reader->reads.rk);
	if (!good || !connect_to(reader, timeout_ms, err))
		kafka_reader_free(&reader);
	return reader;
}

static void forget_batch(struct kafka_reader *reader)
{
	for (size_t i = reader->taken > 0 ? reader->taken - 1 : 0; i < reader->batch_count; i++)
		rd_kafka_message_destroy(reader->batch[i]);
	reader->taken = reader->batch_count = 0;
}

static void stop(struct kafka_reader *reader, struct place *place)
{
	if (place->started && !place->done)
		rd_kafka_consume_stop(place->handle, place->shown.partition);
	reader->open -= place->started && !place->done;
	reader->done += !place->done;
	place->done = true;
}

void kafka_reader_free(struct kafka_reader **reader)
{
	struct kafka_reader *r = *reader;

	*reader = NULL;
	if (r == NULL)
		return;
	forget_batch(r);
	for (size_t i = 0; i < r->place_count; i++)
		stop(r, &r->places[i]);
	for (size_t i = 0; i < r->topic_count; i++)
		rd_kafka_topic_destroy(r->topics[i].handle);
	if (r->metadata != NULL)
		rd_kafka_metadata_destroy(r->metadata);
	if (r->queue != NULL)
		rd_kafka_queue_destroy(r->queue);
	client_free(&r->asks);
	client_free(&r->reads);
	free(r->topics);
	free(r->places);
	free(r);
}

/* ---- which topics ---- */

void kafka_reader_topics(const struct kafka_reader *reader,
			 void (*each)(void *arg, const char *topic), void *arg)
{
	for (int i = 0; i < reader->metadata->topic_cnt; i++)
		each(arg, reader->metadata->topics[i].topic);
}

static const rd_kafka_metadata_topic_t *find(const struct kafka_reader *reader, const char *topic)
{
	for (int i = 0; i < reader->metadata->topic_cnt; i++)
		if (strcmp(reader->metadata->topics[i].topic, topic) == 0)
			return &reader->metadata->topics[i];
	return NULL;
}

bool kafka_reader_add(struct kafka_reader *reader, const char *topic, struct error *err)
{
	const rd_kafka_metadata_topic_t *found = find(reader, topic);
	rd_kafka_topic_t *handle;

	if (found == NULL || found->partition_cnt == 0)
		return error_set(err,
				 "the brokers show no topic %s; see that it exists, and that "
				 "this user has READ and DESCRIBE on it",
				 topic);
	handle = rd_kafka_topic_new(reader->reads.rk, topic, NULL);
	reader->topics =
	    xrealloc(reader->topics, (reader->topic_count + 1) * sizeof(*reader->topics));
	reader->topics[reader->topic_count] = (struct topic_places){handle, reader->place_count};
	reader->places =
	    xrealloc(reader->places, (reader->place_count + (size_t)found->partition_cnt) *
					 sizeof(*reader->places));
	for (int32_t i = 0; i < found->partition_cnt; i++)
		reader->places[reader->place_count++] =
		    (struct place){.shown = {.topic = found->topic,
					     .topic_number = reader->topic_count,
					     .partition = i,
					     .first_ms = -1},
				   .handle = handle};
	reader->topic_count++;
	return true;
}

size_t kafka_reader_count(const struct kafka_reader *reader)
{
	return reader->place_count;
}

const struct kafka_place *kafka_reader_place(const struct kafka_reader *reader, size_t place)
{
	return &reader->places[place].shown;
}

/* ---- where to begin and to end ---- */

static bool refused(const struct kafka_reader *reader, const struct kafka_place *place,
		    rd_kafka_resp_err_t code, struct error *err)
{
	bool right = code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

	return error_set(err, "cannot read partition %d of topic %s: %s (%s)%s%s", place->partition,
			 place->topic, rd_kafka_err2name(code), rd_kafka_err2str(code),
			 right ? "; grant this user READ and DESCRIBE on the topic" : "",
			 !right && reader->last_error[0] != '\0' ? reader->last_error : "");
}

/* The leader moves, or a topic is so new that not all brokers know of it. */
static bool may_pass(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
	       code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
	       code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static bool is_over(int64_t until_us)
{
	if (clock_monotonic_us() >= until_us)
		return true;
	usleep(AGAIN_US);
	return false;
}

static rd_kafka_resp_err_t ask_for_marks(struct kafka_reader *reader, struct kafka_place *place)
{
	int64_t until_us = clock_monotonic_us() + ASK_MS * INT64_C(1000);
	rd_kafka_resp_err_t code;

	do {
		code = rd_kafka_query_watermark_offsets(reader->asks.rk, place->topic,
							place->partition, &place->low, &place->high,
							ASK_MS);
		serve(reader);
	} while (may_pass(code) && !is_over(until_us));
	return code;
}

bool kafka_reader_mark(struct kafka_reader *reader, struct error *err)
{
	for (size_t i = 0; i < reader->place_count; i++) {
		struct kafka_place *place = &reader->places[i].shown;
		rd_kafka_resp_err_t code = ask_for_marks(reader, place);

		if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
			return refused(reader, place, code, err);
		if (!reader->places[i].started && place->begin < place->low)
			place->begin = place->low;
	}
	return true;
}

/* The first error in the list; it stays in the order of the places. */
static rd_kafka_resp_err_t ask_for_times(struct kafka_reader *reader,
					 rd_kafka_topic_partition_list_t *list, int64_t time_ms)
{
	rd_kafka_resp_err_t code;

	for (size_t i = 0; i < reader->place_count; i++)
		list->elems[i].offset = time_ms;
	code = rd_kafka_offsets_for_times(reader->asks.rk, list, ASK_MS);
	serve(reader);
	for (size_t i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < reader->place_count; i++)
		code = list->elems[i].err;
	return code;
}

bool kafka_reader_begin_at(struct kafka_reader *reader, int64_t time_ms, struct error *err)
{
	int64_t until_us = clock_monotonic_us() + ASK_MS * INT64_C(1000);
	rd_kafka_topic_partition_list_t *list =
	    rd_kafka_topic_partition_list_new((int)reader->place_count);
	rd_kafka_resp_err_t code;

	for (size_t i = 0; i < reader->place_count; i++)
		rd_kafka_topic_partition_list_add(list, reader->places[i].shown.topic,
						  reader->places[i].shown.partition);
	do
		code = ask_for_times(reader, list, time_ms);
	while (may_pass(code) && !is_over(until_us));
	for (size_t i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < reader->place_count; i++) {
		struct kafka_place *place = &reader->places[i].shown;
		int64_t offset = list->elems[i].offset;

		/* Nothing is so late: RD_KAFKA_OFFSET_END. */
		place->begin = offset >= 0 ? offset : place->high;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return code == RD_KAFKA_RESP_ERR_NO_ERROR ||
	       error_set(err, "cannot find where to begin in the topics: %s (%s)",
			 rd_kafka_err2name(code), rd_kafka_err2str(code));
}

void kafka_reader_follow(struct kafka_reader *reader, int fd)
{
	reader->follows = true;
	for (size_t i = 0; i < reader->place_count; i++)
		reader->places[i].shown.begin = reader->places[i].shown.high;
	rd_kafka_queue_io_event_enable(reader->queue, fd, &(uint64_t){1}, sizeof(uint64_t));
}

/* ---- records ---- */

static bool start_some(struct kafka_reader *reader, struct error *err)
{
	while (reader->next_place < reader->place_count &&
	       (reader->open < AT_A_TIME || reader->follows)) {
		struct place *place = &reader->places[reader->next_place++];

		if (!reader->follows && place->shown.begin >= place->shown.high) {
			stop(reader, place);
			continue;
		}
		if (rd_kafka_consume_start_queue(place->handle, place->shown.partition,
						 place->shown.begin, reader->queue) != 0)
			return refused(reader, &place->shown, rd_kafka_last_error(), err);
		place->started = true;
		reader->open++;
	}
	return true;
}

/* NULL: what is said is about no partition. */
static struct place *place_of(struct kafka_reader *reader, const rd_kafka_message_t *message)
{
	if (message->rkt == NULL || message->partition < 0)
		return NULL;
	/* Records come in runs. */
	for (size_t i = 0; i < reader->topic_count; i++) {
		const struct topic_places *topic = &reader->topics[reader->last_topic];

		if (topic->handle == message->rkt)
			return &reader->places[topic->first + (size_t)message->partition];
		reader->last_topic = (reader->last_topic + 1) % reader->topic_count;
	}
	return NULL;
}

/* What is no record: the end of a partition, or why it cannot be read. False and err: for good. */
static bool take_word(struct kafka_reader *reader, struct place *place,
		      const rd_kafka_message_t *message, struct error *err)
{
	switch (message->err) {
	case RD_KAFKA_RESP_ERR__PARTITION_EOF:
		/* Markers of transactions are no records: the end may lie behind the last one. */
		if (!reader->follows && message->offset >= place->shown.high)
			stop(reader, place);
		else
			place->held_us = clock_monotonic_us();
		return true;
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		return reader->follows || refused(reader, &place->shown, message->err, err);
	default:
		text_print(reader->last_error, sizeof(reader->last_error), "%s",
			   rd_kafka_message_errstr(message));
		return true;
	}
}

static void set_record(struct kafka_reader *reader, const struct place *place,
		       const rd_kafka_message_t *message)
{
	rd_kafka_timestamp_type_t type;

	reader->record =
	    (struct kafka_record){.place = (size_t)(place - reader->places),
				  .offset = message->offset,
				  .time_ms = rd_kafka_message_timestamp(message, &type),
				  .key = {message->key, message->key_len},
				  .value = {message->payload, message->len},
				  .message = message};
}

static bool take_record(struct kafka_reader *reader, struct place *place,
			const rd_kafka_message_t *message)
{
	bool wanted = reader->follows || message->offset < place->shown.high;

	if (!wanted) {
		stop(reader, place);
		return false;
	}
	set_record(reader, place, message);
	place->held_us = 0;
	if (place->shown.first_ms < 0)
		place->shown.first_ms = reader->record.time_ms;
	if (!reader->follows && message->offset + 1 == place->shown.high)
		stop(reader, place);
	return true;
}

/* The next of the batch; false if none is left in it. */
static bool take(struct kafka_reader *reader, bool *good, struct error *err)
{
	while (reader->taken < reader->batch_count && *good) {
		rd_kafka_message_t *message = reader->batch[reader->taken];
		struct place *place = place_of(reader, message);
		bool is_record = message->err == RD_KAFKA_RESP_ERR_NO_ERROR && place != NULL &&
				 !place->done && take_record(reader, place, message);

		if (reader->taken > 0)
			rd_kafka_message_destroy(reader->batch[reader->taken - 1]);
		reader->taken++;
		if (is_record)
			return true;
		if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR && place != NULL && !place->done)
			*good = take_word(reader, place, message, err);
	}
	return false;
}

static void fill(struct kafka_reader *reader, int wait_ms)
{
	ssize_t count;

	forget_batch(reader);
	/* With a time to wait it would wait for a full batch. */
	count = rd_kafka_consume_batch_queue(reader->queue, 0, reader->batch, BATCH);
	if (count <= 0 && wait_ms > 0) {
		reader->batch[0] = rd_kafka_consume_queue(reader->queue, wait_ms);
		count = reader->batch[0] != NULL;
	}
	reader->batch_count = count > 0 ? (size_t)count : 0;
}

/* A transaction may stay open for as long as its producer is allowed to (transaction.timeout.ms),
 * or indefinitely after an error of the broker's. */
static void cut_off(struct kafka_reader *reader)
{
	int64_t now = clock_monotonic_us();

	for (size_t i = 0; i < reader->place_count && !reader->follows; i++) {
		struct place *place = &reader->places[i];

		if (place->done || place->held_us == 0 || now - place->held_us < HELD_US)
			continue;
		place->shown.cut = true;
		stop(reader, place);
	}
}

static bool is_silent(struct kafka_reader *reader, struct error *err)
{
	int64_t now = clock_monotonic_us();

	if (reader->batch_count > 0 || reader->heard_us == 0 || reader->follows)
		reader->heard_us = now;
	if (now - reader->heard_us < SILENCE_US)
		return false;
	error_set(err,
		  "the brokers have sent nothing for %d s%s%s; see that they run, and run the "
		  "command again",
		  SILENCE_US / 1000000, reader->last_error[0] != '\0' ? ": " : "",
		  reader->last_error);
	return true;
}

const struct kafka_record *kafka_reader_next(struct kafka_reader *reader, int wait_ms, bool *good,
					     struct error *err)
{
	*good = true;
	if (take(reader, good, err))
		return &reader->record;
	if (!*good || !start_some(reader, err)) {
		*good = false;
		return NULL;
	}
	serve(reader);
	if (kafka_reader_is_done(reader))
		return NULL;
	fill(reader, wait_ms);
	if (reader->batch_count == 0)
		cut_off(reader);
	*good = !is_silent(reader, err);
	return *good && take(reader, good, err) ? &reader->record : NULL;
}

bool kafka_reader_is_done(const struct kafka_reader *reader)
{
	return reader->done == reader->place_count;
}

static bool is_at(const struct place *place, const rd_kafka_message_t *message, int64_t offset)
{
	return message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->rkt == place->handle &&
	       message->partition == place->shown.partition && message->offset == offset;
}

const struct kafka_record *kafka_reader_again(struct kafka_reader *reader, size_t place,
					      int64_t offset)
{
	const struct place *from = &reader->places[place];
	int64_t until_us = clock_monotonic_us() + ASK_MS * INT64_C(1000);
	bool found = false;

	assert(kafka_reader_is_done(reader));
	if (rd_kafka_consume_start_queue(from->handle, from->shown.partition, offset,
					 reader->queue) != 0)
		return NULL;
	while (!found && clock_monotonic_us() < until_us) {
		serve(reader);
		forget_batch(reader);
		reader->batch[0] = rd_kafka_consume_queue(reader->queue, SLICE_MS);
		reader->taken = reader->batch_count = reader->batch[0] != NULL;
		found = reader->taken > 0 && is_at(from, reader->batch[0], offset);
	}
	rd_kafka_consume_stop(from->handle, from->shown.partition);
	if (found)
		set_record(reader, from, reader->batch[0]);
	return found ? &reader->record : NULL;
}
