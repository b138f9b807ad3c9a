/* SPDX-License-Identifier: ISC */
/*
 * purge.c - where published rows stay, they are deleted when they are older than outbox.retention
 *
 * A foreign key or a trigger may refuse such a row. It is published, so that nothing waits for it,
 * and the others are deleted (purging.h).
 */
#include "purge.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "passing.h"
#include "purging.h"

#include <stdlib.h>

enum { TAG_PURGED = TAG_IGNORE + 1, TAG_FORGOTTEN };
enum { LOG_US = 600 * 1000 * 1000 };

/* Of one leaf. */
struct leaf_purge {
	struct purging purging;
	int64_t low_watermark;
	bool asked; /* in the round under way */
};

struct purger {
	struct session *session;
	struct asker asker;
	struct leaf_purge *leaves; /* owned; by number, of this session */
	size_t turn;		   /* the leaf that answers next */
	size_t open;		   /* answers of the round under way */
	bool more;
	struct log_limit log;
};

void purger_forget(struct purger *purger)
{
	if (!session_shape(purger->session)->position)
		return;
	for (size_t i = 0; i < session_own_count(purger->session); i++)
		session_ask_leaf(&purger->asker, TAG_FORGOTTEN, "forget",
				 session_own_leaf(purger->session, i), NULL, 0, false);
	session_sync(purger->session);
}

/* A transaction of its own. False if nothing is to be tried there. */
static bool ask(struct purger *purger, size_t leaf, int64_t low_watermark)
{
	struct purging *purging = &purger->leaves[leaf].purging;
	purger->leaves[leaf].low_watermark = low_watermark > 0 ? low_watermark : INT64_MIN;
	if (!purging_plan(purging, PURGE_ROWS, clock_monotonic_us()))
		return false;
	struct pg_int8 rows = pg_put_int8(purging->rows), passed = pg_put_int8(purging->passed),
		       above = pg_put_int8(purging->above);
	struct pg_param params[] = {pg_param_int8(&rows), pg_param_int8(&passed),
				    pg_param_int8(&above)};
	session_ask_leaf(&purger->asker, TAG_PURGED, "purge", leaf, params, 3, false);
	session_sync(purger->session);
	purger->more |= purging->bound > 0;
	return true;
}

void purger_run(struct purger *purger, int64_t low_watermark)
{
	const struct outbox_shape *shape = session_shape(purger->session);
	if ((!shape->mark && !shape->position) || purger->open > 0)
		return;
	if (purger->leaves == NULL)
		purger->leaves = xcalloc(shape->leaf_count, sizeof(*purger->leaves));
	purger->more = false;
	purger->turn = 0;
	for (size_t i = 0; i < session_own_count(purger->session); i++) {
		size_t leaf = session_own_leaf(purger->session, i);
		purger->leaves[leaf].asked = ask(purger, leaf, low_watermark);
		purger->open += purger->leaves[leaf].asked;
	}
}

bool purger_has_more(const struct purger *purger)
{
	return purger->more;
}

/* Leaves are asked, and answer, in the order of their numbers. */
static struct leaf_purge *next_answered(struct purger *purger)
{
	while (!purger->leaves[purger->turn].asked)
		purger->turn++;
	purger->leaves[purger->turn].asked = false;
	purger->open--;
	return &purger->leaves[purger->turn];
}

static void on_purged(struct purger *purger, const PGresult *result)
{
	struct leaf_purge *leaf = next_answered(purger);
	int64_t now_us = clock_monotonic_us(), upto = leaf->low_watermark;
	bool walks = false;
	/* The function tells nothing of what is no outbox any more. */
	if (PQntuples(result) > 0 && !PQgetisnull(result, 0, 1)) {
		upto = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
		walks = PQgetisnull(result, 0, 0);
		purger->more |= walks || atoi(PQgetvalue(result, 0, 0)) == leaf->purging.rows;
	}
	purging_done(&leaf->purging, upto, walks, now_us);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	if (tag == TAG_PURGED)
		on_purged(part, result);
	PQclear(result);
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct purger *purger = part;
	if (failure->tag != TAG_PURGED)
		return true;
	struct purging *purging = &next_answered(purger)->purging;
	if (passing_kind(failure->state)) {
		purging->rows = 0; /* none was tried; the next housekeeping does */
		return true;
	}
	purging->refused = purger->more = true;
	if (log_limit_due(&purger->log, clock_monotonic_us(), LOG_US))
		log_fact(LOG_WARNING, "retention_refused",
			 LOG_FIELDS(field_text("sqlstate", failure->state)),
			 "published events that are older than outbox.retention cannot be "
			 "deleted from table %s: %s; such rows stay in the table until the "
			 "cause is removed, all others are deleted%s",
			 session_config(purger->session)->outbox.table, failure->why,
			 purger->log.note);
	return true;
}

/* The next session may have other leaves. */
static void on_lost(void *part)
{
	struct purger *purger = part;
	free(purger->leaves);
	purger->leaves = NULL;
	purger->open = 0;
}

struct purger *purger_new(struct session *session)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct purger *purger = xcalloc(1, sizeof(*purger));
	purger->session = session;
	purger->asker = session_join(session, &ops, purger);
	return purger;
}

void purger_free(struct purger **purger)
{
	if (*purger == NULL)
		return;
	free((*purger)->leaves);
	free(*purger);
	*purger = NULL;
}
