/* SPDX-License-Identifier: ISC */
/*
 * test_verdict.c - which errors are an event's own fault
 */
#include "kafka/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void an_events_own_faults_reject_it(void **state)
{
	(void)state;
	assert_int_equal(kafka_verdict("MSG_SIZE_TOO_LARGE"), REJECT_TOO_LARGE);
	assert_int_equal(kafka_verdict("RECORD_LIST_TOO_LARGE"), REJECT_TOO_LARGE);
	assert_int_equal(kafka_verdict("INVALID_RECORD"), REJECT_INVALID_RECORD);
	assert_int_equal(kafka_verdict("POLICY_VIOLATION"), REJECT_POLICY_VIOLATION);
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

/* All that this librdkafka can say: none but the five rejects an event, and what it may say of a
 * produced record is known. Of the others, of groups and the like, an alert would tell. */
static void every_error_of_librdkafka_has_a_class(void **state)
{
	const struct rd_kafka_err_desc *all;
	size_t count, rejects = 0, known = 0;

	(void)state;
	rd_kafka_get_err_descs(&all, &count);
	for (size_t i = 0; i < count; i++) {
		if (all[i].name == NULL)
			continue;
		known += kafka_knows(all[i].name);
		rejects += kafka_verdict(all[i].name) != REJECT_NONE;
		assert_true(kafka_verdict(all[i].name) == REJECT_NONE || all[i].code > 0);
		if (!kafka_knows(all[i].name))
			assert_non_null(strstr(kafka_advice(all[i].name), "report it"));
	}
	assert_int_equal(rejects, 5);
	/* No name in the table is misspelt; one is new in 2.4.0 (KIP-467). */
	assert_int_equal(known + (rd_kafka_version() < 0x02040000), kafka_verdicts());
	assert_false(kafka_knows("ERR_4711?"));
	assert_false(kafka_knows("GROUP_ID_NOT_FOUND"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_events_own_faults_reject_it),
	    cmocka_unit_test(the_environments_faults_do_not),
	    cmocka_unit_test(an_unknown_error_is_the_environments),
	    cmocka_unit_test(every_error_of_librdkafka_has_a_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
