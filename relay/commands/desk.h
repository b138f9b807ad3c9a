/* SPDX-License-Identifier: ISC */
/*
 * desk.h - a worker at work in this process: its loop, clocks and timers
 *
 * Thread: loop.
 */
#ifndef OUTBOX_CMD_DESK_H
#define OUTBOX_CMD_DESK_H

#include "base/loop.h"
#include "core/metrics.h"
#include "core/worker.h"

struct desk {
	struct loop *loop;     /* owned, and so is all that follows */
	struct worker *worker; /* NULL before desk_worker */
	struct metrics metrics;
	struct worker_world world;
	struct loop_timer *wake, *stall, *outage;
	bool failed; /* as the worker has said at its end */
	/* The owner's: may be NULL. */
	void (*changed)(void *owner);
	void *owner; /* passed back */
};

/* Makes the loop, which ends when the worker has stopped. The owner sets up metrics, which the
 * worker writes, before, and frees them behind desk_free. */
void desk_open(struct desk *desk);
void desk_worker(struct desk *desk, const struct engine_options *options, int64_t stall_us);
/* keep_worker: its events are still read by others. */
void desk_free(struct desk *desk, bool keep_worker);

#endif
