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
/* The same of a row whether it is an event or not: what was claimed is settled. */
const char *outbox_sql_unmarked(const struct outbox_shape *shape);
/* The condition that a row is published, in mark mode; when, of a row of "t": NULL where nothing
 * says it, otherwise malloc'd. */
const char *outbox_sql_published(const struct outbox_shape *shape);
char *outbox_sql_mark_time(const struct outbox_shape *shape);
/* " AND ...": the row is an event; "" where all are. */
const char *outbox_sql_event(const struct outbox_shape *shape);
/* The same of rows at given places. In the first words the partial index on waiting rows may seem
 * cheaper than the places, as it has few rows that live; then it is walked from its first entry on,
 * and an old snapshot keeps all that are dead. */
const char *outbox_sql_still_unpublished(const struct outbox_shape *shape);
const char *outbox_sql_verb(const struct outbox_shape *shape);
const char *outbox_sql_set(const struct outbox_shape *shape);

/* The verb for a statement on all of a leaf. */
const char *outbox_sql_verb_on(const struct outbox_shape *shape, const struct outbox_leaf *leaf);

/* "ONLY " before the table of a leaf that holds the rows itself. */
const char *outbox_sql_only(const struct outbox_leaf *leaf);

/* sql_aside.c. What letters are held for, for WITH: behind "taken". For FROM: the rows of "from",
 * which names them "t", that are to be moved, with part, place, key, topic and parked; where: " AND
 * ...". What a claim needs of them, as "aside" with places, keys and topics. Their copies, as
 * "moved", of the rows of "from" as "t". Whether a row is among them. */
char *outbox_sql_aside_members(const struct outbox_shape *shape);
char *outbox_sql_aside_rows(const struct outbox_shape *shape, const char *from, const char *where);
extern const char outbox_sql_aside_arrays[];
char *outbox_sql_aside_copies(const struct outbox_shape *shape, size_t leaf, const char *from);
char *outbox_sql_is_aside(const struct outbox_shape *shape);
/* " AND ...": the outbox has no letters that others may have to wait behind. */
char *outbox_sql_none_aside(const struct outbox_shape *shape);

/* sql_settled.c: where rows stay, as what is published is told by positions. The shards of a
 * claim, as int8[]; mine: the parameter that has them, where they are told apart by a hash. The
 * shard of a row of "t". For FROM: of such an array's shards "m" the last position "p". */
char *outbox_sql_shards(const struct outbox_shape *shape, size_t leaf, const char *mine);
char *outbox_sql_shard(const struct outbox_shape *shape, size_t leaf);
char *outbox_sql_last_positions(const struct outbox_shape *shape, const char *shards);
/* For ORDER BY: snapshots as a server came to them. */
char *outbox_sql_snapshot_age(const char *snapshot);

/* The condition that "o", the outbox's row, has positions of these shards and of these events. */
char *outbox_sql_has_positions(const struct outbox_shape *shape);
/* The last id that the outbox's sequence has given, or NULL. */
char *outbox_sql_last_drawn(const struct outbox_shape *shape);

/* What `row` ("SELECT ... FROM ... AS t WHERE ... AND ") finds by x of the rows that `goal` of
 * "from" shows and its `finished` does not; both are snapshots. */
char *outbox_sql_by_x(const char *row, const char *from);

/* Whether any row of the outbox is settled ahead of the position. " AND ...": the row
 * of "t" is not settled, in whatever mode. The statement that notes rows "t" of "from" as settled.
 */
char *outbox_sql_any_ahead(const struct outbox_shape *shape);
char *outbox_sql_not_settled(const struct outbox_shape *shape, size_t leaf);
char *outbox_sql_note_ahead(const struct outbox_shape *shape, const char *from);

/* sql_claim.c for a leaf in parts. */
char *outbox_sql_claim_parts(const struct outbox_shape *shape, size_t leaf, bool exact, bool plain);
char *outbox_sql_suspect_parts(const struct outbox_shape *shape, size_t leaf);

/* The hash of these columns of a row of "t", as int8; of the key. */
char *outbox_sql_hash(const char *const *keys, size_t count);
char *outbox_sql_key(const struct outbox_shape *shape);

/* Whether a row of "t" has a key: the condition. */
char *outbox_sql_has_key(const struct outbox_shape *shape);

/* So many characters of an event id are kept in a letter. */
enum { LETTER_EVENT_ID_MAX = 600 };

/* Words for a moved row: the columns of a letter, in parentheses; their values, made of a row of
 * "t". */
extern const char outbox_sql_letter_columns[];
char *outbox_sql_letter_values(const struct outbox_shape *shape, size_t leaf, bool extra);

/* Whether the letter "d" was made of the row "t", in mark mode: the condition. */
char *outbox_sql_is_letter_of(const struct outbox_shape *shape);

/* " AND ...": the letters "d" that are of the shards in this parameter; of no key: of the first. */
char *outbox_sql_letters_mine(const struct outbox_shape *shape, const char *param);

/* For RETURNING, of letters "d" of which "due" has the numbers: the columns CLAIM_*, with this as
 * the letter, and the fields. */
char *outbox_sql_letters_returned(const struct outbox_shape *shape, const char *letter);

/* A field's text as it was in the row, of a letter "d". */
char *outbox_sql_letter_field(const struct outbox_shape *shape, const char *name);

/* What a template of route renders to, of a row of "t"; NULL::text if there is none. */
char *outbox_sql_template(const struct outbox_shape *shape, const char *text);

/* " AND ...": the rows of "t" that are of the shards in this parameter; "" where all are. */
char *outbox_sql_mine(const struct outbox_shape *shape, const char *param);

/* Where the rows of a list "given" with id and event_id lie, locked, as found.place and found.part:
 * for FROM. */
char *outbox_sql_places(const struct outbox_shape *shape, size_t leaf, const char *filter);

/* What a hold names: the hash of the key of a row of "t", or its id where there is no order. */
char *outbox_sql_hold(const struct outbox_shape *shape);

/* " AND ...": the rows of "t" that are not held by this parameter. */
char *outbox_sql_not_held(const struct outbox_shape *shape, const char *param);

/* The length in bytes of a value as text, bytea's as it is, as int8; NULL if it is NULL. A value
 * whose text Postgres could not make is told a length of more than PRINTABLE. */
enum { PRINTABLE = 1000000000 };
char *outbox_sql_length(const char *name, uint32_t type);

/* What a claim knows of a row's size, and what it returns; see outbox/sql_values.c. gone: the
 * condition that it was moved, so that its text is of no use. */
struct values;
struct values *outbox_sql_values_new(const struct outbox_shape *shape, bool exact);
/* Of rows that are only read, and measured: whole is the condition on which one is fetched. */
struct values *outbox_sql_values_read(const struct outbox_shape *shape, const char *whole);
void outbox_sql_values_free(struct values **values);
char *outbox_sql_row_size(const struct values *row);
/* Of a row whose size was measured: more than so many bytes are not fetched. */
size_t outbox_sql_whole_size(const struct values *row);
char *outbox_sql_returning(const struct outbox_shape *shape, const struct values *row,
			   const char *gone);
/* The same of rows that are only read. */
char *outbox_sql_reading(const struct outbox_shape *shape, const struct values *row);

/* The event id of a row of "t", as claims return it: text as it is, or cut where no event fits any
 * more. */
char *outbox_sql_identity(const struct outbox_shape *shape);

#endif
