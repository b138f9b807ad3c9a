/* SPDX-License-Identifier: ISC */
/*
 * depth_guard.h - the trigger that refuses events while too many wait (sql/0009_depth_guard.sql),
 * as `status` and `check` show it
 */
#ifndef OUTBOX_CMD_DEPTH_GUARD_H
#define OUTBOX_CMD_DEPTH_GUARD_H

#include "base/error.h"
#include "check.h"

#include <jansson.h>
#include <libpq-fe.h>

/* An object with limit, action ("error" or "warn"), trigger and enabled, or JSON null where the
 * table has none; owned by the caller. table is quoted for SQL. NULL and err. */
json_t *depth_guard_read(PGconn *conn, const char *table, struct error *err);

/* The finding of `check`. table is quoted for SQL, shown for people. */
void depth_guard_check(struct check *check, PGconn *conn, const char *table, const char *shown);

/* The line of `status`; nothing where there is no guard. */
void depth_guard_print(const json_t *guard);

#endif
