/* SPDX-License-Identifier: ISC */
/*
 * test_pg_errors.c - asks that the server refuses, in sessions that go on
 */
#include "pg_rig.h"

static void ask(int tag)
{
	pg_ask(pg, tag, "SELECT", NULL, 0, false);
}

static void ask_three_and_one(void)
{
	for (int tag = 1; tag <= 3; tag++)
		ask(tag);
	pg_sync(pg);
	ask(4);
	pg_sync(pg);
}

static void ask_two_more(void)
{
	ask(5);
	pg_sync(pg);
	ask(7);
	pg_sync(pg);
}

/* The second of three is refused, and the third skipped. */
static void serve_a_refusal(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_done(fd, "BEGIN");
	fake_error(fd, "ERROR", "23503", "still referenced");
	fake_ready(fd);
	for (int i = 0; i < 3; i++) {
		fake_await(fd, 'S');
		fake_done(fd, "ROLLBACK");
		fake_ready(fd);
	}
	fake_await(fd, 'X');
}

static void begin(bool goes_on, void (*refusal)(void))
{
	on_connect = ask_three_and_one;
	go_on = goes_on;
	on_refusal = refusal;
}

static void test_the_session_goes_on_behind_the_group(void **state)
{
	(void)state;
	begin(true, NULL);
	converse(serve_a_refusal, "4");
	assert_string_equal(told, "connected 1 refused 4");
	assert_string_equal(sqlstate, "23503");
	assert_int_equal(failed_tag, 2);
}

/* What is asked immediately must not be taken for what was skipped. */
static void test_answers_find_their_asks_after_a_refusal(void **state)
{
	(void)state;
	begin(true, ask_two_more);
	converse(serve_a_refusal, "7");
	assert_string_equal(told, "connected 1 refused 4 5 7");
}

static void test_an_owner_that_does_not_go_on_ends_it(void **state)
{
	(void)state;
	begin(false, NULL);
	converse(serve_a_refusal, "failed");
	assert_string_equal(told, "connected 1 failed");
	assert_string_equal(why, "SQLSTATE 23503: still referenced");
}

static void serve_a_fatal_error(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_error(fd, "FATAL", "57P01", "terminating connection");
}

static void test_a_fatal_error_ends_it(void **state)
{
	(void)state;
	begin(true, NULL);
	converse(serve_a_fatal_error, "failed");
	assert_string_equal(told, "connected failed");
	assert_string_equal(sqlstate, "57P01");
}

static void test_closing_at_a_refusal(void **state)
{
	(void)state;
	begin(true, NULL);
	close_at = stop_at = "refused";
	converse(serve_a_refusal, "refused");
	assert_string_equal(told, "connected 1 refused");
}

#define with_loop(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    with_loop(test_the_session_goes_on_behind_the_group),
	    with_loop(test_answers_find_their_asks_after_a_refusal),
	    with_loop(test_an_owner_that_does_not_go_on_ends_it),
	    with_loop(test_a_fatal_error_ends_it),
	    with_loop(test_closing_at_a_refusal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
