/*
 * holds.c - rows that the database does not let go, and the keys that wait behind them
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
	to->published = published;
	to->released = false;
	return true;
}

void outbox_holds_release(struct outbox_holds *holds, struct outbox_hold *hold)
{
	assert(hold >= holds->items && hold < holds->items + holds->count);
	holds->released += !hold->released;
	hold->released = true;
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
