/* SPDX-License-Identifier: ISC */
/*
 * note.h - what has to be settled for a batch, as bytes for the sink's ledger
 *
 * Whoever reads a note settles the batch by it, as its own relay would have: rows and letters by
 * their identities, and copies of letters. Where the note was written is in it, so that a database
 * that has lost commits knows one of its later self. Pure.
 */
#ifndef OUTBOX_OUTBOX_NOTE_H
#define OUTBOX_OUTBOX_NOTE_H

#include "base/error.h"
#include "ids.h"

/* A note that was read. Its items borrow from it. */
struct note {
	char *line;		       /* owned: the server and its timeline, when it was written */
	struct outbox_ids_item *items; /* owned */
	size_t count;
	struct note_text *texts; /* owned: identities that were packed, and what copies say */
};

/* malloc'd. line: outbox_relay.server_line(). Every event of the batch is delivered. */
char *note_write(const char *line, const struct batch *batch, size_t *len);

/* False and err if it is no note, or of a later version; then there is nothing to free. */
bool note_read(struct note *note, struct slice bytes, struct error *err);
void note_fini(struct note *note);

#endif
