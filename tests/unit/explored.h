/* SPDX-License-Identifier: ISC */
/*
 * explored.h - a set of states of fixed size and the queue of those not yet expanded: for model
 * tests
 */
#ifndef OUTBOX_TESTS_EXPLORED_H
#define OUTBOX_TESTS_EXPLORED_H

#include "base/xalloc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct explored {
	size_t size;	      /* of a state; states are compared byte by byte */
	unsigned char *items; /* owned; in the order of discovery */
	size_t count, capacity;
	size_t next;	 /* the first that is not expanded */
	uint32_t *slots; /* owned; index + 1, 0 is free */
	size_t slot_count;
};

static inline uint64_t explored_hash(const unsigned char *bytes, size_t size)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 1099511628211u;
	return hash ^ hash >> 29;
}

static inline size_t explored_slot(const struct explored *set, const unsigned char *item)
{
	size_t slot = explored_hash(item, set->size) & (set->slot_count - 1);

	while (set->slots[slot] != 0 &&
	       memcmp(set->items + (set->slots[slot] - 1) * set->size, item, set->size) != 0)
		slot = (slot + 1) & (set->slot_count - 1);
	return slot;
}

static inline void explored_grow(struct explored *set)
{
	set->capacity = set->capacity ? set->capacity * 2 : 1024;
	set->items = xrealloc(set->items, set->capacity * set->size);
	free(set->slots);
	set->slot_count = set->capacity * 4;
	set->slots = xcalloc(set->slot_count, sizeof(*set->slots));
	for (size_t i = 0; i < set->count; i++)
		set->slots[explored_slot(set, set->items + i * set->size)] = (uint32_t)i + 1;
}

static inline void explored_add(struct explored *set, const void *item)
{
	if (set->count == set->capacity)
		explored_grow(set);
	size_t slot = explored_slot(set, item);
	if (set->slots[slot] != 0)
		return;
	memcpy(set->items + set->count * set->size, item, set->size);
	set->slots[slot] = (uint32_t)++set->count;
}

/* Copies the next state to expand; false when there is none. */
static inline bool explored_take(struct explored *set, void *item)
{
	if (set->next == set->count)
		return false;
	memcpy(item, set->items + set->next++ * set->size, set->size);
	return true;
}

static inline void explored_free(struct explored *set)
{
	free(set->items);
	free(set->slots);
}

#endif
