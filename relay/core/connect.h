/* SPDX-License-Identifier: ISC */
/*
 * connect.h - data of Kafka Connect with its schema, and how converters write it
 *
 * org.apache.kafka.connect.data.Schema and what belongs to it. All is borrowed. Pure. Thread: any.
 */
#ifndef OUTBOX_CORE_CONNECT_H
#define OUTBOX_CORE_CONNECT_H

#include "buffer.h"

enum connect_type {
	CONNECT_INT16,
	CONNECT_INT32,
	CONNECT_INT64,
	CONNECT_FLOAT32,
	CONNECT_FLOAT64,
	CONNECT_BOOLEAN,
	CONNECT_STRING,
	CONNECT_BYTES,
	CONNECT_ARRAY,
	CONNECT_STRUCT
};

/* What is an object of Java, other than in JSON. */
enum connect_logical {
	LOGICAL_NONE,
	LOGICAL_DECIMAL, /* BigDecimal; bytes in JSON */
	LOGICAL_DATE,	 /* java.util.Date; days in JSON */
	LOGICAL_TIME,	 /* java.util.Date; milliseconds in JSON, as of the next */
	LOGICAL_TIMESTAMP
};

struct connect_schema;

struct connect_member {
	struct slice name;
	const struct connect_schema *schema;
};

struct connect_parameter {
	const char *name;
	struct slice value;
};

struct connect_schema {
	enum connect_type type;
	enum connect_logical logical;
	bool optional, versioned;
	struct slice name; /* data == NULL: none */
	int64_t version;
	const char *doc; /* or NULL */
	struct connect_parameter parameters[2];
	size_t parameter_count;
	const struct connect_schema *items;   /* of an array */
	const struct connect_member *members; /* of a struct */
	size_t member_count;
};

struct connect_value {
	bool null;
	int64_t integer;   /* INT16 to INT64, BOOLEAN, times */
	double real;	   /* FLOAT32, FLOAT64 */
	struct slice text; /* STRING, BYTES; DECIMAL: the number as PostgreSQL prints it */
	struct connect_value *items; /* ARRAY; STRUCT: in the order of its members */
	size_t count;
};

bool connect_same_schema(const struct connect_schema *a, const struct connect_schema *b);

/* JsonConverter: the value. False if a value is NULL whose schema is not optional. schema may be
 * NULL with a string. */
bool connect_json(struct buffer *out, const struct connect_schema *schema,
		  const struct connect_value *value);

/* JsonConverter: the schema. */
void connect_schema_json(struct buffer *out, const struct connect_schema *schema);

/* StringConverter: Object.toString(). Not for a NULL value. */
void connect_string(struct buffer *out, const struct connect_schema *schema,
		    const struct connect_value *value);

/* SimpleHeaderConverter: Values.convertToString(). Not for a NULL value. */
void connect_simple(struct buffer *out, const struct connect_schema *schema,
		    const struct connect_value *value);

#endif
