/* SPDX-License-Identifier: ISC */
/*
 * orphans.c - a batch whose transaction is gone: what the source asks the database to settle of it
 */
#include "letters.h"

void orphans_reconcile(struct session *session)
{
	const struct batch *batch = session->orphans;
	enum reject_policy policy = session->policy;
	struct ask *added = session_ask(session, ASK_RECONCILE);
	if (session->relay->producer.in_flight > 0)
		violated(session->relay->sim, "recovers too soon", "%u events are with the sink",
			 session->relay->producer.in_flight);
	if (added == NULL)
		return;
	added->delivered = rows_in(batch, EVENT_DELIVERED);
	added->rejected = policy != REJECT_HALTS ? rows_in(batch, EVENT_REJECTED) : 0;
	added->parks = rows_that_park(batch, policy);
	added->kept_back = policy == REJECT_HALTS ? rows_in(batch, EVENT_REJECTED) : 0;
	added->returned = rows_in(batch, EVENT_RETURNED) | rows_in(batch, EVENT_CLAIMED);
	letters_settle(session, added, batch);
	if (session->relay->sim->plant == PLANT_RECOVERS_MINE) {
		added->delivered = session_mine(session, added->delivered);
		added->rejected = session_mine(session, added->rejected);
	}
	session_ask(session, ASK_RECONCILE_COMMIT);
}
