/* SPDX-License-Identifier: ISC */
/*
 * desk.c - a worker at work in this process: its loop, clocks and timers
 */
#include "desk.h"

#include "base/clock.h"

#include <unistd.h>

static int64_t monotonic_us(void *arg)
{
	(void)arg;
	return clock_monotonic_us();
}

static int64_t realtime_us(void *arg)
{
	(void)arg;
	return clock_realtime_us();
}

static void set_timer(void *arg, enum worker_timer timer, int64_t after_us)
{
	struct desk *desk = arg;
	struct loop_timer *const timers[] = {[WORKER_TIMER_WAKE] = desk->wake,
					     [WORKER_TIMER_STALL] = desk->stall,
					     [WORKER_TIMER_OUTAGE] = desk->outage};
	loop_timer_set(timers[timer], after_us);
}

static void on_wake(void *arg)
{
	worker_on_timer(((struct desk *)arg)->worker, WORKER_TIMER_WAKE);
}

static void on_stall(void *arg)
{
	worker_on_timer(((struct desk *)arg)->worker, WORKER_TIMER_STALL);
}

static void on_outage(void *arg)
{
	worker_on_timer(((struct desk *)arg)->worker, WORKER_TIMER_OUTAGE);
}

static void on_stopped(void *arg, bool failed)
{
	struct desk *desk = arg;
	desk->failed = failed;
	loop_stop(desk->loop);
}

static void on_changed(void *arg)
{
	struct desk *desk = arg;
	if (desk->changed != NULL)
		desk->changed(desk->owner);
}

void desk_open(struct desk *desk)
{
	desk->loop = loop_new();
	desk->wake = loop_timer_new(desk->loop, on_wake, desk);
	desk->stall = loop_timer_new(desk->loop, on_stall, desk);
	desk->outage = loop_timer_new(desk->loop, on_outage, desk);
	desk->world = (struct worker_world){.monotonic_us = monotonic_us,
					    .realtime_us = realtime_us,
					    .set_timer = set_timer,
					    .stopped = on_stopped,
					    .changed = on_changed,
					    .arg = desk};
}

void desk_worker(struct desk *desk, const struct engine_options *options, int64_t stall_us)
{
	uint64_t seed = (uint64_t)clock_realtime_us() ^ (uint64_t)getpid() << 40;
	desk->worker = worker_new(options, stall_us, &desk->world, &desk->metrics, seed);
}

void desk_free(struct desk *desk, bool keep_worker)
{
	if (!keep_worker)
		worker_free(&desk->worker);
	loop_timer_free(&desk->wake);
	loop_timer_free(&desk->stall);
	loop_timer_free(&desk->outage);
	loop_free(&desk->loop);
}
