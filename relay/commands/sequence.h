/* SPDX-License-Identifier: ISC */
/*
 * sequence.h - the sequence that numbers a table's rows, and whether its numbers have an order
 */
#ifndef OUTBOX_CMD_SEQUENCE_H
#define OUTBOX_CMD_SEQUENCE_H

#include "base/pgname.h"

#include <libpq-fe.h>

/* Asks for it; the parameters are the table, as SQL has it, and the column. */
extern const char sequence_question[];

enum sequence_state {
	SEQUENCE_MISSING,
	SEQUENCE_RIGHT,
	SEQUENCE_SKIPS, /* nothing is wrong with it, but something may be with how it is used */
	SEQUENCE_BREAKS /* ids are not in the order of events */
};

struct sequence_finding {
	enum sequence_state state;
	char what[PGNAME_FULL_SIZE + 128]; /* in words */
	const char *remedy;		   /* of what is not right; NULL: none is needed */
};

/* Pure, but for reading the answer to the question. */
void sequence_judge(const PGresult *result, struct sequence_finding *finding);

#endif
