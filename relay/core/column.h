/* SPDX-License-Identifier: ISC */
/*
 * column.h - a field as data of Kafka Connect, as Debezium's connector for PostgreSQL gives it
 *
 * Pure. Thread: any, but one at a time for an arena.
 */
#ifndef OUTBOX_CORE_COLUMN_H
#define OUTBOX_CORE_COLUMN_H

#include "arena.h"
#include "base/error.h"
#include "connect.h"
#include "core/field.h"

struct column_modes {
	int decimal;  /* enum config_decimal */
	int time;     /* enum config_time */
	int binary;   /* enum config_binary */
	int interval; /* enum config_interval */
	/* For StringConverter: a decimal without a scale is one, and no struct, of which it prints
	 * an address. */
	bool printed;
};

/* A field's schema, in the arena, as its type and labels are. NULL: there is no rule for it. */
const struct connect_schema *column_schema(struct arena *arena, const struct field_type *type,
					   const struct column_modes *modes);

/* What a field's text says, in the arena; it may borrow the text. NULL is NULL. False and err if
 * there is no such value in the schema's type, as infinity is no timestamp. */
bool column_value(struct arena *arena, const struct field_type *type,
		  const struct column_modes *modes, struct slice text, struct connect_value *value,
		  struct error *err);

/* Bytes that are no text: value->text, as a column's would be. */
void column_bytes(struct arena *arena, const struct column_modes *modes, struct slice bytes,
		  struct connect_value *value);

/* Whether a decimal has a fixed number of digits behind its point. */
static inline bool column_has_scale(const struct field_type *type)
{
	return type->precision >= 0;
}

/* Whether a time has at most three digits behind its point. */
static inline bool column_is_coarse(const struct field_type *type)
{
	return type->precision >= 0 && type->precision <= 3;
}

/* An array's elements. */
static inline struct field_type column_element(const struct field_type *type)
{
	struct field_type element = *type;

	element.kind = type->element;
	element.element = FIELD_UNKNOWN;
	element.required = false;
	return element;
}

#endif
