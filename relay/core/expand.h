/* SPDX-License-Identifier: ISC */
/*
 * expand.h - a JSON payload as data of Kafka Connect with the schema that is inferred from it
 *
 * What Debezium's outbox event router does with table.expand.json.payload. Pure. Thread: any, but
 * one at a time for an arena.
 */
#ifndef OUTBOX_CORE_EXPAND_H
#define OUTBOX_CORE_EXPAND_H

#include "arena.h"
#include "base/error.h"
#include "connect.h"

enum expanded {
	EXPANDED,
	EXPAND_KEPT,	  /* it stays a string: it is no object, or no schema can be inferred */
	EXPAND_NO_SCHEMA, /* likewise, and it loses its schema: an empty array */
	EXPAND_FAILED	  /* Debezium stops at it, and err says why */
};

struct expand_options {
	struct slice name; /* of the schema: the payload's column */
	bool keeps_nulls, keeps_empty_arrays;
};

/* Schema and value are the arena's. Set where it is EXPANDED. */
enum expanded expand(struct arena *arena, const struct expand_options *options, struct slice text,
		     const struct connect_schema **schema, struct connect_value *value,
		     struct error *err);

#endif
