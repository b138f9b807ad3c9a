/* SPDX-License-Identifier: ISC */
/*
 * waiting.h - how a command waits: asks, pauses, asks again, until the time is over or it is told
 *to stop
 *
 *	struct waiting waiting = waiting_for(wait_ms);
 *
 *	while (!has_happened() && waiting_left_ms(&waiting) > 0 && waiting_pause(POLL_MS))
 *		;
 *
 * Thread: main, of a process without a loop.
 */
#ifndef OUTBOX_CMD_WAITING_H
#define OUTBOX_CMD_WAITING_H

#include <stdbool.h>
#include <stdint.h>

struct waiting {
	int64_t begun_us, end_us;
};

struct waiting waiting_for(int64_t most_ms);
int64_t waiting_left_ms(const struct waiting *waiting); /* 0: the time is over */

/* Sleeps; false as soon as the command is told to stop. */
bool waiting_pause(int64_t ms);

/* From now on SIGINT and SIGTERM tell it to stop, and do not end it; a second one does. */
void waiting_catch_signals(void);
bool waiting_is_stopped(void);
/* Why a command failed then. */
#define WAITING_STOPPED "stopped before it was done"

#endif
