/* SPDX-License-Identifier: ISC */
/*
 * gauge.h - how much waits in the outbox
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_GAUGE_H
#define OUTBOX_OUTBOX_GAUGE_H

#include "session.h"

struct gauger;

/* gauged: the answer to gauger_ask, for this call only. */
struct gauger *gauger_new(struct session *session,
			  void (*gauged)(void *owner, const struct gauges *gauges), void *owner);
void gauger_free(struct gauger **gauger);

/* Of the leaves that are ours, from the low watermark on; outside a transaction. */
void gauger_ask(struct gauger *gauger, int64_t low_watermark);

#endif
