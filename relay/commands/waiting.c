/* SPDX-License-Identifier: ISC */
/*
 * waiting.c - how a command waits: asks, pauses, asks again, until the time is over or it is told
 * to stop
 */
#include "waiting.h"

#include "base/clock.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t stopped;

struct waiting waiting_for(int64_t most_ms)
{
	struct waiting waiting = {.begun_us = clock_monotonic_us()};
	int64_t most_us;

	if (__builtin_mul_overflow(most_ms, 1000, &most_us) ||
	    __builtin_add_overflow(waiting.begun_us, most_us, &waiting.end_us))
		waiting.end_us = INT64_MAX;
	return waiting;
}

int64_t waiting_left_ms(const struct waiting *waiting)
{
	int64_t left_us = waiting->end_us - clock_monotonic_us();

	return left_us > 0 ? (left_us + 999) / 1000 : 0;
}

bool waiting_pause(int64_t ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

	if (!stopped)
		nanosleep(&time, NULL); /* a signal ends it */
	return !stopped;
}

static void on_signal(int signo)
{
	(void)signo;
	stopped = 1;
}

void waiting_catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool waiting_is_stopped(void)
{
	return stopped != 0;
}
