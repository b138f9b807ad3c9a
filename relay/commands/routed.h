/* SPDX-License-Identifier: ISC */
/*
 * routed.h - rows of the outbox that a command has read: their topics and keys, as the relay has
 * them
 *
 * Thread: main.
 */
#ifndef OUTBOX_CMD_ROUTED_H
#define OUTBOX_CMD_ROUTED_H

#include "base/error.h"
#include "config.h"
#include "core/route.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

struct routed {
	struct route *route;		/* owned */
	char *fields[ROUTE_FIELDS_MAX]; /* owned */
	size_t count;
};

/* By the templates of topic and key alone. False and err; to be freed all the same. */
bool routed_init(struct routed *routed, const struct config *config, struct error *err);
void routed_free(struct routed *routed);

/* ", t.COLUMN::text" for each column that this takes. Malloc'd. */
char *routed_columns(const struct routed *routed, const struct config_columns *columns);

/* Fills in topic and key of a row whose first such column is this one; they hold until the next
 * call. False if the relay would reject it: then it has no topic, and maybe a key. */
bool routed_row(struct routed *routed, const PGresult *rows, int row, int first,
		struct message *message);

#endif
