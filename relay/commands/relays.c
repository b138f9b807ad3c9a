/* SPDX-License-Identifier: ISC */
/*
 * relays.c - the relays at an outbox, as their locks show them
 */
#include "relays.h"

#include "base/text.h"
#include "outbox/locks.h"
#include "postgres.h"

#include <stdio.h>
#include <string.h>

#define OUTBOX	  "to_regclass($1::text)::oid"
#define LOCKS	  OUTBOX_SQL_LOCKS(OUTBOX)
#define MAY_RELAY OUTBOX_SQL_MAY_RELAY(OUTBOX)

/* Of a session that two layouts know, which cannot be, there are two rows. A prepared transaction
 * has no pid. */
static const char RELAYS_SQL[] =
    "WITH locks AS MATERIALIZED (" LOCKS "), sessions AS MATERIALIZED ("
    "  SELECT s.pid, s.fingerprint, s.pid IS NOT NULL AND " MAY_RELAY " AS may,"
    "   pg_get_userbyid(a.usesysid) AS role, a.application_name AS application,"
    "   host(a.client_addr) AS client, a.backend_start"
    "  FROM (SELECT pid, to_hex(max(class) FILTER (WHERE key >> 24 = 108)) AS fingerprint"
    "   FROM locks WHERE granted GROUP BY pid) AS s"
    "  LEFT JOIN pg_stat_activity a ON a.pid = s.pid)"
    " SELECT s.pid, s.may, s.role, s.fingerprint, l.layout, s.application, s.client,"
    " json_agg(l.shard ORDER BY l.shard) FILTER (WHERE l.kind = 111) AS shards,"
    " bool_or(l.kind = 109) AS abstains,"
    " to_char(s.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since"
    " FROM (SELECT pid, key >> 24 AS kind, key & 4095 AS shard,"
    "   CASE key >> 24 WHEN 111 THEN key >> 12 ELSE key END & 4095 AS layout"
    "  FROM locks WHERE granted AND key >> 24 > 108) AS l"
    " JOIN sessions s ON s.pid IS NOT DISTINCT FROM l.pid"
    " GROUP BY s.pid, s.may, s.role, s.fingerprint, l.layout, s.application, s.client,"
    "  s.backend_start"
    " ORDER BY s.backend_start, s.pid, l.layout";

/* In the order of their shards. paused is asked for like this since a schema that is older than
 * this binary has no such column. */
static const char TABLE_SQL[] =
    "SELECT (SELECT coalesce((to_jsonb(o) ->> 'paused')::boolean, false)"
    "  FROM outbox_relay.outboxes o WHERE o.outbox = c.oid) AS paused,"
    " (SELECT json_agg(k.relname ORDER BY k.oid) FROM pg_inherits i"
    "  JOIN pg_class k ON k.oid = i.inhrelid WHERE i.inhparent = c.oid AND EXISTS (SELECT"
    "  FROM pg_partitioned_table p WHERE p.partrelid = c.oid AND p.partstrat = 'h')) AS partitions"
    " FROM pg_class c WHERE c.oid = to_regclass($1)";

static json_t *text_or_null(const PGresult *result, int row, const char *column)
{
	const char *text = pgsync_text(result, row, column);

	return json_text(text && *text ? text : NULL);
}

static json_t *array_of(const PGresult *result, int row, const char *column)
{
	const char *text = pgsync_text(result, row, column);
	char *clean = text_clean(text ? text : "");
	json_t *array = json_loads(clean, 0, NULL);

	free(clean);
	return array ? array : json_array();
}

static json_t *session_of(const PGresult *result, int row)
{
	static const char *const members[] = {"application", "client", "since"};
	json_t *session = json_pack("{s:I}", "pid", (json_int_t)pgsync_number(result, row, "pid"));
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		json_object_set_new(session, members[i], text_or_null(result, row, members[i]));
	json_object_set_new(session, "layout", json_integer(pgsync_number(result, row, "layout")));
	json_object_set_new(session, "shards", array_of(result, row, "shards"));
	return session;
}

bool group_read_all(PGconn *conn, const char *table, json_t **relays, json_t **strangers,
		    struct error *err)
{
	PGresult *result = pgsync_query(conn, "looking for relays", RELAYS_SQL, 1, &table, err);
	json_t *session;

	if (!result)
		return false;
	*relays = json_array();
	*strangers = json_array();
	for (int row = 0; row < PQntuples(result); row++) {
		session = session_of(result, row);
		if (pgsync_bool(result, row, "may")) {
			json_object_set_new(session, "abstains",
					    json_boolean(pgsync_bool(result, row, "abstains")));
			json_object_set_new(session, "fingerprint",
					    text_or_null(result, row, "fingerprint"));
			json_array_append_new(*relays, session);
		} else {
			json_object_set_new(session, "role", text_or_null(result, row, "role"));
			json_array_append_new(*strangers, session);
		}
	}
	PQclear(result);
	return true;
}

json_t *group_read(PGconn *conn, const char *table, struct error *err)
{
	json_t *relays = NULL, *strangers = NULL;

	group_read_all(conn, table, &relays, &strangers, err);
	json_decref(strangers);
	return relays;
}

static json_int_t layout_of(const json_t *relay)
{
	return json_integer_value(json_object_get(relay, "layout"));
}

static size_t owned_by(const json_t *relay)
{
	return json_array_size(json_object_get(relay, "shards"));
}

/* Each shard of the layout that the configuration asks for, with its owner. */
static json_t *shards_of(const json_t *relays, size_t count, const json_t *partitions)
{
	json_t *shards = json_array(), *owner, *shard;
	const json_t *relay, *number;
	size_t i, j;

	for (i = 0; i < count; i++) {
		shard = json_pack("{s:I, s:n}", "shard", (json_int_t)i, "owner");
		if (json_array_size(partitions) > 0)
			json_object_set(shard, "partition", json_array_get(partitions, i));
		json_array_append_new(shards, shard);
	}
	json_array_foreach(relays, i, relay)
	{
		if (layout_of(relay) != (json_int_t)count)
			continue;
		json_array_foreach(json_object_get(relay, "shards"), j, number)
		{
			owner = json_copy((json_t *)relay);
			json_object_del(owner, "layout");
			json_object_del(owner, "shards");
			json_object_del(owner, "abstains");
			json_object_del(owner, "fingerprint");
			shard = json_array_get(shards, (size_t)json_integer_value(number));
			json_object_set_new(shard, "owner", owner);
		}
	}
	return shards;
}

static void add_to(json_t *object, const char *member, size_t more)
{
	json_int_t before = json_integer_value(json_object_get(object, member));

	json_object_set_new(object, member, json_integer(before + (json_int_t)more));
}

/* Of this relay; borrowed. */
static json_t *find_layout(json_t *layouts, const json_t *relay)
{
	json_t *layout, *fingerprint = json_object_get(relay, "fingerprint");
	json_int_t shards = layout_of(relay);
	size_t i;

	json_array_foreach(layouts, i, layout)
	{
		json_t *other = json_object_get(layout, "fingerprint");

		if (json_integer_value(json_object_get(layout, "shards")) == shards &&
		    json_equal(other ? other : json_null(), fingerprint))
			return layout;
	}
	layout = json_pack("{s:I}", "shards", shards);
	if (json_is_string(fingerprint))
		json_object_set(layout, "fingerprint", fingerprint);
	json_array_append_new(layouts, layout);
	return layout;
}

/* How many relays count so many shards, and how many of those they own. */
static json_t *layouts_of(const json_t *relays)
{
	json_t *layouts = json_array(), *layout;
	const json_t *relay;
	size_t i;

	json_array_foreach(relays, i, relay)
	{
		layout = find_layout(layouts, relay);
		add_to(layout, "relays", 1);
		add_to(layout, "owned", owned_by(relay));
	}
	return layouts;
}

bool group_add(json_t *out, const struct config *config, PGconn *conn, const char *table,
	       struct error *err)
{
	size_t count = config->outbox.ordering == ORDERING_NONE ? 0 : (size_t)config->outbox.shards;
	json_t *relays, *strangers, *partitions;
	PGresult *result;

	if (!group_read_all(conn, table, &relays, &strangers, err))
		return false;
	json_object_set_new(out, "relays", relays);
	json_object_set_new(out, "strangers", strangers);
	result = pgsync_query(conn, "looking at the outbox", TABLE_SQL, 1, &table, err);
	if (!result)
		return false;
	partitions = PQntuples(result) > 0 ? array_of(result, 0, "partitions") : json_array();
	if (count > 0 && json_array_size(partitions) > 0)
		count = json_array_size(partitions);
	json_object_set_new(
	    out, "paused", json_boolean(PQntuples(result) > 0 && pgsync_bool(result, 0, "paused")));
	json_object_set_new(out, "shards", shards_of(relays, count, partitions));
	json_object_set_new(out, "layouts", layouts_of(relays));
	json_decref(partitions);
	PQclear(result);
	return true;
}

/* ---- in words ---- */

static const char *text_of(const json_t *object, const char *member, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : otherwise;
}

/* Of another role's session only members of that role and of pg_read_all_stats see more than the
 * application (manual: pg_stat_activity). */
static void print_session(const json_t *relay)
{
	json_int_t pid = json_integer_value(json_object_get(relay, "pid"));

	if (json_is_null(json_object_get(relay, "since")))
		printf("%s, session %" JSON_INTEGER_FORMAT,
		       text_of(relay, "application", "unknown"), pid);
	else
		printf("%s at %s, session %" JSON_INTEGER_FORMAT " since %s",
		       text_of(relay, "application", "unknown"), text_of(relay, "client", "local"),
		       pid, text_of(relay, "since", "-"));
}

static void print_shards(const json_t *shards)
{
	const json_t *shard, *owner;
	size_t i, unowned = 0;

	json_array_foreach(shards, i, shard)
	{
		owner = json_object_get(shard, "owner");
		printf("shard %-8zu %s%s", i, text_of(shard, "partition", ""),
		       json_object_get(shard, "partition") ? ": " : "");
		if (json_is_object(owner))
			print_session(owner);
		else
			fputs("no owner", stdout);
		fputc('\n', stdout);
		unowned += !json_is_object(owner);
	}
	if (unowned > 0 && i > 1)
		printf("%-14s %zu of %zu shards\n", "free", unowned, i);
}

static void print_relays(const json_t *relays)
{
	const json_t *relay;
	json_int_t layout;
	size_t i;

	json_array_foreach(relays, i, relay)
	{
		layout = layout_of(relay);
		printf("%-14s ", i == 0 ? "relays" : "");
		print_session(relay);
		if (json_is_true(json_object_get(relay, "abstains")))
			printf(": cannot reach Kafka, owns %zu of %" JSON_INTEGER_FORMAT
			       " shards\n",
			       owned_by(relay), layout);
		else if (owned_by(relay) == 0)
			puts(": standby");
		else if (layout == 0)
			puts(": publishes without order");
		else
			printf(": owns %zu of %" JSON_INTEGER_FORMAT "%s\n", owned_by(relay),
			       layout, layout == 1 ? " shard" : " shards");
	}
	if (i == 0)
		printf("%-14s none\n", "relays");
}

/* Others have the same number of shards. */
static bool differs_in_columns(const json_t *layouts, const json_t *layout)
{
	const json_t *other, *shards = json_object_get(layout, "shards");
	size_t i;

	json_array_foreach(layouts, i, other)
	{
		if (other != layout && json_equal(json_object_get(other, "shards"), shards))
			return true;
	}
	return false;
}

/* They hold or may hold up relays. */
static void print_strangers(const json_t *strangers)
{
	const json_t *session;
	size_t i;

	json_array_foreach(strangers, i, session)
	{
		printf("%-14s ", i == 0 ? "no relay" : "");
		print_session(session);
		printf(" (role %s): has locks of relays, of %zu shards among them; end it\n",
		       text_of(session, "role", "unknown"), owned_by(session));
	}
}

/* Relays that count shards in another way wait for each other. */
static void print_layouts(const json_t *layouts)
{
	const json_t *layout;
	size_t i;

	if (json_array_size(layouts) < 2)
		return;
	json_array_foreach(layouts, i, layout)
	{
		json_int_t owned = json_integer_value(json_object_get(layout, "owned"));
		json_int_t shards = json_integer_value(json_object_get(layout, "shards"));

		printf("%-14s %" JSON_INTEGER_FORMAT " with ", i == 0 ? "at odds" : "",
		       json_integer_value(json_object_get(layout, "relays")));
		if (shards > 0)
			printf("%" JSON_INTEGER_FORMAT "%s", shards,
			       shards == 1 ? " shard" : " shards");
		else
			fputs("ordering = \"none\"", stdout);
		if (differs_in_columns(layouts, layout))
			printf(" (%s: its own route.key, or other columns in it)",
			       text_of(layout, "fingerprint", "unknown"));
		if (owned > 0)
			puts(": at work; the others wait until these own nothing");
		else
			puts(": wait until no others own a shard");
	}
}

void group_print(const json_t *out)
{
	print_shards(json_object_get(out, "shards"));
	print_relays(json_object_get(out, "relays"));
	print_layouts(json_object_get(out, "layouts"));
	print_strangers(json_object_get(out, "strangers"));
}
