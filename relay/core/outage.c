/* SPDX-License-Identifier: ISC */
/*
 * outage.c - what is to be said of a peer that cannot be used: few lines, and one when it is back
 */
#include "outage.h"

#include "base/text.h"

#include <string.h>

#define SECONDS(n) (INT64_C(1000000) * (n))

static const int64_t expected_us = SECONDS(5);
static const int64_t first_us = SECONDS(60), last_us = SECONDS(600);
/* A peer comes and goes that is lost so often, each time so soon after it was back. */
static const int64_t calm_us = SECONDS(60);
enum { OFTEN = 3 };
static const int64_t stay_first_us = SECONDS(5), stay_last_us = SECONDS(300);
/* A reason that changes all the time is told so much sooner than one that does not. */
enum { CHANGED_SOONER = 12 };

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void written(struct outage *outage, int64_t now_us, const char *why)
{
	outage->written_us = now_us;
	text_print(outage->why, sizeof(outage->why), "%s", why);
}

static enum outage_line begin(struct outage *outage, int64_t now_us, const char *why)
{
	outage->told = true;
	outage->every_us = first_us;
	outage->why_changed = false;
	written(outage, now_us, why);
	return OUTAGE_BEGAN;
}

static enum outage_line last(struct outage *outage, int64_t now_us, const char *why)
{
	bool same = why[0] == '\0' || strncmp(outage->why, why, sizeof(outage->why) - 1) == 0;
	bool first_change = !same && !outage->why_changed;
	int64_t every = same ? outage->every_us : outage->every_us / CHANGED_SOONER;

	if (!first_change && now_us - outage->written_us < every)
		return OUTAGE_NOTHING;
	if (!first_change)
		outage->every_us = least(2 * outage->every_us, last_us);
	outage->why_changed |= !same;
	written(outage, now_us, why);
	return OUTAGE_LASTS;
}

static void went(struct outage *outage, int64_t now_us)
{
	bool again = outage->back_us != 0 && now_us - outage->back_us < calm_us + outage->stay_us;

	outage->soon = again ? outage->soon + 1 : 0;
	if (outage->soon < OFTEN)
		outage->stay_us = 0;
	else if (outage->stay_us == 0)
		outage->stay_us = stay_first_us;
	else
		outage->stay_us = least(2 * outage->stay_us, stay_last_us);
	outage->since_us = now_us;
	outage->failures = 0;
}

void outage_expect(struct outage *outage, int64_t now_us)
{
	outage->down = true;
	outage->since_us = now_us;
}

enum outage_line outage_failed(struct outage *outage, int64_t now_us, const char *why)
{
	bool was_down = outage->down;

	outage->down = true;
	if (!was_down && !outage->told)
		went(outage, now_us);
	outage->failures++;
	return outage->told ? last(outage, now_us, why) : begin(outage, now_us, why);
}

static enum outage_line end(struct outage *outage, int64_t now_us)
{
	if (!outage->told || now_us - outage->back_us < outage->stay_us)
		return OUTAGE_NOTHING;
	outage->told = false;
	return OUTAGE_ENDED;
}

enum outage_line outage_answered(struct outage *outage, int64_t now_us)
{
	if (outage->down || outage->up_us == 0)
		outage->up_us = now_us;
	if (!outage->down)
		return OUTAGE_NOTHING;
	outage->down = false;
	if (outage->told)
		outage->back_us = now_us;
	return end(outage, now_us);
}

enum outage_line outage_on_time(struct outage *outage, int64_t now_us, const char *why)
{
	if (!outage->down)
		return end(outage, now_us);
	if (outage->told)
		return last(outage, now_us, why);
	if (now_us - outage->since_us < expected_us)
		return OUTAGE_NOTHING;
	return begin(outage, now_us, why);
}

int64_t outage_due_us(const struct outage *outage)
{
	if (outage->down)
		return outage->told ? outage->written_us + outage->every_us
				    : outage->since_us + expected_us;
	return outage->told ? outage->back_us + outage->stay_us : INT64_MAX;
}
