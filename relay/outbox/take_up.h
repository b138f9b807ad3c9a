/* SPDX-License-Identifier: ISC */
/*
 * take_up.h - makes positions those of our shards, where they are of others still
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_TAKE_UP_H
#define OUTBOX_OUTBOX_TAKE_UP_H

#include "session.h"

struct take_up;

struct take_up *take_up_new(struct session *session);
void take_up_free(struct take_up **take_up);

/* To be asked outside a transaction, before each that claims. Does nothing where positions are of
 * our shards. */
void take_up_ask(struct take_up *take_up);

#endif
