/* SPDX-License-Identifier: ISC */
/*
 * adoption.c - what an existing table becomes: decided before anything is changed
 */
#include "adoption.h"

#include "base/xalloc.h"
#include "condition.h"
#include "postgres.h"
#include "sequence.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char standard_names[ADOPT_ROLES + 1][PGNAME_SIZE] = {
    "id",      "event_id", "aggregate_type", "aggregate_id", "event_type",
    "payload", "headers",  "created_at",     "published_at"};
const struct config_columns adoption_standard = {
    standard_names[0], standard_names[1], standard_names[2], standard_names[3], standard_names[4],
    standard_names[5], standard_names[6], standard_names[7], standard_names[8]};

/* A framework whose table cannot be adopted ends it here, before anything is connected to. */
bool adoption_choose_like(struct request *request)
{
	char *names;

	request->like = adopt_like_find(request->like_name);
	if (request->like && !request->like->refusal)
		return true;
	if (request->like) {
		fprintf(stderr, "outbox-relay migrate: %s: %s; %s\n", request->like->title,
			request->like->refusal, request->like->instead);
		return false;
	}
	names = adopt_like_names();
	fprintf(stderr, "outbox-relay migrate: --like \"%s\" is none of %s\n", request->like_name,
		names);
	free(names);
	return false;
}

/* The framework's names, unless a file gives others. */
void adoption_take_like(struct request *request)
{
	char **names[ADOPT_ROLES] = {&request->columns.id,
				     &request->columns.event_id,
				     &request->columns.aggregate_type,
				     &request->columns.aggregate_id,
				     &request->columns.event_type,
				     &request->columns.payload,
				     &request->columns.headers,
				     &request->columns.created_at};

	for (int role = 0; role < ADOPT_ROLES; role++)
		if (request->like->columns[role] && strcmp(*names[role], standard_names[role]) == 0)
			*names[role] = (char *)request->like->columns[role];
	if (request->like->stays)
		request->target.settle = SETTLE_POSITION;
}

static bool is_standard(const struct config_columns *columns)
{
	int role;

	for (role = 0; role < ADOPT_ROLES; role++) {
		if (strcmp(adopt_configured(columns, (enum adopt_role)role),
			   standard_names[role]) != 0)
			return false;
	}
	return true;
}

static bool id_is_usable(const struct adopt_facts *facts, const char *id)
{
	size_t i;

	for (i = 0; i < facts->count; i++) {
		if (strcmp(facts->columns[i].name, id) == 0)
			return adopt_type_fits(ADOPT_ID, facts->columns[i].type);
	}
	return false;
}

/* Whether the scripts will do with what is there. */
static bool fits(const struct request *request, const struct adopt_table *table, struct error *err)
{
	char name[PGNAME_FULL_SIZE];

	pgname_show(&table->facts.table, name);
	if (table->exists &&
	    !outbox_table_check(&table->outbox, name, request->target.settle == SETTLE_MARK, err))
		return false;
	if (!table->exists && request->adopt)
		return error_set(err, "table %s does not exist; name it with --table", name);
	if (!table->exists && !is_standard(&request->columns))
		return error_set(err,
				 "table %s does not exist, and outbox.columns gives columns other "
				 "names than a new table would have; create the table first, or "
				 "take outbox.columns out",
				 name);
	if (table->exists && !request->adopt && !id_is_usable(&table->facts, request->columns.id))
		return error_set(err,
				 "table %s has no column %s of type %s; name one in "
				 "outbox.columns.id, or use --adopt to have one added",
				 name, request->columns.id, adopt_types(ADOPT_ID));
	return true;
}

/* A new table's is looked at once it is there (sql/0017_marks.sql). */
static bool is_condition(PGconn *conn, const struct adopt_table *table, const char *what,
			 const char *text, struct error *err)
{
	char name[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE];

	if (!table->exists || table->facts.count == 0 || *text == '\0')
		return true;
	pgname_print(&table->facts.table, name);
	pgname_show(&table->facts.table, shown);
	return condition_check(conn, what, text, name, shown, table->facts.columns[0].name, err);
}

/* Whether the file says already what marks published rows. */
static bool is_said(const struct request *request, const struct adopt_table *table)
{
	return request->config && request->target.settle == SETTLE_MARK &&
	       adopt_find(&table->facts, request->columns.published_at) != NULL;
}

/* What the framework is known to do. */
static void take_known(const struct adopt_like *like, struct adopt_published *published)
{
	if (like->published) {
		published->settle = SETTLE_MARK;
		published->column = xstrdup(like->published);
	}
	if (like->published_value)
		published->published_value = xstrdup(like->published_value);
	if (like->pending_value)
		published->pending_value = xstrdup(like->pending_value);
	if (like->where)
		published->where = xstrdup(like->where);
}

/* ---- what it was ---- */

static char *said(const PGresult *result, const char *member)
{
	const char *text = pgsync_text(result, 0, member);

	return xstrdup(text ? text : "");
}

void adoption_forget_known(struct request *request)
{
	free(request->was.settle);
	free(request->was.column);
	free(request->was.value);
	free(request->was.waits);
	free(request->was.where);
	memset(&request->was, 0, sizeof(request->was));
}

/* An older schema has no such columns. */
bool adoption_read_known(PGconn *conn, struct request *request, struct error *err)
{
	static const char SQL[] =
	    "SELECT o.settle, to_jsonb(o) ->> 'mark_column' AS col, to_jsonb(o) ->> 'mark_value' AS"
	    " value, to_jsonb(o) ->> 'mark_waits' AS waits, to_jsonb(o) ->> 'condition' AS "
	    "condition"
	    " FROM outbox_relay.outboxes AS o WHERE o.outbox = to_regclass($1)";
	struct migrate_target *target = &request->target;
	char name[PGNAME_FULL_SIZE];
	const char *params[] = {name};
	PGresult *result;

	pgname_print(&target->outbox, name);
	result = pgsync_query(conn, "looking how rows are settled", SQL, 1, params, err);
	adoption_forget_known(request);
	request->known = result && PQntuples(result) > 0;
	if (request->known) {
		request->was.settle = said(result, "settle");
		request->was.column = said(result, "col");
		request->was.value = said(result, "value");
		request->was.waits = said(result, "waits");
		request->was.where = said(result, "condition");
	}
	PQclear(result);
	if (request->known && !request->config) {
		target->settle = config_settle_of(request->was.settle);
		target->where = request->was.where;
		if (*request->was.column) {
			target->published = request->was.column;
			target->published_value = request->was.value;
			target->pending_value = request->was.waits;
		}
	}
	return result != NULL;
}

/* Whether rows that the database knows to be none of the relay's, or published, would be taken for
 * events by what the file says now. */
static bool is_as_it_was(const struct request *request, const char *shown, struct error *err)
{
	const struct migrate_target *target = &request->target;

	if (!request->known || request->ignore_flag)
		return true;
	if (*request->was.where && !*target->where)
		return error_set(
		    err,
		    "table %s was migrated for outbox.where = \"%s\", and now there is none: the "
		    "relay would publish the rows that it leaves alone; put it into the "
		    "configuration, or say with --ignore-flag that they are events",
		    shown, request->was.where);
	if (*request->was.column && target->settle == SETTLE_MARK &&
	    (strcmp(request->was.column, target->published) != 0 ||
	     strcmp(request->was.value, target->published_value) != 0))
		return error_set(
		    err,
		    "table %s was migrated for rows that column %s marks (published_value \"%s\"), "
		    "and now it is column %s (\"%s\"): the relay would publish again what is "
		    "marked; "
		    "put the former into the configuration, or say with --ignore-flag that this is "
		    "meant",
		    shown, request->was.column, request->was.value, target->published,
		    target->published_value);
	return true;
}

/* The file, or what the database knows, says it already. */
static void keep(const struct migrate_target *target, struct adopt_published *published)
{
	if (target->settle == SETTLE_MARK && strcmp(target->published, "published_at") != 0)
		published->column = xstrdup(target->published);
	if (target->settle == SETTLE_MARK && *target->published_value)
		published->published_value = xstrdup(target->published_value);
	if (target->settle == SETTLE_MARK && *target->pending_value)
		published->pending_value = xstrdup(target->pending_value);
	if (*target->where)
		published->where = xstrdup(target->where);
}

/* What the file says holds beside what was found. */
static void add_where(struct adopt_published *published, const char *where)
{
	char *own, *both;

	if (*where == '\0')
		return;
	own = adopt_parenthesize(where);
	both = published->where ? xasprintf("%s AND (%s)", own, published->where) : xstrdup(where);
	free(own);
	free(published->where);
	published->where = both;
}

/* An outbox is looked through for events that were handled when it is first migrated. */
static bool find_published(PGconn *conn, const struct request *request,
			   const struct adopt_table *table, const struct adopt_plan *plan,
			   struct adopt_published *published, struct error *err)
{
	struct adopt_choice choice = {.where = request->published_where,
				      .events = request->target.where,
				      .ignores = request->ignore_flag,
				      .adopts = request->adopt,
				      .free = request->config == NULL};
	struct config_columns mapped = request->columns;

	if (request->adopt)
		mapped = (struct config_columns){(char *)plan->columns[ADOPT_ID],
						 (char *)plan->columns[ADOPT_EVENT_ID],
						 (char *)plan->columns[ADOPT_AGGREGATE_TYPE],
						 (char *)plan->columns[ADOPT_AGGREGATE_ID],
						 (char *)plan->columns[ADOPT_EVENT_TYPE],
						 (char *)plan->columns[ADOPT_PAYLOAD],
						 (char *)plan->columns[ADOPT_HEADERS],
						 (char *)plan->columns[ADOPT_CREATED_AT],
						 mapped.published_at};
	published->settle = request->target.settle;
	if (request->like && !request->known && !request->published_where &&
	    !request->ignore_flag && (request->like->published || request->like->where)) {
		take_known(request->like, published);
		return true;
	}
	if (request->like && request->like->asks && !request->known && !request->ignore_flag &&
	    !request->published_where)
		return adopt_published_ask(conn, &table->facts, plan->columns[ADOPT_ID],
					   request->like->title, err);
	if (request->known || !table->exists ||
	    (!request->published_where && is_said(request, table))) {
		keep(&request->target, published);
		return true;
	}
	if (!adopt_published_find(conn, &table->facts, &mapped, &choice, published, err))
		return false;
	add_where(published, request->target.where);
	return true;
}

/* The migrations' names follow the adoption. */
void adoption_take_over(struct request *request, const struct adoption *adoption)
{
	struct migrate_target *target = &request->target;
	const struct adopt_published *published = &adoption->published;

	if (!request->adopt)
		return;
	target->id = adoption->plan.columns[ADOPT_ID];
	target->event_id = adoption->plan.columns[ADOPT_EVENT_ID];
	target->settle = published->settle;
	if (published->column) {
		target->published = published->column;
		target->published_value =
		    published->published_value ? published->published_value : "";
		target->pending_value = published->pending_value ? published->pending_value : "";
	}
	if (published->where)
		target->where = published->where;
}

/* Whether the column that was found can mark rows, as the migrations will ask. */
static bool can_mark(PGconn *conn, const struct adopt_table *table,
		     const struct adopt_published *published, const char *shown, struct error *err)
{
	const char *value = published->published_value;
	struct adopt_table again = {.facts = {.table = table->facts.table},
				    .published_at = published->column,
				    .published_value = value ? value : ""};
	bool good;

	if (published->settle != SETTLE_MARK || !published->column)
		return true;
	good = adopt_table_read(conn, &again, err) &&
	       outbox_table_check(&again.outbox, shown, true, err);
	adopt_table_free(&again);
	return good;
}

/* The owner of the table may be another one. */
static bool may_add(const struct request *request, const struct adopt_table *table,
		    const struct adopt_plan *plan, const char *shown, struct error *err)
{
	return !request->adopt || request->print || !plan->numbers || table->facts.owned ||
	       error_set(err,
			 "the database numbers no column of table %s, so one has to be added, "
			 "which only the table's owner may do; give with --dsn the owner, or let "
			 "the owner run what --adopt --print writes, or have a bigint column "
			 "numbered by a sequence; if the owner allows none of that, copy events by "
			 "a trigger into an outbox of the relay's own",
			 shown);
}

/* Whether rows can be published by the ids that the database gives; of what may be wrong it warns.
 */
static bool has_order(PGconn *conn, const struct request *request, const struct adopt_table *table,
		      const struct adopt_plan *plan, const char *shown, struct error *err)
{
	char name[PGNAME_FULL_SIZE];
	const char *params[] = {name, plan->columns[ADOPT_ID]};
	struct sequence_finding finding;
	PGresult *result;

	if (!request->adopt || plan->numbers)
		return true;
	pgname_print(&table->facts.table, name);
	result =
	    pgsync_query(conn, "looking at the sequence of ids", sequence_question, 2, params, err);
	if (!result)
		return false;
	sequence_judge(result, &finding);
	PQclear(result);
	if (finding.state == SEQUENCE_SKIPS)
		fprintf(stderr, "adopting %s: %s; %s\n", shown, finding.what, finding.remedy);
	return finding.state != SEQUENCE_BREAKS ||
	       error_set(err, "column %s of table %s gives the order, but %s: %s",
			 plan->columns[ADOPT_ID], shown, finding.what, finding.remedy);
}

bool adoption_plan(PGconn *conn, const struct request *request, const struct adopt_table *table,
		   struct adoption *adoption, struct error *err)
{
	char shown[PGNAME_FULL_SIZE];

	pgname_show(&table->facts.table, shown);
	if (!fits(request, table, err) || !is_as_it_was(request, shown, err) ||
	    !is_condition(conn, table, "outbox.where", request->target.where, err) ||
	    (request->published_where &&
	     !is_condition(conn, table, "--published-where", request->published_where, err)))
		return false;
	if (request->adopt && request->order_by) {
		adoption->order = adopt_order_by(&table->facts, request->order_by, err);
		if (!adoption->order)
			return false;
	}
	adoption->plan.order = adoption->order;
	if (request->adopt && !adopt_plan(&table->facts, &request->columns, &adoption->plan, err))
		return false;
	return may_add(request, table, &adoption->plan, shown, err) &&
	       has_order(conn, request, table, &adoption->plan, shown, err) &&
	       find_published(conn, request, table, &adoption->plan, &adoption->published, err) &&
	       can_mark(conn, table, &adoption->published, shown, err);
}

bool adoption_judge(PGconn *conn, const struct request *request, const struct adopt_table *table,
		    struct error *err)
{
	struct pgname judged = table->facts.table;
	char name[PGNAME_FULL_SIZE], own[PGNAME_FULL_SIZE], *sql;
	bool good;

	if (*request->target.where == '\0')
		return true;
	pgname_print(&table->facts.table, name);
	snprintf(judged.table, sizeof(judged.table), "outbox_relay_judged_%" PRIu32,
		 table->facts.oid);
	pgname_print(&judged, own);
	sql = xasprintf("CREATE TABLE %s (LIKE %s);\n"
			"CREATE INDEX ON %s ((1)) WHERE (\n%s\n);\n"
			"DROP TABLE %s",
			own, name, own, request->target.where, own);
	good = pgsync_script(conn, "judging the condition", sql, err);
	free(sql);
	return good;
}

void adoption_free(struct adoption *adoption)
{
	adopt_published_free(&adoption->published);
	adopt_steps_free(&adoption->steps);
	free(adoption->order);
}
