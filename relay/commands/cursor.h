/* SPDX-License-Identifier: ISC */
/*
 * cursor.h - a command reads rows of the outbox, however many: some at a time
 *
 * Thread: main, of a process without a loop; it blocks.
 */
#ifndef OUTBOX_CMD_CURSOR_H
#define OUTBOX_CMD_CURSOR_H

#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* Calls each(arg, rows, row) for every row of the query, within the transaction that is open, and
 * shows the progress. False and err: it failed, or the command was told to stop (waiting.h). */
bool cursor_each(PGconn *conn, const char *query,
		 void (*each)(void *arg, const PGresult *rows, int row), void *arg,
		 struct error *err);

#endif
