/* SPDX-License-Identifier: ISC */
/*
 * purging.c - how many old rows to delete at a time while some of them cannot be deleted
 */
#include "purging.h"

static const int64_t again_us = INT64_C(600) * 1000 * 1000;

/* What the round before has shown. */
static void learn(struct purging *purging, int64_t now_us)
{
	if (purging->refused)
		purging->bound = purging->rows;
	else if (purging->bound > 0)
		purging->bound -= purging->rows;
	if (purging->bound != 1)
		return;
	purging->bound = 0;
	if (purging->passed++ == 0)
		purging->again_at_us = now_us + again_us;
}

/* Quickly down at first: mostly there are far fewer rows than could be deleted. */
static int next(int bound, int most)
{
	if (bound == 0)
		return most;
	return bound > 64 ? bound / 8 : (bound + 1) / 2;
}

bool purging_plan(struct purging *purging, int most, int64_t now_us)
{
	learn(purging, now_us);
	if (purging->passed > 0 && now_us >= purging->again_at_us)
		purging->passed = purging->bound = 0;
	purging->rows = next(purging->bound, most);
	purging->refused = false;
	return purging->passed <= PURGING_PASSED_MAX;
}
