/* SPDX-License-Identifier: ISC */
/*
 * test_server_line.c - a database server and its timeline
 */
#include "core/server_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_timeline_is_a_number(void **state)
{
	(void)state;
	assert_int_equal(server_line_timeline("7234/3"), 3);
	assert_int_equal(server_line_timeline("7234/11"), 11);
	assert_int_equal(server_line_timeline("7234"), 0);
	assert_int_equal(server_line_timeline(""), 0);
}

static void a_server_is_known_by_all_of_its_identifier(void **state)
{
	(void)state;
	assert_true(server_line_same_server("7234/3", "7234/1"));
	assert_false(server_line_same_server("7234/3", "723/3"));
	assert_false(server_line_same_server("723/3", "7234/3"));
}

static void only_a_later_timeline_of_the_same_server_follows(void **state)
{
	(void)state;
	assert_true(server_line_follows("7234/11", "7234/3"));
	assert_false(server_line_follows("7234/3", "7234/3"));
	assert_false(server_line_follows("7234/3", "7234/11"));
	assert_false(server_line_follows("8/11", "7234/3"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_timeline_is_a_number),
	    cmocka_unit_test(a_server_is_known_by_all_of_its_identifier),
	    cmocka_unit_test(only_a_later_timeline_of_the_same_server_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
