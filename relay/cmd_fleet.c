/*
 * cmd_fleet.c - the relays at an outbox, as their locks show them
 */
#include "cmd_fleet.h"

#include "outbox_locks.h"
#include "pgsync.h"

#include <stdio.h>
#include <string.h>

/* Of a session that two layouts know, which cannot be, there are two rows. */
static const char RELAYS_SQL[] =
    "SELECT l.pid, l.layout, json_agg(l.shard ORDER BY l.shard) FILTER (WHERE l.owns) AS shards,"
    " bool_or(l.abstains) AS abstains,"
    " a.application_name AS application, host(a.client_addr) AS client,"
    " to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since"
    " FROM (SELECT pid, objid::int8 >> 24 = $3::int8 >> 24 AS owns, objid::int8 & 4095 AS shard,"
    "   objid::int8 >> 24 = $4::int8 >> 24 AS abstains,"
    "   CASE objid::int8 >> 24 WHEN $3::int8 >> 24 THEN objid::int8 >> 12 ELSE objid::int8 END"
    "    & 4095 AS layout"
    "  FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
    "   AND classid = to_regclass($1::text)::oid"
    "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    "   AND objid::int8 >> 24 IN ($2::int8 >> 24, $3::int8 >> 24, $4::int8 >> 24)) AS l"
    " LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
    " GROUP BY l.pid, l.layout, a.application_name, a.client_addr, a.backend_start"
    " ORDER BY a.backend_start, l.pid, l.layout";

/* In the order of their shards. paused is asked for like this since a schema that is older than
 * this binary has no such column. */
static const char TABLE_SQL[] =
    "SELECT (SELECT coalesce((to_jsonb(o) ->> 'paused')::boolean, false)"
    "  FROM outbox_relay.outboxes o WHERE o.outbox = c.oid) AS paused,"
    " (SELECT json_agg(k.relname ORDER BY k.oid) FROM pg_inherits i"
    "  JOIN pg_class k ON k.oid = i.inhrelid WHERE i.inhparent = c.oid) AS partitions"
    " FROM pg_class c WHERE c.oid = to_regclass($1)";

static json_t *text_or_null(const PGresult *result, int row, const char *column)
{
	const char *text = pgsync_text(result, row, column);

	return text && *text ? json_string(text) : json_null();
}

static json_t *array_of(const PGresult *result, int row, const char *column)
{
	const char *text = pgsync_text(result, row, column);
	json_t *array = text ? json_loads(text, 0, NULL) : NULL;

	return array ? array : json_array();
}

json_t *fleet_read(PGconn *conn, const char *table, struct error *err)
{
	static const char *const members[] = {"application", "client", "since"};
	char member[16], shard[16], abstain[16];
	const char *params[] = {table, member, shard, abstain};
	json_t *relays, *relay;
	PGresult *result;
	int row;

	snprintf(member, sizeof(member), "%d", OUTBOX_MEMBER_LOCK);
	snprintf(shard, sizeof(shard), "%d", OUTBOX_SHARD_LOCK);
	snprintf(abstain, sizeof(abstain), "%d", OUTBOX_ABSTAIN_LOCK);
	result = pgsync_query(conn, "looking for relays", RELAYS_SQL, 4, params, err);
	if (!result)
		return NULL;
	relays = json_array();
	for (row = 0; row < PQntuples(result); row++) {
		relay = json_pack("{s:I}", "pid", (json_int_t)pgsync_number(result, row, "pid"));
		for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
			json_object_set_new(relay, members[i],
					    text_or_null(result, row, members[i]));
		json_object_set_new(relay, "layout",
				    json_integer(pgsync_number(result, row, "layout")));
		json_object_set_new(relay, "shards", array_of(result, row, "shards"));
		json_object_set_new(relay, "abstains",
				    json_boolean(pgsync_bool(result, row, "abstains")));
		json_array_append_new(relays, relay);
	}
	PQclear(result);
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

/* The one for this number of shards; borrowed. */
static json_t *find_layout(json_t *layouts, json_int_t shards)
{
	json_t *layout;
	size_t i;

	json_array_foreach(layouts, i, layout)
	{
		if (json_integer_value(json_object_get(layout, "shards")) == shards)
			return layout;
	}
	layout = json_pack("{s:I}", "shards", shards);
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
		layout = find_layout(layouts, layout_of(relay));
		add_to(layout, "relays", 1);
		add_to(layout, "owned", owned_by(relay));
	}
	return layouts;
}

bool fleet_add(json_t *out, const struct config *config, PGconn *conn, const char *table,
	       struct error *err)
{
	json_t *relays = fleet_read(conn, table, err), *partitions;
	size_t count = config->outbox.ordering == ORDERING_NONE ? 0 : (size_t)config->outbox.shards;
	PGresult *result;

	if (!relays)
		return false;
	json_object_set_new(out, "relays", relays);
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

static void print_session(const json_t *relay)
{
	printf("%s at %s, session %" JSON_INTEGER_FORMAT " since %s",
	       text_of(relay, "application", "unknown"), text_of(relay, "client", "local"),
	       json_integer_value(json_object_get(relay, "pid")), text_of(relay, "since", "-"));
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
			fputs("nobody", stdout);
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
			printf(": cannot reach Kafka, %s\n",
			       owned_by(relay) == 0
				   ? "leaves the shards to others"
				   : "and nobody else is there to serve its shards");
		else if (owned_by(relay) == 0)
			puts(": stands by");
		else if (layout == 0)
			puts(": publishes without order");
		else
			printf(": owns %zu of %" JSON_INTEGER_FORMAT "%s\n", owned_by(relay),
			       layout, layout == 1 ? " shard" : " shards");
	}
	if (i == 0)
		printf("%-14s none\n", "relays");
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
		if (owned > 0)
			puts(": at work; the others wait until these own nothing");
		else
			puts(": wait until no others own a shard");
	}
}

void fleet_print(const json_t *out)
{
	print_shards(json_object_get(out, "shards"));
	print_relays(json_object_get(out, "relays"));
	print_layouts(json_object_get(out, "layouts"));
}
