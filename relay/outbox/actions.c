/* SPDX-License-Identifier: ISC */
/*
 * actions.c - what operators have last done to the outbox, for whoever watches the relay
 */
#include "actions.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>

enum { TAG_ACTIONS = TAG_IGNORE + 1 };
enum { EVERY_US = 2 * 1000 * 1000 };

struct actions {
	struct session *session;
	struct asker asker;
	struct source *source;
	int64_t asked_us;
	bool refused; /* in this session */
};

void actions_look(struct actions *actions)
{
	int64_t now = clock_monotonic_us();
	char sql[400];
	if (actions->refused || now > actions->source->watched_us ||
	    now - actions->asked_us < EVERY_US)
		return;
	actions->asked_us = now;
	snprintf(sql, sizeof(sql),
		 "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), role, "
		 "action, detail FROM outbox_relay.operator_actions WHERE outbox = %u::oid "
		 "ORDER BY number DESC LIMIT %d",
		 session_shape(actions->session)->oid, SOURCE_ACTIONS_MAX);
	session_ask_text(&actions->asker, TAG_ACTIONS, sql, NULL, 0);
	session_sync(actions->session);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct actions *actions = part;
	struct source *source = actions->source;
	(void)tag;
	source->action_count = 0;
	for (int i = 0; i < PQntuples(result) && i < SOURCE_ACTIONS_MAX; i++) {
		struct source_action *action = &source->actions[source->action_count++];
		text_print(action->at, sizeof(action->at), "%s", PQgetvalue(result, i, 0));
		text_print(action->role, sizeof(action->role), "%s", PQgetvalue(result, i, 1));
		text_print(action->action, sizeof(action->action), "%s", PQgetvalue(result, i, 2));
		text_print(action->detail, sizeof(action->detail), "%s", PQgetvalue(result, i, 3));
	}
	PQclear(result);
}

/* Nothing depends on it: a role that was given its rights by hand may lack this one. */
static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct actions *actions = part;
	actions->refused = true;
	actions->source->action_count = 0;
	log_debug("the actions of operators cannot be read: %s", failure->why);
	return true;
}

static void on_lost(void *part)
{
	struct actions *actions = part;
	actions->refused = false;
	actions->source->action_count = 0;
}

struct actions *actions_new(struct session *session, struct source *source)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct actions *actions = xcalloc(1, sizeof(*actions));
	actions->session = session;
	actions->asker = session_join(session, &ops, actions);
	actions->source = source;
	return actions;
}

void actions_free(struct actions **actions)
{
	free(*actions);
	*actions = NULL;
}
