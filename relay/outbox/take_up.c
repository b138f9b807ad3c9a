/* SPDX-License-Identifier: ISC */
/*
 * take_up.c - makes positions those of our shards, where they are of others still
 *
 * Until then the statements of this session are of the old shards, and the relay that has the first
 * of the new ones publishes by them (sql_settled.c). Once all old shards are at one position, that
 * is the position of the new ones (sql/0014_positions.sql), and the session is renewed.
 */
#include "take_up.h"

#include "base/xalloc.h"

#include <stdlib.h>

enum { TAG_TAKEN_UP = TAG_IGNORE + 1 };

struct take_up {
	struct session *session;
	struct asker asker;
};

void take_up_ask(struct take_up *take_up)
{
	struct pg_param params[1];
	if (!session_shape(take_up->session)->aligns)
		return;
	int count = session_param_mine(take_up->session, params, 0);
	session_ask(&take_up->asker, TAG_TAKEN_UP, "take_up", params, count, true);
	session_sync(take_up->session);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct take_up *take_up = part;
	bool over = PQgetvalue(result, 0, 0)[0] != '\0'; /* a binary boolean */
	(void)tag;
	PQclear(result);
	if (over)
		session_renew(take_up->session, "positions are of other shards than before");
}

struct take_up *take_up_new(struct session *session)
{
	static const struct asker_ops ops = {on_answered, NULL, NULL};
	struct take_up *take_up = xcalloc(1, sizeof(*take_up));
	take_up->session = session;
	take_up->asker = session_join(session, &ops, take_up);
	return take_up;
}

void take_up_free(struct take_up **take_up)
{
	free(*take_up);
	*take_up = NULL;
}
