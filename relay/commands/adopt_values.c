/* SPDX-License-Identifier: ISC */
/*
 * adopt_values.c - which value of a status, or of a flag that is no boolean, says what
 */
#include "adopt_values.h"

#include "base/xalloc.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- read ---- */

static void free_texts(struct adopt_texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(texts->items[i]);
}

void adopt_values_free(struct adopt_values *values)
{
	free_texts(&values->rows);
	free_texts(&values->labels);
	free(values->preset);
}

/* What a query with one text a row has. Frees the query. */
static bool read_texts(PGconn *conn, char *sql, struct adopt_texts *texts, struct error *err)
{
	PGresult *result = pgsync_query(conn, "looking at what a column has", sql, 0, NULL, err);

	free(sql);
	for (int row = 0; result && row < PQntuples(result); row++) {
		if (PQgetisnull(result, row, 0))
			texts->has_null = true;
		else
			texts->items[texts->count++] = xstrdup(PQgetvalue(result, row, 0));
	}
	PQclear(result);
	return result != NULL;
}

static char *rows_sql(const struct adopt_facts *facts, const char *column, const char *events)
{
	char quoted[PGNAME_QUOTED_SIZE], table[PGNAME_FULL_SIZE];

	pgname_quote(column, quoted);
	pgname_print(&facts->table, table);
	return xasprintf("SELECT DISTINCT %s::text FROM %s WHERE (\n%s\n) LIMIT %d", quoted, table,
			 events, ADOPT_VALUES_MAX);
}

static char *labels_sql(const struct adopt_facts *facts, const char *column)
{
	char *literal = pgname_literal(column);
	char *sql = xasprintf("SELECT e.enumlabel FROM pg_enum AS e JOIN pg_attribute AS a ON "
			      "a.atttypid = e.enumtypid WHERE a.attrelid = %" PRIu32
			      " AND a.attname = %s ORDER BY e.enumsortorder LIMIT %d",
			      facts->oid, literal, ADOPT_VALUES_MAX);

	free(literal);
	return sql;
}

/* 'NEW'::text of a default: NEW. NULL if it is no such text. */
static char *preset_text(const struct adopt_column *column)
{
	const char *end;

	if (!column->preset || *column->preset != '\'')
		return NULL;
	end = strchr(column->preset + 1, '\'');
	return end && (end[1] == ':' || !end[1])
		   ? xasprintf("%.*s", (int)(end - column->preset - 1), column->preset + 1)
		   : NULL;
}

bool adopt_values_read(PGconn *conn, struct adopt_values *values, const struct adopt_facts *facts,
		       const struct adopt_column *column, const char *events, struct error *err)
{
	char *rows = rows_sql(facts, column->name, events), *labels;

	*values = (struct adopt_values){.may_be_null = !column->not_null};
	if (!read_texts(conn, rows, &values->rows, err))
		return false;
	labels = labels_sql(facts, column->name);
	if (!read_texts(conn, labels, &values->labels, err)) {
		adopt_values_free(values);
		return false;
	}
	values->preset = preset_text(column);
	return true;
}

/* ---- told ---- */

/* The one value of a kind; NULL if there is none, or another one beside it. */
static const char *only(const struct adopt_texts *values, bool (*says)(const char *value))
{
	const char *found = NULL;

	for (size_t i = 0; i < values->count; i++) {
		if (!says(values->items[i]))
			continue;
		if (found)
			return NULL;
		found = values->items[i];
	}
	return found;
}

static bool several(const struct adopt_texts *values, bool (*says)(const char *value))
{
	size_t count = 0;

	for (size_t i = 0; i < values->count; i++)
		count += says(values->items[i]);
	return count > 1;
}

/* The other one of a pair, in the same letters. */
static const char *opposite(const char *value)
{
	static const char *const pairs[][2] = {{"Y", "N"},	  {"y", "n"},	{"T", "F"},
					       {"t", "f"},	  {"1", "0"},	{"yes", "no"},
					       {"true", "false"}, {"YES", "NO"}};

	for (size_t i = 0; value && i < sizeof(pairs) / sizeof(pairs[0]); i++)
		for (int side = 0; side < 2; side++)
			if (strcmp(pairs[i][side], value) == 0)
				return pairs[i][1 - side];
	return NULL;
}

const char *adopt_values_unclear(const struct adopt_values *values)
{
	const struct adopt_texts *rows = &values->rows;

	for (size_t i = 0; i < rows->count; i++)
		if (!adopt_says_published(rows->items[i]) && !adopt_says_pending(rows->items[i]))
			return rows->items[i];
	return NULL;
}

/* Why nothing is plain, malloc'd; or NULL. */
static char *trouble(const struct adopt_values *values, const char *done, const char *waits)
{
	const struct adopt_texts *rows = &values->rows;
	const char *odd = adopt_values_unclear(values);

	if (odd)
		return xasprintf("nothing tells whether \"%s\" is to be published", odd);
	if (rows->has_null && values->may_be_null && waits)
		return xstrdup("nothing tells whether NULL is to be published");
	if (several(rows, adopt_says_published) || several(rows, adopt_says_pending) || !done ||
	    !waits || strcmp(done, waits) == 0)
		return xstrdup("it has no one value for published, and one for waiting");
	return NULL;
}

void adopt_values_tell(const struct adopt_values *values, char **published, char **pending,
		       char **why)
{
	const char *done = only(&values->rows, adopt_says_published);
	const char *waits = only(&values->rows, adopt_says_pending);

	done = done ? done : only(&values->labels, adopt_says_published);
	waits = waits ? waits : values->preset;
	waits = waits ? waits : only(&values->labels, adopt_says_pending);
	done = done ? done : opposite(waits);
	waits = waits ? waits : opposite(done);
	*why = trouble(values, done, waits);
	if (!*why) {
		*published = xstrdup(done);
		*pending = xstrdup(waits);
	}
}
