/* SPDX-License-Identifier: ISC */
/*
 * test_dlq.c - what an operator means becomes a condition; what was in an event becomes harmless
 */
#include "base/xalloc.h"
#include "commands/dlq_filter.h"
#include "commands/dlq_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_sql(struct dlq_filter *filter, const char *expected, const char *text,
		       size_t params)
{
	struct dlq_values given = {0};
	char age[DLQ_AGE_SIZE] = "", *sql = dlq_filter_sql(filter, 2, &given, age);
	char *shown = dlq_filter_text(filter);

	assert_string_equal(sql, expected);
	assert_string_equal(shown, text);
	assert_int_equal(given.count, params);
	if (filter->older)
		assert_string_equal(given.items[params - 1], age);
	free(given.items);
	free(shown);
	free(sql);
	dlq_filter_free(filter);
}

static void test_nothing_is_asked_for(void **state)
{
	struct dlq_filter filter = {0};

	(void)state;
	assert_false(dlq_filter_is_set(&filter));
	assert_sql(&filter, " AND d.held_for IS DISTINCT FROM 'topic'", "", 0);
	filter.all = true;
	assert_true(dlq_filter_is_set(&filter));
	assert_sql(&filter, " AND d.held_for IS DISTINCT FROM 'topic'", " --all", 0);
}

/* Of one kind any, of several kinds all; values are parameters, in the order of the text. */
static void test_kinds(void **state)
{
	struct dlq_filter filter = {.older = true, .older_ms = 90000};
	struct error err;

	(void)state;
	assert_true(dlq_take_value(&filter.values[DLQ_KEY], "it's", &err));
	assert_true(dlq_take_id(&filter.values[DLQ_ID], "5", &err));
	assert_true(dlq_take_id(&filter.values[DLQ_ID], "-7", &err));
	assert_true(dlq_filter_is_set(&filter));
	assert_sql(&filter,
		   " AND d.id IN ($2::bigint, $3::bigint) AND d.key IN ($4::text) AND d.dead_at < "
		   "clock_timestamp() - least($5::bigint, 3155760000000) * interval '1 ms'",
		   " --id 5 --id -7 --key it's --older-than 90s", 4);
}

static void test_the_other_kinds(void **state)
{
	struct dlq_filter filter = {0};
	struct error err;

	(void)state;
	assert_true(dlq_take_value(&filter.values[DLQ_REASON], "topic", &err));
	assert_true(dlq_take_value(&filter.values[DLQ_EVENT_ID], "e", &err));
	assert_true(dlq_take_value(&filter.values[DLQ_TOPIC], "a\nb", &err));
	assert_sql(
	    &filter,
	    " AND d.event_id IN (left($2::text, 600)) AND d.topic IN ($3::text) AND d.reason IN "
	    "($4::text)",
	    " --event-id e --topic a\\nb --reason topic", 3);
}

static void test_what_is_no_value(void **state)
{
	static const char *const bad[] = {"",	" 1", "\t1", "+1",
					  "1 ", "x",  "1.0", "9223372036854775808"};
	struct dlq_values values = {0};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(dlq_take_id(&values, bad[i], &err));
	assert_false(dlq_take_value(&values, "\xff", &err));
	assert_false(dlq_take_reason(&values, "to_large", &err));
	assert_string_equal(err.text,
			    "\"to_large\" is no reason; there are: too_large, unreadable, "
			    "topic, key, headers, invalid_record, policy_violation, encoding");
	assert_int_equal(values.count, 0);
	assert_true(dlq_take_reason(&values, "policy_violation", &err));
	assert_true(dlq_take_id(&values, "-9223372036854775808", &err));
	free(values.items);
}

static void assert_escaped(const char *bytes, size_t len, const char *expected)
{
	char *escaped = dlq_escape_bytes(bytes, len);

	assert_string_equal(escaped, expected);
	free(escaped);
}

static void test_escapes(void **state)
{
	(void)state;
	assert_escaped("", 0, "");
	assert_escaped("plain \xc3\xa4 \xf0\x9f\x98\x80", 13, "plain \xc3\xa4 \xf0\x9f\x98\x80");
	assert_escaped("a\nb\tc\rd", 7, "a\\nb\\tc\\rd");
	assert_escaped("\x1b[2J\0\x7f", 6, "\\x1b[2J\\x00\\x7f");
	assert_escaped("\xc2\x9b", 2, "\\x9b");		     /* C1: CSI */
	assert_escaped("\xff\xc3", 2, "\\xff\\xc3");	     /* no UTF-8, and the half of one */
	assert_escaped("\xe2\x80\xae", 3, "\\u{202e}");	     /* right-to-left override */
	assert_escaped("\xf3\xa0\x80\x81", 4, "\\u{e0001}"); /* a tag */
}

static void test_text_or_bytes(void **state)
{
	(void)state;
	assert_true(dlq_is_text("", 0));
	assert_true(dlq_is_text("\x1b\xc3\xa4", 3));
	assert_false(dlq_is_text("a\0b", 3));
	assert_false(dlq_is_text("\xc3", 1));
}

/* As wide as the widest, by characters; the last column is not padded. */
static void test_table(void **state)
{
	static const char *const cells[] = {"ID", "KEY", "ERROR",  "1",	     "\xc3\xa4\xc3\xa4",
					    "x",  "22",	 "abcdef", "long \n"};
	struct dlq_table table = {.columns = 3};
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		dlq_table_add(&table, i % 3 == 1 ? 5 : 100, cells[i]);
	text = dlq_table_draw(&table);
	assert_string_equal(text, "ID  KEY    ERROR\n"
				  "1   \xc3\xa4\xc3\xa4     x\n"
				  "22  ab...  long \\n\n");
	assert_int_equal(table.count, 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_is_asked_for),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_the_other_kinds),
	    cmocka_unit_test(test_what_is_no_value),
	    cmocka_unit_test(test_escapes),
	    cmocka_unit_test(test_text_or_bytes),
	    cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
