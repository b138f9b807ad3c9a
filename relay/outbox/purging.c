/* SPDX-License-Identifier: ISC */
/*
 * purging.c - where to go on with deleting old rows, and how many at a time while some of them
 * cannot be deleted
 */
#include "purging.h"

enum { SHARE = 200, RARER = 30 };
static const int64_t restart_us = INT64_C(600) * 1000 * 1000;

/* What the round before has shown. */
static void learn(struct purging *purging)
{
	if (purging->refused)
		purging->bound = purging->rows;
	else if (purging->bound > 0)
		purging->bound -= purging->rows;
	if (purging->bound != 1)
		return;
	purging->bound = 0;
	purging->passed++;
}

/* Quickly down at first: mostly there are far fewer rows than could be deleted. */
static int next(int bound, int most)
{
	if (bound == 0)
		return most;
	return bound > 64 ? bound / 8 : (bound + 1) / 2;
}

static void restart(struct purging *purging, int64_t now_us)
{
	purging->above = INT64_MIN;
	purging->passed = purging->bound = 0;
	purging->restarts = true;
	purging->walked_us = 0;
	purging->restart_at_us = now_us + restart_us;
}

bool purging_plan(struct purging *purging, int most, int64_t now_us)
{
	learn(purging);
	if (now_us >= purging->restart_at_us)
		restart(purging, now_us);
	purging->rows = next(purging->bound, most);
	purging->refused = false;
	purging->begun_us = now_us;
	return purging->passed <= PURGING_PASSED_MAX;
}

/* A walk from the first row takes one part of the time in so many. */
static void rest(struct purging *purging, int64_t now_us)
{
	purging->walked_us += now_us - purging->begun_us;
	int64_t rest_us = purging->walked_us * SHARE;
	if (rest_us > restart_us * RARER)
		rest_us = restart_us * RARER;
	if (now_us + rest_us > purging->restart_at_us)
		purging->restart_at_us = now_us + rest_us;
}

void purging_done(struct purging *purging, int64_t upto, bool walks, int64_t now_us)
{
	if (purging->restarts)
		rest(purging, now_us);
	purging->restarts = purging->restarts && walks;
	if (walks)
		purging->rows = 0; /* none was tried */
	if (upto <= purging->above)
		return;
	purging->above = upto;
	purging->passed = 0; /* they are below that */
}
