/* SPDX-License-Identifier: ISC */
/*
 * examine.h - when the database refuses a claim or a COMMIT: roll back, and find the row that is
 * the cause
 *
 * An error of the server ends the transaction and not the session. If one row may be its cause,
 * fewer rows are to be claimed; a claim of one row that fails is examined: does a claim of no rows
 * work? If not, the cause is no row. Then the row that such a claim would take is looked up and
 * taken by itself; if that is refused, or without effect, it is held. All of it is rolled back.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_EXAMINE_H
#define OUTBOX_OUTBOX_EXAMINE_H

#include "claim.h"

struct examiner;

/* Why a transaction was rolled back unasked. */
struct failure {
	const char *why; /* NULL: the cause is being looked for, or known by now as a held event */
	bool narrow;	 /* one of the events that were asked for is the cause: ask for fewer */
	bool wait;	 /* it concerns all events: try again later */
};

struct examiner_events {
	void (*failed)(void *owner, const struct failure *failure);
	/* Likewise, and the ROLLBACK was asked for meanwhile. */
	void (*rolled_back)(void *owner);
};

struct examiner *examiner_new(struct session *session, struct claimer *claimer, struct held *held,
			      const struct examiner_events *events, void *owner);
void examiner_free(struct examiner **examiner);

void examiner_claim_failed(struct examiner *examiner, const struct claim_trouble *trouble);
void examiner_commit_refused(struct examiner *examiner, const struct pg_failure *failure);
/* Rolls back what was claimed, unasked; then failed, without a cause. */
void examiner_abort(struct examiner *examiner);

/* Likewise, and it is to be tried again later; unless something is examined, whose end is that too.
 */
void examiner_give_back(struct examiner *examiner);

/* A ROLLBACK is asked for. True: one is under way, and rolled_back will be told. */
bool examiner_rolls_back(struct examiner *examiner);

#endif
