/* SPDX-License-Identifier: ISC */
/*
 * table.h - whether a table can be an outbox, and its partitions the shards: `run`, `check`
 * and `migrate` ask the same and say the same
 *
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_TABLE_H
#define OUTBOX_OUTBOX_TABLE_H

#include "base/error.h"
#include "config.h"
#include "core/field.h"
#include "outbox/obstacles.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* A query, to be used within another; $1 is the table's name, column that which marks rows, and
 * value outbox.published_value. No row if there is none. A hash says which partition a key is in;
 * partitions by range and list are read together. */
#define OUTBOX_TABLE(column, value)                                                                \
	"(SELECT c.oid, CASE WHEN c.relkind NOT IN ('r', 'p') THEN 'is no table'"                  \
	" WHEN c.relkind = 'r' AND children.count > 0 THEN 'has tables that inherit from it'"      \
	" WHEN p.partstrat = 'h' AND 0 = ANY (p.partattrs)"                                        \
	"  THEN 'is partitioned by an expression'"                                                 \
	" WHEN c.relkind = 'p' AND below.odd > 0"                                                  \
	"  THEN 'has a partition that is a foreign table'"                                         \
	" WHEN c.relkind = 'p' AND below.plain = 0"                                                \
	"  THEN 'is partitioned and has no partition'"                                             \
	" END AS misfit, o.what AS obstacle, o.remedy,"                                            \
	" m.what AS mark_obstacle, m.remedy AS mark_remedy,"                                       \
	" CASE p.partstrat WHEN 'h' THEN children.count ELSE 0 END AS partitions,"                 \
	" CASE WHEN below.parted THEN below.plain ELSE 0 END AS parts,"                            \
	" (SELECT string_agg(a.attname, chr(10) ORDER BY a.attnum) FROM pg_attribute a"            \
	"  WHERE a.attrelid = c.oid AND p.partstrat = 'h' AND a.attnum = ANY (p.partattrs))"       \
	"  AS partitioned_by"                                                                      \
	" FROM pg_class c LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid"                 \
	" CROSS JOIN LATERAL (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid"        \
	"  AND NOT i.inhdetachpending) AS children"                                                \
	" CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE k.relkind = 'r') AS plain,"            \
	"  count(*) FILTER (WHERE k.relkind NOT IN ('r', 'p')) AS odd,"                            \
	"  bool_or(k.relkind = 'p' AND (k.oid <> c.oid OR p.partstrat <> 'h')) AS parted"          \
	"  FROM " OUTBOX_TREE " AS tree JOIN pg_class k ON k.oid = tree.relid) AS below"           \
	" LEFT JOIN LATERAL " OUTBOX_OBSTACLE " AS o ON true"                                      \
	" LEFT JOIN LATERAL " OUTBOX_MARK_OBSTACLE(column,                                         \
						   value) " AS m ON true"                          \
							  " WHERE c.oid = to_regclass($1))"

/* All text is borrowed from the result, and "" where there is none. */
struct outbox_table {
	const char *misfit;   /* why it can be no outbox, after its name: "is no table" */
	const char *obstacle; /* why no row can be settled, likewise, and what to do about it */
	const char *remedy;
	const char *mark_obstacle, *mark_remedy; /* likewise for settle = "mark" */
	int partitions; /* by hash, each a shard; 0: it is not partitioned so */
	int parts;	/* the tables that rows lie in where a shard has several; else 0 */
	const char *partitioned_by; /* columns, a line each */
};

/* From the first row of a result with the query's columns. */
void outbox_table_read(const PGresult *result, struct outbox_table *table);

/* Whether it can be an outbox whose rows are settled so; otherwise false and err: "what is wrong;
 * what to do", and so below. name is for the words. */
bool outbox_table_check(const struct outbox_table *table, const char *name, bool mark,
			struct error *err);

/* Whether the partitions, of which there are some, can be the shards of this configuration. */
bool outbox_partitions_check(const struct outbox_table *table, const struct config *config,
			     const char *name, struct error *err);

/* What the catalog says of the columns of table $1: for outbox_columns_check. */
extern const char outbox_columns_question[];

/* Of what types these columns are, as an encoder is told (core/encode.h); an enum's labels are
 * borrowed from the answer. False and err: there is no such column. */
bool outbox_columns_types(const PGresult *columns, const char *const *names, size_t count,
			  struct field_type *types, struct error *err);

/* Whether these columns can be written as the options say (core/encode.h). */
bool outbox_columns_check(const PGresult *columns, const struct config *config, struct error *err);

#endif
