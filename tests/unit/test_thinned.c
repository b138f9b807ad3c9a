/*
 * test_thinned.c - what is written of a message that repeats, and what its next line says of it
 */
#include "base/thinned.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000, EVERY = 10 * SECOND };

static void test_the_first_is_written(void **state)
{
	struct thinned thinned = {0};

	(void)state;
	assert_true(thinned_due(&thinned, 5, EVERY));
	assert_string_equal(thinned.note, "");
}

static void test_repetitions_are_counted(void **state)
{
	struct thinned thinned = {0};

	(void)state;
	assert_true(thinned_due(&thinned, SECOND, EVERY));
	assert_false(thinned_due(&thinned, SECOND, EVERY));
	assert_false(thinned_due(&thinned, 2 * SECOND, EVERY));
	assert_false(thinned_due(&thinned, SECOND + EVERY - 1, EVERY));
	assert_true(thinned_due(&thinned, SECOND + EVERY, EVERY));
	assert_string_equal(thinned.note, " (3 similar messages suppressed)");
	assert_true(thinned_due(&thinned, SECOND + 2 * EVERY, EVERY));
	assert_string_equal(thinned.note, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_first_is_written),
	    cmocka_unit_test(test_repetitions_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
