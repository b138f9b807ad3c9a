/* SPDX-License-Identifier: ISC */
/*
 * open_fields.h - the columns that a session fetches, and those that the key is made of
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_OUTBOX_OPEN_FIELDS_H
#define OUTBOX_OUTBOX_OPEN_FIELDS_H

#include "config.h"
#include "core/route.h"

enum { OPEN_FIELDS_MAX = ROUTE_FIELDS_MAX + 1 }; /* and the identity */

struct open_fields {
	const struct config *config;   /* borrowed */
	char *fields[OPEN_FIELDS_MAX]; /* owned; columns. The identity is the first, always. */
	size_t field_count;
	char *keys[ROUTE_FIELDS_MAX]; /* likewise */
	size_t key_count;
};

/* False and err if route.key is no template. To be freed also then. */
bool open_fields_begin(struct open_fields *own, const struct config *config, struct error *err);
/* The place of a template's field among the columns; -1 if there is none. */
int open_fields_add(struct open_fields *own, const char *name);
void open_fields_free(struct open_fields *own);

#endif
