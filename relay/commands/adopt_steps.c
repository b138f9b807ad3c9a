/* SPDX-License-Identifier: ISC */
/*
 * adopt_steps.c - a table's rows get ascending numbers, step by step, while others write to it
 *
 * New rows are numbered by a sequence from the first step on. It begins so high that all older rows
 * find room below: a row takes ten bytes at the least. Those get their numbers in order, a few
 * thousand in a transaction, by a list that is made once: the steps can be taken again after an
 * interruption, and a row keeps its number. No step rewrites the table, and none holds a lock on it
 * that keeps writers away for longer than the catalog takes to be changed.
 */
#include "adopt.h"

#include "base/xalloc.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BATCH "5000"

struct names {
	char table[PGNAME_FULL_SIZE], id[PGNAME_QUOTED_SIZE];
	char list[PGNAME_FULL_SIZE];	 /* which row gets which number */
	char sequence[PGNAME_FULL_SIZE]; /* that gives numbers to new rows meanwhile */
	char *table_text, *id_text;	 /* owned; literals */
};

static struct names names_of(const struct adopt_facts *facts, const struct adopt_plan *plan)
{
	struct names names;
	struct pgname own = facts->table;

	pgname_print(&facts->table, names.table);
	pgname_quote(plan->columns[ADOPT_ID], names.id);
	snprintf(own.table, sizeof(own.table), "outbox_relay_order_%" PRIu32, facts->oid);
	pgname_print(&own, names.list);
	snprintf(own.table, sizeof(own.table), "outbox_relay_number_%" PRIu32, facts->oid);
	pgname_print(&own, names.sequence);
	names.table_text = pgname_literal(names.table);
	names.id_text = pgname_literal(plan->columns[ADOPT_ID]);
	return names;
}

static void free_names(struct names *names)
{
	free(names->table_text);
	free(names->id_text);
}

static void add(struct adopt_steps *steps, const char *what, bool waits, char *sql)
{
	steps->items = xrealloc(steps->items, (steps->count + 1) * sizeof(*steps->items));
	steps->items[steps->count++] = (struct adopt_step){what, sql, waits};
}

/* ---- what rows are numbered by ---- */

/*
 * Never by a random identity; and by the place last of all: sessions that insert at the same time
 * fill pages of their own, and later rows take the places of deleted ones. The transaction that
 * inserted a row stays readable when VACUUM has frozen it (HEAP_XMIN_FROZEN in PostgreSQL's
 * access/htup_details.h), and so does the number of its command.
 */
char *adopt_order(const struct adopt_facts *facts, const struct adopt_plan *plan)
{
	static const char made[] = "age(t.xmin) DESC, t.cmin::text::bigint";
	const char *place = facts->partitioned ? "t.tableoid, t.ctid" : "t.ctid";
	char time[PGNAME_QUOTED_SIZE];

	if (plan->order)
		return xasprintf("%s, %s, %s", plan->order, made, place);
	if (!*plan->made)
		return xasprintf("%s, %s", made, place);
	pgname_quote(plan->made, time);
	return xasprintf("t.%s, %s, %s", time, made, place);
}

/* The next item up to a comma outside of quotes, without blanks around it. */
static const char *next_item(const char *at, const char **start, size_t *len)
{
	bool quoted = false;

	while (isspace((unsigned char)*at))
		at++;
	*start = at;
	for (; *at && (quoted || *at != ','); at++)
		quoted ^= *at == '"';
	*len = (size_t)(at - *start);
	while (*len > 0 && isspace((unsigned char)(*start)[*len - 1]))
		--*len;
	return *at ? at + 1 : at;
}

/* Takes " desc" or " asc" off the end; " DESC" or "". */
static const char *direction(const char *item, size_t *len)
{
	static const char *const words[] = {" desc", " asc"};

	for (size_t i = 0; i < 2; i++) {
		size_t size = strlen(words[i]);

		if (*len > size && strncasecmp(item + *len - size, words[i], size) == 0) {
			*len -= size;
			while (*len > 0 && isspace((unsigned char)item[*len - 1]))
				--*len;
			return i == 0 ? " DESC" : "";
		}
	}
	return "";
}

static bool append_column(char **sql, const struct adopt_facts *facts, const char *item, size_t len,
			  struct error *err)
{
	const char *way = direction(item, &len);
	char name[PGNAME_SIZE], quoted[PGNAME_QUOTED_SIZE], table[PGNAME_FULL_SIZE];
	bool quotes = len > 1 && item[0] == '"' && item[len - 1] == '"';

	pgname_show(&facts->table, table);
	snprintf(name, sizeof(name), "%.*s", (int)(quotes ? len - 2 : len), item + quotes);
	if (!adopt_find(facts, name))
		return error_set(err, "--order-by: table %s has no column \"%s\"", table, name);
	pgname_quote(name, quoted);
	xappend(sql, "%st.%s%s", **sql ? ", " : "", quoted, way);
	return true;
}

char *adopt_order_by(const struct adopt_facts *facts, const char *text, struct error *err)
{
	char *sql = xstrdup("");
	const char *item;
	size_t len;
	bool good = true;

	do {
		text = next_item(text, &item, &len);
		good = append_column(&sql, facts, item, len, err);
	} while (good && *text);
	if (good)
		return sql;
	free(sql);
	return NULL;
}

/* ---- numbering ---- */

/* Whoever writes to the table needs no right on an identity's sequence; on this one everybody has
 * it. */
static char *begin_sql(const struct names *n)
{
	char *sequence = pgname_literal(n->sequence);
	char *sql = xasprintf(
	    "DO $adopt$\n"
	    "DECLARE\n"
	    "    room bigint;\n"
	    "BEGIN\n"
	    "    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = "
	    "%s "
	    "AND NOT attisdropped) THEN\n"
	    "        RETURN;\n"
	    "    END IF;\n"
	    "    ALTER TABLE %s ADD COLUMN %s bigint;\n"
	    "    SELECT coalesce(sum(pg_relation_size(relid)), 0) / 10 + 1 INTO room\n"
	    "      FROM (SELECT %s::regclass UNION SELECT relid FROM pg_partition_tree(%s)) AS "
	    "tree "
	    "(relid);\n"
	    "    EXECUTE format('CREATE SEQUENCE %%s START %%s CACHE 1', %s, room);\n"
	    "    GRANT USAGE ON SEQUENCE %s TO PUBLIC;\n"
	    "    ALTER SEQUENCE %s OWNED BY %s.%s;\n"
	    "    ALTER TABLE %s ALTER COLUMN %s SET DEFAULT nextval(%s);\n"
	    "    COMMENT ON COLUMN %s.%s IS 'outbox-relay is numbering the rows';\n"
	    "END $adopt$;\n",
	    n->table_text, n->id_text, n->table, n->id, n->table_text, n->table_text, sequence,
	    n->sequence, n->sequence, n->table, n->id, n->table, n->id, sequence, n->table, n->id);

	free(sequence);
	return sql;
}

/* The columns of the key, each after this, quoted. */
static char *key_columns(const struct adopt_facts *facts, const char *before, const char *between)
{
	char *copy = xstrdup(facts->key), *rest = copy, *sql = xstrdup(""), *name;
	char quoted[PGNAME_QUOTED_SIZE];

	while ((name = strsep(&rest, "\x1f")) != NULL) {
		pgname_quote(name, quoted);
		xappend(&sql, "%s%s%s", *sql ? between : "", before, quoted);
	}
	free(copy);
	return sql;
}

/* t.a = o.a AND ...: a row moves when it is changed, so its place is the last resort. */
static char *match_sql(const struct adopt_facts *facts)
{
	char *copy = xstrdup(facts->key), *rest = copy, *sql = xstrdup(""), *name;
	char quoted[PGNAME_QUOTED_SIZE];

	if (!*facts->key)
		xappend(&sql, "t.tableoid = o.part AND t.ctid = o.place");
	while (*facts->key && (name = strsep(&rest, "\x1f")) != NULL) {
		pgname_quote(name, quoted);
		xappend(&sql, "%st.%s = o.%s", *sql ? " AND " : "", quoted, quoted);
	}
	free(copy);
	return sql;
}

static char *list_sql(const struct names *n, const struct adopt_facts *facts,
		      const struct adopt_plan *plan)
{
	char *order = adopt_order(facts, plan), *list = pgname_literal(n->list);
	char *columns = *facts->key ? key_columns(facts, "t.", ", ")
				    : xstrdup("t.tableoid AS part, t.ctid AS place");
	char *sql =
	    xasprintf("DO $adopt$\n"
		      "BEGIN\n"
		      "    IF to_regclass(%s) IS NULL THEN\n"
		      "        CREATE TABLE %s AS SELECT %s, row_number() OVER (ORDER BY %s) "
		      "AS outbox_relay_n\n"
		      "          FROM %s AS t WHERE t.%s IS NULL;\n"
		      "        ALTER TABLE %s ADD PRIMARY KEY (outbox_relay_n);\n"
		      "    END IF;\n"
		      "END $adopt$;\n",
		      list, n->list, columns, order, n->table, n->id, n->list);

	free(order);
	free(list);
	free(columns);
	return sql;
}

static char *fill_sql(const struct names *n, const struct adopt_facts *facts)
{
	char *match = match_sql(facts);
	char *sql =
	    xasprintf("DO $adopt$\n"
		      "DECLARE\n"
		      "    done bigint := 0;\n"
		      "    most bigint := (SELECT coalesce(max(outbox_relay_n), 0) FROM %s);\n"
		      "BEGIN\n"
		      "    WHILE done < most LOOP\n"
		      "        SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;\n"
		      "        SET LOCAL enable_mergejoin = off; SET LOCAL lock_timeout = '2s';\n"
		      "        UPDATE %s AS t SET %s = o.outbox_relay_n FROM %s AS o\n"
		      "         WHERE o.outbox_relay_n > done AND o.outbox_relay_n <= done + " BATCH
		      " AND %s AND t.%s IS NULL;\n"
		      "        done := done + " BATCH ";\n"
		      "        IF done < most THEN COMMIT; END IF;\n"
		      "    END LOOP;\n"
		      "END $adopt$;\n",
		      n->list, n->table, n->id, n->list, match, n->id);

	free(match);
	return sql;
}

/* Rows that were changed meanwhile, where the table has no key: they come last of the old ones. */
static char *rest_sql(const struct names *n)
{
	return xasprintf(
	    "WITH rest AS (SELECT t.tableoid AS part, t.ctid AS place, row_number() OVER () + "
	    "(SELECT coalesce(max(outbox_relay_n), 0) FROM %s) AS n FROM %s AS t WHERE t.%s IS "
	    "NULL)\n"
	    "UPDATE %s AS t SET %s = rest.n FROM rest WHERE t.tableoid = rest.part AND t.ctid = "
	    "rest.place;\n",
	    n->list, n->table, n->id, n->table, n->id);
}

static char *not_null_sql(const struct names *n)
{
	return xasprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS outbox_relay_numbered;\n"
			 "ALTER TABLE %s ADD CONSTRAINT outbox_relay_numbered CHECK (%s IS NOT "
			 "NULL) NOT VALID;\n",
			 n->table, n->table, n->id);
}

static char *set_not_null_sql(const struct names *n)
{
	return xasprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL;\n"
			 "ALTER TABLE %s DROP CONSTRAINT IF EXISTS outbox_relay_numbered;\n",
			 n->table, n->id, n->table);
}

/* An identity goes on from where the sequence is; a partitioned table has none before PostgreSQL
 * 17. The comment goes last: without it the table counts as numbered. */
static char *finish_sql(const struct names *n, bool partitioned)
{
	char *sequence = pgname_literal(n->sequence);
	char *sql =
	    partitioned
		? xasprintf("DROP TABLE IF EXISTS %s;\nCOMMENT ON COLUMN %s.%s IS NULL;\n", n->list,
			    n->table, n->id)
		: xasprintf(
		      "DO $adopt$\n"
		      "DECLARE\n"
		      "    next bigint;\n"
		      "BEGIN\n"
		      "    LOCK TABLE %s IN ACCESS EXCLUSIVE MODE;\n"
		      "    IF to_regclass(%s) IS NOT NULL THEN\n"
		      "        next := nextval(%s);\n"
		      "        ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT;\n"
		      "        DROP SEQUENCE %s;\n"
		      "        EXECUTE format('ALTER TABLE %s ALTER COLUMN %s ADD GENERATED BY "
		      "DEFAULT AS IDENTITY (START %%s CACHE 1)', next);\n"
		      "    END IF;\n"
		      "    COMMENT ON COLUMN %s.%s IS NULL;\n"
		      "    DROP TABLE IF EXISTS %s;\n"
		      "END $adopt$;\n",
		      n->table, sequence, sequence, n->table, n->id, n->sequence, n->table, n->id,
		      n->table, n->id, n->list);

	free(sequence);
	return sql;
}

static void add_numbering(struct adopt_steps *steps, const struct names *n,
			  const struct adopt_facts *facts, const struct adopt_plan *plan)
{
	add(steps, "adding a column for the numbers", true, begin_sql(n));
	add(steps, "putting the rows in order", false, list_sql(n, facts, plan));
	add(steps, "numbering the rows", false, fill_sql(n, facts));
	add(steps, "numbering what was changed meanwhile", false, rest_sql(n));
	add(steps, "asking that each row has a number", true, not_null_sql(n));
	add(steps, "looking whether each row has a number", false,
	    xasprintf("ALTER TABLE %s VALIDATE CONSTRAINT outbox_relay_numbered;\n", n->table));
	add(steps, "noting that each row has a number", true, set_not_null_sql(n));
}

/* One that was left behind is not valid, and in the way. index: without its schema, which is the
 * table's. */
static void add_index_on(struct adopt_steps *steps, const char *table, const char *schema,
			 const char *index, const char *id, const char *unique)
{
	struct pgname name;
	char full[PGNAME_FULL_SIZE], quoted[PGNAME_QUOTED_SIZE];

	snprintf(name.schema, sizeof(name.schema), "%s", schema);
	snprintf(name.table, sizeof(name.table), "%s", index);
	pgname_print(&name, full);
	pgname_quote(index, quoted);
	add(steps, "removing an index that was not finished", false,
	    xasprintf("DROP INDEX CONCURRENTLY IF EXISTS %s;\n", full));
	add(steps, "indexing the numbers", false,
	    xasprintf("CREATE %sINDEX CONCURRENTLY %s ON %s (%s);\n", unique, quoted, table, id));
}

/* Of partitions one after the other; then the index of the whole finds all its parts there. An
 * index lies in its table's schema, which is taken from the quoted name. */
static void add_leaf_indexes(struct adopt_steps *steps, const struct names *n,
			     const struct adopt_facts *facts)
{
	char *copy = xstrdup(facts->leaves), *rest = copy, *leaf;
	char index[PGNAME_SIZE];
	struct pgname name;
	struct error ignored;

	while (*facts->leaves && (leaf = strsep(&rest, "\x1f")) != NULL) {
		char *oid = strchr(leaf, '\x1e');

		*oid++ = '\0';
		if (!pgname_parse(leaf, &name, &ignored))
			continue;
		snprintf(index, sizeof(index), "outbox_relay_ids_%s", oid);
		add_index_on(steps, leaf, name.schema, index, n->id, "");
	}
	free(copy);
}

/* Of a small table, at once: then all steps may be one transaction. */
static void add_index(struct adopt_steps *steps, const struct names *n,
		      const struct adopt_facts *facts)
{
	char index[PGNAME_SIZE], quoted[PGNAME_QUOTED_SIZE];

	snprintf(index, sizeof(index), "outbox_relay_ids_%" PRIu32, facts->oid);
	pgname_quote(index, quoted);
	if (!facts->partitioned && !facts->small) {
		add_index_on(steps, n->table, facts->table.schema, index, n->id, "UNIQUE ");
		return;
	}
	if (facts->partitioned && !facts->small)
		add_leaf_indexes(steps, n, facts);
	add(steps, "indexing the numbers", true,
	    xasprintf("CREATE %sINDEX IF NOT EXISTS %s ON %s (%s);\n",
		      facts->partitioned ? "" : "UNIQUE ", quoted, n->table, n->id));
}

/* The condition that a row waits, as sql/0017_marks.sql has it. */
static char *waits_sql(const struct adopt_facts *facts, const struct adopt_published *published,
		       const char *column)
{
	const struct adopt_column *own = adopt_find(facts, column);
	const char *value = published->published_value ? published->published_value : "true";
	char name[PGNAME_QUOTED_SIZE], *literal, *sql;

	pgname_quote(column, name);
	if (published->pending_value && *published->pending_value) {
		literal = pgname_literal(published->pending_value);
		sql = xasprintf("%s =%s%s", name, *literal == ' ' ? "" : " ", literal);
		free(literal);
		return sql;
	}
	if (own && strcmp(own->type, "bool") == 0)
		return xasprintf("%s IS NOT %s", name, value);
	return xasprintf("%s IS NULL", name);
}

/* The migrations would build it with the writers locked out. */
static void add_waits_index(struct adopt_steps *steps, const struct names *n,
			    const struct adopt_facts *facts,
			    const struct adopt_published *published)
{
	const char *column = published->column ? published->column : "published_at";
	struct pgname index = facts->table;
	char full[PGNAME_FULL_SIZE], quoted[PGNAME_QUOTED_SIZE], name[PGNAME_QUOTED_SIZE];
	char *waits = waits_sql(facts, published, column);

	snprintf(index.table, sizeof(index.table), "outbox_relay_waits_%" PRIu32, facts->oid);
	pgname_print(&index, full);
	pgname_quote(index.table, quoted);
	pgname_quote(column, name);
	if (!adopt_find(facts, column))
		add(steps, "adding the column that marks rows", true,
		    xasprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s timestamptz;\n", n->table,
			      name));
	add(steps, "removing an index that was not finished", false,
	    xasprintf("DROP INDEX CONCURRENTLY IF EXISTS %s;\n", full));
	add(steps, "indexing the rows that wait", false,
	    xasprintf("CREATE INDEX CONCURRENTLY %s ON %s (%s) WHERE %s;\n", quoted, n->table,
		      n->id, waits));
	free(waits);
}

void adopt_steps_make(const struct adopt_facts *facts, const struct adopt_plan *plan,
		      const struct adopt_published *published, struct adopt_steps *steps)
{
	struct names n = names_of(facts, plan);

	*steps = (struct adopt_steps){NULL, 0};
	if (plan->numbers)
		add_numbering(steps, &n, facts, plan);
	if (plan->numbers || plan->indexes)
		add_index(steps, &n, facts);
	if (plan->numbers)
		add(steps, "making the column an identity", true,
		    finish_sql(&n, facts->partitioned));
	if (published->settle == SETTLE_MARK && !facts->small && !facts->partitioned &&
	    !facts->waits_indexed)
		add_waits_index(steps, &n, facts, published);
	free_names(&n);
}

void adopt_steps_free(struct adopt_steps *steps)
{
	for (size_t i = 0; i < steps->count; i++)
		free(steps->items[i].sql);
	free(steps->items);
	*steps = (struct adopt_steps){NULL, 0};
}
