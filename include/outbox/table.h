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
#include "outbox/obstacles.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* A query, to be used within another; $1 is the table's name. No row if there is none. ctid tells
 * rows of one plain table apart, and a hash says which of them a key is in. */
#define OUTBOX_TABLE                                                                               \
	"(SELECT c.oid, CASE WHEN c.relkind NOT IN ('r', 'p') THEN 'is no table'"                  \
	" WHEN c.relkind = 'r' AND children.count > 0 THEN 'has tables that inherit from it'"      \
	" WHEN p.partstrat <> 'h' THEN 'is partitioned by range or list'"                          \
	" WHEN 0 = ANY (p.partattrs) THEN 'is partitioned by an expression'"                       \
	" WHEN c.relkind = 'p' AND children.count = 0"                                             \
	"  THEN 'is partitioned and has no partition'"                                             \
	" WHEN children.odd > 0"                                                                   \
	"  THEN 'has a partition that is partitioned again, or is a foreign table'"                \
	" END AS misfit, o.what AS obstacle, o.remedy,"                                            \
	" m.what AS mark_obstacle, m.remedy AS mark_remedy, children.count AS partitions,"         \
	" (SELECT string_agg(a.attname, chr(10) ORDER BY a.attnum) FROM pg_attribute a"            \
	"  WHERE a.attrelid = c.oid AND a.attnum = ANY (p.partattrs)) AS partitioned_by"           \
	" FROM pg_class c LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid"                 \
	" CROSS JOIN LATERAL (SELECT count(*), count(*) FILTER (WHERE k.relkind <> 'r') AS odd"    \
	"  FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid WHERE i.inhparent = c.oid)"    \
	"  AS children"                                                                            \
	" LEFT JOIN LATERAL " OUTBOX_OBSTACLE " AS o ON true"                                      \
	" LEFT JOIN LATERAL " OUTBOX_MARK_OBSTACLE " AS m ON true"                                 \
	" WHERE c.oid = to_regclass($1))"

/* All text is borrowed from the result, and "" where there is none. */
struct outbox_table {
	const char *misfit;   /* why it can be no outbox, after its name: "is no table" */
	const char *obstacle; /* why no row can be settled, likewise, and what to do about it */
	const char *remedy;
	const char *mark_obstacle, *mark_remedy; /* likewise for settle = "mark" */
	int partitions;				 /* 0: it is a plain table */
	const char *partitioned_by;		 /* columns, a line each */
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

#endif
