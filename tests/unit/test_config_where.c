/* SPDX-License-Identifier: ISC */
/*
 * test_config_where.c - what cannot be outbox.where whatever the table is, and which functions it
 * names
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void refused(const char *text, const char *why)
{
	struct error err;

	assert_false(config_where_check(text, &err));
	assert_non_null(strstr(err.text, why));
}

static void test_refused(void **state)
{
	(void)state;
	refused("", "nothing but blanks");
	refused(" -- a\n /* b */ ", "nothing but blanks");
	refused("a = 1; b", "a semicolon");
	refused("a) OR (b", "closes a parenthesis");
	refused("((a)", "does not close a parenthesis");
	refused("a = 'b", "a quote does not end");
	refused("a = E'b\\'", "a quote does not end");
	refused("\"a", "a quote does not end");
	refused("a /* b /* c */", "a comment does not end");
	refused("a = $x$b", "a text in dollars does not end");
	refused("a = $1", "no parameters");
	refused("a < CURRENT_TIMESTAMP", "changes by itself");
	refused("a = User", "changes by itself");
	refused("a < 'Now'", "a moment");
}

static void test_taken(void **state)
{
	static const char *const texts[] = {"a = 1",
					    "a = ');' AND b",
					    "(a = E'\\');') AND (b)",
					    "\"current_user\"",
					    "a = $x$ ; ) $y$ $x$",
					    "a -- ) ;\n AND b",
					    "a /* ) ; /* ( */ */",
					    "a = 'it''s'",
					    "a$1 = 1",
					    "\"a\"\");\" = 1"};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_true(config_where_check(texts[i], &err));
}

static void names(const char *text, const char *expected)
{
	char *found = config_where_functions(text);

	assert_string_equal(found, expected);
	free(found);
}

static void test_functions(void **state)
{
	(void)state;
	names("a = 1", "");
	names("Lower(a) = 'random()' AND pg_catalog . random() > 1", "lower\x1frandom");
	names("\"Odd \"\"f\"(a) AND now /* */ ()", "Odd \"f\x1fnow");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_taken),
	    cmocka_unit_test(test_functions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
