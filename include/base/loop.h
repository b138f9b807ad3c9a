/* SPDX-License-Identifier: ISC */
/*
 * loop.h - the event loop: descriptors, timers and signals (libevent behind it)
 *
 * Thread: loop, which is the one that calls loop_run; callbacks run from there only. Objects are
 * owned by who made them and freed with the matching _free, which also NULLs the pointer; freeing
 * from inside the own callback is allowed.
 */
#ifndef OUTBOX_LOOP_H
#define OUTBOX_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop *loop_new(void);
void loop_free(struct loop **loop);
void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* leaves loop_run after the current callback */

/* Watches fd for what; persistent. */
struct loop_io *loop_io_new(struct loop *loop, int fd, int what, void (*ready)(int what, void *arg),
			    void *arg);
void loop_io_free(struct loop_io **io);

/* A one-shot timer, at first not set. Setting it again replaces the time. */
struct loop_timer *loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg);
void loop_timer_set(struct loop_timer *timer, int64_t microseconds);
/* Once due, it fires before anything else that is ready. To be called while it is not set. */
void loop_timer_first(struct loop_timer *timer);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer **timer);

struct loop_signal *loop_signal_new(struct loop *loop, int signo,
				    void (*caught)(int signo, void *arg), void *arg);
void loop_signal_free(struct loop_signal **signal);

#endif
