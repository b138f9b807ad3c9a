/* SPDX-License-Identifier: ISC */
/*
 * verify_topics.c - `verify` reads the topics
 */
#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "converted.h"
#include "core/route.h"
#include "progress.h"
#include "verify.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, TOPIC_MS = 500, EXPLAIN_MS = 3000, WAIT_MS = 500 };

/* ---- what a record says ---- */

static bool is_field(const struct config *config, const char *text, size_t len, const char *field)
{
	char *name = xasprintf("%.*s", (int)len, text);
	const char *column = route_column(&config->outbox.columns, name),
		   *wanted = route_column(&config->outbox.columns, field);
	bool same = column != NULL && wanted != NULL && strcmp(column, wanted) == 0;

	free(name);
	return same;
}

char *verify_header_of(const struct config *config, const char *field)
{
	for (size_t i = 0; i < config->route.headers.count; i++) {
		const char *item = config->route.headers.items[i];
		size_t name = strcspn(item, "="), len = strlen(item);

		/* NAME=${FIELD} and nothing else */
		if (len > name + 4 && strncmp(item + name, "=${", 3) == 0 &&
		    strcspn(item + name + 3, "}") == len - name - 4 &&
		    is_field(config, item + name + 3, len - name - 4, field))
			return xasprintf("%.*s", (int)name, item);
	}
	return NULL;
}

static bool is_json(int format)
{
	return format == ENCODE_JSON || format == ENCODE_JSON_SCHEMA;
}

struct slice verify_event_id(const struct config *config, const struct kafka_record *record,
			     const char *header, char **copy)
{
	struct slice text = SLICE_NULL;

	*copy = NULL;
	if (!kafka_record_header(record, header, &text))
		return SLICE_NULL;
	return is_json(config->encode.headers) ? converted_id(text, copy) : text;
}

static int64_t id_of(const struct verify *verify, const struct kafka_record *record)
{
	char digits[24], *copy = NULL;
	struct slice text = SLICE_NULL;
	int64_t id = AUDIT_NO_ID;

	if (verify->id_header != NULL)
		text = verify_event_id(verify->config, record, verify->id_header, &copy);
	if (text.len > 0 && text.len < sizeof(digits)) {
		memcpy(digits, text.data, text.len);
		digits[text.len] = '\0';
		if (!units_parse_number(digits, INT64_MIN, INT64_MAX, &id))
			id = AUDIT_NO_ID;
	}
	free(copy);
	return id;
}

/* Debezium fills up what a char(n) has, and the database's text of it has no blanks at its end. */
static struct slice without_fill(const struct verify *verify, struct slice event_id)
{
	if (expected_id_kind(verify->expected) == FIELD_CHAR)
		while (event_id.len > 0 && event_id.data[event_id.len - 1] == ' ')
			event_id.len--;
	return event_id;
}

/* Whether events of this key have an order. A NULL key is none, and JSON has a word for it. */
static bool is_key(const struct config *config, struct slice key)
{
	return key.data != NULL && !(is_json(config->encode.key) && converted_is_null(key));
}

/* ---- which topics ---- */

/* Whether route.topic may give this name: each field stands for any text. */
static bool may_be(const char *tpl, const char *name)
{
	while (*tpl != '\0') {
		if (tpl[0] == '$' && tpl[1] == '{') {
			const char *rest = tpl + strcspn(tpl, "}");

			for (rest += *rest != '\0'; *name != '\0';)
				if (may_be(rest, ++name))
					return true;
			return false;
		}
		tpl += tpl[0] == '$' && tpl[1] == '$';
		if (*tpl++ != *name++)
			return false;
	}
	return *name == '\0';
}

struct choice {
	struct verify *verify;
	struct error *err;
	bool good;
};

static void choose(void *arg, const char *topic)
{
	struct choice *choice = arg;

	assert(topic != NULL);
	/* Copies of rejected events are no events. */
	if (choice->good && route_topic_is_legal(slice_of(topic)) &&
	    may_be(choice->verify->config->route.topic, topic) &&
	    strcmp(choice->verify->config->route.dead_letter_topic, topic) != 0)
		choice->good = kafka_reader_add(choice->verify->reader, topic, choice->err);
}

static bool choose_topics(struct verify *verify, struct error *err)
{
	const struct config_strings *named = &verify->options->topics;
	const char *tpl = verify->config->route.topic;
	struct choice choice = {verify, err, true};

	for (size_t i = 0; i < named->count; i++)
		if (!kafka_reader_add(verify->reader, named->items[i], err))
			return false;
	if (named->count > 0)
		return true;
	if (verify->config->route.topic_regex[0] != '\0')
		return error_set(err, "what route.topic_regex makes of route.topic may be any "
				      "topic; name those to read with --topic");
	if (strncmp(tpl, "${", 2) == 0 && strchr(tpl, '}')[1] == '\0')
		return error_set(err,
				 "route.topic \"%s\" may be any topic; name those to read "
				 "with --topic",
				 tpl);
	kafka_reader_topics(verify->reader, choose, &choice);
	return choice.good;
}

static void on_cluster(void *arg, const struct kafka_probe_cluster *cluster)
{
	(void)arg;
	(void)cluster;
}

static void note_unread(struct verify *verify, const char *topic, const char *why)
{
	char *words = xasprintf("whether topic %s is compacted could not be read (%s): it may keep "
				"only the last event of a key, so rows that are not found in it "
				"count as not checkable; run the command again, or grant this user "
				"DESCRIBE_CONFIGS on it",
				topic, why);

	json_array_append_new(verify->unread, json_text(words));
	free(words);
}

/* policy NULL: it could not be read. */
static void take_policy(struct verify *verify, const char *topic, const char *policy,
			const char *why)
{
	for (size_t i = 0; i < kafka_reader_count(verify->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);

		if (strcmp(place->topic, topic) == 0)
			verify->compacted[place->topic_number] =
			    policy == NULL || strstr(policy, "compact") != NULL;
	}
	if (policy == NULL)
		note_unread(verify, topic, why);
}

static void on_topic(void *arg, const struct kafka_probe_topic *topic)
{
	take_policy(arg, topic->name, topic->cleanup_policy,
		    topic->problem != NULL ? topic->problem : "the brokers do not tell");
}

static const struct kafka_probe_events probe_events = {on_cluster, on_topic};

/* That they cannot be read is no reason to give up: there is more to find than what is missing. */
static void read_policies(struct verify *verify, const struct kafka_options *kafka)
{
	size_t count = 0, places = kafka_reader_count(verify->reader);
	const char **names = xcalloc(places, sizeof(*names)), *remedy;
	struct error err;
	int timeout_ms;

	verify->compacted = xcalloc(places, sizeof(*verify->compacted));
	for (size_t i = 0; i < places; i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);

		if (place->partition == 0)
			names[count++] = place->topic;
	}
	/* They are asked one after the other. */
	timeout_ms = TIMEOUT_MS + (int)count * TOPIC_MS;
	if (!kafka_probe(kafka, names, count, timeout_ms, &probe_events, verify, &remedy, &err))
		for (size_t i = 0; i < count; i++)
			take_policy(verify, names[i], NULL, err.text);
	free(names);
}

/* The probe knows more about what is in the way than a reader does. */
void verify_explain(const struct kafka_options *kafka, struct error *err)
{
	struct error why;
	const char *remedy;
	static const struct kafka_probe_events quiet = {on_cluster, NULL};

	if (!kafka_probe(kafka, NULL, 0, EXPLAIN_MS, &quiet, NULL, &remedy, &why))
		error_set(err, "%s; %s", why.text,
			  remedy ? remedy : "run `outbox-relay check` for more");
}

static unsigned rules_of(const struct verify *verify)
{
	bool ordered = verify->config->outbox.ordering == ORDERING_KEY &&
		       expected_tells_keys(verify->expected);

	return (ordered ? AUDIT_ORDERED : 0u) |
	       (verify->config->route.partition[0] != '\0' ? AUDIT_PLACED : 0u);
}

static void begin_places(struct verify *verify)
{
	size_t places = kafka_reader_count(verify->reader);

	verify->settled = xcalloc(places, sizeof(*verify->settled));
	for (size_t i = 0; i < places; i++)
		verify->settled[i] = kafka_reader_place(verify->reader, i)->high;
	if (verify->config->route.timestamp[0] == '\0')
		return;
	verify->firsts = xcalloc(places, sizeof(*verify->firsts));
	for (size_t i = 0; i < places; i++)
		verify->firsts[i] = (struct verify_first){AUDIT_NO_ID, -1, false};
}

bool verify_open_topics(struct verify *verify, struct error *err)
{
	struct kafka_options kafka = command_kafka_options(verify->config);

	verify->reader = kafka_reader_new(&kafka, TIMEOUT_MS, err);
	if (verify->reader == NULL) {
		verify_explain(&kafka, err);
		return false;
	}
	if (!choose_topics(verify, err) || !kafka_reader_mark(verify->reader, err))
		return false;
	read_policies(verify, &kafka);
	begin_places(verify);
	verify->audit = audit_new(kafka_reader_count(verify->reader), rules_of(verify));
	return true;
}

/* ---- reading ---- */

/* A record, what it says, and what is found about it. */
struct reading {
	const struct kafka_record *record;
	struct slice event_id; /* may lie in copy */
	char *copy;	       /* owned */
	struct audit_record judged;
	struct audit_before before;
};

static struct reading read_record(const struct verify *verify, const struct kafka_record *record)
{
	const struct kafka_place *place = kafka_reader_place(verify->reader, record->place);
	struct reading reading = {.record = record, .before = {0, 0, AUDIT_BY_KEY, AUDIT_NO_ID}};
	struct slice replay;

	reading.event_id =
	    without_fill(verify, verify_event_id(verify->config, record, verify->event_id_header,
						 &reading.copy));
	reading.judged = (struct audit_record){
	    .has_name = reading.event_id.data != NULL,
	    .has_key = is_key(verify->config, record->key),
	    .is_replay = kafka_record_header(record, VERIFY_REPLAY_HEADER, &replay),
	    .id = id_of(verify, record),
	    .key = record->key,
	    .topic = place->topic_number,
	    .place = record->place,
	    .partition = place->partition,
	};
	if (reading.judged.has_name)
		reading.judged.name = audit_name(reading.event_id);
	return reading;
}

static struct verify_sample sample_of(const struct verify *verify, const struct reading *reading)
{
	const struct kafka_record *record = reading->record;
	const struct kafka_place *place = kafka_reader_place(verify->reader, record->place);

	return (struct verify_sample){
	    .id = reading->judged.id != AUDIT_NO_ID ? reading->judged.id
						    : audit_id(verify->audit, reading->judged.name),
	    .after = AUDIT_NO_ID,
	    .event_id = reading->event_id,
	    .key = record->key,
	    .payload = record->value,
	    .topic = place->topic,
	    .partition = place->partition,
	    .offset = record->offset,
	    .time_ms = record->time_ms,
	    .row_partition = AUDIT_BY_KEY,
	};
}

static void add_repeated(struct verify *verify, const struct reading *reading, unsigned found)
{
	struct verify_sample sample;

	if (!verify_wants_sample(verify, LIST_REPEATED))
		return;
	sample = sample_of(verify, reading);
	if (found & AUDIT_ELSEWHERE)
		sample.other = kafka_reader_place(verify->reader, reading->before.event);
	verify_add_sample(verify, LIST_REPEATED, &sample);
}

static void add_late(struct verify *verify, const struct reading *reading)
{
	struct verify_sample sample;

	if (!verify_wants_sample(verify, LIST_OUT_OF_ORDER))
		return;
	sample = sample_of(verify, reading);
	sample.after = reading->before.ahead;
	verify_add_sample(verify, LIST_OUT_OF_ORDER, &sample);
}

static void add_misplaced(struct verify *verify, const struct reading *reading)
{
	struct verify_sample sample;

	if (!verify_wants_sample(verify, LIST_MISPLACED))
		return;
	sample = sample_of(verify, reading);
	sample.row_partition = reading->before.named;
	if (sample.row_partition == AUDIT_BY_KEY)
		sample.other = kafka_reader_place(verify->reader, reading->before.key);
	verify_add_sample(verify, LIST_MISPLACED, &sample);
}

/* The row is asked for its key once more: the audit has a few bits of it. */
static bool add_wrong_key(struct verify *verify, const struct reading *reading, struct error *err)
{
	struct verify_sample sample;
	struct message message;
	PGresult *row;

	if (!verify_wants_sample(verify, LIST_WRONG_KEY))
		return true;
	sample = sample_of(verify, reading);
	row = verify_find_row(verify, audit_id(verify->audit, reading->judged.name),
			      reading->event_id, err);
	if (row == NULL)
		return false;
	if (PQntuples(row) > 0 && expected_record(verify->expected, row, 0, 1, &message))
		sample.row_key = &message.key;
	verify_add_sample(verify, LIST_WRONG_KEY, &sample);
	PQclear(row);
	return true;
}

/* Whether the disorder is one that nobody has to answer for. */
static bool pardon(struct verify *verify, const struct reading *reading, bool *good,
		   struct error *err)
{
	int64_t late = audit_id(verify->audit, reading->judged.name);

	if ((verify->options->overlaps_ms == 0 &&
	     verify->config->outbox.settle != SETTLE_POSITION) ||
	    !verify_may_overlap(verify, late, reading->before.ahead, good, err))
		return false;
	audit_pardon(verify->audit, reading->judged.place);
	return true;
}

/* A replay is later than its row was published. */
static void note_first(struct verify *verify, const struct reading *reading, unsigned found)
{
	struct verify_first *first = verify->firsts;

	if (first == NULL || (found & (AUDIT_UNKNOWN | AUDIT_WITHOUT_NAME | AUDIT_REPLAYED)))
		return;
	first += reading->record->place;
	if (first->id == AUDIT_NO_ID)
		first->id = audit_id(verify->audit, reading->judged.name);
}

static bool judge(struct verify *verify, const struct kafka_record *record, struct error *err)
{
	struct reading reading = read_record(verify, record);
	unsigned found = audit_record(verify->audit, &reading.judged, &reading.before);
	bool good = true;

	note_first(verify, &reading, found);
	if (found & AUDIT_REPEATED)
		add_repeated(verify, &reading, found);
	if ((found & AUDIT_OUT_OF_ORDER) && !pardon(verify, &reading, &good, err))
		add_late(verify, &reading);
	if (found & AUDIT_MISPLACED)
		add_misplaced(verify, &reading);
	if ((found & AUDIT_WRONG_KEY) && good)
		good = add_wrong_key(verify, &reading, err);
	/* A later record may be of a row that was inserted since. */
	if ((found & AUDIT_UNKNOWN) && record->offset < verify->settled[record->place])
		verify->unknown++;
	free(reading.copy);
	return good;
}

/* In a range nothing is awaited that is older than what its rows may have. */
static bool begin(struct verify *verify, struct error *err)
{
	int64_t from_ms = verify->since.ms, earliest_ms = verify->earliest_ms; /* 0: not given */

	if (earliest_ms < from_ms || (verify->options->from_id != NULL && earliest_ms != INT64_MAX))
		from_ms = earliest_ms;
	return from_ms < VERIFY_EARLIER_MS ||
	       kafka_reader_begin_at(verify->reader, from_ms - VERIFY_EARLIER_MS, err);
}

bool verify_read_topics(struct verify *verify, struct error *err)
{
	int64_t total = 0, done = 0;
	bool good = begin(verify, err);

	for (size_t i = 0; i < kafka_reader_count(verify->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);

		total += place->high > place->begin ? place->high - place->begin : 0;
	}
	progress_begin(total, "records");
	while (good && !kafka_reader_is_done(verify->reader)) {
		const struct kafka_record *record =
		    kafka_reader_next(verify->reader, WAIT_MS, &good, err);

		if (record != NULL) {
			good = judge(verify, record, err);
			progress_step(++done);
		}
	}
	progress_end();
	return good;
}
