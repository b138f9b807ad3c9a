/* SPDX-License-Identifier: ISC */
/*
 * known.h - whether the database knows the outbox, and whether this role may ask for it
 *
 * Thread: main, of a process without a loop; it blocks.
 */
#ifndef OUTBOX_CMD_KNOWN_H
#define OUTBOX_CMD_KNOWN_H

#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct known_question {
	const char *table, *shown; /* quoted for SQL; for people */
	const char *act;	   /* what the role is to do with the table: "pause" */
	bool any_version;	   /* a schema that is older than this binary will do */
};

struct known {
	int settle; /* enum config_settle: it was migrated for this */
	bool paused;
};

/* False and err, which says what to do: there is no such outbox, its schema is older than this
 * binary, or the role is neither its relay nor its operator and would see nothing of it. */
bool known_outbox(PGconn *conn, const struct known_question *question, struct known *known,
		  struct error *err);

#endif
