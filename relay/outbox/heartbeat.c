/* SPDX-License-Identifier: ISC */
/*
 * heartbeat.c - the session is kept, or known to be lost
 */
#include "heartbeat.h"

#include "base/clock.h"
#include "base/xalloc.h"

#include <stdlib.h>

/* A session that answers nothing for so many times session_timeout is given up. A claim may have so
 * many dead rows to walk that it takes longer: then the next session is waited for twice as long.
 */
enum { SILENT_TIMEOUTS = 3, DOUBLINGS = 8 };

struct heartbeat {
	struct session *session;
	const struct claimer *claimer;
	struct membership *membership;
	struct loop_timer *timer;
	int64_t beat_us, heard_us; /* the last heartbeat, and the last one after which something
				      came; of clock_boottime_us */
	unsigned reads;		   /* session_reads at the last heartbeat */
	unsigned unresponsive;	   /* sessions given up in a row that had answered no claim */
	unsigned answers;	   /* claimer_answers when the last of them was given up */
};

static int64_t timeout_us(const struct heartbeat *heartbeat)
{
	return session_config(heartbeat->session)->outbox.session_timeout_ms * 1000;
}

/* The server ends a session that is silent for session_timeout. Should this process have been
 * stopped for so long, or the machine suspended, its shards are another relay's by now, whatever
 * it still has to read from the connection. */
static bool was_stopped(struct heartbeat *heartbeat)
{
	int64_t silent = clock_boottime_us() - heartbeat->beat_us;
	struct error err;
	/* Before it serves, a session has nothing to lose; looking up a name may take its time. */
	if (!session_serves(heartbeat->session) || silent <= timeout_us(heartbeat))
		return false;
	heartbeat->beat_us += silent;
	error_set(&err,
		  "this process did not run for %.1f s, longer than outbox.session_timeout: its "
		  "shards may have another owner",
		  (double)silent / 1e6);
	membership_forget(heartbeat->membership);
	session_give_up(heartbeat->session, false, err.text);
	return true;
}

bool heartbeat_heard(struct heartbeat *heartbeat)
{
	if (was_stopped(heartbeat))
		return false;
	heartbeat->heard_us = heartbeat->beat_us;
	return true;
}

/* A large answer may take longer over a slow network: what arrives of it counts. */
static void note_reads(struct heartbeat *heartbeat)
{
	unsigned reads = session_reads(heartbeat->session);
	if (reads != heartbeat->reads)
		heartbeat->heard_us = heartbeat->beat_us;
	heartbeat->reads = reads;
}

/* A connection may be swallowed by something in between that answers for the server's kernel. */
static bool is_unresponsive(struct heartbeat *heartbeat)
{
	struct error err;
	int64_t silent = heartbeat->beat_us - heartbeat->heard_us;
	unsigned answers = claimer_answers(heartbeat->claimer);
	if (answers != heartbeat->answers)
		heartbeat->unresponsive = 0;
	heartbeat->answers = answers;
	if (silent < SILENT_TIMEOUTS * timeout_us(heartbeat) << heartbeat->unresponsive)
		return false;
	if (heartbeat->unresponsive < DOUBLINGS)
		heartbeat->unresponsive++;
	error_set(&err, "the database has answered nothing for %.0f s", (double)silent / 1e6);
	session_give_up(heartbeat->session, false, err.text);
	return true;
}

static void beat(struct heartbeat *heartbeat)
{
	if (was_stopped(heartbeat))
		return;
	heartbeat->beat_us = clock_boottime_us();
	if (!session_serves(heartbeat->session))
		return;
	note_reads(heartbeat);
	if (is_unresponsive(heartbeat))
		return;
	session_compare(heartbeat->session);
}

static void on_timer(void *arg)
{
	struct heartbeat *heartbeat = arg;
	beat(heartbeat);
	loop_timer_set(heartbeat->timer, timeout_us(heartbeat) / 3);
}

void heartbeat_begin(struct heartbeat *heartbeat)
{
	heartbeat->beat_us = heartbeat->heard_us = clock_boottime_us();
}

struct heartbeat *heartbeat_new(struct loop *loop, struct session *session,
				const struct claimer *claimer, struct membership *membership)
{
	struct heartbeat *heartbeat = xcalloc(1, sizeof(*heartbeat));
	heartbeat->session = session;
	heartbeat->claimer = claimer;
	heartbeat->membership = membership;
	heartbeat->timer = loop_timer_new(loop, on_timer, heartbeat);
	heartbeat->beat_us = clock_boottime_us();
	/* After a stop it must be heard before whatever has come in meanwhile. */
	loop_timer_first(heartbeat->timer);
	loop_timer_set(heartbeat->timer, 0);
	return heartbeat;
}

void heartbeat_free(struct heartbeat **heartbeat)
{
	if (*heartbeat == NULL)
		return;
	loop_timer_free(&(*heartbeat)->timer);
	free(*heartbeat);
	*heartbeat = NULL;
}
