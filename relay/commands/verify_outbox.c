/* SPDX-License-Identifier: ISC */
/*
 * verify_outbox.c - `verify` reads the outbox: what must have arrived, and what has not
 *
 * A row that is seen marked was acknowledged before: the relay's transaction commits after that. So
 * was one that a position shows as published. So the snapshot is taken first, and then the ends of
 * the partitions are asked for. What is marked later, or passed by the position, is not judged.
 */
#include "base/pgname.h"
#include "base/xalloc.h"
#include "commands.h"
#include "core/route.h"
#include "postgres.h"
#include "progress.h"
#include "unsettled.h"
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many rows come at a time; how much a record's clock may be off its row's. */
enum { FETCH_ROWS = 10000, DETAIL_ROWS = 1000, CLOCKS_MS = 60 * 1000 };

/* ---- rows ---- */

/* When a row "t" was published or, where nothing says that, created, in milliseconds; the session's
 * time zone is the relay's. 0: nothing says it. */
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

static char *ms_sql(const char *time)
{
	return xasprintf(
	    "coalesce(CASE WHEN isfinite(%s) THEN (extract(epoch FROM %s) * 1000)::int8 "
	    "END, 0)",
	    time, time);
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

/* settled: the condition that a row "t" is. */
static char *rows_sql(const struct verify *verify, const char *settled)
{
	const struct config_columns *columns = &verify->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], event_id[PGNAME_QUOTED_SIZE];
	char *time = time_sql(verify), *ms = ms_sql(time), *range, *event, *sql;

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, event_id);
	range = verify->stay ? range_sql(verify, id, time) : xstrdup("true");
	event = unsettled_event(verify->config);
	sql = xasprintf("DECLARE known NO SCROLL CURSOR FOR SELECT t.%s::int8 AS id, t.%s::text AS "
			"event_id, CASE WHEN %s THEN %s END AS ms FROM %s AS t WHERE %s%s",
			id, event_id, settled, ms, verify->table, range, event);
	free(event);
	free(range);
	free(ms);
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

static void take_row(struct verify *verify, const PGresult *rows, int row)
{
	const char *event_id = PQgetvalue(rows, row, 1);
	int64_t id = strtoll(PQgetvalue(rows, row, 0), NULL, 10), ms;
	bool published = !PQgetisnull(rows, row, 2);
	/* A list of ids says what must be there, if there is one. */
	bool due = published && verify->options->ids_path == NULL;

	if (PQgetisnull(rows, row, 1)) {
		verify->nameless += due;
		return;
	}
	audit_know(verify->audit, audit_name(slice_of(event_id)), id,
		   due	       ? AUDIT_DUE
		   : published ? AUDIT_KNOWN
			       : AUDIT_EXCUSED);
	verify->waiting += !published;
	if (!published)
		return;
	ms = strtoll(PQgetvalue(rows, row, 2), NULL, 10);
	if (ms < verify->first_ms)
		verify->first_ms = ms;
}

static bool fetch_rows(struct verify *verify, struct error *err)
{
	char *fetch = xasprintf("FETCH %d FROM known", FETCH_ROWS);
	int64_t done = 0;
	PGresult *rows;
	int count;

	progress_begin(-1, "rows");
	do {
		rows = pgsync_query(verify->conn, "reading the outbox", fetch, 0, NULL, err);
		count = rows != NULL ? PQntuples(rows) : -1;
		for (int row = 0; row < count; row++)
			take_row(verify, rows, row);
		PQclear(rows);
		progress_step(done += count);
	} while (count > 0);
	progress_end();
	free(fetch);
	return count == 0;
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
	char *settled = settled_sql(verify, err), *declare, *timed = NULL;
	bool good;

	if (settled != NULL)
		timed = unsettled_marks(verify->conn, verify->table, "mark_timed", "true", err);
	if (timed == NULL) {
		free(settled);
		return false;
	}
	verify->timed = verify->config->outbox.settle == SETTLE_MARK && strcmp(timed, "true") == 0;
	free(timed);
	declare = rows_sql(verify, settled);
	good = pgsync_script(verify->conn, "reading the outbox", declare, err) &&
	       fetch_rows(verify, err);
	free(declare);
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

static bool each_line(const char *path, void (*each)(struct verify *, struct slice),
		      struct verify *verify, struct error *err)
{
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
	return verify->options->ids_path == NULL ||
	       each_line(verify->options->ids_path, expect, verify, err);
}

static void add_missing_id(struct verify *verify, struct slice event_id)
{
	struct audit_name name = audit_name(event_id);
	struct verify_sample sample = {.id = audit_id(verify->audit, name),
				       .after = AUDIT_NO_ID,
				       .event_id = event_id,
				       .partition = -1,
				       .offset = -1,
				       .time_ms = -1};

	if (!audit_is_missing(verify->audit, name))
		return;
	/* It may stand in the list twice. */
	audit_know(verify->audit, name, AUDIT_NO_ID, AUDIT_EXCUSED);
	verify->missing++;
	if (verify_wants_sample(verify, LIST_MISSING))
		verify_add_sample(verify, LIST_MISSING, &sample);
}

/* ---- rows that have not arrived ---- */

/* So many ids of rows, to be asked for together. Several rows may have one id, and be asked for
 * more than once: each is judged once. */
struct details {
	struct verify *verify;
	struct route *route;
	char *fields[ROUTE_FIELDS_MAX]; /* owned */
	size_t field_count;
	char *sql; /* owned */
	char *ids; /* owned; an array in the making */
	size_t asked;
	uint64_t missing, found; /* events, of all; rows of them that are there */
	bool good;
	struct error *err;
};

static int field_index(const char *name, void *arg)
{
	const struct details *details = arg;

	for (size_t i = 0; i < details->field_count; i++)
		if (strcmp(details->fields[i], name) == 0)
			return (int)i;
	return -1;
}

static void add_field(const char *name, void *arg)
{
	struct details *details = arg;

	if (details->field_count < ROUTE_FIELDS_MAX)
		details->fields[details->field_count++] = xstrdup(name);
}

enum { DETAIL_ID, DETAIL_EVENT_ID, DETAIL_MS, DETAIL_PAYLOAD, DETAIL_FIELDS };

static void make_sql(struct details *details)
{
	const struct verify *verify = details->verify;
	const struct config_columns *columns = &verify->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], column[PGNAME_QUOTED_SIZE];
	char *time = time_sql(verify), *ms = ms_sql(time);

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, column);
	details->sql = xasprintf("SELECT t.%s::int8, t.%s::text, %s", id, column, ms);
	free(ms);
	free(time);
	pgname_quote(columns->payload, column);
	if (verify->options->payloads)
		xappend(&details->sql, ", left(t.%s::text, 10000)", column);
	else
		xappend(&details->sql, ", NULL");
	for (size_t i = 0; i < details->field_count; i++) {
		pgname_quote(route_column(columns, details->fields[i]), column);
		xappend(&details->sql, ", t.%s::text", column);
	}
	xappend(&details->sql, " FROM %s AS t WHERE t.%s = ANY ($1::int8[])", verify->table, id);
}

static const struct kafka_place *place_of(const struct verify *verify, const char *topic,
					  struct slice key)
{
	size_t count = kafka_reader_count(verify->reader), first = 0, partitions = 0;

	while (first < count &&
	       strcmp(kafka_reader_place(verify->reader, first)->topic, topic) != 0)
		first++;
	while (first + partitions < count &&
	       strcmp(kafka_reader_place(verify->reader, first + partitions)->topic, topic) == 0)
		partitions++;
	if (partitions == 0)
		return NULL;
	/* Without a key it may be anywhere: say the first. */
	return kafka_reader_place(
	    verify->reader,
	    first + (key.data ? (size_t)kafka_partition_of(key, (int32_t)partitions) : 0));
}

/* Whether the topic may have kept it no longer. */
static bool is_too_old(const struct kafka_place *place, int64_t published_ms)
{
	return place->low > 0 && place->begin == place->low &&
	       (place->first_ms < 0 || published_ms < place->first_ms + CLOCKS_MS);
}

/* Where the event belongs: the sample's topic and key, and the place; NULL if it is not read. */
static const struct kafka_place *route_row(struct details *details, const PGresult *rows, int row,
					   struct verify_sample *sample)
{
	struct slice fields[ROUTE_FIELDS_MAX];
	struct event event = {.fields = fields};
	struct message message;
	struct error ignored;

	for (size_t i = 0; i < details->field_count; i++)
		fields[i] = PQgetisnull(rows, row, DETAIL_FIELDS + (int)i)
				? SLICE_NULL
				: slice_of(PQgetvalue(rows, row, DETAIL_FIELDS + (int)i));
	if (route_event(details->route, &event, &message, &ignored) != REJECT_NONE)
		return NULL;
	sample->topic = message.topic.data;
	sample->key = message.key;
	return place_of(details->verify, sample->topic, sample->key);
}

/* Which count the event belongs to, since nothing follows from that it has not arrived; NULL: it is
 * missing. */
static uint64_t *excuse(struct verify *verify, const struct kafka_place *place,
			int64_t published_ms)
{
	if (place == NULL)
		return verify->options->topics.count > 0 ? &verify->elsewhere : NULL;
	if (verify->compacted[place->topic_number])
		return &verify->compacted_away;
	if (place->cut)
		return &verify->cut_off;
	return is_too_old(place, published_ms) ? &verify->retained : NULL;
}

static void judge_row(struct details *details, const PGresult *rows, int row)
{
	struct verify *verify = details->verify;
	struct verify_sample sample = {.id = strtoll(PQgetvalue(rows, row, DETAIL_ID), NULL, 10),
				       .after = AUDIT_NO_ID,
				       .event_id = slice_of(PQgetvalue(rows, row, DETAIL_EVENT_ID)),
				       .time_ms =
					   strtoll(PQgetvalue(rows, row, DETAIL_MS), NULL, 10),
				       .offset = -1};
	const struct kafka_place *place = route_row(details, rows, row, &sample);
	uint64_t *excused = excuse(verify, place, sample.time_ms);

	if (excused != NULL) {
		++*excused;
		return;
	}
	verify->missing++;
	sample.partition = place != NULL && sample.key.data != NULL ? place->partition : -1;
	if (!PQgetisnull(rows, row, DETAIL_PAYLOAD))
		sample.payload = slice_of(PQgetvalue(rows, row, DETAIL_PAYLOAD));
	if (verify_wants_sample(verify, LIST_MISSING))
		verify_add_sample(verify, LIST_MISSING, &sample);
}

static void take_missing(struct details *details, const PGresult *rows, int row)
{
	struct audit *audit = details->verify->audit;
	struct audit_name name;

	if (PQgetisnull(rows, row, DETAIL_EVENT_ID))
		return;
	name = audit_name(slice_of(PQgetvalue(rows, row, DETAIL_EVENT_ID)));
	if (!audit_is_missing(audit, name))
		return;
	audit_know(audit, name, AUDIT_NO_ID, AUDIT_EXCUSED);
	details->found++;
	judge_row(details, rows, row);
}

static void ask(struct details *details)
{
	PGresult *rows;

	xappend(&details->ids, "}");
	rows = details->good
		   ? pgsync_query(details->verify->conn, "looking at what is missing", details->sql,
				  1, (const char *const[]){details->ids}, details->err)
		   : NULL;
	details->good = rows != NULL;
	for (int row = 0; row < (rows != NULL ? PQntuples(rows) : 0); row++)
		take_missing(details, rows, row);
	PQclear(rows);
	free(details->ids);
	details->ids = xstrdup("{");
	details->asked = 0;
}

static void add_id(void *arg, struct audit_name name, int64_t id)
{
	struct details *details = arg;

	(void)name;
	if (!details->good)
		return;
	xappend(&details->ids, "%s%" PRId64, details->asked > 0 ? "," : "", id);
	if (++details->asked == DETAIL_ROWS)
		ask(details);
}

static void count(void *arg, struct audit_name name, int64_t id)
{
	(void)name;
	(void)id;
	((struct details *)arg)->missing++;
}

static bool find_missing_rows(struct verify *verify, struct error *err)
{
	static const struct config_strings none = {NULL, 0};
	struct route_rules rules = route_rules_of(verify->config);
	struct details details = {.verify = verify, .good = true, .err = err};

	/* They parse, as they were checked when the file was read. */
	rules.headers = &none;
	route_fields(&rules, add_field, &details, err);
	details.route = route_new(&rules, field_index, &details, err);
	make_sql(&details);
	details.ids = xstrdup("{");
	audit_missing(verify->audit, count, &details);
	audit_missing(verify->audit, add_id, &details);
	if (details.asked > 0)
		ask(&details);
	verify->purged = details.missing - details.found;
	route_free(&details.route);
	free(details.sql);
	free(details.ids);
	for (size_t i = 0; i < details.field_count; i++)
		free(details.fields[i]);
	return details.good;
}

bool verify_find_missing(struct verify *verify, struct error *err)
{
	if (verify->options->ids_path != NULL)
		return each_line(verify->options->ids_path, add_missing_id, verify, err);
	return !verify->stay || find_missing_rows(verify, err);
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
