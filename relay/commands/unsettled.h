/* SPDX-License-Identifier: ISC */
/*
 * unsettled.h - which rows of the outbox are not settled, however outbox.settle has it
 *
 * Thread: main, of a process without a loop; both block.
 */
#ifndef OUTBOX_CMD_UNSETTLED_H
#define OUTBOX_CMD_UNSETTLED_H

#include "base/error.h"
#include "config.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* Whether that can be told of the table (quoted for SQL): with positions, whether they are of this
 * server, database and table. False and err, whose words say what to do. No statement fails for
 * that, so a transaction goes on; if one does, *failed is set (which may be NULL). */
bool unsettled_known(PGconn *conn, const struct config *config, const char *table, bool *failed,
		     struct error *err);

/* For FROM: these rows, as "t". With positions they are in no order, and found without a walk over
 * all rows if an index is used; the text holds for the snapshot that it was made in, and later, if
 * rows that were settled since may be among them. Malloc'd; NULL and err. */
char *unsettled_rows(PGconn *conn, const struct config *config, const char *table,
		     struct error *err);

/* What the database knows of how rows are marked (sql/0001_schema.sql), or the usual of it if that
 * is nothing. Malloc'd; NULL and err. " AND ...": the row is an event, by outbox.where. Malloc'd.
 */
char *unsettled_marks(PGconn *conn, const char *table, const char *member, const char *usual,
		      struct error *err);
char *unsettled_event(const struct config *config);

/* Behind these rows, or a condition on them: " ORDER BY" their id (quoted for SQL), for the first
 * of them. With positions "": all of them would have to be sorted. Malloc'd. */
char *unsettled_order(const struct config *config, const char *id);

/* The condition that a row "t" is settled, with positions, as of the transaction's snapshot.
 * Malloc'd; NULL and err. */
char *settled_condition(PGconn *conn, const char *table, struct error *err);

#endif
