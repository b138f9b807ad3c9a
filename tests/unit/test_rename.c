/* SPDX-License-Identifier: ISC */
/*
 * test_rename.c - names by a regular expression, as Java's Matcher gives them
 */
#include "core/rename.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct rename *made(const char *regex, const char *replacement)
{
	struct error err;
	struct rename *rename = rename_new(regex, replacement, &err);

	if (rename == NULL)
		fail_msg("%s", err.text);
	return rename;
}

/* What jshell prints for "name".matches(regex) ? name.replaceFirst(regex, replacement) : name. */
static void test_as_java_does(void **state)
{
	static const struct {
		const char *regex, *replacement, *name, *expected; /* NULL: it does not match */
	} cases[] = {
	    {"(?<routedByValue>.*)", "outbox.event.${routedByValue}", "order",
	     "outbox.event.order"},
	    {"(?<routedByValue>.*)", "outbox.event.${routedByValue}", "", "outbox.event."},
	    {"([a-z]+)\\.(?<ev>[A-Z].*)", "x.$1.${ev}", "order.Created", "x.order.Created"},
	    {"([a-z]+)\\.(?<ev>[A-Z].*)", "x.$1.${ev}", "Order.Created", NULL},
	    {"b+", "x", "abbc", NULL},
	    {"a|ab", "x", "ab", "xb"},
	    {"(a*?)", "<$1>", "aa", "<>aa"},
	    {"(a)|(b)", "[$1$2]", "b", "[b]"},
	    {"(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)", "$11$1", "abcdefghijk", "ka"},
	    {"(a)b", "$12", "ab", "a2"},
	    {"a", "\\$1\\\\x\\y", "a", "$1\\xy"},
	    {"a$", "b", "a", "b"},
	    {"\\w+", "x", "\xc3\xa9", NULL},
	    {".", "x", "\xc3\xa9", "x"},
	    {"(?i)ORDER", "x", "order", "x"},
	    {"[]a]+", "x", "a]", "x"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rename *rename = made(cases[i].regex, cases[i].replacement);
		char out[64] = "";
		size_t len = 0;
		enum renamed done =
		    rename_apply(rename, slice_of(cases[i].name), out, sizeof(out) - 1, &len);

		assert_int_equal(done, cases[i].expected != NULL ? RENAMED : RENAME_KEPT);
		if (cases[i].expected != NULL) {
			out[len] = '\0';
			assert_string_equal(out, cases[i].expected);
		}
		rename_free(&rename);
		assert_null(rename);
	}
}

static void test_limits(void **state)
{
	struct rename *slow = made("(a+)+", "y"), *one = made("(.*)", "$1$1");
	char text[64], out[8];
	size_t len;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '!';
	assert_int_equal(
	    rename_apply(slow, (struct slice){text, sizeof(text)}, out, sizeof(out), &len),
	    RENAME_GAVE_UP);
	assert_int_equal(rename_apply(one, slice_of("abcd"), out, sizeof(out), &len), RENAMED);
	assert_int_equal(len, 8);
	assert_int_equal(rename_apply(one, slice_of("abcde"), out, sizeof(out), &len),
			 RENAME_TOO_LONG);
	assert_int_equal(rename_apply(one, slice_of("\xff"), out, sizeof(out), &len),
			 RENAME_GAVE_UP);
	rename_free(&slow);
	rename_free(&one);
	rename_free(&one);
}

static void test_refused(void **state)
{
	static const struct {
		const char *regex, *replacement, *says;
	} cases[] = {
	    {"(", "x", "route.topic_regex \"(\" is wrong at byte 1: missing closing parenthesis"},
	    {"\\p{javaLowerCase}", "x", "is wrong at byte"},
	    {"[a-z&&[^b]]", "x", "has \"&&\" within a class"},
	    {"[a[bc]]", "x", "has \"[b\" within a class"},
	    {"a", "$", "has a lone \"$\"; write $1 or ${name}, or \"\\$\" for the character"},
	    {"a", "x\\", "has a lone \"\\\""},
	    {"a", "$x", "has a lone \"$\""},
	    {"a", "$1", "names the group \"1\", which route.topic_regex does not have"},
	    {"(?<b>a)", "${c}", "names the group \"c\""},
	    {"(?<b>a)", "${}", "names the group \"\""},
	    {"(?<b>a)", "${b", "has a \"${\" without \"}\""},
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(rename_new(cases[i].regex, cases[i].replacement, &err));
		if (strstr(err.text, cases[i].says) == NULL)
			fail_msg("%s", err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_as_java_does),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
