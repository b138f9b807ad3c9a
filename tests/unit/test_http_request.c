/* SPDX-License-Identifier: ISC */
/*
 * test_http_request.c - what the head of a request asks for, and what is refused
 */
#include "http/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 8192 };

static struct http_request request;

static bool parse(const char *text)
{
	return http_request_parse(text, strlen(text), SIZE, &request);
}

static void expect(const char *text, int refusal, const char *path)
{
	if (!parse(text))
		fail_msg("not complete: %s", text);
	assert_int_equal(request.refusal, refusal);
	if (path != NULL)
		assert_string_equal(request.path, path);
}

static void test_what_is_asked_for(void **state)
{
	(void)state;
	expect("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 0, "/metrics");
	assert_false(request.head);
	expect("HEAD / HTTP/1.0\n\n", 0, "/");
	assert_true(request.head);
	expect("\r\nGET /status?pretty&x=/y HTTP/1.1\r\n\r\n", 0, "/status");
	expect("GET http://relay:9464/healthz HTTP/1.1\r\n\r\n", 0, "/healthz");
	expect("GET http://relay:9464 HTTP/1.1\r\n\r\n", 0, "");
	expect("GET /a HTTP/1.1\r\ncontent-LENGTH: 1024\r\n\r\n", 0, "/a");
}

static void test_what_is_refused(void **state)
{
	(void)state;
	expect("POST / HTTP/1.1\r\n\r\n", 405, "/");
	expect("get / HTTP/1.1\r\n\r\n", 405, NULL);
	expect("GETX / HTTP/1.1\r\n\r\n", 405, NULL);
	expect("GET /\r\n\r\n", 400, NULL);
	expect("GET  / HTTP/1.1\r\n\r\n", 400, NULL);
	expect("GET / HTTP/1.1 x\r\n\r\n", 400, NULL);
	expect("GET / NONSENSE/1.1\r\n\r\n", 400, NULL);
	expect("GET / HTTP/1.10\r\n\r\n", 505, NULL);
	expect("PRI * HTTP/2.0\r\n\r\n", 505, NULL);
	expect("GET / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n", 413, NULL);
	expect("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, NULL);
	expect("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 413, NULL);
	expect("GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 413, NULL);
	expect("\x16\x03\x01", 400, NULL); /* TLS */
	expect(" GET / HTTP/1.1\r\n\r\n", 400, NULL);
}

static void test_a_long_path_is_no_page(void **state)
{
	char text[600] = "GET /";

	(void)state;
	memset(text + 5, 'x', 500);
	strcat(text, " HTTP/1.1\r\n\r\n");
	expect(text, 0, "");
}

/* Every shorter beginning asks for more, except that it may already be refused. */
static void test_a_request_in_pieces(void **state)
{
	static const char text[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n";

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_false(http_request_parse(text, len, SIZE, &request));
	assert_true(http_request_parse(text, sizeof(text) - 1, SIZE, &request));
}

static void test_a_head_without_an_end(void **state)
{
	char text[SIZE];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_false(http_request_parse(text, SIZE - 1, SIZE, &request));
	assert_true(http_request_parse(text, SIZE, SIZE, &request));
	assert_int_equal(request.refusal, 431);
	memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
	assert_true(http_request_parse(text, SIZE, SIZE, &request));
	assert_int_equal(request.refusal, 431);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_asked_for),
	    cmocka_unit_test(test_what_is_refused),
	    cmocka_unit_test(test_a_long_path_is_no_page),
	    cmocka_unit_test(test_a_request_in_pieces),
	    cmocka_unit_test(test_a_head_without_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
