/* SPDX-License-Identifier: ISC */
/*
 * verify_report.c - what `verify` has found: as JSON, and in words
 */
#include "base/pgname.h"
#include "base/text.h"
#include "commands.h"
#include "samples.h"
#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { PAYLOAD_MOST = 10000, KEY_MOST = 1000 };

const char *const verify_lists[LISTS] = {"missing", "repeated", "out_of_order", "misplaced",
					 "wrong_key"};

/* ---- samples ---- */

bool verify_wants_sample(const struct verify *verify, enum verify_list list)
{
	return json_array_size(verify->samples[list]) <
	       samples_most(verify->options->samples, verify->options->json);
}

static json_t *number_or_null(int64_t number, int64_t none)
{
	return number == none ? json_null() : json_integer(number);
}

static json_t *time_or_null(int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[40];
	struct tm tm;

	if (ms < 0 || gmtime_r(&seconds, &tm) == NULL)
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

void verify_add_sample(struct verify *verify, enum verify_list list,
		       const struct verify_sample *sample)
{
	json_t *json = json_object();

	json_object_set_new(json, "id", number_or_null(sample->id, AUDIT_NO_ID));
	json_object_set_new(json, "event_id", samples_text(sample->event_id, KEY_MOST));
	json_object_set_new(json, "key", samples_text(sample->key, KEY_MOST));
	json_object_set_new(json, "topic", json_text(sample->topic));
	json_object_set_new(json, "partition", number_or_null(sample->partition, -1));
	json_object_set_new(json, "offset", number_or_null(sample->offset, -1));
	if (sample->after != AUDIT_NO_ID)
		json_object_set_new(json, "after_id", json_integer(sample->after));
	if (sample->row_partition != AUDIT_BY_KEY)
		json_object_set_new(json, "row_partition", json_integer(sample->row_partition));
	if (sample->row_key != NULL)
		json_object_set_new(json, "row_key", samples_text(*sample->row_key, KEY_MOST));
	json_object_set_new(json, "time", time_or_null(sample->time_ms));
	if (sample->other != NULL) {
		json_object_set_new(json, "before_topic", json_text(sample->other->topic));
		json_object_set_new(json, "before_partition",
				    json_integer(sample->other->partition));
	}
	if (verify->options->payloads)
		json_object_set_new(json, "payload", samples_text(sample->payload, PAYLOAD_MOST));
	json_array_append_new(verify->samples[list], json);
}

/* ---- counts ---- */

struct numbers {
	struct audit_counts sum;
	uint64_t count[LISTS];
};

static struct numbers numbers_of(const struct verify *verify)
{
	struct numbers numbers = {.sum = audit_total(verify->audit)};

	numbers.count[LIST_MISSING] = verify->missing;
	numbers.count[LIST_REPEATED] = numbers.sum.repeated;
	numbers.count[LIST_OUT_OF_ORDER] = numbers.sum.out_of_order;
	numbers.count[LIST_MISPLACED] = numbers.sum.misplaced;
	numbers.count[LIST_WRONG_KEY] = numbers.sum.wrong_key;
	return numbers;
}

/* Whether missing events can be told at all. */
static bool judges_missing(const struct verify *verify)
{
	return verify->stay || verify->options->ids_path != NULL;
}

static bool judges_ids(const struct verify *verify)
{
	return verify->config->outbox.ordering == ORDERING_KEY &&
	       expected_tells_keys(verify->expected) && (verify->stay || verify->id_header != NULL);
}

/* Where rows name partitions, they must be there for it. */
static bool judges_places(const struct verify *verify)
{
	return verify->stay || verify->config->route.partition[0] == '\0';
}

static bool judges(const struct verify *verify, int list)
{
	switch (list) {
	case LIST_MISSING:
		return judges_missing(verify);
	case LIST_OUT_OF_ORDER:
		return judges_ids(verify);
	case LIST_MISPLACED:
		return judges_places(verify);
	case LIST_WRONG_KEY:
		return verify->stay;
	default:
		return true;
	}
}

static bool judges_unknown(const struct verify *verify)
{
	return verify->stay && !verify->ranged;
}

static bool is_finding(const struct verify *verify, const struct numbers *numbers,
		       enum verify_list list)
{
	return numbers->count[list] > 0 &&
	       (list != LIST_REPEATED || !verify->options->allow_repeats);
}

static uint64_t checked(const struct verify *verify)
{
	uint64_t out = verify->retained + verify->compacted_away + verify->purged +
		       verify->cut_off + verify->elsewhere;

	return verify->due - out;
}

/* ---- what cannot be said, and why ---- */

static void note(json_t *notes, const char *text)
{
	json_array_append_new(notes, json_string(text));
}

static json_t *notes_of(const struct verify *verify, const struct numbers *numbers)
{
	json_t *notes = json_array();
	size_t topics = 0, compacted = 0, cut = 0, dropped = 0;

	if (!judges_missing(verify))
		note(notes, "with outbox.settle = \"delete\" no row says what was published: "
			    "nothing can be told missing without --from-event-ids");
	if (verify->config->outbox.ordering != ORDERING_KEY)
		note(notes, "outbox.ordering = \"none\" promises no order: none was looked for");
	else if (!expected_tells_keys(verify->expected))
		note(notes, "route.key is of type bytea, of which encode.key = \"string\" writes "
			    "the length alone: the order within keys is not looked at");
	else if (!judges_ids(verify))
		note(notes, "no header carries the id of a row: the order within keys is not "
			    "looked at; add \"row_id=${id}\" to route.headers for the future");
	if (!judges_places(verify))
		note(notes, "with outbox.settle = \"delete\" no row says which partition it names "
			    "(route.partition): nothing can be told misplaced");
	for (size_t i = 0; i < kafka_reader_count(verify->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);

		topics += place->partition == 0;
		cut += place->cut;
		dropped += place->low > 0;
		compacted += place->partition == 0 && verify->compacted[place->topic_number];
	}
	if (judges_missing(verify))
		json_array_extend(notes, verify->unread);
	if (compacted > json_array_size(verify->unread))
		note(notes, "a topic is compacted: of the events of a key it keeps the last, so "
			    "none of it is told missing");
	if (cut > 0)
		note(notes, "a partition was not read to its end, since a transaction of another "
			    "producer stays open; run the command again");
	if (dropped > 0 && verify->missing > 0 && verify->timed &&
	    verify->config->outbox.columns.created_at[0] == '\0')
		note(notes, "rows do not say when they were created (outbox.columns.created_at), "
			    "and a row may be marked long after its record was written: what is "
			    "told missing may be what a topic no longer keeps");
	if (numbers->sum.out_of_order > 0 && verify->stay && verify->options->overlaps_ms == 0)
		note(notes, "events of a key whose transactions overlapped have no order to keep "
			    "and may be out of order by id: --allow-overlaps TIME leaves out those "
			    "that were inserted less than TIME apart");
	if (topics == 0)
		note(notes, "there is no topic to read");
	return notes;
}

/* ---- JSON ---- */

static void add_counts(json_t *json, const struct audit_counts *counts)
{
	json_object_set_new(json, "records", json_integer((json_int_t)counts->records));
	json_object_set_new(json, "repeated", json_integer((json_int_t)counts->repeated));
	json_object_set_new(json, "out_of_order", json_integer((json_int_t)counts->out_of_order));
	json_object_set_new(json, "overlapping", json_integer((json_int_t)counts->overlapping));
	json_object_set_new(json, "misplaced", json_integer((json_int_t)counts->misplaced));
	json_object_set_new(json, "wrong_key", json_integer((json_int_t)counts->wrong_key));
	json_object_set_new(json, "replays", json_integer((json_int_t)counts->replayed));
	json_object_set_new(json, "without_event_id",
			    json_integer((json_int_t)counts->without_name));
}

static json_t *partitions_of(const struct verify *verify)
{
	json_t *list = json_array();

	for (size_t i = 0; i < kafka_reader_count(verify->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);
		json_t *json = json_object();

		json_object_set_new(json, "topic", json_text(place->topic));
		json_object_set_new(json, "partition", json_integer(place->partition));
		json_object_set_new(json, "first_offset", json_integer(place->begin));
		json_object_set_new(json, "end_offset", json_integer(place->high));
		add_counts(json, audit_counts(verify->audit, i));
		json_array_append_new(list, json);
	}
	return list;
}

static void print_json(const struct verify *verify, const struct numbers *numbers, bool found)
{
	json_t *out = json_object();
	const char *settle = config_settle_word(verify->config->outbox.settle);
	char member[40];

	json_object_set_new(out, "outbox", json_text(verify->config->outbox.table));
	json_object_set_new(out, "settle", json_string(settle));
	json_object_set_new(out, "good", json_boolean(!found));
	for (int i = 0; i < LISTS; i++) {
		json_object_set(out, verify_lists[i], verify->samples[i]);
		snprintf(member, sizeof(member), "%s_count", verify_lists[i]);
		json_object_set_new(out, member, json_integer((json_int_t)numbers->count[i]));
	}
	json_object_set_new(out, "repeated_runs",
			    json_integer((json_int_t)numbers->sum.repeated_runs));
	json_object_set_new(out, "overlapping", json_integer((json_int_t)numbers->sum.overlapping));
	json_object_set_new(out, "checked", json_integer((json_int_t)checked(verify)));
	json_object_set_new(out, "records", json_integer((json_int_t)numbers->sum.records));
	json_object_set_new(out, "replays", json_integer((json_int_t)numbers->sum.replayed));
	json_object_set_new(out, "unknown",
			    judges_unknown(verify) ? json_integer((json_int_t)verify->unknown)
						   : json_null());
	json_object_set_new(out, "without_event_id",
			    json_integer((json_int_t)numbers->sum.without_name));
	json_object_set_new(out, "waiting", json_integer((json_int_t)verify->waiting));
	json_object_set_new(out, "dead_letters", json_integer((json_int_t)verify->dead_letters));
	json_object_set_new(
	    out, "not_checkable",
	    json_pack("{s:I, s:I, s:I, s:I, s:I}", "retention", (json_int_t)verify->retained,
		      "compacted", (json_int_t)verify->compacted_away, "purged",
		      (json_int_t)verify->purged, "transactions", (json_int_t)verify->cut_off,
		      "without_event_id", (json_int_t)verify->nameless));
	json_object_set_new(out, "notes", notes_of(verify, numbers));
	json_object_set_new(out, "partitions", partitions_of(verify));
	command_print(out);
	json_decref(out);
}

/* ---- words ---- */

static const char *text_of(const json_t *object, const char *member)
{
	const json_t *value = json_object_get(object, member);

	return json_is_string(value) ? json_string_value(value) : "-";
}

static void print_number(const json_t *object, const char *member, const char *label)
{
	const json_t *value = json_object_get(object, member);

	if (json_is_integer(value))
		printf(", %s %" JSON_INTEGER_FORMAT, label, json_integer_value(value));
}

static void print_samples(const json_t *samples)
{
	const json_t *sample, *payload;
	size_t i;

	json_array_foreach(samples, i, sample)
	{
		printf("%-14s event_id %s", "", text_of(sample, "event_id"));
		print_number(sample, "id", "id");
		printf(", key %s, topic %s", text_of(sample, "key"), text_of(sample, "topic"));
		print_number(sample, "partition", "partition");
		print_number(sample, "offset", "offset");
		print_number(sample, "after_id", "after id");
		print_number(sample, "row_partition", "its row names partition");
		if (json_object_get(sample, "row_key") != NULL)
			printf(", key of its row %s", text_of(sample, "row_key"));
		if (json_object_get(sample, "before_topic") != NULL) {
			printf(", before in topic %s", text_of(sample, "before_topic"));
			print_number(sample, "before_partition", "partition");
		}
		printf(", %s\n", text_of(sample, "time"));
		payload = json_object_get(sample, "payload");
		if (json_is_string(payload))
			printf("%-16s %s\n", "", json_string_value(payload));
	}
}

static void print_count(const char *label, uint64_t count, const char *words)
{
	printf("%-14s %" PRIu64 "%s\n", label, count, words);
}

static void print_lists(const struct verify *verify, const struct numbers *numbers)
{
	static const char *const labels[LISTS] = {"missing", "repeated", "out of order",
						  "misplaced", "wrong key"};

	for (int i = 0; i < LISTS; i++) {
		printf("%-14s ", labels[i]);
		if (!judges(verify, i))
			printf("not known");
		else
			printf("%" PRIu64, numbers->count[i]);
		if (i == LIST_REPEATED && numbers->count[i] > 0)
			printf(", in %" PRIu64 " runs", numbers->sum.repeated_runs);
		printf("\n");
		print_samples(verify->samples[i]);
	}
}

static void print_rest(const struct verify *verify, const struct numbers *numbers)
{
	if (judges_unknown(verify))
		print_count("unknown", verify->unknown, " records of events not in the outbox");
	if (numbers->sum.overlapping > 0)
		print_count("overlapping", numbers->sum.overlapping,
			    " events came after one inserted a little later");
	if (numbers->sum.without_name > 0)
		print_count("without id", numbers->sum.without_name,
			    " records that have no event id");
	if (numbers->sum.replayed > 0)
		print_count("replays", numbers->sum.replayed, "");
	if (verify->waiting > 0)
		print_count("waiting", verify->waiting, " events in the outbox");
	if (verify->dead_letters > 0)
		print_count("dead letters", verify->dead_letters,
			    " events in outbox_relay.dead_letters");
	if (verify->retained > 0)
		print_count("not checkable", verify->retained,
			    " events that are older than what the topics keep");
	if (verify->compacted_away > 0)
		print_count("not checkable", verify->compacted_away,
			    " events that are not in topics that are, or may be, compacted");
	if (verify->cut_off > 0)
		print_count("not checkable", verify->cut_off,
			    " events that lie behind an open transaction, or are missing");
	if (verify->nameless > 0)
		print_count("not checkable", verify->nameless,
			    " published rows that have no event id");
	if (verify->purged > 0)
		print_count("not checkable", verify->purged,
			    " events whose rows were purged meanwhile");
}

static void print_partitions(const struct verify *verify)
{
	for (size_t i = 0; i < kafka_reader_count(verify->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);
		const struct audit_counts *counts = audit_counts(verify->audit, i);

		printf("%-14s %s %d: %" PRIu64 " records, %" PRIu64 " repeated, %" PRIu64
		       " out of order\n",
		       i == 0 ? "partitions" : "", place->topic, place->partition, counts->records,
		       counts->repeated, counts->out_of_order);
	}
}

static void print_text(const struct verify *verify, const struct numbers *numbers)
{
	json_t *notes = notes_of(verify, numbers);

	printf("%-14s %s, settle = %s\n", "outbox", verify->config->outbox.table,
	       config_settle_word(verify->config->outbox.settle));
	print_count("records", numbers->sum.records, "");
	if (judges_missing(verify))
		print_count("checked", checked(verify), " events that were published");
	print_lists(verify, numbers);
	print_rest(verify, numbers);
	print_partitions(verify);
	for (size_t i = 0; i < json_array_size(notes); i++)
		printf("%-14s %s\n", i == 0 ? "notes" : "",
		       json_string_value(json_array_get(notes, i)));
	json_decref(notes);
}

int verify_report(const struct verify *verify)
{
	struct numbers numbers = numbers_of(verify);
	bool found = false;

	for (int i = 0; i < LISTS; i++)
		found = found || is_finding(verify, &numbers, (enum verify_list)i);
	if (verify->options->json)
		print_json(verify, &numbers, found);
	else
		print_text(verify, &numbers);
	return found ? EXIT_FAILED : EXIT_DONE;
}
