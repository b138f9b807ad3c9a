/* SPDX-License-Identifier: ISC */
/*
 * writers.c - a set of transactions that may yet commit an event
 */
#include "writers.h"

#include <stdlib.h>

void writers_clear(struct writers *writers)
{
	writers->count = 0;
	writers->overflow = false;
}

void writers_add(struct writers *writers, uint64_t writer)
{
	if (writers->count == WRITERS_MAX)
		writers->overflow = true;
	else
		writers->items[writers->count++] = writer;
}

static bool contains(const struct writers *writers, uint64_t writer)
{
	for (size_t i = 0; i < writers->count; i++)
		if (writers->items[i] == writer)
			return true;
	return false;
}

void writers_keep(struct writers *writers, const struct writers *now)
{
	if (writers->overflow) {
		/* Which ones did not fit is not known: whoever writes now may have been one of
		 * them. */
		*writers = *now;
		return;
	}
	if (now->overflow)
		return;
	size_t kept = 0;
	for (size_t i = 0; i < writers->count; i++)
		if (contains(now, writers->items[i]))
			writers->items[kept++] = writers->items[i];
	writers->count = kept;
}

bool writers_none(const struct writers *writers)
{
	return writers->count == 0 && !writers->overflow;
}

bool writers_parse(const char *text, uint64_t *writer)
{
	char *end;
	long backend = strtol(text, &end, 10);
	if (end == text || *end != '/' || backend < INT32_MIN || backend > INT32_MAX)
		return false;
	const char *local = end + 1;
	unsigned long id = strtoul(local, &end, 10);
	if (end == local || *end != '\0' || id > UINT32_MAX)
		return false;
	*writer = (uint64_t)(uint32_t)backend << 32 | id;
	return true;
}
