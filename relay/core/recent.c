/* SPDX-License-Identifier: ISC */
/*
 * recent.c - how many events a second, and how long they took, within the last minute
 */
#include "core/recent.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum { SECOND_US = 1000 * 1000, UNIT_US = 128, STEP_BITS = 3, STEPS = 1 << STEP_BITS };

/* As an HDR histogram has them: STEPS of one unit each, then STEPS in each power of two. */
static size_t class_of(int64_t latency_us)
{
	uint64_t units = latency_us > 0 ? (uint64_t)latency_us / UNIT_US : 0;
	if (units < STEPS)
		return (size_t)units;
	unsigned shift = 63 - (unsigned)__builtin_clzll(units) - STEP_BITS;
	size_t class = ((size_t)shift + 1) * STEPS + (size_t)(units >> shift) % STEPS;
	return class < RECENT_CLASSES ? class : RECENT_CLASSES - 1;
}

static double middle_of(size_t class)
{
	size_t shift = class < STEPS ? 0 : class / STEPS - 1;
	double units = (double)(class < STEPS ? class : STEPS + class % STEPS) + 0.5;
	return units * (double)((uint64_t)UNIT_US << shift) / (double)SECOND_US;
}

void recent_event(struct recent *recent, int64_t now_us, int64_t latency_us)
{
	int64_t second = now_us / SECOND_US;
	struct recent_second *at = &recent->seconds[second % (RECENT_SECONDS + 1)];
	if (at->second != second) {
		memset(at, 0, sizeof(*at));
		at->second = second;
	}
	at->events++;
	if (latency_us >= 0)
		at->by_latency[class_of(latency_us)]++;
}

/* Of so many seconds before this one, and this one if it is meant. */
static bool is_within(const struct recent_second *at, int64_t now_us, int64_t seconds, bool now_too)
{
	int64_t before = now_us / SECOND_US - at->second;
	return before <= seconds && before >= (now_too ? 0 : 1);
}

double recent_rate(const struct recent *recent, int64_t now_us, int64_t since_us, int seconds)
{
	int64_t known = now_us / SECOND_US - since_us / SECOND_US;
	uint64_t events = 0;
	assert(seconds > 0 && seconds <= RECENT_SECONDS);
	if (known > seconds)
		known = seconds;
	for (size_t i = 0; i <= RECENT_SECONDS; i++)
		if (is_within(&recent->seconds[i], now_us, known, false))
			events += recent->seconds[i].events;
	return known > 0 ? (double)events / (double)known : 0;
}

/* The class that holds the event at this rank, counted from the fastest. */
static double at_rank(const uint64_t *by_latency, double rank)
{
	uint64_t seen = 0;
	for (size_t i = 0; i < RECENT_CLASSES; i++) {
		seen += by_latency[i];
		if (seen > 0 && (double)seen >= rank)
			return middle_of(i);
	}
	return 0;
}

struct recent_latency recent_latency(const struct recent *recent, int64_t now_us)
{
	struct recent_latency latency = {0};
	uint64_t by_latency[RECENT_CLASSES] = {0};
	for (size_t i = 0; i <= RECENT_SECONDS; i++) {
		if (!is_within(&recent->seconds[i], now_us, RECENT_SECONDS, true))
			continue;
		for (size_t class = 0; class < RECENT_CLASSES; class ++) {
			by_latency[class] += recent->seconds[i].by_latency[class];
			latency.events += recent->seconds[i].by_latency[class];
		}
	}
	latency.p50 = at_rank(by_latency, 0.50 * (double)latency.events);
	latency.p95 = at_rank(by_latency, 0.95 * (double)latency.events);
	latency.p99 = at_rank(by_latency, 0.99 * (double)latency.events);
	return latency;
}
