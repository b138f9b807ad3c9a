/* SPDX-License-Identifier: ISC */
/*
 * test_outage.c - an outage of an hour is a few lines and one at its end; a peer that comes and
 * goes writes few lines, too
 */
#include "../../relay/core/outage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define S(n) ((int64_t)(1e6 * (n)))

static struct outage outage;
static unsigned lines[4]; /* of each kind */

static enum outage_line count(enum outage_line line)
{
	lines[line]++;
	return line;
}

static int setup(void **state)
{
	(void)state;
	outage = (struct outage){0};
	for (int i = 0; i < 4; i++)
		lines[i] = 0;
	return 0;
}

static enum outage_line lose(int64_t at, const char *why)
{
	return count(outage_failed(&outage, at, why));
}

static enum outage_line answer(int64_t at)
{
	return count(outage_answered(&outage, at));
}

static void test_a_short_one(void **state)
{
	(void)state;
	assert_true(outage_due_us(&outage) == INT64_MAX);
	assert_int_equal(answer(S(1)), OUTAGE_NOTHING);
	assert_int_equal(lose(S(10), "reset"), OUTAGE_BEGAN);
	assert_int_equal(lose(S(10.1), "reset"), OUTAGE_NOTHING);
	assert_int_equal(answer(S(12)), OUTAGE_ENDED);
	assert_true(outage.back_us - outage.since_us == S(2));
	assert_int_equal(outage.failures, 2);
	assert_int_equal(answer(S(13)), OUTAGE_NOTHING);
	assert_true(outage_due_us(&outage) == INT64_MAX);
}

/* The database is tried every 1.6 s. */
static void test_an_hour(void **state)
{
	int64_t at = S(100);

	(void)state;
	for (; at < S(3700); at += S(1.6))
		lose(at, "refused");
	assert_int_equal(lines[OUTAGE_BEGAN], 1);
	assert_in_range(lines[OUTAGE_LASTS], 7, 10);
	assert_int_equal(answer(at), OUTAGE_ENDED);
	assert_int_equal(outage.failures, 2250);
	assert_true(outage.back_us - outage.since_us >= S(3599));
}

/* Of Kafka only the timer tells that it is still gone. */
static void test_an_hour_by_the_timer(void **state)
{
	int64_t at = S(100);

	(void)state;
	lose(at, "");
	while ((at = outage_due_us(&outage)) < S(3700))
		assert_int_equal(count(outage_on_time(&outage, at, "")), OUTAGE_LASTS);
	assert_in_range(lines[OUTAGE_LASTS], 7, 10);
}

static void test_a_reason_that_changes(void **state)
{
	(void)state;
	assert_int_equal(lose(S(10), "shutting down"), OUTAGE_BEGAN);
	assert_int_equal(lose(S(10.2), "refused"), OUTAGE_LASTS); /* the cause comes second */
	assert_int_equal(lose(S(11), "shutting down"), OUTAGE_NOTHING);
	assert_int_equal(lose(S(15.3), "starting up"), OUTAGE_LASTS);
	assert_int_equal(lose(S(16), ""), OUTAGE_NOTHING);
	setup(NULL);
	for (int64_t at = S(10); at < S(3610); at += S(1.6))
		lose(at, at / S(1.6) % 2 ? "host a" : "host b");
	assert_in_range(lines[OUTAGE_LASTS], 10, 90);
}

/* Its lines do not grow with how often it comes and goes. */
static void check_flapping(double up, double down, unsigned at_most)
{
	int64_t at = S(10);

	setup(NULL);
	while (at < S(3610)) {
		lose(at, "reset");
		at += S(down);
		answer(at);
		while (outage_due_us(&outage) <= at + S(up))
			count(outage_on_time(&outage, outage_due_us(&outage), ""));
		at += S(up);
	}
	assert_in_range(lines[OUTAGE_BEGAN] + lines[OUTAGE_LASTS] + lines[OUTAGE_ENDED], 3,
			at_most);
	assert_false(outage.down);
	/* In the end its return is told. */
	while (outage_due_us(&outage) != INT64_MAX)
		count(outage_on_time(&outage, outage_due_us(&outage), ""));
	assert_false(outage.told);
	assert_int_equal(lines[OUTAGE_BEGAN], lines[OUTAGE_ENDED]);
}

static void test_flapping(void **state)
{
	(void)state;
	check_flapping(0.1, 0.1, 20);
	check_flapping(1, 1.6, 20);
	check_flapping(4, 10, 20);
	check_flapping(20, 3, 30);
	check_flapping(50, 1, 40);
}

/* A loss long after the last one is told as the first was. */
static void test_calm_between(void **state)
{
	(void)state;
	for (int i = 1; i < 5; i++) {
		assert_int_equal(lose(S(1000 * i), "reset"), OUTAGE_BEGAN);
		assert_int_equal(answer(S(1000 * i + 1)), OUTAGE_ENDED);
	}
}

static void test_expected(void **state)
{
	(void)state;
	outage_expect(&outage, S(10));
	assert_int_equal(outage_on_time(&outage, S(14), ""), OUTAGE_NOTHING);
	assert_int_equal(answer(S(14.5)), OUTAGE_NOTHING);
	setup(NULL);
	outage_expect(&outage, S(10));
	assert_true(outage_due_us(&outage) == S(15));
	assert_int_equal(outage_on_time(&outage, S(15), ""), OUTAGE_BEGAN);
	assert_int_equal(answer(S(20)), OUTAGE_ENDED);
	assert_true(outage.back_us - outage.since_us == S(10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_a_short_one, setup),
	    cmocka_unit_test_setup(test_an_hour, setup),
	    cmocka_unit_test_setup(test_an_hour_by_the_timer, setup),
	    cmocka_unit_test_setup(test_a_reason_that_changes, setup),
	    cmocka_unit_test_setup(test_flapping, setup),
	    cmocka_unit_test_setup(test_calm_between, setup),
	    cmocka_unit_test_setup(test_expected, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
