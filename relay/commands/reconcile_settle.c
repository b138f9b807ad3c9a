/* SPDX-License-Identifier: ISC */
/*
 * reconcile_settle.c - `reconcile` settles what is published, as the relay does
 *
 * Some rows in a transaction: those with the next ids that still wait are locked, and taken if they
 * have the event ids that were found. What another session has locked is passed over.
 */
#include "base/xalloc.h"
#include "postgres.h"
#include "progress.h"
#include "reconcile.h"
#include "unsettled.h"
#include "waiting.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETTLE_ROWS = 5000 };

struct settling {
	struct reconcile *reconcile;
	char *waits, *event;		       /* owned; conditions: it waits; and it is an event */
	char *found, *counted, *settle, *left; /* owned; statements */
	int64_t done;
	struct error *err;
};

/* ---- statements ---- */

/* $1: ids. Where they lie, and their event ids. Where rows stay nobody may lock them. */
static char *pick_sql(const struct settling *settling, const char *more)
{
	const struct reconcile *reconcile = settling->reconcile;
	const struct config_columns *columns = &reconcile->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], event_id[PGNAME_QUOTED_SIZE];

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, event_id);
	return xasprintf(
	    "SELECT t.tableoid AS part, t.ctid AS place, t.%s::int8 AS id, t.%s::text "
	    "AS event_id FROM %s AS t WHERE t.%s = ANY ($1::int8[]) AND %s%s%s%s",
	    id, event_id, reconcile->table, id, settling->waits, settling->event, more,
	    reconcile->config->outbox.settle == SETTLE_POSITION ? "" : " FOR UPDATE SKIP LOCKED");
}

static char *counted_sql(const struct settling *settling)
{
	const struct reconcile *reconcile = settling->reconcile;
	char *created = reconcile_created(reconcile), *more, *sql;

	more = reconcile->before.is_given
		   ? xasprintf(" AND coalesce(%s < '%s'::timestamptz, false)", created,
			       reconcile->before.text)
		   : xstrdup(" AND false");
	sql = pick_sql(settling, more);
	free(more);
	free(created);
	return sql;
}

#define AT_PLACES                                                                                  \
	"unnest($1::oid[], $2::tid[]) AS given (part, place) WHERE t.tableoid = given.part AND "   \
	"t.ctid = given.place"

/* Rows with one id and event id are noted once, which is of all of them. */
static char *note_sql(const struct settling *settling)
{
	const struct reconcile *reconcile = settling->reconcile;
	const struct config_columns *columns = &reconcile->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], event_id[PGNAME_QUOTED_SIZE];
	char *table = pgname_literal(reconcile->table), *sql;

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, event_id);
	sql = xasprintf("INSERT INTO outbox_relay.settled_ahead (outbox, id, event_id) SELECT "
			"DISTINCT %s::regclass, t.%s::int8, t.%s::text FROM %s AS t, " AT_PLACES,
			table, id, event_id, reconcile->table);
	free(table);
	return sql;
}

/* $1, $2: where they lie. NULL and err. */
static char *settle_sql(const struct settling *settling)
{
	const struct reconcile *reconcile = settling->reconcile;
	char name[PGNAME_QUOTED_SIZE], *marked, *sql = NULL;

	if (reconcile->config->outbox.settle == SETTLE_POSITION)
		return note_sql(settling);
	if (reconcile->config->outbox.settle == SETTLE_DELETE)
		return xasprintf("DELETE FROM %s AS t USING " AT_PLACES, reconcile->table);
	pgname_quote(reconcile->config->outbox.columns.published_at, name);
	marked = unsettled_marks(reconcile->conn, reconcile->table, "marked", "clock_timestamp()",
				 settling->err);
	if (marked != NULL)
		sql = xasprintf("UPDATE %s AS t SET %s = %s FROM " AT_PLACES, reconcile->table,
				name, marked);
	free(marked);
	return sql;
}

static bool make_statements(struct settling *settling)
{
	const struct reconcile *reconcile = settling->reconcile;
	char id[PGNAME_QUOTED_SIZE];

	settling->waits = reconcile_waits(reconcile, settling->err);
	if (settling->waits == NULL)
		return false;
	pgname_quote(reconcile->config->outbox.columns.id, id);
	settling->event = unsettled_event(reconcile->config);
	settling->found = pick_sql(settling, "");
	settling->counted = counted_sql(settling);
	settling->left =
	    xasprintf("SELECT count(*) AS many FROM %s AS t WHERE t.%s = ANY ($1::int8[]) AND %s%s",
		      reconcile->table, id, settling->waits, settling->event);
	settling->settle = settle_sql(settling);
	return settling->settle != NULL;
}

static void free_statements(struct settling *settling)
{
	free(settling->waits);
	free(settling->event);
	free(settling->found);
	free(settling->counted);
	free(settling->left);
	free(settling->settle);
}

/* ---- some rows ---- */

/* An array in the making, as PostgreSQL reads it: of thousands of items. */
struct list {
	FILE *out;
	char *text; /* owned; once it is closed */
	size_t size;
};

static void list_open(struct list *list)
{
	list->out = open_memstream(&list->text, &list->size);
	assert(list->out != NULL);
	fputc('{', list->out);
}

static void list_close(struct list *list)
{
	fputc('}', list->out);
	fclose(list->out);
}

static char *ids_of(const int64_t *ids, size_t count)
{
	struct list list;

	list_open(&list);
	for (size_t i = 0; i < count; i++)
		fprintf(list.out, "%s%" PRId64, i > 0 ? "," : "", ids[i]);
	list_close(&list);
	return list.text;
}

/* By its event id, too: two rows may have one id. */
static bool is_meant(const struct settling *settling, const char *pick, const PGresult *rows,
		     int row)
{
	const char *event_id = pgsync_text(rows, row, "event_id");

	return pick == settling->counted ||
	       (event_id != NULL &&
		published_is_found(settling->reconcile->rows, pgsync_number(rows, row, "id"),
				   slice_of(event_id)));
}

static void list_places(const struct settling *settling, const char *pick, const PGresult *rows,
			struct list *parts, struct list *places)
{
	const char *comma = "";

	list_open(parts);
	list_open(places);
	for (int row = 0; row < PQntuples(rows); row++) {
		if (!is_meant(settling, pick, rows, row))
			continue;
		fprintf(parts->out, "%s%s", comma, pgsync_text(rows, row, "part"));
		fprintf(places->out, "%s\"%s\"", comma, pgsync_text(rows, row, "place"));
		comma = ",";
	}
	list_close(parts);
	list_close(places);
}

/* How many were settled; -1 and err. */
static int64_t settle_places(const struct settling *settling, const char *pick,
			     const PGresult *rows)
{
	struct list parts, places;
	PGresult *result;
	int64_t count;

	list_places(settling, pick, rows, &parts, &places);
	result = pgsync_query(settling->reconcile->conn, "settling rows", settling->settle, 2,
			      (const char *const[]){parts.text, places.text}, settling->err);
	count = result != NULL ? strtoll(PQcmdTuples(result), NULL, 10) : -1;
	PQclear(result);
	free(parts.text);
	free(places.text);
	return count;
}

/* The same, in a transaction. */
static int64_t settle_ids(const struct settling *settling, const char *pick, const char *ids)
{
	PGconn *conn = settling->reconcile->conn;
	int64_t count = -1;
	PGresult *rows;

	if (!pgsync_script(conn, "beginning to settle", "BEGIN", settling->err))
		return -1;
	rows = pgsync_query(conn, "looking for the rows", pick, 1, &ids, settling->err);
	if (rows != NULL)
		count = settle_places(settling, pick, rows);
	PQclear(rows);
	if (count < 0 || pgsync_script(conn, "settling rows", "COMMIT", settling->err))
		return count;
	return -1;
}

/* Those that are missing have gone meanwhile, or wait still. */
static bool count_left(struct settling *settling, const char *ids)
{
	PGresult *result = pgsync_query(settling->reconcile->conn, "counting what is left",
					settling->left, 1, &ids, settling->err);

	if (result != NULL)
		settling->reconcile->held += (uint64_t)pgsync_number(result, 0, "many");
	PQclear(result);
	return result != NULL;
}

static bool settle_some(struct settling *settling, const char *pick, const int64_t *ids,
			size_t count)
{
	char *list = ids_of(ids, count);
	int64_t settled = settle_ids(settling, pick, list);
	bool good = settled >= 0;

	if (good)
		settling->reconcile->settled += (uint64_t)settled;
	if (good && (uint64_t)settled < count)
		good = count_left(settling, list);
	settling->done += (int64_t)count;
	progress_step(settling->done);
	free(list);
	return good;
}

static bool settle_all(struct settling *settling, const char *pick, const int64_t *ids,
		       size_t count)
{
	for (size_t at = 0; at < count; at += SETTLE_ROWS) {
		if (waiting_is_stopped())
			return error_set(settling->err, WAITING_STOPPED);
		if (!settle_some(settling, pick, ids + at,
				 count - at < SETTLE_ROWS ? count - at : SETTLE_ROWS))
			return false;
	}
	return true;
}

bool reconcile_settle(struct reconcile *reconcile, struct error *err)
{
	struct settling settling = {.reconcile = reconcile, .err = err};
	size_t found_count, counted_count;
	const int64_t *found = published_found(reconcile->rows, &found_count),
		      *counted = published_counted(reconcile->rows, &counted_count);
	bool good = make_statements(&settling);

	progress_begin((int64_t)(found_count + counted_count), "rows settled");
	good = good && settle_all(&settling, settling.counted, counted, counted_count) &&
	       settle_all(&settling, settling.found, found, found_count);
	progress_end();
	free_statements(&settling);
	return good;
}
