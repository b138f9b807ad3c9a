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

enum { TAG_PURGED = TAG_IGNORE + 1, TAG_PRUNED };
enum { LOG_US = 600 * 1000 * 1000 };

struct purger {
	struct session *session;
	struct asker asker;
	struct purging purging;
	bool more;
	struct log_limit log;
};

void purger_prune(struct purger *purger)
{
	struct pg_param params[1];
	if (!session_shape(purger->session)->position)
		return;
	session_ask_own_leaves(&purger->asker, TAG_PRUNED, "prune", params, 0, false);
	session_sync(purger->session);
}

void purger_run(struct purger *purger)
{
	const struct outbox_shape *shape = session_shape(purger->session);
	struct purging *purging = &purger->purging;
	purger->more = false;
	if ((!shape->mark && !shape->position) ||
	    !purging_plan(purging, PURGE_ROWS, clock_monotonic_us()))
		return;
	purger->more = purging->bound > 0;
	struct pg_int8 rows = pg_put_int8(purging->rows), passed = pg_put_int8(purging->passed);
	struct pg_param params[] = {pg_param_int8(&rows), pg_param_int8(&passed)};
	/* Each is a transaction of its own. */
	for (size_t i = 0; i < session_own_count(purger->session); i++) {
		session_ask_leaf(&purger->asker, TAG_PURGED, "purge",
				 session_own_leaf(purger->session, i), params, 2, false);
		session_sync(purger->session);
	}
}

bool purger_has_more(const struct purger *purger)
{
	return purger->more;
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct purger *purger = part;
	bool told = PQntuples(result) > 0; /* by a function, which has deleted them */
	if (tag == TAG_PURGED)
		purger->more |= atoi(told ? PQgetvalue(result, 0, 0) : PQcmdTuples(result)) ==
				purger->purging.rows;
	PQclear(result);
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct purger *purger = part;
	if (passing_kind(failure->state) || failure->tag == TAG_PRUNED)
		return true; /* it is tried again with the next housekeeping */
	purger->purging.refused = purger->more = true;
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

struct purger *purger_new(struct session *session)
{
	static const struct asker_ops ops = {on_answered, on_refused, NULL};
	struct purger *purger = xcalloc(1, sizeof(*purger));
	purger->session = session;
	purger->asker = session_join(session, &ops, purger);
	return purger;
}

void purger_free(struct purger **purger)
{
	free(*purger);
	*purger = NULL;
}
