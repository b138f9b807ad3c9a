/* SPDX-License-Identifier: ISC */
/*
 * adopt_values.h - what a status, or a flag that is no boolean, has and may have
 */
#ifndef OUTBOX_CMD_ADOPT_VALUES_H
#define OUTBOX_CMD_ADOPT_VALUES_H

#include "adopt.h"

enum { ADOPT_VALUES_MAX = 20 };

struct adopt_texts {
	char *items[ADOPT_VALUES_MAX]; /* owned */
	size_t count;
	bool has_null;
};

struct adopt_values {
	struct adopt_texts rows;   /* what rows have */
	struct adopt_texts labels; /* what an enum might have */
	char *preset;		   /* owned: the default, if it is a text; or NULL */
	bool may_be_null;
};

/* Of the rows that are events. False and err if they cannot be asked; then there is nothing to
 * free. Blocks. */
bool adopt_values_read(PGconn *conn, struct adopt_values *values, const struct adopt_facts *facts,
		       const struct adopt_column *column, const char *events, struct error *err);
void adopt_values_free(struct adopt_values *values);

/* A value of a row of which nobody knows whether it is published; NULL: none. Pure. */
const char *adopt_values_unclear(const struct adopt_values *values);
/* Which value says that a row is published, and which that it waits; or why that is not plain. All
 * malloc'd. Pure. */
void adopt_values_tell(const struct adopt_values *values, char **published, char **pending,
		       char **why);

#endif
