/* SPDX-License-Identifier: ISC */
/*
 * replay_plan.c - `replay` and the database: which rows are meant, and where it is written down
 */
#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "known.h"
#include "outbox/registry.h"
#include "postgres.h"
#include "replay.h"
#include "unsettled.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the outbox ---- */

#define DELETE_MODE                                                                                \
	"outbox.settle is \"delete\": what was published is no longer in the outbox, so it "       \
	"cannot be published again. Consumers can set their offsets back as far as the topic "     \
	"keeps records, `outbox-relay verify` finds what never arrived, and docs/replay.md says "  \
	"what else can be done; with outbox.settle = \"mark\" or \"position\" rows stay for "      \
	"outbox.retention"

/* Nothing else says when a row was published, or created. */
static bool has_times(const struct replay_job *job, struct error *err)
{
	const json_t *asked = job->request->selection;

	return job->config->outbox.settle == SETTLE_MARK ||
	       *job->config->outbox.columns.created_at != '\0' ||
	       (json_object_get(asked, "since") == NULL &&
		json_object_get(asked, "until") == NULL) ||
	       error_set(err,
			 "with outbox.settle = \"position\" --since and --until select rows by "
			 "when they were created; name outbox.columns.created_at");
}

bool replay_check(struct replay_job *job, struct error *err)
{
	const struct known_question question = {job->table, job->shown, "replay from", false};
	struct known known;

	if (job->config->outbox.settle == SETTLE_DELETE)
		return error_set(err, "%s", DELETE_MODE);
	if (!has_times(job, err))
		return false;
	job->conn = command_connect(job->config, "outbox-relay replay", err);
	if (job->conn == NULL || !known_outbox(job->conn, &question, &known, err))
		return false;
	if (!outbox_settling_check(config_settle_word(known.settle), job->shown,
				   job->config->outbox.settle, err))
		return false;
	if (!unsettled_known(job->conn, job->config, job->table, NULL, err))
		return false;
	job->rows = replay_rows_new(job->config, err);
	pgsync_be_patient();
	return job->rows != NULL && replay_rows_look(job->rows, job->conn, err) &&
	       pgsync_script(job->conn, "setting up the session", "SET statement_timeout = 0", err);
}

/* ---- the selection ---- */

static const char *member(const struct replay_job *job, const char *name)
{
	return json_string_value(json_object_get(job->selection, name));
}

/* NULL stays NULL. */
static bool read_time(struct replay_job *job, const char *text, char **at, struct error *err)
{
	struct when when;

	if (!when_read(job->conn, text, &when, err))
		return false;
	*at = when.is_given ? xstrdup(when.text) : NULL;
	return true;
}

/* With positions it was settled what is when it began; an application's clock may be ahead. */
static const char *until_of(const struct replay_job *job)
{
	bool asked = json_object_get(job->selection, "until") != NULL;

	return asked || job->config->outbox.settle == SETTLE_MARK ? job->until : NULL;
}

struct replay_selection replay_selected(struct replay_job *job)
{
	const json_t *ids = json_object_get(job->selection, "event_ids");
	size_t count = json_array_size(ids);

	free(job->event_ids);
	job->event_ids = xcalloc(count + 1, sizeof(*job->event_ids));
	for (size_t i = 0; i < count; i++)
		job->event_ids[i] = json_string_value(json_array_get(ids, i));
	return (struct replay_selection){.from_id = member(job, "from_id"),
					 .to_id = member(job, "to_id"),
					 .event_ids = job->event_ids,
					 .event_id_count = count,
					 .key = member(job, "key"),
					 .since = job->since,
					 .until = until_of(job)};
}

/* ---- counting ---- */

static void widen(struct replay_job *job, const PGresult *rows, int row)
{
	int64_t first = pgsync_number(rows, row, "first_id"),
		last = pgsync_number(rows, row, "last_id");
	const char *first_at = pgsync_text(rows, row, "first_at"),
		   *last_at = pgsync_text(rows, row, "last_at");
	const char *was_first = json_string_value(json_object_get(job->counted, "first_at")),
		   *was_last = json_string_value(json_object_get(job->counted, "last_at"));

	if (job->events == 0 || first < job->replay.first_id)
		job->replay.first_id = first;
	if (job->events == 0 || last > job->replay.last_id)
		job->replay.last_id = last;
	/* Of one time zone and one format, so that text sorts as time does. */
	if (first_at != NULL && (was_first == NULL || strcmp(first_at, was_first) < 0))
		json_object_set_new(job->counted, "first_at", json_text(first_at));
	if (last_at != NULL && (was_last == NULL || strcmp(last_at, was_last) > 0))
		json_object_set_new(job->counted, "last_at", json_text(last_at));
	job->events += pgsync_number(rows, row, "events");
}

static void take_counts(struct replay_job *job, const PGresult *rows)
{
	json_t *topics = json_object();

	for (int row = 0; row < PQntuples(rows); row++) {
		const char *topic = pgsync_text(rows, row, "topic");
		char *clean = text_clean(topic != NULL ? topic : "");

		widen(job, rows, row);
		json_object_set_new(topics, clean,
				    json_integer(pgsync_number(rows, row, "events")));
		free(clean);
	}
	json_object_set_new(job->counted, "topics", topics);
}

bool replay_count(struct replay_job *job, struct error *err)
{
	struct replay_selection selection;
	const char *until;
	PGresult *rows;
	char *sql;

	job->selection = json_deep_copy(job->request->selection);
	job->topic = job->request->topic != NULL ? xstrdup(job->request->topic) : NULL;
	job->counted = json_object();
	until = member(job, "until") != NULL ? member(job, "until") : "0";
	if (!read_time(job, member(job, "since"), &job->since, err) ||
	    !read_time(job, until, &job->until, err))
		return false;
	selection = replay_selected(job);
	sql = replay_rows_count(job->rows, &selection, job->topic);
	rows = pgsync_query(job->conn, "counting the rows", sql, 0, NULL, err);
	free(sql);
	if (rows == NULL)
		return false;
	take_counts(job, rows);
	PQclear(rows);
	return true;
}

/* ---- the row of outbox_relay.replays ---- */

static bool record(struct replay_job *job, const char *detail, struct error *err)
{
	const char *params[] = {job->table, detail};
	PGresult *result = pgsync_query(
	    job->conn, "noting the replay",
	    "SELECT outbox_relay.record_action(to_regclass($1), 'replay', $2)", 2, params, err);

	PQclear(result);
	return result != NULL;
}

/* Another one of the same rows that has not come to its end. Times are compared as they were read:
 * "2h" of last week is not that of today. Where no end is asked for, until is when it began. The
 * row may be of anybody who may insert there, and nothing can be taken out of what is no object. */
static const char others_sql[] =
    "SELECT r.number, r.position, EXISTS (SELECT FROM pg_locks AS l WHERE l.locktype = 'advisory'"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.classid = 'outbox_relay.replays'::regclass::oid AND l.objid::int8 = r.number"
    " AND l.objsubid = 2 AND l.granted) AS works"
    " FROM outbox_relay.replays AS r WHERE r.outbox = to_regclass($1) AND r.finished_at IS NULL"
    " AND CASE WHEN jsonb_typeof(r.selection) = 'object' THEN r.selection - '{since,until}'::text[]"
    " END = $2::jsonb - '{since,until}'::text[]"
    " AND r.since IS NOT DISTINCT FROM $4::timestamptz"
    " AND CASE WHEN r.selection ? 'until' THEN r.until END"
    " IS NOT DISTINCT FROM CASE WHEN $2::jsonb ? 'until' THEN $5::timestamptz END"
    " AND r.topic IS NOT DISTINCT FROM $3"
    " ORDER BY works DESC, r.number DESC LIMIT 1";

static bool refuse_other(struct replay_job *job, const PGresult *result, struct error *err)
{
	int64_t number = pgsync_number(result, 0, "number");

	if (pgsync_bool(result, 0, "works"))
		return error_set(err,
				 "replay %" PRId64 " of the same rows is at work in another "
				 "session; wait for it, or stop it",
				 number);
	return job->request->anew ||
	       error_set(err,
			 "replay %" PRId64 " of the same rows was stopped behind id %" PRId64
			 "; go on with it by --resume %" PRId64
			 ", or begin with the first row again by --anew",
			 number, pgsync_number(result, 0, "position"), number);
}

static bool has_no_other(struct replay_job *job, const char *asked, struct error *err)
{
	const char *params[] = {job->table, asked, job->topic, job->since, job->until};
	PGresult *result =
	    pgsync_query(job->conn, "looking at other replays", others_sql, 5, params, err);
	bool good = result != NULL && (PQntuples(result) == 0 || refuse_other(job, result, err));

	PQclear(result);
	return good;
}

static bool insert(struct replay_job *job, const char *asked, struct error *err)
{
	static const char sql[] =
	    "INSERT INTO outbox_relay.replays (outbox, selection, topic, since, until, first_id,"
	    " last_id, events, position) VALUES (to_regclass($1), $2::jsonb, $3, $4::timestamptz,"
	    " $5::timestamptz, $6::int8, $7::int8, $8::int8, $6::int8 - 1) RETURNING number";
	char *first = xasprintf("%" PRId64, job->replay.first_id),
	     *last = xasprintf("%" PRId64, job->replay.last_id),
	     *events = xasprintf("%" PRId64, job->events);
	const char *params[] = {job->table, asked, job->topic, job->since,
				job->until, first, last,       events};
	PGresult *result = pgsync_query(job->conn, "beginning the replay", sql, 8, params, err);

	if (result != NULL)
		job->replay.number = pgsync_number(result, 0, "number");
	job->replay.position = job->replay.first_id - 1;
	PQclear(result);
	free(first);
	free(last);
	free(events);
	return result != NULL;
}

/* The position of a replay is the id that it has come to: there is none before the lowest. */
static bool can_begin(const struct replay_job *job, struct error *err)
{
	return job->replay.first_id > INT64_MIN ||
	       error_set(err,
			 "the first of these rows has the lowest id there can be, %" PRId64
			 ", and no replay can begin before it; leave it out by --from-id "
			 "%" PRId64,
			 INT64_MIN, INT64_MIN + 1);
}

static bool record_begin(struct replay_job *job, struct error *err)
{
	char *asked = json_dumps(job->selection, JSON_COMPACT | JSON_SORT_KEYS),
	     *detail = xasprintf("replay %" PRId64 " begun: %" PRId64 " events, %s%s%s",
				 job->replay.number, job->events, asked,
				 job->topic != NULL ? ", to topic " : "",
				 job->topic != NULL ? job->topic : "");
	bool good = record(job, detail, err);

	free(asked);
	free(detail);
	return good;
}

/* No replay has the number 0: its lock keeps two that begin from not seeing each other. */
bool replay_begin(struct replay_job *job, struct error *err)
{
	static const char alone[] = "BEGIN READ WRITE; SELECT pg_advisory_xact_lock("
				    "'outbox_relay.replays'::regclass::oid::int8::int4, 0)";
	char *asked = json_dumps(job->selection, JSON_COMPACT | JSON_SORT_KEYS);
	bool good = can_begin(job, err) &&
		    pgsync_script(job->conn, "beginning the replay", alone, err) &&
		    has_no_other(job, asked, err) && insert(job, asked, err) &&
		    record_begin(job, err) && replay_take(job->conn, job->replay.number, err) &&
		    pgsync_script(job->conn, "beginning the replay", "COMMIT", err);

	free(asked);
	return good;
}

static char *copy(const PGresult *result, const char *column)
{
	const char *text = pgsync_text(result, 0, column);

	return text != NULL ? xstrdup(text) : NULL;
}

/* The row may be of anybody who may insert there. */
static bool is_id_or_none(const struct replay_job *job, const char *name)
{
	int64_t ignored;

	return json_object_get(job->selection, name) == NULL ||
	       (member(job, name) != NULL &&
		units_parse_number(member(job, name), INT64_MIN, INT64_MAX, &ignored));
}

static bool read_row(struct replay_job *job, const PGresult *result, struct error *err)
{
	json_error_t ignored;

	job->replay.first_id = pgsync_number(result, 0, "first_id");
	job->replay.last_id = pgsync_number(result, 0, "last_id");
	job->replay.position = pgsync_number(result, 0, "position");
	job->replay.published = pgsync_number(result, 0, "published");
	job->replay.rejected = pgsync_number(result, 0, "rejected");
	job->events = pgsync_number(result, 0, "events");
	job->topic = copy(result, "topic");
	job->since = copy(result, "since");
	job->until = copy(result, "until");
	job->selection = json_loads(pgsync_text(result, 0, "selection"), 0, &ignored);
	return (job->selection != NULL && is_id_or_none(job, "from_id") &&
		is_id_or_none(job, "to_id")) ||
	       error_set(err, "replay %" PRId64 " has a selection that cannot be read",
			 job->replay.number);
}

static bool look_up(struct replay_job *job, struct error *err)
{
	static const char sql[] =
	    "SELECT r.*, finished_at IS NOT NULL AS finished FROM outbox_relay.replays AS r"
	    " WHERE r.outbox = to_regclass($1) AND r.number = $2::int8";
	char *number = xasprintf("%" PRId64, job->replay.number);
	PGresult *result = pgsync_query(job->conn, "looking up the replay", sql, 2,
					(const char *const[]){job->table, number}, err);
	bool good = false;

	free(number);
	if (result != NULL && PQntuples(result) == 0)
		error_set(err, "table %s has no replay %" PRId64, job->shown, job->replay.number);
	else if (result != NULL && pgsync_bool(result, 0, "finished"))
		error_set(err, "replay %" PRId64 " is finished; a new one needs a selection",
			  job->replay.number);
	else if (result != NULL)
		good = read_row(job, result, err);
	PQclear(result);
	return good;
}

/* The lock first: whoever had it may have moved the position. */
bool replay_resume(struct replay_job *job, struct error *err)
{
	char *detail;
	bool good;

	job->replay.number = job->request->resume;
	job->counted = json_object();
	if (!replay_take(job->conn, job->replay.number, err) || !look_up(job, err))
		return false;
	detail = xasprintf("replay %" PRId64 " resumed behind id %" PRId64, job->replay.number,
			   job->replay.position);
	good = record(job, detail, err);
	free(detail);
	return good;
}

bool replay_end(struct replay_job *job, struct error *err)
{
	char *number = xasprintf("%" PRId64, job->replay.number),
	     *detail =
		 xasprintf("replay %" PRId64 " %s: %" PRId64 " published, %" PRId64 " rejected",
			   job->replay.number, job->ended ? "finished" : "stopped",
			   job->replay.published, job->replay.rejected);
	PGresult *result = NULL;
	bool good = true;

	if (job->conn == NULL) /* otherwise there was never a source */
		job->conn = command_connect(job->config, "outbox-relay replay", err);
	if (job->conn != NULL && job->ended) {
		result = pgsync_query(job->conn, "finishing the replay",
				      "UPDATE outbox_relay.replays SET finished_at = "
				      "clock_timestamp() WHERE number = $1::int8",
				      1, (const char *const[]){number}, err);
		good = result != NULL;
	}
	good = job->conn != NULL && good && record(job, detail, err);
	PQclear(result);
	free(number);
	free(detail);
	return good;
}
