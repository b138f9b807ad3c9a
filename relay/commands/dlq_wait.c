/* SPDX-License-Identifier: ISC */
/*
 * dlq_wait.c - until the relays have carried out what was asked for, and what became of it
 */
#include "base/clock.h"
#include "base/xalloc.h"
#include "dlq.h"
#include "postgres.h"
#include "progress.h"
#include "relays.h"
#include "waiting.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A question is asked no more often than this, and takes no more than a fifth of the time. */
enum { POLL_MS = 50, SHARE = 4, RELAYS_MS = 1000 };

/* How many are still there, and whether something is still to happen to them. The first letter of a
 * key that was not rejected goes by itself, and so do those behind it. $2 is the action. */
static const char LEFT_SQL[] =
    "WITH mine AS MATERIALIZED (SELECT d.number, d.reason,"
    "  CASE WHEN d.held_for = 'key' THEN d.key_hash END AS key,"
    "  CASE WHEN d.held_for = 'key' THEN 0 ELSE d.number END AS own"
    "  FROM outbox_relay.dead_letters AS d WHERE d.number = ANY ($1::bigint[])),"
    " head AS (SELECT DISTINCT ON (key, own) * FROM mine ORDER BY key, own, number)"
    " SELECT (SELECT count(*) FROM mine) AS there,"
    " EXISTS (SELECT FROM outbox_relay.letter_requests AS r"
    "  WHERE r.letter = ANY ($1::bigint[]) AND r.action = $2) OR"
    " $2 = 'retry' AND EXISTS (SELECT FROM head WHERE own = 0 AND reason IS NULL) AS open";

static const char FATES_SQL[] =
    "SELECT d.number, d.attempts, d.reason, d.error, d.held_for,"
    " CASE WHEN head.number < d.number THEN head.id END AS behind,"
    " EXISTS (SELECT FROM outbox_relay.letter_requests AS r"
    "  WHERE r.letter = d.number AND r.action = $2) AS pending"
    " FROM outbox_relay.dead_letters AS d"
    " LEFT JOIN LATERAL (SELECT h.number, h.id FROM outbox_relay.dead_letters AS h"
    "  WHERE d.held_for = 'key' AND h.outbox = d.outbox AND h.held_for = 'key'"
    "  AND h.key_hash = d.key_hash ORDER BY h.number LIMIT 1) AS head ON true"
    " WHERE d.number = ANY ($1::bigint[]) ORDER BY d.number";

static const char PAUSED_SQL[] =
    "SELECT o.paused FROM outbox_relay.outboxes AS o WHERE o.outbox = to_regclass($1)";

static PGresult *ask(const struct dlq *dlq, const char *sql, const struct dlq_asked *asked,
		     struct error *err)
{
	const char *params[] = {asked->numbers, dlq_actions[dlq->action]};

	return pgsync_query(dlq->conn, "waiting for the relays", sql, 2, params, err);
}

/* Whether something is still to happen; false as well if the database could not be asked. */
static bool is_open(const struct dlq *dlq, const struct dlq_asked *asked, bool *failed,
		    struct error *err)
{
	PGresult *left = ask(dlq, LEFT_SQL, asked, err);
	bool open = left && pgsync_bool(left, 0, "open");

	*failed = left == NULL;
	if (left)
		progress_step(PQntuples(asked->letters) - pgsync_number(left, 0, "there"));
	PQclear(left);
	return open;
}

/* What keeps the relays from doing it, as far as that is plain. */
static enum dlq_obstacle find_obstacle(const struct dlq *dlq, bool *failed, struct error *err)
{
	const char *table = dlq->table;
	json_t *relays = group_read(dlq->conn, table, err);
	PGresult *outbox = NULL;
	enum dlq_obstacle obstacle = DLQ_NO_OBSTACLE;

	if (relays)
		outbox = pgsync_query(dlq->conn, "looking for a pause", PAUSED_SQL, 1, &table, err);
	*failed = outbox == NULL;
	if (outbox && json_array_size(relays) == 0)
		obstacle = DLQ_NO_RELAY;
	else if (outbox && PQntuples(outbox) > 0 && pgsync_bool(outbox, 0, "paused"))
		obstacle = DLQ_PAUSED;
	PQclear(outbox);
	json_decref(relays);
	return obstacle;
}

/* No transaction is open meanwhile. False and err. */
static bool wait_until_done(const struct dlq *dlq, const struct dlq_asked *asked,
			    enum dlq_obstacle *obstacle, struct error *err)
{
	struct waiting waiting = waiting_for(dlq->wait_ms), look = waiting_for(0);
	int64_t asked_us = clock_monotonic_us(), took_ms;
	bool failed;

	progress_begin(PQntuples(asked->letters), "events");
	while (is_open(dlq, asked, &failed, err)) {
		if (waiting_left_ms(&waiting) == 0)
			*obstacle = DLQ_TIMEOUT;
		if (waiting_left_ms(&look) == 0) {
			enum dlq_obstacle found = find_obstacle(dlq, &failed, err);

			*obstacle = found != DLQ_NO_OBSTACLE ? found : *obstacle;
			look = waiting_for(RELAYS_MS);
		}
		if (failed || *obstacle != DLQ_NO_OBSTACLE)
			break;
		took_ms = (clock_monotonic_us() - asked_us) / 1000;
		waiting_pause(took_ms * SHARE > POLL_MS ? took_ms * SHARE : POLL_MS);
		asked_us = clock_monotonic_us();
	}
	progress_end();
	return !failed;
}

/* ---- what became of it ---- */

static enum dlq_outcome outcome_of_gone(enum dlq_action action)
{
	return action == DLQ_DISCARD ? DLQ_DISCARDED : DLQ_PUBLISHED;
}

static enum dlq_outcome outcome_of(enum dlq_action action, const PGresult *there, int row,
				   int64_t attempts)
{
	const char *held = pgsync_text(there, row, "held_for");

	if (pgsync_bool(there, row, "pending"))
		return DLQ_PENDING;
	if (action == DLQ_EDIT)
		return DLQ_EDITED;
	if (action == DLQ_DISCARD)
		return DLQ_UNCHANGED;
	if (pgsync_text(there, row, "behind") || (held && strcmp(held, "topic") == 0))
		return DLQ_WAITING;
	if (pgsync_number(there, row, "attempts") > attempts)
		return DLQ_REJECTED;
	return pgsync_text(there, row, "reason") ? DLQ_UNCHANGED : DLQ_PENDING;
}

/* Both are in the order of numbers. */
static void match(enum dlq_action action, const PGresult *letters, const PGresult *there,
		  struct dlq_fate *fates)
{
	int at = 0;

	for (int row = 0; row < PQntuples(letters); row++) {
		struct dlq_fate *fate = &fates[row];

		fate->outcome = outcome_of_gone(action);
		if (at == PQntuples(there) ||
		    pgsync_number(there, at, "number") != pgsync_number(letters, row, "number"))
			continue;
		fate->outcome =
		    outcome_of(action, there, at, pgsync_number(letters, row, "attempts"));
		fate->reason = pgsync_text(there, at, "reason");
		fate->error = pgsync_text(there, at, "error");
		fate->behind = pgsync_text(there, at, "behind");
		at++;
	}
}

/* Others may have asked to discard the same letters meanwhile, and letters that are gone do not
 * tell which request was carried out. */
static const char DISCARDS_SQL[] =
    "SELECT coalesce(e.event, a.detail) AS event FROM outbox_relay.operator_actions AS a"
    " LEFT JOIN unnest(a.events) AS e (event) ON true WHERE a.outbox = to_regclass($1)"
    " AND a.number > $2::bigint AND a.action = 'discard'";

/* As the trigger writes it (sql/0008_letters.sql): an event may have no event id. malloc'd. */
static char *noted_as(const PGresult *letters, int letter)
{
	const char *event_id = pgsync_text(letters, letter, "event_id");

	return xasprintf("event %s%s%s", pgsync_text(letters, letter, "id"),
			 event_id ? ", event_id " : "", event_id ? event_id : "");
}

/* A letter that went meanwhile is noted by a number of its own, which may be any. */
static bool is_discard_of(const PGresult *discards, int row, const PGresult *letters, int letter)
{
	const char *noted = pgsync_text(discards, row, "event");
	char *one = noted_as(letters, letter);
	bool same = noted && (strcmp(noted, one) == 0 || strncmp(noted, "event ", 6) != 0);

	free(one);
	return same;
}

static bool doubt_gone(const struct dlq *dlq, const struct dlq_asked *asked, struct dlq_fate *fates,
		       struct error *err)
{
	char *noted = xasprintf("%" PRId64, asked->noted);
	PGresult *discards = pgsync_query(dlq->conn, "looking at other requests", DISCARDS_SQL, 2,
					  (const char *const[]){dlq->table, noted}, err);

	free(noted);
	if (!discards)
		return false;
	for (int i = 0; i < PQntuples(asked->letters); i++) {
		bool doubtful = asked->discarding;

		for (int row = 0; row < PQntuples(discards) && !doubtful; row++)
			doubtful = is_discard_of(discards, row, asked->letters, i);
		if (fates[i].outcome == DLQ_PUBLISHED && doubtful)
			fates[i].outcome = DLQ_GONE;
	}
	PQclear(discards);
	return true;
}

static int report_known(const struct dlq *dlq, const struct dlq_asked *asked,
			struct dlq_fate *fates, enum dlq_obstacle obstacle, struct error *err)
{
	PGresult *there = ask(dlq, FATES_SQL, asked, err);
	int status = -1;

	if (there)
		match(dlq->action, asked->letters, there, fates);
	if (there && (dlq->action == DLQ_DISCARD || doubt_gone(dlq, asked, fates, err)))
		status = dlq_report(dlq, asked, fates, obstacle);
	PQclear(there);
	return status;
}

int dlq_wait(const struct dlq *dlq, const struct dlq_asked *asked, struct error *err)
{
	size_t count = (size_t)PQntuples(asked->letters);
	struct dlq_fate *fates = xcalloc(count, sizeof(*fates));
	enum dlq_obstacle obstacle = DLQ_NO_OBSTACLE;
	int status = -1;

	for (size_t i = 0; i < count; i++)
		fates[i].outcome =
		    pgsync_bool(asked->letters, (int)i, "asked") ? DLQ_REQUESTED : DLQ_FOLLOWS;
	if (dlq->dry_run || dlq->no_wait)
		status = dlq_report(dlq, asked, fates, obstacle);
	else if (wait_until_done(dlq, asked, &obstacle, err))
		status = report_known(dlq, asked, fates, obstacle, err);
	free(fates);
	return status;
}
