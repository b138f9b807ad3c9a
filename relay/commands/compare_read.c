/* SPDX-License-Identifier: ISC */
/*
 * compare_read.c - `compare` reads the topics: the live ones, then those of the shadow
 */
#include "base/xalloc.h"
#include "commands.h"
#include "compare.h"
#include "converted.h"
#include "progress.h"
#include "verify.h"

#include <stdlib.h>
#include <string.h>

/* A shadow may have published an event so much earlier than the connector, and clocks differ. */
enum { TIMEOUT_MS = 10000, WAIT_MS = 500, EARLIER_MS = 5 * 60 * 1000 };

/* ---- which topics ---- */

static bool add_pair(struct comparison *comparison, const char *live, const char *shadow,
		     struct error *err)
{
	const char *names[COMPARE_SIDES] = {live, shadow};

	for (int side = 0; side < COMPARE_SIDES; side++) {
		const json_t *other;
		size_t i;

		json_array_foreach(comparison->topics[side], i, other)
		{
			if (strcmp(json_string_value(other), names[side]) == 0)
				return error_set(err, "topic %s is named twice", names[side]);
		}
		if (!kafka_reader_add(comparison->readers[side], names[side], err))
			return false;
		json_array_append_new(comparison->topics[side], json_string(names[side]));
	}
	return true;
}

static bool add_prefixed(struct comparison *comparison, const char *live, struct error *err)
{
	char *shadow = xasprintf("%s%s", comparison->options->prefix, live);
	bool good = add_pair(comparison, live, shadow, err);

	free(shadow);
	return good;
}

/* "LIVE=SHADOW": no topic has a '=' in its name. */
static bool add_named(struct comparison *comparison, const char *pair, struct error *err)
{
	size_t len = strcspn(pair, "=");
	char *live = xasprintf("%.*s", (int)len, pair);
	bool good = add_pair(comparison, live, pair + len + 1, err);

	free(live);
	return good;
}

struct choice {
	struct comparison *comparison;
	struct error *err;
	bool good;
};

static void choose(void *arg, const char *topic)
{
	struct choice *choice = arg;
	const char *prefix = choice->comparison->options->prefix;
	size_t len = strlen(prefix);

	if (choice->good && strncmp(topic, prefix, len) == 0 && topic[len] != '\0')
		choice->good = add_prefixed(choice->comparison, topic + len, choice->err);
}

static bool choose_topics(struct comparison *comparison, struct error *err)
{
	const struct compare_options *options = comparison->options;
	struct choice choice = {comparison, err, true};

	for (size_t i = 0; i < options->pairs.count; i++)
		if (!add_named(comparison, options->pairs.items[i], err))
			return false;
	for (size_t i = 0; i < options->live.count; i++)
		if (!add_prefixed(comparison, options->live.items[i], err))
			return false;
	if (options->pairs.count + options->live.count > 0)
		return true;
	kafka_reader_topics(comparison->readers[COMPARE_SHADOW], choose, &choice);
	if (choice.good && json_array_size(comparison->topics[COMPARE_SHADOW]) == 0)
		return error_set(err,
				 "no topic that the brokers show begins with \"%s\"; run "
				 "`outbox-relay shadow`, or say --prefix or --pair",
				 options->prefix);
	return choice.good;
}

/* ---- partitions ---- */

static void take_places(struct comparison *comparison, enum compare_side side)
{
	const struct kafka_reader *reader = comparison->readers[side];
	size_t count = kafka_reader_count(reader);
	struct compare_place *places = xcalloc(count + 1, sizeof(*places));
	int32_t partitions = 0;

	/* From behind: the last partition of a topic says how many there are. */
	for (size_t i = count; i-- > 0;) {
		const struct kafka_place *place = kafka_reader_place(reader, i);

		if (i + 1 == count || places[i + 1].topic != place->topic_number)
			partitions = place->partition + 1;
		places[i] =
		    (struct compare_place){place->topic_number, place->partition, partitions};
	}
	comparison->places[side] = places;
}

static bool connect_to(struct comparison *comparison, struct error *err)
{
	for (int side = 0; side < COMPARE_SIDES; side++) {
		comparison->readers[side] = kafka_reader_new(&comparison->kafka, TIMEOUT_MS, err);
		if (comparison->readers[side] == NULL) {
			verify_explain(&comparison->kafka, err);
			return false;
		}
	}
	return true;
}

bool compare_open(struct comparison *comparison, struct error *err)
{
	int64_t since_ms = comparison->range.since_ms; /* INT64_MIN: from the beginning */
	const struct compare_place *places[COMPARE_SIDES];

	if (!connect_to(comparison, err) || !choose_topics(comparison, err))
		return false;
	for (int side = 0; side < COMPARE_SIDES; side++) {
		struct kafka_reader *reader = comparison->readers[side];

		if (!kafka_reader_mark(reader, err) ||
		    (since_ms > EARLIER_MS &&
		     !kafka_reader_begin_at(reader, since_ms - EARLIER_MS, err)))
			return false;
		take_places(comparison, (enum compare_side)side);
		places[side] = comparison->places[side];
	}
	comparison->compare = compare_new(places, &comparison->range);
	return true;
}

void compare_close(struct comparison *comparison)
{
	for (int side = 0; side < COMPARE_SIDES; side++) {
		kafka_reader_free(&comparison->readers[side]);
		free(comparison->places[side]);
		json_decref(comparison->topics[side]);
	}
	compare_free(&comparison->compare);
	for (int i = 0; i < COMPARE_LISTS; i++)
		json_decref(comparison->samples[i]);
}

/* ---- samples ---- */

static const struct {
	enum compare_finding finding;
	enum compare_list list;
} differences[] = {
    {COMPARE_TOPIC, LIST_TOPIC},
    {COMPARE_PARTITION, LIST_PARTITION},
    {COMPARE_KEY, LIST_KEY},
    {COMPARE_VALUE, LIST_VALUE},
    {COMPARE_HEADERS, LIST_HEADERS},
    {COMPARE_HEADER_ORDER, LIST_HEADER_ORDER},
    {COMPARE_ORDER, LIST_ORDER},
    {COMPARE_TIME, LIST_TIMESTAMP},
    {COMPARE_WITHOUT_ID, LIST_WITHOUT_ID},
};
enum { DIFFERENCES = sizeof(differences) / sizeof(differences[0]) };

/* What is looked for at all. */
static bool counts(const struct comparison *comparison, enum compare_list list)
{
	return list != LIST_TIMESTAMP || comparison->options->timestamps;
}

static enum compare_list side_list(enum compare_side side, enum compare_list live,
				   enum compare_list shadow)
{
	return side == COMPARE_LIVE ? live : shadow;
}

/* The live record is read once more, as it was not kept. */
static void sample_pair(struct comparison *comparison, unsigned found,
			struct compare_sample *sample)
{
	const struct compare_spot *live = &sample->spots[COMPARE_LIVE];

	for (size_t i = 0; i < DIFFERENCES; i++) {
		enum compare_list list = differences[i].list;

		if (!(found & differences[i].finding) || !counts(comparison, list) ||
		    !compare_wants_sample(comparison, list))
			continue;
		if (live->offset >= 0 && sample->records[COMPARE_LIVE] == NULL)
			sample->records[COMPARE_LIVE] = kafka_reader_again(
			    comparison->readers[COMPARE_LIVE], live->place, live->offset);
		compare_add_sample(comparison, list, sample);
	}
}

static void sample(struct comparison *comparison, enum compare_side side, unsigned found,
		   const struct kafka_record *record, const struct compare_spot *other)
{
	const struct compare_spot none = {.offset = -1};
	struct compare_sample sample = {.spots = {none, none}};

	sample.records[side] = record;
	sample.spots[side] = (struct compare_spot){side, record->place, record->offset};
	if (found & COMPARE_REPEATED) {
		enum compare_list list =
		    side_list(side, LIST_REPEATED_IN_LIVE, LIST_REPEATED_IN_SHADOW);

		if (compare_wants_sample(comparison, list))
			compare_add_sample(comparison, list, &sample);
		return;
	}
	if (!(found & COMPARE_WITHOUT_ID))
		sample.spots[other->side] = *other;
	sample_pair(comparison, found, &sample);
}

static void on_missing(void *arg, struct compare_spot spot)
{
	const struct compare_spot none = {.offset = -1};
	struct comparison *comparison = arg;
	struct compare_sample sample = {.spots = {none, none}};
	/* It is in one set, and missing in the other one. */
	enum compare_list list = side_list(spot.side, LIST_MISSING_IN_SHADOW, LIST_MISSING_IN_LIVE);

	if (!compare_wants_sample(comparison, list))
		return;
	sample.spots[spot.side] = spot;
	sample.records[spot.side] =
	    kafka_reader_again(comparison->readers[spot.side], spot.place, spot.offset);
	compare_add_sample(comparison, list, &sample);
}

/* ---- reading ---- */

/* As many as there are; they borrow from the record. */
static struct compare_header *headers_of(const struct comparison *comparison,
					 const struct kafka_record *record, size_t *count)
{
	struct compare_header *headers = NULL;
	struct slice value;
	const char *name;

	*count = 0;
	for (size_t i = 0; kafka_record_header_at(record, i, &name, &value); i++) {
		if (compare_is_ignored(comparison, name))
			continue;
		headers = xrealloc(headers, (*count + 1) * sizeof(*headers));
		headers[(*count)++] = (struct compare_header){slice_of(name), value};
	}
	return headers;
}

static void judge(struct comparison *comparison, enum compare_side side,
		  const struct kafka_record *record)
{
	struct compare_record judged = {.place = record->place,
					.offset = record->offset,
					.time_ms = record->time_ms,
					.key = record->key,
					.value = record->value};
	struct compare_header *headers = headers_of(comparison, record, &judged.header_count);
	struct compare_spot other = {.offset = -1};
	struct slice id = SLICE_NULL;
	unsigned found;
	char *copy = NULL;

	judged.headers = headers;
	if (kafka_record_header(record, comparison->options->id_header, &id))
		id = converted_id(id, &copy);
	judged.has_name = id.data != NULL;
	if (judged.has_name)
		judged.name = audit_name(id);
	found = compare_record(comparison->compare, side, &judged, &other);
	if (found != 0)
		sample(comparison, side, found, record, &other);
	free(headers);
	free(copy);
}

static bool read_side(struct comparison *comparison, enum compare_side side, struct error *err)
{
	struct kafka_reader *reader = comparison->readers[side];
	int64_t total = 0, done = 0;
	bool good = true;

	for (size_t i = 0; i < kafka_reader_count(reader); i++) {
		const struct kafka_place *place = kafka_reader_place(reader, i);

		total += place->high > place->begin ? place->high - place->begin : 0;
	}
	progress_begin(total, side == COMPARE_LIVE ? "live records" : "shadow records");
	while (good && !kafka_reader_is_done(reader)) {
		const struct kafka_record *record = kafka_reader_next(reader, WAIT_MS, &good, err);

		if (record != NULL) {
			judge(comparison, side, record);
			progress_step(++done);
		}
	}
	progress_end();
	return good;
}

bool compare_read(struct comparison *comparison, struct error *err)
{
	for (int side = 0; side < COMPARE_SIDES; side++)
		if (!read_side(comparison, (enum compare_side)side, err))
			return false;
	compare_missing(comparison->compare, on_missing, comparison);
	return true;
}

uint64_t compare_count(const struct comparison *comparison, enum compare_list list)
{
	const struct compare *compare = comparison->compare;
	const struct compare_counts *live = compare_counts(compare, COMPARE_LIVE),
				    *shadow = compare_counts(compare, COMPARE_SHADOW);
	const uint64_t by_side[] = {[LIST_MISSING_IN_SHADOW] = shadow->missing,
				    [LIST_MISSING_IN_LIVE] = live->missing,
				    [LIST_REPEATED_IN_SHADOW] = shadow->repeated,
				    [LIST_REPEATED_IN_LIVE] = live->repeated};

	if (list <= LIST_REPEATED_IN_LIVE)
		return by_side[list];
	for (size_t i = 0; i < DIFFERENCES; i++)
		if (differences[i].list == list && counts(comparison, list))
			return compare_found(compare, differences[i].finding);
	return 0;
}
