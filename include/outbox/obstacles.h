/* SPDX-License-Identifier: ISC */
/*
 * obstacles.h - what in the catalog stops rows from being settled, as pieces of SQL
 *
 * They end `run` at its start and fail `check` and `migrate`. Each is a row of what and remedy, in
 * words. What stops single rows only is in commands/warnings.c.
 */
#ifndef OUTBOX_OUTBOX_OBSTACLES_H
#define OUTBOX_OUTBOX_OBSTACLES_H

/* The oid of the type below all domains of the column a (pg_attribute). */
#define OUTBOX_BASE_TYPE                                                                           \
	"(WITH RECURSIVE base (oid, below) AS (SELECT t.oid, t.typbasetype FROM pg_type AS t"      \
	" WHERE t.oid = a.atttypid UNION ALL SELECT t.oid, t.typbasetype FROM base"                \
	" JOIN pg_type AS t ON t.oid = base.below) SELECT base.oid FROM base WHERE base.below = "  \
	"0)"

/* The same, of what is sent: a type that is text under another name, such as citext, is text. */
#define OUTBOX_SENT_TYPE                                                                           \
	"(SELECT CASE WHEN EXISTS (SELECT FROM pg_cast AS s WHERE s.castsource = y.oid"            \
	" AND s.casttarget = 'text'::regtype AND s.castmethod = 'b' AND s.castcontext = 'i')"      \
	" AND y.oid <> 'varchar'::regtype THEN 'text'::regtype::oid ELSE y.oid END"                \
	" FROM pg_type AS y WHERE y.oid = " OUTBOX_BASE_TYPE ")"

/* The outbox c (pg_class) and all its partitions, as relid. pg_partition_tree would lock them. */
#define OUTBOX_TREE                                                                                \
	"(WITH RECURSIVE below (relid) AS (SELECT c.oid UNION SELECT h.inhrelid FROM below"        \
	" JOIN pg_inherits AS h ON h.inhparent = below.relid) SELECT below.relid FROM below)"

/* Whether row-level security may hide rows of the table, an oid, from this role: no policy shows it
 * all, or another one restricts that. */
#define OUTBOX_MAY_HIDE(table)                                                                     \
	"(row_security_active(" table ") AND NOT coalesce((SELECT bool_or(hp.polpermissive AND"    \
	" pg_get_expr(hp.polqual, hp.polrelid) = 'true') AND bool_and(hp.polpermissive)"           \
	" FROM pg_policy AS hp WHERE hp.polrelid = " table " AND hp.polcmd IN ('r', '*') AND"      \
	" EXISTS (SELECT FROM unnest(hp.polroles) AS hr (id) WHERE hr.id = 0"                      \
	"  OR pg_has_role(hr.id, 'USAGE'))), false))"

/* Table k (pg_class) by its full name, whatever search_path is. */
#define OUTBOX_NAME "format('%s.%I', k.relnamespace::regnamespace, k.relname)"

/* Of the table k (pg_class) of that tree: "" or "has a partition public.p that ". */
#define OUTBOX_MEMBER                                                                              \
	"CASE WHEN k.oid = c.oid THEN '' ELSE format('has a partition %s that ',"                  \
	" " OUTBOX_NAME ") END"

/* The publications of table k, itself or through a table that it is a partition of, as p. The
 * schemas of a publication are read from pg_depend: their catalog (oid 6237) came with
 * PostgreSQL 15. pg_publication_tables would open, and so wait for, every published table. */
#define OUTBOX_PUBLICATIONS                                                                        \
	"(SELECT p.* FROM pg_publication AS p WHERE k.relpersistence = 'p' AND (p.puballtables"    \
	" OR EXISTS (SELECT FROM (SELECT k.oid AS relid UNION"                                     \
	"  SELECT an.relid::oid FROM pg_partition_ancestors(k.oid) AS an) AS self"                 \
	"  JOIN pg_class AS s ON s.oid = self.relid WHERE EXISTS (SELECT FROM pg_publication_rel"  \
	"  AS r WHERE r.prpubid = p.oid AND r.prrelid = s.oid)"                                    \
	"  OR EXISTS (SELECT FROM pg_depend AS d JOIN pg_depend AS e ON e.classid = d.classid"     \
	"   AND e.objid = d.objid WHERE d.classid = 6237::oid"                                     \
	"   AND d.refclassid = 'pg_publication'::regclass AND d.refobjid = p.oid"                  \
	"   AND e.refclassid = 'pg_namespace'::regclass AND e.refobjid = s.relnamespace))))"

/* Whether PostgreSQL finds the old row for a subscriber (source: CheckCmdReplicaIdentity and
 * RelationGetIndexList: a deferrable primary key does not count). */
#define OUTBOX_REPLICA_IDENTITY                                                                    \
	"(k.relreplident = 'f' OR EXISTS (SELECT FROM pg_index AS x WHERE x.indrelid = k.oid"      \
	" AND CASE k.relreplident WHEN 'd' THEN x.indisprimary AND x.indimmediate"                 \
	" WHEN 'i' THEN x.indisreplident ELSE false END))"

/* A table k with rows whose replica identity is missing where the publication needs it. */
#define OUTBOX_UNIDENTIFIED(condition, verb)                                                       \
	"SELECT " OUTBOX_MEMBER " || format('is published by %I and has no replica identity, so"   \
	" PostgreSQL refuses to " verb " its rows', p.pubname) AS what,"                           \
	" format('give it a primary key, or run ALTER TABLE %s REPLICA IDENTITY FULL',"            \
	"  " OUTBOX_NAME ") AS remedy"                                                             \
	" FROM " OUTBOX_TREE " AS tree JOIN pg_class AS k ON k.oid = tree.relid"                   \
	" CROSS JOIN LATERAL " OUTBOX_PUBLICATIONS " AS p WHERE k.relkind = 'r' AND " condition    \
	" AND NOT " OUTBOX_REPLICA_IDENTITY

/* A rule of an event ('2' UPDATE, '4' DELETE: enum CmdType). PostgreSQL refuses rules in a claim,
 * which changes rows within WITH. */
#define OUTBOX_RULED(event, verb)                                                                  \
	"SELECT " OUTBOX_MEMBER " || format('has the rule %I ON " verb ", which PostgreSQL"        \
	" refuses in a claim', r.rulename), format('run DROP RULE %I ON %s and use a trigger',"    \
	" r.rulename, " OUTBOX_NAME ")"                                                            \
	" FROM " OUTBOX_TREE " AS tree JOIN pg_class AS k ON k.oid = tree.relid"                   \
	" JOIN pg_rewrite AS r ON r.ev_class = k.oid WHERE k.relkind = 'r'"                        \
	" AND r.ev_type = '" event "' AND r.ev_enabled NOT IN ('D', 'R')"

/* What stops every claim of the outbox c, however it settles. At most one row. */
#define OUTBOX_OBSTACLE                                                                            \
	"(SELECT u.what, u.remedy FROM ("                                                          \
	"SELECT " OUTBOX_MEMBER " || 'lies in schema outbox_relay, which is the relay''s own'"     \
	" AS what, 'move it with ALTER TABLE ... SET SCHEMA' AS remedy"                            \
	" FROM " OUTBOX_TREE " AS tree JOIN pg_class AS k ON k.oid = tree.relid"                   \
	" JOIN pg_namespace AS n ON n.oid = k.relnamespace WHERE n.nspname = 'outbox_relay'"       \
	" UNION ALL SELECT " OUTBOX_MEMBER " || CASE k.relpersistence WHEN 't' THEN"               \
	"  'is a temporary table' ELSE 'is UNLOGGED, so a crash of the server empties it' END,"    \
	" CASE k.relpersistence WHEN 't' THEN 'name a permanent table in outbox.table'"            \
	"  ELSE format('run ALTER TABLE %s SET LOGGED', " OUTBOX_NAME ") END"                      \
	" FROM " OUTBOX_TREE " AS tree JOIN pg_class AS k ON k.oid = tree.relid"                   \
	" WHERE k.relkind = 'r' AND k.relpersistence <> 'p'"                                       \
	" UNION ALL " OUTBOX_RULED("4", "DELETE") " UNION ALL " OUTBOX_UNIDENTIFIED(               \
	    "p.pubdelete", "DELETE") ") AS u LIMIT 1)"

/* What makes the column that marks rows of table k useless, as a column a: a row would count as
 * published when it is inserted, or could not be marked. Of domains the outermost default counts. A
 * default of NULL is none. sql/0017_marks.sql looks closer at what is no time. */
#define OUTBOX_IS_TIME OUTBOX_BASE_TYPE " IN ('timestamptz'::regtype, 'timestamp'::regtype)"
#define OUTBOX_IS_VALUE(column, value)                                                             \
	"(" value "::text <> '' OR " column "::text <> 'published_at' AND NOT " OUTBOX_IS_TIME ")"
#define OUTBOX_MARK_FAULTS(column, value)                                                          \
	"SELECT k.oid, a.attname, CASE WHEN " OUTBOX_IS_VALUE(                                     \
	    column,                                                                                \
	    value) " THEN"                                                                         \
		   "  CASE WHEN a.attgenerated <> '' THEN format('is GENERATED AS (%s)', f.expr) " \
		   "ELSE '' END"                                                                   \
		   " ELSE concat_ws(' and '"                                                       \
		   ", CASE WHEN NOT " OUTBOX_IS_TIME                                               \
		   "  THEN format('is of type %s and not timestamptz', format_type(a.atttypid, "   \
		   "NULL)) END"                                                                    \
		   ", CASE WHEN a.attgenerated <> '' THEN format('is GENERATED AS (%s)', f.expr)"  \
		   "  WHEN f.expr !~ '^NULL(::|$)' THEN format('has the default %s', f.expr) END"  \
		   ", CASE WHEN a.attnotnull OR f.not_null THEN 'is NOT NULL' END) END AS faults," \
		   " format('run ALTER TABLE %s ', " OUTBOX_NAME ") ||"                            \
		   " CASE WHEN NOT " OUTBOX_IS_TIME " OR a.attgenerated <> ''"                     \
		   "  THEN format('RENAME COLUMN %I TO some_other_name and then outbox-relay "     \
		   "migrate, which"                                                                \
		   " adds its own', a.attname) || CASE WHEN a.attgenerated <> '' THEN '' ELSE"     \
		   "  ', or say in outbox.published_value what it has in rows that are "           \
		   "published' END"                                                                \
		   " ELSE concat_ws(', ', CASE WHEN f.expr !~ '^NULL(::|$)' THEN"                  \
		   "  format('ALTER COLUMN %I DROP DEFAULT', a.attname) END"                       \
		   " , CASE WHEN a.attnotnull THEN format('ALTER COLUMN %I DROP NOT NULL', "       \
		   "a.attname) END"                                                                \
		   " , CASE WHEN f.not_null OR (f.expr !~ '^NULL(::|$)' AND NOT a.atthasdef)"      \
		   "  THEN format('ALTER COLUMN %I TYPE timestamptz', a.attname) END) ||"          \
		   "  format(', and then UPDATE the rows that are not published yet to %I = "      \
		   "NULL',"                                                                        \
		   "  a.attname) END AS remedy"                                                    \
		   " FROM " OUTBOX_TREE " AS tree JOIN pg_class AS k ON k.oid = tree.relid"        \
		   " JOIN pg_attribute AS a ON a.attrelid = k.oid AND a.attname = " column         \
		   "::text"                                                                        \
		   "  AND a.attnum > 0 AND NOT a.attisdropped"                                     \
		   " CROSS JOIN LATERAL (WITH RECURSIVE base (level, oid) AS (SELECT 1, "          \
		   "a.atttypid"                                                                    \
		   "  UNION ALL SELECT base.level + 1, t.typbasetype FROM base JOIN pg_type AS t"  \
		   "  ON t.oid = base.oid WHERE t.typbasetype <> 0)"                               \
		   "  SELECT coalesce((SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS " \
		   "d"                                                                             \
		   "   WHERE d.adrelid = k.oid AND d.adnum = a.attnum),"                           \
		   "   (array_agg(t.typdefault ORDER BY base.level) FILTER (WHERE t.typdefault"    \
		   "   IS NOT NULL))[1]) AS expr, bool_or(t.typnotnull) AS not_null"               \
		   "  FROM base JOIN pg_type AS t ON t.oid = base.oid) AS f"

/* What stops every claim of the outbox c that marks its rows. At most one row. */
#define OUTBOX_MARK_OBSTACLE(column, value)                                                        \
	"(SELECT u.what, u.remedy FROM ("                                                          \
	"SELECT " OUTBOX_MEMBER " || format('has a column %I that ', f.attname) || f.faults AS"    \
	" what, f.remedy FROM (" OUTBOX_MARK_FAULTS(                                               \
	    column,                                                                                \
	    value) ") AS f"                                                                        \
		   " JOIN pg_class AS k ON k.oid = f.oid WHERE f.faults <> ''"                     \
		   " UNION ALL " OUTBOX_RULED("2", "UPDATE") " UNION ALL " OUTBOX_UNIDENTIFIED(    \
		       "p.pubupdate", "UPDATE") ") AS u LIMIT 1)"

#endif
