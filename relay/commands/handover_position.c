/* SPDX-License-Identifier: ISC */
/*
 * handover_position.c - `handover` on the new side where rows stay: their positions are those of
 * the old server, or none, so all that the old side has published would be published again. The
 * document proves what was.
 */
#include "base/xalloc.h"
#include "commands.h"
#include "handover.h"
#include "postgres.h"
#include "unsettled.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the old side: its last id, and what it has left. */
struct left {
	json_int_t last, count, first;
};

static struct left left_of(const json_t *old)
{
	const json_t *waiting = json_object_get(json_object_get(old, "left"), "waiting");

	return (struct left){json_integer_value(json_object_get(old, "last_id")),
			     json_integer_value(json_object_get(waiting, "count")),
			     json_integer_value(json_object_get(waiting, "first_id"))};
}

/* How many of these rows there are with ids from one to another. */
static bool count_ids(const struct handover *handover, const char *rows, json_int_t from,
		      json_int_t to, json_int_t *count, struct error *err)
{
	char id[PGNAME_QUOTED_SIZE], *first, *last, *sql;
	PGresult *result;

	pgname_quote(handover->config->outbox.columns.id, id);
	first = xasprintf("%" JSON_INTEGER_FORMAT, from);
	last = xasprintf("%" JSON_INTEGER_FORMAT, to);
	sql = xasprintf("SELECT count(*) AS many FROM %s WHERE t.%s BETWEEN $1 AND $2", rows, id);
	result = pgsync_query(handover->conn, "counting what the old side has left", sql, 2,
			      (const char *const[]){first, last}, err);
	*count = result ? pgsync_number(result, 0, "many") : 0;
	PQclear(result);
	free(sql);
	free(last);
	free(first);
	return result != NULL;
}

/* Whether positions here say of the old side's events what the old side says. */
static bool is_right(const struct handover *handover, const struct left *left, bool *right,
		     struct error *err)
{
	json_int_t count;
	char *rows;
	bool good, failed;

	*right = false;
	if (!unsettled_known(handover->conn, handover->config, handover->table, &failed, err))
		return !failed;
	rows = unsettled_rows(handover->conn, handover->config, handover->table, err);
	good = rows && count_ids(handover, rows, INT64_MIN, left->last, &count, err);
	*right = good && count == left->count;
	free(rows);
	return good;
}

static bool set(const struct handover *handover, json_int_t first, json_t *out, struct error *err)
{
	char *number = xasprintf("%" JSON_INTEGER_FORMAT, first);
	const char *params[] = {handover->table, number};
	PGresult *result = pgsync_query(
	    handover->conn, "setting the position",
	    "SELECT outbox_relay.hand_over_position($1::regclass, $2::int8)", 2, params, err);

	free(number);
	PQclear(result);
	if (result == NULL)
		return false;
	json_object_set_new(out, "position_from", json_integer(first));
	return true;
}

bool handover_position(const struct handover *handover, const json_t *old, json_t *out,
		       struct error *err)
{
	struct left left = left_of(old);
	bool right;

	if (handover->config->outbox.settle != SETTLE_POSITION)
		return true;
	if (!is_right(handover, &left, &right, err))
		return false;
	if (right)
		return true;
	if (!json_is_integer(json_object_get(old, "last_id")))
		return error_set(
		    err,
		    "--new %s does not say the last id of the old side, so nothing "
		    "says which events were published there; have the owner run SELECT "
		    "outbox_relay.set_position('%s', 'end') if all were",
		    handover->from, handover->shown);
	return set(handover, left.count > 0 ? left.first : left.last + 1, out, err);
}
