/* SPDX-License-Identifier: ISC */
/*
 * hashed.c - a set of items of a few bytes, for millions of them
 *
 * Open addressing with linear probing: an empty slot has a key of zeros.
 */
#include "hashed.h"

#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 };

/* The finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
 */
uint64_t hashed_mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

uint64_t hashed_slice(struct slice text, uint64_t seed)
{
	uint64_t state = hashed_mix(seed + text.len + (text.data == NULL)), word;

	for (size_t i = 0; text.data != NULL && i < text.len; i += 8) {
		word = 0;
		memcpy(&word, text.data + i, text.len - i < 8 ? text.len - i : 8);
		state = hashed_mix(state ^ word) + seed;
	}
	return state;
}

void hashed_init(struct hashed *set, size_t item_size, size_t key_words)
{
	memset(set, 0, sizeof(*set));
	set->item_size = item_size;
	set->key_words = key_words;
}

void hashed_fini(struct hashed *set)
{
	for (size_t i = 0; i < HASHED_STRIPES; i++)
		free(set->stripes[i].items);
	memset(set, 0, sizeof(*set));
}

static uint64_t hash_of(const struct hashed *set, const uint64_t *key)
{
	return hashed_mix(set->key_words == 2 ? hashed_mix(key[0]) ^ key[1] : key[0]);
}

static bool is_key(const struct hashed *set, const uint64_t *item, const uint64_t *key)
{
	return item[0] == key[0] && (set->key_words == 1 || item[1] == key[1]);
}

static bool is_empty(const struct hashed *set, const uint64_t *item)
{
	return is_key(set, item, (const uint64_t[]){0, 0});
}

static void *item_at(const struct hashed *set, const struct hashed_stripe *stripe, size_t slot)
{
	return stripe->items + slot * set->item_size;
}

/* The item with this key, or the empty slot where it belongs. */
static void *find_slot(const struct hashed *set, const struct hashed_stripe *stripe,
		       const uint64_t *key, uint64_t hash)
{
	size_t slot = (size_t)(((hash & UINT32_MAX) * stripe->capacity) >> 32);
	uint64_t *item = item_at(set, stripe, slot);

	while (!is_key(set, item, key) && !is_empty(set, item)) {
		slot = slot + 1 < stripe->capacity ? slot + 1 : 0;
		item = item_at(set, stripe, slot);
	}
	return item;
}

static void grow(const struct hashed *set, struct hashed_stripe *stripe)
{
	struct hashed_stripe old = *stripe;

	stripe->capacity = old.capacity == 0 ? FIRST_CAPACITY : old.capacity + old.capacity / 2;
	stripe->items = xcalloc(stripe->capacity, set->item_size);
	for (size_t i = 0; i < old.capacity; i++) {
		const uint64_t *item = item_at(set, &old, i);

		if (!is_empty(set, item))
			memcpy(find_slot(set, stripe, item, hash_of(set, item)), item,
			       set->item_size);
	}
	free(old.items);
}

void *hashed_find(const struct hashed *set, const uint64_t *key)
{
	uint64_t hash = hash_of(set, key);
	const struct hashed_stripe *stripe = &set->stripes[hash >> 56];
	void *item = stripe->capacity > 0 ? find_slot(set, stripe, key, hash) : NULL;

	return item == NULL || is_empty(set, item) ? NULL : item;
}

void *hashed_add(struct hashed *set, const uint64_t *key)
{
	uint64_t hash = hash_of(set, key);
	struct hashed_stripe *stripe = &set->stripes[hash >> 56];
	void *item = hashed_find(set, key);

	if (item != NULL)
		return item;
	if (4 * (stripe->count + 1) > 3 * stripe->capacity)
		grow(set, stripe);
	item = find_slot(set, stripe, key, hash);
	memcpy(item, key, set->key_words * sizeof(*key));
	stripe->count++;
	return item;
}

void hashed_each(const struct hashed *set, void (*each)(void *arg, void *item), void *arg)
{
	for (size_t i = 0; i < HASHED_STRIPES; i++)
		for (size_t slot = 0; slot < set->stripes[i].capacity; slot++) {
			void *item = item_at(set, &set->stripes[i], slot);

			if (!is_empty(set, item))
				each(arg, item);
		}
}

size_t hashed_bytes(const struct hashed *set)
{
	size_t slots = 0;

	for (size_t i = 0; i < HASHED_STRIPES; i++)
		slots += set->stripes[i].capacity;
	return slots * set->item_size;
}
