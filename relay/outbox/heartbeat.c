/*
 * heartbeat.c - the session is kept, or known to be lost
 */
#include "base/clock.h"
#include "internal.h"

/* A session that answers nothing for so many times session_timeout is given up. A claim may have so
 * many dead rows to walk that it takes longer: then the next session is waited for twice as long.
 */
enum { DEAF_TIMEOUTS = 3, DEAF_DOUBLINGS = 8 };

/* The server ends a session that is silent for session_timeout. Should this process have been
 * stopped for so long, or the machine suspended, its shards are another relay's by now, whatever
 * it still has to read from the connection. */
bool outbox_was_stopped(struct outbox *outbox)
{
	int64_t silent = clock_boottime_us() - outbox->beat_us;
	struct error err;
	/* Before it serves, a session has nothing to lose; looking up a name may take its time. */
	if (!session_serves(outbox->session) ||
	    silent <= outbox->config->outbox.session_timeout_ms * 1000)
		return false;
	outbox->beat_us += silent;
	error_set(&err,
		  "this process did not run for %.1f s, longer than outbox.session_timeout: its "
		  "shards may have another owner",
		  (double)silent / 1e6);
	group_forget(&outbox->group);
	session_give_up(outbox->session, false, err.text);
	return true;
}

/* A large answer may take longer over a slow network: what arrives of it counts. */
static void note_reads(struct outbox *outbox)
{
	unsigned reads = session_reads(outbox->session);
	if (reads != outbox->reads)
		outbox->heard_us = outbox->beat_us;
	outbox->reads = reads;
}

/* A connection may be swallowed by something in between that answers for the server's kernel. */
static bool is_deaf(struct outbox *outbox)
{
	struct error err;
	int64_t silent = outbox->beat_us - outbox->heard_us;
	int64_t patience = DEAF_TIMEOUTS * outbox->config->outbox.session_timeout_ms * 1000;
	if (silent < patience << outbox->deaf)
		return false;
	if (outbox->deaf < DEAF_DOUBLINGS)
		outbox->deaf++;
	error_set(&err, "the database has answered nothing for %.0f s", (double)silent / 1e6);
	session_give_up(outbox->session, false, err.text);
	return true;
}

static void beat(struct outbox *outbox)
{
	if (outbox_was_stopped(outbox))
		return;
	outbox->beat_us = clock_boottime_us();
	if (!session_serves(outbox->session))
		return;
	note_reads(outbox);
	if (is_deaf(outbox))
		return;
	session_ask_text(&outbox->own, TAG_IGNORE, "SELECT", NULL, 0);
	session_sync(outbox->session);
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
	outbox->beat_us = clock_boottime_us();
	/* After a stop it must be heard before whatever has come in meanwhile. */
	loop_timer_first(outbox->heartbeat);
	loop_timer_set(outbox->heartbeat, 0);
}
