/* SPDX-License-Identifier: ISC */
/*
 * leaves.h - the tables that hold the rows of the outbox, as the catalog has them
 *
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_LEAVES_H
#define OUTBOX_OUTBOX_LEAVES_H

#include "base/error.h"
#include "base/pgname.h"
#include "outbox/sql.h"

#include <libpq-fe.h>

/* A row for each table; $1 is the outbox. */
extern const char leaves_question[];

/* A format for the name of a partition. */
extern const char leaves_lacks_words[];

/* What any of the tables has. */
struct leaves_traits {
	bool guarded;  /* triggers that may put work off to the end of the transaction */
	bool verifies; /* triggers that may put back what is removed */
	char lacks[PGNAME_FULL_SIZE]; /* a part that the relay has no rights on; "": none */
};

/* Fills in the shape's leaves and tree; oid is there already. stay: rows are only read. False and
 * err if the relay cannot work with them. */
bool leaves_read(struct outbox_shape *shape, const PGresult *result, bool stay,
		 struct leaves_traits *traits, struct error *err);

#endif
