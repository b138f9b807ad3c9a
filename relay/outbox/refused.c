/*
 * refused.c - when the server refuses a claim or a COMMIT: roll back, and say what to do
 *
 * An error of the server ends the transaction and not the session. If one row may be its cause, the
 * engine is told to claim fewer; a claim of one row that is refused is examined
 * (outbox/examine.c). What a claim meant to take and did not get, because a trigger kept it, counts
 * as refused too.
 */
#include "base/clock.h"
#include "base/log.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* After a claim that failed at an event's size, so many measure first. */
enum { EXACT_CLAIMS = 1000 };

/* How often a claim that came back empty is looked into. */
enum { UNASKED_US = 1000 * 1000 };

/* Rights, missing objects, what this table cannot do, a replica identity that is missing: most
 * likely every row's. */
static bool is_general(const char *sqlstate)
{
	static const char *const states[] = {"0A", "25", "42", "55000", NULL};
	return sqlstate_is(sqlstate, states);
}

/* The cheap claim fails so at an event whose text is much longer than what is stored, or cannot be
 * made: string_data_right_truncation, numeric_value_out_of_range, out_of_memory,
 * program_limit_exceeded, internal_error (palloc has no other). */
static bool is_for_size(const char *sqlstate)
{
	static const char *const states[] = {"22001", "22003", "53200", "54000", "XX000", NULL};
	return sqlstate_is(sqlstate, states);
}

/* Rolls back. If the transaction's end was asked for already, that does it. */
void outbox_abort(struct outbox *outbox, enum after_abort then)
{
	struct refusal *refusal = &outbox->refusal;
	refusal->aborting = refusal->dealing = true;
	refusal->then = then;
	outbox_claim_forget(outbox);
	pg_ask(outbox->pg, TAG_ABORTED, "ROLLBACK", NULL, 0, false);
	pg_sync(outbox->pg);
	outbox_ended(outbox);
}

static void tell(struct outbox *outbox)
{
	const struct source_events *events = outbox->source.events;
	struct refusal *refusal = &outbox->refusal;
	struct source_failure failure = refusal->failure;
	bool rolled_back = refusal->rolled_back;
	if (failure.why != NULL)
		failure.why = refusal->why.text;
	refusal->rolled_back = refusal->unasked = refusal->dealing = false;
	if (rolled_back)
		events->rolled_back(outbox->source.owner);
	else
		events->failed(outbox->source.owner, &failure);
}

/* The claim was empty for good reason: it goes on as if it had not been looked into. */
static void tell_empty(struct outbox *outbox)
{
	outbox->refusal.unasked = outbox->refusal.dealing = false;
	outbox_claim_tell_empty(outbox, outbox->refusal.upto);
}

void outbox_aborted(struct outbox *outbox, enum tag tag, PGresult *result)
{
	struct refusal *refusal = &outbox->refusal;
	(void)tag;
	PQclear(result);
	refusal->aborting = false;
	switch (refusal->then) {
	case THEN_TELL:
		if (refusal->unasked && !refusal->rolled_back && refusal->failure.why == NULL)
			tell_empty(outbox);
		else
			tell(outbox);
		break;
	case THEN_EXAMINE:
		outbox_examine(outbox);
		break;
	case THEN_RECONCILE:
		outbox_reconcile_next(outbox);
		break;
	}
}

/* A claim has gone wrong: nothing is known yet. */
static void begin_refusal(struct outbox *outbox, int64_t low_watermark, bool exact)
{
	struct refusal *refusal = &outbox->refusal;
	free(refusal->suspect.identity);
	*refusal = (struct refusal){
	    .low_watermark = low_watermark, .exact = exact, .unasked_us = refusal->unasked_us};
}

/* The oldest one, at the first leaf that has not answered. */
static void note_claim(struct outbox *outbox)
{
	size_t answered = outbox->gathering.count;
	begin_refusal(outbox, outbox->asked[0].low_watermark, outbox->asked[0].exact);
	outbox->refusal.leaf = outbox->own[answered];
	outbox->refusal.alone = outbox->asked[0].rows[answered] == 1;
}

/* The engine has asked for the ROLLBACK already: what was refused will be seen again. */
static bool is_rolled_back(struct outbox *outbox)
{
	if (outbox->in_transaction)
		return false;
	outbox->refusal.aborting = true;
	outbox->refusal.then = THEN_TELL;
	outbox->refusal.rolled_back = true;
	outbox_claim_forget(outbox);
	return true;
}

static void wait_for_it(struct outbox *outbox, const char *why)
{
	struct refusal *refusal = &outbox->refusal;
	error_set(&refusal->why, "%s", why);
	refusal->failure = (struct source_failure){.why = refusal->why.text, .wait = true};
}

static void isolate(struct outbox *outbox, bool at_once)
{
	struct refusal *refusal = &outbox->refusal;
	if (refusal->alone || at_once) {
		outbox_abort(outbox, THEN_EXAMINE);
		return;
	}
	refusal->failure.narrow = true;
	outbox_abort(outbox, THEN_TELL);
}

static void claim_refused(struct outbox *outbox, const struct pg_failure *failure)
{
	struct refusal *refusal = &outbox->refusal;
	note_claim(outbox);
	if (is_rolled_back(outbox))
		return;
	if (is_for_size(failure->state) && !refusal->exact) {
		outbox->exact_claims = EXACT_CLAIMS;
		log_info("%s; an event may be much longer as text than as it is stored: for a "
			 "while events are measured before they are claimed",
			 failure->why);
		outbox_abort(outbox, THEN_TELL);
	} else if (outbox_passes(outbox, failure->state)) {
		wait_for_it(outbox, failure->why);
		outbox_abort(outbox, THEN_TELL);
	} else {
		isolate(outbox, is_general(failure->state));
	}
}

void outbox_refuse_kept(struct outbox *outbox)
{
	note_claim(outbox);
	if (!is_rolled_back(outbox))
		isolate(outbox, false);
}

void outbox_refuse_empty(struct outbox *outbox, size_t leaf, int64_t upto)
{
	struct refusal *refusal = &outbox->refusal;
	begin_refusal(outbox, outbox->asked[0].low_watermark, outbox->asked[0].exact);
	refusal->leaf = leaf;
	refusal->upto = upto;
	refusal->alone = refusal->unasked = true;
	refusal->unasked_us = clock_monotonic_us();
	outbox_abort(outbox, THEN_EXAMINE);
}

void outbox_refuse_back(struct outbox *outbox, size_t leaf, int64_t low_watermark, bool alone)
{
	begin_refusal(outbox, low_watermark, true);
	outbox->refusal.leaf = leaf;
	outbox->refusal.alone = alone;
	if (!is_rolled_back(outbox))
		isolate(outbox, false);
}

bool outbox_may_refuse_empty(const struct outbox *outbox)
{
	return outbox->in_transaction &&
	       clock_monotonic_us() - outbox->refusal.unasked_us >= UNASKED_US;
}

/* What was put off to the end failed there: from now on nothing is put off. The batch is published;
 * its rows are settled by identity. */
static void commit_refused(struct outbox *outbox, const struct pg_failure *failure)
{
	outbox->guarded = true;
	free(outbox->refusal.suspect.identity);
	outbox->refusal = (struct refusal){.unasked_us = outbox->refusal.unasked_us};
	log_warning("COMMIT is refused: %s; what was published is settled event by event",
		    failure->why);
	outbox_abort(outbox, THEN_TELL);
}

bool outbox_passes(struct outbox *outbox, const char *sqlstate)
{
	return passing_still(&outbox->passing, sqlstate, clock_monotonic_us());
}

bool outbox_refused(struct outbox *outbox, const struct pg_failure *failure)
{
	switch ((enum tag)failure->tag) {
	case TAG_RETEST:
	case TAG_RETOOK:
	case TAG_RESETTLED:
		return true; /* it stays held */
	case TAG_PURGED:
		outbox_purge_refused(outbox, failure);
		return true;
	default:
		break;
	}
	if (outbox->refusal.aborting)
		return true;
	switch ((enum tag)failure->tag) {
	case TAG_CLAIM:
		claim_refused(outbox, failure);
		return true;
	case TAG_PROBE:
	case TAG_SUSPECT:
	case TAG_TAKE:
	case TAG_TOOK:
		outbox_examine_refused(outbox, failure);
		return true;
	case TAG_SETTLED:
		commit_refused(outbox, failure);
		return true;
	case TAG_RECONCILE:
	case TAG_DEAD_LETTER:
	case TAG_RECONCILED:
		return outbox_reconcile_refused(outbox, failure);
	default:
		return false;
	}
}

void outbox_refusal_forget(struct outbox *outbox)
{
	free(outbox->refusal.suspect.identity);
	outbox->refusal = (struct refusal){0};
}
