/* SPDX-License-Identifier: ISC */
/*
 * actions.h - what operators have last done to the outbox, for whoever watches the relay
 *
 * Asked of the database only while somebody watches (source->watched_us), and then every few
 * seconds at most, however often a page is asked for. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_ACTIONS_H
#define OUTBOX_OUTBOX_ACTIONS_H

#include "session.h"

struct actions;

/* Writes the source's actions. */
struct actions *actions_new(struct session *session, struct source *source);
void actions_free(struct actions **actions);

/* Asks, if it is due; outside a transaction. */
void actions_look(struct actions *actions);

#endif
