/* SPDX-License-Identifier: ISC */
/*
 * test_converted.c - event ids and NULL keys as JSON converters have written them
 */
#include "commands/converted.h"
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void reads_id(const char *header, const char *expected)
{
	char *copy;
	struct slice id = converted_id(slice_of(header), &copy);

	assert_int_equal(id.len, strlen(expected));
	assert_memory_equal(id.data, expected, id.len);
	free(copy);
}

static void test_ids(void **state)
{
	(void)state;
	reads_id("a1", "a1");
	reads_id("", "");
	reads_id("\"a1\"", "a1");
	reads_id("\"\"", "");
	reads_id("\"a\\u0031\\\"\"", "a1\"");
	reads_id("7", "7");
	reads_id("{\"schema\":{\"type\":\"string\"},\"payload\":\"a1\"}", "a1");
	reads_id("{\"schema\":{\"type\":\"int64\"},\"payload\":7}", "7");
	reads_id("{broken", "{broken");
	reads_id("{\"payload\":null}", "{\"payload\":null}");
	reads_id("\"open", "\"open");
	reads_id("\"", "\"");
	reads_id("\"a\"b\"", "\"a\"b\"");
	reads_id("\"a\nb\"", "\"a\nb\""); /* no JSON: a line's end is to be escaped */
}

static void has_no_id(struct slice header)
{
	char *copy;

	assert_null(converted_id(header, &copy).data);
	assert_null(copy);
}

static void test_null(void **state)
{
	(void)state;
	has_no_id(SLICE_NULL);
	has_no_id(slice_of("null"));
	has_no_id(slice_of("{\"schema\":null,\"payload\":null}"));
	has_no_id(
	    slice_of("{\"schema\":{\"type\":\"string\",\"optional\":true},\"payload\":null}"));
	assert_true(converted_is_null(slice_of("null")));
	assert_false(converted_is_null(slice_of("\"null\"")));
	assert_false(converted_is_null(slice_of("")));
	assert_false(converted_is_null(SLICE_NULL));
	assert_false(converted_is_null(slice_of("{\"schema\":null,\"payload\":0}")));
	/* What may stand in a text that is no converter's. */
	assert_false(converted_is_null(slice_of("{\"schema\":1},\"payload\":null} ")));
}

static void test_which_keep_their_text(void **state)
{
	(void)state;
	assert_true(converted_keeps_text(ENCODE_JSON, FIELD_UUID));
	assert_true(converted_keeps_text(ENCODE_JSON_SCHEMA, FIELD_INT64));
	assert_true(converted_keeps_text(ENCODE_SIMPLE, FIELD_CHAR));
	assert_true(converted_keeps_text(ENCODE_SIMPLE, FIELD_DECIMAL));
	assert_false(converted_keeps_text(ENCODE_JSON, FIELD_DECIMAL));
	assert_false(converted_keeps_text(ENCODE_STRING, FIELD_TIMESTAMP));
	assert_true(converted_keeps_text(ENCODE_PLAIN, FIELD_TIMESTAMP));
	assert_true(converted_keeps_text(ENCODE_PLAIN, FIELD_DECIMAL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_null),
	    cmocka_unit_test(test_which_keep_their_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
