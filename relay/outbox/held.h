/* SPDX-License-Identifier: ISC */
/*
 * held.h - the rows that do not go: says which, and tries them again
 *
 * What is held, and why, is in holds.h. Writes what source.h says of held events.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_HELD_H
#define OUTBOX_OUTBOX_HELD_H

#include "holds.h"
#include "open.h"

struct held;

/* released: some rows can be claimed again, or one can be tried alone; more: others probably too,
 * it is worth trying soon. */
struct held *held_new(struct session *session, struct opening *opening, struct source *source,
		      void (*released)(void *owner, bool more), void *owner);
void held_free(struct held **held);

/* Why, if nothing was refused. */
extern const char held_kept_words[];

/* Holds a row and reports it. False if no more can be held. Takes copies. */
bool held_add(struct held *held, const struct outbox_hold *hold);

/* A claim begins at the first id: what was released is claimed in its order. */
void held_claim_released(struct held *held);

/* What claims leave out, as a parameter. */
struct pg_param held_param(const struct held *held);
bool held_is_empty(const struct held *held);
bool held_releases(const struct held *held);

/* Whether nothing is published past what is held, as source.h says: the one place that knows. To be
 * asked whenever anything may have changed. */
bool held_halts(struct held *held);

/* Tries some of the held rows again; outside a transaction. */
void held_retest(struct held *held);

/* Whether a row that was rejected is to be claimed alone. */
bool held_tries(const struct held *held);

/* It is: which, and in which leaf. */
const struct outbox_hold *held_try(struct held *held);

/* It cannot be removed, and why: it is held for that, no longer because it was rejected. */
void held_explain(struct held *held, const char *why);

/* The transaction that had claimed it alone is committed; or that is over: another one begins, or
 * the row was not to be had. */
void held_end_try(struct held *held, bool committed);

/* A row of outbox_sql_still's answer from this leaf; its texts are borrowed from that. */
struct outbox_hold held_row(const PGresult *result, int row, size_t leaf);

#endif
