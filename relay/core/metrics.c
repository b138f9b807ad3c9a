/* SPDX-License-Identifier: ISC */
/*
 * metrics.c - what the relay counts, and the Prometheus text of it
 */
#include "core/metrics.h"

#include "base/text.h"
#include "base/xalloc.h"
#include "process_metrics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double SECONDS[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
				 0.5,	 1,	2,     5,     10,   30,	  60,	300};
static const double EVENTS[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000};

static const char *const PEER_NAMES[PEERS] = {"database", "kafka"};
static const char *const WAKEUP_NAMES[WAKEUPS] = {"bell", "poll", "sweep"};
static const char *const CAUSE_NAMES[REBUILD_CAUSES] = {
    [REBUILD_BROKEN] = "broken",   [REBUILD_GIVEN_UP] = "given_up",
    [REBUILD_ABORTED] = "aborted", [REBUILD_IN_DOUBT] = "in_doubt",
    [REBUILD_UNCLEAN] = "unclean", [REBUILD_SESSION] = "session"};
static const char *const KIND_NAMES[] = {"gauge", "counter", "histogram"};

/* What one exposition is made of. */
struct sources {
	const struct metrics *metrics;
	struct process_metrics process;
};

enum kind { GAUGE, COUNTER, HISTOGRAM };

struct metric {
	const char *name;
	enum kind kind;
	const char *help;
	/* Prints the samples of one metric. */
	void (*samples)(FILE *out, const struct metric *metric, const struct sources *from);
	size_t
	    offset; /* of the value in struct sources' parts; unused by those that print labels */
};

/* ---- the text ---- */

/* Any UTF-8 is legal (exposition formats, text-based). Control characters and bytes that belong to
 * no character must not spoil the scrape, whatever a row's routing has produced. */
static void print_label(FILE *out, const char *value)
{
	size_t len;

	for (; *value != '\0'; value += len > 0 ? len : 1) {
		len = text_character(value, 4);
		if (*value == '\\' || *value == '"')
			fprintf(out, "\\%c", *value);
		else if (*value == '\n')
			fputs("\\n", out);
		else if (len == 0 || text_is_control(value, len))
			fputc('?', out);
		else
			fwrite(value, 1, len, out);
	}
}

/* The shortest spelling that reads back as the same number. */
static void print_number(FILE *out, double value)
{
	char text[32];

	if (isnan(value) || isinf(value)) {
		fputs(isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf", out);
		return;
	}
	snprintf(text, sizeof(text), "%.15g", value);
	if (strtod(text, NULL) != value)
		snprintf(text, sizeof(text), "%.17g", value);
	fputs(text, out);
}

/* A sample up to its last label, to be closed by print_value or print_count: end is "" or what
 * follows the metric's name, label and value NULL or the only one beside those of every metric. */
static void print_name(FILE *out, const struct metric *metric, const char *end,
		       const struct sources *from, const char *label, const char *value)
{
	fprintf(out, "%s%s{%s", metric->name, end, from->metrics->labels);
	if (label != NULL && value != NULL) {
		fprintf(out, ",%s=\"", label);
		print_label(out, value);
		fputc('"', out);
	}
}

static void print_value(FILE *out, double value)
{
	fputs("} ", out);
	print_number(out, value);
	fputc('\n', out);
}

static void print_count(FILE *out, uint64_t count)
{
	fprintf(out, "} %llu\n", (unsigned long long)count);
}

static void print_plain(FILE *out, const struct metric *metric, const struct sources *from,
			double value)
{
	print_name(out, metric, "", from, NULL, NULL);
	print_value(out, value);
}

static void print_labelled(FILE *out, const struct metric *metric, const struct sources *from,
			   const char *label, const char *value, uint64_t count)
{
	print_name(out, metric, "", from, label, value);
	print_count(out, count);
}

/* Negative: not known. */
static void plain(FILE *out, const struct metric *metric, const struct sources *from)
{
	double value =
	    *(const double *)(const void *)((const char *)from->metrics + metric->offset);
	if (value >= 0)
		print_plain(out, metric, from, value);
}

static void process(FILE *out, const struct metric *metric, const struct sources *from)
{
	double value =
	    *(const double *)(const void *)((const char *)&from->process + metric->offset);
	if (value >= 0)
		print_plain(out, metric, from, value);
}

static void print_bucket(FILE *out, const struct metric *metric, const struct sources *from,
			 double bound, uint64_t count)
{
	print_name(out, metric, "_bucket", from, NULL, NULL);
	fputs(",le=\"", out);
	print_number(out, bound);
	fputc('"', out);
	print_count(out, count);
}

static void histogram(FILE *out, const struct metric *metric, const struct sources *from)
{
	const char *base = (const char *)from->metrics;
	const struct histogram *h = (const void *)(base + metric->offset);
	uint64_t cumulative = 0;

	for (size_t i = 0; i < h->bounds_count; i++) {
		cumulative += h->buckets[i];
		print_bucket(out, metric, from, h->bounds[i], cumulative);
	}
	print_bucket(out, metric, from, INFINITY, h->count);
	print_name(out, metric, "_sum", from, NULL, NULL);
	print_value(out, h->sum);
	print_name(out, metric, "_count", from, NULL, NULL);
	print_count(out, h->count);
}

static void published(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (size_t i = 0; i < from->metrics->topics_count; i++) {
		const struct topic_metrics *topic = from->metrics->topics[i];

		print_labelled(out, metric, from, "topic", topic->name, topic->published);
	}
}

/* Only the pairs that have been seen: reasons times topics would be mostly zeros. */
static void rejected(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (size_t i = 0; i < from->metrics->topics_count; i++) {
		const struct topic_metrics *topic = from->metrics->topics[i];

		for (int reason = 0; reason < REJECT_REASONS; reason++) {
			if (topic->rejected[reason] == 0)
				continue;
			print_name(out, metric, "", from, "topic", topic->name);
			fprintf(out, ",reason=\"%s\"",
				reject_reason_name((enum reject_reason)reason));
			print_count(out, topic->rejected[reason]);
		}
	}
}

/* Of every reason, so that there is a 0 before the first. */
static void by_reason(FILE *out, const struct metric *metric, const struct sources *from)
{
	const char *base = (const char *)from->metrics;
	const double *values = (const void *)(base + metric->offset);

	for (int reason = REJECT_NONE + 1; reason < REJECT_REASONS; reason++) {
		print_name(out, metric, "", from, "reason",
			   reject_reason_name((enum reject_reason)reason));
		print_value(out, values[reason]);
	}
}

static void unknown_errors(FILE *out, const struct metric *metric, const struct sources *from)
{
	const struct unknown_error *errors = from->metrics->unknown_errors;

	for (int i = 0; i < METRICS_UNKNOWN_ERRORS && errors[i].code[0] != '\0'; i++)
		print_labelled(out, metric, from, "code", errors[i].code, errors[i].count);
}

static void retries(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (int peer = 0; peer < PEERS; peer++)
		print_labelled(out, metric, from, "peer", PEER_NAMES[peer],
			       from->metrics->retries[peer]);
}

static void flag(FILE *out, const struct metric *metric, const struct sources *from)
{
	print_plain(out, metric, from, ((const char *)from->metrics)[metric->offset]);
}

static void connected(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (int peer = 0; peer < PEERS; peer++)
		print_labelled(out, metric, from, "peer", PEER_NAMES[peer],
			       from->metrics->connected[peer]);
}

static void wakeups(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (int cause = 0; cause < WAKEUPS; cause++)
		print_labelled(out, metric, from, "cause", WAKEUP_NAMES[cause],
			       from->metrics->wakeups[cause]);
}

static void rebuilds(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (int cause = 0; cause < REBUILD_CAUSES; cause++)
		print_labelled(out, metric, from, "cause", CAUSE_NAMES[cause],
			       from->metrics->rebuilds[cause]);
}

static void shard_owned(FILE *out, const struct metric *metric, const struct sources *from)
{
	const struct shards *shards = &from->metrics->shards;
	for (int k = 0; k < shards->count; k++) {
		char shard[16];
		snprintf(shard, sizeof(shard), "%d", k);
		print_labelled(out, metric, from, "shard", shard, shards->owned[k]);
	}
}

static void build_info(FILE *out, const struct metric *metric, const struct sources *from)
{
	const struct metrics *metrics = from->metrics;

	print_name(out, metric, "", from, "version", metrics->version ? metrics->version : "");
	fputs(",librdkafka=\"", out);
	print_label(out, metrics->librdkafka ? metrics->librdkafka : "");
	fputs("\",libpq=\"", out);
	print_label(out, metrics->libpq ? metrics->libpq : "");
	fputc('"', out);
	print_count(out, 1);
}

#define IN_METRICS(field) offsetof(struct metrics, field)
#define IN_PROCESS(field) offsetof(struct process_metrics, field)

/* clang-format off */
static const struct metric METRICS[] = {
	{"outbox_relay_depth", GAUGE,
	 "Events waiting in this relay's shards; exact up to a cap, then an estimate.",
	 plain, IN_METRICS(depth)},
	{"outbox_relay_oldest_age_seconds", GAUGE,
	 "Age of the oldest waiting event; 0 when none waits.",
	 plain, IN_METRICS(oldest_age_seconds)},
	{"outbox_relay_published_total", COUNTER,
	 "Events that Kafka has acknowledged.",
	 published, 0},
	{"outbox_relay_rejected_total", COUNTER,
	 "Events that Kafka can never accept.",
	 rejected, 0},
	{"outbox_relay_dead_letter_copies_total", COUNTER,
	 "Copies of rejected events that Kafka has acknowledged.",
	 plain, IN_METRICS(copies)},
	{"outbox_relay_unknown_errors_total", COUNTER,
	 "Errors of Kafka that this version does not know; they reject nothing.",
	 unknown_errors, 0},
	{"outbox_relay_retries_total", COUNTER,
	 "Attempts to work with a peer that had to be repeated.",
	 retries, 0},
	{"outbox_relay_producer_rebuilds_total", COUNTER,
	 "Producers that had to be made anew, by why.",
	 rebuilds, 0},
	{"outbox_relay_producers_fenced_total", COUNTER,
	 "Producers whose place in Kafka another relay has taken; exactly once only.",
	 plain, IN_METRICS(fenced)},
	{"outbox_relay_settled_by_ledger_total", COUNTER,
	 "Events that the ledger has shown to be published; exactly once only.",
	 plain, IN_METRICS(settled_by_ledger)},
	{"outbox_relay_in_doubt", GAUGE,
	 "1 while it is not known which of the last batches were committed, and nothing is published; else 0.",
	 flag, IN_METRICS(in_doubt)},
	{"outbox_relay_ledger_lag", GAUGE,
	 "Batches that Kafka has committed and the database has not settled yet; exactly once only.",
	 plain, IN_METRICS(ledger_lag)},
	{"outbox_relay_parked_keys", GAUGE,
	 "Keys held back because one of their events was rejected, or cannot be removed.",
	 plain, IN_METRICS(parked_keys)},
	{"outbox_relay_held_keys", GAUGE,
	 "Those of them that wait behind an event that cannot be removed.",
	 plain, IN_METRICS(held_keys)},
	{"outbox_relay_parked_keys_by_reason", GAUGE,
	 "Keys held back by a rejected event, by why it was rejected.",
	 by_reason, IN_METRICS(letters.parked.by_reason)},
	{"outbox_relay_parked_events", GAUGE,
	 "Events set aside of keys that a rejected event holds back, that one included.",
	 plain, IN_METRICS(letters.parked.events)},
	{"outbox_relay_parked_oldest_age_seconds", GAUGE,
	 "Age of the oldest event that holds back its key; 0 when none does.",
	 plain, IN_METRICS(letters.parked.oldest_age_seconds)},
	{"outbox_relay_dead_letters", GAUGE,
	 "Events in the table of dead letters that hold back no other.",
	 plain, IN_METRICS(letters.dead)},
	{"outbox_relay_dead_letters_by_reason", GAUGE,
	 "The same, by why they were rejected.",
	 by_reason, IN_METRICS(letters.dead_by_reason)},
	{"outbox_relay_deferred_events", GAUGE,
	 "Events that wait aside for topics that cannot be used.",
	 plain, IN_METRICS(letters.deferred)},
	{"outbox_relay_partitions_ahead", GAUGE,
	 "Partitions by range that begin above where inserts are now; none is told where there is always one.",
	 plain, IN_METRICS(partitions_ahead)},
	{"outbox_relay_position_lag_seconds", GAUGE,
	 "How long the oldest transaction has been open that positions cannot pass; with positions only.",
	 plain, IN_METRICS(position_lag_seconds)},
	{"outbox_relay_latency_seconds", HISTOGRAM,
	 "Time from an event's created_at to its acknowledgement by Kafka.",
	 histogram, IN_METRICS(latency)},
	{"outbox_relay_claim_seconds", HISTOGRAM,
	 "Time to claim events from the database, per batch.",
	 histogram, IN_METRICS(claim)},
	{"outbox_relay_publish_wait_seconds", HISTOGRAM,
	 "Time that claimed events have waited to be durable, as publish_after says, per claim.",
	 histogram, IN_METRICS(publish_wait)},
	{"outbox_relay_publish_seconds", HISTOGRAM,
	 "Time from the first event handed to Kafka to the last acknowledgement, per batch.",
	 histogram, IN_METRICS(publish)},
	{"outbox_relay_settle_seconds", HISTOGRAM,
	 "Time to commit the removal or marking of events, per batch.",
	 histogram, IN_METRICS(settle)},
	{"outbox_relay_batch_events", HISTOGRAM,
	 "Events in a batch.",
	 histogram, IN_METRICS(batch_events)},
	{"outbox_relay_shard_owned", GAUGE,
	 "1 if this relay owns the shard, 0 if not.",
	 shard_owned, 0},
	{"outbox_relay_connected", GAUGE,
	 "1 if the peer can be reached, 0 if not.",
	 connected, 0},
	{"outbox_relay_halted", GAUGE,
	 "1 while a rejected event keeps the relay from publishing, 0 if none does.",
	 flag, IN_METRICS(halted)},
	{"outbox_relay_paused", GAUGE,
	 "1 while the outbox is paused, 0 if not.",
	 flag, IN_METRICS(paused)},
	{"outbox_relay_unconfirmed", GAUGE,
	 "1 while events wait until a flush or standbys have them, for longer than is normal, 0 if none does.",
	 flag, IN_METRICS(unconfirmed)},
	{"outbox_relay_wakeups_total", COUNTER,
	 "Polls of an idle relay that found events, by what caused the poll.",
	 wakeups, 0},
	{"outbox_relay_build_info", GAUGE,
	 "Always 1; the labels have the versions.",
	 build_info, 0},
	{"process_resident_memory_bytes", GAUGE,
	 "Resident memory size in bytes.",
	 process, IN_PROCESS(resident_memory_bytes)},
	{"process_cpu_seconds_total", COUNTER,
	 "User and system CPU time spent in seconds.",
	 process, IN_PROCESS(cpu_seconds)},
	{"process_open_fds", GAUGE,
	 "Number of open file descriptors.",
	 process, IN_PROCESS(open_fds)},
	{"process_start_time_seconds", GAUGE,
	 "Start time of the process since the Unix epoch in seconds.",
	 process, IN_PROCESS(start_time_seconds)},
};

/* No relay has these. */
static const struct metric CANARY_METRICS[] = {
	{"outbox_relay_canary_up", GAUGE,
	 "1 if the last canary came back in time, 0 if not.",
	 plain, IN_METRICS(canary.up)},
	{"outbox_relay_canary_sent_total", COUNTER,
	 "Canaries that were to be inserted.",
	 plain, IN_METRICS(canary.sent)},
	{"outbox_relay_canary_lost_total", COUNTER,
	 "Canaries that did not come back in time.",
	 plain, IN_METRICS(canary.lost)},
	{"outbox_relay_canary_returned_timestamp_seconds", GAUGE,
	 "When a canary last came back, since the Unix epoch in seconds; 0: none has.",
	 plain, IN_METRICS(canary.returned_at)},
	{"outbox_relay_canary_round_trip_seconds", HISTOGRAM,
	 "Time from a canary's INSERT to its record, as a consumer sees it.",
	 histogram, IN_METRICS(canary.round_trip)},
};
/* clang-format on */

/* ---- counting ---- */

void metrics_unknown_error(struct metrics *metrics, const char *code)
{
	struct unknown_error *error = metrics->unknown_errors;
	struct unknown_error *last = error + METRICS_UNKNOWN_ERRORS - 1;

	for (; error < last && error->code[0] != '\0'; error++)
		if (strcmp(error->code, code) == 0)
			break;
	if (error->code[0] == '\0')
		text_print(error->code, sizeof(error->code), "%s", error < last ? code : "other");
	error->count++;
}

const char *reject_reason_name(enum reject_reason reason)
{
	static const char *const names[REJECT_REASONS] = {
	    [REJECT_NONE] = "none",
	    [REJECT_TOO_LARGE] = "too_large",
	    [REJECT_UNREADABLE] = "unreadable",
	    [REJECT_TOPIC] = "topic",
	    [REJECT_KEY] = "key",
	    [REJECT_HEADERS] = "headers",
	    [REJECT_INVALID_RECORD] = "invalid_record",
	    [REJECT_POLICY_VIOLATION] = "policy_violation",
	    [REJECT_ENCODING] = "encoding",
	};

	assert((unsigned)reason < REJECT_REASONS);
	return names[reason];
}

void histogram_init(struct histogram *histogram, const double *bounds, size_t bounds_count)
{
	assert(bounds_count <= HISTOGRAM_BUCKETS_MAX);
	memset(histogram, 0, sizeof(*histogram));
	histogram->bounds = bounds;
	histogram->bounds_count = bounds_count;
}

void histogram_observe(struct histogram *histogram, double value)
{
	size_t i = 0;

	if (!(value > 0))
		value = 0;
	while (i < histogram->bounds_count && value > histogram->bounds[i])
		i++;
	histogram->buckets[i]++;
	histogram->sum += value;
	histogram->count++;
}

/* Once: they stand in each of what may be thousands of lines. */
static char *labels_of(const char *database, const char *outbox)
{
	char *labels = NULL;
	size_t len;
	FILE *out = open_memstream(&labels, &len);

	if (out == NULL)
		abort();
	fputs("database=\"", out);
	print_label(out, database);
	fputs("\",outbox=\"", out);
	print_label(out, outbox);
	fputc('"', out);
	if (fclose(out) != 0)
		abort();
	return labels;
}

void metrics_init(struct metrics *metrics, const char *database, const char *outbox)
{
	struct histogram *timed[] = {&metrics->latency,	     &metrics->claim,
				     &metrics->publish_wait, &metrics->publish,
				     &metrics->settle,	     &metrics->canary.round_trip};

	memset(metrics, 0, sizeof(*metrics));
	metrics->labels = labels_of(database, outbox);
	metrics->partitions_ahead = metrics->position_lag_seconds = -1;
	shards_clear(&metrics->shards, 1);
	for (size_t i = 0; i < sizeof(timed) / sizeof(timed[0]); i++)
		histogram_init(timed[i], SECONDS, sizeof(SECONDS) / sizeof(SECONDS[0]));
	histogram_init(&metrics->batch_events, EVENTS, sizeof(EVENTS) / sizeof(EVENTS[0]));
}

void metrics_fini(struct metrics *metrics)
{
	for (size_t i = 0; i < metrics->topics_count; i++) {
		free(metrics->topics[i]->name);
		free(metrics->topics[i]);
	}
	free(metrics->topics);
	free(metrics->labels);
	memset(metrics, 0, sizeof(*metrics));
}

static struct topic_metrics *find_topic(const struct metrics *metrics, struct slice name)
{
	for (size_t i = 0; i < metrics->topics_count; i++)
		if (slice_equal(slice_of(metrics->topics[i]->name), name))
			return metrics->topics[i];
	return NULL;
}

struct topic_metrics *metrics_topic(struct metrics *metrics, struct slice name)
{
	struct topic_metrics *topic;

	assert(name.data != NULL);
	name.len = strnlen(name.data, name.len);
	topic = find_topic(metrics, name);
	if (topic == NULL && metrics->topics_count >= METRICS_TOPICS_MAX) {
		name = slice_of("other");
		topic = find_topic(metrics, name);
	}
	if (topic != NULL)
		return topic;
	topic = xcalloc(1, sizeof(*topic));
	topic->name = xmalloc(name.len + 1);
	memcpy(topic->name, name.data, name.len);
	topic->name[name.len] = '\0';
	metrics->topics =
	    xrealloc(metrics->topics, (metrics->topics_count + 1) * sizeof(*metrics->topics));
	metrics->topics[metrics->topics_count++] = topic;
	return topic;
}

static char *print_all(const struct metrics *metrics, const struct metric *rows, size_t count,
		       size_t *len)
{
	struct sources from = {.metrics = metrics};
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (out == NULL)
		abort();
	process_metrics_read(&from.process);
	for (size_t i = 0; i < count; i++) {
		const struct metric *metric = &rows[i];

		fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
			metric->name, KIND_NAMES[metric->kind]);
		metric->samples(out, metric, &from);
	}
	if (fclose(out) != 0)
		abort();
	return text;
}

char *metrics_print(const struct metrics *metrics, size_t *len)
{
	return print_all(metrics, METRICS, sizeof(METRICS) / sizeof(METRICS[0]), len);
}

char *metrics_print_canary(const struct metrics *metrics, size_t *len)
{
	return print_all(metrics, CANARY_METRICS,
			 sizeof(CANARY_METRICS) / sizeof(CANARY_METRICS[0]), len);
}
