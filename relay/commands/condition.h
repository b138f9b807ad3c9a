/* SPDX-License-Identifier: ISC */
/*
 * condition.h - whether a text is a condition on the rows of a table, as PostgreSQL sees it
 *
 * Thread: main, of a process without a loop; it blocks.
 */
#ifndef OUTBOX_COMMANDS_CONDITION_H
#define OUTBOX_COMMANDS_CONDITION_H

#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* what: "outbox.where", for the words. table is quoted for SQL, shown for people; id is one of its
 * columns. Nothing of the text is evaluated. The text must have passed config_check_where. */
bool condition_check(PGconn *conn, const char *what, const char *text, const char *table,
		     const char *shown, const char *id, struct error *err);

#endif
