/* SPDX-License-Identifier: ISC */
/*
 * rejects.h - holds what was rejected and is not to be a dead letter
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_REJECTS_H
#define OUTBOX_OUTBOX_REJECTS_H

#include "core/batch.h"
#include "held.h"

struct rejects;

struct rejects *rejects_new(struct session *session, struct opening *opening, struct held *held,
			    void (*done)(void *owner), void *owner);
void rejects_free(struct rejects **rejects);

/* Looks for the rejected rows of a batch that has lost its transaction, and holds those that are
 * there; then done. Outside a transaction. The batch is borrowed until then. */
void rejects_hold(struct rejects *rejects, const struct batch *batch);

#endif
