/* SPDX-License-Identifier: ISC */
/*
 * test_claims.c - how many events to ask for, and how many asks to have under way
 */
#include "outbox/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct claims_limits limits = {
    .claim_rows = 2500, .batch_rows = 10000, .batch_bytes = 16 << 20};

static struct claim ask(struct claims *claims)
{
	struct claim claim = {0};
	claims_next(claims, &claim);
	return claim;
}

/* A batch of so many events of so many bytes. */
static void learn(struct claims *claims, int64_t events, size_t bytes)
{
	claims_begin(claims, &limits);
	ask(claims);
	claims_answered(claims, events, 0, bytes, false);
}

static void test_a_batch_is_never_overfilled(void **state)
{
	struct claims claims;
	int64_t smallest = limits.claim_rows;
	(void)state;
	claims_init(&claims);
	claims_begin(&claims, &limits);
	ask(&claims);
	while (claims.under_way > 0) {
		int64_t rows = claims.asked[0];
		smallest = rows < smallest ? rows : smallest;
		claims_answered(&claims, rows, 0, (size_t)rows * 100, true);
		while (claims_want(&claims))
			ask(&claims);
	}
	assert_int_equal(claims.events, limits.batch_rows);
	/* The last ones are small: what is produced after them holds up the commit. */
	assert_true(smallest <= 400);
}

static void test_a_short_answer_ends_the_batch(void **state)
{
	struct claims claims;
	(void)state;
	claims_init(&claims);
	claims_begin(&claims, &limits);
	ask(&claims);
	claims_answered(&claims, 7, 0, 700, false);
	assert_false(claims_want(&claims));
	claims_begin(&claims, &limits);
	assert_true(claims_want(&claims));
}

static void test_no_more_than_two_are_under_way(void **state)
{
	struct claims claims;
	(void)state;
	claims_init(&claims);
	claims_begin(&claims, &limits);
	ask(&claims);
	assert_true(claims_want(&claims));
	ask(&claims);
	assert_false(claims_want(&claims));
}

static void test_large_events_are_asked_for_in_small_numbers(void **state)
{
	struct claims claims;
	(void)state;
	claims_init(&claims);
	learn(&claims, 10, 10 << 20);
	claims_begin(&claims, &limits);
	struct claim first = ask(&claims);
	assert_true(first.rows <= 16);
	assert_int_equal(first.bytes, limits.batch_bytes);
	/* What the first may bring is no longer to be had by the second. */
	struct claim second = ask(&claims);
	assert_true(second.rows * (1 << 20) <=
		    limits.batch_bytes - first.rows * (1 << 20) + (2 << 20));
	assert_true(second.bytes <= limits.batch_bytes - first.rows * (1 << 20));
}

static void test_the_average_rises_at_once_and_falls_slowly(void **state)
{
	struct claims claims;
	(void)state;
	claims_init(&claims);
	learn(&claims, 1, 100000);
	assert_int_equal(claims.event_bytes, 100001);
	learn(&claims, 100, 10000);
	assert_in_range(claims.event_bytes, 80000, 100000);
	learn(&claims, 0, 0);
	assert_in_range(claims.event_bytes, 80000, 100000);
}

static void test_one_event_is_always_asked_for(void **state)
{
	struct claims claims;
	(void)state;
	claims_init(&claims);
	learn(&claims, 1, 100 << 20);
	claims_begin(&claims, &limits);
	assert_int_equal(ask(&claims).rows, 1);
}

/* Half as many, down to one, and never two at a time; each success doubles the number. */
static void test_after_a_failure_fewer_are_asked_for(void **state)
{
	struct claims claims;
	int64_t rows = 0, expected = 1250;
	(void)state;
	claims_init(&claims);
	for (int i = 0; i < 14; i++) {
		claims_begin(&claims, &limits);
		rows = ask(&claims).rows;
		if (i > 0)
			assert_int_equal(rows, expected > 1 ? expected : 1);
		if (i > 0)
			expected /= 2;
		claims_failed(&claims);
	}
	assert_int_equal(rows, 1);
	for (expected = 1; expected < limits.claim_rows; expected *= 2) {
		claims_begin(&claims, &limits);
		assert_int_equal(ask(&claims).rows, expected);
		claims_answered(&claims, 1, 0, 100, true);
		assert_false(claims_want(&claims));
	}
	for (int i = 0; i < 2; i++) {
		claims_begin(&claims, &limits);
		assert_int_equal(ask(&claims).rows, limits.claim_rows);
		claims_answered(&claims, 1, 0, 100, true);
	}
	assert_true(claims_want(&claims));
}

/* They take their part of the batch, but tell nothing of the size of events. */
static void test_what_is_set_aside_counts_as_rows(void **state)
{
	struct claims claims;
	(void)state;
	claims_init(&claims);
	claims_begin(&claims, &(struct claims_limits){10, 10, 1 << 20});
	int64_t bytes = claims.event_bytes;
	ask(&claims);
	claims_answered(&claims, 0, 6, 0, true);
	assert_int_equal(claims.event_bytes, bytes);
	assert_int_equal(ask(&claims).rows, 4);
	claims_answered(&claims, 1, 3, 100, true);
	assert_false(claims_want(&claims));
}

static void test_letters_are_claimed_once(void **state)
{
	struct claims claims;
	struct claim claim = {.letters = true};
	(void)state;
	claims_init(&claims);
	claims_single(&claims, &limits, &claim);
	assert_true(claim.opens && claim.letters);
	assert_int_equal(claim.rows, limits.claim_rows);
	assert_int_equal(claim.bytes, limits.batch_bytes);
	claims_answered(&claims, claim.rows, 0, 100, true);
	assert_false(claims_want(&claims));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_batch_is_never_overfilled),
	    cmocka_unit_test(test_a_short_answer_ends_the_batch),
	    cmocka_unit_test(test_no_more_than_two_are_under_way),
	    cmocka_unit_test(test_large_events_are_asked_for_in_small_numbers),
	    cmocka_unit_test(test_the_average_rises_at_once_and_falls_slowly),
	    cmocka_unit_test(test_one_event_is_always_asked_for),
	    cmocka_unit_test(test_after_a_failure_fewer_are_asked_for),
	    cmocka_unit_test(test_what_is_set_aside_counts_as_rows),
	    cmocka_unit_test(test_letters_are_claimed_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
