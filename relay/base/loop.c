/* SPDX-License-Identifier: ISC */
/*
 * loop.c - the event loop over libevent: thin wrappers that fix lifetimes, units and callback types
 *
 * A callback may free its own object: nothing here is touched after the caller's function was
 * called.
 */
#include "base/loop.h"

#include "base/log.h"
#include "base/magic.h"
#include "base/xalloc.h"

#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>

struct loop {
	struct event_base *base; /* owned */
};

struct loop_io {
	enum magic magic;
	struct event *event; /* owned */
	void (*ready)(int what, void *arg);
	void *arg;
};

/* By default events have the middle one, of two the second (event.h:
 * event_base_priority_init). */
enum { URGENT, PRIORITIES = 2 };

struct loop_timer {
	enum magic magic;
	struct event *event; /* owned */
	void (*fire)(void *arg);
	void *arg;
};

struct loop_signal {
	enum magic magic;
	struct event *event; /* owned */
	void (*caught)(int signo, void *arg);
	void *arg;
};

/* libevent fails here only when memory or descriptors are out: as with xmalloc, nothing sensible is
 * left to do. */
static void must(bool ok, const char *what)
{
	if (ok)
		return;
	log_fact(LOG_ERROR, "event_loop_failed", NULL,
		 "the event loop could not %s: %m; raise the limit of open files or of memory",
		 what);
	abort();
}

static void log_libevent(int severity, const char *message)
{
	log_line(severity >= EVENT_LOG_WARN ? LOG_WARNING : LOG_DEBUG, "event loop: %s", message);
}

struct loop *loop_new(void)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));
	struct event_config *config = event_config_new();

	event_set_log_callback(log_libevent);
	must(config != NULL, "start");
	/* Timers of a millisecond fire after one, not at the next tick of the coarse clock. */
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	must(loop->base != NULL && event_base_priority_init(loop->base, PRIORITIES) == 0, "start");
	/* A peer that hangs up must be an error of write(2), not the end of the process. */
	signal(SIGPIPE, SIG_IGN);
	return loop;
}

void loop_free(struct loop **loop)
{
	if (*loop == NULL)
		return;
	event_base_free((*loop)->base);
	free(*loop);
	*loop = NULL;
}

void loop_run(struct loop *loop)
{
	int result = event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);

	must(result == 0, "wait for events");
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}

static void io_ready(evutil_socket_t fd, short events, void *arg)
{
	struct loop_io *io = arg;

	(void)fd;
	MAGIC_CHECK(io, MAGIC_LOOP_IO);
	io->ready((events & EV_READ ? LOOP_READ : 0) | (events & EV_WRITE ? LOOP_WRITE : 0),
		  io->arg);
}

struct loop_io *loop_io_new(struct loop *loop, int fd, int what, void (*ready)(int what, void *arg),
			    void *arg)
{
	struct loop_io *io = xcalloc(1, sizeof(*io));
	int events =
	    EV_PERSIST | (what & LOOP_READ ? EV_READ : 0) | (what & LOOP_WRITE ? EV_WRITE : 0);

	assert(what & (LOOP_READ | LOOP_WRITE));
	io->magic = MAGIC_LOOP_IO;
	io->ready = ready;
	io->arg = arg;
	io->event = event_new(loop->base, fd, (short)events, io_ready, io);
	must(io->event != NULL && event_add(io->event, NULL) == 0, "watch a descriptor");
	return io;
}

void loop_io_free(struct loop_io **io)
{
	if (*io == NULL)
		return;
	event_free((*io)->event);
	(*io)->magic = MAGIC_NONE;
	free(*io);
	*io = NULL;
}

static void timer_fired(evutil_socket_t fd, short events, void *arg)
{
	struct loop_timer *timer = arg;

	(void)fd;
	(void)events;
	MAGIC_CHECK(timer, MAGIC_LOOP_TIMER);
	timer->fire(timer->arg);
}

struct loop_timer *loop_timer_new(struct loop *loop, void (*fire)(void *arg), void *arg)
{
	struct loop_timer *timer = xcalloc(1, sizeof(*timer));

	timer->magic = MAGIC_LOOP_TIMER;
	timer->fire = fire;
	timer->arg = arg;
	timer->event = event_new(loop->base, -1, 0, timer_fired, timer);
	must(timer->event != NULL, "make a timer");
	return timer;
}

void loop_timer_first(struct loop_timer *timer)
{
	must(event_priority_set(timer->event, URGENT) == 0, "make a timer urgent");
}

void loop_timer_set(struct loop_timer *timer, int64_t microseconds)
{
	struct timeval after;

	if (microseconds < 0)
		microseconds = 0;
	after.tv_sec = (time_t)(microseconds / 1000000);
	after.tv_usec = (suseconds_t)(microseconds % 1000000);
	/* A timer that has fired but whose callback has not yet run in this round would still run.
	 */
	event_del(timer->event);
	must(event_add(timer->event, &after) == 0, "set a timer");
}

void loop_timer_stop(struct loop_timer *timer)
{
	event_del(timer->event);
}

void loop_timer_free(struct loop_timer **timer)
{
	if (*timer == NULL)
		return;
	event_free((*timer)->event);
	(*timer)->magic = MAGIC_NONE;
	free(*timer);
	*timer = NULL;
}

static void signal_caught(evutil_socket_t signo, short events, void *arg)
{
	struct loop_signal *watched = arg;

	(void)events;
	MAGIC_CHECK(watched, MAGIC_LOOP_SIGNAL);
	watched->caught(signo, watched->arg);
}

struct loop_signal *loop_signal_new(struct loop *loop, int signo,
				    void (*caught)(int signo, void *arg), void *arg)
{
	struct loop_signal *watched = xcalloc(1, sizeof(*watched));

	watched->magic = MAGIC_LOOP_SIGNAL;
	watched->caught = caught;
	watched->arg = arg;
	watched->event = evsignal_new(loop->base, signo, signal_caught, watched);
	must(watched->event != NULL && event_add(watched->event, NULL) == 0, "watch a signal");
	return watched;
}

void loop_signal_free(struct loop_signal **signal)
{
	if (*signal == NULL)
		return;
	event_free((*signal)->event);
	(*signal)->magic = MAGIC_NONE;
	free(*signal);
	*signal = NULL;
}
