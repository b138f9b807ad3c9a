/* SPDX-License-Identifier: ISC */
/*
 * producer_state.h - exactly once: which relay has which producer slot, and what is in doubt: for
 * `status`
 *
 * An array, a slot each that was ever used: slot, settled (how many batches of it are), shards (of
 * how many the database knows that the slot may have events in doubt), known (false: it was last
 * resolved on another server or timeline), held_by (the application name of the session
 * that has it; null: nobody has), in_doubt (nobody has it, and it may have left something).
 *
 * Thread: main.
 */
#ifndef OUTBOX_CMD_PRODUCER_STATE_H
#define OUTBOX_CMD_PRODUCER_STATE_H

#include "base/error.h"

#include <jansson.h>
#include <libpq-fe.h>

/* As the member "producers"; empty in a schema that is older than this binary, for a role that may
 * not see it, on a standby, and for an outbox that has always been published at least once. table
 * is quoted for SQL. False and err if the database cannot be asked. */
bool producer_state_add(json_t *out, PGconn *conn, const char *table, struct error *err);

/* In words, for people: each line goes to told. from has "producers". Nothing of a slot that nobody
 * has and that has left nothing. */
void producer_state_tell(const json_t *from, void (*told)(void *arg, bool warns, const char *text),
			 void *arg);

#endif
