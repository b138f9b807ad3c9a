/* SPDX-License-Identifier: ISC */
/*
 * arena.c - memory for one event: taken piece by piece, given back all together
 */
#include "arena.h"

#include "base/xalloc.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16 * 1024 };

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	alignas(max_align_t) char bytes[];
};

static void add_block(struct arena *arena, size_t size)
{
	struct arena_block *block;

	if (size < BLOCK)
		size = BLOCK;
	block = xmalloc(sizeof(*block) + size);
	*block = (struct arena_block){.next = arena->blocks, .size = size};
	arena->blocks = block;
}

void *arena_take(struct arena *arena, size_t size)
{
	size_t rounded = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	struct arena_block *block = arena->blocks;
	void *taken;

	if (block == NULL || block->size - block->used < rounded) {
		add_block(arena, rounded);
		block = arena->blocks;
	}
	taken = block->bytes + block->used;
	block->used += rounded;
	memset(taken, 0, rounded);
	return taken;
}

char *arena_copy(struct arena *arena, const char *bytes, size_t len)
{
	char *copy = arena_take(arena, len + 1);

	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

/* The last block of the usual size stays. */
void arena_reset(struct arena *arena)
{
	struct arena_block *block = arena->blocks, *kept = NULL;

	while (block != NULL) {
		struct arena_block *next = block->next;

		if (block->size == BLOCK && kept == NULL)
			kept = block;
		else
			free(block);
		block = next;
	}
	if (kept != NULL) {
		kept->used = 0;
		kept->next = NULL;
	}
	arena->blocks = kept;
}

void arena_free(struct arena *arena)
{
	arena_reset(arena);
	free(arena->blocks);
	arena->blocks = NULL;
}
