/* SPDX-License-Identifier: ISC */
/*
 * metrics.h - what the relay counts, and the Prometheus text of it
 *
 * Every metric stands once, in the table METRICS of metrics.c (name, kind, help, where it is read);
 * the exposition and the lint that holds docs/metrics.md to it come from there. Thread: loop
 * only.
 */
#ifndef OUTBOX_METRICS_H
#define OUTBOX_METRICS_H

#include "base/shards.h"
#include "core/event.h"
#include "core/letters.h"
#include "core/rebuild.h"
#include "core/recent.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS_MAX = 20 };

struct histogram {
	const double *bounds; /* upper bounds, inclusive, ascending; constant */
	size_t bounds_count;
	uint64_t buckets[HISTOGRAM_BUCKETS_MAX + 1]; /* not cumulative; the last used is +Inf */
	double sum;
	uint64_t count;
};

/* Zero counts; bounds must outlive the histogram, at most HISTOGRAM_BUCKETS_MAX. */
void histogram_init(struct histogram *histogram, const double *bounds, size_t bounds_count);

/* A negative value (two clocks disagree) counts as 0: the sum of a histogram may not fall. */
void histogram_observe(struct histogram *histogram, double value);

enum metrics_wakeup { WAKEUP_BELL, WAKEUP_POLL, WAKEUP_SWEEP, WAKEUPS };
enum metrics_peer { PEER_DATABASE, PEER_KAFKA, PEERS };

/* Counters of one topic; owned by struct metrics, the pointer holds for its life. At most
 * METRICS_TOPICS_MAX topics have a record of their own, the rest share one labelled "other". */
enum { METRICS_TOPICS_MAX = 1000 };
struct topic_metrics {
	char *name; /* owned */
	uint64_t published;
	uint64_t rejected[REJECT_REASONS];
};

/* An error code of Kafka that the relay does not know. Of so many a count of their own, the rest
 * share the last one, "other". */
enum { METRICS_UNKNOWN_ERRORS = 16 };
struct unknown_error {
	char code[64]; /* "": unused */
	uint64_t count;
};

struct metrics {
	char *labels; /* owned; of every sample, as they are printed */
	double depth;
	double oldest_age_seconds;
	double position_lag_seconds;   /* negative: no positions */
	struct topic_metrics **topics; /* owned */
	size_t topics_count;
	uint64_t retries[PEERS];
	uint64_t rebuilds[REBUILD_CAUSES]; /* of the producer */
	double fenced;			   /* producers whose place another has taken; a counter */
	double settled_by_ledger;	   /* events; a counter */
	double ledger_lag;  /* batches that the sink has committed, and the source not yet */
	double copies;	    /* of rejected events, that Kafka has acknowledged; a counter */
	double held_keys;   /* that wait behind an event that cannot be removed */
	double parked_keys; /* these, and those behind letters */
	struct letter_gauges letters;
	struct unknown_error unknown_errors[METRICS_UNKNOWN_ERRORS];
	double partitions_ahead; /* negative: not known, or never too few */
	struct histogram latency, claim, publish_wait, publish, settle, batch_events;
	struct shards shards;
	bool connected[PEERS];
	bool halted;	  /* a rejected event stops the relay until it is fixed */
	bool in_doubt;	  /* what of an earlier batch was committed is not known yet */
	bool unconfirmed; /* events wait until what they come from is durable, for long */
	bool paused;	  /* the operator has paused the outbox, as far as a session tells */
	uint64_t wakeups[WAKEUPS];
	struct {		    /* of `verify --continuous` only */
		double sent, lost;  /* counters */
		double up;	    /* whether the last one came back in time */
		double returned_at; /* when one did, in s since 1970; 0: never */
		struct histogram round_trip;
	} canary;
	struct recent recent;			  /* for people; Prometheus computes its own */
	const char *version, *librdkafka, *libpq; /* borrowed */
};

/* Zero, and the bounds of the histograms. database and outbox are copied: the labels that every
 * sample carries, in whatever characters. */
void metrics_init(struct metrics *metrics, const char *database, const char *outbox);
void metrics_fini(struct metrics *metrics);

/* The record of a topic, made at first use. Keep the pointer rather than asking per event. */
struct topic_metrics *metrics_topic(struct metrics *metrics, struct slice name);

/* Counts an error of Kafka that the relay does not know, by its code in words. */
void metrics_unknown_error(struct metrics *metrics, const char *code);

/* The text exposition format 0.0.4 as one malloc'd string (the caller frees it); *len its length.
 */
char *metrics_print(const struct metrics *metrics, size_t *len);
/* Likewise, of a canary. */
char *metrics_print_canary(const struct metrics *metrics, size_t *len);

#endif
