/* SPDX-License-Identifier: ISC */
/*
 * reconcile_topics.c - `reconcile` reads the topics that the waiting rows belong to, if they can be
 * believed: what a topic lacks must never have been in it
 */
#include "base/xalloc.h"
#include "commands.h"
#include "converted.h"
#include "core/route.h"
#include "kafka/reader.h"
#include "progress.h"
#include "reconcile.h"
#include "verify.h"
#include "waiting.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A record may be so much earlier than its row, by the clocks; a partition's first one must be
 * older by so much than the oldest row. */
enum {
	TIMEOUT_MS = 10000,
	PROBE_MS = 60000,
	WAIT_MS = 500,
	EARLIER_MS = 5 * 60 * 1000,
	CLOCKS_MS = 60 * 1000
};

struct reading {
	struct reconcile *reconcile;
	struct kafka_options kafka;
	struct kafka_reader *reader; /* owned */
	size_t *topics; /* owned; by the reader's number of a topic, its number among the rows' */
	size_t count;
	bool *judged; /* owned; by place */
	struct error *err;
	bool good;
};

/* ---- which topics ---- */

static bool is_looked_up(const struct reconcile *reconcile, size_t topic)
{
	return published_topic(reconcile->rows, topic)->looked_up > 0;
}

static void on_cluster(void *arg, const struct kafka_probe_cluster *cluster)
{
	(void)arg;
	(void)cluster;
}

/* None of its rows is published. That it is not shown is no proof to who may not ask. */
static bool judge_missing(struct reading *reading, const struct kafka_probe_topic *topic,
			  size_t number)
{
	const struct published_topic *rows = published_topic(reading->reconcile->rows, number);
	char *words;

	if (topic->problem != NULL)
		return error_set(reading->err,
				 "the brokers show no topic %s, and do not say that there is none "
				 "(%s); grant this user DESCRIBE and DESCRIBE_CONFIGS on it, or "
				 "create it",
				 topic->name, topic->problem);
	words = reconcile_rows_in_words(rows->looked_up);
	reading->reconcile->missing[number] = true;
	reconcile_note(reading->reconcile, "topic %s does not exist: none of its %s is published",
		       topic->name, words);
	free(words);
	return true;
}

static bool judge_there(struct reading *reading, const struct kafka_probe_topic *topic)
{
	if (topic->cleanup_policy == NULL)
		reconcile_note(reading->reconcile,
			       "cleanup.policy of topic %s is not known (%s): see that it is not "
			       "compacted, or rows may be published again",
			       topic->name,
			       topic->problem != NULL ? topic->problem : "no right to see it");
	else if (strstr(topic->cleanup_policy, "compact") != NULL)
		return error_set(
		    reading->err,
		    "topic %s is compacted (cleanup.policy = %s): it keeps the last event of a "
		    "key, so that what it lacks may have been published; give --published-before "
		    "a time before which all rows are known to be published, so that none of this "
		    "topic is looked up, or settle its rows by hand",
		    topic->name, topic->cleanup_policy);
	return true;
}

static void add_topic(struct reading *reading, size_t number)
{
	const char *name = published_topic(reading->reconcile->rows, number)->name;

	reading->good = kafka_reader_add(reading->reader, name, reading->err);
	reading->topics[reading->count++] = number;
}

static void on_topic(void *arg, const struct kafka_probe_topic *topic)
{
	struct reading *reading = arg;
	size_t number;

	if (!reading->good)
		return;
	number = published_topic_of(reading->reconcile->rows, slice_of(topic->name));
	reading->good =
	    topic->exists ? judge_there(reading, topic) : judge_missing(reading, topic, number);
	if (reading->good && topic->exists)
		add_topic(reading, number);
}

static bool choose_topics(struct reading *reading)
{
	static const struct kafka_probe_events events = {on_cluster, on_topic};
	struct reconcile *reconcile = reading->reconcile;
	size_t all = published_topics(reconcile->rows), count = 0;
	const char **names = xcalloc(all + 1, sizeof(*names)), *remedy;
	bool good;

	reconcile->records = xcalloc(all + 1, sizeof(*reconcile->records));
	reconcile->missing = xcalloc(all + 1, sizeof(*reconcile->missing));
	reading->topics = xcalloc(all + 1, sizeof(*reading->topics));
	for (size_t i = 0; i < all; i++)
		if (is_looked_up(reconcile, i))
			names[count++] = published_topic(reconcile->rows, i)->name;
	reading->good = true;
	good = kafka_probe(&reading->kafka, names, count, PROBE_MS, &events, reading, &remedy,
			   reading->err);
	free(names);
	return good && reading->good;
}

static bool connect_to(struct reading *reading)
{
	reading->kafka = command_kafka_options(reading->reconcile->config);
	reading->reader = kafka_reader_new(&reading->kafka, TIMEOUT_MS, reading->err);
	if (reading->reader == NULL)
		verify_explain(&reading->kafka, reading->err);
	return reading->reader != NULL;
}

/* ---- whether a partition has all ---- */

static bool refuse_cut(const struct reading *reading, const struct kafka_place *place,
		       int64_t oldest_ms)
{
	char *first = place->first_ms >= 0 ? reconcile_time(place->first_ms) : NULL;
	char *oldest = oldest_ms > 0 ? reconcile_time(oldest_ms) : NULL;

	error_set(reading->err,
		  "topic %s, partition %d, has dropped records: %s%s, and %s%s; what was dropped "
		  "may be of a row that waits, which would be published again: give "
		  "--published-before a time%s if all older rows are known to be published, or "
		  "--ignore-retention if nothing was dropped that is of a waiting row",
		  place->topic, place->partition,
		  first != NULL ? "its first is of " : "it has none any more",
		  first != NULL ? first : "",
		  oldest != NULL ? "the oldest row looked up was created at "
				 : "it is not known when the oldest row looked up was created",
		  oldest != NULL ? oldest : "", first != NULL ? " after the first record" : "");
	free(first);
	free(oldest);
	return false;
}

/* Where reading begins later, by a time, there are older records. */
static bool judge_place(const struct reading *reading, const struct kafka_place *place)
{
	int64_t oldest_ms =
	    published_topic(reading->reconcile->rows, reading->topics[place->topic_number])
		->oldest_ms;

	if (place->low == 0 || place->begin > place->low ||
	    reading->reconcile->options->ignore_retention)
		return true;
	return (place->first_ms >= 0 && oldest_ms > 0 &&
		oldest_ms >= place->first_ms + CLOCKS_MS) ||
	       refuse_cut(reading, place, oldest_ms);
}

static bool is_empty(const struct kafka_place *place)
{
	return place->low >= place->high;
}

static bool judge_empty(const struct reading *reading)
{
	for (size_t i = 0; i < kafka_reader_count(reading->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(reading->reader, i);

		if (is_empty(place) && !judge_place(reading, place))
			return false;
	}
	return true;
}

/* What was not read, and what had no record but those of transactions that were aborted. */
static bool judge_rest(const struct reading *reading)
{
	for (size_t i = 0; i < kafka_reader_count(reading->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(reading->reader, i);

		if (place->cut)
			return error_set(reading->err,
					 "topic %s, partition %d, was not read to its end, since a "
					 "producer's transaction stays open: it may yet be "
					 "committed; run this again once it has ended",
					 place->topic, place->partition);
		if (!reading->judged[i] && !judge_place(reading, place))
			return false;
	}
	return true;
}

/* ---- reading ---- */

/* Records have the times of a column: they say nothing of when a record was written, unless that is
 * when its row was. */
static bool has_own_times(const struct config *config)
{
	const char *column = config->route.timestamp[0] != '\0'
				 ? route_column(&config->outbox.columns, config->route.timestamp)
				 : NULL;

	return column != NULL && strcmp(column, config->outbox.columns.created_at) != 0;
}

static bool begin(const struct reading *reading)
{
	const struct reconcile *reconcile = reading->reconcile;
	int64_t from_ms = reconcile->before.ms - EARLIER_MS;

	if (!kafka_reader_mark(reading->reader, reading->err))
		return false;
	if (kafka_reader_count(reading->reader) == 0)
		return true;
	return !reconcile->before.is_given || from_ms <= 0 || has_own_times(reconcile->config) ||
	       kafka_reader_begin_at(reading->reader, from_ms, reading->err);
}

static bool take_record(struct reading *reading, const struct kafka_record *record)
{
	struct reconcile *reconcile = reading->reconcile;
	const struct kafka_place *place = kafka_reader_place(reading->reader, record->place);
	struct slice id;
	char *copy;

	if (!reading->judged[record->place]) {
		reading->judged[record->place] = true;
		if (!judge_place(reading, place))
			return false;
	}
	reconcile->read++;
	reconcile->records[reading->topics[place->topic_number]]++;
	if (!kafka_record_header(record, reconcile->header, &id))
		return true;
	id = converted_id(id, &copy);
	if (id.data != NULL) {
		reconcile->named++;
		published_record(reconcile->rows, id);
	}
	free(copy);
	return true;
}

static bool read_all(struct reading *reading)
{
	int64_t total = 0, done = 0;
	bool good = true;

	for (size_t i = 0; i < kafka_reader_count(reading->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(reading->reader, i);

		total += place->high > place->begin ? place->high - place->begin : 0;
	}
	progress_begin(total, "records");
	while (good && !kafka_reader_is_done(reading->reader) && !waiting_is_stopped()) {
		const struct kafka_record *record =
		    kafka_reader_next(reading->reader, WAIT_MS, &good, reading->err);

		if (record != NULL)
			good = take_record(reading, record);
		progress_step(done += record != NULL);
	}
	progress_end();
	if (good && waiting_is_stopped())
		return error_set(reading->err, WAITING_STOPPED);
	return good;
}

/* A wrong header finds nothing, and all would be published again. */
static bool judge_header(const struct reading *reading)
{
	const struct reconcile *reconcile = reading->reconcile;

	if (reconcile->read == 0 || reconcile->named > 0)
		return true;
	return error_set(reading->err,
			 "none of the %" PRIu64 " records that were read has a header \"%s\" with "
			 "an event id, so none can be matched; say --id-header",
			 reconcile->read, reconcile->header);
}

bool reconcile_read_topics(struct reconcile *reconcile, struct error *err)
{
	struct reading reading = {.reconcile = reconcile, .err = err};
	bool good = connect_to(&reading) && choose_topics(&reading) && begin(&reading);

	if (good) {
		reading.judged =
		    xcalloc(kafka_reader_count(reading.reader) + 1, sizeof(*reading.judged));
		good = judge_empty(&reading) && read_all(&reading) && judge_rest(&reading) &&
		       judge_header(&reading);
	}
	kafka_reader_free(&reading.reader);
	free(reading.topics);
	free(reading.judged);
	return good;
}
