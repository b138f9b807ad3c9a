/* SPDX-License-Identifier: ISC */
/*
 * test_writers.c - one reading of the writer horizon: sets, their overflow, and how names are read
 */
#include "outbox/writers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct writers set(size_t count, const uint64_t *items)
{
	struct writers writers;

	writers_clear(&writers);
	for (size_t i = 0; i < count; i++)
		writers_add(&writers, items[i]);
	return writers;
}

static struct writers overflowed(void)
{
	struct writers writers;

	writers_clear(&writers);
	for (uint64_t i = 0; i <= WRITERS_MAX; i++)
		writers_add(&writers, i + 1);
	return writers;
}

static void test_keeps_who_is_still_there(void **state)
{
	struct writers then = set(3, (uint64_t[]){1, 2, 3});
	struct writers now = set(3, (uint64_t[]){3, 4, 1});

	(void)state;
	writers_keep(&then, &now);
	assert_int_equal(then.count, 2);
	assert_int_equal(then.items[0], 1);
	assert_int_equal(then.items[1], 3);
	now = set(1, (uint64_t[]){4});
	writers_keep(&then, &now);
	assert_true(writers_none(&then));
}

static void test_nobody_stays_nobody(void **state)
{
	struct writers then = set(0, NULL), now = set(2, (uint64_t[]){1, 2});

	(void)state;
	assert_true(writers_none(&then));
	writers_keep(&then, &now);
	assert_true(writers_none(&then));
}

static void test_exactly_as_many_as_fit_do_not_overflow(void **state)
{
	struct writers writers;

	(void)state;
	writers_clear(&writers);
	for (uint64_t i = 0; i < WRITERS_MAX; i++)
		writers_add(&writers, i);
	assert_false(writers.overflow);
	writers_add(&writers, WRITERS_MAX);
	assert_true(writers.overflow);
	assert_int_equal(writers.count, WRITERS_MAX);
}

static void test_too_many_now_ends_nobody(void **state)
{
	struct writers then = set(2, (uint64_t[]){1, 1000000}), now = overflowed();

	(void)state;
	writers_keep(&then, &now);
	assert_int_equal(then.count, 2);
	assert_false(then.overflow);
}

static void test_too_many_then_stands_for_all_of_now(void **state)
{
	struct writers then = overflowed(), now = set(1, (uint64_t[]){1000000});

	(void)state;
	assert_false(writers_none(&then));
	writers_keep(&then, &now);
	assert_false(then.overflow);
	assert_int_equal(then.count, 1);
	assert_int_equal(then.items[0], 1000000);
}

static void test_overflow_without_items_is_somebody(void **state)
{
	struct writers writers;

	(void)state;
	writers_clear(&writers);
	writers.overflow = true;
	assert_false(writers_none(&writers));
}

static void test_names_are_read(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t writer;
	} cases[] = {
	    {"3/1234", true, (uint64_t)3 << 32 | 1234},
	    {"-1/789", true, (uint64_t)0xffffffffu << 32 | 789},
	    {"0/0", true, 0},
	    {"2147483647/4294967295", true, (uint64_t)0x7fffffff << 32 | 0xffffffffu},
	    {"2147483648/1", false, 0},
	    {"1/4294967296", false, 0},
	    {"", false, 0},
	    {"/", false, 0},
	    {"3", false, 0},
	    {"3/", false, 0},
	    {"/3", false, 0},
	    {"3/12x", false, 0},
	    {"x3/12", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t writer = 0;

		assert_int_equal(writers_parse(cases[i].text, &writer), cases[i].ok);
		assert_int_equal(writer, cases[i].writer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_keeps_who_is_still_there),
	    cmocka_unit_test(test_nobody_stays_nobody),
	    cmocka_unit_test(test_exactly_as_many_as_fit_do_not_overflow),
	    cmocka_unit_test(test_too_many_now_ends_nobody),
	    cmocka_unit_test(test_too_many_then_stands_for_all_of_now),
	    cmocka_unit_test(test_overflow_without_items_is_somebody),
	    cmocka_unit_test(test_names_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
