/* SPDX-License-Identifier: ISC */
/*
 * status_read.h - what `status` shows: from the database, and from the relay at http.listen
 *
 * Each puts members into out. Thread: main, of a process without a loop; all block.
 */
#ifndef OUTBOX_CMD_STATUS_READ_H
#define OUTBOX_CMD_STATUS_READ_H

#include "base/error.h"
#include "config.h"

#include <jansson.h>
#include <libpq-fe.h>

/* The outbox's name and how it settles, which the configuration knows. */
bool status_add_outbox(json_t *out, const struct config *config, struct error *err);

/* What the database knows, read in one transaction. After a failure (false and err) it may still be
 * open: close the connection. */
bool status_add_database(json_t *out, const struct config *config, PGconn *conn, struct error *err);

/* What the relay says of itself, as it says it (relay), or why it does not (relay_error). */
void status_add_relay(json_t *out, const struct config *config);

#endif
