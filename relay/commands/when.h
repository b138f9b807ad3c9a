/* SPDX-License-Identifier: ISC */
/*
 * when.h - a point in time as an operator gives it: as PostgreSQL reads one, or how long ago
 *
 * Thread: main, of a process without a loop; it blocks.
 */
#ifndef OUTBOX_CMD_WHEN_H
#define OUTBOX_CMD_WHEN_H

#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct when {
	bool is_given;
	char text[48]; /* for SQL, without a quote in it; with the offset of its time zone */
	int64_t ms;    /* since 1970, rounded down */
};

/* By the database's clock, which the rows have their times from. "0" is now; NULL is not given.
 * False and err. */
bool when_read(PGconn *conn, const char *text, struct when *when, struct error *err);

/* SQL: this timestamptz in ms since 1970; 0 for NULL, and for what is not finite. Malloc'd. */
char *when_ms_sql(const char *time);

#endif
