/* SPDX-License-Identifier: ISC */
/*
 * position_state.h - where the positions of an outbox are, and what holds them back: for `status`
 *
 * An object: layout (into how many shards positions tell rows apart; 0: each partition is one),
 * positions (of those that are the same, one: shards, a list; finished_xmin, finished_xmax;
 * target_xmax and reached, null if no target is open; walks), settled_ahead (a count, up to a cap),
 * held_by (null, or: pid, prepared, application, role, seconds, query; each null if it is not known
 * or is none). Or only error, in words, where they tell nothing. Null in the other modes.
 *
 * Thread: main.
 */
#ifndef OUTBOX_CMD_POSITION_STATE_H
#define OUTBOX_CMD_POSITION_STATE_H

#include "base/error.h"
#include "config.h"

#include <jansson.h>
#include <libpq-fe.h>

/* As the member "position". False and err if the database cannot be asked. */
bool position_state_add(json_t *out, const struct config *config, PGconn *conn, const char *table,
			struct error *err);

/* In words, for people: each line goes to told. from has "position". */
void position_state_tell(const json_t *from, void (*told)(void *arg, bool warns, const char *text),
			 void *arg);

#endif
