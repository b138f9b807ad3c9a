/* SPDX-License-Identifier: ISC */
/*
 * test_adopt.c - what becomes of tables that other people have made
 */
#include "commands/adopt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char names[ADOPT_ROLES][PGNAME_SIZE] = {"id",	       "event_id",   "aggregate_type",
					       "aggregate_id", "event_type", "payload",
					       "headers",      "created_at"};
static const struct config_columns standard = {names[0], names[1], names[2], names[3],
					       names[4], names[5], names[6], names[7]};

/* As many teams have it: a uuid key and a time, no ascending number. */
static struct adopt_column app[] = {
    {"id", "uuid", true, false, false},
    {"aggregate_type", "varchar", false, false, false},
    {"aggregate_id", "varchar", false, false, false},
    {"type", "text", false, false, false},
    {"payload", "jsonb", false, false, false},
    {"created_at", "timestamptz", false, false, false},
};

static struct adopt_column ours[] = {
    {"id", "int8", true, true, true},
    {"event_id", "uuid", false, false, false},
    {"aggregate_type", "text", false, false, false},
    {"aggregate_id", "text", false, false, false},
    {"event_type", "text", false, false, false},
    {"payload", "jsonb", false, false, false},
    {"headers", "jsonb", false, false, false},
    {"created_at", "timestamptz", false, false, false},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct adopt_facts facts_of(struct adopt_column *columns, size_t count)
{
	struct adopt_facts facts = {{"public", "app_outbox"}, count, columns};

	return facts;
}

static void test_uuid_table(void **state)
{
	struct adopt_facts facts = facts_of(app, COUNT(app));
	struct adopt_plan plan;
	struct error err;
	char *config;

	(void)state;
	assert_true(adopt_plan(&facts, &standard, &plan, &err));
	assert_true(plan.numbers);
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
	assert_string_equal(plan.columns[ADOPT_EVENT_ID], "id");
	assert_string_equal(plan.columns[ADOPT_EVENT_TYPE], "type");
	assert_string_equal(plan.columns[ADOPT_HEADERS], "");
	assert_non_null(
	    strstr(plan.sql, "LOCK TABLE \"public\".\"app_outbox\" IN ACCESS EXCLUSIVE"));
	assert_non_null(strstr(plan.sql, "ORDER BY \"created_at\", \"id\""));
	config = adopt_config(&facts, &plan, true);
	assert_non_null(strstr(config, "table = \"app_outbox\";"));
	assert_non_null(strstr(config, "id = \"relay_id\";"));
	assert_non_null(strstr(config, "event_id = \"id\";"));
	assert_non_null(strstr(config, "headers = \"\";"));
	assert_non_null(strstr(config, "settle = \"mark\";"));
	free(config);
	adopt_plan_free(&plan);
}

/* Adopting twice changes nothing the second time. */
static void test_again(void **state)
{
	struct adopt_column columns[COUNT(app) + 1];
	struct adopt_column number = {"relay_id", "int8", true, true, true};
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;
	struct error err;

	(void)state;
	memcpy(columns, app, sizeof(app));
	columns[COUNT(app)] = number;
	assert_true(adopt_plan(&facts, &standard, &plan, &err));
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
	assert_string_equal(plan.columns[ADOPT_EVENT_ID], "id");
	assert_false(plan.numbers);
	assert_string_equal(plan.sql, "");
	adopt_plan_free(&plan);
}

static void test_standard_table(void **state)
{
	struct adopt_facts facts = facts_of(ours, COUNT(ours));
	struct adopt_plan plan;
	struct error err;
	int role;

	(void)state;
	assert_true(adopt_plan(&facts, &standard, &plan, &err));
	assert_string_equal(plan.sql, "");
	for (role = 0; role < ADOPT_ROLES; role++)
		assert_string_equal(plan.columns[role],
				    adopt_configured(&standard, (enum adopt_role)role));
	adopt_plan_free(&plan);
}

/* A number that the application gives says nothing about order. */
static void test_application_numbers(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;
	struct error err;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	columns[0].identity = columns[0].from_sequence = false;
	assert_true(adopt_plan(&facts, &standard, &plan, &err));
	assert_string_equal(plan.columns[ADOPT_ID], "relay_id");
	assert_true(plan.numbers);
	adopt_plan_free(&plan);
}

/* A configured name that no column has is the name of the column to add. */
static void test_configured_new_id(void **state)
{
	struct adopt_facts facts = facts_of(app, COUNT(app));
	struct config_columns wanted = standard;
	struct adopt_plan plan;
	struct error err;
	char name[] = "Seq \"no\"";

	(void)state;
	wanted.id = name;
	assert_true(adopt_plan(&facts, &wanted, &plan, &err));
	assert_string_equal(plan.columns[ADOPT_ID], name);
	assert_non_null(strstr(plan.sql, "ADD COLUMN \"Seq \"\"no\"\"\" bigint"));
	assert_non_null(strstr(plan.sql, "'Seq \"no\"'"));
	adopt_plan_free(&plan);
}

static void test_no_event_id(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;
	struct error err;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[1].name, "something");
	assert_true(adopt_plan(&facts, &standard, &plan, &err));
	assert_false(plan.numbers);
	assert_non_null(strstr(plan.sql, "ADD COLUMN \"event_id\" uuid NOT NULL DEFAULT"));
	adopt_plan_free(&plan);
}

static void test_missing_or_wrong(void **state)
{
	struct adopt_column columns[COUNT(ours)];
	struct adopt_facts facts = facts_of(columns, COUNT(columns));
	struct adopt_plan plan;
	struct error err;

	(void)state;
	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[3].type, "point");
	assert_false(adopt_plan(&facts, &standard, &plan, &err));
	assert_non_null(strstr(err.text, "outbox.columns.aggregate_id"));

	memcpy(columns, ours, sizeof(ours));
	strcpy(columns[5].name, "body");
	assert_false(adopt_plan(&facts, &standard, &plan, &err));
	assert_non_null(strstr(err.text, "outbox.columns.payload"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_uuid_table),	      cmocka_unit_test(test_again),
	    cmocka_unit_test(test_standard_table),    cmocka_unit_test(test_application_numbers),
	    cmocka_unit_test(test_configured_new_id), cmocka_unit_test(test_no_event_id),
	    cmocka_unit_test(test_missing_or_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
