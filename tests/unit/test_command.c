/* SPDX-License-Identifier: ISC */
/*
 * test_command.c - commands that print a secret: what comes of each way in which they end
 */
#include "base/clock.h"
#include "base/command.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static char *output; /* NULL: there was none */
static bool permanent;
static struct error why;
static unsigned reports;

static int setup(void **state)
{
	(void)state;
	loop = loop_new();
	reports = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	secret_wipe(&output);
	loop_free(&loop);
	return waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD; /* all were reaped */
}

static void on_done(void *arg, const char *text, bool is_permanent, const struct error *err)
{
	assert_ptr_equal(arg, &output);
	secret_wipe(&output);
	if (text != NULL)
		output = strdup(text);
	permanent = is_permanent;
	why = *err;
	reports++;
	loop_stop(loop);
}

static void run_within(const char *line, int64_t limit_ms)
{
	command_start(loop, line, limit_ms, on_done, &output);
	loop_run(loop);
	assert_int_equal(reports, 1);
}

static void prints(const char *line, const char *expected)
{
	reports = 0;
	run_within(line, COMMAND_LIMIT_MS);
	if (output == NULL)
		fail_msg("%s: %s", line, why.text);
	assert_string_equal(output, expected);
}

static void fails(const char *line, bool for_good, const char *says)
{
	reports = 0;
	run_within(line, COMMAND_LIMIT_MS);
	assert_null(output);
	assert_int_equal(permanent, for_good);
	if (strstr(why.text, says) == NULL)
		fail_msg("%s: \"%s\" is not in: %s", line, says, why.text);
}

static void test_what_is_printed_is_taken_as_it_is(void **state)
{
	(void)state;
	prints("echo secret", "secret");
	prints("printf secret", "secret");
	prints("printf 'secret\\r\\n'", "secret");
	prints("printf 'secret\\n\\n'", "secret\n");
	prints("printf ' a\\\\b\"c '\"'\"'d '", " a\\b\"c 'd ");
	prints("printf 'in\\303\\244hrt'", "in\303\244hrt");
	prints("echo one; echo words >&2; echo two", "one\ntwo");
}

static void test_how_commands_fail(void **state)
{
	(void)state;
	fails("exit 3", false, "the command failed with exit status 3; try it");
	fails("echo first >&2; echo 'aws: no credentials' >&2; echo >&2; exit 255", false,
	      "failed with exit status 255: aws: no credentials; try");
	fails("no-such-program", true, "cannot run the command (exit status 127): ");
	fails("/etc/passwd", true, "cannot run the command (exit status 126): ");
	fails("kill -TERM $$", false, "ended by signal 15 (Terminated)");
	fails("true", false, "printed nothing; it must print the secret to standard output");
	fails("echo", false, "printed nothing");
	fails("echo why >&2", false, "printed nothing: why; it must");
	fails("printf 'a\\000b'", false, "a NUL byte");
	fails("head -c 65537 /dev/zero | tr '\\0' x", false, "more than 64 KiB");
	fails("yes", false, "more than 64 KiB");
}

/* A failing command may have printed it before. */
static void test_no_output_is_told(void **state)
{
	(void)state;
	fails("echo hunter2; exit 1", false, "exit status 1; try it");
	assert_null(strstr(why.text, "hunter2"));
}

static void test_the_most_is_taken(void **state)
{
	(void)state;
	run_within("head -c 65536 /dev/zero | tr '\\0' x", COMMAND_LIMIT_MS);
	assert_non_null(output);
	assert_int_equal(strlen(output), 65536);
}

/* It could only fill the pipe and wait. */
static void test_many_words(void **state)
{
	(void)state;
	prints("head -c 300000 /dev/zero | tr '\\0' x >&2; echo secret", "secret");
	fails("head -c 3000 /dev/zero | tr '\\0' x >&2; printf 'y\\001\\303\\n' >&2; exit 1", false,
	      "xxx");
}

static void test_one_that_hangs(void **state)
{
	int64_t begun = clock_monotonic_us();

	(void)state;
	run_within("sleep 60 | cat", 200);
	assert_null(output);
	assert_false(permanent);
	assert_non_null(strstr(why.text, "has not ended within 0 s, and is killed"));
	assert_true(clock_monotonic_us() - begun < 20 * 1000 * 1000);
}

/* Not for what it leaves behind in the background, with its output open. */
static void test_its_own_end_counts(void **state)
{
	int64_t begun = clock_monotonic_us();

	(void)state;
	prints("sleep 20 & echo secret", "secret");
	assert_true(clock_monotonic_us() - begun < 15 * 1000 * 1000);
}

/* The whole group is killed, also what ignores a polite request. */
static void test_stopping(void **state)
{
	struct command *command;
	char mark[] = "/tmp/test_command.XXXXXX", line[200], text[32] = "";
	int fd = mkstemp(mark);

	(void)state;
	assert_true(fd >= 0);
	snprintf(line, sizeof(line), "trap '' TERM; sleep 61 & echo $! > %s; wait", mark);
	command = command_start(loop, line, COMMAND_LIMIT_MS, on_done, &output);
	while (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		usleep(1000);
	command_stop(&command);
	assert_null(command);
	command_stop(&command);
	for (int i = 0; i < 5000 && kill(atoi(text), 0) == 0; i++)
		usleep(1000);
	close(fd);
	unlink(mark);
	assert_int_equal(reports, 0);
}

/* Two at a time do not take each other's end for theirs. */
static void test_two_at_once(void **state)
{
	(void)state;
	command_start(loop, "sleep 0.3; echo slow", COMMAND_LIMIT_MS, on_done, &output);
	command_start(loop, "echo fast", COMMAND_LIMIT_MS, on_done, &output);
	loop_run(loop);
	assert_string_equal(output, "fast");
	loop_run(loop);
	assert_string_equal(output, "slow");
}

/* A descriptor that a library does not close on exec, a blocked and an ignored signal. */
static void test_nothing_is_inherited(void **state)
{
	int fd = dup2(STDIN_FILENO, 77);
	sigset_t some;

	(void)state;
	assert_int_equal(fd, 77);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	sigprocmask(SIG_BLOCK, &some, NULL);
	prints("ls /proc/self/fd | grep -c 77; :", "0");
	/* Of signals 1 to 28: glibc keeps two for itself. */
	prints("awk '/Sig(Blk|Ign)/ { print substr($2, 10) }' /proc/self/status",
	       "0000000\n0000000");
	prints("cat; echo done", "done");
	sigprocmask(SIG_UNBLOCK, &some, NULL);
	close(fd);
}

static void test_awaited(void **state)
{
	struct error err;
	char *text = command_run("echo secret", &err);

	(void)state;
	assert_string_equal(text, "secret");
	secret_wipe(&text);
	assert_null(text);
	assert_null(command_run("exit 9", &err));
	assert_non_null(strstr(err.text, "exit status 9"));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_what_is_printed_is_taken_as_it_is),
	    TEST(test_how_commands_fail),
	    TEST(test_no_output_is_told),
	    TEST(test_the_most_is_taken),
	    TEST(test_many_words),
	    TEST(test_one_that_hangs),
	    TEST(test_its_own_end_counts),
	    TEST(test_stopping),
	    TEST(test_two_at_once),
	    TEST(test_nothing_is_inherited),
	    TEST(test_awaited),
	};

	setenv("LC_ALL", "C", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
