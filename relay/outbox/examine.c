/*
 * examine.c - which row it is that the database does not let go, and whether it does by now
 *
 * After a claim of one row was refused: does a claim of no rows work? If not, the cause is no row.
 * Then the row that such a claim would take is looked up and taken by itself; if that is refused,
 * or without effect, it is held. All of it is rolled back.
 */
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "ids.h"
#include "internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many held rows are named in the log one by one; status names the first, and tells how many. */
enum { NAMED_MAX = 20 };

static const char kept_words[] = "the statement is done and the row is there as before: a trigger "
				 "or a rule of the table keeps it";

/* ---- what is held ---- */

void outbox_holds_changed(struct outbox *outbox)
{
	const struct outbox_holds *holds = &outbox->holds;
	struct source *source = &outbox->source;
	const struct outbox_hold *first = NULL;
	free(outbox->held_text);
	outbox->held_text = outbox_holds_text(holds, outbox->shape->competing);
	source->held = 0;
	source->held_keys = outbox_holds_waiting(holds);
	for (size_t i = 0; i < holds->count; i++) {
		if (holds->items[i].released)
			continue;
		first = first != NULL ? first : &holds->items[i];
		source->held += !holds->items[i].published;
	}
	source->held_why = outbox->held_why;
	outbox->held_why[0] = '\0';
	if (first != NULL)
		text_print(outbox->held_why, sizeof(outbox->held_why),
			   "event %" PRId64 " cannot be %s table %s: %s", first->id,
			   outbox->shape->mark ? "marked in" : "removed from",
			   outbox->config->outbox.table, first->why);
}

static void tell_hold(const struct outbox *outbox, const struct outbox_hold *hold)
{
	size_t count = outbox_holds_waiting(&outbox->holds);
	if (count > NAMED_MAX)
		return;
	log_error("event %" PRId64 " (event_id %.64s) cannot be %s table %s%s: %s; its key waits; "
		  "remove the cause or the row, the relay tries it again every few seconds%s",
		  hold->id, hold->identity != NULL ? hold->identity : "NULL",
		  outbox->shape->mark ? "marked in" : "removed from", outbox->config->outbox.table,
		  hold->published ? ", though it is published" : "", hold->why,
		  count == NAMED_MAX ? "; similar messages suppressed" : "");
}

bool outbox_hold(struct outbox *outbox, const struct outbox_hold *hold)
{
	bool known = outbox_holds_find(&outbox->holds, hold->id, hold->identity) != NULL;
	if (!outbox_holds_add(&outbox->holds, hold))
		return false;
	outbox_holds_changed(outbox);
	if (!known)
		tell_hold(outbox, hold);
	return true;
}

/* ---- looking for the row ---- */

bool outbox_claim_kept(const PGresult *result)
{
	int rows = PQntuples(result);
	for (int i = 0; i < rows; i++)
		if (PQgetisnull(result, i, CLAIM_PLACES) ||
		    pg_get_int4(PQgetvalue(result, i, CLAIM_PLACES)) != rows)
			return true;
	return false;
}

/* An exact claim's parameters, or a suspect's. */
static void ask_one(struct outbox *outbox, enum tag tag, const char *name, struct pg_int8 first,
		    bool binary)
{
	struct pg_param params[3] = {pg_param_int8(&first), pg_param_text(outbox->held_text)};
	int count = session_param_mine(outbox->session, params, 2);
	session_ask_leaf(&outbox->examining, tag, name, outbox->refusal.leaf, params, count,
			 binary);
}

/* Nothing is taken; but the server looks at rights, rules and statement triggers. */
static void ask_probe(struct outbox *outbox)
{
	struct pg_int8 first = outbox_above(outbox->refusal.low_watermark), none = pg_put_int8(0);
	struct pg_param params[5] = {pg_param_int8(&first), pg_param_int8(&none),
				     pg_param_int8(&none), pg_param_text(outbox->held_text)};
	int count = session_param_mine(outbox->session, params, 4);
	session_ask_leaf(&outbox->examining, TAG_PROBE, "claim", outbox->refusal.leaf, params,
			 count, true);
}

void outbox_examine(struct outbox *outbox)
{
	session_begin(outbox->session);
	ask_probe(outbox);
	ask_one(outbox, TAG_SUSPECT, "suspect", outbox_above(outbox->refusal.low_watermark), false);
	session_sync(outbox->session);
}

static void on_probe(struct outbox *outbox, PGresult *result)
{
	struct refusal *refusal = &outbox->refusal;
	PQclear(result);
	/* Not every row's fault after all. */
	if (!refusal->alone)
		refusal->failure.narrow = true;
}

static void on_suspect(struct outbox *outbox, PGresult *result)
{
	struct refusal *refusal = &outbox->refusal;
	struct outbox_hold *suspect = &refusal->suspect;
	if (!refusal->alone || PQntuples(result) == 0) {
		PQclear(result);
		outbox_abort(outbox);
		return;
	}
	suspect->id = strtoll(PQgetvalue(result, 0, ROW_ID), NULL, 10);
	suspect->key = strtoll(PQgetvalue(result, 0, ROW_KEY), NULL, 10);
	suspect->leaf = refusal->leaf;
	if (!PQgetisnull(result, 0, ROW_IDENTITY))
		suspect->identity = xstrdup(PQgetvalue(result, 0, ROW_IDENTITY));
	PQclear(result);
	ask_one(outbox, TAG_TAKE, "claim_exact", pg_put_int8(suspect->id), true);
	session_sync(outbox->session);
}

/* Tells as a failure that concerns all. */
static void stop_all(struct outbox *outbox, const char *format, const char *why)
{
	struct refusal *refusal = &outbox->refusal;
	error_set(&refusal->why, format, why);
	refusal->failure = (struct failure){.why = refusal->why.text, .wait = true};
}

static void hold_suspect(struct outbox *outbox, const char *why)
{
	struct refusal *refusal = &outbox->refusal;
	refusal->suspect.why = (char *)(uintptr_t)why;
	if (!outbox_hold(outbox, &refusal->suspect))
		stop_all(outbox,
			 "a thousand events cannot be removed from the table, and no more is "
			 "claimed; the last: %s; remove the cause",
			 why);
	refusal->suspect.why = NULL;
}

/* One row by its identity, as parameters. */
static void name_row(const struct outbox_hold *hold, struct outbox_ids *ids, struct pg_param *given)
{
	struct slice identity = hold->identity != NULL ? slice_of(hold->identity) : SLICE_NULL;
	struct outbox_ids_item item = {hold->id, identity, NULL};
	outbox_ids_published(ids, &item, 1);
	given[0] = pg_param_text(ids->ids);
	given[1] = pg_param_text(ids->identities);
}

static void ask_took(struct outbox *outbox)
{
	const struct outbox_hold *suspect = &outbox->refusal.suspect;
	struct pg_param given[2];
	struct outbox_ids ids;
	name_row(suspect, &ids, given);
	session_ask_leaf(&outbox->examining, TAG_TOOK, "still", suspect->leaf, given, 2, false);
	session_sync(outbox->session);
	outbox_ids_free(&ids);
}

static void on_take(struct outbox *outbox, PGresult *result)
{
	bool taken = PQntuples(result) > 0 && !outbox_claim_kept(result);
	PQclear(result);
	if (taken) {
		ask_took(outbox);
		return;
	}
	hold_suspect(outbox, kept_words);
	outbox_abort(outbox);
}

static void on_took(struct outbox *outbox, PGresult *result)
{
	struct refusal *refusal = &outbox->refusal;
	bool back = PQntuples(result) > 0;
	PQclear(result);
	if (back)
		hold_suspect(outbox, kept_words);
	else if (!refusal->exact && !refusal->unasked)
		outbox->exact_claims++; /* it can go if it is measured first */
	outbox_abort(outbox);
}

void outbox_examine_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	if (tag == TAG_PROBE)
		on_probe(outbox, result);
	else if (tag == TAG_SUSPECT)
		on_suspect(outbox, result);
	else if (tag == TAG_TAKE)
		on_take(outbox, result);
	else
		on_took(outbox, result);
}

bool outbox_examine_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	if (failure->tag == TAG_PROBE)
		stop_all(outbox, "no event can be claimed: %s", failure->why);
	else if (failure->tag == TAG_SUSPECT)
		stop_all(outbox, "the next event can be neither claimed nor named: %s",
			 failure->why);
	else if (outbox_passes(outbox, failure->state))
		stop_all(outbox, "%s", failure->why);
	else
		hold_suspect(outbox, failure->why);
	outbox_abort(outbox);
	return true;
}

/* ---- trying held rows again ---- */

/* A statement that takes no parameter, of a retest. */
static void say(struct outbox *outbox, const char *sql)
{
	session_ask_text(&outbox->retesting, TAG_RESETTLED, sql, NULL, 0);
}

/* Each in a transaction of its own, whose end is a group of its own: it comes whatever the answer
 * to the middle is. Mostly the row still cannot go, and the server writes the statement that failed
 * into its log: the short one is tried before the claim, which is long. */
static void take_one(struct outbox *outbox, const struct outbox_hold *hold,
		     const struct pg_param *given)
{
	struct pg_int8 first = pg_put_int8(hold->id);
	struct pg_param params[3] = {pg_param_int8(&first), pg_param_text(NULL)};
	int count = session_param_mine(outbox->session, params, 2);
	session_begin(outbox->session);
	say(outbox, "SAVEPOINT before");
	session_ask_leaf(&outbox->retesting, TAG_RESETTLED, "settle", hold->leaf, given, 2, false);
	say(outbox, "ROLLBACK TO SAVEPOINT before");
	session_ask_leaf(&outbox->retesting, TAG_RETEST, "claim_exact", hold->leaf, params, count,
			 true);
	session_ask_leaf(&outbox->retesting, TAG_RETOOK, "still", hold->leaf, given, 2, false);
	session_sync(outbox->session);
	session_roll_back(outbox->session, NULL, NULL);
}

static void settle_one(struct outbox *outbox, const struct pg_param *given)
{
	session_begin(outbox->session);
	session_sync(outbox->session);
	session_ask_all_leaves(&outbox->retesting, TAG_RESETTLED, "settle", given, 2);
	session_sync(outbox->session);
	session_ask(&outbox->retesting, TAG_RESETTLED, "commit", NULL, 0, false);
	session_sync(outbox->session);
}

static void retest(struct outbox *outbox, const struct outbox_hold *hold)
{
	struct retests *retests = &outbox->retests;
	struct outbox_ids ids;
	struct pg_param given[2];
	name_row(hold, &ids, given);
	retests->items[retests->count].id = hold->id;
	retests->items[retests->count].can_go = false;
	retests->items[retests->count++].identity =
	    hold->identity != NULL ? xstrdup(hold->identity) : NULL;
	if (hold->published)
		settle_one(outbox, given);
	else
		take_one(outbox, hold, given);
	session_ask_all_leaves(&outbox->retesting, TAG_RESTILL, "still", given, 2);
	session_sync(outbox->session);
	outbox_ids_free(&ids);
}

void outbox_retest(struct outbox *outbox)
{
	struct retests *retests = &outbox->retests;
	size_t waiting = outbox_holds_waiting(&outbox->holds);
	if (retests->answered < retests->count)
		return; /* those before are under way */
	outbox_retests_forget(outbox);
	retests->answers_left = outbox->shape->leaf_count;
	if (waiting > 0)
		outbox_open_leaves(outbox);
	for (size_t i = 0; i < waiting && i < RETESTS_MAX; i++)
		retest(outbox, outbox_holds_next(&outbox->holds));
}

/* Whether it was this very row that could be taken. */
static void on_retest(struct outbox *outbox, PGresult *result)
{
	struct retests *retests = &outbox->retests;
	if (PQntuples(result) == 1 && !outbox_claim_kept(result))
		retests->items[retests->answered].can_go =
		    pg_get_int8(PQgetvalue(result, 0, CLAIM_ID)) ==
		    retests->items[retests->answered].id;
	PQclear(result);
}

/* A trigger has put it back. */
static void on_retook(struct outbox *outbox, PGresult *result)
{
	struct retests *retests = &outbox->retests;
	if (PQntuples(result) > 0)
		retests->items[retests->answered].can_go = false;
	PQclear(result);
}

static void retests_done(struct outbox *outbox)
{
	struct retests *retests = &outbox->retests;
	if (retests->released == 0)
		return;
	outbox_holds_changed(outbox);
	/* More may be good for the same reason. */
	if (retests->released == RETESTS_MAX)
		outbox_polled(outbox, POLL_UNFINISHED);
	outbox_polled(outbox, POLL_RELEASED);
}

/* Another relay has the shard of a row that is held: it finds out for itself. */
static bool is_mine(const struct outbox *outbox, const struct outbox_hold *hold)
{
	const struct outbox_shape *shape = outbox->shape;
	const struct shards *shards = &outbox->source.shards;
	if (shape->competing || (shape->hashed == 0 && !shape->partitioned))
		return shards_owned(shards) > 0;
	if (shape->hashed == 0)
		return hold->leaf < (size_t)shards->count && shards->owned[hold->leaf];
	return shards->owned[(hold->key & INT64_MAX) % shape->hashed];
}

static void release(struct outbox *outbox, struct outbox_hold *hold)
{
	bool mine = is_mine(outbox, hold);
	log_info("event %" PRId64 " (event_id %.64s) %s table %s%s", hold->id,
		 hold->identity != NULL ? hold->identity : "NULL",
		 mine ? "can be removed from" : "is another relay's to remove from",
		 outbox->config->outbox.table,
		 mine ? " again, or is gone: its key goes on" : " now");
	outbox_holds_release(&outbox->holds, hold);
	outbox->retests.released++;
}

/* A leaf's answer; with the last one it is known whether the row is still there. */
static void on_restill(struct outbox *outbox, PGresult *result)
{
	struct retests *retests = &outbox->retests;
	retests->there |= PQntuples(result) > 0;
	PQclear(result);
	if (--retests->answers_left > 0)
		return;
	size_t at = retests->answered++;
	struct outbox_hold *hold =
	    outbox_holds_find(&outbox->holds, retests->items[at].id, retests->items[at].identity);
	if (hold != NULL && (retests->items[at].can_go || !retests->there ||
			     (!hold->published && !is_mine(outbox, hold))))
		release(outbox, hold);
	retests->there = false;
	retests->answers_left = outbox->shape->leaf_count;
	if (retests->answered == retests->count)
		retests_done(outbox);
}

void outbox_retest_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	if (tag == TAG_RETEST)
		on_retest(outbox, result);
	else if (tag == TAG_RETOOK)
		on_retook(outbox, result);
	else if (tag == TAG_RESTILL)
		on_restill(outbox, result);
	else
		PQclear(result);
}

/* It stays held. */
bool outbox_retest_refused(void *part, const struct pg_failure *failure)
{
	(void)part;
	return failure->tag != TAG_RESTILL;
}

void outbox_retests_forget(void *part)
{
	struct outbox *outbox = part;
	struct retests *retests = &outbox->retests;
	for (size_t i = 0; i < retests->count; i++)
		free(retests->items[i].identity);
	memset(retests, 0, sizeof(*retests));
}
