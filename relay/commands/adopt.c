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
    "SELECT t.*, pg_table_size(t.oid) AS bytes, EXISTS (SELECT FROM pg_trigger"
    "  WHERE tgrelid = t.oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 16 <> 0)"
    "  AS update_triggers FROM " OUTBOX_TABLE " AS t";

static const char COLUMNS_SQL[] =
    "SELECT a.attname, t.typname, a.attidentity <> '' AS identity,"
    " a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%', false)"
    "  AS from_sequence,"
    " a.attnotnull AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid"
    "  AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 1"
    "  AND i.indkey[0] = a.attnum) AS is_unique"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = " OUTBOX_BASE_TYPE
    " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

static void copy_name(char *out, const char *name)
{
	snprintf(out, PGNAME_SIZE, "%s", name);
}

static bool read_columns(PGconn *conn, struct adopt_facts *facts, const char *name,
			 struct error *err)
{
	PGresult *result =
	    pgsync_query(conn, "reading the table's columns", COLUMNS_SQL, 1, &name, err);
	struct adopt_column *column;
	int row;

	if (!result)
		return false;
	facts->columns = xcalloc((size_t)PQntuples(result) + 1, sizeof(*facts->columns));
	for (row = 0; row < PQntuples(result); row++) {
		column = &facts->columns[facts->count++];
		copy_name(column->name, pgsync_text(result, row, "attname"));
		copy_name(column->type, pgsync_text(result, row, "typname"));
		column->unique = pgsync_bool(result, row, "is_unique");
		column->identity = pgsync_bool(result, row, "identity");
		column->from_sequence = pgsync_bool(result, row, "from_sequence");
	}
	PQclear(result);
	return true;
}

bool adopt_table_read(PGconn *conn, struct adopt_table *table, struct error *err)
{
	char name[PGNAME_FULL_SIZE];
	const char *params[] = {name};

	pgname_print(&table->facts.table, name);
	table->result = pgsync_query(conn, "looking for the table", TABLE_SQL, 1, params, err);
	if (!table->result)
		return false;
	table->exists = PQntuples(table->result) > 0;
	if (table->exists) {
		outbox_table_read(table->result, &table->outbox);
		table->bytes = pgsync_number(table->result, 0, "bytes");
		table->update_triggers = pgsync_bool(table->result, 0, "update_triggers");
	}
	return read_columns(conn, &table->facts, name, err);
}

void adopt_table_free(struct adopt_table *table)
{
	free(table->facts.columns);
	table->facts.columns = NULL;
	PQclear(table->result);
	table->result = NULL;
}

/* 1 if a row meets the condition, 0 if none does; -1 and err if that cannot be asked. */
static int any_row(PGconn *conn, const char *table, const char *condition, struct error *err)
{
	char *sql =
	    xasprintf("SELECT EXISTS (SELECT FROM %s WHERE %s) AS any_row", table, condition);
	PGresult *result =
	    pgsync_query(conn, "looking for rows that were handled", sql, 0, NULL, err);
	int any = result ? pgsync_bool(result, 0, "any_row") : -1;

	free(sql);
	PQclear(result);
	return any;
}

static bool is_mapped(const char *name, const struct config_columns *mapped, int settle)
{
	bool found = (settle == SETTLE_MARK && strcmp(name, "published_at") == 0) ||
		     (settle == SETTLE_POSITION && strcmp(name, "x") == 0);

	for (int role = 0; role < ADOPT_ROLES; role++)
		found = found || strcmp(adopt_configured(mapped, (enum adopt_role)role), name) == 0;
	return found;
}

static bool done_check(PGconn *conn, const struct pgname *table, const char *column,
		       const char *condition, struct error *err)
{
	char name[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE];
	int any;

	pgname_print(table, name);
	pgname_show(table, shown);
	any = any_row(conn, name, condition, err);
	if (any == 0)
		fprintf(stderr,
			"warning: column %s of table %s seems to say which rows were handled; the "
			"relay does not read it and publishes each row\n",
			column, shown);
	if (any <= 0)
		return any == 0;
	return error_set(
	    err,
	    "column %s of table %s says that some rows were handled already (WHERE %s), "
	    "and the relay would publish them again; delete these rows or move them to "
	    "another table, or drop or rename the column if it means something else, "
	    "then migrate again",
	    column, shown, condition);
}

bool adopt_done_check(PGconn *conn, const struct adopt_facts *facts,
		      const struct config_columns *mapped, int settle, struct error *err)
{
	bool good = true;

	for (size_t i = 0; good && i < facts->count; i++) {
		const struct adopt_column *column = &facts->columns[i];
		char *condition =
		    is_mapped(column->name, mapped, settle) ? NULL : adopt_done_condition(column);

		if (condition)
			good = done_check(conn, &facts->table, column->name, condition, err);
		free(condition);
	}
	return good;
}

void adopt_explain(const struct adopt_table *table, const struct adopt_plan *plan)
{
	char name[PGNAME_FULL_SIZE];

	pgname_show(&table->facts.table, name);
	fprintf(stderr, "adopting %s: rows that are in the table now count as not yet published\n",
		name);
	if (*plan->sql)
		fprintf(
		    stderr,
		    "adopting %s: all rows (about %" PRId64
		    " MiB) are rewritten in one transaction under an ACCESS EXCLUSIVE lock; "
		    "until it ends no other session reads or writes the table. The lock is waited "
		    "2 s at a time; if it does not come, nothing has changed\n",
		    name, (table->bytes + 1048575) >> 20);
	else
		fprintf(stderr, "adopting %s: no column has to be added, rows are not touched\n",
			name);
	if (plan->numbers && table->update_triggers)
		fprintf(stderr,
			"adopting %s: the table has UPDATE triggers of its own, which fire while "
			"rows are numbered\n",
			name);
}
