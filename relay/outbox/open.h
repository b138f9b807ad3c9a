/* SPDX-License-Identifier: ISC */
/*
 * open.h - from a connection to a session that serves: check the table, prepare the statements
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_OPEN_H
#define OUTBOX_OUTBOX_OPEN_H

#include "session.h"

struct opening;

struct opening_events {
	/* The table is known and its statements are prepared: the group can be joined. */
	void (*ready)(void *owner);
	/* The leaves that are ours can be claimed from. */
	void (*probed)(void *owner);
};

/* NULL and err if a name of the configuration does not parse. Larger payloads than withhold_bytes
 * are not fetched. */
struct opening *opening_new(struct loop *loop, struct session *session, size_t withhold_bytes,
			    const struct opening_events *events, void *owner, struct error *err);
void opening_free(struct opening **opening);

/* See outbox_field. */
int opening_field(struct opening *opening, const char *name);

/* To be called once connected. */
void opening_begin(struct opening *opening);

/* Whether triggers may put back what was taken. */
bool opening_verifies(const struct opening *opening);

/* Prepares the statements of a leaf that has become ours. To be synced. */
void opening_prepare(struct opening *opening, size_t leaf);
/* The same of all leaves, synced; outside a transaction, whose failure would undo it. */
void opening_prepare_all(struct opening *opening);
/* Whether the leaves that are ours can be claimed from at all: probed, or the session ends. */
void opening_probe(struct opening *opening);

#endif
