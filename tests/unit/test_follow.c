/* SPDX-License-Identifier: ISC */
/*
 * test_follow.c - how far a shadow may read: never past a transaction that was there at the mark
 */
#include "outbox/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct writers set(size_t count, ...)
{
	struct writers writers = {0};
	va_list items;

	va_start(items, count);
	for (size_t i = 0; i < count; i++)
		writers_add(&writers, (uint64_t)va_arg(items, int));
	va_end(items);
	return writers;
}

static bool reads(struct follow *follow, struct writers writers)
{
	return follow_read(follow, &writers);
}

static void test_nobody_writes(void **state)
{
	struct follow follow = {0};

	(void)state;
	assert_true(follow_seen(&follow, 10));
	assert_true(reads(&follow, set(0)));
	assert_true(follow.known);
	assert_int_equal(follow.upto, 10);
	assert_false(follow_seen(&follow, 10));
	assert_false(follow_seen(&follow, 9));
	assert_true(follow_seen(&follow, 11));
}

/* An empty table has an end, too. */
static void test_no_row(void **state)
{
	struct follow follow = {0};

	(void)state;
	assert_true(follow_seen(&follow, INT64_MIN));
	assert_false(reads(&follow, set(1, 7)));
	assert_true(reads(&follow, set(0)));
	assert_int_equal(follow.upto, INT64_MIN);
	assert_false(follow_seen(&follow, INT64_MIN));
}

/* Those that came later have higher ids. */
static void test_writers_are_waited_for(void **state)
{
	struct follow follow = {0};

	(void)state;
	follow_seen(&follow, 10);
	assert_false(reads(&follow, set(2, 1, 2)));
	assert_true(follow.waiting);
	assert_false(follow.known);
	assert_false(reads(&follow, set(3, 2, 3, 4)));
	assert_true(reads(&follow, set(3, 3, 4, 1)));
	assert_int_equal(follow.upto, 10);
	assert_false(follow.waiting);
}

/* What is known stays so while the next mark does not hold yet. */
static void test_the_next_mark(void **state)
{
	struct follow follow = {0};

	(void)state;
	follow_seen(&follow, 10);
	reads(&follow, set(0));
	assert_true(follow_seen(&follow, 20));
	assert_int_equal(follow.upto, 10);
	assert_false(reads(&follow, set(1, 5)));
	assert_int_equal(follow.upto, 10);
	assert_true(reads(&follow, set(0)));
	assert_int_equal(follow.upto, 20);
}

/* Another session may have another view of who writes; a new mark begins with all of them. */
static void test_a_lost_session(void **state)
{
	struct follow follow = {0};

	(void)state;
	follow_seen(&follow, 10);
	assert_false(reads(&follow, set(1, 5)));
	follow_reset(&follow);
	assert_false(follow.waiting);
	assert_true(follow_seen(&follow, 30));
	assert_false(reads(&follow, set(2, 5, 6)));
	assert_false(reads(&follow, set(1, 6)));
	assert_true(reads(&follow, set(1, 7)));
	assert_int_equal(follow.upto, 30);
}

static void test_too_many_writers(void **state)
{
	struct follow follow = {0};
	struct writers many = {.overflow = true};

	(void)state;
	follow_seen(&follow, 10);
	assert_false(reads(&follow, many));
	assert_false(reads(&follow, set(1, 9)));
	assert_true(reads(&follow, set(1, 10)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nobody_writes),	   cmocka_unit_test(test_no_row),
	    cmocka_unit_test(test_writers_are_waited_for), cmocka_unit_test(test_the_next_mark),
	    cmocka_unit_test(test_a_lost_session),	   cmocka_unit_test(test_too_many_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
