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
	const struct config_columns *names; /* borrowed */
	struct route *route;		    /* owned */
	char *fields[ROUTE_FIELDS_MAX];	    /* owned; columns */
	size_t count;
	/* Owned. ", t.a::text, t.b::text": what a query for rows "t" has to ask for, at the end of
	 * its list. */
	char *columns;
	struct slice values[ROUTE_FIELDS_MAX]; /* of the row that was routed last */
};

/* The rules of the route but for its headers, which no command looks at. Borrows. */
struct route_rules routed_rules(const struct config *config);

/* By these rules; what they and names point to is borrowed. False and err; to be freed all the
 * same. */
bool routed_init(struct routed *routed, const struct route_rules *rules,
		 const struct config_columns *names, struct error *err);
void routed_free(struct routed *routed);

/* A route_field_fn: the number of the field, which is added to the columns if it is a new one. arg:
 * the struct routed. */
int routed_field(const char *name, void *arg);

/* The message, without value and headers, of a row whose first such column is this one. Its bytes
 * hold until the next call, or as long as the rows. False if the relay would reject it: then it has
 * no topic, and maybe a key. */
bool routed_row(struct routed *routed, const PGresult *rows, int row, int first,
		struct message *message);

#endif
