/* SPDX-License-Identifier: ISC */
/*
 * shards.h - which shards of how many: the part of the outbox that a relay owns
 *
 * Pure. Thread: any. A shard is all keys with hash(key) mod count = k; on a partitioned outbox it
 * is the k-th partition.
 */
#ifndef OUTBOX_SHARDS_H
#define OUTBOX_SHARDS_H

#include <stdbool.h>
#include <stddef.h>

enum { SHARDS_MAX = 1024 };

struct shards {
	int count; /* 1 to SHARDS_MAX; 0: not known yet */
	bool owned[SHARDS_MAX];
};

/* None of count is owned. */
void shards_clear(struct shards *shards, int count);

int shards_owned(const struct shards *shards); /* how many */
int shards_only(const struct shards *shards);  /* which, if it is one; otherwise -1 */

bool shards_equal(const struct shards *a, const struct shards *b);
/* Whether one of them is owned in both. */
bool shards_overlap(const struct shards *a, const struct shards *b);

/* As an array of Postgres, "{0,3}"; malloc'd, the caller's. */
char *shards_text(const struct shards *shards);

#endif
