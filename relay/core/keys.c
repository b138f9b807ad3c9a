/* SPDX-License-Identifier: ISC */
/*
 * keys.c - a set of keys, told apart by a hash
 */
#include "keys.h"

#include "base/xalloc.h"

#include <stdlib.h>

enum { SIZE_FIRST = 64 };

/* 0 is a free slot. */
static uint64_t hash_of(struct slice key)
{
	uint64_t hash = slice_hash(key);
	return hash != 0 ? hash : 1;
}

/* Where it is, or would be: size is a power of two, and one slot at least is free. */
static uint64_t *slot_of(const struct keys *keys, uint64_t hash)
{
	size_t at = (size_t)hash & (keys->size - 1);
	while (keys->slots[at] != 0 && keys->slots[at] != hash)
		at = (at + 1) & (keys->size - 1);
	return &keys->slots[at];
}

static void grow(struct keys *keys)
{
	struct keys more = {.size = keys->size > 0 ? keys->size * 2 : SIZE_FIRST};
	more.slots = xcalloc(more.size, sizeof(*more.slots));
	more.count = keys->count;
	for (size_t i = 0; i < keys->size; i++)
		if (keys->slots[i] != 0)
			*slot_of(&more, keys->slots[i]) = keys->slots[i];
	free(keys->slots);
	*keys = more;
}

void keys_add(struct keys *keys, struct slice key)
{
	if ((keys->count + 1) * 2 > keys->size)
		grow(keys);
	uint64_t hash = hash_of(key), *slot = slot_of(keys, hash);
	keys->count += *slot == 0;
	*slot = hash;
}

bool keys_have(const struct keys *keys, struct slice key)
{
	return keys->count > 0 && *slot_of(keys, hash_of(key)) != 0;
}

void keys_clear(struct keys *keys)
{
	free(keys->slots);
	*keys = (struct keys){0};
}
