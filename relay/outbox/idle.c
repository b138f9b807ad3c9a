/* SPDX-License-Identifier: ISC */
/*
 * idle.c - when to look again after the source ran dry
 */
#include "idle.h"

/* Eight milliseconds in all: a stream of 200 events/s and more is served without a ring. Close
 * together at first, since there they are an event's latency: at 500 events/s the next one is two
 * milliseconds away. */
static const int64_t short_us[] = {100, 200, 300, 500, 900, 2000, 4000};
enum { SHORT_POLLS = sizeof(short_us) / sizeof(short_us[0]) };

/* For each surplus ring the bell is armed two such looks later. */
enum { SURPLUS_US = 10 * 1000, SURPLUS_MOST = 8 };

enum { WATCH_FIRST_US = 1000, PAUSE_MOST_US = 20 * 1000 };

void idle_reset(struct idle *idle, bool has_bell, int64_t poll_us)
{
	*idle = (struct idle){.state = IDLE_AWAKE, .has_bell = has_bell, .poll_us = poll_us};
}

static void enter(struct idle *idle, enum idle_state state)
{
	idle->state = state;
	idle->step = 0;
}

static struct idle_rest sleep_on(struct idle *idle)
{
	enter(idle, IDLE_ASLEEP);
	return (struct idle_rest){.after_us = idle->poll_us};
}

static struct idle_rest watch(struct idle *idle, int64_t now_us)
{
	enter(idle, IDLE_WATCHING);
	idle->watching_us = now_us;
	idle->armed = true;
	idle->read = false;
	return (struct idle_rest){.arm = true, .observe = true, .after_us = 0};
}

static struct idle_rest poll_shortly(struct idle *idle, int64_t now_us)
{
	if (idle->step < SHORT_POLLS)
		return (struct idle_rest){.after_us = short_us[idle->step++]};
	if (idle->step < SHORT_POLLS + 2 * idle->surplus) {
		idle->step++;
		return (struct idle_rest){.after_us = SURPLUS_US};
	}
	return idle->has_bell ? watch(idle, now_us) : sleep_on(idle);
}

static struct idle_rest watch_on(struct idle *idle, int64_t now_us)
{
	if (idle->read && writers_none(&idle->writers))
		return sleep_on(idle);
	/* So the rests double, and an event comes late by no more than its transaction has taken
	 * already. Looks are not counted: a reload, or a row that is released, brings more. */
	int64_t after = now_us - idle->watching_us;
	if (after < WATCH_FIRST_US)
		after = WATCH_FIRST_US;
	if (after > idle->poll_us)
		after = idle->poll_us;
	return (struct idle_rest){.observe = true, .after_us = after};
}

struct idle_rest idle_dry(struct idle *idle, int64_t now_us)
{
	switch (idle->state) {
	case IDLE_AWAKE:
		enter(idle, IDLE_SHORT_POLLING);
		return poll_shortly(idle, now_us);
	case IDLE_SHORT_POLLING:
		return poll_shortly(idle, now_us);
	case IDLE_WATCHING:
		return watch_on(idle, now_us);
	case IDLE_ASLEEP:
		break;
	}
	return sleep_on(idle);
}

int64_t idle_pause_us(int64_t worked_us)
{
	return worked_us < PAUSE_MOST_US ? worked_us : PAUSE_MOST_US;
}

bool idle_found(struct idle *idle)
{
	bool was_armed = idle->armed;
	enter(idle, IDLE_AWAKE);
	idle->armed = false;
	idle->surplus /= 2;
	return was_armed;
}

bool idle_rested(struct idle *idle)
{
	bool was_armed = idle->armed;
	if (was_armed)
		enter(idle, IDLE_AWAKE);
	idle->armed = false;
	return was_armed;
}

bool idle_rung(struct idle *idle)
{
	if (!idle->has_peers)
		return false;
	if (!idle->armed && idle->surplus < SURPLUS_MOST)
		idle->surplus++;
	return idle_rested(idle);
}

void idle_observed(struct idle *idle, const struct writers *writers)
{
	if (idle->state != IDLE_WATCHING)
		return;
	if (idle->read)
		writers_keep(&idle->writers, writers);
	else
		idle->writers = *writers;
	idle->read = true;
}
