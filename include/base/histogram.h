/*
 * histogram.h - counts of values by size, as Prometheus understands them
 */
#ifndef OUTBOX_HISTOGRAM_H
#define OUTBOX_HISTOGRAM_H

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

#endif
