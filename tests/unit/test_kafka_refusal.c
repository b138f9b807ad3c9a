/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_refusal.c - whose fault a broker's refusal is, on the embedded broker
 */
#include "kafka_rig.h"

/* Five keys of one partition (of 4): a producer sends the first record of each alone. */
static const char *const keys[] = {"0", "2", "11", "17", "21"};
enum { KEYS = sizeof(keys) / sizeof(keys[0]), MANY = 200 };

#define OK	RD_KAFKA_RESP_ERR_NO_ERROR
#define REFUSED RD_KAFKA_RESP_ERR_INVALID_RECORD

static void same_partition(void)
{
	int32_t first = rd_kafka_msg_partitioner_murmur2_random(NULL, keys[0], strlen(keys[0]),
								PARTITIONS, NULL, NULL);

	for (size_t i = 1; i < KEYS; i++)
		assert_int_equal(rd_kafka_msg_partitioner_murmur2_random(
				     NULL, keys[i], strlen(keys[i]), PARTITIONS, NULL, NULL),
				 first);
}

static void refuse_all(const struct rig *rig, rd_kafka_resp_err_t code)
{
	for (size_t i = 0; i < MANY; i++)
		rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 1, code);
}

static bool some_broken(const struct rig *rig)
{
	return rig->broken >= 3;
}

static bool reports_trouble(const struct rig *rig)
{
	return rig->sink->trouble != NULL && strstr(rig->sink->trouble, "topic ") != NULL &&
	       rig->broken >= 2;
}

static void warm_up(struct rig *rig)
{
	static char linger[] = "linger.ms=50"; /* one batch */
	static char *property[] = {linger};
	static const struct config_strings properties = {property, 1};

	same_partition();
	rig->options.properties = &properties;
	add(rig, "t", slice_of(keys[0]), slice_of("warms up"));
	connect_sink(rig);
	run_until(rig, all_settled);
}

static void add_one_of_each_key(struct rig *rig, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add(rig, "t", slice_of(keys[i]), slice_of("x"));
}

/* A broker, a proxy or a topic's settings answer these to whatever is sent. */
static void what_all_are_refused_for_rejects_none(void **state)
{
	static const rd_kafka_resp_err_t codes[] = {
	    RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,  RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
	    RD_KAFKA_RESP_ERR_POLICY_VIOLATION,	  RD_KAFKA_RESP_ERR_INVALID_RECORD,
	    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct rig *rig;

		set_up(state);
		rig = *state;
		warm_up(rig);
		refuse_all(rig, codes[i]);
		add_one_of_each_key(rig, KEYS);
		pump(rig);
		run_until(rig, some_broken);
		run_until(rig, reports_trouble);
		assert_non_null(strstr(rig->sink->trouble, rd_kafka_err2name(codes[i])));
		assert_int_equal(rig->rejected, 0);
		rd_kafka_mock_clear_request_errors(rig->mock, PRODUCE);
		run_until(rig, all_settled);
		assert_int_equal(rig->delivered, 1 + KEYS);
		assert_string_equal(rig->sink->trouble, "");
		tear_down(state);
	}
}

/* The batch is refused, then the first of it alone; two others are taken; the first is refused
 * again. */
static void one_that_is_refused_among_others_is_rejected(void **state)
{
	struct rig *rig = *state;

	warm_up(rig);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 5, REFUSED, REFUSED, OK, OK, REFUSED);
	add_one_of_each_key(rig, 3);
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->rejected, 1);
	assert_int_equal(rig->events[1].state, EVENT_REJECTED);
	assert_int_equal(rig->delivered, 3);
}

/* The broker is well again while the second one is tried. */
static void one_that_was_refused_with_all_others_is_published(void **state)
{
	struct rig *rig = *state;

	warm_up(rig);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 2, REFUSED, REFUSED);
	add_one_of_each_key(rig, 3);
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->rejected, 0);
	assert_int_equal(rig->delivered, 4);
}

/* No event may overtake one of its key whose case is open. */
static void the_same_keys_events_wait_behind_a_refused_one(void **state)
{
	struct rig *rig = *state;
	char text[3][16];

	warm_up(rig);
	add_many(rig, "keyed", 3, 1, text);
	add(rig, "keyed", slice_of(keys[1]), slice_of("100"));
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 1, REFUSED);
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->rejected, 0);
	assert_complete_and_ordered(rig, "keyed", 4, 13);
}

/* One at a time, each alone: the first two are taken for bad, then it is too many in a row. */
static void lone_ones_that_follow_each_other_count_together(void **state)
{
	struct rig *rig = *state;

	warm_up(rig);
	refuse_all(rig, REFUSED);
	for (size_t i = 0; i < 2; i++) {
		add(rig, "t", slice_of(keys[i]), slice_of("x"));
		pump(rig);
		run_until(rig, all_settled);
		assert_int_equal(rig->rejected, i + 1);
	}
	add(rig, "t", slice_of(keys[2]), slice_of("x"));
	pump(rig);
	run_until(rig, reports_trouble);
	rd_kafka_mock_clear_request_errors(rig->mock, PRODUCE);
	run_until(rig, all_settled);
	assert_int_equal(rig->rejected, 2);
	assert_int_equal(rig->delivered, 2);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_all_are_refused_for_rejects_none),
	    STORY(one_that_is_refused_among_others_is_rejected),
	    STORY(one_that_was_refused_with_all_others_is_published),
	    STORY(the_same_keys_events_wait_behind_a_refused_one),
	    STORY(lone_ones_that_follow_each_other_count_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
