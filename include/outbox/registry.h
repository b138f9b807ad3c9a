/* SPDX-License-Identifier: ISC */
/*
 * registry.h - what the relay's schema knows of the outbox, and whether `run` begins with
 * it; `check` asks the same
 *
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_REGISTRY_H
#define OUTBOX_OUTBOX_REGISTRY_H

#include "base/error.h"
#include "config.h"
#include "outbox/sql.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* No row if the table is not known. $1 the table, $2 its id column, $3 whether rows are marked, by
 * column $4. The columns $4 (if $3) and $2 must be there. */
extern const char outbox_registry[];

/* The columns of its result. Lacks: the rights that are missing, "" if none. */
enum {
	REGISTRY_BELL,
	REGISTRY_VERSION,
	REGISTRY_SETTLE,
	REGISTRY_USER,
	REGISTRY_LACKS,
	REGISTRY_CONDITION,
	REGISTRY_MARK_COLUMN,
	REGISTRY_MARK_VALUE,
	REGISTRY_MARK_WAITS,
	REGISTRY_MARK_TIMED,
	REGISTRY_WAITS,
	REGISTRY_PUBLISHED,
	REGISTRY_MARKED
};

/* Whether the database and the configuration mean the same rows: by outbox.where, and by what marks
 * them. */
bool outbox_registry_marks_check(const PGresult *result, const char *table,
				 const struct config *config, struct error *err);

/* What it says of marks; borrows from the result. */
void outbox_registry_marks(const PGresult *result, struct outbox_marks *marks);

/* How the outbox $1 is settled, in a word; a row if it is known. Whether that is as the
 * configuration says; otherwise false and err. */
extern const char outbox_settling[];
bool outbox_settling_check(const char *settled, const char *table, int settle, struct error *err);

/* Whether the positions are of this server, database and table; otherwise false and err: "what is
 * wrong; what to do". home: what the schema says that they are of; here: what it is; "": not known.
 */
bool outbox_home_check(const char *home, const char *here, const char *table, struct error *err);

/* Whether the answer lets the relay begin; otherwise false and err: "what is wrong; what to do".
 * table is for the words. */
bool outbox_registry_check(const PGresult *result, const char *table, const struct config *config,
			   struct error *err);

#endif
