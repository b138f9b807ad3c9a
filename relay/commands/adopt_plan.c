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

#define NEW_ID	     "relay_id"
#define NEW_EVENT_ID "relay_event_id"

/* What each role is called, may be made of, and goes by in other people's tables. */
static const struct role {
	const char *name;
	const char *words;    /* the types, for people */
	const char *types[7]; /* NULL ends both lists */
	const char *aliases[6];
} roles[ADOPT_ROLES] = {
    {"id", "bigint or integer", {"int8", "int4"}, {NULL}},
    {"event_id",
     "uuid, text, varchar, bigint or integer",
     {"uuid", "text", "varchar", "int8", "int4"},
     {"event_id", "eventid", "message_id"}},
    {"aggregate_type",
     "text, varchar or char",
     {"text", "varchar", "bpchar", "name"},
     {"aggregate_type", "aggregatetype"}},
    {"aggregate_id",
     "text, varchar, uuid, bigint, integer or smallint",
     {"text", "varchar", "uuid", "int8", "int4", "int2"},
     {"aggregate_id", "aggregateid"}},
    {"event_type",
     "text, varchar or char",
     {"text", "varchar", "bpchar", "name"},
     {"event_type", "eventtype", "type"}},
    {"payload",
     "jsonb, json, text, varchar or bytea",
     {"jsonb", "json", "text", "varchar", "bytea"},
     {"payload", "data"}},
    {"headers", "jsonb, json or text", {"jsonb", "json", "text"}, {"headers"}},
    {"created_at",
     "timestamptz or timestamp",
     {"timestamptz", "timestamp"},
     {"created_at", "createdat", "occurred_at", "inserted_at", "timestamp"}},
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

static const struct adopt_column *find(const struct adopt_facts *facts, const char *name)
{
	size_t i;

	for (i = 0; i < facts->count; i++) {
		if (strcmp(facts->columns[i].name, name) == 0)
			return &facts->columns[i];
	}
	return NULL;
}

/* The configured column if it will do, else one with a usual name. */
static const struct adopt_column *choose(const struct adopt_facts *facts, enum adopt_role role,
					 const char *wanted)
{
	const struct adopt_column *column = find(facts, wanted);
	size_t i;

	if (column && adopt_type_fits(role, column->type))
		return column;
	for (i = 0; roles[role].aliases[i]; i++) {
		column = find(facts, roles[role].aliases[i]);
		if (column && adopt_type_fits(role, column->type))
			return column;
	}
	return NULL;
}

/* A number given by the application, not by the database, says nothing about order: such a column
 * does not serve as id. */
static bool serves_as_id(const struct adopt_column *column)
{
	return column && column->from_sequence && adopt_type_fits(ADOPT_ID, column->type);
}

static bool plan_id(const struct adopt_facts *facts, const char *wanted, struct adopt_plan *plan,
		    struct error *err)
{
	char table[PGNAME_FULL_SIZE];

	if (serves_as_id(find(facts, wanted))) {
		strcpy(plan->columns[ADOPT_ID], wanted);
		return true;
	}
	pgname_show(&facts->table, table);
	strcpy(plan->columns[ADOPT_ID], find(facts, wanted) ? NEW_ID : wanted);
	if (serves_as_id(find(facts, plan->columns[ADOPT_ID])))
		return true;
	if (find(facts, plan->columns[ADOPT_ID]))
		return error_set(err,
				 "table %s has a column %s that is not numbered by the database; "
				 "name another one in outbox.columns.id, it will be added",
				 table, plan->columns[ADOPT_ID]);
	plan->numbers = true;
	return true;
}

static bool plan_event_id(const struct adopt_facts *facts, const char *wanted,
			  struct adopt_plan *plan)
{
	const struct adopt_column *column = choose(facts, ADOPT_EVENT_ID, wanted);
	size_t i;

	for (i = 0; !column && i < facts->count; i++) {
		if (facts->columns[i].unique && strcmp(facts->columns[i].type, "uuid") == 0)
			column = &facts->columns[i];
	}
	if (column) {
		strcpy(plan->columns[ADOPT_EVENT_ID], column->name);
		return false;
	}
	strcpy(plan->columns[ADOPT_EVENT_ID], find(facts, wanted) ? NEW_EVENT_ID : wanted);
	return !find(facts, plan->columns[ADOPT_EVENT_ID]);
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
		column = choose(facts, (enum adopt_role)role, name);
		if (!column && role < ADOPT_HEADERS)
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

/* What the rows are numbered by: when they were made, then the key they had. */
static char *number_order(const struct adopt_facts *facts, const struct adopt_plan *plan)
{
	char time[PGNAME_QUOTED_SIZE], id[PGNAME_QUOTED_SIZE];
	const char *second = "ctid";
	size_t i;

	for (i = 0; i < facts->count; i++) {
		if (facts->columns[i].unique) {
			pgname_quote(facts->columns[i].name, id);
			second = id;
			break;
		}
	}
	if (!*plan->columns[ADOPT_CREATED_AT])
		return xstrdup(second);
	pgname_quote(plan->columns[ADOPT_CREATED_AT], time);
	return xasprintf("%s, %s", time, second);
}

/* The backfill is an UPDATE: a new identity column alone would number the rows as they lie. */
static void append_numbering(const struct adopt_facts *facts, struct adopt_plan *plan)
{
	char table[PGNAME_FULL_SIZE], id[PGNAME_QUOTED_SIZE];
	char *order = number_order(facts, plan);
	char *literal;

	pgname_print(&facts->table, table);
	pgname_quote(plan->columns[ADOPT_ID], id);
	xappend(&plan->sql,
		"ALTER TABLE %s ADD COLUMN %s bigint;\n"
		"UPDATE %s AS t SET %s = o.n\n"
		"  FROM (SELECT ctid AS at, row_number() OVER (ORDER BY %s) AS n FROM "
		"%s) AS o\n"
		" WHERE t.ctid = o.at;\n"
		"SET CONSTRAINTS ALL IMMEDIATE;\n"
		"ALTER TABLE %s ALTER COLUMN %s SET NOT NULL,\n"
		"    ALTER COLUMN %s ADD GENERATED BY DEFAULT AS IDENTITY (CACHE 1);\n"
		"CREATE UNIQUE INDEX ON %s (%s);\n",
		table, id, table, id, order, table, table, id, id, table, id);
	literal = pgname_literal(table);
	xappend(&plan->sql, "SELECT setval(pg_get_serial_sequence(%s, ", literal);
	free(literal);
	literal = pgname_literal(plan->columns[ADOPT_ID]);
	xappend(&plan->sql, "%s), (SELECT coalesce(max(%s), 0) + 1 FROM %s), false);\n", literal,
		id, table);
	free(literal);
	free(order);
}

static void append_sql(const struct adopt_facts *facts, struct adopt_plan *plan, bool add_event_id)
{
	char table[PGNAME_FULL_SIZE], column[PGNAME_QUOTED_SIZE];

	pgname_print(&facts->table, table);
	if (plan->numbers || add_event_id)
		xappend(&plan->sql, "LOCK TABLE %s IN ACCESS EXCLUSIVE MODE;\n", table);
	if (plan->numbers)
		append_numbering(facts, plan);
	if (add_event_id) {
		pgname_quote(plan->columns[ADOPT_EVENT_ID], column);
		xappend(&plan->sql,
			"ALTER TABLE %s ADD COLUMN %s uuid NOT NULL DEFAULT "
			"gen_random_uuid();\n",
			table, column);
	}
}

bool adopt_plan(const struct adopt_facts *facts, const struct config_columns *wanted,
		struct adopt_plan *plan, struct error *err)
{
	bool add_event_id;

	memset(plan, 0, sizeof(*plan));
	plan->sql = xstrdup("");
	if (!plan_id(facts, wanted->id, plan, err) || !plan_others(facts, wanted, plan, err)) {
		adopt_plan_free(plan);
		return false;
	}
	add_event_id = plan_event_id(facts, wanted->event_id, plan);
	append_sql(facts, plan, add_event_id);
	return true;
}

void adopt_plan_free(struct adopt_plan *plan)
{
	free(plan->sql);
	plan->sql = NULL;
}

/* A libconfig string. */
static char *config_string(const char *text)
{
	char *out = xmalloc(2 * strlen(text) + 3);
	char *p = out;

	*p++ = '"';
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			*p++ = '\\';
		*p++ = *text;
	}
	*p++ = '"';
	*p = '\0';
	return out;
}

char *adopt_config(const struct adopt_facts *facts, const struct adopt_plan *plan, int settle)
{
	char table[PGNAME_FULL_SIZE];
	char *value, *out;
	int role;

	pgname_show(&facts->table, table);
	value = config_string(table);
	out = xasprintf("outbox = {\n  table = %s;\n  columns = {\n", value);
	free(value);
	for (role = 0; role < ADOPT_ROLES; role++) {
		value = config_string(plan->columns[role]);
		xappend(&out, "    %s = %s;\n", roles[role].name, value);
		free(value);
	}
	xappend(&out, "  };\n");
	if (settle != SETTLE_DELETE)
		xappend(&out, "  settle = \"%s\";\n", config_settle_word(settle));
	xappend(&out, "};\n");
	return out;
}

/* ---- columns by which an application tells the events that it has handled already ---- */

/* "is_published", "publishedAt" and "published_on" are "published". */
static const char *const prefixes[] = {"is", "was", "has", NULL};
static const char *const suffixes[] = {"timestamp", "datetime", "flag", "date",
				       "time",	    "at",	"on",	NULL};
static const char *const participles[] = {
    "acked",	 "acknowledged", "archived",   "completed",   "complete",  "consumed", "deleted",
    "delivered", "dequeued",	 "dispatched", "done",	      "emitted",   "exported", "finished",
    "forwarded", "handled",	 "processed",  "produced",    "published", "pushed",   "relayed",
    "sent",	 "succeeded",	 "success",    "transmitted", NULL};

/* With a time beside them they mean the same: "publish_time". */
static const char *const verbs[] = {"dispatch",	   "process", "processing", "publish",
				    "publication", "sending", NULL};
/* True of an event that is still to be handled. */
static const char *const inverse[] = {"pending", "ispending",	"unsent", "unpublished",
				      "isnew",	 "unprocessed", NULL};

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Small letters and digits only: "publishedAt" and "published_at" are one name. */
static void squeeze(const char *name, char *out)
{
	for (; *name; name++) {
		if (isalnum((unsigned char)*name))
			*out++ = (char)tolower((unsigned char)*name);
	}
	*out = '\0';
}

/* The next word of a name, in small letters: "sentToKafka" and "sent_to_kafka" have three. */
static const char *next_word(const char *at, char *word)
{
	while (*at && !isalnum((unsigned char)*at))
		at++;
	for (bool first = true; isalnum((unsigned char)*at); first = false) {
		if (!first && isupper((unsigned char)*at) && islower((unsigned char)at[-1]))
			break;
		*word++ = (char)tolower((unsigned char)*at++);
	}
	*word = '\0';
	return at;
}

static bool has_word_of(const char *name, const char *const *list)
{
	char word[PGNAME_SIZE];

	for (name = next_word(name, word); *word; name = next_word(name, word)) {
		if (is_one_of(list, word))
			return true;
	}
	return false;
}

static bool is_participle(char *name)
{
	const char *const *affix;
	size_t len;

	if (is_one_of(participles, name))
		return true;
	for (affix = prefixes; *affix; affix++) {
		len = strlen(*affix);
		if (strncmp(name, *affix, len) == 0 && is_one_of(participles, name + len))
			return true;
	}
	for (affix = suffixes; *affix; affix++) {
		if (!ends_with(name, *affix))
			continue;
		name[strlen(name) - strlen(*affix)] = '\0';
		return is_one_of(participles, name);
	}
	return false;
}

static bool is_number(const char *type)
{
	static const char *const types[] = {"int2", "int4", "int8", "numeric", NULL};

	return is_one_of(types, type);
}

static bool is_time(const char *type)
{
	static const char *const types[] = {"timestamptz", "timestamp", "date", NULL};

	return is_one_of(types, type);
}

/* A text that says no is no. */
static char *participle_condition(const char *column, const char *type)
{
	if (strcmp(type, "bool") == 0)
		return xstrdup(column);
	if (is_number(type))
		return xasprintf("%s <> 0", column);
	if (is_time(type))
		return xasprintf("%s IS NOT NULL", column);
	return xasprintf("lower(btrim(%s::text)) NOT IN ('', 'n', 'no', 'f', 'false', '0')",
			 column);
}

/* Of a status only the words that say that the event need not be published any more. */
static char *status_condition(const char *column, const char *type)
{
	if (is_number(type))
		return xasprintf("%s <> 0", column);
	if (strcmp(type, "bool") == 0)
		return xstrdup(column);
	return xasprintf(
	    "lower(%s::text) ~ '^(ack|archiv|cancel|complet|consum|dead|deliver|dispatch|"
	    "done|emit|error|export|fail|finish|forward|handled|ignor|ok|processed|"
	    "produced|publish(ed)?$|relayed|sent|skip|succe|transmitted)'",
	    column);
}

/* A boolean or a time may be called by several words, as "already_sent"; text that is, as
 * "published_by", means something else. */
static bool says_done(const char *column, char *squeezed, const char *type)
{
	if (is_participle(squeezed))
		return true;
	if (strcmp(type, "bool") == 0)
		return has_word_of(column, participles);
	return is_time(type) && (has_word_of(column, participles) || has_word_of(column, verbs));
}

char *adopt_done_condition(const struct adopt_column *column)
{
	char name[PGNAME_SIZE], quoted[PGNAME_QUOTED_SIZE];

	squeeze(column->name, name);
	pgname_quote(column->name, quoted);
	if (ends_with(name, "status") || ends_with(name, "state") || strcmp(name, "stage") == 0 ||
	    strcmp(name, "phase") == 0)
		return status_condition(quoted, column->type);
	if (strcmp(column->type, "bool") == 0 && is_one_of(inverse, name))
		return xasprintf("NOT %s", quoted);
	return says_done(column->name, name, column->type)
		   ? participle_condition(quoted, column->type)
		   : NULL;
}
