/* SPDX-License-Identifier: ISC */
/*
 * test_purging.c - rows that cannot be deleted are passed over, all others are deleted, and those
 * that are gone are not walked again
 */
#include "outbox/purging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 1000, MOST = 500, SECOND = 1000 * 1000 };

/* By id: '.' can be deleted, 'x' cannot, ' ' is gone. */
static char rows[2 * ROWS + 1];
static int refusals, walked; /* walked: those that are gone */

static void insert(int from, int count)
{
	memset(rows + from, '.', (size_t)count);
	rows[from + count] = '\0';
}

static void begin(int count)
{
	insert(0, count);
	refusals = walked = 0;
}

static int left(void)
{
	int count = 0;
	for (const char *row = rows; *row != '\0'; row++)
		count += *row != ' ';
	return count;
}

/* As the statement does it. */
static void delete_some(struct purging *purging, int64_t now_us)
{
	int pass = purging->passed, count = purging->rows;
	int64_t upto = -1;
	int first = purging->above < 0 ? 0 : (int)purging->above + 1;
	for (int id = first; rows[id] != '\0' && count > 0; id++) {
		walked += rows[id] == ' ';
		if (rows[id] == ' ' || pass-- > 0)
			continue;
		purging->refused |= rows[id] == 'x';
		count--;
	}
	refusals += purging->refused;
	if (purging->refused)
		return;
	pass = purging->passed;
	count = purging->rows;
	for (int id = first; rows[id] != '\0' && count > 0; id++) {
		if (rows[id] == ' ' || pass-- > 0)
			continue;
		rows[id] = ' ';
		upto = id;
		count--;
	}
	purging_done(purging, upto, false, now_us);
}

static void rounds(struct purging *purging, int count, int64_t now_us)
{
	for (int i = 0; i < count; i++)
		if (purging_plan(purging, MOST, now_us))
			delete_some(purging, now_us);
}

static void test_all_are_deleted_as_they_come(void **state)
{
	struct purging purging = {0};
	(void)state;
	begin(ROWS);
	rounds(&purging, 2, SECOND);
	assert_int_equal(left(), 0);
	insert(ROWS, ROWS);
	rounds(&purging, 2, 2 * SECOND);
	assert_int_equal(left(), 0);
	assert_int_equal(walked, 0);
}

/* Wherever they are. */
static void test_others_are_deleted(void **state)
{
	(void)state;
	for (int first = 0; first < 40; first++) {
		struct purging purging = {0};
		begin(ROWS);
		rows[first] = rows[first + 1] = rows[ROWS - 1 - first] = 'x';
		rounds(&purging, 100, SECOND);
		assert_int_equal(left(), 3);
		assert_true(refusals <= 3 * 10);
		/* New ones have come. */
		insert(ROWS, 7);
		rounds(&purging, 20, 2 * SECOND);
		assert_int_equal(left(), 3);
		/* The cause is gone. */
		rows[first] = rows[first + 1] = rows[ROWS - 1 - first] = '.';
		rounds(&purging, 1, 3 * SECOND);
		assert_true(left() >= 2);
		rounds(&purging, 1, INT64_C(700) * SECOND);
		assert_int_equal(left(), 0);
	}
}

static void test_not_for_ever(void **state)
{
	struct purging purging = {0};
	(void)state;
	begin(ROWS);
	memset(rows, 'x', ROWS);
	rounds(&purging, 2000, SECOND);
	assert_int_equal(purging.passed, PURGING_PASSED_MAX + 1);
	assert_true(refusals < 10 * PURGING_PASSED_MAX);
	rounds(&purging, 1, INT64_C(700) * SECOND);
	assert_int_equal(purging.passed, 0);
}

/* What was locked, or settled late. */
static void test_the_first_rows_are_looked_at_again(void **state)
{
	struct purging purging = {0};
	(void)state;
	begin(ROWS);
	rounds(&purging, 2, SECOND);
	rows[3] = '.';
	rounds(&purging, 10, 2 * SECOND);
	assert_int_equal(left(), 1);
	rounds(&purging, 1, INT64_C(700) * SECOND);
	assert_int_equal(left(), 0);
}

/* It may have to walk all that is gone. */
static void test_rarer_if_that_takes_long(void **state)
{
	struct purging purging = {0};
	const int64_t upto = 5;
	(void)state;
	assert_true(purging_plan(&purging, MOST, SECOND));
	assert_true(purging.restarts);
	purging_done(&purging, upto, false, 11 * SECOND);
	assert_true(purging_plan(&purging, MOST, INT64_C(2010) * SECOND));
	assert_int_equal(purging.above, 5);
	assert_true(purging_plan(&purging, MOST, INT64_C(2012) * SECOND));
	assert_true(purging.above < 0);
}

/* Rounds in which nothing but rows that stay was found are one walk. */
static void test_a_walk_past_what_stays(void **state)
{
	struct purging purging = {0};
	(void)state;
	assert_true(purging_plan(&purging, MOST, SECOND));
	purging_done(&purging, 5, true, 3 * SECOND);
	assert_true(purging_plan(&purging, MOST, 4 * SECOND));
	assert_int_equal(purging.above, 5);
	assert_true(purging.restarts);
	purging_done(&purging, 9, true, 7 * SECOND);
	assert_true(purging_plan(&purging, MOST, 8 * SECOND));
	purging_done(&purging, 12, false, 9 * SECOND);
	assert_true(purging_plan(&purging, MOST, INT64_C(1200) * SECOND));
	assert_int_equal(purging.above, 12);
	assert_false(purging.restarts);
	purging_done(&purging, 12, false, INT64_C(1205) * SECOND);
	assert_true(purging_plan(&purging, MOST, INT64_C(1210) * SECOND));
	assert_true(purging.above < 0);
}

/* The row that was refused is still the first of those that are tried. */
static void test_what_stays_is_not_tried(void **state)
{
	struct purging purging = {0};
	(void)state;
	assert_true(purging_plan(&purging, 4, SECOND));
	purging.refused = true;
	for (int i = 0; i < 10; i++) {
		assert_true(purging_plan(&purging, 4, SECOND));
		assert_int_equal(purging.bound, 4);
		purging_done(&purging, i, true, SECOND);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_are_deleted_as_they_come),
	    cmocka_unit_test(test_others_are_deleted),
	    cmocka_unit_test(test_not_for_ever),
	    cmocka_unit_test(test_the_first_rows_are_looked_at_again),
	    cmocka_unit_test(test_rarer_if_that_takes_long),
	    cmocka_unit_test(test_a_walk_past_what_stays),
	    cmocka_unit_test(test_what_stays_is_not_tried),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
