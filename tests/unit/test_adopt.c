/* SPDX-License-Identifier: ISC */
/*
 * test_adopt.c - what becomes of tables that other people have made
 */
#include "commands/adopt.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char names[ADOPT_ROLES + 1][PGNAME_SIZE] = {"id",	   "event_id",	 "aggregate_type",
						   "aggregate_id", "event_type", "payload",
						   "headers",	   "created_at", "published_at"};
static const struct config_columns standard = {names[0], names[1], names[2], names[3], names[4],
					       names[5], names[6], names[7], names[8]};

/* As of most columns: no key, nothing by itself. */
#define COLUMN(name, type, category)                                                               \
	{                                                                                          \
		name, type, false, false, false, category, false, false, false, NULL               \
	}
#define KEY(name, type, category)                                                                  \
	{                                                                                          \
		name, type, true, false, false, category, true, true, false, NULL                  \
	}
#define NUMBER(name)                                                                               \
	{                                                                                          \
		name, "int8", true, true, true, 'N', true, true, false, NULL                       \
	}

/* As many teams have it: a uuid key and a time, no ascending number. */
static struct adopt_column app[] = {
    KEY("id", "uuid", 'U'),
    COLUMN("aggregate_type", "varchar", 'S'),
    COLUMN("aggregate_id", "varchar", 'S'),
    COLUMN("type", "text", 'S'),
    COLUMN("payload", "jsonb", 'U'),
    COLUMN("created_at", "timestamptz", 'D'),
};

static struct adopt_column ours[] = {
    NUMBER("id"),
    COLUMN("event_id", "uuid", 'U'),
    COLUMN("aggregate_type", "text", 'S'),
    COLUMN("aggregate_id", "text", 'S'),
    COLUMN("event_type", "text", 'S'),
    COLUMN("payload", "jsonb", 'U'),
    COLUMN("headers", "jsonb", 'U'),
    COLUMN("created_at", "timestamptz", 'D'),
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct adopt_facts facts_of(struct adopt_column *columns, size_t count)
{
	return (struct adopt_facts){.table = {"public", "app_outbox"},
				    .count = count,
				    .columns = columns,
				    .oid = 4711,
				    .leaves = "",
				    .key = "id"};
}

static struct adopt_plan plan_of(const struct adopt_facts *facts,
				 const struct config_columns *wanted)
{
	struct adopt_plan plan = {.order = NULL};
	struct error err;

	assert_true(adopt_plan(facts, wanted, &plan, &err));
	return plan;
}

/* All steps' SQL, one after the other. */
static char *steps_of(const struct adopt_facts *facts, const struct adopt_plan *plan)
{
	const struct adopt_published published = {.settle = SETTLE_DELETE};
	struct adopt_steps steps;
	char *sql = xstrdup("");

	adopt_steps_make(facts, plan, &published, &steps);
	for (size_t i = 0; i < steps.count; i++)
		xappend(&sql, "%s", steps.items[i].sql);
	adopt_steps_free(&steps);
	return sql;
}

static void test_uuid_table(void **state)
{
	struct adopt_facts facts = facts_of(app, COUNT(app));
	struct adopt_plan plan = plan_of(&facts, &standard);
	struct adopt_published published = {.settle = SETTLE_MARK};
	char *text;

	(void)state;
	assert_true(plan.numbers);
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
	assert_string_equal(plan.columns[ADOPT_EVENT_ID], "id");
	assert_string_equal(plan.columns[ADOPT_EVENT_TYPE], "type");
	assert_string_equal(plan.columns[ADOPT_HEADERS], "");
	text = steps_of(&facts, &plan);
	assert_non_null(strstr(
	    text, "ORDER BY t.\"created_at\", age(t.xmin) DESC, t.cmin::text::bigint, t.ctid"));
	assert_non_null(strstr(text, "t.\"id\" = o.\"id\""));
	assert_non_null(strstr(text, "CREATE UNIQUE INDEX CONCURRENTLY"));
	free(text);
	text = adopt_config(&facts, &plan, &published, NULL, NULL);
	assert_non_null(strstr(text, "table = \"app_outbox\";"));
	assert_non_null(strstr(text, "id = \"relay_id\";"));
	assert_non_null(strstr(text, "event_id = \"id\";"));
	assert_non_null(strstr(text, "headers = \"\";"));
	assert_non_null(strstr(text, "settle = \"mark\";"));
	assert_null(strstr(text, "route"));
	free(text);
}

/* Adopting twice changes nothing the second time. */
static void test_again(void **state)
{
	struct adopt_column columns[COUNT(app) + 1];
	struct adopt_column number = NUMBER("relay_id");
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;
	char *steps;

	(void)state;
	memcpy(columns, app, sizeof(app));
	columns[COUNT(app)] = number;
	plan = plan_of(&facts, &standard);
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
	assert_string_equal(plan.columns[ADOPT_EVENT_ID], "id");
	assert_false(plan.numbers);
	steps = steps_of(&facts, &plan);
	assert_string_equal(steps, "");
	free(steps);
	columns[COUNT(app)].unfinished = true;
	plan = plan_of(&facts, &standard);
	assert_true(plan.numbers);
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
}

static void test_standard_table(void **state)
{
	struct adopt_facts facts = facts_of(ours, COUNT(ours));
	struct adopt_plan plan = plan_of(&facts, &standard);

	(void)state;
	assert_false(plan.numbers || plan.indexes);
	for (int role = 0; role < ADOPT_ROLES; role++)
		assert_string_equal(plan.columns[role],
				    adopt_configured(&standard, (enum adopt_role)role));
}

/* A number that the application gives says nothing about order; one that the database gives does,
 * whatever it is called. */
static void test_application_numbers(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	columns[0].identity = columns[0].from_sequence = false;
	plan = plan_of(&facts, &standard);
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
	assert_true(plan.numbers);
	columns[6] = columns[0];
	strcpy(columns[6].name, "place");
	columns[6].from_sequence = true;
	columns[6].indexed = false;
	plan = plan_of(&facts, &standard);
	assert_string_equal(plan.columns[ADOPT_ID], "place");
	assert_true(!plan.numbers && plan.indexes);
}

/* A configured name that no column has is the name of the column to add. */
static void test_configured_new_id(void **state)
{
	struct adopt_facts facts = facts_of(app, COUNT(app));
	struct config_columns wanted = standard;
	struct adopt_plan plan;
	char name[] = "Seq \"no\"", *steps;

	(void)state;
	wanted.id = name;
	plan = plan_of(&facts, &wanted);
	assert_string_equal(plan.columns[ADOPT_ID], name);
	steps = steps_of(&facts, &plan);
	assert_non_null(strstr(steps, "ADD COLUMN \"Seq \"\"no\"\"\" bigint"));
	assert_non_null(strstr(steps, "'Seq \"no\"'"));
	free(steps);
}

static void test_no_event_id(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[1].name, "something");
	plan = plan_of(&facts, &standard);
	assert_false(plan.numbers);
	assert_string_equal(plan.columns[ADOPT_EVENT_ID], "id");
}

static void test_what_may_be_missing(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_published published = {.settle = SETTLE_DELETE};
	struct adopt_plan plan;
	char *text;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[2].name, "nothing");
	strcpy(columns[4].name, "nothing_else");
	plan = plan_of(&facts, &standard);
	assert_string_equal(plan.columns[ADOPT_AGGREGATE_TYPE], "");
	assert_string_equal(plan.columns[ADOPT_EVENT_TYPE], "");
	text = adopt_config(&facts, &plan, &published, NULL, NULL);
	assert_non_null(strstr(text, "topic = \"events.app_outbox\";"));
	assert_non_null(strstr(text, "headers = ( \"id=${event_id}\" );"));
	free(text);
}

/* What the file says stays, but for what the table lacks. */
static void test_a_file_with_a_route(void **state)
{
	char topic[] = "outbox.event.${aggregate_type}", key[] = "${aggregate_id}",
	     id[] = "id=${event_id}", type[] = "eventType=${event_type}";
	char *headers[] = {id, type};
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_published published = {.settle = SETTLE_DELETE};
	struct config config = {
	    .route = {.topic = topic, .key = key, .headers = {.items = headers, .count = 1}}};
	struct adopt_plan plan;
	char *text;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[4].name, "nothing_else");
	plan = plan_of(&facts, &standard);
	text = adopt_config(&facts, &plan, &published, NULL, &config);
	assert_null(strstr(text, "route"));
	free(text);
	config.route.headers.count = 2;
	text = adopt_config(&facts, &plan, &published, NULL, &config);
	assert_non_null(strstr(text, "topic = \"outbox.event.${aggregate_type}\";"));
	assert_non_null(strstr(text, "key = \"${aggregate_id}\";"));
	assert_non_null(strstr(text, "headers = ( \"id=${event_id}\" );"));
	free(text);
}

static void test_missing_or_wrong(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan = {.order = NULL};
	struct error err;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[3].type, "point");
	columns[3].category = 'G';
	assert_false(adopt_plan(&facts, &standard, &plan, &err));
	assert_non_null(strstr(err.text, "outbox.columns.aggregate_id"));

	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[5].name, "nothing");
	assert_false(adopt_plan(&facts, &standard, &plan, &err));
	assert_non_null(strstr(err.text, "outbox.columns.payload"));
}

static void test_order_by(void **state)
{
	struct adopt_facts facts = facts_of(app, COUNT(app));
	struct error err;
	char *sql = adopt_order_by(&facts, " created_at DESC , \"id\",payload asc", &err);

	(void)state;
	assert_string_equal(sql, "t.\"created_at\" DESC, t.\"id\", t.\"payload\"");
	free(sql);
	assert_null(adopt_order_by(&facts, "id; DROP TABLE x", &err));
	assert_null(adopt_order_by(&facts, "id,,payload", &err));
	assert_null(adopt_order_by(&facts, "", &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_uuid_table),		cmocka_unit_test(test_again),
	    cmocka_unit_test(test_standard_table),	cmocka_unit_test(test_application_numbers),
	    cmocka_unit_test(test_configured_new_id),	cmocka_unit_test(test_no_event_id),
	    cmocka_unit_test(test_missing_or_wrong),	cmocka_unit_test(test_what_may_be_missing),
	    cmocka_unit_test(test_a_file_with_a_route), cmocka_unit_test(test_order_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
