/* SPDX-License-Identifier: ISC */
/*
 * test_verdict.c - which errors are an event's own fault
 */
#include "kafka/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void an_events_own_faults_reject_it(void **state)
{
	(void)state;
	assert_int_equal(kafka_verdict("MSG_SIZE_TOO_LARGE"), REJECT_TOO_LARGE);
	assert_int_equal(kafka_verdict("RECORD_LIST_TOO_LARGE"), REJECT_TOO_LARGE);
	assert_int_equal(kafka_verdict("INVALID_RECORD"), REJECT_BROKER);
	assert_int_equal(kafka_verdict("POLICY_VIOLATION"), REJECT_BROKER);
	assert_int_equal(kafka_verdict("TOPIC_EXCEPTION"), REJECT_TOPIC);
}

static void the_environments_faults_do_not(void **state)
{
	static const char *const names[] = {
	    "TOPIC_AUTHORIZATION_FAILED",
	    "CLUSTER_AUTHORIZATION_FAILED",
	    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
	    "UNKNOWN_TOPIC_OR_PART",
	    "_UNKNOWN_TOPIC",
	    "_UNKNOWN_PARTITION",
	    "NOT_ENOUGH_REPLICAS",
	    "INVALID_REQUIRED_ACKS",
	    "OUT_OF_ORDER_SEQUENCE_NUMBER",
	    "_MSG_TIMED_OUT",
	    "_PURGE_QUEUE",
	    "_PURGE_INFLIGHT",
	    "_FATAL",
	    "_GAPLESS_GUARANTEE",
	    "_INVALID_DIFFERENT_RECORD",
	    "UNSUPPORTED_COMPRESSION_TYPE",
	    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
	    "INVALID_TIMESTAMP",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(kafka_verdict(names[i]), REJECT_NONE);
}

static void an_unknown_error_is_the_environments(void **state)
{
	(void)state;
	assert_int_equal(kafka_verdict("ERR_4711?"), REJECT_NONE);
	assert_int_equal(kafka_verdict(""), REJECT_NONE);
	assert_int_equal(kafka_verdict("MSG_SIZE_TOO_LARGE_"), REJECT_NONE);
	assert_int_equal(kafka_verdict("MSG_SIZE"), REJECT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_events_own_faults_reject_it),
	    cmocka_unit_test(the_environments_faults_do_not),
	    cmocka_unit_test(an_unknown_error_is_the_environments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
