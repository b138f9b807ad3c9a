/*
 * histogram.c - counts of values by size
 */
#include "base/histogram.h"

#include <assert.h>
#include <string.h>

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
