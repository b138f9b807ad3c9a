/* SPDX-License-Identifier: ISC */
/*
 * test_pgname.c - names of tables as the configuration writes them, and as SQL must get them
 */
#include "base/pgname.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B63 "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc"

static void parses(const char *text, const char *schema, const char *table)
{
	struct pgname name;
	struct error err;

	assert_true(pgname_parse(text, &name, &err));
	assert_string_equal(name.schema, schema);
	assert_string_equal(name.table, table);
}

static void refuses(const char *text)
{
	struct pgname name;
	struct error err = {""};

	assert_false(pgname_parse(text, &name, &err));
	assert_non_null(strstr(err.text, text));
}

static void test_parse(void **state)
{
	(void)state;
	parses("outbox_events", "public", "outbox_events");
	parses("shop.Outbox_Events", "shop", "outbox_events");
	parses("\"Shop\".\"Out Box\"", "Shop", "Out Box");
	parses("shop.\"a.b\"", "shop", "a.b");
	parses("\"a\"\"b\"", "public", "a\"b");
	parses("t$1", "public", "t$1");
	parses("b\303\274cher", "public", "b\303\274cher");
	parses(B63 "." B63, B63, B63);
	parses("\"" B63 "\"", "public", B63);
}

static void test_refuse(void **state)
{
	(void)state;
	refuses("");
	refuses(".");
	refuses("a.");
	refuses(".b");
	refuses("a.b.c");
	refuses("\"a");
	refuses("\"\"");
	refuses("a b");
	refuses("a; DROP TABLE b");
	refuses("\"a\"b");
	refuses("1a");
	refuses(B63 "d");
	refuses("\"" B63 "d\"");
	refuses("a." B63 "d");
}

static void test_quote(void **state)
{
	struct pgname name = {"a\"; DROP", "T"};
	char all_quotes[PGNAME_SIZE];
	char out[PGNAME_FULL_SIZE];

	(void)state;
	pgname_print(&name, out);
	assert_string_equal(out, "\"a\"\"; DROP\".\"T\"");

	memset(all_quotes, '"', sizeof(all_quotes) - 1);
	all_quotes[sizeof(all_quotes) - 1] = '\0';
	strcpy(name.schema, all_quotes);
	strcpy(name.table, all_quotes);
	pgname_print(&name, out);
	assert_int_equal(strlen(out), 2 * (2 * 63 + 2) + 1);
	assert_true(strlen(out) < PGNAME_FULL_SIZE);
}

static void test_show_parses_back(void **state)
{
	static const char *const texts[] = {"outbox", "shop.outbox", "\"Shop\".\"a.b\"",
					    "public.\"1\"", "s.\"a\"\"b\""};
	struct pgname name, again;
	struct error err;
	char out[PGNAME_FULL_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_true(pgname_parse(texts[i], &name, &err));
		pgname_show(&name, out);
		assert_true(pgname_parse(out, &again, &err));
		assert_string_equal(name.schema, again.schema);
		assert_string_equal(name.table, again.table);
	}
	assert_true(pgname_parse("public.Plain", &name, &err));
	pgname_show(&name, out);
	assert_string_equal(out, "plain");
}

static void literal_is(const char *text, const char *expected)
{
	char *literal = pgname_literal(text);

	assert_string_equal(literal, expected);
	free(literal);
}

static void test_literal(void **state)
{
	(void)state;
	literal_is("", "''");
	literal_is("it's", "'it''s'");
	literal_is("a\\'b", " E'a\\\\''b'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),   cmocka_unit_test(test_refuse),
	    cmocka_unit_test(test_quote),   cmocka_unit_test(test_show_parses_back),
	    cmocka_unit_test(test_literal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
