/* SPDX-License-Identifier: ISC */
/*
 * test_properties.c - files as java.util.Properties reads them
 */
#include "../fuzz/fuzz_properties.c" /* NOLINT(bugprone-suspicious-include): its check is replayed */
#include "../fuzz/replay.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void append(const char *key, const char *value, void *arg)
{
	xappend(arg, "<%s>[%s]", key, value);
}

static void assert_read(const char *text, const char *expected)
{
	char *all = xstrdup("");
	struct error err = {""};
	bool right = properties_read(text, append, &all, &err);

	assert_string_equal(err.text, "");
	assert_true(right);
	assert_string_equal(all, expected);
	free(all);
}

static void assert_refused(const char *text, const char *words)
{
	char *all = xstrdup("");
	struct error err = {""};

	assert_false(properties_read(text, append, &all, &err));
	assert_string_equal(err.text, words);
	free(all);
}

static void test_entries(void **state)
{
	(void)state;
	assert_read("", "");
	assert_read("a=1\nb:2\rc 3\r\nd = 4\n", "<a>[1]<b>[2]<c>[3]<d>[4]");
	assert_read("  a\t:\f1  \n", "<a>[1  ]");
	assert_read("a", "<a>[]");
	assert_read("a==b", "<a>[=b]");
	assert_read("a = : b", "<a>[: b]");
	assert_read("a b = c", "<a>[b = c]");
	assert_read("=x\n:y\n", "<>[x]<>[y]");
	assert_read("a=1\na=2", "<a>[1]<a>[2]");
}

/* A comment goes to the end of its line, whatever that ends with. */
static void test_comments(void **state)
{
	(void)state;
	assert_read("# a=1\\\n! b=2\n  # c\n\n \t\nd=4#no", "<d>[4#no]");
	assert_read("a=1\\\n# 2", "<a>[1# 2]");
}

static void test_joined_lines(void **state)
{
	(void)state;
	assert_read("fruits   apple, banana, \\\n         pear, \\\r\n\tmelon",
		    "<fruits>[apple, banana, pear, melon]");
	assert_read("a\\\nb=1", "<ab>[1]");
	assert_read("a=1\\\\\nb=2", "<a>[1\\]<b>[2]");
	assert_read("a=1\\\\\\\nb=2", "<a>[1\\b=2]");
	assert_read("a=1\\\n\nb=2", "<a>[1]<b>[2]");
	assert_read("a=1\\", "<a>[1]");
	assert_read("\\\na=1", "<a>[1]");
	assert_read("\\", "");
}

static void test_escapes(void **state)
{
	(void)state;
	assert_read("a\\ b\\:\\=c=\\t\\n\\r\\f\\x\\\"\\\\", "<a b:=c>[\t\n\r\fx\"\\]");
	assert_read("a=\\\\${routedByValue}", "<a>[\\${routedByValue}]");
	assert_read("\\u0061=\\u00e4\\u20AC\\uD83D\\uDe00", "<a>[\u00e4\u20ac\U0001F600]");
}

/* Half a character has no UTF-8; Java writes "?" instead of it. */
static void test_half_pairs(void **state)
{
	(void)state;
	assert_read("a=\\ud83d\nb=\\ude00\nc=\\ud83d\\u0041", "<a>[\ufffd]<b>[\ufffd]<c>[\ufffdA]");
}

static void test_refused(void **state)
{
	(void)state;
	assert_refused("a=1\n\nb=\\u12g4", "line 3 has a \\u that no four hexadecimal digits of a "
					   "character follow");
	assert_refused("a\\\nb=\\u00", "line 1 has a \\u that no four hexadecimal digits of a "
				       "character follow");
	assert_refused("a=\\u0000", "line 1 has a \\u that no four hexadecimal digits of a "
				    "character follow");
	assert_refused("a=1\nb=\xff", "line 2 is no UTF-8; save the file in that");
}

static void test_latin1(void **state)
{
	char *utf8 = properties_from_latin1("a=gr\xf6\xdf"
					    "e\\u20ac");

	(void)state;
	assert_read(utf8, "<a>[gr\u00f6\u00dfe\u20ac]");
	free(utf8);
}

static void test_corpus(void **state)
{
	(void)state;
	assert_true(replay_corpus("properties") >= 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_entries),	 cmocka_unit_test(test_comments),
	    cmocka_unit_test(test_joined_lines), cmocka_unit_test(test_escapes),
	    cmocka_unit_test(test_half_pairs),	 cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_latin1),	 cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
