/* SPDX-License-Identifier: ISC */
/*
 * rejects.c - holds what was rejected and is not to be a dead letter
 *
 * A row that is held is tried again alone, ahead of all others. So one that waits behind another of
 * its key, which the sink gave back or whose topic cannot be used, is not held: it is claimed
 * behind that, and rejected again.
 */
#include "rejects.h"

#include "base/clock.h"
#include "base/xalloc.h"
#include "ids.h"

#include <stdlib.h>

enum { TAG_STILL = TAG_IGNORE + 1 };

struct rejects {
	struct session *session;
	struct asker asker;
	struct opening *opening;
	struct held *held;
	void (*done)(void *owner);
	void *owner;
	const struct event **events; /* owned; those rejected */
	size_t count, answers_left;
};

static const struct event *event_of(const struct rejects *rejects, const struct outbox_hold *row)
{
	struct slice identity = row->identity != NULL ? slice_of(row->identity) : SLICE_NULL;
	for (size_t i = 0; i < rejects->count; i++)
		if (rejects->events[i]->id == row->id &&
		    slice_equal(rejects->events[i]->identity, identity))
			return rejects->events[i];
	return NULL;
}

static bool waits_behind_another(const struct rejects *rejects, const PGresult *result,
				 const struct outbox_hold *row)
{
	for (int i = 0; i < PQntuples(result); i++) {
		struct outbox_hold other = held_row(result, i, row->leaf);
		if (other.key == row->key && other.id < row->id &&
		    event_of(rejects, &other) == NULL)
			return true;
	}
	return false;
}

static void hold(const struct rejects *rejects, const PGresult *result, size_t leaf)
{
	static char nothing[] = "";

	for (int i = 0; i < PQntuples(result); i++) {
		struct outbox_hold row = held_row(result, i, leaf);
		const struct event *event = event_of(rejects, &row);
		if (event == NULL || waits_behind_another(rejects, result, &row))
			continue;
		row.reason = event->reason;
		row.why = event->why != NULL ? event->why : nothing;
		row.tried_us = clock_monotonic_us();
		held_add(rejects->held, &row);
	}
}

static void forget(void *part)
{
	struct rejects *rejects = part;
	free(rejects->events);
	rejects->events = NULL;
	rejects->count = 0;
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct rejects *rejects = part;
	(void)tag;
	hold(rejects, result, session_shape(rejects->session)->leaf_count - rejects->answers_left);
	PQclear(result);
	if (--rejects->answers_left > 0)
		return;
	forget(rejects);
	rejects->done(rejects->owner);
}

void rejects_hold(struct rejects *rejects, const struct batch *batch)
{
	struct outbox_ids_item *items = xcalloc(batch->events + 1, sizeof(*items));
	struct outbox_ids ids;
	struct batch_walk walk;
	size_t count = 0;
	forget(rejects);
	rejects->events = xcalloc(batch->rejected + 1, sizeof(*rejects->events));
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk)) {
		if (e->state == EVENT_REJECTED)
			rejects->events[rejects->count++] = e;
		if (e->state != EVENT_DELIVERED && e->letter == 0)
			items[count++] =
			    (struct outbox_ids_item){.id = e->id, .identity = e->identity};
	}
	outbox_ids_published(&ids, items, count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	opening_prepare_all(rejects->opening);
	rejects->answers_left = session_shape(rejects->session)->leaf_count;
	session_ask_all_leaves(&rejects->asker, TAG_STILL, "still", params, 2);
	session_sync(rejects->session);
	outbox_ids_free(&ids);
	free(items);
}

struct rejects *rejects_new(struct session *session, struct opening *opening, struct held *held,
			    void (*done)(void *owner), void *owner)
{
	static const struct asker_ops ops = {on_answered, NULL, forget};
	struct rejects *rejects = xcalloc(1, sizeof(*rejects));
	rejects->session = session;
	rejects->asker = session_join(session, &ops, rejects);
	rejects->opening = opening;
	rejects->held = held;
	rejects->done = done;
	rejects->owner = owner;
	return rejects;
}

void rejects_free(struct rejects **rejects)
{
	if (*rejects == NULL)
		return;
	forget(*rejects);
	free(*rejects);
	*rejects = NULL;
}
