/* SPDX-License-Identifier: ISC */
/*
 * test_text.c - text is cut between two characters
 */
#include "base/error.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* Of one to four bytes. */
#define CHARACTERS "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"

static void assert_whole(const char *text)
{
	for (size_t len; *text != '\0'; text += len) {
		len = text_character(text, 4);
		assert_true(len > 0);
	}
}

static void test_every_size(void **state)
{
	/* By the size of the room: how much of it is whole. */
	static const size_t whole[] = {0, 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};
	char text[sizeof(whole) / sizeof(whole[0])];

	(void)state;
	for (size_t size = 1; size < sizeof(text) + 1 && size < 12; size++) {
		text_print(text, size, "%s", CHARACTERS);
		assert_int_equal(strlen(text), whole[size]);
		assert_memory_equal(text, CHARACTERS, whole[size]);
	}
}

static void test_what_is_no_utf8_is_left(void **state)
{
	char text[8];

	(void)state;
	text_print(text, sizeof(text), "%s", "\xa9\xa9\xa9\xa9\xa9\xa9\xa9\xa9\xa9");
	assert_string_equal(text, "\xa9\xa9\xa9\xa9\xa9\xa9\xa9");
	text_print(text, sizeof(text), "%s", "abcd\xc3");
	assert_string_equal(text, "abcd\xc3");
}

static void test_an_errors_words(void **state)
{
	struct error err;
	char words[sizeof(err.text) * 2] = "";

	(void)state;
	while (strlen(words) < sizeof(err.text) + 8)
		strcat(words, CHARACTERS);
	for (int shift = 0; shift < 10; shift++) {
		error_set(&err, "%.*s%s", shift, "----------", words);
		assert_true(strlen(err.text) > sizeof(err.text) - 5);
		assert_whole(err.text);
	}
}

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
	    cmocka_unit_test(test_every_size),
	    cmocka_unit_test(test_what_is_no_utf8_is_left),
	    cmocka_unit_test(test_an_errors_words),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
