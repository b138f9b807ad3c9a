/* SPDX-License-Identifier: ISC */
/*
 * verify_outbox.c - `verify` reads the outbox: what must have arrived
 *
 * A row that is seen marked was acknowledged before: the relay's transaction commits after that. So
 * was one that a position shows as published. So the snapshot is taken first, and then the ends of
 * the partitions are asked for. What is marked later, or passed by the position, is not judged.
 */
#include "base/pgname.h"
#include "base/xalloc.h"
#include "commands.h"
#include "cursor.h"
#include "postgres.h"
#include "unsettled.h"
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

/* When a row "t" was published or, where nothing says that, created; the session's time zone is the
 * relay's. NULL: nothing says it. */
static char *time_sql(const struct verify *verify)
{
	const char *created_at = verify->config->outbox.columns.created_at;
	char created[PGNAME_QUOTED_SIZE];

	if (verify->timed) {
		pgname_quote(verify->config->outbox.columns.published_at, created);
		return xasprintf("t.%s::timestamptz", created);
	}
	if (verify->config->outbox.settle == SETTLE_DELETE || *created_at == '\0')
		return xstrdup("NULL::timestamptz");
	pgname_quote(created_at, created);
	return xasprintf("t.%s::timestamptz", created);
}

char *verify_ms_sql(const struct verify *verify)
{
	char *time = time_sql(verify), *sql = when_ms_sql(time);

	free(time);
	return sql;
}

/* A mark may come long after the record: Kafka was away meanwhile, and the producer had the event;
 * or `reconcile` has set it. Who creates rows after their marks has another clock, or time zone. */
char *verify_earliest_sql(const struct verify *verify)
{
	const char *created_at = verify->config->outbox.columns.created_at;
	char column[PGNAME_QUOTED_SIZE], *time, *created, *marked, *sql;

	if (!verify->timed)
		return verify_ms_sql(verify);
	if (*created_at == '\0')
		return xstrdup("0");
	pgname_quote(created_at, column);
	time = xasprintf("t.%s::timestamptz", column);
	created = when_ms_sql(time);
	marked = verify_ms_sql(verify);
	sql = xasprintf("CASE WHEN %s <= %s + %d THEN least(%s, %s) ELSE 0 END", created, marked,
			VERIFY_EARLIER_MS, created, marked);
	free(time);
	free(created);
	free(marked);
	return sql;
}

static char *range_sql(const struct verify *verify, const char *id, const char *time)
{
	const struct verify_options *options = verify->options;
	char *sql = xstrdup("true");

	if (options->from_id != NULL)
		xappend(&sql, " AND t.%s >= '%s'::int8", id, options->from_id);
	if (options->to_id != NULL)
		xappend(&sql, " AND t.%s <= '%s'::int8", id, options->to_id);
	if (verify->since.is_given)
		xappend(&sql, " AND %s >= '%s'::timestamptz", time, verify->since.text);
	if (verify->until.is_given)
		xappend(&sql, " AND %s < '%s'::timestamptz", time, verify->until.text);
	return sql;
}

enum { ROW_ID, ROW_EVENT_ID, ROW_EARLIEST_MS, ROW_FIELDS };

/* settled: the condition that a row "t" is. Of one that goes once it is published no record is
 * judged by it. */
static char *rows_sql(const struct verify *verify, const char *settled)
{
	const struct config_columns *columns = &verify->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], event_id[PGNAME_QUOTED_SIZE];
	char *time = time_sql(verify), *earliest = verify_earliest_sql(verify), *range, *event,
	     *sql;

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, event_id);
	range = verify->stay ? range_sql(verify, id, time) : xstrdup("true");
	event = unsettled_event(verify->config);
	sql = xasprintf("SELECT t.%s::int8, t.%s::text, CASE WHEN %s THEN %s END%s FROM %s AS t "
			"WHERE %s%s",
			id, event_id, settled, earliest,
			verify->stay ? expected_columns(verify->expected) : "", verify->table,
			range, event);
	free(event);
	free(range);
	free(earliest);
	free(time);
	return sql;
}

/* In delete mode every row waits. Asked in the transaction whose snapshot it is to be of. */
static char *settled_sql(const struct verify *verify, struct error *err)
{
	switch (verify->config->outbox.settle) {
	case SETTLE_MARK:
		return unsettled_marks(verify->conn, verify->table, "published",
				       "published_at IS NOT NULL", err);
	case SETTLE_POSITION:
		return unsettled_known(verify->conn, verify->config, verify->table, NULL, err)
			   ? settled_condition(verify->conn, verify->table, err)
			   : NULL;
	default:
		return xstrdup("false");
	}
}

static void note_time(struct verify *verify, int64_t ms)
{
	if (ms < verify->earliest_ms)
		verify->earliest_ms = ms;
}

/* What its record must be; and its time, if that is the event's own. */
static void expect_record(struct verify *verify, const PGresult *rows, int row,
			  struct audit_name name)
{
	struct audit_expected expected;
	struct message message;

	if (!verify->stay || !expected_record(verify->expected, rows, row, ROW_FIELDS, &message))
		return;
	expected.key = message.key;
	expected.partition = message.placed ? message.partition : AUDIT_BY_KEY;
	audit_expect(verify->audit, name, &expected);
	if (message.timestamp_ms > 0)
		note_time(verify, message.timestamp_ms);
}

static void take_row(void *arg, const PGresult *rows, int row)
{
	struct verify *verify = arg;
	struct audit_name name = audit_name(slice_of(PQgetvalue(rows, row, ROW_EVENT_ID)));
	int64_t id = strtoll(PQgetvalue(rows, row, ROW_ID), NULL, 10);
	bool published = !PQgetisnull(rows, row, ROW_EARLIEST_MS);
	/* A list of ids says what must be there, if there is one. */
	bool due = published && verify->options->ids_path == NULL;

	if (PQgetisnull(rows, row, ROW_EVENT_ID)) {
		verify->nameless += due;
		return;
	}
	audit_know(verify->audit, name, id,
		   due	       ? AUDIT_DUE
		   : published ? AUDIT_KNOWN
			       : AUDIT_EXCUSED);
	expect_record(verify, rows, row, name);
	verify->waiting += !published;
	if (published)
		note_time(verify, strtoll(PQgetvalue(rows, row, ROW_EARLIEST_MS), NULL, 10));
}

static bool read_letters(struct verify *verify, struct error *err)
{
	/* A long event id lies among the other columns, too, and whole. The count is of letters. */
	static const char SQL[] =
	    "SELECT id, coalesce(extra ->> $2, event_id) AS event_id, true AS letter FROM "
	    "outbox_relay.dead_letters WHERE outbox = to_regclass($1) UNION ALL SELECT id, "
	    "event_id, "
	    "false FROM outbox_relay.withdrawn WHERE outbox = to_regclass($1)";
	const char *params[] = {verify->table, verify->config->outbox.columns.event_id};
	PGresult *rows;

	rows = pgsync_query(verify->conn, "reading dead letters", SQL, 2, params, err);
	if (rows == NULL)
		return false;
	for (int row = 0; row < PQntuples(rows); row++) {
		if (!PQgetisnull(rows, row, 1))
			audit_know(verify->audit, audit_name(slice_of(PQgetvalue(rows, row, 1))),
				   pgsync_number(rows, row, "id"), AUDIT_EXCUSED);
		verify->dead_letters += pgsync_bool(rows, row, "letter");
	}
	PQclear(rows);
	return true;
}

static bool read_rows(struct verify *verify, struct error *err)
{
	char *settled = settled_sql(verify, err), *rows, *timed = NULL;
	bool good;

	if (settled != NULL)
		timed = unsettled_marks(verify->conn, verify->table, "mark_timed", "true", err);
	if (timed == NULL) {
		free(settled);
		return false;
	}
	verify->timed = verify->config->outbox.settle == SETTLE_MARK && strcmp(timed, "true") == 0;
	free(timed);
	rows = rows_sql(verify, settled);
	good = cursor_each(verify->conn, rows, take_row, verify, err);
	free(rows);
	free(settled);
	return good;
}

bool verify_read_outbox(struct verify *verify, bool (*pinned)(struct verify *, struct error *),
			struct error *err)
{
	pgsync_be_patient();
	/* The first statement that reads takes the snapshot (manual: "Transaction Isolation"). */
	return pgsync_script(verify->conn, "preparing to read",
			     "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
			     " SET LOCAL statement_timeout = 0",
			     err) &&
	       read_letters(verify, err) && pinned(verify, err) && read_rows(verify, err) &&
	       pgsync_script(verify->conn, "ending the reading", "COMMIT", err);
}

/* ---- a list of event ids ---- */

bool verify_each_id(struct verify *verify, void (*each)(struct verify *, struct slice),
		    struct error *err)
{
	const char *path = verify->options->ids_path;
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0, len;
	bool good;

	if (file == NULL)
		return error_set(err, "cannot read %s: %s", path, strerror(errno));
	errno = 0;
	while (getline(&line, &size, file) >= 0) {
		len = strcspn(line, "\r\n");
		if (len > 0)
			each(verify, (struct slice){line, len});
	}
	good = !ferror(file) || error_set(err, "cannot read %s: %s", path, strerror(errno));
	free(line);
	fclose(file);
	return good;
}

static void expect(struct verify *verify, struct slice event_id)
{
	audit_know(verify->audit, audit_name(event_id), AUDIT_NO_ID, AUDIT_DUE);
}

bool verify_read_ids(struct verify *verify, struct error *err)
{
	return verify->options->ids_path == NULL || verify_each_id(verify, expect, err);
}

/* ---- one row ---- */

PGresult *verify_find_row(struct verify *verify, int64_t id, struct slice event_id,
			  struct error *err)
{
	const struct config_columns *columns = &verify->config->outbox.columns;
	char names[2][PGNAME_QUOTED_SIZE], number[24], *sql;
	char *text = xasprintf("%.*s", (int)event_id.len, event_id.data);
	const char *params[] = {number, text};
	PGresult *rows;

	pgname_quote(columns->id, names[0]);
	pgname_quote(columns->event_id, names[1]);
	snprintf(number, sizeof(number), "%" PRId64, id);
	sql = xasprintf("SELECT NULL%s FROM %s AS t WHERE t.%s = $1::int8 AND t.%s::text = $2",
			expected_columns(verify->expected), verify->table, names[0], names[1]);
	rows = pgsync_query(verify->conn, "looking at a row", sql, 2, params, err);
	free(sql);
	free(text);
	return rows;
}

/* ---- rows whose order nobody can tell ---- */

/* Of row "a", which has the lower id, and row "b", which came first. With positions a row says
 * which transaction has inserted it: where b's began before a's, and has drawn its id after it,
 * they overlapped. */
static char *overlap_sql(const struct verify *verify)
{
	char created[PGNAME_QUOTED_SIZE];
	char *sql =
	    xstrdup(verify->config->outbox.settle == SETTLE_POSITION ? "b.x < a.x" : "false");

	if (verify->options->overlaps_ms > 0) {
		pgname_quote(verify->config->outbox.columns.created_at, created);
		xappend(&sql,
			" OR b.%s::timestamptz - a.%s::timestamptz < $3::float8 * interval '1 "
			"millisecond'",
			created, created);
	}
	return sql;
}

bool verify_may_overlap(struct verify *verify, int64_t late, int64_t behind, bool *good,
			struct error *err)
{
	char id[PGNAME_QUOTED_SIZE], texts[3][24], *sql, *overlaps = overlap_sql(verify);
	const char *params[] = {texts[0], texts[1], texts[2]};
	PGresult *result;
	bool overlap;

	pgname_quote(verify->config->outbox.columns.id, id);
	snprintf(texts[0], sizeof(texts[0]), "%" PRId64, late);
	snprintf(texts[1], sizeof(texts[1]), "%" PRId64, behind);
	snprintf(texts[2], sizeof(texts[2]), "%" PRId64, verify->options->overlaps_ms);
	sql =
	    xasprintf("SELECT EXISTS (SELECT FROM %s AS a, %s AS b WHERE a.%s = $1::int8 AND b.%s "
		      "= $2::int8 AND $3::float8 IS NOT NULL AND (%s)) AS overlap",
		      verify->table, verify->table, id, id, overlaps);
	free(overlaps);
	result =
	    pgsync_query(verify->conn, "looking at the times of two rows", sql, 3, params, err);
	*good = result != NULL;
	overlap = result != NULL && pgsync_bool(result, 0, "overlap");
	PQclear(result);
	free(sql);
	return overlap;
}
