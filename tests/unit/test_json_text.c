/*
 * test_json_text.c - what is UTF-8 stays, and what is not is replaced byte for byte
 */
#include "base/json_text.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define R TEXT_REPLACEMENT

static void cleans(const char *text, const char *expected)
{
	char *clean = text_clean(text);
	json_t *json = json_text(text);

	assert_string_equal(clean, expected);
	assert_string_equal(json_string_value(json), expected);
	json_decref(json);
	free(clean);
}

static void test_clean(void **state)
{
	(void)state;
	cleans("", "");
	cleans("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x98",
	       "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x98");
	cleans("caf\xe9", "caf" R);
	cleans("\xff\xfe", R R);
	cleans("cut \xe2\x82", "cut " R R);
	cleans("\xc0\x80 \xed\xa0\x80", R R " " R R R);
}

static void test_null(void **state)
{
	json_t *json = json_text(NULL);

	(void)state;
	assert_true(json_is_null(json));
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
