/* SPDX-License-Identifier: ISC */
/*
 * trial.h - claims one row alone, which was rejected: it is to be published again
 *
 * Tells what claim.h tells of a claim.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_TRIAL_H
#define OUTBOX_OUTBOX_TRIAL_H

#include "claim.h"

struct trial;

struct trial *trial_new(struct session *session, struct held *held,
			const struct claimer_events *events, void *owner);
void trial_free(struct trial **trial);

/* Begins a transaction and claims the row that held_try names. */
void trial_ask(struct trial *trial);

#endif
