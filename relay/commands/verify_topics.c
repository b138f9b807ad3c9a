/* SPDX-License-Identifier: ISC */
/*
 * verify_topics.c - `verify` reads the topics
 */
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "core/route.h"
#include "progress.h"
#include "verify.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Clocks may be so far apart, and a record so much later than its row was claimed. */
enum { TIMEOUT_MS = 10000, EXPLAIN_MS = 3000, WAIT_MS = 500, EARLIER_MS = 5 * 60 * 1000 };

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

static int64_t id_of(const struct verify *verify, const struct kafka_record *record)
{
	struct slice text;
	char digits[24];
	int64_t id;

	if (verify->id_header == NULL || !kafka_record_header(record, verify->id_header, &text) ||
	    text.len == 0 || text.len >= sizeof(digits))
		return AUDIT_NO_ID;
	memcpy(digits, text.data, text.len);
	digits[text.len] = '\0';
	return units_parse_number(digits, INT64_MIN, INT64_MAX, &id) ? id : AUDIT_NO_ID;
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
	if (choice->good && route_topic_is_legal(slice_of(topic)) &&
	    may_be(choice->verify->config->route.topic, topic))
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

static void on_topic(void *arg, const struct kafka_probe_topic *topic)
{
	struct verify *verify = arg;

	for (size_t i = 0; i < kafka_reader_count(verify->reader); i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);

		if (strcmp(place->topic, topic->name) == 0 && topic->cleanup_policy != NULL)
			verify->compacted[place->topic_number] =
			    strstr(topic->cleanup_policy, "compact") != NULL;
	}
}

static const struct kafka_probe_events probe_events = {on_cluster, on_topic};

/* That they cannot be read is no reason to give up: topics that are not compacted are the rule. */
static void read_policies(struct verify *verify, const struct kafka_options *kafka)
{
	size_t count = 0, places = kafka_reader_count(verify->reader);
	const char **names = xcalloc(places, sizeof(*names)), *remedy;
	struct error err;

	verify->compacted = xcalloc(places, sizeof(*verify->compacted));
	for (size_t i = 0; i < places; i++) {
		const struct kafka_place *place = kafka_reader_place(verify->reader, i);

		if (place->partition == 0)
			names[count++] = place->topic;
	}
	kafka_probe(kafka, names, count, TIMEOUT_MS, &probe_events, verify, &remedy, &err);
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

bool verify_open_topics(struct verify *verify, struct error *err)
{
	struct kafka_options kafka = command_kafka_options(verify->config);
	size_t places;

	verify->reader = kafka_reader_new(&kafka, TIMEOUT_MS, err);
	if (verify->reader == NULL) {
		verify_explain(&kafka, err);
		return false;
	}
	if (!choose_topics(verify, err) || !kafka_reader_mark(verify->reader, err))
		return false;
	places = kafka_reader_count(verify->reader);
	read_policies(verify, &kafka);
	verify->settled = xcalloc(places, sizeof(*verify->settled));
	for (size_t i = 0; i < places; i++)
		verify->settled[i] = kafka_reader_place(verify->reader, i)->high;
	verify->audit = audit_new(places, verify->config->outbox.ordering == ORDERING_KEY);
	return true;
}

/* ---- reading ---- */

static void sample(struct verify *verify, enum verify_list list, const struct kafka_record *record,
		   const struct audit_record *judged, const struct audit_before *before,
		   const size_t *other)
{
	const struct kafka_place *place = kafka_reader_place(verify->reader, record->place);
	struct verify_sample sample = {
	    .id = judged->id,
	    .key = record->key,
	    .payload = record->value,
	    .topic = place->topic,
	    .partition = place->partition,
	    .offset = record->offset,
	    .time_ms = record->time_ms,
	    .after = before != NULL ? before->ahead : AUDIT_NO_ID,
	    .other = other != NULL ? kafka_reader_place(verify->reader, *other) : NULL,
	};

	if (!verify_wants_sample(verify, list))
		return;
	kafka_record_header(record, verify->event_id_header, &sample.event_id);
	if (sample.id == AUDIT_NO_ID)
		sample.id = audit_id(verify->audit, judged->name);
	verify_add_sample(verify, list, &sample);
}

/* Whether the disorder is one that nobody has to answer for. */
static bool pardon(struct verify *verify, const struct audit_record *judged,
		   const struct audit_before *before, bool *good, struct error *err)
{
	int64_t late = audit_id(verify->audit, judged->name);

	if ((verify->options->overlaps_ms == 0 &&
	     verify->config->outbox.settle != SETTLE_POSITION) ||
	    !verify_may_overlap(verify, late, before->ahead, good, err))
		return false;
	audit_pardon(verify->audit, judged->place);
	return true;
}

static bool judge(struct verify *verify, const struct kafka_record *record, struct error *err)
{
	const struct kafka_place *place = kafka_reader_place(verify->reader, record->place);
	struct slice event_id = SLICE_NULL, replay;
	struct audit_record judged = {
	    .has_name = kafka_record_header(record, verify->event_id_header, &event_id) &&
			event_id.data != NULL,
	    .has_key = record->key.data != NULL,
	    .is_replay = kafka_record_header(record, VERIFY_REPLAY_HEADER, &replay),
	    .id = id_of(verify, record),
	    .key = record->key,
	    .topic = place->topic_number,
	    .place = record->place,
	};
	struct audit_before before = {0, 0, AUDIT_NO_ID};
	unsigned found;
	bool good = true;

	if (judged.has_name)
		judged.name = audit_name(event_id);
	found = audit_record(verify->audit, &judged, &before);
	if (found & AUDIT_REPEATED)
		sample(verify, LIST_REPEATED, record, &judged, NULL,
		       found & AUDIT_ELSEWHERE ? &before.event : NULL);
	if ((found & AUDIT_OUT_OF_ORDER) && !pardon(verify, &judged, &before, &good, err))
		sample(verify, LIST_OUT_OF_ORDER, record, &judged, &before, NULL);
	if (found & AUDIT_MISPLACED)
		sample(verify, LIST_MISPLACED, record, &judged, NULL, &before.key);
	/* A later record may be of a row that was inserted since. */
	if ((found & AUDIT_UNKNOWN) && record->offset < verify->settled[record->place])
		verify->unknown++;
	return good;
}

/* In a range nothing is awaited that is much older. */
static bool begin(struct verify *verify, struct error *err)
{
	int64_t from_ms = verify->since.ms; /* 0: not given */

	if (verify->options->from_id != NULL && verify->first_ms != INT64_MAX &&
	    verify->first_ms > from_ms)
		from_ms = verify->first_ms;
	return from_ms < EARLIER_MS ||
	       kafka_reader_begin_at(verify->reader, from_ms - EARLIER_MS, err);
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
