/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_token.c - what a command for tokens may print
 */
#include "kafka/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_S = 1000000000 };
#define NOW_MS (NOW_S * INT64_C(1000))

/* {"alg":"none"}.{"sub":"relay","exp":1000000300}. and without exp. */
#define JWT	  "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSIsImV4cCI6MTAwMDAwMDMwMH0."
#define JWT_NEVER "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSJ9.c2ln"

static struct kafka_token token;

/* In seconds from now. */
static void takes(const char *text, const char *value, int64_t expires_s)
{
	struct error err;

	kafka_token_clear(&token);
	if (!kafka_token_parse(text, NOW_MS, &token, &err))
		fail_msg("%s: %s", text, err.text);
	assert_string_equal(token.value, value);
	assert_int_equal(token.expires_ms - NOW_MS, expires_s * 1000);
}

static void refuses(const char *text, const char *says)
{
	struct error err;

	kafka_token_clear(&token);
	assert_false(kafka_token_parse(text, NOW_MS, &token, &err));
	assert_null(token.value);
	if (strstr(err.text, says) == NULL)
		fail_msg("%s: %s", text, err.text);
	assert_null(strstr(err.text, "hunter2"));
}

static void test_the_token_alone(void **state)
{
	(void)state;
	takes(JWT, JWT, 300);
	assert_string_equal(token.principal, "relay");
	takes(JWT_NEVER, JWT_NEVER, 60);
	takes("opaque-._~+/=", "opaque-._~+/=", 60);
	assert_string_equal(token.principal, "outbox-relay");
	takes("aHR0cHM6Ly9rYWZrYS5ldS13ZXN0LTEuYW1hem9uYXdz",
	      "aHR0cHM6Ly9rYWZrYS5ldS13ZXN0LTEuYW1hem9uYXdz", 60);
	takes("a.b.c", "a.b.c", 60);
	takes("a.!.c", "a.!.c", 60);
	refuses("hunter2 two", "no token: it has a blank");
	refuses("hunter2\nhunter2", "no token: it has a blank");
	refuses("hunter2\303\244", "no token");
}

static void test_json(void **state)
{
	(void)state;
	takes("{\"token\": \"t\", \"expires_in\": 10}", "t", 10);
	takes(" \n{\"access_token\": \"t\", \"token_type\": \"Bearer\", \"expires_in\": \"3599\"}",
	      "t", 3599);
	takes("{\"accessToken\": \"t\", \"expiresOn\": \"2001-09-09 01:56:40.000000\", "
	      "\"expires_on\": "
	      "1000000060}",
	      "t", 60);
	takes("{\"token\": \"t\", \"expires_at\": 1000000010000}", "t", 10);
	takes("{\"token\": \"t\", \"expires_at\": \"1000000010\"}", "t", 10);
	takes("{\"token\": \"t\", \"expires_at_ms\": 1000000010000}", "t", 10);
	takes("{\"token\": \"t\", \"lifetime_ms\": 1000000010000}", "t",
	      10); /* librdkafka's name */
}

static void test_dates(void **state)
{
	(void)state;
	takes("{\"token\": \"t\", \"expires_at\": \"2001-09-09T01:46:50Z\"}", "t", 10);
	takes("{\"token\": \"t\", \"expires_at\": \"2001-09-09T01:46:50.123456789Z\"}", "t", 10);
	takes("{\"token\": \"t\", \"expires_at\": \"2001-09-09 03:46:50+02:00\"}", "t", 10);
	takes("{\"token\": \"t\", \"expires_at\": \"2001-09-08T22:16:50-03:30\"}", "t", 10);
	refuses("{\"token\": \"hunter2\", \"expires_at\": \"2001-09-09T01:46:50\"}", "is no time");
	refuses("{\"token\": \"hunter2\", \"expires_at\": \"2001-09-09T01:46:50+0200\"}",
		"is no time");
	refuses("{\"token\": \"hunter2\", \"expires_at\": \"tomorrow\"}",
		"\"expires_at\" is no time");
	refuses("{\"token\": \"hunter2\", \"expires_at\": true}", "is no time");
	refuses("{\"token\": \"hunter2\", \"expires_at\": 1e300}", "is no time");
	refuses("{\"token\": \"hunter2\", \"expires_at\": -1}", "is no time");
	refuses("{\"token\": \"hunter2\", \"expires_in\": \"nan\"}", "is no time");
	takes("{\"token\": \"t\", \"expires_in\": 10000000000000}", "t", 315360000);
	refuses("{\"token\": \"hunter2\", \"expiry\": \"\"}", "\"expiry\" is no time");
}

/* The JSON's own expiry counts before the token's. */
static void test_json_around_a_jwt(void **state)
{
	(void)state;
	takes("{\"token\": \"" JWT "\"}", JWT, 300);
	takes("{\"token\": \"" JWT "\", \"expires_in\": 20, \"principal\": \"p\"}", JWT, 20);
	assert_string_equal(token.principal, "p");
	takes("{\"token\": \"" JWT "\", \"expires_in\": null}", JWT, 300);
	takes("{\"token\": \"t\"}", "t", 60);
}

static void test_extensions(void **state)
{
	(void)state;
	takes("{\"token\": \"t\", \"extensions\": {\"logicalCluster\": \"lkc-1\", "
	      "\"identityPoolId\": "
	      "\"pool-2\"}}",
	      "t", 60);
	assert_int_equal(token.extension_count, 4);
	assert_string_equal(token.extensions[0], "logicalCluster");
	assert_string_equal(token.extensions[1], "lkc-1");
	assert_string_equal(token.extensions[3], "pool-2");
	refuses("{\"token\": \"hunter2\", \"extensions\": [1]}", "\"extensions\" is no object");
	refuses("{\"token\": \"hunter2\", \"extensions\": {\"a\": 1}}",
		"extension \"a\" is no string");
	refuses(
	    "{\"token\": \"hunter2\", \"extensions\": {\"a\": \"\", \"b\": \"\", \"c\": \"\", "
	    "\"d\": "
	    "\"\", \"e\": \"\", \"f\": \"\", \"g\": \"\", \"h\": \"\", \"i\": \"\", \"j\": \"\", "
	    "\"k\": \"\", \"l\": \"\", \"m\": \"\", \"n\": \"\", \"o\": \"\", \"p\": \"\", \"q\": "
	    "\"\"}}",
	    "more than 16 extensions");
}

static void test_what_is_no_token(void **state)
{
	(void)state;
	refuses("{\"token\": \"hunter2\"", "JSON that cannot be read");
	refuses("{\"token\": \"hunter2\", \"token\": \"hunter2\"}", "JSON that cannot be read");
	refuses("{\"error\": \"hunter2\"}", "JSON without a token");
	refuses("{\"token\": 1}", "JSON without a token");
	refuses("{\"token\": \"\"}", "JSON without a token");
	refuses("{\"token\": \"hunter2 \"}", "no token");
	refuses("{\"token\": \"hunter2\", \"expires_in\": 0}", "expired 0 s ago");
	refuses("{\"token\": \"hunter2\", \"expires_at\": 999999990}", "expired 10 s ago");
}

static int teardown(void **state)
{
	(void)state;
	kafka_token_clear(&token);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_token_alone), cmocka_unit_test(test_json),
	    cmocka_unit_test(test_dates),	    cmocka_unit_test(test_json_around_a_jwt),
	    cmocka_unit_test(test_extensions),	    cmocka_unit_test(test_what_is_no_token),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
