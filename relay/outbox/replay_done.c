/* SPDX-License-Identifier: ISC */
/*
 * replay_done.c - what a replay has done beyond its position
 */
#include "replay_done.h"

#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

/* A rejected one is left out for good. */
static bool is_done(const struct event *event)
{
	return event->state == EVENT_DELIVERED || event->state == EVENT_REJECTED;
}

static void add(struct replay_done *done, const struct event *event)
{
	char *identity = xmalloc(event->identity.len + 1);
	if (event->identity.len > 0)
		memcpy(identity, event->identity.data, event->identity.len);
	done->items = xrealloc(done->items, (done->count + 1) * sizeof(*done->items));
	done->items[done->count++] =
	    (struct replay_done_item){event->id, {identity, event->identity.len}};
}

void replay_done_forget(struct replay_done *done, int64_t position)
{
	size_t kept = 0;
	for (size_t i = 0; i < done->count; i++) {
		if (done->items[i].id > position)
			done->items[kept++] = done->items[i];
		else
			free((char *)(uintptr_t)done->items[i].identity.data);
	}
	done->count = kept;
	if (kept == 0) {
		free(done->items);
		done->items = NULL;
	}
}

int64_t replay_done_take(struct replay_done *done, const struct batch *batch, int64_t position)
{
	bool whole = true;
	struct batch_walk walk;
	for (struct event *e = batch_first(batch, &walk); e; e = batch_following(&walk)) {
		/* Another row may have the same id. */
		if (whole && !is_done(e))
			position = e->id - 1;
		whole = whole && is_done(e);
		if (whole)
			position = e->id;
		if (is_done(e))
			add(done, e);
	}
	replay_done_forget(done, position);
	return position;
}

static bool has(const struct replay_done *done, const struct event *event)
{
	for (size_t i = 0; i < done->count; i++)
		if (done->items[i].id == event->id &&
		    slice_equal(done->items[i].identity,
				(struct slice){event->identity.data ? event->identity.data : "",
					       event->identity.len}))
			return true;
	return false;
}

void replay_done_leave_out(const struct replay_done *done, struct chunk *chunk)
{
	size_t kept = 0;
	for (size_t i = 0; i < chunk->count && done->count > 0; i++)
		if (!has(done, &chunk->events[i]))
			chunk->events[kept++] = chunk->events[i];
	if (done->count > 0)
		chunk->count = kept;
}
