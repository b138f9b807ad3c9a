/* SPDX-License-Identifier: ISC */
/*
 * sql_making.h - what the two makers of claims have in common: sql_claim.c, and sql_claim_parts.c
 * where a leaf's rows lie in several tables
 */
#ifndef OUTBOX_OUTBOX_SQL_MAKING_H
#define OUTBOX_OUTBOX_SQL_MAKING_H

#include "sql_internal.h"

/* As many events of keys that are held back do not hold back the others. */
enum { HELD_MAX = 20000 };

/* The part of what was seen that is worth a claim: for less, looking far ahead costs no more for
 * each event. */
enum { WORTH = 2 };

/* One claim's text under way. */
struct making {
	const struct outbox_shape *shape;
	const struct outbox_leaf *leaf;
	char *id, *key, *ours; /* owned; ours: whose shards, and which keys not; key, of
				* sql_claim_position.c: whether the row's is held */
	char *none;	       /* owned; of a plain claim: that nothing is set aside */
	bool plain;
	const char *size;  /* what a row counts in the sum of bytes; the exact claim has none */
	const char *limit; /* of rows */
};

/* alone: of an exact claim, whose parameters are others. */
struct making outbox_sql_making_new(const struct outbox_shape *shape, size_t leaf, bool alone,
				    bool plain);
void outbox_sql_making_free(struct making *m);

/* All that a row of "t" has, with its place. */
char *outbox_sql_all_columns(const struct outbox_shape *shape);

/* For FROM: as "t" the rows of a leaf in parts whose places "rows" has, part by part. */
char *outbox_sql_rows_of_parts(const struct making *m, const char *rows);

/* What is to be moved of the rows of "picked", and its copies, see sql_aside.c; part by part in
 * aside_at. Both are for FROM: the rows whose places these have. */
char *outbox_sql_parting(const struct outbox_shape *shape, size_t leaf, const char *picked,
			 const char *aside_at);

/* For FROM: as "t" the rows whose places this has, part by part. */
char *outbox_sql_rows_at(const struct making *m, const char *places);

/* sql_claim_position.c */
char *outbox_sql_claim_position(const struct outbox_shape *shape, size_t leaf, bool exact,
				bool plain);
char *outbox_sql_suspect_position(const struct outbox_shape *shape, size_t leaf);

#endif
