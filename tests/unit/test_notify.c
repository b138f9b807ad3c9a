/* SPDX-License-Identifier: ISC */
/*
 * test_notify.c - what a service manager receives, and when it wants to hear of a watchdog
 */
#include "base/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A manager's socket of this name, as NOTIFY_SOCKET has it. */
static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	memcpy(address.sun_path, name, len);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void tells(const char *name)
{
	int fd = listen_at(name);
	char seen[32] = "";
	struct error err;

	assert_true(notify_manager("READY=1", &err));
	assert_int_equal(recv(fd, seen, sizeof(seen) - 1, MSG_DONTWAIT), 7);
	assert_string_equal(seen, "READY=1");
	close(fd);
}

static void test_a_manager_is_told(void **state)
{
	char directory[] = "/tmp/test_notify.XXXXXX", path[64], abstract[64];

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/notify", directory);
	tells(path);
	unlink(path);
	rmdir(directory);
	snprintf(abstract, sizeof(abstract), "@outbox-relay-test-%d", getpid());
	tells(abstract);
}

static void test_no_manager(void **state)
{
	struct error err;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_true(notify_manager("READY=1", &err));
	setenv("NOTIFY_SOCKET", "", 1);
	assert_true(notify_manager("READY=1", &err));
}

static void refuses(const char *name, const char *says)
{
	struct error err;

	setenv("NOTIFY_SOCKET", name, 1);
	assert_false(notify_manager("READY=1", &err));
	if (strstr(err.text, says) == NULL)
		fail_msg("%s", err.text);
}

static void test_a_manager_that_cannot_be_told(void **state)
{
	char name[300] = "/";

	(void)state;
	refuses("/nowhere/notify", "READY=1 on NOTIFY_SOCKET=/nowhere/notify: No such file");
	refuses("notify", "NOTIFY_SOCKET=notify is neither a path nor @name");
	refuses("vsock:2:1", "is neither a path nor @name");
	memset(name + 1, 'x', sizeof(name) - 2);
	refuses(name, "is neither a path nor @name");
}

/* Its queue is full, since it reads nothing. */
static void test_a_manager_that_hangs(void **state)
{
	char name[64];
	struct error err;
	int fd, i;

	(void)state;
	snprintf(name, sizeof(name), "@outbox-relay-hangs-%d", getpid());
	fd = listen_at(name);
	for (i = 0; i < 100000 && notify_manager("WATCHDOG=1", &err); i++)
		;
	assert_true(i < 100000);
	if (strstr(err.text, "temporarily unavailable") == NULL)
		fail_msg("%s", err.text);
	close(fd);
}

static void asks(const char *usec, const char *pid, int64_t expected)
{
	usec != NULL ? setenv("WATCHDOG_USEC", usec, 1) : unsetenv("WATCHDOG_USEC");
	pid != NULL ? setenv("WATCHDOG_PID", pid, 1) : unsetenv("WATCHDOG_PID");
	assert_int_equal(notify_watchdog_us(), expected);
}

static void test_watchdog(void **state)
{
	char ours[16];

	(void)state;
	snprintf(ours, sizeof(ours), "%d", getpid());
	asks(NULL, NULL, 0);
	asks("60000000", NULL, 60000000);
	asks("60000000", ours, 60000000);
	asks("60000000", "1", 0);
	asks("60000000", "", 0);
	asks(NULL, ours, 0);
	asks("", NULL, 0);
	asks("0", NULL, 0);
	asks("-1", NULL, 0);
	asks("1s", NULL, 0);
	asks("99999999999999999999", NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_manager_is_told),
	    cmocka_unit_test(test_no_manager),
	    cmocka_unit_test(test_a_manager_that_cannot_be_told),
	    cmocka_unit_test(test_a_manager_that_hangs),
	    cmocka_unit_test(test_watchdog),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
