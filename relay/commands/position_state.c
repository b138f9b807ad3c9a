/* SPDX-License-Identifier: ISC */
/*
 * position_state.c - where the positions of an outbox are, and what holds them back: for `status`
 */
#include "position_state.h"

#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "postgres.h"
#include "unsettled.h"

#include <stdlib.h>
#include <string.h>

enum { AHEAD_CAP = 10000 };

/* ---- asking ---- */

/* A snapshot has no operator by which rows could be grouped. */
static const char POSITIONS_SQL[] =
    "SELECT shards, pg_snapshot_xmin(finished::pg_snapshot)::text AS finished_xmin,"
    " pg_snapshot_xmax(finished::pg_snapshot)::text AS finished_xmax,"
    " pg_snapshot_xmax(target::pg_snapshot)::text AS target_xmax, reached, walks FROM (SELECT"
    "  string_agg(p.shard::text, ' ' ORDER BY p.shard) AS shards, p.finished::text AS finished,"
    "  p.target::text AS target, p.reached, p.walks"
    "  FROM outbox_relay.last_positions(to_regclass($1)) AS p"
    "  GROUP BY p.finished::text, p.target::text, p.reached, p.walks) AS same"
    " ORDER BY pg_snapshot_xmax(finished::pg_snapshot), finished, reached NULLS LAST";

static json_t *shards_of(const char *text)
{
	json_t *shards = json_array();

	for (const char *at = text; *at != '\0'; at += strspn(at, " "))
		json_array_append_new(shards,
				      json_integer(strtoll(at, (char **)(uintptr_t)&at, 10)));
	return shards;
}

static bool add_positions(json_t *state, PGconn *conn, const char *table, struct error *err)
{
	static const char *const NUMBERS[] = {"finished_xmin", "finished_xmax", "target_xmax",
					      "reached"};
	PGresult *result = pgsync_query(conn, "reading positions", POSITIONS_SQL, 1, &table, err);
	json_t *positions = json_array();

	for (int row = 0; result != NULL && row < PQntuples(result); row++) {
		json_t *position = json_object();

		json_object_set_new(position, "shards",
				    shards_of(pgsync_text(result, row, "shards")));
		for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++)
			json_object_set_new(position, NUMBERS[i],
					    command_result_number(result, row, NUMBERS[i]));
		json_object_set_new(position, "walks",
				    json_boolean(pgsync_bool(result, row, "walks")));
		json_array_append_new(positions, position);
	}
	json_object_set_new(state, "positions", positions);
	PQclear(result);
	return result != NULL;
}

static bool add_counts(json_t *state, PGconn *conn, const char *table, struct error *err)
{
	char *sql =
	    xasprintf("SELECT o.position_layout AS layout, (SELECT count(*) FROM (SELECT FROM "
		      "outbox_relay.settled_ahead AS a WHERE a.outbox = o.outbox LIMIT %d) "
		      "AS some_rows) AS ahead FROM outbox_relay.outboxes AS o WHERE "
		      "o.outbox = to_regclass($1)",
		      AHEAD_CAP + 1);
	PGresult *result = pgsync_query(conn, "reading positions", sql, 1, &table, err);

	free(sql);
	if (result == NULL)
		return false;
	json_object_set_new(state, "layout", command_result_number(result, 0, "layout"));
	json_object_set_new(state, "settled_ahead", command_result_number(result, 0, "ahead"));
	PQclear(result);
	return true;
}

/* The oldest transaction that has written anything, on this server: no position shows it, nor what
 * it has inserted. One that is over in a moment holds nothing back. The application and the number
 * of a session are told to everybody; its age and statement are not. Texts within the statement may
 * be of events: they are left out. */
static const char HOLDER_SQL[] =
    "SELECT h.* FROM (SELECT a.pid, NULL::text AS prepared, a.application_name AS application,"
    " a.usename::text AS role, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS"
    " seconds, left(regexp_replace(regexp_replace(a.query, $$'[^']*'?$$, '?', 'g'), "
    "$$[[:cntrl:][:space:]]+$$,"
    " ' ', 'g'), 100) AS query, age(a.backend_xid) AS xids FROM pg_stat_activity AS a"
    " WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()"
    " UNION ALL SELECT NULL, p.gid, NULL, p.owner::text,"
    " extract(epoch FROM clock_timestamp() - p.prepared)::float8, NULL, age(p.transaction)"
    " FROM pg_prepared_xacts AS p) AS h WHERE coalesce(h.seconds, 1) >= 1"
    " ORDER BY h.xids DESC LIMIT 1";

static bool add_holder(json_t *state, PGconn *conn, struct error *err)
{
	static const char *const TEXTS[] = {"prepared", "application", "role", "query"};
	PGresult *result =
	    pgsync_query(conn, "looking for old transactions", HOLDER_SQL, 0, NULL, err);
	json_t *holder = json_null();
	const char *seconds;

	if (result == NULL)
		return false;
	if (PQntuples(result) > 0) {
		holder = json_object();
		seconds = pgsync_text(result, 0, "seconds");
		json_object_set_new(holder, "pid", command_result_number(result, 0, "pid"));
		json_object_set_new(holder, "seconds",
				    seconds ? json_real(strtod(seconds, NULL)) : json_null());
		for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++)
			json_object_set_new(holder, TEXTS[i],
					    json_text(pgsync_text(result, 0, TEXTS[i])));
	}
	json_object_set_new(state, "held_by", holder);
	PQclear(result);
	return true;
}

bool position_state_add(json_t *out, const struct config *config, PGconn *conn, const char *table,
			struct error *err)
{
	json_t *state = json_object();
	struct error why;
	bool failed;

	if (config->outbox.settle != SETTLE_POSITION) {
		json_decref(state);
		json_object_set_new(out, "position", json_null());
		return true;
	}
	json_object_set_new(out, "position", state);
	if (unsettled_known(conn, config, table, &failed, &why))
		return add_counts(state, conn, table, err) &&
		       add_positions(state, conn, table, err) && add_holder(state, conn, err);
	json_object_set_new(state, "error", json_text(why.text));
	return !failed || error_set(err, "%s", why.text);
}

/* ---- in words ---- */

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

static json_int_t integer_of(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

/* "shards 0, 1 and 2 others: " */
static char *name_shards(const json_t *shards, json_int_t layout)
{
	size_t count = json_array_size(shards), i;
	char *text = xstrdup(layout == 0 ? "partitions" : count == 1 ? "shard" : "shards");

	if (layout == 1) {
		free(text);
		return xstrdup("");
	}
	for (i = 0; i < count && i < 4; i++)
		xappend(&text, "%s %" JSON_INTEGER_FORMAT, i > 0 ? "," : "",
			json_integer_value(json_array_get(shards, i)));
	if (count > i)
		xappend(&text, " and %zu others", count - i);
	xappend(&text, ": ");
	return text;
}

static char *describe(const json_t *position, json_int_t layout)
{
	char *text = name_shards(json_object_get(position, "shards"), layout);
	json_int_t from = integer_of(position, "finished_xmin"),
		   upto = integer_of(position, "finished_xmax");

	xappend(&text, "finished up to transaction %" JSON_INTEGER_FORMAT, upto);
	if (from < upto)
		xappend(&text, ", with gaps from %" JSON_INTEGER_FORMAT " on", from);
	if (json_is_integer(json_object_get(position, "target_xmax")))
		xappend(&text,
			"; at work up to %" JSON_INTEGER_FORMAT ", and there has come to id "
			"%" JSON_INTEGER_FORMAT "%s",
			integer_of(position, "target_xmax"), integer_of(position, "reached"),
			json_is_true(json_object_get(position, "walks")) ? " (walks by id)" : "");
	return text;
}

static char *describe_holder(const json_t *holder)
{
	const json_t *seconds = json_object_get(holder, "seconds");
	char *text;

	if (json_is_string(json_object_get(holder, "prepared")))
		text = xasprintf("held back by prepared transaction %s (role %s)",
				 text_of(holder, "prepared"), text_of(holder, "role"));
	else
		text = xasprintf("held back by session %" JSON_INTEGER_FORMAT
				 " (role %s, application \"%s\")",
				 integer_of(holder, "pid"), text_of(holder, "role"),
				 text_of(holder, "application"));
	if (json_is_number(seconds))
		xappend(&text, ", open for %.0f s", json_number_value(seconds));
	if (*text_of(holder, "query") != '\0')
		xappend(&text, ": %s", text_of(holder, "query"));
	return text;
}

void position_state_tell(const json_t *from, void (*told)(void *arg, bool warns, const char *text),
			 void *arg)
{
	const json_t *state = json_object_get(from, "position"), *position;
	json_int_t layout = integer_of(state, "layout"), ahead = integer_of(state, "settled_ahead");
	char *text;
	size_t i;

	if (*text_of(state, "error") != '\0')
		told(arg, true, text_of(state, "error"));
	json_array_foreach(json_object_get(state, "positions"), i, position)
	{
		text = describe(position, layout);
		told(arg, false, text);
		free(text);
	}
	if (json_is_object(json_object_get(state, "held_by"))) {
		text = describe_holder(json_object_get(state, "held_by"));
		told(arg, true, text);
		free(text);
	}
	if (ahead > 0) {
		text = xasprintf("%s%" JSON_INTEGER_FORMAT " rows are settled ahead of it",
				 ahead > AHEAD_CAP ? "more than " : "",
				 ahead > AHEAD_CAP ? AHEAD_CAP : ahead);
		told(arg, false, text);
		free(text);
	}
}
