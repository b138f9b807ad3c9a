/* SPDX-License-Identifier: ISC */
/*
 * test_headers.c - flat JSON objects as headers: what is taken, byte for byte, and what is refused
 */
#include "../fuzz/fuzz_headers.c" /* NOLINT(bugprone-suspicious-include): its check is replayed */
#include "../fuzz/replay.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct expected {
	const char *name, *value; /* value NULL: a null */
};

static struct slice text(const char *json)
{
	return slice_of(json);
}

static void takes_bytes(struct slice json, const struct expected *expected, size_t count)
{
	struct headers headers = {0};
	struct error err = {""};

	if (!headers_parse(&headers, json, &err))
		fail_msg("%s: %s", json.data, err.text);
	assert_int_equal(headers.count, count);
	for (size_t i = 0; i < count; i++) {
		assert_true(slice_equal(headers.items[i].name, slice_of(expected[i].name)));
		assert_true(slice_equal(headers.items[i].value, slice_of(expected[i].value)));
	}
	headers_free(&headers);
	assert_null(headers.items);
}

static void takes(const char *json, const char *name, const char *value)
{
	const struct expected expected = {name, value};

	takes_bytes(text(json), &expected, 1);
}

static void refuses(const char *json, const char *words)
{
	struct headers headers = {0};
	struct error err = {""};

	if (headers_parse(&headers, text(json), &err))
		fail_msg("taken: %s", json);
	assert_string_equal(err.text, words);
	headers_free(&headers);
}

static void refuses_value(const char *json)
{
	struct headers headers = {0};
	struct error err = {""};

	if (headers_parse(&headers, text(json), &err))
		fail_msg("taken: %s", json);
	assert_non_null(strstr(err.text, "headers member \"a\" "));
	headers_free(&headers);
}

static void test_members(void **state)
{
	static const struct expected all[] = {
	    {"s", "text"}, {"n", "1.10"}, {"t", "true"}, {"f", "false"}, {"z", NULL}, {"", ""},
	};

	(void)state;
	takes_bytes(text("{\"s\": \"text\", \"n\": 1.10, \"t\": true, \"f\": false, \"z\": null, "
			 "\"\": \"\"}"),
		    all, 6);
	takes_bytes(text("{}"), NULL, 0);
	takes_bytes(text(" \t\r\n{ \t\r\n} \t\r\n"), NULL, 0);
	takes(" { \"a\"\n:\t\"b\"\r} ", "a", "b");
}

static void test_duplicates_stay_in_order(void **state)
{
	static const struct expected all[] = {{"a", "1"}, {"b", "x"}, {"a", "2"}, {"a", NULL}};

	(void)state;
	takes_bytes(text("{\"a\":1,\"b\":\"x\",\"a\":2,\"a\":null}"), all, 4);
}

static void test_numbers_as_written(void **state)
{
	(void)state;
	takes("{\"a\":0}", "a", "0");
	takes("{\"a\":-0}", "a", "-0");
	takes("{\"a\":123456789012345678901234567890}", "a", "123456789012345678901234567890");
	takes("{\"a\":1.10}", "a", "1.10");
	takes("{\"a\":1E+400 }", "a", "1E+400");
	takes("{\"a\":-0.5e-7}", "a", "-0.5e-7");
	takes("{\"a\":10e0}", "a", "10e0");
	refuses_value("{\"a\":-}");
	refuses_value("{\"a\":+1}");
	refuses_value("{\"a\":.5}");
	refuses_value("{\"a\":1.}");
	refuses_value("{\"a\":1.e5}");
	refuses_value("{\"a\":1e}");
	refuses_value("{\"a\":1e+}");
	refuses_value("{\"a\":NaN}");
	refuses("{\"a\":01}", "headers are not valid JSON: expected ',' or '}' at byte 6");
	refuses("{\"a\":0x1}", "headers are not valid JSON: expected ',' or '}' at byte 6");
	refuses("{\"a\":-01}", "headers are not valid JSON: expected ',' or '}' at byte 7");
}

static void test_words(void **state)
{
	(void)state;
	refuses_value("{\"a\":tru}");
	refuses_value("{\"a\":TRUE}");
	refuses_value("{\"a\":nul");
	refuses_value("{\"a\":}");
	refuses_value("{\"a\":");
	refuses("{\"a\":truex}", "headers are not valid JSON: expected ',' or '}' at byte 9");
	refuses("{\"a\":nullnull}", "headers are not valid JSON: expected ',' or '}' at byte 9");
}

static void test_escapes(void **state)
{
	(void)state;
	takes("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "a", "\"\\/\b\f\n\r\t");
	takes("{\"\\u0061\":\"\\u00e4\\u20AC\\uFFFD\"}", "a", "\u00e4\u20ac\ufffd");
	takes("{\"a\":\"\\u007f\\u0080\\u07ff\\u0800\"}", "a", "\x7f\xc2\x80\u07ff\u0800");
	takes("{\"a\":\"\\ud83d\\ude00\\uD800\\uDC00\\udbff\\udfff\"}", "a",
	      "\U0001F600\U00010000\U0010FFFF");
	refuses("{\"a\":\"\\x\"}", "headers member \"a\" has an invalid escape in its value");
	refuses("{\"a\":\"\\u12g4\"}", "headers member \"a\" has an invalid escape in its value");
	refuses("{\"a\":\"\\u123\"}", "headers member \"a\" has an invalid escape in its value");
	refuses("{\"a\":\"\\u 123\"}", "headers member \"a\" has an invalid escape in its value");
	refuses("{\"\\q\":1}", "headers member 1 has an invalid escape in its name");
}

static void test_lone_surrogates(void **state)
{
	static const char *const values[] = {
	    "\\ud800",	      "\\udc00",	"\\ud800x",	  "\\ud800\\n",
	    "\\ud800\\ud800", "\\udc00\\ud800", "\\ud83d!!!!!!",  "\\ud800\\u0041",
	    "\\ud800\\ue000", "\\udbff\\u",	"\\udc00\\udc00", "\\ud800\\udc0",
	};
	char json[64];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		snprintf(json, sizeof(json), "{\"a\":\"%s\"}", values[i]);
		refuses(json, "headers member \"a\" has half of a surrogate pair in its value");
	}
	refuses("{\"a\":1,\"\\udfff\":1}",
		"headers member 2 has half of a surrogate pair in its name");
}

static void test_utf8_is_strict(void **state)
{
	static const char *const bad[] = {
	    "\x80",
	    "\xc0\xaf",
	    "\xc1\xbf",
	    "\xc3",
	    "\xe0\x9f\xbf",
	    "\xed\xa0\x80",
	    "\xe2\x82",
	    "\xf0\x8f\xbf\xbf",
	    "\xf4\x90\x80\x80",
	    "\xf5\x80\x80\x80",
	    "\xf0\x9f\x98",
	    "\xff",
	    "\xc3(",
	    "\xe2(\xac",
	    "\xf0\x9f(\x80",
	};
	char json[64];

	(void)state;
	takes("{\"\xc3\xa4\":\"\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"}",
	      "\u00e4", "\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(json, sizeof(json), "{\"a\":\"%s\"}", bad[i]);
		refuses(json, "headers member \"a\" has invalid UTF-8 in its value");
		snprintf(json, sizeof(json), "{\"%s\":1}", bad[i]);
		refuses(json, "headers member 1 has invalid UTF-8 in its name");
	}
}

static void test_control_characters(void **state)
{
	struct headers headers = {0};
	struct error err;

	(void)state;
	refuses("{\"a\":\"\n\"}", "headers member \"a\" has a control character that is not "
				  "escaped in its value");
	refuses("{\"a\\u0000\":1}", "headers member 1 has a control character in its name");
	refuses("{\"a\\n\":1}", "headers member 1 has a control character in its name");
	refuses("{\"\x7f\":1}", "headers member 1 has a control character in its name");
	refuses("{\"\\u0085\":1}", "headers member 1 has a control character in its name");
	refuses("{\"\xc2\x85\":1}", "headers member 1 has a control character in its name");
	takes("{\"\xc2\xa0\":1}", "\xc2\xa0", "1");

	assert_true(headers_parse(&headers, text("{\"a\":\"x\\u0000y\"}"), &err));
	assert_int_equal(headers.items[0].value.len, 3);
	assert_memory_equal(headers.items[0].value.data, "x\0y", 3);
	headers_free(&headers);
}

static void test_only_flat_objects(void **state)
{
	static const char *const others[] = {"", " ", "[]", "\"a\"", "1", "null", "x", "}", "\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		refuses(others[i], "headers are not a JSON object");
	refuses("{\"a\":{\"secret\":1}}", "headers member \"a\" is an object; only strings, "
					  "numbers, true, false and null can be headers");
	refuses("{\"x\":1,\"a\\u00e4\":[\"secret\"]}",
		"headers member \"a\u00e4\" is an array; only strings, numbers, true, false and "
		"null can be headers");
}

static void test_syntax(void **state)
{
	(void)state;
	refuses("{", "headers are not valid JSON: expected a member's name in double quotes at "
		     "byte 1");
	refuses("{a:1}", "headers are not valid JSON: expected a member's name in double quotes at "
			 "byte 1");
	refuses("{\"a\":1,}", "headers are not valid JSON: expected a member's name in double "
			      "quotes at byte 7");
	refuses("{,}", "headers are not valid JSON: expected a member's name in double quotes at "
		       "byte 1");
	refuses("{\"a\" 1}", "headers are not valid JSON: expected ':' at byte 5");
	refuses("{\"a\"", "headers are not valid JSON: expected ':' at byte 4");
	refuses("{\"a\":1", "headers are not valid JSON: expected ',' or '}' at byte 6");
	refuses("{\"a\":1 \"b\":2}", "headers are not valid JSON: expected ',' or '}' at byte 7");
	refuses("{\"a\":1}}", "headers are not valid JSON: expected the end at byte 7");
	refuses("{} x", "headers are not valid JSON: expected the end at byte 3");
	refuses("{\"a\":\"b", "headers member \"a\" has no closing quote in its value");
	refuses("{\"a\":\"b\\\"}", "headers member \"a\" has no closing quote in its value");
	refuses("{\"a\":\"\\", "headers member \"a\" has no closing quote in its value");
	refuses("{\"a", "headers member 1 has no closing quote in its name");
}

/* Every prefix of a good text is refused, and never read past. */
static void test_prefixes(void **state)
{
	static const char good[] = "{\"a\\ud83d\\ude00\": [], \"b\": -1.5e+7, \"c\": \"\xf0\x9f\x98"
				   "\x80\\n\", \"d\": true, \"e\": null}";
	static const char flat[] = "{\"b\": -1.5e+7, \"c\\u0041\": \"\xf0\x9f\x98\x80\\n\", \"d\": "
				   "true, \"e\": null}";

	(void)state;
	for (size_t len = 0; len < sizeof(good); len++)
		LLVMFuzzerTestOneInput((const uint8_t *)good, len);
	for (size_t len = 0; len + 1 < sizeof(flat); len++) {
		struct headers headers = {0};
		struct error err;
		char *copy = malloc(len ? len : 1);

		memcpy(copy, flat, len);
		assert_int_equal(headers_parse(&headers, (struct slice){copy, len}, &err),
				 len == sizeof(flat) - 1);
		free(copy);
		headers_free(&headers);
	}
}

static char *many_members(int count)
{
	char *json = malloc((size_t)count * 8 + 3), *at = json;

	for (int i = 0; i < count; i++)
		at += sprintf(at, "%c\"a\":1", i ? ',' : '{');
	strcpy(at, "}");
	return json;
}

static void test_member_limit(void **state)
{
	struct headers headers = {0};
	struct error err;
	char *most = many_members(1000), *more = many_members(1001);

	(void)state;
	assert_true(headers_parse(&headers, text(most), &err));
	assert_int_equal(headers.count, 1000);
	refuses(more, "headers have more than 1000 members; put what is large into the payload");
	headers_free(&headers);
	free(most);
	free(more);
}

/* Deep nesting costs neither stack nor time: the first level ends it. */
static void test_depth(void **state)
{
	enum { DEPTH = 1000000 };
	char *json = malloc(DEPTH + 6);

	(void)state;
	memcpy(json, "{\"a\":", 5);
	memset(json + 5, '[', DEPTH);
	json[DEPTH + 5] = '\0';
	refuses_value(json);
	free(json);
}

static void test_long_names_are_cut_in_messages(void **state)
{
	char json[256], words[256];

	(void)state;
	/* 63 letters and a character of two bytes across the cut */
	snprintf(json, sizeof(json), "{\"%063d\u00e4rest\":[]}", 0);
	snprintf(words, sizeof(words),
		 "headers member \"%063d...\" is an array; only strings, numbers, true, false and "
		 "null can be headers",
		 0);
	refuses(json, words);
}

/* What was decoded earlier must survive growth, within one parse and over several. */
static void test_growth_keeps_earlier_slices(void **state)
{
	struct headers headers = {0};
	struct error err;
	char json[64];

	(void)state;
	headers_add(&headers, slice_of("configured"), slice_of("borrowed"));
	headers_add(&headers, slice_of("null"), SLICE_NULL);
	for (int i = 0; i < 200; i++) {
		snprintf(json, sizeof(json), "{\"\\u006e%d\":\"\\u0076%d\"}", i, i);
		assert_true(headers_parse(&headers, text(json), &err));
	}
	assert_int_equal(headers.count, 202);
	assert_true(slice_equal(headers.items[0].value, slice_of("borrowed")));
	assert_null(headers.items[1].value.data);
	for (int i = 0; i < 200; i++) {
		snprintf(json, sizeof(json), "n%d", i);
		assert_true(slice_equal(headers.items[i + 2].name, slice_of(json)));
		json[0] = 'v';
		assert_true(slice_equal(headers.items[i + 2].value, slice_of(json)));
	}
	headers_free(&headers);
}

static void test_memory_is_reused_and_bounded(void **state)
{
	struct headers headers = {0};
	struct error err;
	size_t len = 4 * 1024 * 1024;
	char *big = malloc(len + 16);
	const char *text_before;
	const struct header *items_before;

	(void)state;
	assert_true(headers_parse(&headers, text("{\"a\":\"\\n\"}"), &err));
	text_before = headers.text;
	items_before = headers.items;
	headers_clear(&headers);
	assert_true(headers_parse(&headers, text("{\"a\":\"\\n\"}"), &err));
	assert_ptr_equal(headers.text, text_before);
	assert_ptr_equal(headers.items, items_before);

	snprintf(big, len, "{\"a\":\"\\n");
	memset(big + 8, 'x', len);
	strcpy(big + 8 + len, "\"}");
	headers_clear(&headers);
	assert_true(headers_parse(&headers, text(big), &err));
	assert_int_equal(headers.items[0].value.len, len + 1);
	headers_clear(&headers);
	assert_true(headers.text_capacity <= 1024 * 1024);
	headers_free(&headers);
	free(big);
}

static void test_corpus(void **state)
{
	(void)state;
	assert_true(replay_corpus("headers") >= 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_members),
	    cmocka_unit_test(test_duplicates_stay_in_order),
	    cmocka_unit_test(test_numbers_as_written),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_escapes),
	    cmocka_unit_test(test_lone_surrogates),
	    cmocka_unit_test(test_utf8_is_strict),
	    cmocka_unit_test(test_control_characters),
	    cmocka_unit_test(test_only_flat_objects),
	    cmocka_unit_test(test_syntax),
	    cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_member_limit),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_long_names_are_cut_in_messages),
	    cmocka_unit_test(test_growth_keeps_earlier_slices),
	    cmocka_unit_test(test_memory_is_reused_and_bounded),
	    cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
