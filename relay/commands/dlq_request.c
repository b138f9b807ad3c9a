/* SPDX-License-Identifier: ISC */
/*
 * dlq_request.c - `dlq retry` and `dlq discard`: what is asked of the relays
 */
#include "base/xalloc.h"
#include "dlq.h"
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

/* A key is named by what its letters begin with: it may be as long as a column can be. */
#define COLUMNS                                                                                    \
	"d.number, d.id, d.event_id, left(d.key, 1000) AS key, d.attempts, d.held_for = 'topic' "  \
	"AS for_topic"

static const char DISCARD_SQL[] =
    "SELECT " COLUMNS ", true AS asked FROM outbox_relay.dead_letters AS d"
    " WHERE d.outbox = to_regclass($1)%s ORDER BY d.number";

/* Only the first letter of a key can be published, and once it is, the others follow. What waits
 * for its topic goes on by itself. */
static const char RETRY_SQL[] =
    "WITH matched AS MATERIALIZED (SELECT d.number, d.held_for, d.key_hash"
    "  FROM outbox_relay.dead_letters AS d WHERE d.outbox = to_regclass($1)%s)"
    " SELECT " COLUMNS ", coalesce(d.held_for, '') <> 'topic' AS asked"
    " FROM outbox_relay.dead_letters AS d WHERE d.number IN"
    "  (SELECT m.number FROM matched AS m WHERE m.held_for IS DISTINCT FROM 'key')"
    " UNION ALL"
    " SELECT " COLUMNS ", row_number() OVER (PARTITION BY d.key_hash ORDER BY d.number) = 1"
    " FROM outbox_relay.dead_letters AS d"
    " WHERE d.outbox = to_regclass($1) AND d.held_for = 'key' AND d.key_hash IN"
    "  (SELECT m.key_hash FROM matched AS m WHERE m.held_for = 'key')"
    " ORDER BY number";

/* The notification comes with the trigger. What was asked for before and is still there is not
 * asked for again. */
static const char REQUEST_SQL[] =
    "INSERT INTO outbox_relay.letter_requests (outbox, letter, action)"
    " SELECT d.outbox, d.number, $3 FROM outbox_relay.dead_letters AS d"
    " WHERE d.outbox = to_regclass($1) AND d.number = ANY ($2::bigint[]) ORDER BY d.number"
    " ON CONFLICT (letter, action, outbox) DO NOTHING";

/* Those asked for, or all, as "{1,2}"; malloc'd. */
static char *numbers_of(const PGresult *letters, bool all)
{
	enum { DIGITS = 21 };
	char *list = xmalloc((size_t)PQntuples(letters) * DIGITS + 3), *out = list;

	*out++ = '{';
	for (int row = 0; row < PQntuples(letters); row++) {
		if (!all && !pgsync_bool(letters, row, "asked"))
			continue;
		if (out > list + 1)
			*out++ = ',';
		out = stpcpy(out, pgsync_text(letters, row, "number"));
	}
	strcpy(out, "}");
	return list;
}

/* Whoever asks to discard is noted with it (sql/0008_letters.sql). */
static const char BEFORE_SQL[] =
    "SELECT coalesce(max(a.number), 0) AS noted, EXISTS (SELECT FROM outbox_relay.letter_requests r"
    "  WHERE r.letter = ANY ($2::bigint[]) AND r.action = 'discard') AS discarding"
    " FROM outbox_relay.operator_actions AS a WHERE a.outbox = to_regclass($1)";

static bool look_before(const struct dlq *dlq, struct dlq_asked *asked, struct error *err)
{
	const char *params[] = {dlq->table, asked->numbers};
	PGresult *result =
	    pgsync_query(dlq->conn, "looking at other requests", BEFORE_SQL, 2, params, err);

	if (!result)
		return false;
	asked->noted = pgsync_number(result, 0, "noted");
	asked->discarding = pgsync_bool(result, 0, "discarding");
	PQclear(result);
	return true;
}

bool dlq_asked_read(const struct dlq *dlq, const char *format, struct dlq_asked *asked,
		    struct error *err)
{
	*asked =
	    (struct dlq_asked){.letters = dlq_query(dlq, "choosing dead letters", format, err)};
	if (!asked->letters)
		return false;
	asked->numbers = numbers_of(asked->letters, true);
	for (int row = 0; row < PQntuples(asked->letters); row++)
		asked->requested += pgsync_bool(asked->letters, row, "asked");
	return look_before(dlq, asked, err);
}

void dlq_asked_free(struct dlq_asked *asked)
{
	PQclear(asked->letters);
	free(asked->numbers);
}

static bool ask(const struct dlq *dlq, const struct dlq_asked *asked, struct error *err)
{
	char *numbers = numbers_of(asked->letters, false);
	const char *params[] = {dlq->table, numbers, dlq_actions[dlq->action]};
	PGresult *result =
	    pgsync_query(dlq->conn, "asking the relays", REQUEST_SQL, 3, params, err);

	free(numbers);
	PQclear(result);
	return result != NULL;
}

int dlq_request(struct dlq *dlq, struct error *err)
{
	struct dlq_asked asked;
	int status = -1;

	if (dlq_asked_read(dlq, dlq->action == DLQ_RETRY ? RETRY_SQL : DISCARD_SQL, &asked, err)) {
		if (PQntuples(asked.letters) == 0)
			status = dlq_report(dlq, &asked, NULL, DLQ_NO_OBSTACLE);
		else if (dlq->dry_run || ask(dlq, &asked, err))
			status = dlq_wait(dlq, &asked, err);
	}
	dlq_asked_free(&asked);
	return status;
}
