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

#include <stdlib.h>

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

/* Whether positions here say of the old side's events what the old side says. */
static bool is_right(const struct handover *handover, const struct left *left, bool *right,
		     struct error *err)
{
	json_int_t count, first;
	bool good, failed;

	*right = false;
	if (!unsettled_known(handover->conn, handover->config, handover->table, &failed, err))
		return !failed;
	good = handover_waiting_upto(handover, left->last, &count, &first, err);
	*right = good && count == left->count;
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
