/* SPDX-License-Identifier: ISC */
/*
 * hashed.h - a set of items of a few bytes, for millions of them
 *
 * An item begins with its key, of one or two uint64_t that are not all zero. The items lie in
 * stripes, each a table of its own that grows by itself: growing takes no second copy of them all.
 */
#ifndef OUTBOX_CORE_HASHED_H
#define OUTBOX_CORE_HASHED_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HASHED_STRIPES = 256 };

struct hashed {
	size_t item_size, key_words; /* 1 or 2 */
	struct hashed_stripe {
		unsigned char *items; /* owned */
		size_t capacity, count;
	} stripes[HASHED_STRIPES];
};

void hashed_init(struct hashed *set, size_t item_size, size_t key_words);
void hashed_fini(struct hashed *set);

/* NULL: not in it. Holds until the next hashed_add. */
void *hashed_find(const struct hashed *set, const uint64_t *key);
/* The item with this key; if it was not in it, all but the key is zero. */
void *hashed_add(struct hashed *set, const uint64_t *key);
/* Calls each for every item; nothing may be added meanwhile. */
void hashed_each(const struct hashed *set, void (*each)(void *arg, void *item), void *arg);
size_t hashed_bytes(const struct hashed *set);

/* A good mixture of 64 bits. */
uint64_t hashed_mix(uint64_t value);
/* The same of a text; SLICE_NULL is another one than an empty text. */
uint64_t hashed_slice(struct slice text, uint64_t seed);

#endif
