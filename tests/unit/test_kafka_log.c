/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_log.c - librdkafka repeats itself for as long as a broker is unreachable; our log does
 * not
 */
#include "base/clock.h"
#include "base/log.h"
#include "kafka/internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t now_us = 1000 * 1000;
static int log_end, real_stderr;

/* The clock's functions, all of them, so that the relay's own are not linked. */
int64_t clock_monotonic_us(void)
{
	return now_us;
}

int64_t clock_realtime_us(void)
{
	return now_us;
}

static size_t lines(void)
{
	char text[65536];
	ssize_t len = read(log_end, text, sizeof(text));
	size_t count = 0;

	for (ssize_t i = 0; i < len; i++)
		count += text[i] == '\n';
	return count;
}

/* So many lines come of messages for an hour, one every so many seconds. */
static size_t an_hour(double every_s, const char *facility, const char *text)
{
	int64_t end = now_us + INT64_C(3600) * 1000 * 1000;
	size_t count = 0;

	now_us += INT64_C(100) * 1000 * 1000; /* of silence */
	for (; now_us < end; now_us += (int64_t)(every_s * 1e6)) {
		kafka_log(3, facility, text);
		count += lines();
	}
	return count;
}

static void test_ever_less_often(void **state)
{
	static const char text[] = "[thrd:b:9092/1]: b:9092/1: Connect failed";

	(void)state;
	assert_in_range(an_hour(1, "FAIL", text), 8, 14);
	assert_in_range(an_hour(30, "FAIL", text), 8, 14);
	assert_in_range(an_hour(0.3, "FAIL", text), 8, 14);
	/* What comes seldom is written each time. */
	assert_int_equal(an_hour(70, "FAIL", text), 50);
}

/* One that is down for long does not hide the next. */
static void test_each_broker_by_itself(void **state)
{
	(void)state;
	an_hour(1, "FAIL", "[thrd:a:9092/1]: failed");
	kafka_log(3, "FAIL", "[thrd:b:9092/2]: failed");
	assert_int_equal(lines(), 1);
	kafka_log(3, "FAIL", "[thrd:a:9092/1]: failed");
	kafka_log(3, "FAIL", "[thrd:b:9092/2]: failed");
	assert_int_equal(lines(), 0);
	kafka_log(3, "OTHER", "[thrd:a:9092/1]: failed");
	assert_int_equal(lines(), 1);
}

static int setup(void **state)
{
	int ends[2];

	(void)state;
	if (pipe(ends) != 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	log_end = ends[0];
	fcntl(log_end, F_SETFL, O_NONBLOCK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(log_end);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ever_less_often),
	    cmocka_unit_test(test_each_broker_by_itself),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
