/* SPDX-License-Identifier: ISC */
/*
 * adopt.c - the facts about an existing table that adoption is planned on
 */
#include "adopt.h"

#include "base/xalloc.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TABLE_SQL[] =
    "SELECT t.*, (SELECT sum(pg_table_size(relid)) FROM (SELECT t.oid AS relid UNION"
    "  SELECT relid FROM pg_partition_tree(t.oid)) AS tree)::int8 AS bytes, EXISTS (SELECT FROM "
    "pg_trigger"
    "  WHERE tgrelid = t.oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 16 <> 0)"
    "  AS update_triggers,"
    " (SELECT relkind = 'p' FROM pg_class WHERE oid = t.oid) AS partitioned,"
    " (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = t.oid) AS owned,"
    " EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid"
    "  WHERE i.indrelid = t.oid AND i.indisvalid"
    "   AND x.relname = 'outbox_relay_waits_' || t.oid) AS waits_indexed,"
    " (SELECT string_agg(format('%s.%I', k.relnamespace::regnamespace, k.relname) || chr(30)"
    "   || k.oid, chr(31) ORDER BY k.oid) FROM pg_class k WHERE k.relkind = 'r' AND k.oid <> t.oid"
    "   AND k.oid IN (SELECT relid FROM pg_partition_tree(t.oid))) AS leaves,"
    " (SELECT string_agg(a.attname, chr(31) ORDER BY k.n) FROM (SELECT i.* FROM pg_index i"
    "   WHERE i.indrelid = t.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL"
    "    AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid"
    "     AND a.attnum = ANY (i.indkey::int2[]) AND NOT a.attnotnull)"
    "   ORDER BY i.indisprimary DESC, i.indnatts LIMIT 1) AS i"
    "  CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n)"
    "  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum"
    "  WHERE k.n <= i.indnkeyatts) AS key"
    " FROM " OUTBOX_TABLE("$2", "$3") " AS t";

static const char COLUMNS_SQL[] =
    "SELECT a.attname, t.typname, a.attidentity <> '' AS identity, t.typcategory,"
    " a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%', false)"
    "  AS from_sequence,"
    " a.attnotnull AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid"
    "  AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 1"
    "  AND i.indkey[0] = a.attnum) AS is_unique, a.attnotnull AS not_null,"
    " EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid"
    "   JOIN pg_am m ON m.oid = x.relam WHERE i.indrelid = a.attrelid AND i.indisvalid"
    "   AND i.indpred IS NULL AND i.indkey[0] = a.attnum AND m.amname = 'btree') AS indexed,"
    " col_description(a.attrelid, a.attnum) IS NOT DISTINCT FROM"
    "  'outbox-relay is numbering the rows' AS unfinished,"
    " CASE a.attgenerated WHEN '' THEN coalesce(pg_get_expr(d.adbin, d.adrelid),"
    "  (SELECT o.typdefault FROM pg_type o WHERE o.oid = a.atttypid AND o.typtype = 'd')) END"
    "  AS preset"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = " OUTBOX_BASE_TYPE
    " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

/* Room for less than one batch of the steps, with indexes beside. */
enum { SMALL_BYTES = 256 * 1024 };

static void copy_name(char *out, const char *name)
{
	snprintf(out, PGNAME_SIZE, "%s", name);
}

static void read_column(const PGresult *result, int row, struct adopt_column *column)
{
	copy_name(column->name, pgsync_text(result, row, "attname"));
	copy_name(column->type, pgsync_text(result, row, "typname"));
	column->unique = pgsync_bool(result, row, "is_unique");
	column->identity = pgsync_bool(result, row, "identity");
	column->from_sequence = pgsync_bool(result, row, "from_sequence");
	column->category = *pgsync_text(result, row, "typcategory");
	column->not_null = pgsync_bool(result, row, "not_null");
	column->indexed = pgsync_bool(result, row, "indexed");
	column->unfinished = pgsync_bool(result, row, "unfinished");
	column->preset = pgsync_text(result, row, "preset");
}

static bool read_columns(PGconn *conn, struct adopt_table *table, const char *name,
			 struct error *err)
{
	struct adopt_facts *facts = &table->facts;
	int row;

	table->columns =
	    pgsync_query(conn, "reading the table's columns", COLUMNS_SQL, 1, &name, err);
	if (!table->columns)
		return false;
	facts->columns = xcalloc((size_t)PQntuples(table->columns) + 1, sizeof(*facts->columns));
	for (row = 0; row < PQntuples(table->columns); row++)
		read_column(table->columns, row, &facts->columns[facts->count++]);
	return true;
}

bool adopt_table_read(PGconn *conn, struct adopt_table *table, struct error *err)
{
	char name[PGNAME_FULL_SIZE];
	const char *params[] = {name, table->published_at, table->published_value};
	const char *key, *leaves;

	pgname_print(&table->facts.table, name);
	table->result = pgsync_query(conn, "looking for the table", TABLE_SQL, 3, params, err);
	if (!table->result)
		return false;
	table->exists = PQntuples(table->result) > 0;
	table->facts.key = table->facts.leaves = "";
	if (table->exists) {
		outbox_table_read(table->result, &table->outbox);
		table->bytes = pgsync_number(table->result, 0, "bytes");
		table->update_triggers = pgsync_bool(table->result, 0, "update_triggers");
		table->facts.small = table->bytes < SMALL_BYTES;
		table->facts.oid = (uint32_t)pgsync_number(table->result, 0, "oid");
		table->facts.partitioned = pgsync_bool(table->result, 0, "partitioned");
		table->facts.owned = pgsync_bool(table->result, 0, "owned");
		table->facts.waits_indexed = pgsync_bool(table->result, 0, "waits_indexed");
		leaves = pgsync_text(table->result, 0, "leaves");
		table->facts.leaves = leaves ? leaves : "";
		key = pgsync_text(table->result, 0, "key");
		table->facts.key = key ? key : "";
	}
	return read_columns(conn, table, name, err);
}

void adopt_table_free(struct adopt_table *table)
{
	free(table->facts.columns);
	table->facts.columns = NULL;
	PQclear(table->result);
	PQclear(table->columns);
	table->result = table->columns = NULL;
}

/* In what order rows are published, without the "t.". */
static void explain_order(const struct adopt_facts *facts, const struct adopt_plan *plan,
			  const char *name)
{
	if (plan->order)
		fprintf(stderr, "adopting %s: rows are numbered as --order-by says\n", name);
	else if (*plan->made)
		fprintf(stderr,
			"adopting %s: rows are numbered by %s, and those of the same time by the "
			"transactions that inserted them; --order-by names other columns\n",
			name, plan->made);
	else
		fprintf(stderr,
			"adopting %s: nothing says when a row was made: rows are numbered by the "
			"transactions that inserted them, which is the order of their insertion "
			"unless rows were updated or transactions overlapped; --order-by names "
			"columns\n",
			name);
	if (!*facts->key)
		fprintf(stderr,
			"adopting %s: the table has no unique key: rows that are updated meanwhile "
			"come last of the present ones\n",
			name);
}

void adopt_explain(const struct adopt_table *table, const struct adopt_plan *plan)
{
	char name[PGNAME_FULL_SIZE];

	pgname_show(&table->facts.table, name);
	if (!plan->numbers) {
		fprintf(stderr,
			"adopting %s: rows are published in the order of column %s, which the "
			"database numbers; no column has to be added, rows are not touched\n",
			name, plan->columns[ADOPT_ID]);
		return;
	}
	fprintf(stderr,
		"adopting %s: the database numbers no column: a column %s is added, and all rows "
		"(about %" PRId64 " MiB) get a number, a few thousand in a transaction, while "
		"others go on writing; an interrupted adoption is run again\n",
		name, plan->columns[ADOPT_ID], (table->bytes + 1048575) >> 20);
	explain_order(&table->facts, plan, name);
	if (table->update_triggers)
		fprintf(stderr,
			"adopting %s: the table has UPDATE triggers of its own, which fire while "
			"rows are numbered\n",
			name);
}

static void explain_other(const char *name, enum adopt_role role, const char *wanted, bool exists,
			  const char *instead)
{
	fprintf(stderr,
		"adopting %s: %s %s%s; set outbox.columns.%s = \"%s\" in the configuration\n", name,
		exists ? "column" : "there is no column", wanted, exists ? " does not serve" : "",
		adopt_role_name(role), instead);
}

void adopt_explain_lacking(const struct adopt_table *table, const struct adopt_plan *plan,
			   const struct config_columns *wanted, const struct config_columns *usual)
{
	char name[PGNAME_FULL_SIZE];

	pgname_show(&table->facts.table, name);
	for (int i = 0; i < ADOPT_ROLES; i++) {
		enum adopt_role role = (enum adopt_role)i;
		const char *column = adopt_configured(wanted, role);

		if (*column && strcmp(column, plan->columns[role]) != 0 &&
		    strcmp(column, adopt_configured(usual, role)) != 0)
			explain_other(name, role, column, adopt_find(&table->facts, column) != NULL,
				      plan->columns[role]);
	}
}
