/* SPDX-License-Identifier: ISC */
/*
 * replay_rows.c - published rows: what the table is like, and which are meant
 */
#include "replay_rows.h"

#include "base/pgname.h"
#include "base/xalloc.h"
#include "columns.h"
#include "core/encode.h"
#include "core/route.h"
#include "outbox/registry.h"
#include "sql_internal.h"
#include "sql_replay.h"

#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = ROUTE_FIELDS_MAX + 1 }; /* and the identity */

struct replay_rows {
	const struct config *config; /* borrowed */
	struct outbox_shape shape;
	char table[PGNAME_FULL_SIZE];
	char *fields[FIELDS_MAX]; /* owned; columns */
	size_t field_count;
	char *settled; /* owned */
};

static int add_column(struct replay_rows *rows, const char *column)
{
	for (size_t i = 0; i < rows->field_count; i++)
		if (strcmp(rows->fields[i], column) == 0)
			return (int)i;
	if (rows->field_count == FIELDS_MAX)
		return -1;
	rows->fields[rows->field_count] = xstrdup(column);
	return (int)rows->field_count++;
}

int replay_rows_field(const char *name, void *arg)
{
	struct replay_rows *rows = arg;
	const char *column = route_column(&rows->config->outbox.columns, name);
	return column != NULL ? add_column(rows, column) : -1;
}

static void take_down(const char *name, void *arg)
{
	replay_rows_field(name, arg);
}

struct replay_rows *replay_rows_new(const struct config *config, struct error *err)
{
	struct replay_rows *rows = xcalloc(1, sizeof(*rows));
	const struct route_rules rules = route_rules_of(config);
	struct pgname name;
	rows->config = config;
	/* The identity is the first field, always. */
	add_column(rows, config->outbox.columns.event_id);
	if (!pgname_parse(config->outbox.table, &name, err) ||
	    !route_fields(&rules, take_down, rows, err)) {
		replay_rows_free(&rows);
		return NULL;
	}
	encode_fields(&config->encode, take_down, rows);
	pgname_print(&name, rows->table);
	return rows;
}

void replay_rows_free(struct replay_rows **rows)
{
	if (*rows == NULL)
		return;
	outbox_shape_free(&(*rows)->shape);
	for (size_t i = 0; i < (*rows)->field_count; i++)
		free((*rows)->fields[i]);
	free((*rows)->settled);
	free(*rows);
	*rows = NULL;
}

const struct outbox_shape *replay_rows_shape(const struct replay_rows *rows)
{
	return &rows->shape;
}

const char *replay_rows_settled(const struct replay_rows *rows)
{
	return rows->settled;
}

/* ---- the table ---- */

/* As of now, as no row says when it was published. What is settled ahead of a position is not noted
 * any more once the position has come there, so these rows are named. */
static bool read_settled(struct replay_rows *rows, PGconn *conn, struct error *err)
{
	static const char sql[] =
	    "SELECT outbox_relay.settled_condition(to_regclass($1)) AS settled, "
	    "quote_literal(coalesce(array_agg(a.id), '{}')) AS ids, "
	    "quote_literal(coalesce(array_agg(a.event_id), '{}')) AS event_ids FROM "
	    "outbox_relay.settled_ahead AS a WHERE a.outbox = to_regclass($1)";
	const char *params[] = {rows->table};
	PGresult *result = pgsync_query(conn, "reading positions", sql, 1, params, err);
	if (result == NULL)
		return false;
	const char *ids = pgsync_text(result, 0, "ids");
	SCRATCH char *id = outbox_sql_quoted(rows->config->outbox.columns.id);
	SCRATCH char *event_id = outbox_sql_quoted(rows->config->outbox.columns.event_id);
	rows->settled = xasprintf(
	    "(%s OR t.%s = ANY (%s::int8[]) AND EXISTS (SELECT FROM unnest(%s::int8[], "
	    "%s::text[]) AS a (id, event_id) WHERE a.id = t.%s AND a.event_id IS NOT DISTINCT "
	    "FROM t.%s::text))",
	    pgsync_text(result, 0, "settled"), id, ids, ids, pgsync_text(result, 0, "event_ids"),
	    id, event_id);
	PQclear(result);
	return true;
}

/* Where rows are deleted nothing marks them: only a shadow reads such, and the database may not
 * know the outbox yet. */
static bool read_marks(struct replay_rows *rows, PGconn *conn, struct error *err)
{
	const struct config *config = rows->config;
	if (config->outbox.settle == SETTLE_DELETE) {
		outbox_words_make(&rows->shape, &(struct outbox_marks){0}, config->outbox.where);
		return true;
	}
	const char *params[] = {rows->table, config->outbox.columns.id,
				rows->shape.mark ? "true" : "false",
				config->outbox.columns.published_at};
	PGresult *result =
	    pgsync_query(conn, "looking what marks rows", outbox_registry, 4, params, err);
	struct outbox_marks marks;
	bool good = result != NULL && outbox_registry_marks_check(result, rows->table, config, err);
	if (good) {
		outbox_registry_marks(result, &marks);
		outbox_words_make(&rows->shape, &marks, config->outbox.where);
	}
	PQclear(result);
	return good;
}

bool replay_rows_look(struct replay_rows *rows, PGconn *conn, struct error *err)
{
	const char *params[] = {rows->table};
	struct outbox_shape *shape = &rows->shape;
	PGresult *result =
	    pgsync_query(conn, "looking at the outbox", outbox_columns_question, 1, params, err);
	if (result == NULL)
		return false;
	shape->oid = columns_read(shape, result);
	PQclear(result);
	shape->table = xstrdup(rows->table);
	shape->mark = rows->config->outbox.settle == SETTLE_MARK;
	shape->position = rows->config->outbox.settle == SETTLE_POSITION;
	shape->names = &rows->config->outbox.columns;
	shape->fields = (const char *const *)rows->fields;
	shape->field_count = rows->field_count;
	shape->key_template = rows->config->route.key;
	shape->topic_template = rows->config->route.topic;
	if (shape->oid == 0)
		return error_set(err,
				 "table %s does not exist in this database; fix outbox.table or "
				 "database.dsn",
				 rows->table);
	return outbox_shape_check(shape, err) && columns_fields(shape, rows->config, err) &&
	       read_marks(rows, conn, err) && (!shape->position || read_settled(rows, conn, err));
}

void replay_rows_withhold(struct replay_rows *rows, size_t bytes)
{
	rows->shape.withhold_bytes = bytes;
}

char *replay_rows_count(const struct replay_rows *rows, const struct replay_selection *selection,
			const char *topic)
{
	return outbox_sql_replay_count(&rows->shape, selection, rows->settled, topic);
}
