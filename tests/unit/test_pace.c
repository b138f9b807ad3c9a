/* SPDX-License-Identifier: ISC */
/*
 * test_pace.c - never more than the rate, whatever comes in between
 */
#include "core/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

static void test_rows(void **state)
{
	(void)state;
	assert_int_equal(pace_rows(&(struct pace){.rate = 1000}, 10000), 250);
	assert_int_equal(pace_rows(&(struct pace){.rate = 1000}, 100), 100);
	assert_int_equal(pace_rows(&(struct pace){.rate = 3}, 100), 1);
	assert_int_equal(pace_rows(&(struct pace){.rate = 0}, 100), 100);
}

static void test_as_fast_as_it_goes(void **state)
{
	struct pace pace = {0};

	(void)state;
	pace_took(&pace, 1000000, 5);
	assert_int_equal(pace_wait_us(&pace, 5), 0);
}

/* Taken as soon as they are due: to the event. */
static void test_the_rate_is_kept(void **state)
{
	int64_t now = 17 * SECOND, taken = 0;

	(void)state;
	for (int64_t rate = 1; rate <= 2000; rate = rate * 3 + 1) {
		struct pace pace = {.rate = rate};
		int64_t begun = now;

		for (int turn = 0; turn < 100; turn++) {
			int64_t rows = pace_rows(&pace, 100);

			now += pace_wait_us(&pace, now);
			taken = turn == 0 ? 0 : taken;
			assert_true(taken <= (now - begun) * rate / SECOND + 1);
			pace_took(&pace, rows, now);
			taken += rows;
		}
		assert_true(now - begun <= taken * SECOND / rate);
	}
}

/* No burst behind an outage. */
static void test_nothing_is_made_up_for(void **state)
{
	struct pace pace = {.rate = 100};

	(void)state;
	pace_took(&pace, 25, SECOND);
	pace_took(&pace, 25, 60 * SECOND);
	assert_int_equal(pace_wait_us(&pace, 60 * SECOND), SECOND / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_as_fast_as_it_goes),
	    cmocka_unit_test(test_the_rate_is_kept),
	    cmocka_unit_test(test_nothing_is_made_up_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
