/* SPDX-License-Identifier: ISC */
/*
 * test_loop.c - timers, descriptors and signals: order, replacing, and freeing from the own
 * callback
 */
#include "base/clock.h"
#include "base/loop.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What happened, as letters in order; at `until` letters the loop stops. */
static struct loop *loop;
static char seen[64];
static size_t until;

static void note(char what)
{
	size_t len = strlen(seen);

	assert_true(len + 1 < sizeof(seen));
	seen[len] = what;
	if (len + 1 == until)
		loop_stop(loop);
}

static void run_until(size_t letters)
{
	memset(seen, 0, sizeof(seen));
	until = letters;
	loop_run(loop);
}

static int setup(void **state)
{
	(void)state;
	loop = loop_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(&loop);
	assert_null(loop);
	return 0;
}

static void note_arg(void *arg)
{
	note(*(const char *)arg);
}

static void test_timers_in_order_of_time(void **state)
{
	struct loop_timer *a = loop_timer_new(loop, note_arg, "a");
	struct loop_timer *b = loop_timer_new(loop, note_arg, "b");
	struct loop_timer *c = loop_timer_new(loop, note_arg, "c");

	(void)state;
	loop_timer_set(c, 9000);
	loop_timer_set(a, 0);
	loop_timer_set(b, 3000);
	run_until(3);
	assert_string_equal(seen, "abc");
	loop_timer_free(&a);
	loop_timer_free(&b);
	loop_timer_free(&c);
	assert_null(a);
}

static void test_setting_again_replaces(void **state)
{
	struct loop_timer *a = loop_timer_new(loop, note_arg, "a");
	struct loop_timer *b = loop_timer_new(loop, note_arg, "b");
	struct loop_timer *never = loop_timer_new(loop, note_arg, "n");

	(void)state;
	loop_timer_set(a, 0);
	loop_timer_set(a, 6000);
	loop_timer_set(b, 3000);
	loop_timer_set(never, 0);
	loop_timer_stop(never);
	run_until(2);
	assert_string_equal(seen, "ba");
	loop_timer_free(&a);
	loop_timer_free(&b);
	loop_timer_free(&never);
}

static void test_an_urgent_timer_comes_first(void **state)
{
	struct loop_timer *a = loop_timer_new(loop, note_arg, "a");
	struct loop_timer *b = loop_timer_new(loop, note_arg, "b");

	(void)state;
	loop_timer_first(b);
	loop_timer_set(a, 0);
	loop_timer_set(b, 1000);
	usleep(2000); /* both are due when the loop looks */
	run_until(2);
	assert_string_equal(seen, "ba");
	loop_timer_free(&a);
	loop_timer_free(&b);
}

static void test_negative_time_is_now(void **state)
{
	struct loop_timer *a = loop_timer_new(loop, note_arg, "a");

	(void)state;
	loop_timer_set(a, -5);
	run_until(1);
	assert_string_equal(seen, "a");
	loop_timer_free(&a);
}

static struct loop_timer *busy, *after_busy;
static int64_t set_at, fired_at;

static void fire_after(void *arg)
{
	(void)arg;
	fired_at = clock_monotonic_us();
	note('f');
}

/* Works for 5 ms, and only then asks for 2. */
static void be_busy(void *arg)
{
	int64_t start = clock_monotonic_us();

	(void)arg;
	while (clock_monotonic_us() - start < 5000)
		;
	set_at = clock_monotonic_us();
	loop_timer_set(after_busy, 2000);
}

/* Never early, also when the callback that set it had taken long: a lower bound cannot flake. */
static void test_time_counts_from_setting(void **state)
{
	(void)state;
	busy = loop_timer_new(loop, be_busy, NULL);
	after_busy = loop_timer_new(loop, fire_after, NULL);
	loop_timer_set(busy, 0);
	run_until(1);
	assert_true(fired_at - set_at >= 1900);
	loop_timer_free(&busy);
	loop_timer_free(&after_busy);
}

static void free_myself(void *arg)
{
	loop_timer_free(arg);
	note('f');
}

static void test_timer_freed_by_its_callback(void **state)
{
	static struct loop_timer *mine;

	(void)state;
	mine = loop_timer_new(loop, free_myself, &mine);
	loop_timer_set(mine, 0);
	run_until(1);
	assert_null(mine);
}

/* arg: the other timer's pointer, which may have been made later. */
static void silence_the_other(void *arg)
{
	struct loop_timer **other = arg;

	note('x');
	loop_timer_stop(*other);
}

static void end(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* Both are due in the same round; whichever comes first stops the other. */
static void test_stopping_a_due_timer(void **state)
{
	static struct loop_timer *a, *b;
	struct loop_timer *last = loop_timer_new(loop, end, NULL);

	(void)state;
	a = loop_timer_new(loop, silence_the_other, &b);
	b = loop_timer_new(loop, silence_the_other, &a);
	loop_timer_set(a, 0);
	loop_timer_set(b, 0);
	loop_timer_set(last, 3000);
	run_until(10);
	assert_string_equal(seen, "x");
	loop_timer_free(&a);
	loop_timer_free(&b);
	loop_timer_free(&last);
}

static int ends[2];
static struct loop_io *reader, *writer;

static void read_one(int what, void *arg)
{
	char byte;

	(void)arg;
	assert_int_equal(what, LOOP_READ);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	note(byte);
	if (byte == 'e')
		loop_io_free(&reader);
}

static void write_all(int what, void *arg)
{
	(void)arg;
	assert_int_equal(what, LOOP_WRITE);
	assert_int_equal(write(ends[1], "abcde", 5), 5);
	loop_io_free(&writer);
}

static void test_descriptors_persist_until_freed(void **state)
{
	(void)state;
	assert_int_equal(pipe(ends), 0);
	reader = loop_io_new(loop, ends[0], LOOP_READ, read_one, NULL);
	writer = loop_io_new(loop, ends[1], LOOP_WRITE, write_all, NULL);
	run_until(5);
	assert_string_equal(seen, "abcde");
	assert_null(reader);
	assert_null(writer);
	close(ends[0]);
	close(ends[1]);
}

static void caught(int signo, void *arg)
{
	assert_int_equal(signo, SIGUSR1);
	note(*(const char *)arg);
}

static void raise_one(void *arg)
{
	(void)arg;
	raise(SIGUSR1);
}

static void test_signals(void **state)
{
	struct loop_signal *watched = loop_signal_new(loop, SIGUSR1, caught, "s");
	struct loop_timer *timer = loop_timer_new(loop, raise_one, NULL);

	(void)state;
	loop_timer_set(timer, 0);
	run_until(1);
	raise(SIGUSR1);
	run_until(1);
	assert_string_equal(seen, "s");
	loop_signal_free(&watched);
	assert_null(watched);
	loop_timer_free(&timer);
}

static void stop_and_note(void *arg)
{
	(void)arg;
	loop_stop(loop);
	note('1');
}

static void test_stop_leaves_after_this_callback(void **state)
{
	struct loop_timer *a = loop_timer_new(loop, stop_and_note, NULL);
	struct loop_timer *b = loop_timer_new(loop, stop_and_note, NULL);

	(void)state;
	loop_timer_set(a, 0);
	loop_timer_set(b, 0);
	run_until(10);
	assert_string_equal(seen, "1");
	run_until(10);
	assert_string_equal(seen, "1");
	loop_timer_free(&a);
	loop_timer_free(&b);
}

static void test_a_lost_reader_is_an_error_not_a_signal(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(write(fds[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	close(fds[1]);
}

static void test_freeing_nothing(void **state)
{
	struct loop_io *io = NULL;
	struct loop_timer *timer = NULL;
	struct loop_signal *watched = NULL;
	struct loop *none = NULL;

	(void)state;
	loop_io_free(&io);
	loop_timer_free(&timer);
	loop_signal_free(&watched);
	loop_free(&none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_timers_in_order_of_time),
	    TEST(test_setting_again_replaces),
	    TEST(test_an_urgent_timer_comes_first),
	    TEST(test_negative_time_is_now),
	    TEST(test_time_counts_from_setting),
	    TEST(test_timer_freed_by_its_callback),
	    TEST(test_stopping_a_due_timer),
	    TEST(test_descriptors_persist_until_freed),
	    TEST(test_signals),
	    TEST(test_stop_leaves_after_this_callback),
	    TEST(test_a_lost_reader_is_an_error_not_a_signal),
	    TEST(test_freeing_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
