/* SPDX-License-Identifier: ISC */
/*
 * pausing.h - sets the pause of an outbox, and waits until its relays have handed over
 *
 * table is quoted for SQL, shown for people. False and err. Thread: main, of a process without a
 * loop; both block.
 */
#ifndef OUTBOX_CMD_PAUSING_H
#define OUTBOX_CMD_PAUSING_H

#include "base/error.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* Puts paused, and whether that has changed, into out. The relays are told in any case. */
bool pausing_set(PGconn *conn, const char *table, const char *shown, bool paused, json_t *out,
		 struct error *err);

/* Polls until no relay owns a shard, the time is over, or the command is told to stop; puts those
 * that still do into out (owners). No transaction is open meanwhile. */
bool pausing_wait(PGconn *conn, const char *table, int64_t wait_ms, json_t *out, struct error *err);

/* Names them, on stderr. */
void pausing_print_owners(const json_t *owners);

#endif
