/* SPDX-License-Identifier: ISC */
/*
 * horizon.c - the low watermark: an id under which a claim need not look
 */
#include "horizon.h"

#include "base/failpoints.h"

#include <string.h>

/* A reading costs about as much as walking a few thousand dead index entries. */
enum { PAYS_WALKED = 2000, PAYS_SOONEST_US = 50 * 1000, PAYS_LATEST_US = 1000 * 1000 };

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void horizon_reset(struct horizon *horizon)
{
	memset(horizon, 0, sizeof(*horizon));
}

static void start(struct horizon *horizon, int64_t drawn, const struct writers *writers)
{
	horizon->high_watermark = drawn == DRAWN_UNKNOWN ? horizon->last : drawn;
	horizon->writers = *writers;
	horizon->walked = 0;
}

bool horizon_observed(struct horizon *horizon, int64_t drawn, const struct writers *writers,
		      int64_t now_us)
{
	/* The ids have been set back (TRUNCATE ... RESTART IDENTITY): all that was known is void,
	 * and so is the answer of a claim above a low watermark that was never there. */
	if (drawn != DRAWN_UNKNOWN && drawn < horizon->low_watermark) {
		horizon_reset(horizon);
		return false;
	}
	horizon->read_us = now_us;
	if (horizon->stage == HORIZON_WAITING)
		writers_keep(&horizon->writers, writers);
	else
		start(horizon, drawn, writers);
	bool done = writers_none(&horizon->writers);
	if (PLANTED("floor-past-writers"))
		done = true;
	horizon->stage = done ? HORIZON_OPEN : HORIZON_WAITING;
	return true;
}

void horizon_claimed(struct horizon *horizon, int64_t count, int64_t last, int64_t upto)
{
	if (count > 0)
		horizon->last = max64(horizon->last, last);
	if (horizon->stage == HORIZON_OPEN)
		horizon->low_watermark =
		    max64(horizon->low_watermark, min64(upto, horizon->high_watermark));
	if (horizon->stage != HORIZON_OPEN || last > horizon->high_watermark || upto == 0)
		horizon->walked += count;
}

bool horizon_wants(const struct horizon *horizon, int64_t now_us)
{
	int64_t since = now_us - horizon->read_us;
	if (horizon->stage == HORIZON_NONE)
		return true;
	if (horizon->walked >= PAYS_WALKED)
		return since >= PAYS_SOONEST_US;
	return horizon->walked > 0 && since >= PAYS_LATEST_US;
}
