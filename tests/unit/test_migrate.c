/* SPDX-License-Identifier: ISC */
/*
 * test_migrate.c - variables in the scripts are replaced where psql replaces them, and nowhere else
 */
#include "config.h"
#include "outbox/migrations.h"
#include "outbox/sql_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct migrate_target odd = {.outbox = {"S x", "it's \"T\""},
					  .id = "Id",
					  .event_id = "Event",
					  .settle = SETTLE_MARK,
					  .published = "Sent",
					  .published_value = "it's",
					  .pending_value = "",
					  .where = "a = ':b'",
					  .partitions = "7"};

static void fills(const char *text, const char *expected)
{
	struct error err;
	char *out = migrate_fill(text, &odd, &err);

	assert_non_null(out);
	assert_string_equal(out, expected);
	free(out);
}

static void test_variables(void **state)
{
	(void)state;
	fills("", "");
	fills(":\"outbox_published\", :'outbox_published_value', :'outbox_pending_value'",
	      "\"Sent\", 'it''s', ''");
	fills(":'outbox_where'", "'a = '':b'''");
	fills(":\"outbox_schema\".:\"outbox_table\"", "\"S x\".\"it's \"\"T\"\"\"");
	fills("f(:'outbox_table', :'settle')", "f('it''s \"T\"', 'mark')");
	fills(":\"outbox_id\"", "\"Id\"");
}

static void test_left_alone(void **state)
{
	static const char *const texts[] = {
	    "'x'::text",
	    "a := 1",
	    "':\"settle\"'",
	    "'it''s :\"settle\"'",
	    "\":'settle'\"",
	    "-- :'settle'\n",
	    "-- no end of line :'settle'",
	    "/* :'settle' */",
	    "$$ :'settle' $$",
	    "$do$ $$ :'settle' $$ $do$",
	    "a[1::int]",
	    ":settle",
	    "$1",
	    ":\"no end",
	    "unended '",
	    "unended $$ :'settle'",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		fills(texts[i], texts[i]);
	fills("-- it's\n:'settle'", "-- it's\n'mark'");
	fills("$$ ' $$ :'settle'", "$$ ' $$ 'mark'");
	fills("a$b$:'settle'", "a$b$'mark'");
}

static void test_unknown_variable(void **state)
{
	struct error err;

	(void)state;
	assert_null(migrate_fill("SELECT :'nobody'", &odd, &err));
	assert_non_null(strstr(err.text, ":'nobody'"));
}

static void test_numbers(void **state)
{
	(void)state;
	assert_int_equal(migrate_number("0003_bell.sql"), 3);
	assert_int_equal(migrate_number("0010_x.sql"), 10);
	assert_int_equal(migrate_number("uninstall.sql"), 0);
}

/* Every migration records its own number, the numbers have no gap, and all variables are known. */
static void test_embedded_files(void **state)
{
	const struct sql_file *file;
	struct error err;
	char wanted[128];
	int number = 0;
	char *filled;

	(void)state;
	for (file = sql_files; file->name; file++) {
		filled = migrate_fill(file->text, &odd, &err);
		assert_non_null(filled);
		free(filled);
		if (migrate_number(file->name) == 0)
			continue;
		assert_int_equal(migrate_number(file->name), ++number);
		snprintf(wanted, sizeof(wanted), "VALUES (%d, '%s') ON CONFLICT DO NOTHING", number,
			 file->name);
		assert_non_null(strstr(file->text, wanted));
	}
	assert_true(number >= 5);
	assert_int_equal(migrate_latest(), number);
}

static void assert_first(const char *text, const char *first, const char *second)
{
	assert_non_null(strstr(text, first));
	assert_non_null(strstr(text, second));
	assert_true(strstr(text, first) < strstr(text, second));
}

/* No name is looked up before search_path is set, or after it is as it was. */
static void assert_within_begin_and_end(const char *out)
{
	const char *end = strstr(out, "current_setting('outbox_relay.search_path')");

	assert_first(out, "set_config('outbox_relay.search_path', pg_catalog.current_setting(",
		     "SET search_path = pg_catalog, pg_temp;");
	assert_first(out, "SET search_path = pg_catalog, pg_temp;", "DO $$");
	assert_non_null(end);
	assert_null(strstr(end, "DO $$"));
	assert_null(strstr(end + 1, "SELECT"));
}

/* The printed script is for any tool: no psql variables or commands may be left in it. */
static void test_print(void **state)
{
	struct error err;
	char *out = migrate_print(&odd, "SELECT 'before';\n", &err);
	char *line;

	(void)state;
	assert_non_null(out);
	assert_non_null(strstr(out, "SELECT 'before'"));
	assert_within_begin_and_end(out);
	assert_null(strstr(out, ":'settle'"));
	assert_null(strstr(out, ":\"outbox"));
	assert_non_null(strstr(out, "CREATE TABLE IF NOT EXISTS \"S x\".\"it's \"\"T\"\"\" ("));
	assert_null(strstr(out, "DROP SCHEMA"));
	for (line = out; line; line = strchr(line + 1, '\n'))
		assert_int_not_equal(line[line != out], '\\');
	free(out);

	out = migrate_print_uninstall(&odd, &err);
	assert_within_begin_and_end(out);
	assert_non_null(strstr(out, "DROP SCHEMA outbox_relay;"));
	assert_null(strstr(out, "CASCADE"));
	free(out);
}

/* What runs before the migrations, so it is none of them. */
static void test_partitions(void **state)
{
	struct error err;
	char *out = migrate_partitions(&odd, &err);

	(void)state;
	assert_non_null(out);
	assert_non_null(strstr(out, "set_config('outbox_relay.partitions', '7', false)"));
	assert_non_null(strstr(out, "CREATE TABLE IF NOT EXISTS \"S x\".\"it's \"\"T\"\"\" ("));
	assert_null(strstr(out, ":'"));
	assert_non_null(strstr(out, ") PARTITION BY "));
	free(out);
	assert_int_equal(migrate_number("partitions.sql"), 0);
	out = migrate_print(&odd, NULL, &err);
	assert_null(strstr(out, ") PARTITION BY "));
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_variables),	     cmocka_unit_test(test_left_alone),
	    cmocka_unit_test(test_unknown_variable), cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_embedded_files),   cmocka_unit_test(test_print),
	    cmocka_unit_test(test_partitions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
