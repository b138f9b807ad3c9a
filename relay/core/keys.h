/* SPDX-License-Identifier: ISC */
/*
 * keys.h - a set of keys, told apart by a hash
 *
 * Two keys may have the same hash: then they are one to it. Whoever asks loses nothing but time if
 * an event waits that need not. Pure. Thread: any, but one at a time.
 */
#ifndef OUTBOX_CORE_KEYS_H
#define OUTBOX_CORE_KEYS_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: empty. */
struct keys {
	uint64_t *slots; /* owned; 0: free */
	size_t count, size;
};

void keys_add(struct keys *keys, struct slice key);
bool keys_have(const struct keys *keys, struct slice key);
void keys_clear(struct keys *keys);

#endif
