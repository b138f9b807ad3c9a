/* SPDX-License-Identifier: ISC */
/*
 * test_http_limits.c - what clients cannot take from the server: connections, time, descriptors
 */
#include "base/clock.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "http.h"
#include "http/address.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 64, CLIENTS = 200, PATIENCE_US = 30 * 1000, LONG_US = 60 * 1000 * 1000 };

static struct loop *loop;
static struct http *http;
static struct loop_timer *timer;
static struct rlimit files;
static int clients[CLIENTS];
static char dir[] = "/tmp/test_http_limits.XXXXXX", unix_listen[96];

static int page_big(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	(void)arg;
	*len = 64 * 1024 * 1024;
	*body = xcalloc(1, *len);
	return 200;
}

static int page_small(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	(void)arg;
	*body = xstrdup("small\n");
	*len = strlen(*body);
	return 200;
}

static const struct http_page pages[] = {
    {"/big", "text/plain", page_big},
    {"/small", "text/plain", page_small},
    {NULL, NULL, NULL},
};

static void end(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void run_for(int64_t us)
{
	loop_timer_set(timer, us);
	loop_run(loop);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	if (mkdtemp(dir) == NULL || getrlimit(RLIMIT_NOFILE, &files) != 0)
		return -1;
	snprintf(unix_listen, sizeof(unix_listen), "unix:%s/http", dir);
	loop = loop_new();
	timer = loop_timer_new(loop, end, NULL);
	memset(clients, -1, sizeof(clients));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	setrlimit(RLIMIT_NOFILE, &files);
	for (size_t i = 0; i < CLIENTS; i++)
		if (clients[i] >= 0)
			close(clients[i]);
	http_free(&http);
	loop_timer_free(&timer);
	loop_free(&loop);
	return rmdir(dir);
}

static void serve_on(const char *listen)
{
	struct error err;

	http = http_new(loop, listen, pages, NULL, &err);
	if (http == NULL)
		fail_msg("%s", err.text);
}

static int connect_one(void)
{
	struct error err;
	int fd = http_address_connect(http_address(http), clock_monotonic_us() + LONG_US, &err);

	if (fd < 0)
		fail_msg("%s", err.text);
	return fd;
}

/* The server gets its turn in between: its backlog is short. */
static void connect_many(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		clients[i] = connect_one();
		if (i % 16 == 15)
			run_for(1000);
	}
	run_for(1000);
}

static bool is_closed(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	return got == 0 || (got < 0 && errno != EAGAIN);
}

static size_t open_count(void)
{
	size_t count = 0;

	for (size_t i = 0; i < CLIENTS; i++)
		count += clients[i] >= 0 && !is_closed(clients[i]);
	return count;
}

static void say(int fd, const char *words)
{
	assert_int_equal(send(fd, words, strlen(words), MSG_NOSIGNAL), strlen(words));
}

static const char small[] = "GET /small HTTP/1.1\r\nHost: x\r\n\r\n";

static void expect_served(int fd)
{
	char answer[512] = "";

	for (int i = 0; i < 1000 && recv(fd, answer, sizeof(answer) - 1, MSG_PEEK) <= 0; i++)
		run_for(1000);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
}

static void expect_at_most_64(const char *listen)
{
	serve_on(listen);
	connect_many(CLIENTS);
	assert_int_equal(open_count(), MOST);
	assert_false(is_closed(clients[CLIENTS - 1]));
	assert_true(is_closed(clients[0]));
	say(clients[CLIENTS - 1], small);
	expect_served(clients[CLIENTS - 1]);
}

static void test_at_most_64_connections(void **state)
{
	(void)state;
	expect_at_most_64("127.0.0.1:0");
}

static void test_at_most_64_over_a_unix_socket(void **state)
{
	(void)state;
	expect_at_most_64(unix_listen);
}

/* An answer under way is not cut off by those who come; they are turned away instead. */
static void test_an_answer_is_finished_first(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	connect_many(MOST);
	for (size_t i = 0; i < MOST; i++)
		say(clients[i], "GET /big HTTP/1.1\r\n\r\n");
	run_for(1000);
	for (int i = 0; i < 100 && !is_closed(clients[MOST]); i++) {
		clients[MOST] = clients[MOST] >= 0 ? clients[MOST] : connect_one();
		run_for(1000);
	}
	assert_true(is_closed(clients[MOST]));
	assert_int_equal(open_count(), MOST);
}

static void wait_closed(int fd)
{
	for (int i = 0; i < 1000 && !is_closed(fd); i++)
		run_for(PATIENCE_US / 10);
	assert_true(is_closed(fd));
}

static void test_an_idle_connection_is_closed(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	http_set_patience(http, PATIENCE_US, LONG_US);
	connect_many(1);
	wait_closed(clients[0]);
}

/* The time is that of the whole request: bytes that trickle in do not prolong it. */
static void test_a_slow_request_is_cut_off(void **state)
{
	int64_t began = clock_monotonic_us();

	(void)state;
	serve_on("127.0.0.1:0");
	http_set_patience(http, PATIENCE_US, LONG_US);
	connect_many(1);
	say(clients[0], "GET /small HTTP/1.1\r\nX: ");
	while (!is_closed(clients[0]) && clock_monotonic_us() - began < LONG_US) {
		send(clients[0], "x", 1, MSG_NOSIGNAL);
		run_for(PATIENCE_US / 10);
	}
	assert_true(clock_monotonic_us() - began < LONG_US);
}

/* A client that asks for much and reads nothing: its memory is given back. */
static void test_a_reader_that_does_not_read_is_cut_off(void **state)
{
	char *rest = xmalloc(1 << 20);
	size_t total = 0;
	ssize_t got;

	(void)state;
	serve_on("127.0.0.1:0");
	http_set_patience(http, LONG_US, PATIENCE_US);
	connect_many(1);
	say(clients[0], "GET /big HTTP/1.1\r\n\r\n");
	run_for(4 * PATIENCE_US);
	fcntl(clients[0], F_SETFL, 0);
	while ((got = recv(clients[0], rest, 1 << 20, 0)) > 0)
		total += (size_t)got;
	assert_in_range(total, 1, 64 * 1024 * 1024 - 1);
	free(rest);
}

/* A client that keeps the connection although it was told that it is closed. */
static void test_an_answered_connection_is_closed(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	connect_many(1);
	say(clients[0], small);
	expect_served(clients[0]);
	for (int i = 0; i < 2000 && send(clients[0], "x", 1, MSG_NOSIGNAL) == 1; i++)
		run_for(1000);
	assert_int_equal(send(clients[0], "x", 1, MSG_NOSIGNAL), -1);
}

static void limit_files(rlim_t count)
{
	struct rlimit limit = {count, files.rlim_max};

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* A quarter of the limit of open files is for HTTP. */
static void test_fewer_where_descriptors_are_few(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	limit_files(100);
	connect_many(30);
	assert_int_equal(open_count(), 25);
}

/* No descriptor at all: libevent's error callback once got another object than the code took it
 * for, and the process died. */
static void test_without_descriptors_accepting_pauses(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	clients[0] = connect_one();
	say(clients[0], small);
	limit_files(3);
	run_for(50 * 1000);
	assert_false(is_closed(clients[0]));
	limit_files(files.rlim_cur);
	expect_served(clients[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_at_most_64_connections),
	    TEST(test_at_most_64_over_a_unix_socket),
	    TEST(test_an_answer_is_finished_first),
	    TEST(test_an_idle_connection_is_closed),
	    TEST(test_a_slow_request_is_cut_off),
	    TEST(test_a_reader_that_does_not_read_is_cut_off),
	    TEST(test_an_answered_connection_is_closed),
	    TEST(test_fewer_where_descriptors_are_few),
	    TEST(test_without_descriptors_accepting_pauses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
