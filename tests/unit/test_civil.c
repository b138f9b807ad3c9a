/* SPDX-License-Identifier: ISC */
/*
 * test_civil.c - numbers and times as PostgreSQL prints them
 */
#include "core/civil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_integers(void **state)
{
	static const char *const none[] = {
	    "", "-", "+1", "1.0", " 1", "1 ", "x", "9223372036854775808", "-9223372036854775809"};
	int64_t number;

	(void)state;
	assert_true(civil_integer(slice_of("-9223372036854775808"), &number));
	assert_true(number == INT64_MIN);
	assert_true(civil_integer(slice_of("9223372036854775807"), &number));
	assert_true(number == INT64_MAX);
	assert_true(civil_integer(slice_of("0042"), &number));
	assert_int_equal(number, 42);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(civil_integer(slice_of(none[i]), &number));
}

/* As extract(epoch FROM ...) * 1000000. */
static void test_timestamps(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} cases[] = {
	    {"1970-01-01 00:00:00", 0},
	    {"2024-02-29 12:34:56.789012", 1709210096789012},
	    {"2024-02-29 12:34:56.789012+02", 1709210096789012 - 7200000000},
	    {"2024-02-29T12:34:56.789+00:00", 1709210096789000},
	    {"1969-12-31 23:59:59.999999+00", -1},
	    {"2024-06-15 00:00:00-05:30", 1718429400000000},
	    {"9999-12-31 23:59:59", 253402300799000000},
	    {"0001-01-01 00:00:00", -62135596800000000},
	    {"0001-12-31 00:00:00 BC", -62135683200000000},
	    {"1900-01-01 00:00:00+00:19:32", -2208989972000000},
	};
	static const char *const none[] = {"294276-12-31 23:59:59.999999+00",
					   "infinity",
					   "-infinity",
					   "",
					   "2024-02-29",
					   "2024-13-01 00:00:00",
					   "2024-02-29 12:34",
					   "2024-02-29 12:34:56.",
					   "2024-02-29 12:34:56 AD",
					   "2024-02-29 12:34:56+"};
	int64_t us;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(civil_timestamp(slice_of(cases[i].text), &us));
		assert_true(us == cases[i].us);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(civil_timestamp(slice_of(none[i]), &us));
}

static void test_dates_and_times(void **state)
{
	int64_t number;

	(void)state;
	assert_true(civil_date(slice_of("2024-02-29"), &number));
	assert_int_equal(number, 19782);
	assert_true(civil_date(slice_of("1969-12-31"), &number));
	assert_int_equal(number, -1);
	assert_true(civil_date(slice_of("4713-01-01 BC"), &number));
	assert_int_equal(number, -2440550);
	assert_false(civil_date(slice_of("2024-02-29 "), &number));
	assert_true(civil_time(slice_of("23:59:59.999999"), &number));
	assert_true(number == 86399999999);
	assert_true(civil_time(slice_of("24:00:00"), &number));
	assert_true(number == 86400000000);
	assert_true(civil_time(slice_of("23:59:59-05:30"), &number));
	assert_true(number == 19799000000);
	assert_true(civil_time(slice_of("00:30:00+02"), &number));
	assert_true(number == 81000000000);
	assert_false(civil_time(slice_of("12:34"), &number));
}

static void test_days_and_back(void **state)
{
	(void)state;
	for (int64_t days = -1000000; days < 4000000; days += 137) {
		struct civil_day day = civil_day(days);
		char text[32];
		int64_t back;

		if (day.year < 1)
			continue;
		snprintf(text, sizeof(text), "%04lld-%02d-%02d", (long long)day.year, day.month,
			 day.day);
		assert_true(civil_date(slice_of(text), &back));
		assert_true(back == days);
	}
}

static void test_intervals(void **state)
{
	struct civil_interval i;

	(void)state;
	assert_true(civil_interval(slice_of("1 year 2 mons -3 days +04:05:06.789"), &i));
	assert_int_equal(i.years, 1);
	assert_int_equal(i.months, 2);
	assert_int_equal(i.days, -3);
	assert_int_equal(i.hours, 4);
	assert_int_equal(i.minutes, 5);
	assert_int_equal(i.us, 6789000);
	assert_true(civil_interval(slice_of("-2 years"), &i));
	assert_int_equal(i.years, -2);
	assert_true(civil_interval(slice_of("-00:00:01.5"), &i));
	assert_int_equal(i.us, -1500000);
	assert_true(civil_interval(slice_of("00:00:00"), &i));
	assert_false(civil_interval(slice_of(""), &i));
	assert_false(civil_interval(slice_of("1 week"), &i));
	assert_false(civil_interval(slice_of("1 day x"), &i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_integers),	    cmocka_unit_test(test_timestamps),
	    cmocka_unit_test(test_dates_and_times), cmocka_unit_test(test_days_and_back),
	    cmocka_unit_test(test_intervals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
