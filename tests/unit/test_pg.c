/* SPDX-License-Identifier: ISC */
/*
 * test_pg.c - the Postgres session against a scripted server: order, ends told once, closing from
 * anywhere
 */
#include "pg_rig.h"

/* ---- asks ---- */

static void ask(int tag)
{
	inside = true;
	pg_ask(pg, tag, "SELECT", NULL, 0, false);
	inside = false;
}

static void sync_now(void)
{
	inside = true;
	pg_sync(pg);
	inside = false;
}

static void ask_one(void)
{
	ask(1);
	sync_now();
}

static void ask_three(void)
{
	ask(1);
	ask(2);
	ask(3);
	sync_now();
}

static void ask_in_two_groups(void)
{
	ask_one();
	ask(2);
	ask(3);
	sync_now();
}

/* ---- connecting ---- */

static void serve_nothing(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'X');
}

static void check_backend(void)
{
	assert_int_equal(pg_backend(pg), FAKE_PID);
}

static void test_connects(void **state)
{
	(void)state;
	on_connect = check_backend;
	converse(serve_nothing, "connected");
	assert_string_equal(told, "connected");
}

static void refuse_password(int fd)
{
	fake_message(fd, 0);
	fake_error(fd, "FATAL", "28P01", "password authentication failed for user \"u\"");
}

static void test_a_wrong_password_is_for_good(void **state)
{
	(void)state;
	converse(refuse_password, "failed");
	assert_string_equal(told, "failed");
	assert_true(permanent);
	assert_non_null(strstr(why, "cannot connect to the database: "));
	assert_non_null(strstr(why, "password authentication failed"));
	assert_null(strchr(why, '\n'));
	assert_null(strstr(why, "fake.c"));
}

/* lc_messages = 'ru_RU.UTF-8' */
static void refuse_password_in_russian(int fd)
{
	fake_message(fd, 0);
	fake_error(fd, "ВАЖНО", "28P01",
		   "пользователь \"u\" не прошёл проверку подлинности (по паролю)");
}

static void test_a_wrong_password_is_for_good_in_any_language(void **state)
{
	(void)state;
	converse(refuse_password_in_russian, "failed");
	assert_true(permanent);
	assert_non_null(strstr(why, "28P01: пользователь"));
}

static void ask_for_a_password(int fd)
{
	fake_message(fd, 0);
	fake_say(fd, 'R', "\0\0\0\3", 4);
	fake_await(fd, 'X');
}

static void test_a_missing_password_is_for_good(void **state)
{
	(void)state;
	converse(ask_for_a_password, "failed");
	assert_string_equal(told, "failed");
	assert_true(permanent);
}

/* Words of English say nothing. */
static void lack_a_file_for_now(int fd)
{
	fake_message(fd, 0);
	fake_error(fd, "FATAL", "58P01", "file \"base/1/PG_VERSION\" does not exist");
}

static void test_a_damage_may_be_mended(void **state)
{
	(void)state;
	converse(lack_a_file_for_now, "failed");
	assert_false(permanent);
}

static void refuse_for_now(int fd)
{
	fake_message(fd, 0);
	fake_error(fd, "FATAL", "57P03", "the database system is starting up");
}

static void test_a_server_that_starts_up_is_waited_for(void **state)
{
	(void)state;
	converse(refuse_for_now, "failed");
	assert_string_equal(told, "failed");
	assert_false(permanent);
}

static void test_a_dead_port(void **state)
{
	int listener, port = fake_port(&listener);
	char where[64];
	(void)state;
	snprintf(where, sizeof(where), "host=127.0.0.1 port=%d", port);
	converse_with(where, "failed");
	assert_string_equal(told, "failed");
	assert_false(permanent);
	assert_non_null(strstr(why, "Connection refused"));
	pg_close(&pg);
	close(listener);
}

static void test_a_string_that_does_not_parse(void **state)
{
	(void)state;
	converse_with("nonsense=1", "failed");
	assert_string_equal(told, "failed");
	pg_close(&pg);
}

/* What the second host refuses the first one, which is unreachable, may accept when it is back. */
static void test_a_refusal_behind_a_host_that_is_away_is_not_for_good(void **state)
{
	struct fake refusing;
	int listener, port = fake_port(&listener);
	char where[96];
	(void)state;
	fake_start(&refusing, refuse_password);
	snprintf(where, sizeof(where), "host=127.0.0.1,127.0.0.1 port=%d,%d", port, refusing.port);
	converse_with(where, "failed");
	assert_string_equal(told, "failed");
	assert_false(permanent);
	assert_non_null(strstr(why, "Connection refused"));
	assert_non_null(strstr(why, "password authentication failed"));
	pg_close(&pg);
	fake_stop(&refusing);
	close(listener);
}

/* libpq asks no further then. */
static void test_a_refusal_of_the_first_host_is_for_good(void **state)
{
	struct fake refusing;
	int listener, port = fake_port(&listener);
	char where[96];
	(void)state;
	fake_start(&refusing, refuse_password);
	snprintf(where, sizeof(where), "host=127.0.0.1,127.0.0.1 port=%d,%d", refusing.port, port);
	converse_with(where, "failed");
	assert_string_equal(told, "failed");
	assert_true(permanent);
	pg_close(&pg);
	fake_stop(&refusing);
	close(listener);
}

/* The first host accepts and says nothing of use; the second one serves. */
static void test_the_next_host_is_tried(void **state)
{
	struct fake refusing, serving;
	char where[96];
	(void)state;
	fake_start(&refusing, refuse_for_now);
	fake_start(&serving, serve_nothing);
	snprintf(where, sizeof(where), "host=127.0.0.1,127.0.0.1 port=%d,%d", refusing.port,
		 serving.port);
	converse_with(where, "connected");
	assert_string_equal(told, "connected");
	pg_close(&pg);
	fake_stop(&refusing);
	fake_stop(&serving);
}

/* Its SYN is dropped, and it is given up by the socket's own time; the next one's socket has the
 * same number. */
static void test_a_host_that_does_not_answer_is_passed_over(void **state)
{
	struct fake serving;
	int listener, port = fake_port(&listener), filler[2];
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				      .sin_port = htons((uint16_t)port)};
	char where[128];
	(void)state;
	assert_int_equal(listen(listener, 0), 0);
	for (int i = 0; i < 2; i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(filler[i], (struct sockaddr *)&address, sizeof(address));
	}
	fake_start(&serving, serve_nothing);
	snprintf(where, sizeof(where), "host=127.0.0.1,127.0.0.1 port=%d,%d tcp_user_timeout=300",
		 port, serving.port);
	converse_with(where, "connected");
	assert_string_equal(told, "connected");
	pg_close(&pg);
	fake_stop(&serving);
	close(filler[0]);
	close(filler[1]);
	close(listener);
}

/* ---- answers ---- */

static void serve_two_groups(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_done(fd, "BEGIN");
	fake_ready(fd);
	fake_await(fd, 'S');
	fake_rows(fd, 2, 10);
	fake_done(fd, "COMMIT");
	fake_ready(fd);
	fake_await(fd, 'X');
}

static void test_answers_come_in_the_order_of_the_asks(void **state)
{
	(void)state;
	on_connect = ask_in_two_groups;
	converse(serve_two_groups, "3");
	assert_string_equal(told, "connected 1 2 3");
	assert_int_equal(bytes, 20);
}

static void ask_many(void)
{
	for (int i = 0; i < 100; i++) {
		ask(i % 2 ? 7 : 8);
		sync_now();
	}
	ask(9);
	sync_now();
}

/* More asks than the ring of tags begins with, while its head is not at its start. */
static void ask_one_then_many(void)
{
	ask_one();
	ask(ASKS_MORE);
	sync_now();
}

static void serve_many(int fd)
{
	fake_greet(fd);
	for (int i = 0; i < 103; i++) {
		fake_await(fd, 'S');
		fake_done(fd, "SELECT 0");
		fake_ready(fd);
	}
	fake_await(fd, 'X');
}

static void test_many_asks_under_way(void **state)
{
	(void)state;
	on_connect = ask_one_then_many;
	on_more = ask_many;
	converse(serve_many, "9");
	const char *at = told + strlen("connected 1 6");
	for (int i = 0; i < 50; i++, at += 4)
		assert_memory_equal(at, " 8 7", 4);
	assert_string_equal(at, " 9");
}

static void serve_an_error_in_the_middle(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_done(fd, "BEGIN");
	fake_error(fd, "ERROR", "42P01", "relation \"t\" does not exist");
	fake_ready(fd);
	fake_await(fd, 'X');
}

static void test_an_error_ends_the_session_once(void **state)
{
	(void)state;
	on_connect = ask_three;
	converse(serve_an_error_in_the_middle, "failed");
	assert_string_equal(told, "connected 1 failed");
	assert_true(permanent);
	assert_string_equal(why, "SQLSTATE 42P01: relation \"t\" does not exist");
	assert_string_equal(sqlstate, "42P01");
	assert_int_equal(failed_tag, 2); /* the ask that was refused */
}

static void serve_big_rows(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_rows(fd, 200, 100000);
	fake_ready(fd);
	fake_await(fd, 'X');
}

static void test_a_big_result(void **state)
{
	(void)state;
	on_connect = ask_one;
	converse(serve_big_rows, "1");
	assert_int_equal(bytes, 200 * 100000);
}

static void serve_notifications(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_done(fd, "SELECT 0");
	fake_notify(fd, "bell", "17");
	fake_ready(fd);
	fake_notify(fd, "bell", "17");
	fake_await(fd, 'X');
}

static void test_notifications(void **state)
{
	(void)state;
	on_connect = ask_one;
	converse(serve_notifications, "notified notified");
	assert_string_equal(told, "connected 1 notified notified");
}

/* ---- the end ---- */

static void commit_and_die(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_done(fd, "COMMIT");
	fake_ready(fd);
}

static void test_an_answer_before_the_end_still_counts(void **state)
{
	(void)state;
	on_connect = ask_one;
	converse(commit_and_die, "failed");
	assert_string_equal(told, "connected 1 failed");
	assert_false(permanent);
}

/* The answer lies in the socket; the next asks find it closed. */
static void ask_behind_the_end(void)
{
	ask_one();
	fake_join(&fake);
	for (int i = 0; i < 5; i++) {
		ask(2);
		sync_now();
	}
}

static void test_an_end_found_while_sending(void **state)
{
	(void)state;
	on_connect = ask_behind_the_end;
	converse(commit_and_die, "failed");
	assert_string_equal(told, "connected 1 failed");
	assert_false(permanent);
	assert_null(strchr(why, '\n'));
}

static void err_and_die(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_error(fd, "ERROR", "42P01", "relation \"t\" does not exist");
	fake_ready(fd);
}

static void test_the_first_reason_is_told(void **state)
{
	(void)state;
	on_connect = ask_behind_the_end;
	converse(err_and_die, "failed");
	assert_string_equal(told, "connected failed");
	assert_non_null(strstr(why, "42P01"));
	assert_true(permanent);
}

static void die(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
}

static void test_an_end_without_an_answer(void **state)
{
	(void)state;
	on_connect = ask_three;
	converse(die, "failed");
	assert_string_equal(told, "connected failed");
	assert_false(permanent);
	assert_true(strlen(why) > 0);
}

static void terminate(int fd)
{
	fake_greet(fd);
	fake_error(fd, "FATAL", "57P01", "terminating connection due to administrator command");
}

static void test_the_servers_last_words_are_told(void **state)
{
	(void)state;
	converse(terminate, "failed");
	assert_string_equal(told, "connected failed");
	assert_non_null(strstr(why, "57P01"));
}

/* Asks after the end are nobody's: no answer, no second end. */
static void test_asks_after_the_end_are_silent(void **state)
{
	char where[64];
	(void)state;
	fake_start(&fake, terminate);
	snprintf(where, sizeof(where), "host=127.0.0.1 port=%d", fake.port);
	converse_with(where, "failed");
	ask_three();
	run_for(20 * 1000, stop);
	assert_string_equal(told, "connected failed");
	pg_close(&pg);
	fake_stop(&fake);
}

static void serve_three(int fd)
{
	fake_greet(fd);
	fake_await(fd, 'S');
	fake_done(fd, "BEGIN");
	fake_done(fd, "DELETE 1");
	fake_done(fd, "COMMIT");
	fake_notify(fd, "bell", "17");
	fake_ready(fd);
}

static void test_closing_from_inside_each_callback(void **state)
{
	static const struct {
		void (*script)(int fd);
		const char *last, *want;
	} cases[] = {
	    {serve_notifications, "connected", "connected"},
	    {serve_notifications, "notified", "connected 1 notified"},
	    {serve_notifications, "1", "connected 1"},
	    {serve_three, "1", "connected 1"},
	    {serve_three, "2", "connected 1 2"},
	    {commit_and_die, "1", "connected 1"},
	    {serve_an_error_in_the_middle, "failed", "connected 1 failed"},
	    {refuse_password, "failed", "failed"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		teardown(state);
		setup(state);
		on_connect = ask_three;
		close_at = cases[i].last;
		converse(cases[i].script, cases[i].last);
		assert_string_equal(told, cases[i].want);
	}
}

static void test_closing_before_the_connection_is_up(void **state)
{
	(void)state;
	char dsn[128];
	fake_start(&fake, serve_nothing);
	snprintf(dsn, sizeof(dsn), "host=127.0.0.1 port=%d %s", fake.port, rest);
	stop_at = "never";
	pg = pg_open(loop, &(struct pg_login){.dsn = dsn}, &events, NULL);
	pg_close(&pg);
	run_for(20 * 1000, stop);
	assert_string_equal(told, "");
	fake_stop(&fake);
}

/* ---- small things ---- */

static void test_numbers(void **state)
{
	static const int64_t values[] = {0, 1, -1, INT64_MAX, INT64_MIN, 0x0102030405060708};
	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct pg_int8 raw = pg_put_int8(values[i]);
		assert_true(pg_get_int8(raw.bytes) == values[i]);
	}
	assert_memory_equal(pg_put_int8(0x0102030405060708).bytes, "\1\2\3\4\5\6\7\10", 8);
	assert_int_equal(pg_get_int4("\xff\xff\xff\xfe"), -2);
	assert_int_equal(pg_get_int2("\x80\x00"), INT16_MIN);
}

static void test_states_that_stay(void **state)
{
	(void)state;
	assert_true(pg_state_is_permanent("28P01"));
	assert_true(pg_state_is_permanent("3D000"));
	assert_true(pg_state_is_permanent("42501"));
	assert_false(pg_state_is_permanent("57P01"));
	assert_false(pg_state_is_permanent("0A000"));
	assert_false(pg_state_is_permanent("40001"));
	assert_false(pg_state_is_permanent(NULL));
}

#define with_loop(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    with_loop(test_connects),
	    with_loop(test_a_wrong_password_is_for_good),
	    with_loop(test_a_wrong_password_is_for_good_in_any_language),
	    with_loop(test_a_missing_password_is_for_good),
	    with_loop(test_a_damage_may_be_mended),
	    with_loop(test_a_server_that_starts_up_is_waited_for),
	    with_loop(test_a_dead_port),
	    with_loop(test_a_string_that_does_not_parse),
	    with_loop(test_a_refusal_behind_a_host_that_is_away_is_not_for_good),
	    with_loop(test_a_refusal_of_the_first_host_is_for_good),
	    with_loop(test_the_next_host_is_tried),
	    with_loop(test_a_host_that_does_not_answer_is_passed_over),
	    with_loop(test_answers_come_in_the_order_of_the_asks),
	    with_loop(test_many_asks_under_way),
	    with_loop(test_an_error_ends_the_session_once),
	    with_loop(test_a_big_result),
	    with_loop(test_notifications),
	    with_loop(test_an_answer_before_the_end_still_counts),
	    with_loop(test_an_end_found_while_sending),
	    with_loop(test_the_first_reason_is_told),
	    with_loop(test_an_end_without_an_answer),
	    with_loop(test_the_servers_last_words_are_told),
	    with_loop(test_asks_after_the_end_are_silent),
	    with_loop(test_closing_from_inside_each_callback),
	    with_loop(test_closing_before_the_connection_is_up),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_states_that_stay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
