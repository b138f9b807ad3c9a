/* SPDX-License-Identifier: ISC */
/*
 * metrics.c - what the relay counts, and the Prometheus text of it
 */
#include "core/metrics.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double SECONDS[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
				 0.5,	 1,	2,     5,     10,   30,	  60,	300};
static const double EVENTS[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000};

static const char *const PEER_NAMES[PEERS] = {"database", "kafka"};
static const char *const WAKEUP_NAMES[WAKEUPS] = {"bell", "poll", "sweep"};
static const char *const KIND_NAMES[] = {"gauge", "counter", "histogram"};

/* Negative where it could not be read. */
struct process_metrics {
	double resident_memory_bytes;
	double cpu_seconds;
	double open_fds;
	double start_time_seconds; /* since 1970 */
};

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

/* ---- the process, from /proc/self. A hardened unit (ProcSubset=pid) hides /proc/stat. ---- */

/* Reads a small file of /proc as a string. */
static bool read_small(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");
	size_t len;

	if (file == NULL)
		return false;
	len = fread(out, 1, size - 1, file);
	fclose(file);
	out[len] = '\0';
	return len > 0;
}

static double seconds_of(clockid_t id)
{
	struct timespec now;

	if (clock_gettime(id, &now) != 0)
		return -1;
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double resident_memory(void)
{
	char text[256];
	unsigned long pages;

	if (!read_small("/proc/self/statm", text, sizeof(text)) ||
	    sscanf(text, "%*u %lu", &pages) != 1)
		return -1;
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	double count = -1; /* the directory itself is open too */

	if (dir == NULL)
		return -1;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			count++;
	closedir(dir);
	return count;
}

/* Field 22 of stat counts clock ticks from boot; the name in field 2 may hold blanks and brackets.
 */
static double start_time(void)
{
	char text[1024];
	const char *rest;
	unsigned long long ticks;

	if (!read_small("/proc/self/stat", text, sizeof(text)))
		return -1;
	rest = strrchr(text, ')');
	if (rest == NULL || sscanf(rest + 1,
				   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d"
				   " %*d %*d %*d %*d %llu",
				   &ticks) != 1)
		return -1;
	return seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) +
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void process_metrics_read(struct process_metrics *process)
{
	/* Once: the difference of two clocks would wander by a little at each reading. */
	static double started;

	if (started <= 0)
		started = start_time();
	process->resident_memory_bytes = resident_memory();
	process->cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
	process->open_fds = open_fds();
	process->start_time_seconds = started;
}

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

static void plain(FILE *out, const struct metric *metric, const struct sources *from)
{
	const char *base = (const char *)from->metrics;

	print_plain(out, metric, from, *(const double *)(const void *)(base + metric->offset));
}

static void process(FILE *out, const struct metric *metric, const struct sources *from)
{
	const char *base = (const char *)&from->process;
	double value = *(const double *)(const void *)(base + metric->offset);

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

static void retries(FILE *out, const struct metric *metric, const struct sources *from)
{
	for (int peer = 0; peer < PEERS; peer++)
		print_labelled(out, metric, from, "peer", PEER_NAMES[peer],
			       from->metrics->retries[peer]);
}

static void halted(FILE *out, const struct metric *metric, const struct sources *from)
{
	print_plain(out, metric, from, from->metrics->halted);
}

static void paused(FILE *out, const struct metric *metric, const struct sources *from)
{
	print_plain(out, metric, from, from->metrics->paused);
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
	{"outbox_relay_retries_total", COUNTER,
	 "Attempts to work with a peer that had to be repeated.",
	 retries, 0},
	{"outbox_relay_parked_keys", GAUGE,
	 "Keys held back because one of their events cannot be removed from the outbox.",
	 plain, IN_METRICS(parked_keys)},
	{"outbox_relay_dead_letters", GAUGE,
	 "Events in the table of dead letters.",
	 plain, IN_METRICS(dead_letters)},
	{"outbox_relay_latency_seconds", HISTOGRAM,
	 "Time from an event's created_at to its acknowledgement by Kafka.",
	 histogram, IN_METRICS(latency)},
	{"outbox_relay_claim_seconds", HISTOGRAM,
	 "Time to claim events from the database, per batch.",
	 histogram, IN_METRICS(claim)},
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
	 halted, 0},
	{"outbox_relay_paused", GAUGE,
	 "1 while the outbox is paused, 0 if not.",
	 paused, 0},
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
/* clang-format on */

/* ---- counting ---- */

const char *reject_reason_name(enum reject_reason reason)
{
	static const char *const names[REJECT_REASONS] = {
	    [REJECT_NONE] = "none",   [REJECT_TOO_LARGE] = "too_large",
	    [REJECT_TOPIC] = "topic", [REJECT_HEADERS] = "headers",
	    [REJECT_ROUTE] = "route", [REJECT_BROKER] = "broker",
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
	struct histogram *timed[] = {&metrics->latency, &metrics->claim, &metrics->publish,
				     &metrics->settle};

	memset(metrics, 0, sizeof(*metrics));
	metrics->labels = labels_of(database, outbox);
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

char *metrics_print(const struct metrics *metrics, size_t *len)
{
	struct sources from = {.metrics = metrics};
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (out == NULL)
		abort();
	process_metrics_read(&from.process);
	for (size_t i = 0; i < sizeof(METRICS) / sizeof(METRICS[0]); i++) {
		const struct metric *metric = &METRICS[i];

		fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
			metric->name, KIND_NAMES[metric->kind]);
		metric->samples(out, metric, &from);
	}
	if (fclose(out) != 0)
		abort();
	return text;
}
