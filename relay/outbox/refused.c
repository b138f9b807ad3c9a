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
#include "base/text.h"
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

static void tell(struct outbox *outbox)
{
	const struct source_events *events = outbox->source.events;
	struct refusal *refusal = &outbox->refusal;
	struct failure failure = refusal->failure;
	bool rolled_back = refusal->rolled_back;
	refusal->rolled_back = refusal->unasked = refusal->dealing = false;
	if (rolled_back) {
		outbox_polled(outbox, POLL_ROLLED_BACK);
		events->rolled_back(outbox->source.owner);
		return;
	}
	if (failure.why != NULL)
		text_print(outbox->source.refusal, sizeof(outbox->source.refusal), "%s",
			   refusal->why.text);
	outbox_poll(outbox, (struct poll_input){.event = POLL_FAILED,
						.narrow = failure.narrow,
						.wait = failure.wait});
	events->failed(outbox->source.owner);
}

/* The claim was empty for good reason: it goes on as if it had not been looked into. */
static void tell_empty(struct outbox *outbox)
{
	outbox->refusal.unasked = outbox->refusal.dealing = false;
	outbox_claim_tell_empty(outbox, outbox->refusal.upto);
}

static void on_aborted(void *part)
{
	struct outbox *outbox = part;
	const struct refusal *refusal = &outbox->refusal;
	if (refusal->unasked && !refusal->rolled_back && refusal->failure.why == NULL)
		tell_empty(outbox);
	else
		tell(outbox);
}

static void on_abort_to_examine(void *part)
{
	outbox_examine(part);
}

/* Rolls back. If the transaction's end was asked for already, that does it. */
static void abort_claim(struct outbox *outbox, void (*then)(void *part))
{
	outbox->refusal.dealing = true;
	outbox_claim_forget(outbox);
	session_abort(outbox->session, then, outbox);
}

void outbox_abort(struct outbox *outbox)
{
	abort_claim(outbox, on_aborted);
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
	outbox->refusal.leaf = session_own_leaf(outbox->session, answered);
	outbox->refusal.alone = outbox->asked[0].rows[answered] == 1;
}

/* The engine has asked for the ROLLBACK already: what was refused will be seen again. */
static bool is_rolled_back(struct outbox *outbox)
{
	if (session_in_transaction(outbox->session))
		return false;
	session_ignore(outbox->session);
	outbox_claim_forget(outbox);
	return true;
}

static void wait_for_it(struct outbox *outbox, const char *why)
{
	struct refusal *refusal = &outbox->refusal;
	error_set(&refusal->why, "%s", why);
	refusal->failure = (struct failure){.why = refusal->why.text, .wait = true};
}

static void isolate(struct outbox *outbox, bool at_once)
{
	struct refusal *refusal = &outbox->refusal;
	if (refusal->alone || at_once) {
		abort_claim(outbox, on_abort_to_examine);
		return;
	}
	refusal->failure.narrow = true;
	outbox_abort(outbox);
}

bool outbox_claim_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	struct refusal *refusal = &outbox->refusal;
	if (failure->tag != TAG_CLAIM)
		return false;
	note_claim(outbox);
	if (is_rolled_back(outbox))
		return true;
	if (is_for_size(failure->state) && !refusal->exact) {
		outbox->exact_claims = EXACT_CLAIMS;
		log_info("%s; an event may be large, or much longer as text than as it is stored: "
			 "for a while events are measured before they are claimed",
			 failure->why);
		outbox_abort(outbox);
	} else if (outbox_passes(outbox, failure->state)) {
		wait_for_it(outbox, failure->why);
		outbox_abort(outbox);
	} else {
		isolate(outbox, is_general(failure->state));
	}
	return true;
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
	abort_claim(outbox, on_abort_to_examine);
}

void outbox_refuse_back(struct outbox *outbox, size_t leaf, int64_t low_watermark, bool alone)
{
	begin_refusal(outbox, low_watermark, true);
	outbox->refusal.leaf = leaf;
	outbox->refusal.alone = alone;
	if (!is_rolled_back(outbox))
		isolate(outbox, false);
}

void outbox_refuse_set_back(struct outbox *outbox)
{
	begin_refusal(outbox, 0, false);
	outbox_abort(outbox);
}

bool outbox_may_refuse_empty(const struct outbox *outbox)
{
	return session_in_transaction(outbox->session) &&
	       clock_monotonic_us() - outbox->refusal.unasked_us >= UNASKED_US;
}

/* What was put off to the end failed there: from now on nothing is put off. The batch is published;
 * its rows are settled by identity. */
bool outbox_commit_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	if (failure->tag != TAG_SETTLED)
		return false;
	session_guard(outbox->session);
	free(outbox->refusal.suspect.identity);
	outbox->refusal = (struct refusal){.unasked_us = outbox->refusal.unasked_us};
	log_warning("COMMIT is refused: %s; what was published is settled event by event",
		    failure->why);
	outbox_abort(outbox);
	return true;
}

bool outbox_passes(struct outbox *outbox, const char *sqlstate)
{
	return passing_still(&outbox->passing, sqlstate, clock_monotonic_us());
}

void outbox_refusal_forget(void *part)
{
	struct outbox *outbox = part;
	free(outbox->refusal.suspect.identity);
	outbox->refusal = (struct refusal){0};
}
