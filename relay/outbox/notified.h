/* SPDX-License-Identifier: ISC */
/*
 * notified.h - notifications on channel outbox_relay, passed on at most once in a while
 *
 * "OID": the bell. "OID rest": it was put to rest. "OID group": another relay has come. "OID free 8
 * {0,3}": it has handed these of 8 shards over.
 *
 * Any login may send them. So each kind is passed on late rather than never; what it leads to is a
 * statement or two that find nothing.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_NOTIFIED_H
#define OUTBOX_OUTBOX_NOTIFIED_H

#include "base/loop.h"

enum notified_kind { NOTIFIED_RING, NOTIFIED_REST, NOTIFIED_GROUP, NOTIFIED_KINDS };

struct notified;

struct notified *notified_new(struct loop *loop, void (*tell)(void *owner, enum notified_kind kind),
			      void *owner);
void notified_free(struct notified **notified);

/* What stands behind the OID. */
void notified_receive(struct notified *notified, const char *words);

/* The session is gone: the next session's first poll sees whatever they were about. */
void notified_forget(struct notified *notified);

#endif
