/* SPDX-License-Identifier: ISC */
/*
 * test_canary.c - a canary is back or lost, whichever of its two messages comes first
 */
#include "core/canary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct audit_name name(uint64_t number)
{
	return (struct audit_name){7, number};
}

static void test_inserted_then_back(void **state)
{
	struct canary canary = {.state = CANARY_RESTS};

	(void)state;
	canary_begin(&canary, 5);
	assert_false(canary_inserted(&canary, name(1)));
	assert_false(canary_arrived(&canary, name(2)));
	assert_true(canary_arrived(&canary, name(1)));
	assert_int_equal(canary.state, CANARY_RESTS);
	assert_false(canary_arrived(&canary, name(1)));
}

static void test_back_before_the_answer(void **state)
{
	struct canary canary = {.state = CANARY_RESTS};

	(void)state;
	canary_begin(&canary, 5);
	assert_false(canary_arrived(&canary, name(1)));
	for (unsigned n = 2; n <= CANARY_KEPT; n++)
		assert_false(canary_arrived(&canary, name(n)));
	assert_true(canary_inserted(&canary, name(1)));
	/* What arrived for the last one counts no more. */
	canary_begin(&canary, 6);
	assert_false(canary_inserted(&canary, name(2)));
}

static void test_lost(void **state)
{
	struct canary canary = {.state = CANARY_RESTS};

	(void)state;
	canary_begin(&canary, 5);
	canary_lose(&canary);
	assert_false(canary_inserted(&canary, name(1)));
	canary_begin(&canary, 6);
	assert_false(canary_inserted(&canary, name(2)));
	canary_lose(&canary);
	assert_int_equal(canary.lost_in_row, 2);
	assert_false(canary_arrived(&canary, name(2)));
	canary_begin(&canary, 7);
	canary_inserted(&canary, name(3));
	assert_false(canary_arrived(&canary, name(1)));
	assert_true(canary_arrived(&canary, name(3)));
	assert_int_equal(canary.lost_in_row, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_inserted_then_back),
	    cmocka_unit_test(test_back_before_the_answer),
	    cmocka_unit_test(test_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
