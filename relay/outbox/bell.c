/* SPDX-License-Identifier: ISC */
/*
 * bell.c - arms the outbox's bell and puts it to rest, as poll.c says
 */
#include "bell.h"

#include "base/xalloc.h"

#include <stdlib.h>

struct bell {
	struct session *session;
	struct asker asker;
	struct membership *membership;
	bool rest_due; /* it is to be put to rest behind the transaction */
};

void bell_ended(struct bell *bell)
{
	if (!bell->rest_due)
		return;
	bell->rest_due = false;
	session_ask(&bell->asker, TAG_IGNORE, "bell_off_told", NULL, 0, false);
	session_sync(bell->session);
}

void bell_set(struct bell *bell, bool armed)
{
	struct pg_param param = pg_param_text("true");
	bell->rest_due = !armed && membership_peers(bell->membership).any;
	if (bell->rest_due) {
		if (!session_in_transaction(bell->session))
			bell_ended(bell);
		return;
	}
	if (armed)
		session_ask(&bell->asker, TAG_IGNORE, "bell", &param, 1, false);
	else
		session_ask(&bell->asker, TAG_IGNORE, "bell_off", NULL, 0, false);
	session_sync(bell->session);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	(void)part;
	(void)tag;
	PQclear(result);
}

static void on_lost(void *part)
{
	((struct bell *)part)->rest_due = false;
}

struct bell *bell_new(struct session *session, struct membership *membership)
{
	static const struct asker_ops ops = {on_answered, NULL, on_lost};
	struct bell *bell = xcalloc(1, sizeof(*bell));
	bell->session = session;
	bell->asker = session_join(session, &ops, bell);
	bell->membership = membership;
	return bell;
}

void bell_free(struct bell **bell)
{
	free(*bell);
	*bell = NULL;
}
