/* SPDX-License-Identifier: ISC */
/*
 * reconcile.c - settling rows by their identity, in a transaction of its own
 *
 * Of a batch whose transaction is gone, what Kafka has acknowledged is removed (or marked) and what
 * can never be published is moved to the dead letters, unless the relay halts at it (rejects.c).
 * Normally that is one transaction. If the server refuses it, it is tried with half as many rows,
 * down to one, and the row that cannot go by itself is held; after a success with twice as many.
 * What was not removed though nothing was refused is held as well: it may be locked, or kept by a
 * trigger, and must not be published again.
 */
#include "reconcile.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "ids.h"
#include "letters.h"
#include "rejects.h"

#include <stdlib.h>
#include <string.h>

enum {
	TAG_RECONCILE = TAG_IGNORE + 1,
	TAG_ROW_OF_LETTER, /* one that is a row again */
	TAG_DEAD_LETTER,
	TAG_RECONCILED,
	TAG_STILL /* of those that were to be removed */
};

/* Thousands of rows may be locked at the same time. */
enum { HOLDS_FULL_US = 60 * 1000 * 1000 };

struct reconciler {
	struct session *session;
	struct asker asker;
	struct opening *opening;
	struct held *held;
	struct letters *letters;
	struct rejects *rejects; /* owned */
	const struct batch
	    *kept_back; /* borrowed; what was rejected of it is to be held; or NULL */
	void (*done)(void *owner);
	void *owner;
	void (*then)(void *arg); /* of the items under way: done, or what else was asked for */
	void *arg;
	struct log_limit full_log; /* that there is no room for more held rows */
	bool bare; /* the next dead letters are to lack other columns; outlives the session */
	struct outbox_ids_item *items; /* owned */
	size_t count, at, size;	       /* the next try is of so many, from here */
	bool in_doubt;		       /* the database may have lost commits since */
	size_t removed;		       /* by this try */
	size_t kept;		       /* that were published and are there still, in all tries */
	size_t answers_left;
	struct error why; /* the server's, of a try of one */
};

static const char stays_words[] =
    "it is locked by another session, or a trigger or rule of the table keeps it";

static void warn_of_bare(const struct reconciler *reconciler)
{
	const struct outbox_ids_item *items = reconciler->items + reconciler->at;
	for (size_t i = 0; i < reconciler->size; i++)
		if (items[i].rejected != NULL)
			log_fact(LOG_WARNING, "dead_letter_incomplete",
				 LOG_FIELDS(field_number("id", items[i].id)),
				 "event %lld is dead-lettered without the columns that have no "
				 "place of their own in a dead letter",
				 (long long)items[i].id);
}

static void settle_published(struct reconciler *reconciler, int tag,
			     const struct outbox_ids_item *items, size_t count)
{
	struct outbox_ids ids;
	outbox_ids_published(&ids, items, count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	if (ids.count > 0)
		session_ask_all_leaves(&reconciler->asker, tag, "settle", params, 2);
	outbox_ids_free(&ids);
}

/* The items of this try as rows, with those that its letters were if they are in doubt. malloc'd */
static struct outbox_ids_item *as_rows(const struct reconciler *reconciler, size_t *count)
{
	const struct outbox_ids_item *items = reconciler->items + reconciler->at;
	size_t size = reconciler->size;
	struct outbox_ids_item *rows = xcalloc(2 * size + 1, sizeof(*rows));
	memcpy(rows, items, size * sizeof(*rows));
	for (size_t i = 0; i < size; i++)
		rows[i].rejected = NULL;
	*count = size;
	if (reconciler->in_doubt)
		*count += outbox_ids_rows_of_letters(rows + size, items, size);
	return rows;
}

/* They are not counted: their letters are, unless these are lost. */
static void settle_rows_of_letters(struct reconciler *reconciler)
{
	size_t count;
	struct outbox_ids_item *rows = as_rows(reconciler, &count);
	settle_published(reconciler, TAG_ROW_OF_LETTER, rows + reconciler->size,
			 count - reconciler->size);
	free(rows);
}

static void dead_letter(struct reconciler *reconciler, const struct outbox_ids_item *items,
			size_t count)
{
	struct outbox_ids ids;
	outbox_ids_rejected(&ids, items, count, session_is_utf8(reconciler->session));
	struct pg_param params[] = {
	    pg_param_text(ids.ids),	pg_param_text(ids.identities),
	    pg_param_text(ids.reasons), pg_param_text(ids.errors),
	    pg_param_text(ids.held),	letters_copied(reconciler->letters)};
	if (ids.count > 0)
		session_ask_all_leaves(&reconciler->asker, TAG_DEAD_LETTER,
				       reconciler->bare ? "dead_letter_bare" : "dead_letter",
				       params, 6);
	outbox_ids_free(&ids);
}

/* ---- what stays ---- */

/* Looks for all items of this try, be they published or rejected. */
static void find(struct reconciler *reconciler)
{
	size_t count;
	struct outbox_ids_item *rows = as_rows(reconciler, &count);
	struct outbox_ids ids;
	outbox_ids_published(&ids, rows, count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	reconciler->answers_left = session_shape(reconciler->session)->leaf_count;
	session_ask_all_leaves(&reconciler->asker, TAG_STILL, "still", params, 2);
	session_sync(reconciler->session);
	outbox_ids_free(&ids);
	free(rows);
}

static bool is_rejected(const struct reconciler *reconciler, const struct outbox_hold *held)
{
	struct slice identity = held->identity != NULL ? slice_of(held->identity) : SLICE_NULL;
	for (size_t i = reconciler->at; i < reconciler->at + reconciler->size; i++)
		if (reconciler->items[i].id == held->id &&
		    slice_equal(reconciler->items[i].identity, identity))
			return reconciler->items[i].rejected != NULL;
	return false;
}

static void hold(struct reconciler *reconciler, const PGresult *result, int row, size_t leaf)
{
	bool refused = reconciler->why.text[0] != '\0';
	const char *why = refused ? reconciler->why.text : stays_words;
	struct outbox_hold held = held_row(result, row, leaf);
	held.why = (char *)(uintptr_t)why;
	held.published = !is_rejected(reconciler, &held);
	reconciler->kept += held.published;
	if (!held_add(reconciler->held, &held) &&
	    log_limit_due(&reconciler->full_log, clock_monotonic_us(), HOLDS_FULL_US))
		log_fact(LOG_ERROR, "event_not_removed",
			 LOG_FIELDS(field_number("id", held.id),
				    field_text("event_id", held.identity), field_sqlstate(why)),
			 "event %lld is published and cannot be removed: %s; with a thousand such "
			 "events no more are remembered, and it is published again%s",
			 (long long)held.id, why, reconciler->full_log.note);
}

/* This one item was refused. A letter, or the note of a copy, is no row to be looked for: it is
 * where it was. */
static void keep(struct reconciler *reconciler)
{
	const struct outbox_ids_item *item = reconciler->items + reconciler->at;
	reconciler->kept += item->letter != 0 || item->copy != NULL;
	find(reconciler);
}

/* ---- one try after the other ---- */

static void forget(void *part)
{
	struct reconciler *reconciler = part;
	free(reconciler->items);
	reconciler->items = NULL;
	reconciler->count = reconciler->at = reconciler->size = 0;
	reconciler->why.text[0] = '\0';
}

static void try(struct reconciler *reconciler)
{
	const struct outbox_ids_item *items = reconciler->items + reconciler->at;
	reconciler->removed = 0;
	session_begin(reconciler->session);
	/* In this order: where an id stands for two rows, what was not published is not removed. */
	dead_letter(reconciler, items, reconciler->size);
	settle_published(reconciler, TAG_RECONCILE, items, reconciler->size);
	settle_rows_of_letters(reconciler);
	letters_settle(&reconciler->asker, TAG_RECONCILE, items, reconciler->size);
	letters_keep(reconciler->letters, &reconciler->asker, TAG_RECONCILE, items,
		     reconciler->size);
	if (reconciler->bare)
		warn_of_bare(reconciler);
	session_commit(&reconciler->asker, TAG_RECONCILED);
}

static void next(void *part)
{
	struct reconciler *reconciler = part;
	if (reconciler->at == reconciler->count) {
		forget(reconciler);
		if (reconciler->kept_back != NULL)
			rejects_hold(reconciler->rejects, reconciler->kept_back);
		else
			reconciler->then(reconciler->arg);
		return;
	}
	if (reconciler->size > reconciler->count - reconciler->at)
		reconciler->size = reconciler->count - reconciler->at;
	if (reconciler->why.text[0] != '\0')
		keep(reconciler);
	else
		try(reconciler);
}

static void advance(struct reconciler *reconciler)
{
	reconciler->at += reconciler->size;
	reconciler->size *= 2;
	reconciler->why.text[0] = '\0';
	next(reconciler);
}

/* ---- answers ---- */

/* Where relays compete, another one may have claimed what is still there. */
static void on_reconciled(struct reconciler *reconciler, PGresult *result)
{
	if (!session_committed(reconciler->session, result))
		return;
	if (reconciler->removed < reconciler->size &&
	    !session_shape(reconciler->session)->competing)
		find(reconciler);
	else
		advance(reconciler);
}

static void on_still(struct reconciler *reconciler, PGresult *result)
{
	size_t leaf = session_shape(reconciler->session)->leaf_count - reconciler->answers_left;
	for (int i = 0; i < PQntuples(result); i++)
		hold(reconciler, result, i, leaf);
	PQclear(result);
	if (--reconciler->answers_left == 0)
		advance(reconciler);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct reconciler *reconciler = part;
	switch (tag) {
	case TAG_DEAD_LETTER:
		reconciler->bare = false;
		/* fall through */
	case TAG_RECONCILE:
		reconciler->removed += strtoul(PQcmdTuples(result), NULL, 10);
		PQclear(result);
		break;
	case TAG_RECONCILED:
		on_reconciled(reconciler, result);
		break;
	case TAG_STILL:
		on_still(reconciler, result);
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

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct reconciler *reconciler = part;
	if (failure->tag == TAG_STILL || session_passes(reconciler->session, failure->state))
		return false; /* the next session tries again */
	if (failure->tag == TAG_RECONCILED)
		session_guard(reconciler->session);
	if (!reconciler->bare && is_for_extra(failure)) {
		reconciler->bare = true;
		log_fact(LOG_WARNING, "dead_letter_incomplete",
			 LOG_FIELDS(field_text("sqlstate", failure->state)),
			 "%s; a column that has no place of its own in a dead letter makes no "
			 "jsonb: the events are dead-lettered without these columns",
			 failure->why);
	} else if (reconciler->size > 1) {
		reconciler->size /= 2;
	} else {
		error_set(&reconciler->why, "%s", failure->why);
	}
	session_abort(reconciler->session, next, reconciler);
	return true;
}

/* ---- making one ---- */

/* A letter that halts stays where it is. */
static bool is_settled(const struct event *event, enum reject_policy policy)
{
	bool stays = policy == REJECT_HALTS && event->letter == 0;
	if (event->copy != NULL)
		return event->state == EVENT_DELIVERED;
	return event->state == EVENT_DELIVERED || event->state == EVENT_DEFERRED ||
	       (event->state == EVENT_REJECTED && !stays);
}

/* Whether a letter has a key to park is known to the database (outbox_sql_letters_refused). */
static struct outbox_ids_item item_of(const struct event *event, enum reject_policy policy,
				      bool competing)
{
	bool rejected = event->state == EVENT_REJECTED || event->state == EVENT_DEFERRED;
	bool parks = event->letter != 0 ? policy != REJECT_DEAD_LETTERS
					: policy == REJECT_PARKS && event->parks;
	return (struct outbox_ids_item){.id = event->id,
					.identity = event->identity,
					.rejected = rejected ? event : NULL,
					.parks = parks && !competing,
					.letter = event->letter,
					.copy = event->copy};
}

static void begin(struct reconciler *reconciler, void (*then)(void *arg), void *arg)
{
	reconciler->size = reconciler->count;
	reconciler->kept = 0;
	reconciler->then = then;
	reconciler->arg = arg;
	opening_prepare_all(reconciler->opening);
	next(reconciler);
}

void reconciler_start(struct reconciler *reconciler, const struct batch *batch,
		      enum reject_policy policy)
{
	bool competing = session_shape(reconciler->session)->competing;
	struct batch_walk walk;
	forget(reconciler);
	reconciler->items = xcalloc(batch->delivered + batch->rejected + batch->deferred + 1,
				    sizeof(*reconciler->items));
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (is_settled(e, policy))
			reconciler->items[reconciler->count++] = item_of(e, policy, competing);
	reconciler->in_doubt = false;
	reconciler->kept_back = batch->rejected > 0 && policy == REJECT_HALTS ? batch : NULL;
	begin(reconciler, reconciler->done, reconciler->owner);
}

void reconciler_settle(struct reconciler *reconciler, const struct outbox_ids_item *items,
		       size_t count, void (*then)(void *arg), void *arg)
{
	forget(reconciler);
	reconciler->items = xcalloc(count + 1, sizeof(*items));
	memcpy(reconciler->items, items, count * sizeof(*items));
	reconciler->count = count;
	reconciler->in_doubt = true;
	reconciler->kept_back = NULL;
	begin(reconciler, then, arg);
}

size_t reconciler_kept(const struct reconciler *reconciler)
{
	return reconciler->kept;
}

struct reconciler *reconciler_new(struct session *session, struct opening *opening,
				  struct held *held, struct letters *letters,
				  void (*done)(void *owner), void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, forget};
	struct reconciler *reconciler = xcalloc(1, sizeof(*reconciler));
	reconciler->session = session;
	reconciler->asker = session_join(session, &ops, reconciler);
	reconciler->opening = opening;
	reconciler->held = held;
	reconciler->letters = letters;
	reconciler->rejects = rejects_new(session, opening, held, done, owner);
	reconciler->done = done;
	reconciler->owner = owner;
	return reconciler;
}

void reconciler_free(struct reconciler **reconciler)
{
	if (*reconciler == NULL)
		return;
	forget(*reconciler);
	rejects_free(&(*reconciler)->rejects);
	free(*reconciler);
	*reconciler = NULL;
}
