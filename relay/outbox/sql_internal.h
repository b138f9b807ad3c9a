/* SPDX-License-Identifier: ISC */
/*
 * sql_internal.h - what the makers of statements share
 *
 * Texts that are returned as char * are malloc'd and the caller's.
 */
#ifndef OUTBOX_OUTBOX_SQL_INTERNAL_H
#define OUTBOX_OUTBOX_SQL_INTERNAL_H

#include "outbox/sql.h"

/* The type of a column, 0 if there is none. */
uint32_t outbox_sql_type(const struct outbox_shape *shape, const char *name);

char *outbox_sql_quoted(const char *name);

/* text and more in one; frees both. */
char *outbox_sql_append(char *text, char *more);

/* A local text that is freed where its scope ends. */
#define SCRATCH __attribute__((cleanup(outbox_sql_drop)))
void outbox_sql_drop(char **text);

/* Words that settle = "delete" and "mark" tell apart. */
const char *outbox_sql_unpublished(const struct outbox_shape *shape);
const char *outbox_sql_verb(const struct outbox_shape *shape);
const char *outbox_sql_set(const struct outbox_shape *shape);

/* The hash of the key of a row of "t", as int8. */
char *outbox_sql_key(const struct outbox_shape *shape);

/* " AND ...": the rows of "t" that are of the shards in this parameter; "" where all are. */
char *outbox_sql_mine(const struct outbox_shape *shape, const char *param);

/* Where the rows of a list "given" with id and event_id lie, locked, as found.place: for FROM. */
char *outbox_sql_places(const struct outbox_shape *shape, size_t leaf, const char *filter);

/* What a hold names: the hash of the key of a row of "t", or its id where there is no order. */
char *outbox_sql_hold(const struct outbox_shape *shape);

/* " AND ...": the rows of "t" that are not held by this parameter. */
char *outbox_sql_not_held(const struct outbox_shape *shape, const char *param);

/* The length in bytes of a value as text, bytea's as it is, as int8; NULL if it is NULL. A value
 * whose text Postgres could not make is told a length of more than PRINTABLE. */
enum { PRINTABLE = 1000000000 };
char *outbox_sql_length(const char *name, uint32_t type);

/* What a claim knows of a row's size, and what it returns; see outbox/sql_values.c. */
struct values;
struct values *outbox_sql_values_new(const struct outbox_shape *shape, bool exact);
void outbox_sql_values_free(struct values **values);
char *outbox_sql_row_size(const struct values *row);
/* Of a row whose size was measured: more than so many bytes are not fetched. */
size_t outbox_sql_whole_size(const struct values *row);
char *outbox_sql_returning(const struct outbox_shape *shape, const struct values *row);

/* The event id as claims return it: text as it is, or cut where no event fits any more. */
char *outbox_sql_identity(const struct outbox_shape *shape, const char *expression);

#endif
