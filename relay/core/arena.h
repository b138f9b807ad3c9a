/* SPDX-License-Identifier: ISC */
/*
 * arena.h - memory for one event: taken piece by piece, given back all together
 *
 * Thread: any, but one at a time for an arena.
 */
#ifndef OUTBOX_CORE_ARENA_H
#define OUTBOX_CORE_ARENA_H

#include <stddef.h>

struct arena_block;

/* Zero it before first use. */
struct arena {
	struct arena_block *blocks; /* owned; the one that is filled is the first */
};

/* Zeroed, aligned for anything, and the arena's; never NULL. */
void *arena_take(struct arena *arena, size_t size);
char *arena_copy(struct arena *arena, const char *bytes, size_t len); /* terminated */

/* Forgets all, and keeps some memory for the next event. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

#endif
