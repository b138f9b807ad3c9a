/* SPDX-License-Identifier: ISC */
/*
 * test_sql_marks.c - the words that say which rows are events, and which are published
 */
#include "outbox/sql.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s) ((char *)(uintptr_t)(s))

static const struct config_columns names = {
    TEXT("id"),		  TEXT("event_id"),   TEXT("aggregate_type"),
    TEXT("aggregate_id"), TEXT("event_type"), TEXT("payload"),
    TEXT("headers"),	  TEXT("created_at"), TEXT("s")};
static const char *const fields[] = {"event_id"}, *const keys[] = {"aggregate_id"};
static struct outbox_column columns[] = {{.name = TEXT("payload"), .type = TYPE_JSONB},
					 {.name = TEXT("headers"), .type = TYPE_JSONB}};
static struct outbox_leaf leaf = {.table = TEXT("public.outbox"), .oid = 16385};

static struct outbox_shape shape_of(bool mark, const struct outbox_marks *marks, const char *where)
{
	struct outbox_shape shape = {.table = TEXT("public.outbox"),
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
				     .field_count = 1,
				     .mark = mark};

	outbox_words_make(&shape, marks, where);
	return shape;
}

static void has(char *sql, const char *const *words)
{
	for (; *words; words++)
		assert_non_null(strstr(sql, *words));
	free(sql);
}

static void lacks(char *sql, const char *words)
{
	assert_null(strstr(sql, words));
	free(sql);
}

static void test_events(void **state)
{
	static const struct outbox_marks none = {NULL, NULL, NULL, false};
	static const char *const claim[] = {
	    "AND coalesce((\na = 1 -- b\n), false)",
	    "AND CASE WHEN (\na = 1 -- b\n) THEN true ELSE false END FOR UPDATE", NULL};
	static const char *const counted[] = {"a = 1 -- b\n), false)", NULL};
	struct outbox_shape shape = shape_of(false, &none, "a = 1 -- b");

	(void)state;
	has(outbox_sql_claim(&shape, 0, false), claim);
	has(outbox_sql_gauges(&shape, 0), counted);
	has(outbox_sql_left(&shape, 0), counted);
	lacks(outbox_sql_settle(&shape, 0), "a = 1"); /* what was claimed is settled, whatever */
	outbox_words_free(&shape.words);
}

static void test_marks(void **state)
{
	static const struct outbox_marks marks = {"s = 'new'", "s = 'sent'", "'sent'", false};
	static const char *const claim[] = {" AND s = 'new' ", "SET \"s\" = 'sent'",
					    "CASE WHEN (s = 'sent') IS NOT TRUE THEN -1 ELSE ",
					    NULL};
	struct outbox_shape shape = shape_of(true, &marks, "");

	(void)state;
	has(outbox_sql_claim(&shape, 0, false), claim);
	lacks(outbox_sql_claim(&shape, 0, false), "published_at");
	lacks(outbox_sql_purge(&shape, 0, 1000), "DELETE"); /* nothing says when */
	outbox_words_free(&shape.words);
}

static void test_times(void **state)
{
	static const struct outbox_marks marks = {"s IS NULL", "s IS NOT NULL", "clock_timestamp()",
						  true};
	static const char *const claim[] = {" AND s IS NULL", "num_nulls(\"s\") = 1",
					    "SET \"s\" = clock_timestamp()",
					    "CASE WHEN s IS NULL THEN -1 ELSE ", NULL};
	static const char *const purge[] = {"t.\"s\" AS published_at", "s IS NOT NULL",
					    "t.\"s\" < clock_timestamp() + interval '1 day'", NULL};
	struct outbox_shape shape = shape_of(true, &marks, "");

	(void)state;
	has(outbox_sql_claim(&shape, 0, false), claim);
	has(outbox_sql_purge(&shape, 0, 1000), purge);
	outbox_words_free(&shape.words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_events),
	    cmocka_unit_test(test_marks),
	    cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
