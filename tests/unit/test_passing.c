/* SPDX-License-Identifier: ISC */
/*
 * test_passing.c - which errors of the server pass, and for how long that is believed
 */
#include "outbox/passing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

static void test_kinds(void **state)
{
	static const char *const pass[] = {"40001", "40P01", "53100", "53300", "55P03",
					   "55006", "57014", "57P01", "58030"};
	static const char *const stay[] = {"23503", "42501", "53400", "54000", "55000",
					   "P0001", "XX000", "08006", ""};
	(void)state;
	for (size_t i = 0; i < sizeof(pass) / sizeof(*pass); i++)
		assert_true(passing_kind(pass[i]));
	for (size_t i = 0; i < sizeof(stay) / sizeof(*stay); i++)
		assert_false(passing_kind(stay[i]));
}

/* A deadlock whenever a certain row is touched. */
static void test_what_goes_on_has_not_passed(void **state)
{
	struct passing passing = {0};
	int64_t now = INT64_C(3600) * SECOND;
	(void)state;
	for (int i = 0; i < 10; i++, now += SECOND)
		assert_true(passing_still(&passing, "40P01", now));
	assert_false(passing_still(&passing, "40P01", now));
	assert_false(passing_still(&passing, "55P03", now + 9 * SECOND));
	/* A new one. */
	assert_true(passing_still(&passing, "40P01", now + 60 * SECOND));
}

static void test_no_row_fills_the_disk(void **state)
{
	struct passing passing = {0};
	(void)state;
	for (int64_t i = 1; i < 100; i++)
		assert_true(passing_still(&passing, "53100", i * SECOND));
	assert_false(passing_still(&passing, "23503", 100 * SECOND));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_what_goes_on_has_not_passed),
	    cmocka_unit_test(test_no_row_fills_the_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
