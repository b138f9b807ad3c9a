/* SPDX-License-Identifier: ISC */
/*
 * writer_masks.h - writers by their bits, 1 << 0 being writer 1: for model tests
 */
#ifndef OUTBOX_TESTS_WRITER_MASKS_H
#define OUTBOX_TESTS_WRITER_MASKS_H

#include "outbox/writers.h"

static inline void set_of(struct writers *writers, unsigned mask)
{
	writers_clear(writers);
	for (unsigned w = 0; mask >> w != 0; w++)
		if (mask & 1u << w)
			writers_add(writers, w + 1);
}

static inline uint8_t mask_of(const struct writers *writers)
{
	unsigned mask = 0;

	for (size_t i = 0; i < writers->count; i++)
		mask |= 1u << (writers->items[i] - 1);
	return (uint8_t)mask;
}

/* Those whose phase is one of from to to. */
static inline unsigned in_phases(const uint8_t *phases, unsigned count, unsigned from, unsigned to)
{
	unsigned mask = 0;

	for (unsigned w = 0; w < count; w++)
		if (phases[w] >= from && phases[w] <= to)
			mask |= 1u << w;
	return mask;
}

#endif
