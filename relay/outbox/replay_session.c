/* SPDX-License-Identifier: ISC */
/*
 * replay_session.c - what a session is told before it reads rows for a replay or a shadow
 */
#include "base/xalloc.h"
#include "outbox/replay.h"

#include <inttypes.h>
#include <stdlib.h>

/* A page walks the ids, whatever else the planner would like to sort: there are many pages. */
#define SETTINGS                                                                                   \
	"set_config('statement_timeout', '0', false), set_config('enable_sort', 'off', false), "   \
	"set_config('enable_incremental_sort', 'off', false), set_config('enable_bitmapscan', "    \
	"'off', false), set_config('jit', 'off', false)"

static bool take_number(PGconn *conn, int64_t number, struct error *err)
{
	/* No other lock of ours has the oid of this table (outbox/locks.h). */
	static const char sql[] =
	    "SELECT pg_try_advisory_lock('outbox_relay.replays'::regclass::oid::int8::int4, "
	    "$1::int4) AS taken, " SETTINGS;
	char *text = xasprintf("%" PRId64, number);
	const char *params[] = {text};
	PGresult *result = pgsync_query(conn, "taking the replay", sql, 1, params, err);
	bool taken = result != NULL && pgsync_bool(result, 0, "taken");
	if (result != NULL && !taken)
		error_set(err, "replay %" PRId64 " is at work in another session", number);
	PQclear(result);
	free(text);
	return taken;
}

bool replay_take(PGconn *conn, int64_t number, struct error *err)
{
	static const char sql[] =
	    "SELECT set_config('default_transaction_read_only', 'on', false), " SETTINGS;
	if (number > 0)
		return take_number(conn, number, err);
	PGresult *result = pgsync_query(conn, "setting up the session", sql, 0, NULL, err);
	PQclear(result);
	return result != NULL;
}
