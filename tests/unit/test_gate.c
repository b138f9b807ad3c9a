/* SPDX-License-Identifier: ISC */
/*
 * test_gate.c - nothing is let out that a flush behind it has not covered
 */
#include "base/xalloc.h"
#include "outbox/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct gate gate;
static int freed;

static void free_chunk(struct chunk *chunk)
{
	freed++;
	free(chunk);
}

static struct chunk *add(bool last)
{
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));

	chunk->free = free_chunk;
	chunk->count = 1;
	gate_add(&gate, chunk, last, 1000);
	return chunk;
}

static struct chunk *take(void)
{
	struct gate_entry entry;

	return gate_take(&gate, &entry) ? entry.chunk : NULL;
}

/* Takes the next one, and no other may go. */
static void assert_only(struct chunk *expected)
{
	struct chunk *chunk = take();

	assert_ptr_equal(chunk, expected);
	assert_null(take());
	free(chunk);
}

static void test_it_waits_for_the_flush_and_for_its_position(void **state)
{
	struct chunk *chunk = add(true);

	(void)state;
	gate_reach(&gate, 100);
	assert_null(take());
	assert_true(gate_begin_flush(&gate));
	assert_false(gate_begin_flush(&gate));
	assert_false(gate_awaits(&gate));
	gate_end_flush(&gate, 101);
	assert_true(gate_awaits(&gate));
	assert_null(take());
	gate_reach(&gate, 101);
	assert_only(chunk);
	assert_false(gate_begin_flush(&gate));
}

/* What it was claimed from may have been committed behind the flush. */
static void test_who_comes_during_a_flush_needs_another(void **state)
{
	struct chunk *first = add(false), *second;

	(void)state;
	gate_begin_flush(&gate);
	second = add(true);
	gate_end_flush(&gate, 10);
	gate_reach(&gate, 1000);
	assert_only(first);
	assert_true(gate_begin_flush(&gate));
	gate_end_flush(&gate, 20);
	assert_only(second);
}

static void test_one_flush_serves_all_that_wait(void **state)
{
	struct chunk *first = add(false), *second = add(true);

	(void)state;
	gate_begin_flush(&gate);
	gate_end_flush(&gate, 10);
	gate_reach(&gate, 10);
	assert_ptr_equal(take(), first);
	free(first);
	assert_only(second);
}

/* Standbys are asked about one position while the next is flushed. */
static void test_the_next_flush_begins_while_a_position_is_awaited(void **state)
{
	struct chunk *first = add(false), *second;

	(void)state;
	gate_begin_flush(&gate);
	gate_end_flush(&gate, 10);
	second = add(true);
	assert_true(gate_begin_flush(&gate));
	gate_reach(&gate, 10);
	assert_only(first);
	gate_end_flush(&gate, 20);
	assert_null(take());
	gate_reach(&gate, 20);
	assert_only(second);
}

static void test_what_is_reached_is_never_less(void **state)
{
	struct chunk *chunk = add(true);

	(void)state;
	gate_begin_flush(&gate);
	gate_end_flush(&gate, 10);
	gate_reach(&gate, 12);
	gate_reach(&gate, 5);
	assert_only(chunk);
}

/* The session that flushes is another one, perhaps of another server. */
static void test_a_restart_believes_nothing_of_before(void **state)
{
	struct chunk *chunk = add(true);

	(void)state;
	gate_begin_flush(&gate);
	gate_end_flush(&gate, 10);
	gate_reach(&gate, 9);
	gate_restart(&gate);
	gate_reach(&gate, 50);
	assert_null(take());
	assert_true(gate_begin_flush(&gate));
	gate_end_flush(&gate, 50);
	assert_only(chunk);
}

static void test_a_flush_for_what_was_given_back_serves_nobody(void **state)
{
	struct chunk *chunk;

	(void)state;
	add(false);
	add(true);
	gate_begin_flush(&gate);
	gate_clear(&gate);
	assert_int_equal(freed, 2);
	chunk = add(true);
	gate_end_flush(&gate, 10);
	gate_reach(&gate, 10);
	assert_null(take());
	gate_begin_flush(&gate);
	gate_end_flush(&gate, 20);
	gate_reach(&gate, 20);
	assert_only(chunk);
}

/* The last chunk of a fetch may have none. */
static void test_one_without_events_goes_with_the_one_before(void **state)
{
	struct chunk *chunk = add(false), *empty = xcalloc(1, sizeof(*empty));

	(void)state;
	empty->free = free_chunk;
	gate_begin_flush(&gate);
	gate_add(&gate, empty, true, 1000);
	assert_false(gate_begin_flush(&gate));
	gate_end_flush(&gate, 10);
	gate_reach(&gate, 10);
	assert_ptr_equal(take(), chunk);
	free(chunk);
	assert_only(empty);
}

static int tear_down(void **state)
{
	(void)state;
	gate_fini(&gate);
	freed = 0;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_it_waits_for_the_flush_and_for_its_position, tear_down),
	    cmocka_unit_test_teardown(test_who_comes_during_a_flush_needs_another, tear_down),
	    cmocka_unit_test_teardown(test_one_flush_serves_all_that_wait, tear_down),
	    cmocka_unit_test_teardown(test_the_next_flush_begins_while_a_position_is_awaited,
				      tear_down),
	    cmocka_unit_test_teardown(test_what_is_reached_is_never_less, tear_down),
	    cmocka_unit_test_teardown(test_a_restart_believes_nothing_of_before, tear_down),
	    cmocka_unit_test_teardown(test_a_flush_for_what_was_given_back_serves_nobody,
				      tear_down),
	    cmocka_unit_test_teardown(test_one_without_events_goes_with_the_one_before, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
