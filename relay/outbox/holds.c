/* SPDX-License-Identifier: ISC */
/*
 * holds.c - rows that do not go, and the keys that wait behind them
 */
#include "holds.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static char *copy(const char *text)
{
	return text != NULL ? xstrdup(text) : NULL;
}

struct outbox_hold *outbox_holds_find(struct outbox_holds *holds, int64_t id, const char *identity)
{
	for (size_t i = 0; i < holds->count; i++)
		if (holds->items[i].id == id && same_text(holds->items[i].identity, identity))
			return &holds->items[i];
	return NULL;
}

static void free_hold(struct outbox_hold *hold)
{
	free(hold->identity);
	free(hold->why);
	free(hold->name);
	free(hold->version);
}

bool outbox_holds_add(struct outbox_holds *holds, const struct outbox_hold *hold)
{
	struct outbox_hold *to = outbox_holds_find(holds, hold->id, hold->identity);
	bool published = hold->published;
	if (to != NULL) {
		published |= to->published;
		holds->released -= to->released;
		free_hold(to);
	} else if (holds->count == HOLDS_MAX) {
		return false;
	} else {
		to = &holds->items[holds->count++];
	}
	*to = *hold;
	to->identity = copy(hold->identity);
	to->why = copy(hold->why);
	to->name = copy(hold->name);
	to->version = copy(hold->version);
	to->published = published;
	to->released = to->due = to->trying = false;
	return true;
}

static void replace(char **text, const char *by)
{
	free(*text);
	*text = copy(by);
}

/* A try that has ended without a verdict, since it was rolled back, is repeated. */
bool outbox_holds_seen(struct outbox_hold *hold, const struct outbox_hold *row, int64_t now_us)
{
	bool stays = hold->key == row->key && hold->leaf == row->leaf;
	hold->due |= hold->trying || !same_text(hold->version, row->version) ||
		     now_us - hold->tried_us >= HOLDS_TRY_US;
	replace(&hold->version, row->version);
	replace(&hold->name, row->name);
	hold->key = row->key;
	hold->leaf = row->leaf;
	return stays;
}

void outbox_holds_doubt(struct outbox_holds *holds)
{
	for (size_t i = 0; i < holds->count; i++) {
		struct outbox_hold *hold = &holds->items[i];
		if (hold->due || hold->trying)
			hold->tried_us = INT64_MIN / 2;
		hold->due = hold->trying = false;
	}
}

static bool waits_behind(const struct outbox_hold *hold, const struct outbox_hold *other, bool all)
{
	return !other->released && !other->published && other->id < hold->id &&
	       (all || other->key == hold->key);
}

struct outbox_hold *outbox_holds_tried(struct outbox_holds *holds)
{
	for (size_t i = 0; i < holds->count; i++)
		if (holds->items[i].trying)
			return &holds->items[i];
	return NULL;
}

struct outbox_hold *outbox_holds_due(struct outbox_holds *holds, bool all)
{
	const struct outbox_hold *tried = outbox_holds_tried(holds);
	if (tried != NULL && !tried->due)
		return NULL;
	for (size_t i = 0; i < holds->count; i++) {
		struct outbox_hold *hold = &holds->items[i];
		bool first = hold->due && !hold->released;
		for (size_t j = 0; j < holds->count && first; j++)
			first = !waits_behind(hold, &holds->items[j], all);
		if (first)
			return hold;
	}
	return NULL;
}

void outbox_holds_try(struct outbox_holds *holds, struct outbox_hold *hold, int64_t now_us)
{
	outbox_holds_end_try(holds);
	hold->due = false;
	hold->trying = true;
	hold->tried_us = now_us;
}

void outbox_holds_end_try(struct outbox_holds *holds)
{
	struct outbox_hold *hold = outbox_holds_tried(holds);
	if (hold != NULL)
		hold->trying = false;
}

void outbox_holds_release(struct outbox_holds *holds, struct outbox_hold *hold)
{
	assert(hold >= holds->items && hold < holds->items + holds->count);
	holds->released += !hold->released;
	hold->released = true;
	hold->trying = false;
}

void outbox_holds_forget(struct outbox_holds *holds, struct outbox_hold *hold)
{
	outbox_holds_release(holds, hold);
	holds->released--;
	free_hold(hold);
	holds->count--;
	memmove(hold, hold + 1, (size_t)(&holds->items[holds->count] - hold) * sizeof(*hold));
}

void outbox_holds_drop_released(struct outbox_holds *holds)
{
	size_t kept = 0;
	for (size_t i = 0; i < holds->count; i++) {
		if (holds->items[i].released)
			free_hold(&holds->items[i]);
		else
			holds->items[kept++] = holds->items[i];
	}
	holds->count = kept;
	holds->released = 0;
}

struct outbox_hold *outbox_holds_next(struct outbox_holds *holds)
{
	for (size_t tried = 0; tried < holds->count; tried++) {
		struct outbox_hold *hold = &holds->items[holds->cursor++ % holds->count];
		if (!hold->released)
			return hold;
	}
	return NULL;
}

size_t outbox_holds_waiting(const struct outbox_holds *holds)
{
	return holds->count - holds->released;
}

char *outbox_holds_text(const struct outbox_holds *holds, bool by_id)
{
	enum { NUMBER = 24 };
	if (holds->count == 0)
		return NULL;
	char *text = xmalloc(holds->count * NUMBER + 2), *at = text;
	for (size_t i = 0; i < holds->count; i++) {
		int64_t number = by_id ? holds->items[i].id : holds->items[i].key;
		at += snprintf(at, NUMBER, "%c%lld", i == 0 ? '{' : ',', (long long)number);
	}
	snprintf(at, 2, "}");
	return text;
}

void outbox_holds_clear(struct outbox_holds *holds)
{
	for (size_t i = 0; i < holds->count; i++)
		free_hold(&holds->items[i]);
	*holds = (struct outbox_holds){0};
}
