/* SPDX-License-Identifier: ISC */
/*
 * test_java.c - numbers as Java prints them
 */
#include "core/java.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void is(struct buffer *buffer, const char *expected)
{
	buffer_byte(buffer, '\0');
	assert_string_equal(buffer->data, expected);
	buffer_clear(buffer);
}

/* As Double.toString of JDK 25. */
static void test_doubles(void **state)
{
	static const struct {
		double number;
		const char *text;
	} cases[] = {
	    {1, "1.0"},
	    {0.0, "0.0"},
	    {-0.0, "-0.0"},
	    {1.10, "1.1"},
	    {-12.5, "-12.5"},
	    {100, "100.0"},
	    {9999999.5, "9999999.5"},
	    {1e7, "1.0E7"},
	    {12345678.9, "1.23456789E7"},
	    {0.001, "0.001"},
	    {0.00099, "9.9E-4"},
	    {0.0123, "0.0123"},
	    {1e20, "1.0E20"},
	    {1e23, "1.0E23"},
	    {2e23, "2.0E23"},
	    {8.41e21, "8.41E21"},
	    {2e-3, "0.002"},
	    {4.9e-324, "4.9E-324"},
	    {9.9e-324, "9.9E-324"},
	    {2.2250738585072014e-308, "2.2250738585072014E-308"},
	    {1.7976931348623157e308, "1.7976931348623157E308"},
	    {0.30000000000000004, "0.30000000000000004"},
	    {123456789012345678.5, "1.2345678901234568E17"},
	    {9007199254740992, "9.007199254740992E15"},
	    {1.1e-38, "1.1E-38"},
	    {0x1p-44, "5.684341886080802E-14"}, /* not the nearest of 16 digits */
	    {0x1p-20, "9.5367431640625E-7"},
	};
	struct buffer buffer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		java_double(&buffer, cases[i].number);
		is(&buffer, cases[i].text);
	}
	java_double(&buffer, NAN);
	is(&buffer, "NaN");
	java_double(&buffer, -INFINITY);
	is(&buffer, "-Infinity");
	buffer_free(&buffer);
}

static void test_floats(void **state)
{
	static const struct {
		float number;
		const char *text;
	} cases[] = {
	    {1.5f, "1.5"},	 {3.4e38f, "3.4E38"},	       {0.1f, "0.1"},
	    {1e10f, "1.0E10"},	 {16777216.0f, "1.6777216E7"}, {1.4e-45f, "1.4E-45"},
	    {3.3e-3f, "0.0033"}, {8.589973e9f, "8.589974E9"},  {2e-3f, "0.002"},
	};
	struct buffer buffer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		java_float(&buffer, cases[i].number);
		is(&buffer, cases[i].text);
	}
	buffer_free(&buffer);
}

/* Whatever the number: it is read back as the same, and one digit less is not. */
static void test_any_double(void **state)
{
	struct buffer buffer = {0};
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		union {
			uint64_t bits;
			double number;
		} any;

		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		any.bits = i % 3 == 0 ? seed & UINT64_C(0x7ff0000000000000) : seed;
		if (!isfinite(any.number))
			continue;
		java_double(&buffer, any.number);
		buffer_byte(&buffer, '\0');
		assert_true(strtod(buffer.data, NULL) == any.number);
		buffer_clear(&buffer);
	}
	buffer_free(&buffer);
}

static void test_decimals(void **state)
{
	static const char *const cases[][2] = {
	    {"1.10", "1.10"},		{"-0.01", "-0.01"},
	    {"0.000001", "0.000001"},	{"0.0000001", "1E-7"},
	    {"-0.00000012", "-1.2E-7"}, {"0.0000000", "0E-7"},
	    {"0.00", "0.00"},		{"12345678901234567890", "12345678901234567890"},
	};
	struct buffer buffer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		java_decimal(&buffer, slice_of(cases[i][0]));
		is(&buffer, cases[i][1]);
	}
	buffer_free(&buffer);
}

static void test_unscaled(void **state)
{
	static const struct {
		const char *text, *base64;
		int scale;
	} cases[] = {
	    {"1.1", "Cw==", 1},
	    {"100", "ZA==", 0},
	    {"12345.60", "EtaA", 2},
	    {"0.00", "AA==", 2},
	    {"-0.01", "/w==", 2},
	    {"12345678901234567890", "AKtUqYzrHwrS", 0},
	    {"-1234567890123456789012345678901234567890", "/F8234o/JAxHU0OgaTHA9S4=", 0},
	    {"128", "AIA=", 0},
	    {"-128", "gA==", 0},
	    {"127", "fw==", 0},
	    {"-129", "/38=", 0},
	    {"255", "AP8=", 0},
	    {"256", "AQA=", 0},
	};
	static const char *const none[] = {"NaN", "Infinity", "", "-", ".", "1.2.3", "1e5"};
	struct buffer bytes = {0}, text = {0};
	int scale;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(java_unscaled(&bytes, slice_of(cases[i].text), &scale));
		assert_int_equal(scale, cases[i].scale);
		buffer_base64(&text, (struct slice){bytes.data, bytes.len}, BASE64);
		is(&text, cases[i].base64);
		buffer_clear(&bytes);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(java_unscaled(&bytes, slice_of(none[i]), &scale));
	buffer_free(&bytes);
	buffer_free(&text);
}

static void test_json(void **state)
{
	struct buffer buffer = {0};

	(void)state;
	buffer_json(&buffer,
		    slice_of("a\"b\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80"));
	is(&buffer,
	   "\"a\\\"b\\\\/\\b\\f\\n\\r\\t\\u0001\\u001F\x7f\xc3\xa9\xe2\x80\xa8\\uD83D\\uDE00\"");
	buffer_json(&buffer, slice_of(""));
	is(&buffer, "\"\"");
	buffer_base64(&buffer, slice_of("\xfb\xff"), BASE64_URL);
	is(&buffer, "-_8=");
	buffer_base64(&buffer, slice_of(""), BASE64);
	is(&buffer, "");
	buffer_integer(&buffer, INT64_MIN);
	is(&buffer, "-9223372036854775808");
	buffer_integer(&buffer, 0);
	is(&buffer, "0");
	buffer_free(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_doubles),    cmocka_unit_test(test_floats),
	    cmocka_unit_test(test_any_double), cmocka_unit_test(test_decimals),
	    cmocka_unit_test(test_unscaled),   cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
