/* SPDX-License-Identifier: ISC */
/*
 * adopt_plan.c - how an existing table becomes an outbox the relay can use: facts in, SQL and
 * mapping out
 */
#include "adopt.h"

#include "base/xalloc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NEW_ID "relay_id"

/* What each role is called, may be made of, and goes by in other people's tables. */
static const struct role {
	const char *name;
	const char *words;	/* the types, for people */
	const char *types[9];	/* NULL ends both lists */
	const char *categories; /* and of types like them: pg_type.typcategory */
	const char *aliases[13];
} roles[ADOPT_ROLES] = {
    {"id", "bigint or integer", {"int8", "int4"}, "", {NULL}},
    {"event_id",
     "uuid, text, a number or an enum",
     {"uuid", "text", "varchar", "int8", "int4"},
     "SNE",
     {"event_id", "eventid", "message_id", "messageid", "event_uuid", "uuid", "guid"}},
    {"aggregate_type",
     "text, varchar, char or an enum",
     {"text", "varchar", "bpchar", "name"},
     "SE",
     {"aggregate_type", "aggregatetype", "aggregate_name", "entity_type", "topic", "destination",
      "stream_type", "category"}},
    {"aggregate_id",
     "text, varchar, char, uuid, a number or an enum",
     {"text", "varchar", "uuid", "int8", "int4", "int2"},
     "SNE",
     {"aggregate_id", "aggregateid", "aggregate_identifier", "aggregate", "entity_id", "record_key",
      "partition_key", "routing_key", "message_key", "event_key", "key", "stream_id"}},
    {"event_type",
     "text, varchar, char or an enum",
     {"text", "varchar", "bpchar", "name"},
     "SE",
     {"event_type", "eventtype", "type", "event_name", "message_type", "record_type", "name"}},
    {"payload",
     "jsonb, json, text, varchar or bytea, or char, citext or xml",
     {"jsonb", "json", "text", "varchar", "bytea", "bpchar", "xml"},
     "S",
     {"payload", "data", "body", "message", "content", "event_data", "event_payload", "value",
      "event", "serialized_event", "message_payload", "payload_json"}},
    {"headers",
     "jsonb, json or text",
     {"jsonb", "json", "text"},
     "",
     {"headers", "message_headers"}},
    {"created_at",
     "timestamptz or timestamp",
     {"timestamptz", "timestamp"},
     "",
     {"created_at", "createdat", "created", "created_on", "occurred_at", "occurred_on",
      "occurredat", "inserted_at", "timestamp", "created_time", "creation_time", "event_time"}},
};

static bool is_one_of(const char *const *list, const char *text)
{
	for (; *list; list++) {
		if (strcmp(*list, text) == 0)
			return true;
	}
	return false;
}

bool adopt_type_fits(enum adopt_role role, const char *type)
{
	return is_one_of(roles[role].types, type);
}

bool adopt_column_fits(enum adopt_role role, const struct adopt_column *column)
{
	return adopt_type_fits(role, column->type) ||
	       (column->category != '\0' &&
		strchr(roles[role].categories, column->category) != NULL);
}

const char *adopt_types(enum adopt_role role)
{
	return roles[role].words;
}

const char *adopt_role_name(enum adopt_role role)
{
	return roles[role].name;
}

const char *adopt_configured(const struct config_columns *columns, enum adopt_role role)
{
	const char *const names[ADOPT_ROLES] = {
	    columns->id,	 columns->event_id, columns->aggregate_type, columns->aggregate_id,
	    columns->event_type, columns->payload,  columns->headers,	     columns->created_at,
	};

	return names[role];
}

const struct adopt_column *adopt_find(const struct adopt_facts *facts, const char *name)
{
	size_t i;

	for (i = 0; i < facts->count; i++) {
		if (strcmp(facts->columns[i].name, name) == 0)
			return &facts->columns[i];
	}
	return NULL;
}

/* In whatever letters: "aggregateId" is "aggregateid". */
static const struct adopt_column *find_alias(const struct adopt_facts *facts, const char *name)
{
	const char *a, *b;
	size_t i;

	for (i = 0; i < facts->count; i++) {
		for (a = facts->columns[i].name, b = name; *a && *b;) {
			if (*a == '_')
				a++;
			else if (*b == '_')
				b++;
			else if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++))
				break;
		}
		if (!*a && !*b &&
		    (a == facts->columns[i].name || a[-1] == b[-1] ||
		     tolower((unsigned char)a[-1]) == tolower((unsigned char)b[-1])))
			return &facts->columns[i];
	}
	return NULL;
}

/* The configured column if it will do, else one with a usual name. */
static const struct adopt_column *choose(const struct adopt_facts *facts, enum adopt_role role,
					 const char *wanted)
{
	const struct adopt_column *column = adopt_find(facts, wanted);
	size_t i;

	if (!column)
		column = find_alias(facts, wanted);
	if (column && adopt_column_fits(role, column))
		return column;
	for (i = 0; roles[role].aliases[i]; i++) {
		column = find_alias(facts, roles[role].aliases[i]);
		if (column && adopt_column_fits(role, column))
			return column;
	}
	return NULL;
}

/* A number given by the application, not by the database, says nothing about order: such a column
 * does not serve as id. Nor does one that has NULLs. */
static bool serves_as_id(const struct adopt_column *column)
{
	return column && column->from_sequence && !column->unfinished && column->not_null &&
	       adopt_type_fits(ADOPT_ID, column->type);
}

/* The configured one, or any other that the database numbers: then no column has to be added. */
static const struct adopt_column *numbered(const struct adopt_facts *facts, const char *wanted)
{
	const struct adopt_column *column = adopt_find(facts, wanted);
	size_t i;

	if (serves_as_id(column))
		return column;
	for (i = 0; i < facts->count; i++) {
		if (serves_as_id(&facts->columns[i]))
			return &facts->columns[i];
	}
	return NULL;
}

static bool plan_id(const struct adopt_facts *facts, const char *wanted, struct adopt_plan *plan,
		    struct error *err)
{
	const struct adopt_column *column = numbered(facts, wanted);
	char table[PGNAME_FULL_SIZE];

	if (column) {
		strcpy(plan->columns[ADOPT_ID], column->name);
		plan->indexes = !column->indexed;
		return true;
	}
	column = adopt_find(facts, wanted);
	strcpy(plan->columns[ADOPT_ID], column && !column->unfinished ? NEW_ID : wanted);
	column = adopt_find(facts, plan->columns[ADOPT_ID]);
	pgname_show(&facts->table, table);
	if (column && !column->unfinished)
		return error_set(err,
				 "table %s has a column %s that is not numbered by the database; "
				 "name another one in outbox.columns.id, it will be added",
				 table, plan->columns[ADOPT_ID]);
	plan->numbers = true;
	return true;
}

static const struct adopt_column *unique_column(const struct adopt_facts *facts, const char *type,
						const char *id)
{
	size_t i;

	for (i = 0; i < facts->count; i++) {
		const struct adopt_column *column = &facts->columns[i];

		if (column->unique && strcmp(column->name, id) != 0 &&
		    (type ? strcmp(column->type, type) == 0
			  : adopt_column_fits(ADOPT_EVENT_ID, column)))
			return column;
	}
	return NULL;
}

/* Without a column that tells events apart, their number does. */
static void plan_event_id(const struct adopt_facts *facts, const char *wanted,
			  struct adopt_plan *plan)
{
	const char *id = plan->columns[ADOPT_ID];
	const struct adopt_column *column = choose(facts, ADOPT_EVENT_ID, wanted);

	if (!column)
		column = unique_column(facts, "uuid", id);
	if (!column)
		column = unique_column(facts, NULL, id);
	strcpy(plan->columns[ADOPT_EVENT_ID], column ? column->name : id);
}

static bool is_optional(int role)
{
	return role >= ADOPT_HEADERS || role == ADOPT_AGGREGATE_TYPE || role == ADOPT_EVENT_TYPE;
}

static bool plan_others(const struct adopt_facts *facts, const struct config_columns *wanted,
			struct adopt_plan *plan, struct error *err)
{
	const struct adopt_column *column;
	char table[PGNAME_FULL_SIZE];
	const char *name;
	int role;

	pgname_show(&facts->table, table);
	for (role = ADOPT_AGGREGATE_TYPE; role < ADOPT_ROLES; role++) {
		name = adopt_configured(wanted, (enum adopt_role)role);
		column = *name ? choose(facts, (enum adopt_role)role, name) : NULL;
		if (!column && !is_optional(role))
			return error_set(
			    err,
			    "table %s has no column for %s of type %s (looked for %s); name it in "
			    "outbox.columns.%s",
			    table, roles[role].name, roles[role].words, name, roles[role].name);
		if (column)
			strcpy(plan->columns[role], column->name);
	}
	return true;
}

/* What orders rows need not be published. */
static void plan_made(const struct adopt_facts *facts, const char *wanted, struct adopt_plan *plan)
{
	const struct adopt_column *column =
	    choose(facts, ADOPT_CREATED_AT, *wanted ? wanted : "created_at");

	if (column)
		strcpy(plan->made, column->name);
}

bool adopt_plan(const struct adopt_facts *facts, const struct config_columns *wanted,
		struct adopt_plan *plan, struct error *err)
{
	const char *order = plan->order;

	memset(plan, 0, sizeof(*plan));
	plan->order = order;
	if (!plan_id(facts, wanted->id, plan, err) || !plan_others(facts, wanted, plan, err))
		return false;
	plan_event_id(facts, wanted->event_id, plan);
	plan_made(facts, wanted->created_at, plan);
	return true;
}
