/* SPDX-License-Identifier: ISC */
/*
 * compare_sample.c - what differs between two records, as JSON
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "compare.h"
#include "converted.h"
#include "samples.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	TEXT_MOST = 1000, /* of a key or a header */
	BEFORE = 20,	  /* bytes of a value that are shown before the first that differs */
	EXCERPT = 60	  /* with them */
};

const char *const compare_lists[COMPARE_LISTS] = {"missing_in_shadow",
						  "missing_in_live",
						  "repeated_in_shadow",
						  "repeated_in_live",
						  "topic",
						  "partition",
						  "key",
						  "value",
						  "headers",
						  "header_order",
						  "order",
						  "timestamp",
						  "without_id"};

static const char *const sides[COMPARE_SIDES] = {"live", "shadow"};

bool compare_wants_sample(const struct comparison *comparison, enum compare_list list)
{
	return json_array_size(comparison->samples[list]) <
	       samples_most(comparison->options->samples, comparison->options->json);
}

/* ---- parts of records ---- */

static json_t *time_or_null(int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[40];
	struct tm tm;
	char *whole;
	json_t *json;

	if (ms < 0 || gmtime_r(&seconds, &tm) == NULL)
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	whole = xasprintf("%s.%03dZ", text, (int)(ms % 1000));
	json = json_string(whole);
	free(whole);
	return json;
}

static json_t *spot_of(const struct comparison *comparison, const struct compare_sample *sample,
		       enum compare_side side)
{
	const struct compare_spot *spot = &sample->spots[side];
	const struct kafka_record *record = sample->records[side];
	const struct kafka_place *place =
	    kafka_reader_place(comparison->readers[side], spot->place);
	json_t *json = json_object();

	json_object_set_new(json, "topic", json_text(place->topic));
	json_object_set_new(json, "partition", json_integer(place->partition));
	json_object_set_new(json, "offset", json_integer(spot->offset));
	json_object_set_new(json, "time", time_or_null(record != NULL ? record->time_ms : -1));
	return json;
}

/* ---- what differs ---- */

static json_t *both(struct slice live, struct slice shadow)
{
	json_t *json = json_object();

	json_object_set_new(json, sides[COMPARE_LIVE], samples_text(live, TEXT_MOST));
	json_object_set_new(json, sides[COMPARE_SHADOW], samples_text(shadow, TEXT_MOST));
	return json;
}

static struct slice excerpt(struct slice value, size_t at)
{
	size_t from = at > BEFORE ? at - BEFORE : 0, rest = value.len - from;

	if (value.data == NULL)
		return value;
	/* Not from within a character. */
	while (from > 0 && ((unsigned char)value.data[from] & 0xc0) == 0x80)
		from--;
	return (struct slice){value.data + from, rest < EXCERPT ? rest : EXCERPT};
}

static void add_value(json_t *json, struct slice live, struct slice shadow)
{
	size_t at = compare_first(live, shadow);

	json_object_set_new(json, "first_byte", json_integer((json_int_t)at));
	json_object_set_new(json, "bytes",
			    json_pack("{s:I, s:I}", "live", (json_int_t)live.len, "shadow",
				      (json_int_t)shadow.len));
	json_object_set_new(json, "value", both(excerpt(live, at), excerpt(shadow, at)));
	json_object_set_new(json, "same_json", json_boolean(compare_same_json(live, shadow)));
}

/* The number-th value that a record has for a name; false: it has fewer. */
static bool value_of(const struct kafka_record *record, const char *name, size_t number,
		     struct slice *value)
{
	const char *other;

	for (size_t i = 0; kafka_record_header_at(record, i, &other, value); i++)
		if (strcmp(other, name) == 0 && number-- == 0)
			return true;
	return false;
}

/* How often the name was among the first headers. */
static size_t number_of(const struct kafka_record *record, const char *name, size_t upto)
{
	struct slice ignored;
	const char *other;
	size_t count = 0;

	for (size_t i = 0; i < upto && kafka_record_header_at(record, i, &other, &ignored); i++)
		count += strcmp(other, name) == 0;
	return count;
}

bool compare_is_ignored(const struct comparison *comparison, const char *name)
{
	const struct config_strings *ignored = &comparison->options->ignored;

	for (size_t i = 0; i < ignored->count; i++)
		if (strcmp(ignored->items[i], name) == 0)
			return true;
	return false;
}

static json_t *header_of(const char *name, const bool has[COMPARE_SIDES],
			 const struct slice values[COMPARE_SIDES])
{
	json_t *json = json_object();

	json_object_set_new(json, "name", json_text(name));
	for (int side = 0; side < COMPARE_SIDES; side++)
		if (has[side]) /* a header may be there without a value */
			json_object_set_new(json, sides[side],
					    samples_text(values[side], TEXT_MOST));
	return json;
}

/* Headers of one record that the other one has not, or with another value; without what both have
 * if lone. */
static void add_headers_of(const struct comparison *comparison, json_t *list,
			   const struct compare_sample *sample, enum compare_side side, bool lone)
{
	enum compare_side other = side == COMPARE_LIVE ? COMPARE_SHADOW : COMPARE_LIVE;
	struct slice values[COMPARE_SIDES];
	const char *name;

	for (size_t i = 0; kafka_record_header_at(sample->records[side], i, &name, &values[side]);
	     i++) {
		size_t number = number_of(sample->records[side], name, i);
		bool has[COMPARE_SIDES];

		has[side] = true;
		has[other] = value_of(sample->records[other], name, number, &values[other]);
		if (!compare_is_ignored(comparison, name) && !(has[other] && lone) &&
		    !(has[other] && slice_equal(values[side], values[other])))
			json_array_append_new(list, header_of(name, has, values));
	}
}

static json_t *headers_of(const struct comparison *comparison, const struct compare_sample *sample)
{
	json_t *list = json_array();

	add_headers_of(comparison, list, sample, COMPARE_LIVE, false);
	add_headers_of(comparison, list, sample, COMPARE_SHADOW, true);
	return list;
}

static json_t *names_of(const struct kafka_record *record)
{
	json_t *list = json_array();
	struct slice ignored;
	const char *name;

	for (size_t i = 0; kafka_record_header_at(record, i, &name, &ignored); i++)
		json_array_append_new(list, json_text(name));
	return list;
}

static void add_difference(const struct comparison *comparison, enum compare_list list,
			   const struct compare_sample *sample, json_t *json)
{
	const struct kafka_record *live = sample->records[COMPARE_LIVE],
				  *shadow = sample->records[COMPARE_SHADOW];

	if (list == LIST_KEY)
		json_object_set_new(json, "keys", both(live->key, shadow->key));
	else if (list == LIST_VALUE)
		add_value(json, live->value, shadow->value);
	else if (list == LIST_HEADERS)
		json_object_set_new(json, "headers", headers_of(comparison, sample));
	else if (list == LIST_HEADER_ORDER)
		json_object_set_new(
		    json, "headers",
		    json_pack("{s:o, s:o}", "live", names_of(live), "shadow", names_of(shadow)));
}

void compare_add_sample(struct comparison *comparison, enum compare_list list,
			const struct compare_sample *sample)
{
	const struct kafka_record *known = sample->records[COMPARE_LIVE] != NULL
					       ? sample->records[COMPARE_LIVE]
					       : sample->records[COMPARE_SHADOW];
	struct slice id = SLICE_NULL;
	json_t *json = json_object();
	char *copy = NULL;

	if (known != NULL && kafka_record_header(known, comparison->options->id_header, &id))
		id = converted_id(id, &copy);
	json_object_set_new(json, "event_id", samples_text(id, TEXT_MOST));
	json_object_set_new(json, "key",
			    known != NULL ? samples_text(known->key, TEXT_MOST) : json_null());
	for (int side = 0; side < COMPARE_SIDES; side++)
		if (sample->spots[side].offset >= 0)
			json_object_set_new(json, sides[side],
					    spot_of(comparison, sample, (enum compare_side)side));
	if (sample->records[COMPARE_LIVE] != NULL && sample->records[COMPARE_SHADOW] != NULL)
		add_difference(comparison, list, sample, json);
	json_array_append_new(comparison->samples[list], json);
	free(copy);
}
