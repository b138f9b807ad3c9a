/* SPDX-License-Identifier: ISC */
/*
 * test_backoff.c - waits double up to a bound, and no two relays wait alike
 */
#include "base/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_waits_double_up_to_the_bound(void **state)
{
	static const int64_t whole_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
	uint64_t random = 1;

	(void)state;
	for (unsigned failures = 0; failures < sizeof(whole_ms) / sizeof(whole_ms[0]); failures++) {
		int64_t least = INT64_MAX, most = 0;

		for (int i = 0; i < 2000; i++) {
			int64_t wait = backoff_us(failures, &random);

			least = wait < least ? wait : least;
			most = wait > most ? wait : most;
		}
		int64_t whole = whole_ms[failures] * 1000;
		assert_in_range(least, whole / 2, whole / 2 + whole / 50);
		assert_in_range(most, whole - whole / 50, whole);
	}
}

static void test_any_number_of_failures_is_bounded(void **state)
{
	uint64_t random = 0;

	(void)state;
	assert_in_range(backoff_us(64, &random), 2500 * 1000, 5000 * 1000);
	assert_in_range(backoff_us(4294967295u, &random), 2500 * 1000, 5000 * 1000);
}

static void test_relays_do_not_return_in_step(void **state)
{
	uint64_t one = 1, other = 2;
	int same = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		same += backoff_us(5, &one) == backoff_us(5, &other);
	assert_true(same < 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_waits_double_up_to_the_bound),
	    cmocka_unit_test(test_any_number_of_failures_is_bounded),
	    cmocka_unit_test(test_relays_do_not_return_in_step),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
