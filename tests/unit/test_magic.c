/* SPDX-License-Identifier: ISC */
/*
 * test_magic.c - an object that is not what a callback takes it for ends the process with words
 */
#include "base/log.h"
#include "base/loop.h"
#include "base/magic.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include <cmocka.h>

struct thing {
	enum magic magic;
};

/* Whether a check of this object ends a process. */
static bool ends(struct thing *thing)
{
	static const struct rlimit none = {0, 0};
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL); /* cmocka's */
		close(STDERR_FILENO);
		MAGIC_CHECK(thing, MAGIC_PG);
		_exit(0);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_another_object_is_noticed(void **state)
{
	struct thing right = {MAGIC_PG}, wrong = {MAGIC_KAFKA_TOPIC}, freed = {MAGIC_NONE};

	(void)state;
	assert_false(ends(&right));
	assert_true(ends(&wrong));
	assert_true(ends(&freed));
	assert_true(ends(NULL));
}

static void never(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	(void)arg;
}

/* libevent's words go to our log and not to stdio: a descriptor that epoll refuses. */
static void test_a_warning_of_libevent(void **state)
{
	struct loop *loop = loop_new();
	struct event_base *base = event_base_new();
	int ends_of[2], saved = dup(STDERR_FILENO), fd;
	char said[512] = "";
	struct event *event;

	(void)state;
	assert_int_equal(pipe(ends_of), 0);
	dup2(ends_of[1], STDERR_FILENO);
	fd = dup(ends_of[0]);
	close(fd);
	event = event_new(base, fd, EV_READ, never, NULL);
	event_add(event, NULL);
	dup2(saved, STDERR_FILENO);
	assert_true(read(ends_of[0], said, sizeof(said) - 1) > 0);
	assert_non_null(strstr(said, "event loop: "));
	event_free(event);
	event_base_free(base);
	loop_free(&loop);
	close(ends_of[0]);
	close(ends_of[1]);
	close(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_another_object_is_noticed),
	    cmocka_unit_test(test_a_warning_of_libevent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
