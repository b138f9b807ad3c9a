/* SPDX-License-Identifier: ISC */
/*
 * ledger.h - what a sink with transactions knows of the batches that were committed
 *
 * Each batch's transaction writes a note of it, which is the source's, into the sink's ledger.
 * Where it is not known whether a batch was committed, the ledger tells: after a rebuild all
 * earlier transactions of this producer have ended, and what the ledger has of them is committed.
 */
#ifndef OUTBOX_LEDGER_H
#define OUTBOX_LEDGER_H

#include "base/slice.h"
#include "core/server_line.h"

#include <stddef.h>
#include <stdint.h>

/* Of an outbox: as many partitions has its ledger. */
enum { LEDGER_PRODUCERS = 64 };

/* Which of an outbox's producers a relay has: nobody else may have one of these at the same time.
 */
struct producer_id {
	char group[40]; /* of the outbox alone */
	int number;	/* the slot; -1: none */
	/* What the ledger has up to that number is settled, and need not be read. */
	int64_t settled;
	/* The source's server (server_line.h), if the slot was not resolved there yet: the ledger
	 * is to have it from now on, unless it has a later one. "": nothing is to be written. */
	char line[SERVER_LINE];
	bool announced; /* the slot was resolved before, so that an empty ledger is a lost one */
};

struct ledger_batch {
	int64_t number;	   /* the source counts: each is greater than the one before */
	struct slice note; /* any bytes: what has to be settled for the batch */
};

/* Those that it still has, in the order of their numbers. The sink's, until it is rebuilt. */
struct ledger {
	const struct ledger_batch *batches;
	size_t count;
	int64_t last;	     /* the number of the newest that it has or had; 0: none */
	const char *cluster; /* the id of the sink's cluster; NULL: not known */
	/* The producers of the group, by the bits of their numbers, whose ledgers have, or had,
	 * anything. A database that has lost commits may not know that they were ever used. */
	uint64_t used;
	const char *line; /* the server that this producer was last resolved on; NULL: not known */
};

/* Whether it was deleted: it has nothing, and was told of a server before. */
static inline bool ledger_is_lost(const struct ledger *ledger, const struct producer_id *id)
{
	return id->announced && ledger->last == 0 && ledger->line == NULL;
}

#endif
