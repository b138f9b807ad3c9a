/*
 * recover.c - settling rows by their identity, in a transaction of its own
 *
 * Of a batch whose transaction is gone, what Kafka has acknowledged is removed (or marked) and what
 * can never be published is moved to the dead letters. Of commits that a crash of the server undid,
 * the rows are removed again. Normally that is one transaction. If the server refuses it, it is
 * tried with half as many rows, down to one, and the row that cannot go by itself is held; after a
 * success with twice as many. What was not removed though nothing was refused is held as well: it
 * may be locked, or kept by a trigger, and must not be published again.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ids.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* Thousands of rows may be locked at once. */
enum { HOLDS_FULL_US = 60 * 1000 * 1000 };

static const char stays_words[] =
    "it is locked by another session, or a trigger or rule of the table keeps it";

static void warn_of_bare_letters(const struct recovery *recovery)
{
	const struct outbox_ids_item *items = recovery->items + recovery->at;
	for (size_t i = 0; i < recovery->size; i++)
		if (items[i].rejected != NULL)
			log_warning("event %lld is dead-lettered without the columns that have no "
				    "place of their own in a dead letter",
				    (long long)items[i].id);
}

static void settle_published(struct outbox *outbox, const struct outbox_ids_item *items,
			     size_t count)
{
	struct outbox_ids ids;
	outbox_ids_published(&ids, items, count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	if (ids.count > 0)
		outbox_ask_all_leaves(outbox, TAG_RECOVER, "settle", params, 2);
	outbox_ids_free(&ids);
}

static void dead_letter(struct outbox *outbox, const struct outbox_ids_item *items, size_t count)
{
	struct outbox_ids ids;
	outbox_ids_rejected(&ids, items, count, pg_is_utf8(outbox->pg));
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities),
				    pg_param_text(ids.reasons), pg_param_text(ids.errors)};
	if (ids.count > 0)
		outbox_ask_all_leaves(outbox, TAG_SET_ASIDE,
				      outbox->bare_letters ? "set_aside_bare" : "set_aside", params,
				      4);
	outbox_ids_free(&ids);
}

/* ---- what stays ---- */

/* Looks for all items of this try, be they published or rejected. */
static void find(struct outbox *outbox)
{
	struct recovery *recovery = &outbox->recovery;
	struct outbox_ids_item *items = xcalloc(recovery->size + 1, sizeof(*items));
	struct outbox_ids ids;
	memcpy(items, recovery->items + recovery->at, recovery->size * sizeof(*items));
	for (size_t i = 0; i < recovery->size; i++)
		items[i].rejected = NULL;
	outbox_ids_published(&ids, items, recovery->size);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	recovery->answers_left = outbox->shape.leaf_count;
	outbox_ask_all_leaves(outbox, TAG_STILL, "still", params, 2);
	pg_sync(outbox->pg);
	outbox_ids_free(&ids);
	free(items);
}

static bool is_rejected(const struct recovery *recovery, const struct outbox_hold *held)
{
	struct slice identity = held->identity != NULL ? slice_of(held->identity) : SLICE_NULL;
	for (size_t i = recovery->at; i < recovery->at + recovery->size; i++)
		if (recovery->items[i].id == held->id &&
		    slice_equal(recovery->items[i].identity, identity))
			return recovery->items[i].rejected != NULL;
	return false;
}

static void hold(struct outbox *outbox, const PGresult *result, int row, size_t leaf)
{
	const struct recovery *recovery = &outbox->recovery;
	bool refused = recovery->why.text[0] != '\0';
	const char *why = refused ? recovery->why.text : stays_words;
	struct outbox_hold held = {.id = strtoll(PQgetvalue(result, row, ROW_ID), NULL, 10),
				   .key = strtoll(PQgetvalue(result, row, ROW_KEY), NULL, 10),
				   .identity = PQgetisnull(result, row, ROW_IDENTITY)
						   ? NULL
						   : PQgetvalue(result, row, ROW_IDENTITY),
				   .why = (char *)(uintptr_t)why,
				   .leaf = leaf};
	held.published = !is_rejected(recovery, &held);
	if (!outbox_hold(outbox, &held) &&
	    thinned_due(&outbox->holds_full, clock_monotonic_us(), HOLDS_FULL_US))
		log_error("event %lld is published and cannot be removed: %s; with a thousand such "
			  "events no more are remembered, and it is published again%s",
			  (long long)held.id, why, outbox->holds_full.note);
}

/* ---- one try after the other ---- */

static void done(struct outbox *outbox)
{
	bool debt = outbox->recovery.debt;
	outbox_recovery_forget(outbox);
	if (debt)
		outbox_fleet_acquired(outbox, true);
	else
		outbox->source.events->recovered(outbox->source.owner);
}

static void try(struct outbox *outbox)
{
	struct recovery *recovery = &outbox->recovery;
	const struct outbox_ids_item *items = recovery->items + recovery->at;
	recovery->removed = 0;
	outbox_begin(outbox);
	settle_published(outbox, items, recovery->size);
	dead_letter(outbox, items, recovery->size);
	if (outbox->bare_letters)
		warn_of_bare_letters(recovery);
	outbox_commit_durably(outbox, TAG_RECOVERED);
}

/* Of commits that were undone, it has to be known first which rows are there. */
static void ask_undone(struct outbox *outbox)
{
	struct recovery *recovery = &outbox->recovery;
	recovery->answers_left = outbox->debt.count * outbox->shape.leaf_count;
	recovery->backing = xcalloc(recovery->answers_left + 1, sizeof(PGresult *));
	for (size_t i = 0; i < outbox->debt.count; i++) {
		const struct outbox_ids *ids = &outbox->debt.batches[i];
		struct pg_param params[] = {pg_param_text(ids->ids),
					    pg_param_text(ids->identities)};
		outbox_ask_all_leaves(outbox, TAG_UNDONE, "still", params, 2);
	}
	pg_sync(outbox->pg);
}

void outbox_recover_next(struct outbox *outbox)
{
	struct recovery *recovery = &outbox->recovery;
	outbox->refusal.dealing = false;
	if (recovery->debt && recovery->backing == NULL) {
		ask_undone(outbox);
		return;
	}
	if (recovery->at == recovery->count) {
		done(outbox);
		return;
	}
	if (recovery->size > recovery->count - recovery->at)
		recovery->size = recovery->count - recovery->at;
	if (recovery->why.text[0] != '\0')
		find(outbox); /* this one row was refused */
	else
		try(outbox);
}

static void advance(struct outbox *outbox)
{
	struct recovery *recovery = &outbox->recovery;
	recovery->at += recovery->size;
	recovery->size *= 2;
	recovery->why.text[0] = '\0';
	outbox_recover_next(outbox);
}

/* ---- answers ---- */

/* Where relays compete, another one may have claimed what is still there. */
static void on_recovered(struct outbox *outbox, PGresult *result)
{
	struct recovery *recovery = &outbox->recovery;
	/* What is in debt is remembered until all of it is settled. */
	bool paid = !recovery->debt || recovery->at + recovery->size == recovery->count;
	if (!outbox_committed(outbox, result, paid))
		return;
	if (recovery->removed < recovery->size && !outbox->shape.competing)
		find(outbox);
	else
		advance(outbox);
}

static void on_still(struct outbox *outbox, PGresult *result)
{
	struct recovery *recovery = &outbox->recovery;
	size_t leaf = outbox->shape.leaf_count - recovery->answers_left;
	for (int i = 0; i < PQntuples(result); i++)
		hold(outbox, result, i, leaf);
	PQclear(result);
	if (--recovery->answers_left == 0)
		advance(outbox);
}

static void add_undone(struct recovery *recovery, const PGresult *result, int row)
{
	struct outbox_ids_item *item = &recovery->items[recovery->count++];
	item->id = strtoll(PQgetvalue(result, row, ROW_ID), NULL, 10);
	item->identity = PQgetisnull(result, row, ROW_IDENTITY)
			     ? SLICE_NULL
			     : slice_of(PQgetvalue(result, row, ROW_IDENTITY));
	item->rejected = NULL;
}

static void on_undone(struct outbox *outbox, PGresult *result)
{
	struct recovery *recovery = &outbox->recovery;
	size_t rows = (size_t)PQntuples(result);
	recovery->backing[recovery->backing_count++] = result;
	recovery->items =
	    xrealloc(recovery->items, (recovery->count + rows + 1) * sizeof(*recovery->items));
	for (size_t i = 0; i < rows; i++)
		add_undone(recovery, result, (int)i);
	if (--recovery->answers_left > 0)
		return;
	recovery->size = recovery->count;
	outbox_recover_next(outbox);
}

void outbox_recover_answered(struct outbox *outbox, enum tag tag, PGresult *result)
{
	switch (tag) {
	case TAG_SET_ASIDE:
		outbox->bare_letters = false;
		/* fall through */
	case TAG_RECOVER:
		outbox->recovery.removed += strtoul(PQcmdTuples(result), NULL, 10);
		PQclear(result);
		break;
	case TAG_RECOVERED:
		on_recovered(outbox, result);
		break;
	case TAG_STILL:
		on_still(outbox, result);
		break;
	case TAG_UNDONE:
		on_undone(outbox, result);
		break;
	case TAG_DEBT_PAID:
		if (outbox_committed(outbox, result, true))
			outbox_fleet_acquired(outbox, true);
		break;
	default:
		PQclear(result);
		break;
	}
}

/* A value that jsonb cannot hold: data exception, program limit exceeded. */
static bool is_for_extra(const struct pg_failure *failure)
{
	return failure->tag == TAG_SET_ASIDE &&
	       (strncmp(failure->state, "22", 2) == 0 || strncmp(failure->state, "54", 2) == 0);
}

bool outbox_recover_refused(struct outbox *outbox, const struct pg_failure *failure)
{
	struct recovery *recovery = &outbox->recovery;
	if (outbox_passes(outbox, failure->state))
		return false; /* the next session tries again */
	if (failure->tag == TAG_RECOVERED || failure->tag == TAG_DEBT_PAID)
		outbox->guarded = true;
	if (failure->tag == TAG_DEBT || failure->tag == TAG_DEBT_PAID) {
		recovery->debt = true;
	} else if (!outbox->bare_letters && is_for_extra(failure)) {
		outbox->bare_letters = true;
		log_warning("%s; a column that has no place of its own in a dead letter makes no "
			    "jsonb: the events are dead-lettered without these columns",
			    failure->why);
	} else if (recovery->size > 1) {
		recovery->size /= 2;
	} else {
		error_set(&recovery->why, "%s", failure->why);
	}
	outbox_abort(outbox, THEN_RECOVER);
	return true;
}

/* ---- asks ---- */

void outbox_recover(struct source *source, const struct batch *batch, bool set_aside)
{
	struct outbox *outbox = (struct outbox *)source;
	struct recovery *recovery = &outbox->recovery;
	struct batch_walk walk;
	outbox_recovery_forget(outbox);
	recovery->items = xcalloc(batch->delivered + batch->rejected + 1, sizeof(*recovery->items));
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == EVENT_DELIVERED || (set_aside && e->state == EVENT_REJECTED))
			recovery->items[recovery->count++] = (struct outbox_ids_item){
			    e->id, e->identity, e->state == EVENT_REJECTED ? e : NULL};
	recovery->size = recovery->count;
	outbox_open_leaves(outbox);
	outbox_recover_next(outbox);
}

/* Settles again what an earlier session committed and may have lost. */
void outbox_pay_debt(struct outbox *outbox)
{
	outbox_recovery_forget(outbox);
	outbox_open_leaves(outbox);
	outbox_begin(outbox);
	for (size_t i = 0; i < outbox->debt.count; i++) {
		const struct outbox_ids *ids = &outbox->debt.batches[i];
		struct pg_param params[] = {pg_param_text(ids->ids),
					    pg_param_text(ids->identities)};
		outbox_ask_all_leaves(outbox, TAG_DEBT, "settle", params, 2);
	}
	outbox_commit_durably(outbox, TAG_DEBT_PAID);
}

void outbox_recovery_forget(struct outbox *outbox)
{
	struct recovery *recovery = &outbox->recovery;
	for (size_t i = 0; i < recovery->backing_count; i++)
		PQclear(recovery->backing[i]);
	free(recovery->backing);
	free(recovery->items);
	*recovery = (struct recovery){0};
}
