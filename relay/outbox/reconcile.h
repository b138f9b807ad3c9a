/* SPDX-License-Identifier: ISC */
/*
 * reconcile.h - settling rows by their identity, in transactions of their own
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_RECONCILE_H
#define OUTBOX_OUTBOX_RECONCILE_H

#include "core/batch.h"
#include "held.h"
#include "ids.h"
#include "letters.h"

struct reconciler;

struct reconciler *reconciler_new(struct session *session, struct opening *opening,
				  struct held *held, struct letters *letters,
				  void (*done)(void *owner), void *owner);
void reconciler_free(struct reconciler **reconciler);

/* Of a batch that outlives it, those that are delivered and, unless the policy halts, those
 * that are rejected, and those that are deferred; then done. Outside a transaction. */
void reconciler_start(struct reconciler *reconciler, const struct batch *batch,
		      enum reject_policy policy);

/* Settles so many items that are published, whatever became of their batches: then. The items are
 * copied, and borrow until then. */
void reconciler_settle(struct reconciler *reconciler, const struct outbox_ids_item *items,
		       size_t count, void (*then)(void *arg), void *arg);

/* Of these: how many are there still, and are held now. */
size_t reconciler_kept(const struct reconciler *reconciler);

#endif
