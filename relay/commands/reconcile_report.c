/* SPDX-License-Identifier: ISC */
/*
 * reconcile_report.c - what `reconcile` has found and done: as JSON, and in words
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "reconcile.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- words that others use ---- */

void reconcile_note(struct reconcile *reconcile, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = xvasprintf(format, args);
	va_end(args);
	json_array_append_new(reconcile->notes, json_text(text));
	free(text);
}

char *reconcile_rows_in_words(uint64_t count)
{
	return xasprintf("%" PRIu64 " row%s", count, count == 1 ? "" : "s");
}

char *reconcile_time(int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[40];
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL)
		return xasprintf("%" PRId64 " ms after 1970", ms);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return xstrdup(text);
}

char *reconcile_summary(const struct reconcile *reconcile)
{
	const struct published_counts *counts = published_counts(reconcile->rows);
	char *before = reconcile->before.is_given
			   ? xasprintf(", %" PRIu64 " created before %s", counts->counted,
				       reconcile->before.text)
			   : xstrdup("");
	char *words =
	    xasprintf("%" PRIu64 " waiting%s, %" PRIu64 " found in the topics, %" PRIu64
		      " settled, %" PRIu64 " left",
		      counts->waiting, before, counts->found, reconcile->settled, counts->left);

	free(before);
	return words;
}

/* ---- notes ---- */

static void add_note(json_t *notes, uint64_t count, const char *words)
{
	char *rows, *text;

	if (count == 0)
		return;
	rows = reconcile_rows_in_words(count);
	text = xasprintf("%s %s", rows, words);
	json_array_append_new(notes, json_text(text));
	free(text);
	free(rows);
}

static json_t *notes_of(const struct reconcile *reconcile)
{
	const struct published_counts *counts = published_counts(reconcile->rows);
	json_t *notes = json_copy(reconcile->notes);

	add_note(notes, counts->nameless,
		 "without an event id: left, since nothing tells whether "
		 "they are published");
	add_note(notes, counts->doubled,
		 "with the event id of a row before: left, since one "
		 "record tells of one row");
	add_note(notes, counts->nowhere,
		 "that can be routed to no topic: the relay would reject "
		 "them");
	add_note(notes, counts->behind,
		 "behind a published one of their key: published after it; "
		 "see docs/reconcile.md");
	return notes;
}

/* ---- JSON ---- */

static void add_number(json_t *out, const char *name, uint64_t number)
{
	json_object_set_new(out, name, json_integer((json_int_t)number));
}

static json_t *topic_of(const struct reconcile *reconcile, size_t number)
{
	const struct published_topic *topic = published_topic(reconcile->rows, number);
	bool missing = reconcile->missing != NULL && reconcile->missing[number];
	json_t *json = json_object();

	json_object_set_new(json, "topic", json_text(topic->name));
	json_object_set_new(json, "exists",
			    topic->looked_up > 0 ? json_boolean(!missing) : json_null());
	add_number(json, "records", reconcile->records != NULL ? reconcile->records[number] : 0);
	add_number(json, "waiting", topic->waiting);
	add_number(json, "published_before", topic->counted);
	add_number(json, "found", topic->found);
	add_number(json, "left", topic->left);
	return json;
}

static json_t *topics_of(const struct reconcile *reconcile)
{
	json_t *list = json_array();

	for (size_t i = 0; i < published_topics(reconcile->rows); i++)
		json_array_append_new(list, topic_of(reconcile, i));
	return list;
}

static void add_range(json_t *out, const struct published_counts *counts)
{
	bool any = counts->left > 0;

	json_object_set_new(out, "left_first_id",
			    any ? json_integer(counts->first_left) : json_null());
	json_object_set_new(out, "left_last_id",
			    any ? json_integer(counts->last_left) : json_null());
}

static json_t *outcome(const struct reconcile *reconcile, const json_t *behind)
{
	const struct published_counts *counts = published_counts(reconcile->rows);
	json_t *out = json_object();

	json_object_set_new(out, "outbox", json_text(reconcile->shown));
	json_object_set_new(out, "settle",
			    json_string(config_settle_word(reconcile->config->outbox.settle)));
	json_object_set_new(out, "dry_run", json_boolean(reconcile->options->dry_run));
	json_object_set(out, "slot", reconcile->slot);
	add_number(out, "records", reconcile->read);
	add_number(out, "waiting", counts->waiting);
	add_number(out, "published_before", counts->counted);
	add_number(out, "found", counts->found);
	add_number(out, "left", counts->left);
	add_range(out, counts);
	add_number(out, "settled", reconcile->settled);
	add_number(out, "not_settled", reconcile->held);
	json_object_set_new(out, "producers", json_text(reconcile->producers));
	add_number(out, "behind", counts->behind);
	json_object_set(out, "behind_samples", (json_t *)behind);
	json_object_set_new(out, "topics", topics_of(reconcile));
	json_object_set_new(out, "notes", notes_of(reconcile));
	return out;
}

/* ---- words ---- */

static void print_count(const char *label, uint64_t count)
{
	printf("%-17s %" PRIu64 "\n", label, count);
}

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text != NULL ? text : "-";
}

static json_int_t number_of(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

static void print_left(const struct published_counts *counts)
{
	printf("%-17s %" PRIu64, "left", counts->left);
	if (counts->left > 0)
		printf(", ids %" PRId64 " to %" PRId64, counts->first_left, counts->last_left);
	printf("\n");
}

static void print_behind(const json_t *behind)
{
	const json_t *sample;
	size_t i;

	json_array_foreach(behind, i, sample)
	{
		printf("%-17s id %" JSON_INTEGER_FORMAT ", event_id %s, key %s, after id "
		       "%" JSON_INTEGER_FORMAT "\n",
		       "", number_of(sample, "id"), text_of(sample, "event_id"),
		       text_of(sample, "key"), number_of(sample, "after_id"));
	}
}

static void print_topics(const json_t *topics)
{
	const json_t *topic;
	size_t i;

	json_array_foreach(topics, i, topic)
	{
		printf("%-17s %s: %" JSON_INTEGER_FORMAT " records; %" JSON_INTEGER_FORMAT
		       " waiting, %" JSON_INTEGER_FORMAT " found, %" JSON_INTEGER_FORMAT " left\n",
		       i == 0 ? "topics" : "", text_of(topic, "topic"), number_of(topic, "records"),
		       number_of(topic, "waiting"), number_of(topic, "found"),
		       number_of(topic, "left"));
	}
}

static void print_notes(const json_t *notes)
{
	const json_t *note;
	size_t i;

	json_array_foreach(notes, i, note)
	{
		printf("%-17s %s\n", i == 0 ? "notes" : "", json_string_value(note));
	}
}

static void print_text(const struct reconcile *reconcile, const json_t *out)
{
	const struct published_counts *counts = published_counts(reconcile->rows);

	printf("%-17s %s, settle = %s%s\n", "outbox", reconcile->shown, text_of(out, "settle"),
	       reconcile->options->dry_run ? ", dry run" : "");
	if (json_is_object(reconcile->slot))
		printf("%-17s %s, confirmed up to %s\n", "slot", text_of(reconcile->slot, "name"),
		       text_of(reconcile->slot, "confirmed_flush_lsn"));
	print_count("records", reconcile->read);
	print_count("waiting", counts->waiting);
	if (reconcile->before.is_given)
		print_count("published before", counts->counted);
	print_count("found", counts->found);
	print_left(counts);
	if (!reconcile->options->dry_run)
		print_count("settled", reconcile->settled);
	if (reconcile->held > 0)
		print_count("not settled", reconcile->held);
	print_count("behind", counts->behind);
	print_behind(json_object_get(out, "behind_samples"));
	print_topics(json_object_get(out, "topics"));
	if (reconcile->producers != NULL)
		printf("%-17s %s: nothing is in doubt\n", "new producers", reconcile->producers);
	print_notes(json_object_get(out, "notes"));
}

void reconcile_report(const struct reconcile *reconcile, const json_t *behind)
{
	json_t *out = outcome(reconcile, behind);

	if (reconcile->options->json)
		command_print(out);
	else
		print_text(reconcile, out);
	json_decref(out);
}
