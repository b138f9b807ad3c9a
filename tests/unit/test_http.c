/* SPDX-License-Identifier: ISC */
/*
 * test_http.c - the server and the client against each other, and each against a rude peer
 *
 * The client blocks, so it runs on a thread of its own while the loop serves.
 */
#include "base/clock.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "http.h"
#include "http/address.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

static struct loop *loop;
static struct http *http;
static struct error err;
static char dir[64], unix_listen[96];

static int page_hello(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	*body = xasprintf("hello %s\n", (const char *)arg);
	*len = strlen(*body);
	return 200;
}

static int page_sick(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	(void)arg;
	*body = xstrdup("stalled\n");
	*len = strlen(*body);
	return 503;
}

static int page_big(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	(void)arg;
	*len = 3 * 1024 * 1024;
	*body = xmalloc(*len);
	memset(*body, 'b', *len);
	return 200;
}

static int page_empty(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	(void)arg;
	*body = NULL;
	*len = 0;
	return 200;
}

static const struct http_page pages[] = {
    {"/hello", "text/plain; version=0.0.4", page_hello},
    {"/sick", "text/plain", page_sick},
    {"/big", "text/plain", page_big},
    {"/empty", "text/plain", page_empty},
    {NULL, NULL, NULL},
};

static int setup(void **state)
{
	(void)state;
	memset(&err, 0, sizeof(err));
	snprintf(dir, sizeof(dir), "%s/test_http.XXXXXX",
		 getenv("TMPDIR") && strlen(getenv("TMPDIR")) < 40 ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(unix_listen, sizeof(unix_listen), "unix:%s/http", dir);
	loop = loop_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http_free(&http);
	loop_free(&loop);
	unlink(unix_listen + strlen("unix:"));
	return rmdir(dir);
}

static void serve_on(const char *listen)
{
	http = http_new(loop, listen, pages, "world", &err);
	if (http == NULL)
		fail_msg("%s", err.text);
}

/* What a client thread does and what came of it. */
struct job {
	const char *listen;
	const char *path;    /* for http_get, or */
	const char *request; /* sent as it is */
	int status;
	char *body;
	size_t len;
	struct error err;
	int done; /* an eventfd */
};

/* Sends raw bytes and reads until the server hangs up. */
static void talk(struct job *job)
{
	int64_t deadline = clock_monotonic_us() + PATIENCE_MS * 1000ll;
	int fd = http_address_connect(job->listen, deadline, &job->err);
	ssize_t got = 1;

	job->body = xcalloc(1, 1 << 16);
	if (fd < 0)
		return;
	got = send(fd, job->request, strlen(job->request), MSG_NOSIGNAL);
	while (got > 0 && http_address_wait(fd, POLLIN, deadline)) {
		got = recv(fd, job->body + job->len, (1 << 16) - 1 - job->len, 0);
		job->len += got > 0 ? (size_t)got : 0;
	}
	close(fd);
}

static void *client(void *arg)
{
	struct job *job = arg;

	if (job->path != NULL)
		job->status =
		    http_get(job->listen, job->path, PATIENCE_MS, &job->body, &job->len, &job->err);
	else
		talk(job);
	eventfd_write(job->done, 1);
	return NULL;
}

static void stop(int what, void *arg)
{
	(void)what;
	(void)arg;
	loop_stop(loop);
}

static void run(struct job *job)
{
	struct loop_io *io;
	pthread_t thread;

	job->done = eventfd(0, EFD_CLOEXEC);
	io = loop_io_new(loop, job->done, LOOP_READ, stop, NULL);
	assert_int_equal(pthread_create(&thread, NULL, client, job), 0);
	loop_run(loop);
	pthread_join(thread, NULL);
	loop_io_free(&io);
	close(job->done);
}

static void expect_page(const char *listen, const char *path, int status, const char *body)
{
	struct job job = {.listen = listen, .path = path};

	run(&job);
	if (job.status < 0)
		fail_msg("%s", job.err.text);
	assert_int_equal(job.status, status);
	assert_string_equal(job.body, body);
	assert_int_equal(job.len, strlen(body));
	free(job.body);
}

/* The whole raw answer; the caller frees it. */
static char *answer_to(const char *request)
{
	struct job job = {.listen = http_address(http), .request = request};

	run(&job);
	return job.body;
}

static void test_pages(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	assert_int_equal(strncmp(http_address(http), "127.0.0.1:", 10), 0);
	assert_string_not_equal(http_address(http), "127.0.0.1:0");
	expect_page(http_address(http), "/hello", 200, "hello world\n");
	expect_page(http_address(http), "/hello?x=1", 200, "hello world\n");
	expect_page(http_address(http), "/sick", 503, "stalled\n");
	expect_page(http_address(http), "/empty", 200, "");
	expect_page(http_address(http), "/", 404, "no such page\n");
	expect_page(http_address(http), "/hello/", 404, "no such page\n");
	expect_page(http_address(http), "/hello%2f", 404, "no such page\n");
}

static void test_a_large_page(void **state)
{
	struct job job;

	(void)state;
	serve_on("127.0.0.1:0");
	job = (struct job){.listen = http_address(http), .path = "/big"};
	run(&job);
	assert_int_equal(job.status, 200);
	assert_int_equal(job.len, 3 * 1024 * 1024);
	assert_int_equal(job.body[job.len - 1], 'b');
	free(job.body);
}

static void test_names_and_ipv6(void **state)
{
	struct error ignored;
	int fd = http_address_listen("[::1]:0", &ignored);

	(void)state;
	serve_on("localhost:0");
	expect_page(http_address(http), "/hello", 200, "hello world\n");
	if (fd < 0)
		skip();
	close(fd);
	http_free(&http);
	serve_on("[::1]:0");
	assert_int_equal(strncmp(http_address(http), "[::1]:", 6), 0);
	expect_page(http_address(http), "/hello", 200, "hello world\n");
}

static void test_unix_socket(void **state)
{
	struct stat info;

	(void)state;
	serve_on(unix_listen);
	assert_string_equal(http_address(http), unix_listen);
	expect_page(unix_listen, "/hello", 200, "hello world\n");
	http_free(&http);
	assert_int_equal(lstat(unix_listen + 5, &info), -1);
}

/* What a relay that was killed leaves behind: a socket file with nobody behind it. */
static void test_old_socket_is_replaced(void **state)
{
	int fd = http_address_listen(unix_listen, &err);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(access(unix_listen + 5, F_OK), 0);
	serve_on(unix_listen);
	expect_page(unix_listen, "/hello", 200, "hello world\n");
}

static void test_live_socket_is_kept(void **state)
{
	struct http *second;

	(void)state;
	serve_on(unix_listen);
	second = http_new(loop, unix_listen, pages, "intruder", &err);
	assert_null(second);
	assert_non_null(strstr(err.text, unix_listen));
	assert_non_null(strstr(err.text, "in use"));
	expect_page(unix_listen, "/hello", 200, "hello world\n");
}

static void test_other_file_is_kept(void **state)
{
	FILE *file = fopen(unix_listen + 5, "w");

	(void)state;
	fputs("precious", file);
	fclose(file);
	assert_null(http_new(loop, unix_listen, pages, NULL, &err));
	assert_non_null(strstr(err.text, "no socket"));
	file = fopen(unix_listen + 5, "r");
	assert_int_equal(fgetc(file), 'p');
	fclose(file);
}

static void test_address_in_use(void **state)
{
	(void)state;
	serve_on("127.0.0.1:0");
	assert_null(http_new(loop, http_address(http), pages, NULL, &err));
	assert_non_null(strstr(err.text, http_address(http)));
	assert_non_null(strstr(err.text, "in use"));
	assert_non_null(strstr(err.text, "http.listen"));
}

static void test_bad_addresses(void **state)
{
	static const char *const bad[] = {
	    "nonsense", "127.0.0.1", "127.0.0.1:",	"::1:80", "[::1:80",
	    "[]x:1",	"unix:",     "127.0.0.1:99999", "",	  "127.0.0.1:port-of-nobody",
	    ":",	"]:1"};
	char long_path[300] = "unix:/";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.text[0] = '\0';
		if (http_new(loop, bad[i], pages, NULL, &err) != NULL)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(strstr(err.text, "http.listen"));
	}
	memset(long_path + 6, 'x', 200);
	assert_null(http_new(loop, long_path, pages, NULL, &err));
}

static void test_methods(void **state)
{
	static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"};
	char request[128];
	char *answer;

	(void)state;
	serve_on("127.0.0.1:0");
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		snprintf(request, sizeof(request),
			 "%s /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
			 "Content-Length: 0\r\n\r\n",
			 methods[i]);
		answer = answer_to(request);
		if (strncmp(answer, "HTTP/1.1 405 ", 13) != 0)
			fail_msg("%s: %s", methods[i], answer);
		assert_non_null(strstr(answer, "\r\nAllow: GET, HEAD\r\n"));
		free(answer);
	}
	answer = answer_to("NONSENSE /hello HTTP/1.1\r\nConnection: close\r\n\r\n");
	assert_null(strstr(answer, " 200 "));
	free(answer);
}

static void test_head_has_no_body(void **state)
{
	char *answer;

	(void)state;
	serve_on("127.0.0.1:0");
	answer = answer_to("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_int_equal(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
	assert_non_null(strstr(answer, "\r\nContent-Length: 12\r\n"));
	assert_non_null(strstr(answer, "\r\nContent-Type: text/plain; version=0.0.4\r\n"));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
	free(answer);
}

/* Endless headers end in an error and a closed connection; the next client is served. */
static void test_large_requests_are_refused(void **state)
{
	size_t len = 1 << 20;
	char *request = xmalloc(len + 64);
	char *answer;
	size_t used = (size_t)sprintf(request, "GET /hello HTTP/1.1\r\nX: ");

	(void)state;
	serve_on("127.0.0.1:0");
	memset(request + used, 'x', len);
	strcpy(request + used + len, "\r\n\r\n");
	answer = answer_to(request);
	assert_null(strstr(answer, "hello world"));
	free(answer);
	strcpy(request, "POST /hello HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n");
	answer = answer_to(request);
	assert_null(strstr(answer, "hello world"));
	free(answer);
	free(request);
	expect_page(http_address(http), "/hello", 200, "hello world\n");
}

static void pause_is_over(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* Runs the loop for so long that what is due on this machine's own sockets has been done. */
static void run_a_little(struct loop_timer *timer)
{
	loop_timer_set(timer, 5000);
	loop_run(loop);
}

/* A request whose connection is closed by the server, as most clients ask for. */
static void come_and_go(struct loop_timer *timer)
{
	static const char request[] = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	int64_t deadline = clock_monotonic_us() + PATIENCE_MS * 1000ll;
	int fd = http_address_connect(http_address(http), deadline, &err);

	assert_true(fd >= 0);
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	run_a_little(timer);
	close(fd);
	run_a_little(timer);
}

struct end {
	int fd;
	int got;
};

static void take_byte(int what, void *arg)
{
	struct end *end = arg;
	char byte;

	(void)what;
	end->got += (int)read(end->fd, &byte, 1);
}

/* A connection that is over must have let go of its descriptor: the next socket, a session with the
 * database perhaps, gets the same number, and whoever still watched it would take its bytes. */
static void test_a_closed_connection_leaves_its_descriptor_alone(void **state)
{
	struct loop_timer *timer = loop_timer_new(loop, pause_is_over, NULL);
	int pair[2];

	(void)state;
	serve_on("127.0.0.1:0");
	come_and_go(timer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		struct end end = {.fd = pair[i]};
		struct loop_io *io = loop_io_new(loop, end.fd, LOOP_READ, take_byte, &end);

		assert_int_equal(write(pair[1 - i], "x", 1), 1);
		run_a_little(timer);
		assert_int_equal(end.got, 1);
		loop_io_free(&io);
	}
	close(pair[0]);
	close(pair[1]);
	loop_timer_free(&timer);
}

/* A server for the client's tests: says one thing and hangs up, or not. */
struct rude {
	int fd;
	const char *words;
	size_t repeat;
	bool hangs;
	int release; /* read end: closed when it may end */
};

static void *rude_server(void *arg)
{
	struct rude *rude = arg;
	struct pollfd wait = {.fd = rude->fd, .events = POLLIN};
	char request[1024];
	int fd, ends = 1;

	poll(&wait, 1, PATIENCE_MS);
	fd = accept(rude->fd, NULL, NULL);
	ends = recv(fd, request, sizeof(request), 0) > 0;
	for (size_t i = 0; ends && i < rude->repeat; i++)
		if (send(fd, rude->words, strlen(rude->words), MSG_NOSIGNAL) < 0)
			break;
	if (rude->hangs) {
		wait.fd = rude->release;
		poll(&wait, 1, PATIENCE_MS);
	}
	close(fd);
	return NULL;
}

/* What http_get makes of a server that says words `repeat` times; the error, or "" and the body. */
static int get_from(const char *words, size_t repeat, bool hangs, char **body)
{
	struct rude rude = {.words = words, .repeat = repeat, .hangs = hangs};
	pthread_t thread;
	int release[2], status;
	char *name;
	size_t len;

	assert_int_equal(pipe(release), 0);
	rude.release = release[0];
	rude.fd = http_address_listen("127.0.0.1:0", &err);
	assert_true(rude.fd >= 0);
	name = http_address_name(rude.fd);
	err.text[0] = '\0';
	assert_int_equal(pthread_create(&thread, NULL, rude_server, &rude), 0);
	status = http_get(name, "/status", hangs ? 50 : PATIENCE_MS, body, &len, &err);
	close(release[1]);
	pthread_join(thread, NULL);
	close(release[0]);
	close(rude.fd);
	free(name);
	return status;
}

static void test_client_reads_what_it_should(void **state)
{
	char *body;

	(void)state;
	assert_int_equal(get_from("HTTP/1.0 200 OK\r\n\r\n{}", 1, false, &body), 200);
	assert_string_equal(body, "{}");
	free(body);
	assert_int_equal(get_from("HTTP/1.1 503 No\r\ncontent-length:2\r\n\r\nno", 1, false, &body),
			 503);
	assert_string_equal(body, "no");
	free(body);
}

static void test_client_meets_rude_servers(void **state)
{
	static const struct {
		const char *words;
		size_t repeat;
		bool hangs;
		const char *says;
	} samples[] = {
	    {"", 0, false, "not HTTP"},
	    {"SSH-2.0-OpenSSH_9.2\r\n", 1, false, "not HTTP"},
	    {"HTTP/1.1 200 OK\r\n", 1, false, "not HTTP"},
	    {"HTTP/1.1 -1 OK\r\n\r\n", 1, false, "not HTTP"},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", 1, false, "cut short"},
	    {"HTTP/1.1 200 OK\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 300000, false,
	     "too long"},
	    {"HTTP/1.1 200 OK\r\n\r\nand then", 1, true, "no answer in time"},
	};
	char *body;

	(void)state;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		assert_int_equal(
		    get_from(samples[i].words, samples[i].repeat, samples[i].hangs, &body), -1);
		if (strstr(err.text, samples[i].says) == NULL)
			fail_msg("sample %zu: %s", i, err.text);
		assert_null(body);
	}
}

static void test_client_without_server(void **state)
{
	char *body;
	size_t len;

	(void)state;
	assert_int_equal(http_get(unix_listen, "/status", 1000, &body, &len, &err), -1);
	assert_non_null(strstr(err.text, unix_listen));
	assert_non_null(strstr(err.text, "is the relay running"));
	assert_int_equal(http_get("", "/status", 1000, &body, &len, &err), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_pages),
	    TEST(test_a_large_page),
	    TEST(test_names_and_ipv6),
	    TEST(test_unix_socket),
	    TEST(test_old_socket_is_replaced),
	    TEST(test_live_socket_is_kept),
	    TEST(test_other_file_is_kept),
	    TEST(test_address_in_use),
	    TEST(test_bad_addresses),
	    TEST(test_methods),
	    TEST(test_head_has_no_body),
	    TEST(test_large_requests_are_refused),
	    TEST(test_a_closed_connection_leaves_its_descriptor_alone),
	    TEST(test_client_reads_what_it_should),
	    TEST(test_client_meets_rude_servers),
	    TEST(test_client_without_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
