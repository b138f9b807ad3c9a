/* SPDX-License-Identifier: ISC */
/*
 * compare_report.c - what `compare` has found: as JSON, and in words
 */
#include "commands.h"
#include "compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const sides[COMPARE_SIDES] = {"live", "shadow"};

static bool is_difference(const struct comparison *comparison, enum compare_list list)
{
	bool repeats = list == LIST_REPEATED_IN_LIVE || list == LIST_REPEATED_IN_SHADOW;

	return compare_count(comparison, list) > 0 &&
	       !(repeats && comparison->options->allow_repeats);
}

static bool is_cut(const struct comparison *comparison, enum compare_side side)
{
	const struct kafka_reader *reader = comparison->readers[side];
	bool cut = false;

	for (size_t i = 0; i < kafka_reader_count(reader); i++)
		cut = cut || kafka_reader_place(reader, i)->cut;
	return cut;
}

static json_t *notes_of(const struct comparison *comparison)
{
	json_t *notes = json_array();

	for (int side = 0; side < COMPARE_SIDES; side++)
		if (is_cut(comparison, (enum compare_side)side))
			json_array_append_new(
			    notes,
			    json_sprintf("a partition of a %s topic was not read to its end, since "
					 "a transaction stays open there; run the command again",
					 sides[side]));
	if (compare_pairs(comparison->compare) == 0)
		json_array_append_new(notes,
				      json_string("no event is in both: nothing was compared"));
	return notes;
}

/* ---- JSON ---- */

static json_t *side_of(const struct comparison *comparison, enum compare_side side)
{
	const struct compare_counts *counts = compare_counts(comparison->compare, side);
	json_t *json = json_object();

	json_object_set(json, "topics", comparison->topics[side]);
	json_object_set_new(json, "records", json_integer((json_int_t)counts->records));
	json_object_set_new(json, "without_id", json_integer((json_int_t)counts->without_id));
	return json;
}

static void print_json(const struct comparison *comparison, bool good)
{
	json_t *out = json_object();
	char member[40];

	json_object_set_new(out, "good", json_boolean(good));
	for (int side = 0; side < COMPARE_SIDES; side++)
		json_object_set_new(out, sides[side], side_of(comparison, (enum compare_side)side));
	json_object_set_new(out, "compared",
			    json_integer((json_int_t)compare_pairs(comparison->compare)));
	for (int i = 0; i < COMPARE_LISTS; i++) {
		uint64_t count = compare_count(comparison, (enum compare_list)i);

		json_object_set(out, compare_lists[i], comparison->samples[i]);
		snprintf(member, sizeof(member), "%s_count", compare_lists[i]);
		json_object_set_new(out, member, json_integer((json_int_t)count));
	}
	json_object_set_new(out, "notes", notes_of(comparison));
	command_print(out);
	json_decref(out);
}

/* ---- words ---- */

static void print_side(const struct comparison *comparison, enum compare_side side)
{
	const struct compare_counts *counts = compare_counts(comparison->compare, side);
	const json_t *topic;
	size_t i;

	printf("%-18s %" PRIu64 " records in", sides[side], counts->records);
	json_array_foreach(comparison->topics[side], i, topic)
	{
		printf("%s %s", i == 0 ? "" : ",", json_string_value(topic));
	}
	printf("\n");
}

static void print_place(const json_t *sample, const char *side)
{
	const json_t *spot = json_object_get(sample, side);
	const char *time = json_string_value(json_object_get(spot, "time"));

	if (spot == NULL)
		return;
	printf(", %s %s %" JSON_INTEGER_FORMAT " offset %" JSON_INTEGER_FORMAT, side,
	       json_string_value(json_object_get(spot, "topic")),
	       json_integer_value(json_object_get(spot, "partition")),
	       json_integer_value(json_object_get(spot, "offset")));
	if (time != NULL)
		printf(" %s", time);
}

/* What differs is printed as in JSON, which makes any byte harmless. */
static void print_difference(const json_t *sample)
{
	static const char *const members[] = {"keys",  "first_byte", "bytes",
					      "value", "same_json",  "headers"};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		const json_t *value = json_object_get(sample, members[i]);

		if (value == NULL)
			continue;
		printf("%-20s %s ", "", members[i]);
		json_dumpf(value, stdout, JSON_ENCODE_ANY);
		printf("\n");
	}
}

static void print_samples(const json_t *samples)
{
	const json_t *sample;
	size_t i;

	json_array_foreach(samples, i, sample)
	{
		printf("%-18s event_id ", "");
		json_dumpf(json_object_get(sample, "event_id"), stdout, JSON_ENCODE_ANY);
		printf(", key ");
		json_dumpf(json_object_get(sample, "key"), stdout, JSON_ENCODE_ANY);
		print_place(sample, "live");
		print_place(sample, "shadow");
		printf("\n");
		print_difference(sample);
	}
}

static void print_text(const struct comparison *comparison)
{
	json_t *notes = notes_of(comparison);

	for (int side = 0; side < COMPARE_SIDES; side++)
		print_side(comparison, (enum compare_side)side);
	printf("%-18s %" PRIu64 " events\n", "compared", compare_pairs(comparison->compare));
	for (int i = 0; i < COMPARE_LISTS; i++) {
		if (i == LIST_TIMESTAMP && !comparison->options->timestamps)
			continue;
		printf("%-18s %" PRIu64 "\n", compare_lists[i],
		       compare_count(comparison, (enum compare_list)i));
		print_samples(comparison->samples[i]);
	}
	for (size_t i = 0; i < json_array_size(notes); i++)
		printf("%-18s %s\n", i == 0 ? "notes" : "",
		       json_string_value(json_array_get(notes, i)));
	json_decref(notes);
}

int compare_report(const struct comparison *comparison)
{
	/* Nothing proves nothing. */
	bool good = compare_pairs(comparison->compare) > 0;

	for (int i = 0; i < COMPARE_LISTS; i++)
		good = good && !is_difference(comparison, (enum compare_list)i);
	if (comparison->options->json)
		print_json(comparison, good);
	else
		print_text(comparison);
	return good ? EXIT_DONE : EXIT_FAILED;
}
