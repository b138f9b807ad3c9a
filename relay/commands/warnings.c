/* SPDX-License-Identifier: ISC */
/*
 * warnings.c - what may stop single rows of the outbox, or will stop it one day
 *
 * Parameters: $1 the table, $2 its id column, $3 that of the key, $4 whether rows are marked, $5
 * whether they stay as they are, $6 the column that marks them.
 */
#include "warnings.h"

#include "base/xalloc.h"
#include "outbox/obstacles.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>

/* The tables of the outbox as k, beside the outbox itself as c. */
#define TABLES                                                                                     \
	" FROM pg_class AS c CROSS JOIN LATERAL " OUTBOX_TREE " AS tree"                           \
	" JOIN pg_class AS k ON k.oid = tree.relid"

#define OF_OUTBOX " WHERE c.oid = to_regclass($1) "

/* A trigger fires for the relay's role in these states (pg_trigger.tgenabled). Bits of tgtype: 1
 * for each row, 2 BEFORE, 4 INSERT, 8 DELETE, 16 UPDATE (source: pg_trigger.h). The clones of a
 * partition's triggers have a parent. */
#define TRIGGERS                                                                                   \
	TABLES " JOIN pg_trigger AS g ON g.tgrelid = k.oid AND NOT g.tgisinternal"                 \
	       " AND g.tgparentid = 0 AND g.tgenabled IN ('O', 'A')"                               \
	       " AND g.tgname NOT IN ('outbox_relay_bell', 'outbox_relay_depth_guard')" OF_OUTBOX

/* A row that is referred to cannot be deleted, or takes rows of the application along. */
static const char *const foreign_keys =
    "SELECT format('foreign key %I of table %s refers to the outbox: %s', f.conname,"
    " f.conrelid::regclass, CASE f.confdeltype WHEN 'c' THEN 'deleting an event deletes rows there'"
    "  WHEN 'n' THEN 'deleting an event sets columns there to NULL'"
    "  WHEN 'd' THEN 'deleting an event sets columns there to their defaults'"
    "  ELSE 'an event that a row there refers to cannot be deleted' END ||"
    " CASE WHEN f.condeferred THEN ', which shows only at COMMIT' ELSE '' END) AS what,"
    " format('run ALTER TABLE %s DROP CONSTRAINT %I, and keep the event''s id without a foreign "
    "key',"
    "  f.conrelid::regclass, f.conname) AS remedy" TABLES
    " JOIN pg_constraint AS f ON f.confrelid = k.oid AND f.contype = 'f' AND f.conparentid = "
    "0" OF_OUTBOX;

/* In mark mode rows are updated, and deleted after the retention. */
static const char *const row_triggers =
    "SELECT format('trigger %I of table %s runs for each row that the relay %s: an event for which "
    "it raises an error, or returns another row or none, cannot be %s', g.tgname, " OUTBOX_NAME
    ", CASE WHEN $4 AND g.tgtype & 16 <> 0 THEN 'marks' ELSE 'deletes' END,"
    " CASE WHEN $5 THEN 'deleted after outbox.retention' ELSE 'settled' END),"
    " 'see that it lets every row of role outbox_relay pass'" TRIGGERS
    " AND g.tgtype & 1 <> 0 AND (g.tgtype & 8 <> 0 OR ($4 AND g.tgtype & 16 <> 0"
    " AND (cardinality(g.tgattr::int2[]) = 0 OR EXISTS (SELECT FROM pg_attribute AS a"
    "  WHERE a.attrelid = k.oid AND a.attname = $6::text AND a.attnum = ANY (g.tgattr)))))";

/* The relay's statements are on the tables that hold the rows. */
static const char *const statement_triggers =
    "SELECT format('trigger %I of table %s runs for each claim: while it raises an error nothing "
    "is "
    "published', g.tgname, " OUTBOX_NAME "),"
    " 'see that it lets role outbox_relay pass'" TRIGGERS
    " AND NOT $5 AND k.relkind = 'r' AND g.tgtype & 1 = 0"
    " AND g.tgtype & CASE WHEN $4 THEN 24 ELSE 8 END <> 0";

static const char *const insert_triggers =
    "SELECT format('trigger %I of table %s runs before each INSERT: an event whose %s it "
    "sets is never published', g.tgname, " OUTBOX_NAME ", $6::text),"
    " format('see that it leaves %s %s', $6::text, CASE WHEN $6::text = 'published_at' THEN 'NULL'"
    "  ELSE 'as it is' END)" TRIGGERS " AND $4 AND g.tgtype & 7 = 7";

static const char *const checks =
    "SELECT format('constraint %I of table %s looks at %s: an event for which it does "
    "not hold cannot be marked', f.conname, " OUTBOX_NAME ", $6::text),"
    " format('see that it holds whether %s is %s', $6::text, CASE WHEN $6::text = 'published_at'"
    "  THEN 'NULL or not' ELSE 'set or not' END)" TABLES
    " JOIN pg_constraint AS f ON f.conrelid = k.oid AND f.contype = 'c' AND f.conislocal"
    " JOIN pg_attribute AS a ON a.attrelid = k.oid AND a.attnum = ANY (f.conkey)" OF_OUTBOX
    " AND $4 AND a.attname = $6::text";

static const char *const insert_rules =
    "SELECT format('rule %I of table %s rewrites each INSERT: an event that it diverts is never "
    "published', r.rulename, " OUTBOX_NAME "),"
    " format('run DROP RULE %I ON %s and use a trigger', r.rulename, " OUTBOX_NAME ")" TABLES
    " JOIN pg_rewrite AS r ON r.ev_class = k.oid" OF_OUTBOX
    " AND r.ev_type = '3' AND r.ev_enabled IN ('O', 'A')";

/* Columns of pg_publication_rel that came with PostgreSQL 15. */
static const char *const publications =
    "SELECT format('publication %I has a row filter or a column list for table %s: PostgreSQL "
    "refuses to delete or update rows when they use or leave out the wrong columns', "
    "p.pubname, " OUTBOX_NAME "),"
    " 'see that the filter uses only, and the list holds all, columns of the replica "
    "identity'" TABLES
    " CROSS JOIN LATERAL (SELECT to_jsonb(pr) AS pr FROM pg_publication_rel AS pr"
    "  WHERE pr.prrelid = k.oid) AS x"
    " JOIN pg_publication AS p ON p.oid = (x.pr ->> 'prpubid')::oid" OF_OUTBOX
    " AND (x.pr ->> 'prqual' IS NOT NULL OR x.pr ->> 'prattrs' IS NOT NULL)";

/* The sequence's own limit or that of the column's type. */
static const char *const ids =
    "SELECT format('sequence %s has given %s %% of its ids: column %I ends at %s', s.seq::regclass,"
    " floor(100 * s.used), $2::text, s.most), CASE WHEN s.most < 9223372036854775807"
    "  THEN format('run ALTER TABLE %s ALTER COLUMN %I TYPE bigint in time, and ALTER SEQUENCE %s"
    " AS bigint NO MAXVALUE', c.oid::regclass, $2::text, s.seq::regclass)"
    "  ELSE 'make another table in time' END"
    " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = $2::text"
    " CROSS JOIN LATERAL (SELECT q.seqrelid AS seq, m.most,"
    "  (CASE WHEN has_sequence_privilege(q.seqrelid, 'SELECT, USAGE')"
    "   THEN pg_sequence_last_value(q.seqrelid)::numeric END - q.seqmin + 1)"
    "  / (m.most::numeric - q.seqmin + 1) AS used"
    "  FROM pg_sequence AS q CROSS JOIN LATERAL (SELECT CASE " OUTBOX_BASE_TYPE
    "   WHEN 'int4'::regtype THEN least(q.seqmax, 2147483647) ELSE q.seqmax END AS most) AS m"
    "  WHERE q.seqincrement > 0 AND q.seqmin < m.most"
    "   AND q.seqrelid IN ("
    "   SELECT pg_get_serial_sequence(format('%s.%I', c.relnamespace::regnamespace, c.relname),"
    "    a.attname)::regclass"
    "   UNION SELECT d.refobjid FROM pg_attrdef AS ad JOIN pg_depend AS d"
    "    ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid"
    "    WHERE ad.adrelid = c.oid AND ad.adnum = a.attnum"
    "    AND d.refclassid = 'pg_class'::regclass)) AS s" OF_OUTBOX " AND s.used > 0.8";

/* The relay tells keys apart by their bytes. */
static const char *const collations =
    "SELECT format('column %I has the collation %I, for which different texts are equal: they are "
    "different keys for the relay, and have no order among each other', a.attname, l.collname),"
    " 'use a deterministic collation, or write the key in one spelling only'"
    " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = $3::text"
    " JOIN pg_collation AS l ON l.oid = a.attcollation" OF_OUTBOX " AND NOT l.collisdeterministic";

static const char *const encodings =
    "SELECT CASE e.name WHEN 'SQL_ASCII' THEN 'the database has the encoding SQL_ASCII: text is "
    "published byte for byte, and may be no UTF-8' ELSE format('the database has the encoding %s: "
    "text is published as UTF-8, and has other bytes than in the database', e.name) END,"
    " 'use a database with the encoding UTF8 if consumers need the same bytes'"
    " FROM (SELECT current_setting('server_encoding') AS name) AS e WHERE e.name <> 'UTF8'";

static const char *const extensions =
    "SELECT format('table %s belongs to extension %I: DROP EXTENSION drops it with its "
    "events', " OUTBOX_NAME
    ", x.extname), format('run ALTER EXTENSION %I DROP TABLE %s', x.extname, " OUTBOX_NAME
    ")" TABLES " JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = k.oid"
    "  AND d.deptype = 'e' JOIN pg_extension AS x ON x.oid = d.refobjid" OF_OUTBOX;

static const char *const parts[] = {foreign_keys, row_triggers, statement_triggers, insert_triggers,
				    checks,	  insert_rules, publications,	    ids,
				    collations,	  encodings,	extensions};

PGresult *warnings_read(PGconn *conn, const char *table, const struct config_columns *columns,
			int settle, struct error *err)
{
	const char *params[] = {table,
				columns->id,
				columns->aggregate_id,
				settle == SETTLE_MARK ? "true" : "false",
				settle == SETTLE_POSITION ? "true" : "false",
				columns->published_at};
	char *sql = xstrdup(parts[0]);
	PGresult *result;

	for (size_t i = 1; i < sizeof(parts) / sizeof(parts[0]); i++)
		xappend(&sql, " UNION ALL %s", parts[i]);
	result = pgsync_query(conn, "looking for what may stop rows", sql, 6, params, err);
	free(sql);
	return result;
}

/* Nothing is lost by what is said here, so a failure to ask is a warning as well. */
void warnings_print(PGconn *conn, const struct pgname *table, const struct config_columns *columns,
		    int settle)
{
	char name[PGNAME_FULL_SIZE];
	struct error err;
	PGresult *result;

	pgname_print(table, name);
	result = warnings_read(conn, name, columns, settle, &err);
	if (!result)
		fprintf(stderr, "warning: %s\n", err.text);
	for (int row = 0; result && row < PQntuples(result); row++)
		fprintf(stderr, "warning: %s; %s\n", pgsync_text(result, row, "what"),
			pgsync_text(result, row, "remedy"));
	PQclear(result);
}
