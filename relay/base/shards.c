/* SPDX-License-Identifier: ISC */
/*
 * shards.c - which shards of how many
 */
#include "base/shards.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <string.h>

void shards_clear(struct shards *shards, int count)
{
	memset(shards, 0, sizeof(*shards));
	shards->count = count;
}

int shards_owned(const struct shards *shards)
{
	int owned = 0;
	for (int k = 0; k < shards->count; k++)
		owned += shards->owned[k];
	return owned;
}

int shards_only(const struct shards *shards)
{
	int k = 0;
	if (shards_owned(shards) != 1)
		return -1;
	while (!shards->owned[k])
		k++;
	return k;
}

char *shards_text(const struct shards *shards)
{
	size_t room = (size_t)shards->count * 5 + 3; /* "1023," */
	char *text = xmalloc(room), *at = text;
	*at++ = '{';
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k])
			at += snprintf(at, room - (size_t)(at - text), "%s%d",
				       at == text + 1 ? "" : ",", k);
	*at++ = '}';
	*at = '\0';
	return text;
}

bool shards_equal(const struct shards *a, const struct shards *b)
{
	return a->count == b->count &&
	       memcmp(a->owned, b->owned, (size_t)a->count * sizeof(a->owned[0])) == 0;
}

bool shards_overlap(const struct shards *a, const struct shards *b)
{
	for (int k = 0; k < a->count && k < b->count; k++)
		if (a->owned[k] && b->owned[k])
			return true;
	return false;
}
