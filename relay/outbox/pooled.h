/* SPDX-License-Identifier: ISC */
/*
 * pooled.h - a session through a pooler: found to be the relay's alone, then set up
 *
 * Nothing that could harm another client is set before. session.c watches it from then on.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_POOLED_H
#define OUTBOX_OUTBOX_POOLED_H

#include "session.h"

struct pooled;

/* set_up: the session has the settings of every session. Otherwise it is given up. */
struct pooled *pooled_new(struct loop *loop, struct session *session, void (*set_up)(void *owner),
			  void *owner);
void pooled_free(struct pooled **pooled);

/* To be called once connected. */
void pooled_begin(struct pooled *pooled);

#endif
