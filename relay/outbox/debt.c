/*
 * debt.c - events whose removal is committed but not yet durable
 */
#include "debt.h"

#include <assert.h>

bool outbox_debt_has_room(const struct outbox_debt *debt, size_t events)
{
	return debt->count < DEBT_BATCHES_MAX && debt->events + events <= DEBT_EVENTS_MAX;
}

void outbox_debt_add(struct outbox_debt *debt, const struct batch *batch)
{
	assert(outbox_debt_has_room(debt, batch->delivered));
	struct outbox_ids *ids = &debt->batches[debt->count++];
	outbox_ids_delivered(ids, batch);
	debt->events += ids->count;
}

void outbox_debt_clear(struct outbox_debt *debt)
{
	for (size_t i = 0; i < debt->count; i++)
		outbox_ids_free(&debt->batches[i]);
	debt->count = debt->events = 0;
}
