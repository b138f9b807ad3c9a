/*
 * reconcile.c - settling rows by their identity, in a transaction of its own
 *
 * Of a batch whose transaction is gone, what Kafka has acknowledged is removed (or marked) and what
 * can never be published is moved to the dead letters. Normally that is one transaction. If the
 * server refuses it, it is tried with half as many rows, down to one, and the row that cannot go by
 * itself is held; after a success with twice as many. What was not removed though nothing was
 * refused is held as well: it may be locked, or kept by a trigger, and must not be published again.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ids.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* Thousands of rows may be locked at the same time. */
enum { HOLDS_FULL_US = 60 * 1000 * 1000 };

static const char stays_words[] =
    "it is locked by another session, or a trigger or rule of the table keeps it";

static void warn_of_bare_letters(const struct reconciliation *reconciliation)
{
	const struct outbox_ids_item *items = reconciliation->items + reconciliation->at;
	for (size_t i = 0; i < reconciliation->size; i++)
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
		session_ask_all_leaves(&outbox->reconciling, TAG_RECONCILE, "settle", params, 2);
	outbox_ids_free(&ids);
}

static void dead_letter(struct outbox *outbox, const struct outbox_ids_item *items, size_t count)
{
	struct outbox_ids ids;
	outbox_ids_rejected(&ids, items, count, session_is_utf8(outbox->session));
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities),
				    pg_param_text(ids.reasons), pg_param_text(ids.errors)};
	if (ids.count > 0)
		session_ask_all_leaves(&outbox->reconciling, TAG_DEAD_LETTER,
				       outbox->bare_letters ? "set_aside_bare" : "set_aside",
				       params, 4);
	outbox_ids_free(&ids);
}

/* ---- what stays ---- */

/* Looks for all items of this try, be they published or rejected. */
static void find(struct outbox *outbox)
{
	struct reconciliation *reconciliation = &outbox->reconciliation;
	struct outbox_ids_item *items = xcalloc(reconciliation->size + 1, sizeof(*items));
	struct outbox_ids ids;
	memcpy(items, reconciliation->items + reconciliation->at,
	       reconciliation->size * sizeof(*items));
	for (size_t i = 0; i < reconciliation->size; i++)
		items[i].rejected = NULL;
	outbox_ids_published(&ids, items, reconciliation->size);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	reconciliation->answers_left = outbox->shape->leaf_count;
	session_ask_all_leaves(&outbox->reconciling, TAG_STILL, "still", params, 2);
	session_sync(outbox->session);
	outbox_ids_free(&ids);
	free(items);
}

static bool is_rejected(const struct reconciliation *reconciliation, const struct outbox_hold *held)
{
	struct slice identity = held->identity != NULL ? slice_of(held->identity) : SLICE_NULL;
	for (size_t i = reconciliation->at; i < reconciliation->at + reconciliation->size; i++)
		if (reconciliation->items[i].id == held->id &&
		    slice_equal(reconciliation->items[i].identity, identity))
			return reconciliation->items[i].rejected != NULL;
	return false;
}

static void hold(struct outbox *outbox, const PGresult *result, int row, size_t leaf)
{
	const struct reconciliation *reconciliation = &outbox->reconciliation;
	bool refused = reconciliation->why.text[0] != '\0';
	const char *why = refused ? reconciliation->why.text : stays_words;
	struct outbox_hold held = {.id = strtoll(PQgetvalue(result, row, ROW_ID), NULL, 10),
				   .key = strtoll(PQgetvalue(result, row, ROW_KEY), NULL, 10),
				   .identity = PQgetisnull(result, row, ROW_IDENTITY)
						   ? NULL
						   : PQgetvalue(result, row, ROW_IDENTITY),
				   .why = (char *)(uintptr_t)why,
				   .leaf = leaf};
	held.published = !is_rejected(reconciliation, &held);
	if (!outbox_hold(outbox, &held) &&
	    log_limit_due(&outbox->holds_full, clock_monotonic_us(), HOLDS_FULL_US))
		log_error("event %lld is published and cannot be removed: %s; with a thousand such "
			  "events no more are remembered, and it is published again%s",
			  (long long)held.id, why, outbox->holds_full.note);
}

/* ---- one try after the other ---- */

static void done(struct outbox *outbox)
{
	outbox_reconciliation_forget(outbox);
	outbox->source.events->reconciled(outbox->source.owner);
}

static void try(struct outbox *outbox)
{
	struct reconciliation *reconciliation = &outbox->reconciliation;
	const struct outbox_ids_item *items = reconciliation->items + reconciliation->at;
	reconciliation->removed = 0;
	session_begin(outbox->session);
	settle_published(outbox, items, reconciliation->size);
	dead_letter(outbox, items, reconciliation->size);
	if (outbox->bare_letters)
		warn_of_bare_letters(reconciliation);
	session_commit(&outbox->reconciling, TAG_RECONCILED);
}

static void next(void *part)
{
	struct outbox *outbox = part;
	struct reconciliation *reconciliation = &outbox->reconciliation;
	if (reconciliation->at == reconciliation->count) {
		done(outbox);
		return;
	}
	if (reconciliation->size > reconciliation->count - reconciliation->at)
		reconciliation->size = reconciliation->count - reconciliation->at;
	if (reconciliation->why.text[0] != '\0')
		find(outbox); /* this one row was refused */
	else
		try(outbox);
}

static void advance(struct outbox *outbox)
{
	struct reconciliation *reconciliation = &outbox->reconciliation;
	reconciliation->at += reconciliation->size;
	reconciliation->size *= 2;
	reconciliation->why.text[0] = '\0';
	next(outbox);
}

/* ---- answers ---- */

/* Where relays compete, another one may have claimed what is still there. */
static void on_reconciled(struct outbox *outbox, PGresult *result)
{
	struct reconciliation *reconciliation = &outbox->reconciliation;
	if (!session_committed(outbox->session, result))
		return;
	if (reconciliation->removed < reconciliation->size && !outbox->shape->competing)
		find(outbox);
	else
		advance(outbox);
}

static void on_still(struct outbox *outbox, PGresult *result)
{
	struct reconciliation *reconciliation = &outbox->reconciliation;
	size_t leaf = outbox->shape->leaf_count - reconciliation->answers_left;
	for (int i = 0; i < PQntuples(result); i++)
		hold(outbox, result, i, leaf);
	PQclear(result);
	if (--reconciliation->answers_left == 0)
		advance(outbox);
}

void outbox_reconcile_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	switch (tag) {
	case TAG_DEAD_LETTER:
		outbox->bare_letters = false;
		/* fall through */
	case TAG_RECONCILE:
		outbox->reconciliation.removed += strtoul(PQcmdTuples(result), NULL, 10);
		PQclear(result);
		break;
	case TAG_RECONCILED:
		on_reconciled(outbox, result);
		break;
	case TAG_STILL:
		on_still(outbox, result);
		break;
	default:
		PQclear(result);
		break;
	}
}

/* A value that jsonb cannot hold: data exception, program limit exceeded. */
static bool is_for_extra(const struct pg_failure *failure)
{
	return failure->tag == TAG_DEAD_LETTER &&
	       (strncmp(failure->state, "22", 2) == 0 || strncmp(failure->state, "54", 2) == 0);
}

bool outbox_reconcile_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	struct reconciliation *reconciliation = &outbox->reconciliation;
	if (failure->tag == TAG_STILL || outbox_passes(outbox, failure->state))
		return false; /* the next session tries again */
	if (failure->tag == TAG_RECONCILED)
		session_guard(outbox->session);
	if (!outbox->bare_letters && is_for_extra(failure)) {
		outbox->bare_letters = true;
		log_warning("%s; a column that has no place of its own in a dead letter makes no "
			    "jsonb: the events are dead-lettered without these columns",
			    failure->why);
	} else if (reconciliation->size > 1) {
		reconciliation->size /= 2;
	} else {
		error_set(&reconciliation->why, "%s", failure->why);
	}
	session_abort(outbox->session, next, outbox);
	return true;
}

/* ---- asks ---- */

void outbox_reconcile(struct outbox *outbox, const struct batch *batch, bool dead_letter)
{
	struct reconciliation *reconciliation = &outbox->reconciliation;
	struct batch_walk walk;
	outbox_reconciliation_forget(outbox);
	reconciliation->items =
	    xcalloc(batch->delivered + batch->rejected + 1, sizeof(*reconciliation->items));
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == EVENT_DELIVERED || (dead_letter && e->state == EVENT_REJECTED))
			reconciliation->items[reconciliation->count++] = (struct outbox_ids_item){
			    e->id, e->identity, e->state == EVENT_REJECTED ? e : NULL};
	reconciliation->size = reconciliation->count;
	outbox_open_leaves(outbox);
	next(outbox);
}

void outbox_reconciliation_forget(void *part)
{
	struct outbox *outbox = part;
	struct reconciliation *reconciliation = &outbox->reconciliation;
	free(reconciliation->items);
	*reconciliation = (struct reconciliation){0};
}
