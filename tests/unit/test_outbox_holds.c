/* SPDX-License-Identifier: ISC */
/*
 * test_outbox_holds.c - rows that the database does not let go: what claims leave out, and when
 * they are tried again
 */
#include "base/xalloc.h"
#include "outbox/holds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct outbox_holds holds;

static bool add(int64_t id, int64_t key, const char *identity)
{
	static char why[] = "no";
	struct outbox_hold hold = {.id = id, .key = key, .why = why};

	hold.identity = (char *)(uintptr_t)identity;
	return outbox_holds_add(&holds, &hold);
}

static void assert_text(bool by_id, const char *expected)
{
	char *text = outbox_holds_text(&holds, by_id);
	if (expected == NULL)
		assert_null(text);
	else
		assert_string_equal(text, expected);
	free(text);
}

static void test_nothing_is_held(void **state)
{
	(void)state;
	assert_text(false, NULL);
	assert_null(outbox_holds_next(&holds));
}

static void test_keys_or_ids_are_left_out(void **state)
{
	(void)state;
	add(7, INT64_MIN, "a");
	add(9, -3, NULL);
	assert_text(false, "{-9223372036854775808,-3}");
	assert_text(true, "{7,9}");
}

static void reject(int64_t id, int64_t key, int64_t now_us)
{
	static char why[] = "too large", version[] = "(0,1) 7";
	struct outbox_hold hold = {.id = id,
				   .key = key,
				   .why = why,
				   .version = version,
				   .reason = REJECT_TOO_LARGE,
				   .tried_us = now_us};

	outbox_holds_add(&holds, &hold);
}

static void see(int64_t id, const char *version, int64_t now_us)
{
	struct outbox_hold *hold = outbox_holds_find(&holds, id, NULL);
	struct outbox_hold row = {.key = hold->key, .version = (char *)(uintptr_t)version};

	assert_true(outbox_holds_seen(hold, &row, now_us));
}

static void test_a_rejected_row_is_due_once_it_has_changed(void **state)
{
	(void)state;
	reject(7, 1, 0);
	see(7, "(0,1) 7", 1000);
	assert_null(outbox_holds_due(&holds, true));
	see(7, "(0,2) 8", 2000);
	assert_int_equal(outbox_holds_due(&holds, true)->id, 7);
	outbox_holds_try(&holds, outbox_holds_due(&holds, true), 2000);
	assert_null(outbox_holds_due(&holds, true));
	assert_int_equal(outbox_holds_tried(&holds)->id, 7);
	see(7, "(0,2) 8", 2000 + HOLDS_TRY_US);
	assert_int_equal(outbox_holds_due(&holds, true)->id, 7);
}

/* A session is lost, a batch rolled back: nobody knows whether it would be accepted. */
static void test_a_try_without_a_verdict_is_repeated_once_the_row_was_seen(void **state)
{
	(void)state;
	reject(7, 1, 0);
	reject(8, 2, 0);
	see(7, "changed", 2000);
	outbox_holds_try(&holds, outbox_holds_due(&holds, true), 2000);
	see(7, "changed", 3000);
	assert_int_equal(outbox_holds_due(&holds, true)->id, 7);
	outbox_holds_doubt(&holds);
	assert_null(outbox_holds_due(&holds, true));
	assert_null(outbox_holds_tried(&holds));
	see(8, "(0,1) 7", 4000);
	assert_null(outbox_holds_due(&holds, true));
	see(7, "changed", 4000);
	assert_int_equal(outbox_holds_due(&holds, true)->id, 7);
}

/* Its commit would release the one that is tried by then. */
static void test_none_is_due_while_the_end_of_a_try_is_not_known(void **state)
{
	(void)state;
	reject(7, 1, 0);
	reject(8, 2, 0);
	see(7, "changed", 2000);
	see(8, "changed", 2000);
	outbox_holds_try(&holds, outbox_holds_due(&holds, true), 2000);
	assert_null(outbox_holds_due(&holds, false));
	outbox_holds_end_try(&holds);
	assert_int_equal(outbox_holds_due(&holds, false)->id, 8);
}

static void test_one_that_is_gone_is_not_tried_any_more(void **state)
{
	(void)state;
	reject(7, 1, 0);
	reject(8, 2, 0);
	see(8, "changed", 2000);
	outbox_holds_try(&holds, outbox_holds_find(&holds, 7, NULL), 2000);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 7, NULL));
	assert_int_equal(outbox_holds_due(&holds, true)->id, 8);
}

static void test_one_is_tried_at_a_time(void **state)
{
	(void)state;
	reject(7, 1, 0);
	reject(8, 2, 0);
	outbox_holds_try(&holds, outbox_holds_find(&holds, 7, NULL), 1000);
	outbox_holds_try(&holds, outbox_holds_find(&holds, 8, NULL), 2000);
	assert_int_equal(outbox_holds_tried(&holds)->id, 8);
	outbox_holds_end_try(&holds);
	assert_null(outbox_holds_tried(&holds));
}

/* Events of its new key may come before it. */
static void test_a_row_of_another_key_is_not_tried_alone(void **state)
{
	struct outbox_hold row = {.key = 2}, moved = {.key = 2, .leaf = 1};

	(void)state;
	reject(7, 1, 0);
	assert_false(outbox_holds_seen(outbox_holds_find(&holds, 7, NULL), &row, 1000));
	assert_true(outbox_holds_seen(outbox_holds_find(&holds, 7, NULL), &row, 1000));
	assert_false(outbox_holds_seen(outbox_holds_find(&holds, 7, NULL), &moved, 1000));
}

/* all: of no key may one go ahead of another. */
static void test_a_rejected_row_waits_for_those_before_it(void **state)
{
	(void)state;
	reject(7, 1, 0);
	reject(8, 2, 0);
	reject(9, 1, 0);
	see(8, "changed", 0);
	see(9, "changed", 0);
	assert_null(outbox_holds_due(&holds, true));
	assert_int_equal(outbox_holds_due(&holds, false)->id, 8);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 7, NULL));
	assert_int_equal(outbox_holds_due(&holds, true)->id, 8);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 8, NULL));
	assert_int_equal(outbox_holds_due(&holds, true)->id, 9);
}

static void test_what_is_another_relays_is_forgotten(void **state)
{
	(void)state;
	reject(7, 1, 0);
	reject(8, 2, 0);
	outbox_holds_forget(&holds, outbox_holds_find(&holds, 7, NULL));
	assert_int_equal(holds.count, 1);
	assert_int_equal(outbox_holds_waiting(&holds), 1);
	assert_text(true, "{8}");
}

static void test_the_same_row_is_held_once(void **state)
{
	(void)state;
	add(7, 1, "a");
	outbox_holds_find(&holds, 7, "a")->published = true;
	add(7, 1, "a");
	add(7, 1, "b"); /* the id was given again */
	add(7, 1, NULL);
	assert_int_equal(holds.count, 3);
	/* Kafka has it, whatever is found out later. */
	assert_true(outbox_holds_find(&holds, 7, "a")->published);
	assert_false(outbox_holds_find(&holds, 7, "b")->published);
}

/* Until a claim looks at all that waits, it must not be taken, or what follows it would be. */
static void test_what_is_released_is_left_out_until_it_is_dropped(void **state)
{
	(void)state;
	add(7, 1, NULL);
	add(8, 2, NULL);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 7, NULL));
	outbox_holds_release(&holds, outbox_holds_find(&holds, 7, NULL));
	assert_int_equal(holds.released, 1);
	assert_int_equal(outbox_holds_waiting(&holds), 1);
	assert_text(true, "{7,8}");
	outbox_holds_drop_released(&holds);
	assert_text(true, "{8}");
	assert_int_equal(holds.released, 0);
}

static void test_held_again_after_a_release(void **state)
{
	(void)state;
	add(7, 1, NULL);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 7, NULL));
	add(7, 1, NULL);
	assert_int_equal(holds.released, 0);
	outbox_holds_drop_released(&holds);
	assert_text(true, "{7}");
}

static void test_they_are_tried_in_turn(void **state)
{
	(void)state;
	for (int64_t id = 1; id <= 3; id++)
		add(id, id, NULL);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 2, NULL));
	assert_int_equal(outbox_holds_next(&holds)->id, 1);
	assert_int_equal(outbox_holds_next(&holds)->id, 3);
	assert_int_equal(outbox_holds_next(&holds)->id, 1);
	outbox_holds_release(&holds, outbox_holds_find(&holds, 1, NULL));
	outbox_holds_release(&holds, outbox_holds_find(&holds, 3, NULL));
	assert_null(outbox_holds_next(&holds));
}

static void test_no_more_than_a_thousand(void **state)
{
	(void)state;
	for (int64_t id = 0; id < HOLDS_MAX; id++)
		assert_true(add(id, id, NULL));
	assert_false(add(HOLDS_MAX, 0, NULL));
	assert_true(add(5, 5, NULL)); /* it is there */
	assert_int_equal(holds.count, HOLDS_MAX);
}

static int clear(void **state)
{
	(void)state;
	outbox_holds_clear(&holds);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_nothing_is_held, clear),
	    cmocka_unit_test_teardown(test_keys_or_ids_are_left_out, clear),
	    cmocka_unit_test_teardown(test_a_rejected_row_is_due_once_it_has_changed, clear),
	    cmocka_unit_test_teardown(test_a_rejected_row_waits_for_those_before_it, clear),
	    cmocka_unit_test_teardown(
		test_a_try_without_a_verdict_is_repeated_once_the_row_was_seen, clear),
	    cmocka_unit_test_teardown(test_none_is_due_while_the_end_of_a_try_is_not_known, clear),
	    cmocka_unit_test_teardown(test_one_that_is_gone_is_not_tried_any_more, clear),
	    cmocka_unit_test_teardown(test_one_is_tried_at_a_time, clear),
	    cmocka_unit_test_teardown(test_a_row_of_another_key_is_not_tried_alone, clear),
	    cmocka_unit_test_teardown(test_what_is_another_relays_is_forgotten, clear),
	    cmocka_unit_test_teardown(test_the_same_row_is_held_once, clear),
	    cmocka_unit_test_teardown(test_what_is_released_is_left_out_until_it_is_dropped, clear),
	    cmocka_unit_test_teardown(test_held_again_after_a_release, clear),
	    cmocka_unit_test_teardown(test_they_are_tried_in_turn, clear),
	    cmocka_unit_test_teardown(test_no_more_than_a_thousand, clear),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
