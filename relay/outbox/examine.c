/* SPDX-License-Identifier: ISC */
/*
 * examine.c - when the database refuses a claim or a COMMIT: roll back, and find the row that is
 * the cause
 */
#include "examine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "ids.h"
#include "passing.h"

#include <stdlib.h>
#include <string.h>

enum {
	TAG_PROBE = TAG_IGNORE + 1, /* a claim of no rows */
	TAG_SUSPECT,		    /* the row that a claim of one takes */
	TAG_TAKE,		    /* taken, to see whether it can be */
	TAG_TOOK		    /* and whether it is gone then */
};

/* Where one event's size makes a claim fail, others' do. */
enum { MEASURING_CLAIMS = 1000 };

enum { RENEWS_US = 60 * 1000 * 1000 };

struct examiner {
	struct session *session;
	struct asker asker;
	struct claimer *claimer;
	struct held *held;
	const struct examiner_events *events;
	void *owner;
	bool busy;	  /* until the owner is told */
	bool rolled_back; /* the ROLLBACK was asked for meanwhile */
	struct claim_trouble trouble;
	struct failure failure; /* to be told */
	struct error why;
	struct outbox_hold suspect; /* identity is owned */
	int64_t
	    renewed_us; /* when a session was given up since the table has changed; outlives it */
};

/* Rights, missing objects, what this table cannot do, a replica identity that is missing: most
 * likely every row's. */
static bool is_general(const char *sqlstate)
{
	static const char *const states[] = {"0A", "25", "42", "55000", NULL};
	return sqlstate_is(sqlstate, states);
}

/* The cheap claim fails so at an event that is large, or whose text is much longer than what is
 * stored, or cannot be made: string_data_right_truncation, numeric_value_out_of_range,
 * out_of_memory, program_limit_exceeded, internal_error (palloc has no other). */
static bool is_for_size(const char *sqlstate)
{
	static const char *const states[] = {"22001", "22003", "53200", "54000", "XX000", NULL};
	return sqlstate_is(sqlstate, states);
}

/* ---- telling ---- */

static void begin(struct examiner *examiner, const struct claim_trouble *trouble)
{
	free(examiner->suspect.identity);
	examiner->suspect = (struct outbox_hold){0};
	examiner->trouble = *trouble;
	examiner->trouble.failure = NULL; /* it lives no longer */
	examiner->failure = (struct failure){0};
}

static void done(void *part)
{
	struct examiner *examiner = part;
	const struct claim_trouble *trouble = &examiner->trouble;
	bool rolled_back = examiner->rolled_back;
	examiner->busy = examiner->rolled_back = false;
	if (rolled_back)
		examiner->events->rolled_back(examiner->owner);
	else if (trouble->wrong == CLAIM_EMPTY && examiner->failure.why == NULL)
		claimer_ask_again(examiner->claimer); /* for good reason, or a row has come since */
	else
		examiner->events->failed(examiner->owner, &examiner->failure);
}

/* Rolls back. If the transaction's end was asked for already, that does it. */
static void abort_then(struct examiner *examiner, void (*then)(void *part))
{
	examiner->busy = true;
	claimer_forget(examiner->claimer);
	session_abort(examiner->session, then, examiner);
}

static void finish(struct examiner *examiner)
{
	abort_then(examiner, done);
}

/* It concerns all events. */
static void fail_all(struct examiner *examiner, const char *format, const char *why)
{
	error_set(&examiner->why, format, why);
	examiner->failure = (struct failure){.why = examiner->why.text, .wait = true};
}

/* ---- looking for the row ---- */

/* An exact claim's parameters, or a suspect's. */
static void ask_one(struct examiner *examiner, int tag, const char *name, struct pg_int8 first,
		    bool binary)
{
	struct pg_param params[3] = {pg_param_int8(&first), held_param(examiner->held)};
	int count = session_param_mine(examiner->session, params, 2);
	session_ask_leaf(&examiner->asker, tag, name, examiner->trouble.leaf, params, count,
			 binary);
}

/* Nothing is taken; but the server looks at rights, rules and statement triggers. */
static void ask_probe(struct examiner *examiner)
{
	const struct claim_trouble *trouble = &examiner->trouble;
	struct pg_int8 first = claim_above(trouble->low_watermark), none = pg_put_int8(0);
	struct pg_param params[5] = {pg_param_int8(&first), pg_param_int8(&none),
				     pg_param_int8(&none), held_param(examiner->held)};
	int count = session_param_mine(examiner->session, params, 4);
	session_ask_leaf(&examiner->asker, TAG_PROBE, "claim", trouble->leaf, params, count, true);
}

static void examine(void *part)
{
	struct examiner *examiner = part;
	session_begin(examiner->session);
	ask_probe(examiner);
	ask_one(examiner, TAG_SUSPECT, "suspect", claim_above(examiner->trouble.low_watermark),
		false);
	session_sync(examiner->session);
}

static void on_suspect(struct examiner *examiner, const PGresult *result)
{
	struct outbox_hold *suspect = &examiner->suspect;
	if (!examiner->trouble.alone || PQntuples(result) == 0) {
		finish(examiner);
		return;
	}
	suspect->id = strtoll(PQgetvalue(result, 0, ROW_ID), NULL, 10);
	suspect->key = strtoll(PQgetvalue(result, 0, ROW_KEY), NULL, 10);
	suspect->leaf = examiner->trouble.leaf;
	if (!PQgetisnull(result, 0, ROW_IDENTITY))
		suspect->identity = xstrdup(PQgetvalue(result, 0, ROW_IDENTITY));
	ask_one(examiner, TAG_TAKE, "claim_exact", pg_put_int8(suspect->id), true);
	session_sync(examiner->session);
}

static void hold_suspect(struct examiner *examiner, const char *why)
{
	examiner->suspect.why = (char *)(uintptr_t)why;
	if (!held_add(examiner->held, &examiner->suspect))
		fail_all(examiner,
			 "a thousand events cannot be removed from the table, and no more is "
			 "claimed; the last: %s; remove the cause",
			 why);
	examiner->suspect.why = NULL;
}

static void on_take(struct examiner *examiner, const PGresult *result)
{
	const struct outbox_hold *suspect = &examiner->suspect;
	struct outbox_ids ids;
	if (PQntuples(result) == 0 || outbox_claim_kept(result)) {
		hold_suspect(examiner, held_kept_words);
		finish(examiner);
		return;
	}
	outbox_ids_one(&ids, suspect->id, suspect->identity);
	struct pg_param given[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	session_ask_leaf(&examiner->asker, TAG_TOOK, "still", suspect->leaf, given, 2, false);
	session_sync(examiner->session);
	outbox_ids_free(&ids);
}

static void on_took(struct examiner *examiner, const PGresult *result)
{
	const struct claim_trouble *trouble = &examiner->trouble;
	if (PQntuples(result) > 0) {
		hold_suspect(examiner, held_kept_words);
		finish(examiner);
		return;
	}
	if (!trouble->exact && trouble->wrong != CLAIM_EMPTY)
		claimer_measure(examiner->claimer, 1); /* it can go if it is measured first */
	/* Or it lies behind others that the transaction had set aside: with one claim at a time
	 * these go for good, and it is met first. */
	examiner->failure.narrow = true;
	finish(examiner);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct examiner *examiner = part;
	if (tag == TAG_SUSPECT)
		on_suspect(examiner, result);
	else if (tag == TAG_TAKE)
		on_take(examiner, result);
	else if (tag == TAG_TOOK)
		on_took(examiner, result);
	else if (!examiner->trouble.alone)
		examiner->failure.narrow = true; /* not every row's fault after all */
	PQclear(result);
}

/* undefined_column, undefined_table: a claim names what is no more. The next session reads anew
 * what there is, but not over and over: it may be named by a trigger. */
static bool renews(struct examiner *examiner, const char *sqlstate)
{
	static const char *const states[] = {"42703", "42P01", NULL};
	int64_t now = clock_monotonic_us();
	if (!sqlstate_is(sqlstate, states) ||
	    (examiner->renewed_us != 0 && now < examiner->renewed_us + RENEWS_US))
		return false;
	examiner->renewed_us = now;
	return true;
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct examiner *examiner = part;
	if (failure->tag == TAG_PROBE && renews(examiner, failure->state))
		return false;
	if (failure->tag == TAG_PROBE)
		fail_all(examiner, "no event can be claimed: %s", failure->why);
	else if (failure->tag == TAG_SUSPECT)
		fail_all(examiner, "the next event can be neither claimed nor named: %s",
			 failure->why);
	else if (session_passes(examiner->session, failure->state))
		fail_all(examiner, "%s", failure->why);
	else
		hold_suspect(examiner, failure->why);
	finish(examiner);
	return true;
}

/* ---- what has failed ---- */

static void isolate(struct examiner *examiner, bool general)
{
	if (examiner->trouble.alone || general) {
		abort_then(examiner, examine);
		return;
	}
	examiner->failure.narrow = true;
	finish(examiner);
}

static void on_claim_refused(struct examiner *examiner, const struct pg_failure *failure)
{
	if (is_for_size(failure->state) && !examiner->trouble.exact) {
		claimer_measure(examiner->claimer, MEASURING_CLAIMS);
		log_fact(LOG_INFO, "claims_measured",
			 LOG_FIELDS(field_text("sqlstate", failure->state)),
			 "%s; an event may be large, or much longer as text than as it is stored: "
			 "for a while events are measured before they are claimed",
			 failure->why);
	} else if (session_passes(examiner->session, failure->state)) {
		fail_all(examiner, "%s", failure->why);
	} else {
		isolate(examiner, is_general(failure->state));
		return;
	}
	finish(examiner);
}

void examiner_claim_failed(struct examiner *examiner, const struct claim_trouble *trouble)
{
	begin(examiner, trouble);
	if (!session_in_transaction(examiner->session)) {
		/* The ROLLBACK is asked for already: what was refused will be seen again. */
		session_ignore(examiner->session);
		claimer_forget(examiner->claimer);
	} else if (trouble->wrong == CLAIM_ASTRAY) {
		finish(examiner);
	} else if (trouble->wrong == CLAIM_REFUSED) {
		on_claim_refused(examiner, trouble->failure);
	} else {
		isolate(examiner, false);
	}
}

/* What was put off to the end failed there: from now on nothing is put off. The batch is published;
 * its rows are settled by identity. */
void examiner_commit_refused(struct examiner *examiner, const struct pg_failure *failure)
{
	session_guard(examiner->session);
	log_fact(LOG_WARNING, "commit_refused", LOG_FIELDS(field_text("sqlstate", failure->state)),
		 "COMMIT is refused: %s; what was published is settled event by event",
		 failure->why);
	examiner_abort(examiner);
}

void examiner_abort(struct examiner *examiner)
{
	begin(examiner, &(struct claim_trouble){.wrong = CLAIM_BACK});
	finish(examiner);
}

void examiner_give_back(struct examiner *examiner)
{
	if (examiner->busy)
		return;
	begin(examiner, &(struct claim_trouble){.wrong = CLAIM_BACK});
	examiner->failure.wait = true;
	finish(examiner);
}

bool examiner_rolls_back(struct examiner *examiner)
{
	examiner->rolled_back = examiner->busy;
	return examiner->busy;
}

/* ---- making one ---- */

static void on_lost(void *part)
{
	struct examiner *examiner = part;
	begin(examiner, &(struct claim_trouble){0});
	examiner->busy = examiner->rolled_back = false;
}

struct examiner *examiner_new(struct session *session, struct claimer *claimer, struct held *held,
			      const struct examiner_events *events, void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct examiner *examiner = xcalloc(1, sizeof(*examiner));
	examiner->session = session;
	examiner->asker = session_join(session, &ops, examiner);
	examiner->claimer = claimer;
	examiner->held = held;
	examiner->events = events;
	examiner->owner = owner;
	return examiner;
}

void examiner_free(struct examiner **examiner)
{
	if (*examiner == NULL)
		return;
	free((*examiner)->suspect.identity);
	free(*examiner);
	*examiner = NULL;
}
