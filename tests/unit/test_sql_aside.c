/* SPDX-License-Identifier: ISC */
/*
 * test_sql_aside.c - how claims go by letters
 */
#include "outbox/sql.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s) ((char *)(uintptr_t)(s))

static const struct config_columns names = {
    TEXT("id"),		  TEXT("event_id"),   TEXT("aggregate_type"),
    TEXT("aggregate_id"), TEXT("event_type"), TEXT("payload"),
    TEXT("headers"),	  TEXT("created_at"), TEXT("published_at")};
static const char *const fields[] = {"event_id"}, *const keys[] = {"aggregate_id"};
static struct outbox_column columns[] = {{.name = TEXT("payload"), .type = TYPE_JSONB},
					 {.name = TEXT("headers"), .type = TYPE_JSONB}};
static struct outbox_part part = {TEXT("public.outbox_1"), 16386};
static struct outbox_leaf leaf = {
    .table = TEXT("public.outbox"), .oid = 16385, .parts = &part, .part_count = 1};
static struct outbox_shape shape = {.table = TEXT("public.outbox"),
				    .oid = 16385,
				    .leaves = &leaf,
				    .leaf_count = 1,
				    .keys = keys,
				    .key_count = 1,
				    .withhold_bytes = 1000,
				    .columns = columns,
				    .column_count = 2,
				    .names = &names,
				    .fields = fields,
				    .field_count = 1};

/* It asks for letters itself, before it looks at a row, and once. */
static void plain_tests_itself(void)
{
	static const char none[] = " AND coalesce((SELECT true FROM outbox_relay.dead_letters ";
	char *sql = outbox_sql_claim_plain(&shape, 0);
	const char *first = strstr(sql, none);
	assert_non_null(first);
	assert_null(strstr(first + 1, none));
	assert_non_null(strstr(first, "d.held_for = 'key' LIMIT 1), (SELECT true FROM "));
	assert_non_null(strstr(first, "d.held_for = 'topic' LIMIT 1)) IS NULL "));
	assert_in_range(strstr(sql, " AS next") - first, 1, 400);
	assert_null(strstr(sql, "INSERT"));
	assert_null(strstr(sql, "aside"));
	free(sql);
}

static void test_a_plain_claim_takes_nothing_beside_letters(void **state)
{
	(void)state;
	plain_tests_itself();
	leaf.parted = true;
	plain_tests_itself();
	leaf.parted = false;
	shape.competing = true;
	plain_tests_itself();
	shape.competing = false;
}

/* The table is made of no more keys than a part of the rows; beyond that each row is looked up. */
static void test_rows_are_compared_with_a_bounded_table(void **state)
{
	static const char *const words[] = {
	    "parked_keys AS MATERIALIZED (WITH RECURSIVE ",
	    "d.key_hash > lane.member ORDER BY d.key_hash LIMIT 1)",
	    "LIMIT coalesce((SELECT cardinality(places) / 4 FROM taken), 0) + 1)",
	    "CASE WHEN (SELECT few FROM parked_keys) THEN keyed.key IN ",
	    "(SELECT unnest(members) FROM parked_keys) ELSE (SELECT true FROM ",
	    "AND d.key_hash = keyed.key LIMIT 1) END AS parked",
	    "AND d.topic = keyed.topic LIMIT 1) END AS waits"};
	(void)state;
	for (int parted = 0; parted < 2; parted++) {
		leaf.parted = parted;
		char *sql = outbox_sql_claim(&shape, 0, false);
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			assert_non_null(strstr(sql, words[i]));
		free(sql);
	}
	leaf.parted = false;
}

/* Any letter of the outbox counts, whoever owns its shard. */
static void test_what_tells_that_a_plain_claim_would_do(void **state)
{
	char *sql = outbox_sql_any_aside(&shape);
	(void)state;
	assert_string_equal(
	    sql, "SELECT coalesce((SELECT true FROM outbox_relay.dead_letters AS d WHERE d.outbox "
		 "= 16385::oid AND d.held_for = 'key' LIMIT 1), (SELECT true FROM "
		 "outbox_relay.dead_letters AS d WHERE d.outbox = 16385::oid AND d.held_for = "
		 "'topic' LIMIT 1), false)");
	free(sql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_plain_claim_takes_nothing_beside_letters),
	    cmocka_unit_test(test_rows_are_compared_with_a_bounded_table),
	    cmocka_unit_test(test_what_tells_that_a_plain_claim_would_do),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
