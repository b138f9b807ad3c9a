/*
 * purge.c - mark mode: published rows are deleted when they are older than outbox.retention
 *
 * A foreign key or a trigger may refuse such a row. It is published, so that nothing waits for it,
 * and the others are deleted (purging.h).
 */
#include "base/clock.h"
#include "base/log.h"
#include "internal.h"

#include <stdlib.h>

enum { TOLD_US = 600 * 1000 * 1000 };

void outbox_purge(struct outbox *outbox)
{
	struct purging *purging = &outbox->purging;
	outbox->purge_more = false;
	if (!outbox->shape->mark || !purging_plan(purging, PURGE_ROWS, clock_monotonic_us()))
		return;
	outbox->purge_more = purging->bound > 0;
	struct pg_int8 rows = pg_put_int8(purging->rows), passed = pg_put_int8(purging->passed);
	struct pg_param params[] = {pg_param_int8(&rows), pg_param_int8(&passed)};
	/* Each is a transaction of its own. */
	for (size_t i = 0; i < session_own_count(outbox->session); i++) {
		session_ask_leaf(&outbox->purger, TAG_PURGED, "purge",
				 session_own_leaf(outbox->session, i), params, 2, false);
		session_sync(outbox->session);
	}
}

void outbox_purged(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	(void)tag;
	outbox->purge_more |= atoi(PQcmdTuples(result)) == outbox->purging.rows;
	PQclear(result);
}

bool outbox_purge_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	if (passing_kind(failure->state))
		return true; /* it is tried again with the next housekeeping */
	outbox->purging.refused = outbox->purge_more = true;
	if (log_limit_due(&outbox->purge_log, clock_monotonic_us(), TOLD_US))
		log_warning("published events that are older than outbox.retention cannot be "
			    "deleted from table %s: %s; such rows stay in the table until the "
			    "cause is removed, all others are deleted%s",
			    outbox->config->outbox.table, failure->why, outbox->purge_log.note);
	return true;
}
