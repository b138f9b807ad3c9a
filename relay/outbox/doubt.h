/* SPDX-License-Identifier: ISC */
/*
 * doubt.h - what of the ledger has to be settled, or why it must not be
 *
 * In doubt is what the ledger has above the last number that the database has settled: all of it,
 * and nothing else. What does not go together, ledger and database, is recognised, and nothing is
 * settled then. Pure.
 */
#ifndef OUTBOX_OUTBOX_DOUBT_H
#define OUTBOX_OUTBOX_DOUBT_H

#include "core/ledger.h"
#include "note.h"

struct doubt {
	struct outbox_ids_item *items; /* owned; they borrow from the notes */
	size_t count;
	int64_t upto;	    /* the number of the last batch that is settled with these */
	struct note *notes; /* owned */
	size_t note_count;
};

/* What the database knows. */
struct doubt_side {
	const struct producer_id *id;
	const char *line;    /* outbox_relay.server_line() */
	const char *cluster; /* Kafka's when that was last resolved; "": it never was */
};

/* False and err if ledger and database do not go together; then there is nothing to free. */
bool doubt_read(struct doubt *doubt, const struct ledger *ledger, const struct doubt_side *side,
		struct error *err);
void doubt_fini(struct doubt *doubt);

#endif
