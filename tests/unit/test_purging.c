/* SPDX-License-Identifier: ISC */
/*
 * test_purging.c - rows that cannot be deleted are passed over, and all others are deleted
 */
#include "outbox/purging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 1000, MOST = 500, SECOND = 1000 * 1000 };

/* In the order of ids: 'x' cannot be deleted, '.' can. */
static char rows[ROWS + 1];
static int tries, refusals;

static void insert(int count)
{
	memset(rows, '.', (size_t)count);
	rows[count] = '\0';
	tries = refusals = 0;
}

static void delete_some(struct purging *purging)
{
	size_t len = strlen(rows), from = (size_t)purging->passed, count = (size_t)purging->rows;
	from = from < len ? from : len;
	count = count < len - from ? count : len - from;
	purging->refused = memchr(rows + from, 'x', count) != NULL;
	refusals += purging->refused;
	if (!purging->refused)
		memmove(rows + from, rows + from + count, len - from - count + 1);
}

static void rounds(struct purging *purging, int count, int64_t now_us)
{
	for (int i = 0; i < count; i++, tries++)
		if (purging_plan(purging, MOST, now_us))
			delete_some(purging);
}

static void test_all_are_deleted_as_they_come(void **state)
{
	struct purging purging = {0};
	(void)state;
	insert(ROWS);
	rounds(&purging, 2, SECOND);
	assert_string_equal(rows, "");
}

/* Wherever they are. */
static void test_others_are_deleted(void **state)
{
	(void)state;
	for (int first = 0; first < 40; first++) {
		struct purging purging = {0};
		insert(ROWS);
		rows[first] = rows[first + 1] = rows[ROWS - 1 - first] = 'x';
		rounds(&purging, 100, SECOND);
		assert_string_equal(rows, "xxx");
		assert_true(refusals <= 3 * 10);
		/* The cause is gone, and new ones have come. */
		insert(7);
		rounds(&purging, 10, 2 * SECOND);
		assert_int_equal(strlen(rows), 3);
		rounds(&purging, 1, INT64_C(700) * SECOND);
		assert_string_equal(rows, "");
	}
}

static void test_not_for_ever(void **state)
{
	struct purging purging = {0};
	(void)state;
	insert(ROWS);
	memset(rows, 'x', ROWS);
	rounds(&purging, 2000, SECOND);
	assert_int_equal(purging.passed, PURGING_PASSED_MAX + 1);
	assert_true(refusals < 10 * PURGING_PASSED_MAX);
	rounds(&purging, 1, INT64_C(700) * SECOND);
	assert_int_equal(purging.passed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_are_deleted_as_they_come),
	    cmocka_unit_test(test_others_are_deleted),
	    cmocka_unit_test(test_not_for_ever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
