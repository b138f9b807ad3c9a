/* SPDX-License-Identifier: ISC */
/*
 * verify_missing.c - `verify` looks at events that have not arrived: which are missing
 */
#include "base/pgname.h"
#include "base/xalloc.h"
#include "postgres.h"
#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many rows are asked for together; how much a record's clock may be off its row's. */
enum { DETAIL_ROWS = 1000, CLOCKS_MS = 60 * 1000 };

#define NOWHERE SIZE_MAX

/* ---- a list of event ids ---- */

static void add_missing_id(struct verify *verify, struct slice event_id)
{
	struct audit_name name = audit_name(event_id);
	struct verify_sample sample = {.id = audit_id(verify->audit, name),
				       .after = AUDIT_NO_ID,
				       .event_id = event_id,
				       .partition = -1,
				       .row_partition = AUDIT_BY_KEY,
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
	char *sql; /* owned */
	char *ids; /* owned; an array in the making */
	size_t asked;
	uint64_t missing, found; /* events, of all; rows of them that are there */
	bool good;
	struct error *err;
};

enum { DETAIL_ID, DETAIL_EVENT_ID, DETAIL_MS, DETAIL_EARLIEST_MS, DETAIL_PAYLOAD, DETAIL_FIELDS };

static void make_sql(struct details *details)
{
	const struct verify *verify = details->verify;
	const struct config_columns *columns = &verify->config->outbox.columns;
	char id[PGNAME_QUOTED_SIZE], column[PGNAME_QUOTED_SIZE];
	char *ms = verify_ms_sql(verify), *earliest = verify_earliest_sql(verify);

	pgname_quote(columns->id, id);
	pgname_quote(columns->event_id, column);
	details->sql = xasprintf("SELECT t.%s::int8, t.%s::text, %s, %s", id, column, ms, earliest);
	free(ms);
	free(earliest);
	pgname_quote(columns->payload, column);
	if (verify->options->payloads)
		xappend(&details->sql, ", left(t.%s::text, 10000)", column);
	else
		xappend(&details->sql, ", NULL");
	xappend(&details->sql, "%s FROM %s AS t WHERE t.%s = ANY ($1::int8[])",
		expected_columns(verify->expected), verify->table, id);
}

/* Where the record belongs; NOWHERE: its topic is not read. */
static size_t place_of(const struct verify *verify, const struct message *message)
{
	size_t count = kafka_reader_count(verify->reader), first = 0, partitions = 0;

	while (first < count &&
	       strcmp(kafka_reader_place(verify->reader, first)->topic, message->topic.data) != 0)
		first++;
	while (first + partitions < count &&
	       strcmp(kafka_reader_place(verify->reader, first + partitions)->topic,
		      message->topic.data) == 0)
		partitions++;
	if (partitions == 0)
		return NOWHERE;
	if (message->placed)
		return (size_t)message->partition < partitions ? first + (size_t)message->partition
							       : NOWHERE;
	/* Without a key it may be anywhere: say the first. */
	return first + (message->key.data != NULL
			    ? (size_t)kafka_partition_of(message->key, (int32_t)partitions)
			    : 0);
}

static void ask_first(struct details *details, struct verify_first *first)
{
	const struct verify *verify = details->verify;
	char id[PGNAME_QUOTED_SIZE], number[24], *ms = verify_ms_sql(verify), *sql;
	const char *params[] = {number};
	PGresult *rows;

	pgname_quote(verify->config->outbox.columns.id, id);
	snprintf(number, sizeof(number), "%" PRId64, first->id);
	sql =
	    xasprintf("SELECT %s AS ms FROM %s AS t WHERE t.%s = $1::int8", ms, verify->table, id);
	rows =
	    pgsync_query(verify->conn, "looking at the first events", sql, 1, params, details->err);
	details->good = details->good && rows != NULL;
	if (rows != NULL && PQntuples(rows) > 0 && pgsync_number(rows, 0, "ms") > 0)
		first->ms = pgsync_number(rows, 0, "ms");
	first->asked = true;
	PQclear(rows);
	free(sql);
	free(ms);
}

/* When what a partition begins with was published: its record says it, or, where the event's own
 * time is there, its row. -1: not known. */
static int64_t begun_ms(struct details *details, size_t place)
{
	struct verify_first *first = details->verify->firsts;

	if (first == NULL)
		return kafka_reader_place(details->verify->reader, place)->first_ms;
	first += place;
	if (first->id != AUDIT_NO_ID && !first->asked && details->good)
		ask_first(details, first);
	return first->ms;
}

/* Whether the topic may have kept no longer what was written then or later. */
static bool is_too_old(struct details *details, size_t number, int64_t earliest_ms)
{
	const struct kafka_place *place = kafka_reader_place(details->verify->reader, number);
	int64_t begun;

	if (place->low == 0 || place->begin != place->low)
		return false;
	begun = begun_ms(details, number);
	return begun < 0 || earliest_ms < begun + CLOCKS_MS;
}

/* Where the event belongs: the sample's topic and key, and the place. */
static size_t route_row(struct details *details, const PGresult *rows, int row,
			struct verify_sample *sample)
{
	struct verify *verify = details->verify;
	struct message message;
	size_t place;

	if (!expected_record(verify->expected, rows, row, DETAIL_FIELDS, &message))
		return NOWHERE;
	sample->topic = message.topic.data;
	sample->key = message.key;
	place = place_of(verify, &message);
	if (place != NOWHERE && (message.placed || message.key.data != NULL))
		sample->partition = kafka_reader_place(verify->reader, place)->partition;
	return place;
}

/* Which count the event belongs to, since nothing follows from that it has not arrived; NULL: it is
 * missing. */
static uint64_t *excuse(struct details *details, size_t number, int64_t earliest_ms)
{
	struct verify *verify = details->verify;
	const struct kafka_place *place;

	if (number == NOWHERE)
		return verify->options->topics.count > 0 ? &verify->elsewhere : NULL;
	place = kafka_reader_place(verify->reader, number);
	if (verify->compacted[place->topic_number])
		return &verify->compacted_away;
	if (place->cut)
		return &verify->cut_off;
	return is_too_old(details, number, earliest_ms) ? &verify->retained : NULL;
}

static void judge_row(struct details *details, const PGresult *rows, int row)
{
	struct verify *verify = details->verify;
	struct verify_sample sample = {.id = strtoll(PQgetvalue(rows, row, DETAIL_ID), NULL, 10),
				       .after = AUDIT_NO_ID,
				       .event_id = slice_of(PQgetvalue(rows, row, DETAIL_EVENT_ID)),
				       .time_ms =
					   strtoll(PQgetvalue(rows, row, DETAIL_MS), NULL, 10),
				       .partition = -1,
				       .row_partition = AUDIT_BY_KEY,
				       .offset = -1};
	int64_t earliest_ms = strtoll(PQgetvalue(rows, row, DETAIL_EARLIEST_MS), NULL, 10);
	size_t place = route_row(details, rows, row, &sample);
	/* If nothing else is known, the mark must do: else a loss would be found in no topic that
	 * has dropped anything. */
	uint64_t *excused = excuse(details, place, earliest_ms > 0 ? earliest_ms : sample.time_ms);

	if (excused != NULL) {
		++*excused;
		return;
	}
	verify->missing++;
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
	struct details details = {.verify = verify, .good = true, .err = err};

	make_sql(&details);
	details.ids = xstrdup("{");
	audit_missing(verify->audit, count, &details);
	audit_missing(verify->audit, add_id, &details);
	if (details.asked > 0)
		ask(&details);
	verify->purged = details.missing - details.found;
	free(details.sql);
	free(details.ids);
	return details.good;
}

bool verify_find_missing(struct verify *verify, struct error *err)
{
	if (verify->options->ids_path != NULL)
		return verify_each_id(verify, add_missing_id, err);
	return !verify->stay || find_missing_rows(verify, err);
}
