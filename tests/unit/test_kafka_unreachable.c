/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_unreachable.c - the sink while Kafka or a topic is not there: how often it connects,
 * what it waits for, and how it ends
 */
#include "kafka_rig.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECONDS = 4, MOST_A_SECOND = 3 };

static atomic_int attempts;

/* librdkafka's calls come here: the program's own definition is found before the C library's. */
int connect(int fd, const struct sockaddr *address, socklen_t len)
{
	if (address->sa_family == AF_INET)
		atomic_fetch_add(&attempts, 1);
	return (int)syscall(SYS_connect, fd, address, len);
}

/* A socket on a free port of the loopback on which nothing listens. */
static int dead_port(char where[32])
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(where, 32, "127.0.0.1:%d", ntohs(address.sin_port));
	return fd;
}

static void enough(void *arg)
{
	loop_stop(((struct rig *)arg)->loop);
}

static void run_for(struct rig *rig, int64_t us)
{
	struct loop_timer *timer = loop_timer_new(rig->loop, enough, rig);

	loop_timer_set(timer, us);
	loop_run(rig->loop);
	loop_timer_free(&timer);
}

/* A proxy or a firewall may count them as an attack, and every relay of a group does it. */
static void an_unreachable_broker_is_tried_a_few_times_a_second(void **state)
{
	struct rig *rig = *state;
	char where[32];
	int nothing = dead_port(where);

	rig->options.embedded = false;
	rig->options.bootstrap_servers = where;
	add(rig, "t", slice_of("k"), slice_of("v"));
	connect_sink(rig);
	run_for(rig, 500 * 1000);
	assert_true(attempts > 0);
	attempts = 0;
	run_for(rig, SECONDS * 1000 * 1000);
	assert_true(attempts >= SECONDS);
	assert_true(attempts <= SECONDS * MOST_A_SECOND);
	assert_string_equal(rig->sink->trouble, "");
	close(nothing);
}

static bool one_taken(const struct rig *rig)
{
	return rig->in_flight > 0;
}

static void leave_one_in_flight(struct rig *rig)
{
	add(rig, "t", slice_of("k"), slice_of("1"));
	connect_sink(rig);
	run_until(rig, all_settled);
	rd_kafka_mock_broker_set_down(rig->mock, 1);
	add(rig, "t", slice_of("k"), slice_of("2"));
	pump(rig);
	run_until(rig, one_taken);
}

/* librdkafka's threads may still read their payloads. */
static void events_that_are_not_reported_in_time_must_be_kept(void **state)
{
	struct rig *rig = *state;

	static struct sink *kept; /* not lost to LeakSanitizer */

	leave_one_in_flight(rig);
	kept = rig->sink;
	assert_false(kafka_sink_free(&rig->sink, 0));
	assert_non_null(kept);
	assert_null(rig->sink);
}

static void events_that_are_reported_may_be_freed(void **state)
{
	struct rig *rig = *state;

	leave_one_in_flight(rig);
	assert_true(kafka_sink_free(&rig->sink, 5000));
}

/* The engine takes writable() for progress: reports of others must not keep a transaction open. */
static void an_event_that_waits_for_its_topic_is_not_called_for_reports(void **state)
{
	struct rig *rig = *state;
	struct kafka *kafka;

	connect_sink(rig);
	run_until(rig, heard_ready);
	kafka = (struct kafka *)rig->sink;
	add(rig, "t", slice_of("k"), slice_of("v"));
	pump(rig);
	assert_int_equal(rig->in_flight, 0);
	kafka_writable(kafka, WAITS_FOR_REPORTS);
	assert_int_equal(rig->writable, 0);
	run_until(rig, all_settled);
	assert_int_equal(rig->writable, 1);
}

static bool each_asked_in_vain(const struct rig *rig)
{
	const struct kafka *kafka = (const struct kafka *)rig->sink;

	for (const struct topic *topic = kafka->topics.first; topic != NULL; topic = topic->next)
		if (topic->unknown == 0)
			return false;
	return true;
}

/* As when one connection is lost: it says nothing of whether brokers know the question. */
static void many_questions_lost_together_are_asked_again(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e"};
	struct rig *rig = *state;
	struct kafka *kafka;
	char where[32];
	int nothing = dead_port(where);

	rig->options.embedded = false;
	rig->options.bootstrap_servers = where;
	connect_sink(rig);
	kafka = (struct kafka *)rig->sink;
	kafka_set_reachable(kafka, true);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		kafka_topic(kafka, slice_of(names[i]));
	kafka_topics_tick(kafka, INT64_MAX);
	for (int i = 0; i < 80 && !each_asked_in_vain(rig); i++)
		run_for(rig, 100 * 1000);
	assert_true(each_asked_in_vain(rig));
	assert_false(kafka->topics.mute);
	close(nothing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(an_unreachable_broker_is_tried_a_few_times_a_second,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(events_that_are_not_reported_in_time_must_be_kept,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(events_that_are_reported_may_be_freed, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(
		an_event_that_waits_for_its_topic_is_not_called_for_reports, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(many_questions_lost_together_are_asked_again, set_up,
					    tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
