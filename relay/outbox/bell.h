/* SPDX-License-Identifier: ISC */
/*
 * bell.h - arms the outbox's bell and puts it to rest, as poll.c says
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_BELL_H
#define OUTBOX_OUTBOX_BELL_H

#include "membership.h"

struct bell;

struct bell *bell_new(struct session *session, struct membership *membership);
void bell_free(struct bell **bell);

/* Other relays that may rely on the bell are told that it is put to rest; inside a transaction at
 * its end, since what is told is heard no sooner. */
void bell_set(struct bell *bell, bool armed);

/* The end of the transaction is asked for. */
void bell_ended(struct bell *bell);

#endif
