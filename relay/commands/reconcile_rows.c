/* SPDX-License-Identifier: ISC */
/*
 * reconcile_rows.c - `reconcile` reads the rows that wait
 */
#include "base/xalloc.h"
#include "cursor.h"
#include "postgres.h"
#include "reconcile.h"
#include "samples.h"
#include "unsettled.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a key in a sample so many bytes are shown. */
enum { TEXT_MOST = 1000 };

enum { ROW_ID, ROW_EVENT_ID, ROW_CREATED_MS, ROW_COUNTS, ROW_FIELDS };

/* ---- conditions ---- */

char *reconcile_waits(const struct reconcile *reconcile, struct error *err)
{
	const struct config *config = reconcile->config;
	char *settled, *waits = NULL;

	if (config->outbox.settle == SETTLE_DELETE)
		return xstrdup("true");
	if (config->outbox.settle == SETTLE_MARK)
		return unsettled_marks(reconcile->conn, reconcile->table, "waits",
				       "published_at IS NULL", err);
	settled = settled_condition(reconcile->conn, reconcile->table, err);
	if (settled != NULL)
		waits = xasprintf("%s IS NOT TRUE", settled);
	free(settled);
	return waits;
}

char *reconcile_created(const struct reconcile *reconcile)
{
	const char *column = reconcile->config->outbox.columns.created_at;
	char name[PGNAME_QUOTED_SIZE];

	if (*column == '\0')
		return xstrdup("NULL::timestamptz");
	pgname_quote(column, name);
	return xasprintf("t.%s::timestamptz", name);
}

/* ---- all of them ---- */

/* In the columns ROW_*. from: for FROM, rows "t". */
static char *rows_sql(const struct reconcile *reconcile, const char *from)
{
	const struct config_columns *columns = &reconcile->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], event_id[PGNAME_QUOTED_SIZE];
	char *created = reconcile_created(reconcile), *ms = when_ms_sql(created);
	char *counts = reconcile->before.is_given
			   ? xasprintf("coalesce(%s < '%s'::timestamptz, false)", created,
				       reconcile->before.text)
			   : xstrdup("false");
	char *sql;

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, event_id);
	sql = xasprintf("SELECT t.%s::int8, t.%s::text, %s, %s%s FROM %s", id, event_id, ms, counts,
			reconcile->routed.columns, from);
	free(counts);
	free(ms);
	free(created);
	return sql;
}

static bool has_order(const struct reconcile *reconcile)
{
	return reconcile->config->outbox.ordering == ORDERING_KEY;
}

static void take_row(void *arg, const PGresult *rows, int row)
{
	struct reconcile *reconcile = arg;
	struct message message;
	bool routed = routed_row(&reconcile->routed, rows, row, ROW_FIELDS, &message);
	struct published_row taken = {
	    .id = strtoll(PQgetvalue(rows, row, ROW_ID), NULL, 10),
	    .event_id = PQgetisnull(rows, row, ROW_EVENT_ID)
			    ? SLICE_NULL
			    : slice_of(PQgetvalue(rows, row, ROW_EVENT_ID)),
	    .key = has_order(reconcile) ? message.key : SLICE_NULL,
	    .topic =
		routed ? published_topic_of(reconcile->rows, message.topic) : PUBLISHED_NOWHERE,
	    .created_ms = strtoll(PQgetvalue(rows, row, ROW_CREATED_MS), NULL, 10),
	    .counts = PQgetvalue(rows, row, ROW_COUNTS)[0] == 't'};

	published_take(reconcile->rows, &taken);
}

/* Rejected before; what became of them since only the topics know. */
static bool note_letters(struct reconcile *reconcile, struct error *err)
{
	static const char SQL[] = "SELECT count(*) AS many FROM outbox_relay.dead_letters"
				  " WHERE outbox = to_regclass($1)";
	const char *params[] = {reconcile->table};
	PGresult *result =
	    pgsync_query(reconcile->conn, "counting dead letters", SQL, 1, params, err);
	int64_t count = result != NULL ? pgsync_number(result, 0, "many") : 0;

	if (count > 0)
		reconcile_note(reconcile,
			       "%" PRId64 " events lie in outbox_relay.dead_letters, which are not "
			       "looked up: see `outbox-relay dlq list`",
			       count);
	PQclear(result);
	return result != NULL;
}

/* A sequence that was set back gives ids of events that the topics have to others. */
static void note_numbers(struct reconcile *reconcile)
{
	const struct config_columns *columns = &reconcile->config->outbox.columns;

	if (strcmp(columns->event_id, columns->id) == 0)
		reconcile_note(reconcile,
			       "the event id is the number of the row (column %s): a row whose "
			       "number was given out before, to an event that the topics have, is "
			       "taken for published; see docs/reconcile.md",
			       columns->id);
}

/* What is inserted later is none of ours: it is published in its turn. */
bool reconcile_read_rows(struct reconcile *reconcile, struct error *err)
{
	char *from, *rows;
	bool good;

	note_numbers(reconcile);
	if (!pgsync_script(reconcile->conn, "preparing to read",
			   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err))
		return false;
	from = unsettled_rows(reconcile->conn, reconcile->config, reconcile->table, err);
	if (from == NULL)
		return false;
	rows = rows_sql(reconcile, from);
	good = cursor_each(reconcile->conn, rows, take_row, reconcile, err) &&
	       note_letters(reconcile, err) &&
	       pgsync_script(reconcile->conn, "ending the reading", "COMMIT", err);
	free(rows);
	free(from);
	return good;
}

/* ---- those that are behind ---- */

static json_t *sample_of(struct reconcile *reconcile, const PGresult *rows, int row)
{
	json_t *sample = json_object();
	struct message message;
	bool routed = routed_row(&reconcile->routed, rows, row, ROW_FIELDS, &message);

	json_object_set_new(sample, "id",
			    json_integer(strtoll(PQgetvalue(rows, row, ROW_ID), NULL, 10)));
	json_object_set_new(sample, "event_id",
			    samples_text(PQgetisnull(rows, row, ROW_EVENT_ID)
					     ? SLICE_NULL
					     : slice_of(PQgetvalue(rows, row, ROW_EVENT_ID)),
					 TEXT_MOST));
	json_object_set_new(sample, "key", samples_text(message.key, TEXT_MOST));
	json_object_set_new(sample, "topic",
			    samples_text(routed ? message.topic : SLICE_NULL, TEXT_MOST));
	return sample;
}

/* Unless the row is gone. */
static bool add_sample(struct reconcile *reconcile, const char *sql,
		       const struct published_behind *behind, json_t *list, struct error *err)
{
	char id[24];
	PGresult *rows;
	json_t *sample;

	snprintf(id, sizeof(id), "%" PRId64, behind->id);
	rows = pgsync_query(reconcile->conn, "looking at a row", sql, 1, (const char *const[]){id},
			    err);
	if (rows != NULL && PQntuples(rows) > 0) {
		sample = sample_of(reconcile, rows, 0);
		json_object_set_new(sample, "after_id", json_integer(behind->ahead));
		json_array_append_new(list, sample);
	}
	PQclear(rows);
	return rows != NULL;
}

json_t *reconcile_behind(struct reconcile *reconcile, struct error *err)
{
	const struct reconcile_options *options = reconcile->options;
	size_t count, most = samples_most(options->samples, options->json);
	const struct published_behind *behind = published_behind(reconcile->rows, &count);
	json_t *list = json_array();
	char id[PGNAME_QUOTED_SIZE], *from, *sql;
	bool good = true;

	pgname_quote(reconcile->config->outbox.columns.id, id);
	from = xasprintf("%s AS t WHERE t.%s = $1::int8", reconcile->table, id);
	sql = rows_sql(reconcile, from);
	for (size_t i = 0; i < count && i < most && good; i++)
		good = add_sample(reconcile, sql, &behind[i], list, err);
	free(sql);
	free(from);
	if (good)
		return list;
	json_decref(list);
	return NULL;
}
