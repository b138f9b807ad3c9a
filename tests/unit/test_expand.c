/* SPDX-License-Identifier: ISC */
/*
 * test_expand.c - payloads as Debezium expands them, and what it makes of those that it cannot
 */
#include "../fuzz/fuzz_expand.c" /* NOLINT(bugprone-suspicious-include): its check is replayed */
#include "../fuzz/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct outcome {
	const char *text, *json; /* NULL: not expanded */
	enum expanded what;
};

static void check(const struct outcome *expected, const struct expand_options *options)
{
	struct arena arena = {0};
	struct buffer out = {0};
	const struct connect_schema *schema = NULL;
	struct connect_value value;
	struct error err;
	enum expanded what =
	    expand(&arena, options, slice_of(expected->text), &schema, &value, &err);

	if (what != expected->what)
		fail_msg("%s: %d", expected->text, (int)what);
	if (what == EXPANDED) {
		assert_true(connect_json(&out, schema, &value));
		buffer_byte(&out, '\0');
		assert_string_equal(out.data, expected->json);
	}
	buffer_free(&out);
	arena_free(&arena);
}

static const struct expand_options dropping = {.name = {"payload", 7}};
static const struct expand_options keeping = {
    .name = {"payload", 7}, .keeps_nulls = true, .keeps_empty_arrays = true};

static void test_as_debezium_does(void **state)
{
	static const struct outcome cases[] = {
	    {"{\"a\": 1, \"b\" : \"two\", \"c\": true, \"d\": 1.10}",
	     "{\"a\":1,\"b\":\"two\",\"c\":true,\"d\":1.1}", EXPANDED},
	    {"{\"a\": 2147483647, \"b\": 2147483648, \"c\": -9223372036854775808}",
	     "{\"a\":2147483647,\"b\":2147483648,\"c\":-9223372036854775808}", EXPANDED},
	    {"{\"a\":1e20,\"b\":-0.0,\"c\":1e400,\"d\":-0,\"e\":5e-324}",
	     "{\"a\":1.0E20,\"b\":-0.0,\"c\":\"Infinity\",\"d\":0,\"e\":4.9E-324}", EXPANDED},
	    {"{\"a\": 1} trailing", "{\"a\":1}", EXPANDED},
	    {"{\"dup\": 1, \"x\": 0, \"dup\": 2}", "{\"dup\":2,\"x\":0}", EXPANDED},
	    {"{\"n\": null, \"e\": [], \"k\": {}}", "{\"k\":{}}", EXPANDED},
	    {"{\"a\": [1, null, 3], \"b\": [[1], []]}", "{\"a\":[1,null,3],\"b\":[[1],[]]}",
	     EXPANDED},
	    {"{\"a\": [{\"b\": 1}, {\"c\": \"x\"}, {\"c\": \"y\", \"b\": 2}]}",
	     "{\"a\":[{\"b\":1,\"c\":null},{\"b\":null,\"c\":\"x\"},{\"b\":2,\"c\":\"y\"}]}",
	     EXPANDED},
	    {"{\"a\": [{\"o\": {\"p\": 1}}, {\"o\": {\"q\": 2}}]}",
	     "{\"a\":[{\"o\":{\"p\":1}},{\"o\":{\"p\":null}}]}", EXPANDED},
	    {"{\"a\": [null, {\"b\": 1}]}", "{\"a\":[null,{\"b\":1}]}", EXPANDED},
	    {"{\"\": null}", "{}", EXPANDED},
	    {"{\"\\u00e9\\ud83d\\ude00\": \"\\u0000\"}", "{\"\xc3\xa9\\uD83D\\uDE00\":\"\\u0000\"}",
	     EXPANDED},
	    /* Strings. */
	    {"", NULL, EXPAND_KEPT},
	    {" {}", NULL, EXPAND_KEPT},
	    {"\"s\"", NULL, EXPAND_KEPT},
	    {"{\"a\": 1", NULL, EXPAND_KEPT},
	    {"{'a': 1}", NULL, EXPAND_KEPT},
	    {"{\"a\": 1.}", NULL, EXPAND_KEPT},
	    {"{\"a\": True}", NULL, EXPAND_KEPT},
	    {"{\"a\": \"\t\"}", NULL, EXPAND_KEPT},
	    {"{/* */}", NULL, EXPAND_KEPT},
	    {"{\"a\": 01}", NULL, EXPAND_KEPT},
	    {"{\"a\": NaN}", NULL, EXPAND_KEPT},
	    {"{\"a\": 1,}", NULL, EXPAND_KEPT},
	    {"{\"a\": [1, \"x\"]}", NULL, EXPAND_KEPT},
	    {"{\"a\": [1, 2.5]}", NULL, EXPAND_KEPT},
	    {"{\"a\": [1, 2147483648]}", NULL, EXPAND_KEPT},
	    {"{\"a\": [1, 99999999999999999999]}", NULL, EXPAND_KEPT},
	    {"{\"a\": [null]}", NULL, EXPAND_KEPT},
	    {"{\"a\": [[], [1]]}", NULL, EXPAND_KEPT},
	    {"{\"\": 1}", NULL, EXPAND_KEPT},
	    {"[1, \"x\"]", NULL, EXPAND_KEPT},
	    {"[]", NULL, EXPAND_NO_SCHEMA},
	    /* These end Debezium. */
	    {"[1, 2]", NULL, EXPAND_FAILED},
	    {"[{\"a\": 1}]", NULL, EXPAND_FAILED},
	    {"{\"a\": 9223372036854775808}", NULL, EXPAND_FAILED},
	    {"{\"a\": -9223372036854775809}", NULL, EXPAND_FAILED},
	    {"{\"a\": 100000000000000000000, \"b\": \"9999999999999999999 \\\" 1\"}", NULL,
	     EXPAND_FAILED},
	    {"{\"a\": [{\"k\": 1}, {\"k\": \"x\"}]}", NULL, EXPAND_FAILED},
	    {"{\"a\": [{\"k\": 1}, {\"l\": 1}, null]}", NULL, EXPAND_FAILED},
	    {"{\"a\": [[1], [\"x\"]]}", NULL, EXPAND_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(&cases[i], &dropping);
}

/* A name would end at it, and be another one. In a value it is like any other character. */
static void test_nul(void **state)
{
	static const struct outcome cases[] = {
	    {"{\"a\\u0000b\": 1, \"a\": 2}", NULL, EXPAND_FAILED},
	    {"{\"\\u0000\": 1}", NULL, EXPAND_FAILED},
	    {"{\"a\": [1, {\"b\\\\\\u0000\" : 1}]}", NULL, EXPAND_FAILED},
	    {"[{\"\\u0000\": 1}]", NULL, EXPAND_FAILED},
	    {"{\"a\": \"x\\u0000y\"}", "{\"a\":\"x\\u0000y\"}", EXPANDED},
	    {"{\"a\\\\u0000\": \"\\u0000\"}", "{\"a\\\\u0000\":\"\\u0000\"}", EXPANDED},
	    {"{\"a\": \"}\", \"b\": 1} {\"\\u0000\": 1}", "{\"a\":\"}\",\"b\":1}", EXPANDED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(&cases[i], &dropping);
}

static void test_keeping(void **state)
{
	static const struct outcome cases[] = {
	    {"{\"n\": null, \"e\": [], \"k\": [null]}", "{\"n\":null,\"e\":[],\"k\":[null]}",
	     EXPANDED},
	    {"{\"a\": [{\"k\": null}, {\"k\": \"x\"}]}", "{\"a\":[{\"k\":null},{\"k\":\"x\"}]}",
	     EXPANDED},
	    {"{\"\": null}", NULL, EXPAND_KEPT},
	    {"[]", NULL, EXPAND_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(&cases[i], &keeping);
}

static void is_schema(const char *text, const char *expected)
{
	struct arena arena = {0};
	struct buffer out = {0};
	const struct connect_schema *schema = NULL;
	struct connect_value value;
	struct error err;

	assert_int_equal(expand(&arena, &dropping, slice_of(text), &schema, &value, &err),
			 EXPANDED);
	connect_schema_json(&out, schema);
	buffer_byte(&out, '\0');
	assert_string_equal(out.data, expected);
	buffer_free(&out);
	arena_free(&arena);
}

static void test_schemas(void **state)
{
	(void)state;
	is_schema("{\"x\": {\"y\": [{\"z\": 1}]}}",
		  "{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":[{\"type\":"
		  "\"array\",\"items\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\","
		  "\"optional\":true,\"field\":\"z\"}],\"optional\":true,\"name\":\"payload.x.y\"},"
		  "\"optional\":true,\"field\":\"y\"}],\"optional\":true,\"name\":\"payload.x\","
		  "\"field\":\"x\"}],\"optional\":true,\"name\":\"payload\"}");
	/* Of two shapes the items are not optional any more. */
	is_schema("{\"a\": [{\"b\": 1}, {\"c\": 1}]}",
		  "{\"type\":\"struct\",\"fields\":[{\"type\":\"array\",\"items\":{\"type\":"
		  "\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":true,\"field\":\"b\"},{"
		  "\"type\":\"int32\",\"optional\":true,\"field\":\"c\"}],\"optional\":false,"
		  "\"name\":\"payload.a\"},\"optional\":true,\"field\":\"a\"}],\"optional\":true,"
		  "\"name\":\"payload\"}");
}

/* Beyond what Jackson takes it is a string; nothing overflows. */
static void test_depth(void **state)
{
	char text[4 * 1200 + 8];
	char *at = text;

	(void)state;
	*at++ = '{';
	at += sprintf(at, "\"a\":");
	for (int i = 0; i < 1100; i++)
		*at++ = '[';
	*at++ = '1';
	for (int i = 0; i < 1100; i++)
		*at++ = ']';
	strcpy(at, "}");
	check(&(struct outcome){text, NULL, EXPAND_KEPT}, &dropping);
}

/* An array of so many objects, the member of each of another name. */
static char *different(int count)
{
	char *text = malloc((size_t)count * 20 + 20), *at = text;

	at += sprintf(at, "{\"a\": [");
	for (int i = 0; i < count; i++)
		at += sprintf(at, "%s{\"k%d\": 1}", i > 0 ? "," : "", i);
	strcpy(at, "]}");
	return text;
}

/* It would take minutes, and as much memory. */
static void test_too_many_members(void **state)
{
	char *text = different(50000);
	struct arena arena = {0};
	const struct connect_schema *schema;
	struct connect_value value;
	struct error err;

	(void)state;
	assert_int_equal(expand(&arena, &dropping, slice_of(text), &schema, &value, &err),
			 EXPAND_FAILED);
	assert_non_null(strstr(err.text, "its objects have too many different members"));
	arena_free(&arena);
	free(text);
	text = different(300);
	assert_int_equal(expand(&arena, &dropping, slice_of(text), &schema, &value, &err),
			 EXPANDED);
	assert_int_equal(value.items[0].items[299].count, 300);
	arena_free(&arena);
	free(text);
}

static void test_the_corpus(void **state)
{
	(void)state;
	assert_true(replay_corpus("expand") >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_as_debezium_does),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_keeping),
	    cmocka_unit_test(test_schemas),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_too_many_members),
	    cmocka_unit_test(test_the_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
