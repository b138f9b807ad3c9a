/* SPDX-License-Identifier: ISC */
/*
 * pausing.c - sets the pause of an outbox, and waits until its relays have handed over
 */
#include "pausing.h"

#include "known.h"
#include "postgres.h"
#include "relays.h"
#include "waiting.h"

#include <stdio.h>

enum { POLL_MS = 50 };

/* The notification arrives with the COMMIT, so a relay that gets it sees the change. It is also
 * sent when nothing changes: a relay may have missed the first. */
static const char SET_SQL[] =
    "WITH known AS (SELECT outbox, paused FROM outbox_relay.outboxes"
    "  WHERE outbox = to_regclass($1) FOR UPDATE),"
    " changed AS (UPDATE outbox_relay.outboxes o SET paused = $2::boolean FROM known k"
    "  WHERE o.outbox = k.outbox AND k.paused <> $2::boolean)"
    " SELECT paused, pg_notify('outbox_relay', outbox::oid || ' group') FROM known";

bool pausing_set(PGconn *conn, const char *table, const char *shown, bool paused, json_t *out,
		 struct error *err)
{
	const char *params[] = {table, paused ? "true" : "false"};
	const struct known_question question = {table, shown, paused ? "pause" : "resume", true};
	struct known ignored;
	PGresult *result;
	bool known;

	/* A migration under way has the row. */
	if (!pgsync_script(conn, "setting the pause",
			   "BEGIN READ WRITE; SET LOCAL lock_timeout = '7s'", err))
		return false;
	result = pgsync_query(conn, "setting the pause", SET_SQL, 2, params, err);
	known = result && PQntuples(result) == 1;

	if (known) {
		json_object_set_new(out, "paused", json_boolean(paused));
		json_object_set_new(out, "changed",
				    json_boolean(pgsync_bool(result, 0, "paused") != paused));
	} else if (result && known_outbox(conn, &question, &ignored, err)) {
		error_set(err, "table %s is being migrated; try again", shown);
	}
	PQclear(result);
	return known && pgsync_script(conn, "setting the pause", "COMMIT", err);
}

/* Of those there, the ones that own shards; NULL and err. */
static json_t *read_owners(PGconn *conn, const char *table, struct error *err)
{
	json_t *relays = group_read(conn, table, err);
	size_t i;

	for (i = json_array_size(relays); i-- > 0;) {
		if (json_array_size(json_object_get(json_array_get(relays, i), "shards")) == 0)
			json_array_remove(relays, i);
	}
	return relays;
}

bool pausing_wait(PGconn *conn, const char *table, int64_t wait_ms, json_t *out, struct error *err)
{
	struct waiting waiting = waiting_for(wait_ms);
	json_t *owners = read_owners(conn, table, err);

	while (json_array_size(owners) > 0 && waiting_left_ms(&waiting) > 0 &&
	       waiting_pause(POLL_MS)) {
		json_decref(owners);
		owners = read_owners(conn, table, err);
	}
	json_object_set_new(out, "owners", owners);
	return owners != NULL;
}

void pausing_print_owners(const json_t *owners)
{
	const json_t *owner;
	const char *name;
	size_t i;

	json_array_foreach(owners, i, owner)
	{
		name = json_string_value(json_object_get(owner, "application"));
		fprintf(stderr,
			"session %" JSON_INTEGER_FORMAT " (%s) still owns %zu of its shards\n",
			json_integer_value(json_object_get(owner, "pid")), name ? name : "unknown",
			json_array_size(json_object_get(owner, "shards")));
	}
}
