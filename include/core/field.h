/* SPDX-License-Identifier: ISC */
/*
 * field.h - of what type a field is, in words that no database has
 *
 * A source hands a field out as text, in one form for each kind: numbers and times as people write
 * them, bytes as "\x" and hexadecimal digits, an array as {a,"b c",NULL}. Times are of UTC, or say
 * their offset.
 */
#ifndef OUTBOX_FIELD_H
#define OUTBOX_FIELD_H

#include <stdbool.h>

enum field_kind {
	FIELD_UNKNOWN, /* there is no rule for it */
	FIELD_TEXT,
	FIELD_CHAR, /* of a fixed length, which blanks at the end fill that its text may not have */
	FIELD_ADDRESS, /* of the internet; a whole one may have its length behind: "10.0.0.1/32" */
	FIELD_BOOL,    /* "true", "false", or their first letters */
	FIELD_INT16,
	FIELD_INT32,
	FIELD_INT64,
	FIELD_FLOAT32,
	FIELD_FLOAT64,
	FIELD_DECIMAL,
	FIELD_BYTES,
	FIELD_UUID,
	FIELD_JSON,
	FIELD_XML,
	FIELD_ENUM,
	FIELD_DATE,	     /* "2024-02-29" */
	FIELD_TIME,	     /* "12:34:56.789" */
	FIELD_TIME_ZONED,    /* "12:34:56.789+02" */
	FIELD_TIMESTAMP,     /* "2024-02-29 12:34:56.789" */
	FIELD_TIMESTAMP_UTC, /* "2024-02-29 12:34:56.789+00" */
	FIELD_INTERVAL,	     /* "1 year 2 mons -3 days 04:05:06.789" */
	FIELD_ARRAY
};

struct field_type {
	enum field_kind kind, element; /* element: of an array */
	/* Of a decimal; -1: not given. Precision also of a time's fraction, and the length of what
	 * has a fixed one. */
	int precision, scale;
	bool required;	    /* it is never NULL */
	const char *labels; /* borrowed; of an enum: those there are, by commas; or NULL */
};

#endif
