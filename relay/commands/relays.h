/* SPDX-License-Identifier: ISC */
/*
 * relays.h - the relays at an outbox, as their locks show them (outbox/locks.h)
 */
#ifndef OUTBOX_CMD_GROUP_H
#define OUTBOX_CMD_GROUP_H

#include "base/error.h"
#include "config.h"

#include <jansson.h>
#include <libpq-fe.h>

/* Who is there: an array of objects with the members pid, application, client, since (null where
 * that is not known), layout (how many shards this relay counts, 0: it keeps no order) shards
 * (those it owns), is unavailable and fingerprint (null where not known). table is quoted for SQL.
 * NULL and err. */
json_t *group_read(PGconn *conn, const char *table, struct error *err);

/* The same, and those sessions that hold such locks and are no relays: objects with pid,
 * application, client, since, layout, shards and role. False and err. */
bool group_read_all(PGconn *conn, const char *table, json_t **relays, json_t **strangers,
		    struct error *err);

/* Puts paused, shards, relays and layouts into what `status` prints. */
bool group_add(json_t *out, const struct config *config, PGconn *conn, const char *table,
	       struct error *err);

/* The same in words. */
void group_print(const json_t *out);

#endif
