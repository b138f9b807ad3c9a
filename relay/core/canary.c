/* SPDX-License-Identifier: ISC */
/*
 * canary.c - one event at a time that is inserted, awaited, and back or lost
 */
#include "core/canary.h"

#include <assert.h>

static bool is_same(struct audit_name a, struct audit_name b)
{
	return a.high == b.high && a.low == b.low;
}

static bool end(struct canary *canary)
{
	canary->state = CANARY_RESTS;
	canary->lost_in_row = 0;
	return true;
}

void canary_begin(struct canary *canary, int64_t now_us)
{
	assert(canary->state == CANARY_RESTS);
	canary->state = CANARY_DUE;
	canary->begun_us = now_us;
	canary->arrivals = 0;
}

bool canary_inserted(struct canary *canary, struct audit_name name)
{
	unsigned kept = canary->arrivals < CANARY_KEPT ? canary->arrivals : CANARY_KEPT;

	if (canary->state != CANARY_DUE)
		return false;
	canary->state = CANARY_AWAITED;
	canary->awaited = name;
	for (unsigned i = 0; i < kept; i++)
		if (is_same(canary->arrived[i], name))
			return end(canary);
	return false;
}

bool canary_arrived(struct canary *canary, struct audit_name name)
{
	if (canary->state == CANARY_AWAITED)
		return is_same(canary->awaited, name) && end(canary);
	canary->arrived[canary->arrivals++ % CANARY_KEPT] = name;
	return false;
}

void canary_lose(struct canary *canary)
{
	canary->state = CANARY_RESTS;
	canary->lost_in_row++;
}
