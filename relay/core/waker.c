/*
 * waker.c - when to look again after the source ran dry
 */
#include "core/waker.h"

/* Eight milliseconds in all: a stream of 200 events/s and more is served without a ring. Close
 * together at first, since there they are an event's latency: at 500 events/s the next one is two
 * milliseconds away. */
static const int64_t linger_us[] = {100, 200, 300, 500, 900, 2000, 4000};
enum { LINGERS = sizeof(linger_us) / sizeof(linger_us[0]) };

/* For each surplus ring the bell is armed two such looks later. */
enum { SURPLUS_US = 10 * 1000, SURPLUS_MOST = 8 };

enum { WATCH_FIRST_US = 1000, WATCH_DOUBLINGS = 20, PAUSE_MOST_US = 20 * 1000 };

void waker_reset(struct waker *waker, bool has_bell, int64_t poll_us)
{
	*waker = (struct waker){.state = WAKER_AWAKE, .has_bell = has_bell, .poll_us = poll_us};
}

static void enter(struct waker *waker, enum waker_state state)
{
	waker->state = state;
	waker->step = 0;
}

static struct waker_rest sleep_on(struct waker *waker)
{
	enter(waker, WAKER_ASLEEP);
	return (struct waker_rest){.after_us = waker->poll_us};
}

static struct waker_rest watch(struct waker *waker)
{
	enter(waker, WAKER_WATCHING);
	waker->armed = true;
	waker->read = false;
	return (struct waker_rest){.arm = true, .observe = true, .after_us = 0};
}

static struct waker_rest linger(struct waker *waker)
{
	if (waker->step < LINGERS)
		return (struct waker_rest){.after_us = linger_us[waker->step++]};
	if (waker->step < LINGERS + 2 * waker->surplus) {
		waker->step++;
		return (struct waker_rest){.after_us = SURPLUS_US};
	}
	return waker->has_bell ? watch(waker) : sleep_on(waker);
}

static struct waker_rest watch_on(struct waker *waker)
{
	if (waker->read && writers_none(&waker->writers))
		return sleep_on(waker);
	/* Doubling: an event comes late by no more than its transaction has taken already. */
	int64_t after = (int64_t)WATCH_FIRST_US << waker->step;
	if (waker->step < WATCH_DOUBLINGS)
		waker->step++;
	if (after > waker->poll_us)
		after = waker->poll_us;
	return (struct waker_rest){.observe = true, .after_us = after};
}

struct waker_rest waker_dry(struct waker *waker)
{
	switch (waker->state) {
	case WAKER_AWAKE:
		enter(waker, WAKER_LINGERING);
		return linger(waker);
	case WAKER_LINGERING:
		return linger(waker);
	case WAKER_WATCHING:
		return watch_on(waker);
	case WAKER_ASLEEP:
		break;
	}
	return sleep_on(waker);
}

int64_t waker_pause_us(int64_t worked_us)
{
	return worked_us < PAUSE_MOST_US ? worked_us : PAUSE_MOST_US;
}

bool waker_found(struct waker *waker)
{
	bool was_armed = waker->armed;
	enter(waker, WAKER_AWAKE);
	waker->armed = false;
	waker->surplus /= 2;
	return was_armed;
}

bool waker_rested(struct waker *waker)
{
	bool was_armed = waker->armed;
	if (was_armed)
		enter(waker, WAKER_AWAKE);
	waker->armed = false;
	return was_armed;
}

bool waker_rung(struct waker *waker)
{
	if (!waker->has_peers)
		return false;
	if (!waker->armed && waker->surplus < SURPLUS_MOST)
		waker->surplus++;
	return waker_rested(waker);
}

void waker_observed(struct waker *waker, const struct writers *writers)
{
	if (waker->state != WAKER_WATCHING)
		return;
	if (waker->read)
		writers_keep(&waker->writers, writers);
	else
		waker->writers = *writers;
	waker->read = true;
}
