/* SPDX-License-Identifier: ISC */
/*
 * recent.h - how many events a second, and how long they took, within the last minute
 *
 * Events are counted by the second in which they were acknowledged, and by latency within it. So
 * nothing has to run while none come, and whoever asks adds up the seconds that he means.
 *
 * Latencies are kept in classes: 128 us wide below 1 ms, above it an eighth of a power of two. The
 * middle of a class stands for its values, so a percentile is at most 6 % from an event's true
 * latency (64 us below 1 ms). Above 9 hours they all count as the last class.
 *
 * Pure. Thread: loop.
 */
#ifndef OUTBOX_CORE_RECENT_H
#define OUTBOX_CORE_RECENT_H

#include <stddef.h>
#include <stdint.h>

enum { RECENT_SECONDS = 60, RECENT_CLASSES = 208 };

/* Of the monotonic clock. */
struct recent_second {
	int64_t second;
	uint32_t events;
	uint32_t by_latency[RECENT_CLASSES]; /* of those whose latency is known */
};

/* Zeroed: no event yet. The second that is not over yet has a place too. */
struct recent {
	struct recent_second seconds[RECENT_SECONDS + 1];
};

/* One event was acknowledged. latency_us: negative if it is not known. */
void recent_event(struct recent *recent, int64_t now_us, int64_t latency_us);

/* Events a second in so many whole seconds before this one, at most RECENT_SECONDS; in fewer, if
 * counting began at since_us. */
double recent_rate(const struct recent *recent, int64_t now_us, int64_t since_us, int seconds);

struct recent_latency {
	uint64_t events;      /* whose latency is known, in the last minute and this second */
	double p50, p95, p99; /* in seconds; 0 if there are none */
};

struct recent_latency recent_latency(const struct recent *recent, int64_t now_us);

#endif
