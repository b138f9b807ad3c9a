/* SPDX-License-Identifier: ISC */
/*
 * purge.h - where published rows stay, they are deleted when they are older than outbox.retention
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_PURGE_H
#define OUTBOX_OUTBOX_PURGE_H

#include "session.h"

struct purger;

struct purger *purger_new(struct session *session);
void purger_free(struct purger **purger);

/* Deletes some, if there are any; outside a transaction. Nothing waits below the low watermark, but
 * for what was passed over; 0: it is not known. */
void purger_run(struct purger *purger, int64_t low_watermark);
/* Where positions tell what is published: of what is noted ahead of them, what is of no use any
 * more. Likewise. */
void purger_forget(struct purger *purger);
/* There may be more to delete: the next run is to come soon. */
bool purger_has_more(const struct purger *purger);

#endif
