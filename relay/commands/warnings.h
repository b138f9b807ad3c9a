/* SPDX-License-Identifier: ISC */
/*
 * warnings.h - what may stop single rows of the outbox, or will stop it one day: `check` and
 * `migrate` say the same
 */
#ifndef OUTBOX_CMD_WARNINGS_H
#define OUTBOX_CMD_WARNINGS_H

#include "base/error.h"
#include "base/pgname.h"
#include "config.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* Rows of what and remedy; the caller clears them. table is quoted, settle (enum config_settle)
 * says how rows are settled. NULL and err if the catalog cannot be read. */
PGresult *warnings_read(PGconn *conn, const char *table, const struct config_columns *columns,
			int settle, struct error *err);

/* The same on stderr, a line each. */
void warnings_print(PGconn *conn, const struct pgname *table, const struct config_columns *columns,
		    int settle);

#endif
