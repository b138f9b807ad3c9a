/* SPDX-License-Identifier: ISC */
/*
 * durable.h - lets claimed events out once what they come from survives: outbox.publish_after
 *
 * "commit": immediately. "flush": once a crash of the server does not lose it. "standby": once so
 * many of the named standbys have it on their disks. gate.h says how that is known. A session of
 * its own commits an empty message, since nobody flushes what the claim itself has written, and
 * asks how far the standbys are. It is a session of the very server that the claims go to, or none.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_DURABLE_H
#define OUTBOX_OUTBOX_DURABLE_H

#include "core/metrics.h"
#include "session.h"

struct durable;

struct durable_events {
	/* They may be published. Takes the chunk. */
	void (*passed)(void *owner, struct chunk *chunk, bool last);
	/* No: they have waited for outbox.stall_timeout, and are forgotten. They are to be given
	 * back, so that the transaction holds up nobody, and nothing is to be claimed until it is
	 * told that the gate opens again. source->unconfirmed says why. */
	void (*confirmed)(void *owner, bool yes);
};

/* Writes source->unconfirmed, and into metrics. */
struct durable *durable_new(struct loop *loop, struct session *session, struct source *source,
			    struct metrics *metrics, const struct durable_events *events,
			    void *owner);
void durable_free(struct durable **durable);

/* The session is set up. */
void durable_begin(struct durable *durable);

/* Takes the chunk; passed, perhaps before this returns. */
void durable_add(struct durable *durable, struct chunk *chunk, bool last);

/* What was claimed is given back. */
void durable_forget(struct durable *durable);

/* Whether nothing is to be claimed: it would only be late. */
bool durable_is_late(const struct durable *durable);

#endif
