/* SPDX-License-Identifier: ISC */
/*
 * test_routed.c - rows that a command has read, routed by the relay's rules, from results made by
 * hand
 */
#include "commands/routed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Of a row the columns that the route names, in the order of its templates; FIRST is another. */
enum { OTHER, FIRST, TYPE = FIRST, ID, SHARD, COLUMNS };

static char *headers[] = {(char[]){"kind=${kind}"}};

static const struct config config = {
    .outbox.columns =
	{
	    .aggregate_type = (char[]){"type"},
	    .aggregate_id = (char[]){"Id of it"},
	    .event_type = (char[]){"kind"},
	},
    .route =
	{
	    .topic = (char[]){"t.${aggregate_type}"},
	    .key = (char[]){"${type}-${aggregate_id}"},
	    .headers = {headers, 1},
	    .partition = (char[]){"shard"},
	},
};

static struct routed routed;
static PGresult *rows;

static int set_up(void **state)
{
	static char name[] = "x";
	PGresAttDesc columns[COLUMNS];

	(void)state;
	memset(columns, 0, sizeof(columns));
	for (int i = 0; i < COLUMNS; i++)
		columns[i].name = name;
	rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PQsetResultAttrs(rows, COLUMNS, columns);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	routed_free(&routed);
	PQclear(rows);
	return 0;
}

static void init(const struct route_rules *rules)
{
	struct error err;

	assert_true(routed_init(&routed, rules, &config.outbox.columns, &err));
}

static void init_all(void)
{
	const struct route_rules rules = routed_rules(&config);

	init(&rules);
}

static void put(int row, int column, const char *text)
{
	char copy[32] = "";

	strncpy(copy, text != NULL ? text : "", sizeof(copy) - 1);
	assert_true(PQsetvalue(rows, row, column, text != NULL ? copy : NULL,
			       text != NULL ? (int)strlen(text) : -1));
}

static void put_row(int row, const char *type, const char *id, const char *shard)
{
	put(row, OTHER, "other");
	put(row, TYPE, type);
	put(row, ID, id);
	if (routed.count > SHARD - FIRST)
		put(row, SHARD, shard);
}

static void is_text(struct slice bytes, const char *text)
{
	assert_true(slice_equal(bytes, slice_of(text)));
}

/* A part and its column's name are the same; what only headers name is not asked for. */
static void test_each_column_once(void **state)
{
	(void)state;
	init_all();
	assert_string_equal(routed.columns,
			    ", t.\"type\"::text, t.\"Id of it\"::text, t.\"shard\"::text");
	assert_int_equal(routed.count, COLUMNS - FIRST);
	assert_int_equal(routed_field("aggregate_id", &routed), ID - FIRST);
	assert_int_equal(routed_field("payload", &routed), -1);
	assert_int_equal(routed.count, COLUMNS - FIRST);
	assert_int_equal(routed_field("kind", &routed), COLUMNS - FIRST);
	assert_non_null(strstr(routed.columns, "\"shard\"::text, t.\"kind\"::text"));
}

static void test_is_routed(void **state)
{
	struct message message;

	(void)state;
	init_all();
	put_row(0, "order", "7", "3");
	put_row(1, "user", "", NULL);
	assert_true(routed_row(&routed, rows, 0, FIRST, &message));
	is_text(message.topic, "t.order");
	is_text(message.key, "order-7");
	assert_true(message.placed);
	assert_int_equal(message.partition, 3);
	assert_int_equal(message.header_count, 0);
	assert_true(routed_row(&routed, rows, 1, FIRST, &message));
	is_text(message.topic, "t.user");
	is_text(message.key, "user-");
	assert_false(message.placed);
}

/* The key may be told all the same, and orders. */
static void test_is_rejected(void **state)
{
	struct message message;

	(void)state;
	init_all();
	put_row(0, "no topic", "7", NULL);
	put_row(1, "order", NULL, NULL);
	put_row(2, "order", "7", "x");
	assert_false(routed_row(&routed, rows, 0, FIRST, &message));
	assert_null(message.topic.data);
	is_text(message.key, "no topic-7");
	assert_false(routed_row(&routed, rows, 1, FIRST, &message));
	assert_null(message.topic.data);
	assert_null(message.key.data);
	assert_false(routed_row(&routed, rows, 2, FIRST, &message));
	assert_null(message.topic.data);
	is_text(message.key, "order-7");
}

static void test_without_partition(void **state)
{
	struct route_rules rules = routed_rules(&config);
	struct message message;

	(void)state;
	rules.partition = NULL;
	init(&rules);
	assert_int_equal(routed.count, SHARD - FIRST);
	put_row(0, "order", "7", "x");
	assert_true(routed_row(&routed, rows, 0, FIRST, &message));
	is_text(message.topic, "t.order");
	assert_false(message.placed);
}

static void test_wrong_rules(void **state)
{
	struct route_rules rules = routed_rules(&config);
	struct error err;

	(void)state;
	rules.key = "${payload}";
	assert_false(routed_init(&routed, &rules, &config.outbox.columns, &err));
	assert_non_null(strstr(err.text, "payload"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_each_column_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_is_routed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_is_rejected, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_without_partition, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_wrong_rules, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
