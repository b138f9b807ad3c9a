/* SPDX-License-Identifier: ISC */
/*
 * test_units.c - numbers, durations and sizes: what parses, what does not, and the way back
 */
#include "base/units.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct sample {
	const char *text;
	int64_t value; /* -1: must not parse */
};

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int64_t least, most;
		bool parses;
		int64_t value;
	} samples[] = {
	    {"0", INT64_MIN, INT64_MAX, true, 0},
	    {"-0", 0, 0, true, 0},
	    {"1", 1, INT64_MAX, true, 1},
	    {"0", 1, INT64_MAX, false, 0},
	    {"-1", 0, INT64_MAX, false, 0},
	    {"-1", -1, INT64_MAX, true, -1},
	    {"007", 0, 10, true, 7},
	    {"11", 0, 10, false, 0},
	    {"2147483647", 1, INT32_MAX, true, INT32_MAX},
	    {"2147483648", 1, INT32_MAX, false, 0},
	    {"4294967297", 1, INT32_MAX, false, 0},
	    {"1234567890123456789", INT64_MIN, INT64_MAX, true, 1234567890123456789},
	    {"9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX},
	    {"9223372036854775808", INT64_MIN, INT64_MAX, false, 0},
	    {"-9223372036854775807", INT64_MIN, INT64_MAX, true, -INT64_MAX},
	    {"-9223372036854775808", INT64_MIN, INT64_MAX, true, INT64_MIN},
	    {"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0},
	    {"99999999999999999999", INT64_MIN, INT64_MAX, false, 0},
	    {"0000000000000000000000001", INT64_MIN, INT64_MAX, true, 1},
	    {"", INT64_MIN, INT64_MAX, false, 0},
	    {"-", INT64_MIN, INT64_MAX, false, 0},
	    {"--1", INT64_MIN, INT64_MAX, false, 0},
	    {"+5", INT64_MIN, INT64_MAX, false, 0},
	    {" 5", INT64_MIN, INT64_MAX, false, 0},
	    {"\t5", INT64_MIN, INT64_MAX, false, 0},
	    {"5 ", INT64_MIN, INT64_MAX, false, 0},
	    {"5\n", INT64_MIN, INT64_MAX, false, 0},
	    {"5x", INT64_MIN, INT64_MAX, false, 0},
	    {"5.0", INT64_MIN, INT64_MAX, false, 0},
	    {"5e3", INT64_MIN, INT64_MAX, false, 0},
	    {"0x10", INT64_MIN, INT64_MAX, false, 0},
	    {"1,000", INT64_MIN, INT64_MAX, false, 0},
	    {"NaN", INT64_MIN, INT64_MAX, false, 0},
	    {"\xd9\xa5", INT64_MIN, INT64_MAX, false, 0}, /* ARABIC-INDIC DIGIT FIVE */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		int64_t value = 4711;
		bool parsed =
		    units_parse_number(samples[i].text, samples[i].least, samples[i].most, &value);

		if (parsed != samples[i].parses ||
		    value != (samples[i].parses ? samples[i].value : 4711))
			fail_msg("\"%s\": parsed %d, value %lld", samples[i].text, parsed,
				 (long long)value);
	}
}

static void test_durations(void **state)
{
	static const struct sample samples[] = {
	    {"0", 0},
	    {"0ms", 0},
	    {"0d", 0},
	    {"1ms", 1},
	    {"500ms", 500},
	    {"10s", 10000},
	    {"5m", 300000},
	    {"12h", 43200000},
	    {"7d", 604800000},
	    {"007s", 7000},
	    {"9223372036854775807ms", INT64_MAX},
	    {"106751991167d", 106751991167 * 86400000},
	    {"", -1},
	    {"5", -1},
	    {"00", -1},
	    {"s", -1},
	    {"-5s", -1},
	    {"+5s", -1},
	    {"1.5s", -1},
	    {" 5s", -1},
	    {"5s ", -1},
	    {"5 s", -1},
	    {"5S", -1},
	    {"5M", -1},
	    {"5min", -1},
	    {"5us", -1},
	    {"1h30m", -1},
	    {"9223372036854775808ms", -1},
	    {"9223372036854775807s", -1},
	    {"106751991168d", -1},
	    {"99999999999999999999999ms", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		int64_t value = -1;
		bool parsed = units_parse_duration(samples[i].text, &value);

		if (parsed != (samples[i].value >= 0) || value != samples[i].value)
			fail_msg("\"%s\": parsed %d, value %lld", samples[i].text, parsed,
				 (long long)value);
	}
}

static void test_sizes(void **state)
{
	static const struct sample samples[] = {
	    {"0", 0},
	    {"1024", 1024},
	    {"512B", 512},
	    {"900KiB", 900 * 1024},
	    {"16MiB", 16 << 20},
	    {"1GiB", 1 << 30},
	    {"8589934591GiB", 8589934591 << 30},
	    {"", -1},
	    {"KiB", -1},
	    {"16MB", -1},
	    {"16M", -1},
	    {"16mib", -1},
	    {"1.5MiB", -1},
	    {"-1", -1},
	    {"16 MiB", -1},
	    {"0x10", -1},
	    {"8589934592GiB", -1},
	    {"9223372036854775808", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		int64_t value = -1;
		bool parsed = units_parse_size(samples[i].text, &value);

		if (parsed != (samples[i].value >= 0) || value != samples[i].value)
			fail_msg("\"%s\": parsed %d, value %lld", samples[i].text, parsed,
				 (long long)value);
	}
}

static void test_printing_is_shortest_and_exact(void **state)
{
	static const struct sample durations[] = {
	    {"0", 0},	       {"1ms", 1},
	    {"5s", 5000},      {"1500ms", 1500},
	    {"90s", 90000},    {"1m", 60000},
	    {"12h", 43200000}, {"1d", 86400000},
	    {"25h", 90000000}, {"9223372036854775807ms", INT64_MAX},
	};
	static const struct sample sizes[] = {
	    {"0", 0},		{"512B", 512},	     {"1KiB", 1024},	   {"1025B", 1025},
	    {"900KiB", 921600}, {"16MiB", 16 << 20}, {"3GiB", 3221225472},
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
		units_print_duration(durations[i].value, out, sizeof(out));
		assert_string_equal(out, durations[i].text);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		units_print_size(sizes[i].value, out, sizeof(out));
		assert_string_equal(out, sizes[i].text);
	}
}

static void test_what_is_printed_parses_back(void **state)
{
	(void)state;
	for (int64_t value = 1; value < INT64_MAX / 7; value = value * 7 + value % 5) {
		char out[32];
		int64_t back;

		units_print_duration(value, out, sizeof(out));
		assert_true(units_parse_duration(out, &back));
		assert_true(back == value);
		units_print_size(value, out, sizeof(out));
		assert_true(units_parse_size(out, &back));
		assert_true(back == value);
	}
}

static void test_a_small_buffer_is_terminated(void **state)
{
	char out[4] = {'x', 'x', 'x', 'x'};

	(void)state;
	units_print_duration(123456789, out, 3);
	assert_string_equal(out, "12");
	assert_int_equal(out[3], 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_durations),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_printing_is_shortest_and_exact),
	    cmocka_unit_test(test_what_is_printed_parses_back),
	    cmocka_unit_test(test_a_small_buffer_is_terminated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
