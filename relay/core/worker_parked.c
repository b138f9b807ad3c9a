/* SPDX-License-Identifier: ISC */
/*
 * worker_parked.c - keys that wait for an event of the batch that was rejected
 */
#include "worker_internal.h"

#include "base/failpoints.h"

void worker_park(struct worker *worker, struct event *event)
{
	struct slice key = SLICE_NULL;
	if (worker->engine.options.policy == REJECT_PARKS)
		key = route_key(worker->route, event);
	event->parks = key.data != NULL;
	if (event->parks)
		keys_add(&worker->parked, key);
}

bool worker_parked(struct worker *worker, const struct event *event)
{
	if (worker->parked.count == 0 || PLANTED("passes-parked"))
		return false;
	struct slice key = route_key(worker->route, event);
	return key.data != NULL && keys_have(&worker->parked, key);
}

void worker_put_back_others(struct worker *worker)
{
	struct keys firsts = {0};
	struct batch *batch = &worker->batch;
	struct batch_walk walk;
	if (batch->rejected + batch->deferred == 0 ||
	    batch->rejected + batch->deferred + batch->returned + batch->passed < 2)
		return;
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk)) {
		bool parks = e->state == EVENT_REJECTED && e->parks && e->letter == 0;
		bool defers = e->state == EVENT_DEFERRED && e->letter == 0;
		bool goes_back = e->state == EVENT_RETURNED || e->state == EVENT_CLAIMED;
		if (!goes_back && !parks && !defers)
			continue;
		struct slice key = route_key(worker->route, e);
		if ((parks || defers) && key.data != NULL && keys_have(&firsts, key))
			batch_put_back(batch, e);
		else if (!defers && key.data != NULL)
			keys_add(&firsts, key);
	}
	keys_clear(&firsts);
}
