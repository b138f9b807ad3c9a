/* SPDX-License-Identifier: ISC */
/*
 * test_recent.c - rates and percentiles of the last minute
 */
#include "core/recent.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000, MS = 1000 };

static const int64_t start = INT64_C(1000) * SECOND;

static struct recent recent;

static int setup(void **state)
{
	(void)state;
	memset(&recent, 0, sizeof(recent));
	return 0;
}

static void events(int count, int64_t at_us, int64_t latency_us)
{
	for (int i = 0; i < count; i++)
		recent_event(&recent, at_us, latency_us);
}

static double rate(int64_t now_us, int seconds)
{
	return recent_rate(&recent, now_us, start, seconds);
}

static void near(double value, double expected)
{
	if (fabs(value - expected) > 0.0626 * expected)
		fail_msg("%g is not near %g", value, expected);
}

static void test_none(void **state)
{
	struct recent_latency latency = recent_latency(&recent, start);

	(void)state;
	assert_true(rate(start, 10) == 0 && rate(start + 90 * SECOND, 60) == 0);
	assert_true(latency.events == 0 && latency.p50 == 0 && latency.p99 == 0);
}

static void test_a_steady_rate(void **state)
{
	(void)state;
	for (int second = 0; second < 100; second++)
		events(70, start + second * SECOND + SECOND / 2, 0);
	for (int ms = 0; ms < 1000; ms += 50) {
		assert_true(rate(start + 99 * SECOND + ms * MS, 10) == 70);
		assert_true(rate(start + 99 * SECOND + ms * MS, 60) == 70);
	}
}

static void test_a_burst_leaves_the_windows(void **state)
{
	(void)state;
	events(600, start + 100 * SECOND, 0);
	assert_true(rate(start + 100 * SECOND, 10) == 0); /* the second is not over */
	assert_true(rate(start + 101 * SECOND, 10) == 60);
	assert_true(rate(start + 110 * SECOND, 10) == 60);
	assert_true(rate(start + 111 * SECOND, 10) == 0);
	assert_true(rate(start + 160 * SECOND, 60) == 10);
	assert_true(rate(start + 161 * SECOND, 60) == 0);
	assert_true(rate(start + 1000 * SECOND, 60) == 0);
}

static void test_soon_after_the_start(void **state)
{
	(void)state;
	events(30, start, 0);
	assert_true(rate(start + SECOND / 2, 10) == 0);
	assert_true(rate(start + SECOND, 10) == 30);
	assert_true(rate(start + 3 * SECOND, 60) == 10);
}

static void test_seconds_are_used_again(void **state)
{
	(void)state;
	events(50, start + 10 * SECOND, 3 * MS);
	events(20, start + (10 + RECENT_SECONDS + 1) * SECOND, 5 * MS);
	assert_true(rate(start + (11 + RECENT_SECONDS + 1) * SECOND, 10) == 2);
	assert_int_equal(recent_latency(&recent, start + 71 * SECOND).events, 20);
}

static void test_percentiles(void **state)
{
	struct recent_latency latency;

	(void)state;
	for (int i = 1; i <= 1000; i++)
		events(1, start, i * MS);
	latency = recent_latency(&recent, start + 60 * SECOND);
	assert_int_equal(latency.events, 1000);
	near(latency.p50, 0.5);
	near(latency.p95, 0.95);
	near(latency.p99, 0.99);
	assert_int_equal(recent_latency(&recent, start + 61 * SECOND).events, 0);
}

static void test_a_few_slow_ones(void **state)
{
	struct recent_latency latency;

	(void)state;
	events(97, start, 2 * MS);
	events(3, start, INT64_C(7200) * SECOND);
	latency = recent_latency(&recent, start);
	near(latency.p50, 0.002);
	near(latency.p95, 0.002);
	near(latency.p99, 7200);
}

/* Each latency is told as it was, within the error that recent.h names. */
static void test_how_exact(void **state)
{
	(void)state;
	for (double us = 1; us < 3.4e10; us *= 1.01) {
		setup(NULL);
		events(1, start, (int64_t)us);
		double told = recent_latency(&recent, start).p50, true_s = floor(us) / 1e6;
		if (fabs(told - true_s) > fmax(0.0626 * true_s, 64.5e-6))
			fail_msg("%g s is told as %g s", true_s, told);
	}
}

static void test_beyond_what_is_told(void **state)
{
	(void)state;
	events(1, start, INT64_MAX);
	assert_true(recent_latency(&recent, start).p50 > 9 * 3600);
	events(1, start, -1); /* of an event without created_at nothing is known */
	assert_int_equal(recent_latency(&recent, start).events, 1);
	assert_true(rate(start + SECOND, 10) == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_none, setup),
	    cmocka_unit_test_setup(test_a_steady_rate, setup),
	    cmocka_unit_test_setup(test_a_burst_leaves_the_windows, setup),
	    cmocka_unit_test_setup(test_soon_after_the_start, setup),
	    cmocka_unit_test_setup(test_seconds_are_used_again, setup),
	    cmocka_unit_test_setup(test_percentiles, setup),
	    cmocka_unit_test_setup(test_a_few_slow_ones, setup),
	    cmocka_unit_test_setup(test_how_exact, setup),
	    cmocka_unit_test_setup(test_beyond_what_is_told, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
