/*
 * outbox_heartbeat.c - the session is kept, or known to be lost
 */
#include "clock.h"
#include "outbox_internal.h"

/* A session that has not answered any statement for so long is given up: no claim takes as long. */
enum { DEAF_US = 120 * 1000 * 1000 };

/* The server ends a session that is silent for session_timeout. Should this process have been
 * stopped for so long, its shards are somebody else's by now, whatever it still has to read from
 * the connection. */
bool outbox_was_stopped(struct outbox *outbox)
{
	int64_t silent = clock_monotonic_us() - outbox->beat_us;
	struct error err;
	if (silent <= outbox->config->outbox.session_timeout_ms * 1000)
		return false;
	outbox->beat_us += silent;
	error_set(&err,
		  "this process was stopped for %.1f s, longer than outbox.session_timeout: its "
		  "shards may have another owner",
		  (double)silent / 1e6);
	outbox_give_up(outbox, false, err.text);
	return true;
}

/* A connection may be swallowed by something in between that answers for the server's kernel. */
static bool is_deaf(struct outbox *outbox)
{
	struct error err;
	if (outbox->beat_us - outbox->heard_us < DEAF_US)
		return false;
	error_set(&err, "the database has answered nothing for %d s", DEAF_US / 1000000);
	outbox_give_up(outbox, false, err.text);
	return true;
}

static void beat(struct outbox *outbox)
{
	if (outbox->pg != NULL && outbox_was_stopped(outbox))
		return;
	outbox->beat_us = clock_monotonic_us();
	if (!outbox->serving || is_deaf(outbox))
		return;
	pg_ask(outbox->pg, TAG_IGNORE, "SELECT", NULL, 0, false);
	pg_sync(outbox->pg);
}

static void on_heartbeat(void *arg)
{
	struct outbox *outbox = arg;
	beat(outbox);
	loop_timer_set(outbox->heartbeat, outbox->config->outbox.session_timeout_ms * 1000 / 3);
}

void outbox_heartbeat_new(struct outbox *outbox)
{
	outbox->heartbeat = loop_timer_new(outbox->loop, on_heartbeat, outbox);
	outbox->beat_us = clock_monotonic_us();
	/* After a stop it must be heard before whatever has come in meanwhile. */
	loop_timer_first(outbox->heartbeat);
	loop_timer_set(outbox->heartbeat, 0);
}
