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

static bool no_broker(const struct rig *rig)
{
	return !rig->reachable;
}

/* As librdkafka does that has said so of all brokers before, with one there, and says no more. */
static void that_the_last_broker_is_lost_is_found_without_being_told(void **state)
{
	struct rig *rig = *state;

	leave_one_in_flight(rig);
	run_until(rig, no_broker);
	kafka_set_reachable((struct kafka *)rig->sink, true);
	run_until(rig, no_broker);
	rd_kafka_mock_broker_set_up(rig->mock, 1);
	run_until(rig, all_settled);
	assert_true(rig->reachable);
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

/* ---- a broker that expects a login, and gets none ---- */

/* The protocol's ApiKeys, and an upper bound. */
enum { METADATA = 3, INIT_PRODUCER_ID = 22, REQUEST_MOST = 512 };

struct refuser {
	int fd;
	char where[32];
	pthread_t thread;
	atomic_int closed; /* connections, at a question */
};

/* Version 3 of an answer to ApiVersions: no error; five requests, each with its oldest and newest
 * version; no throttling. */
static const uint8_t known_requests[] = {
    0, 0,  6,		   /* their count and one */
    0, 0,  0, 0, 0, 7,	0, /* Produce */
    0, 1,  0, 0, 0, 11, 0, /* Fetch */
    0, 3,  0, 0, 0, 4,	0, /* Metadata */
    0, 18, 0, 0, 0, 3,	0, /* ApiVersions */
    0, 22, 0, 0, 0, 1,	0, /* InitProducerId */
    0, 0,  0, 0, 0,
};

/* False: the client has closed. */
static bool receive(int fd, void *to, size_t size)
{
	return recv(fd, to, size, MSG_WAITALL) == (ssize_t)size;
}

static bool receive_request(int fd, uint8_t request[REQUEST_MOST])
{
	uint32_t size;

	return receive(fd, &size, sizeof(size)) && ntohl(size) <= REQUEST_MOST &&
	       receive(fd, request, ntohl(size));
}

/* With the number of the request that it answers. */
static void tell_known_requests(int fd, const uint8_t request[REQUEST_MOST])
{
	uint8_t answer[8 + sizeof(known_requests)];
	uint32_t size = htonl(sizeof(answer) - 4);

	memcpy(answer, &size, 4);
	memcpy(answer + 4, request + 4, 4);
	memcpy(answer + 8, known_requests, sizeof(known_requests));
	send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
}

/* librdkafka asks for metadata as soon as it is connected; the second time the sink asks, to see
 * whether it is. So it has seen it connected when the connection is closed; librdkafka complains
 * then that it gets no producer id. */
static void serve_until_asked_enough(struct refuser *refuser, int fd)
{
	uint8_t request[REQUEST_MOST] = {0};
	int metadata = 0, ids = 0;

	if (!receive_request(fd, request))
		return;
	tell_known_requests(fd, request);
	while (metadata < 2 || ids == 0) {
		if (!receive_request(fd, request))
			return;
		metadata += request[1] == METADATA;
		ids += request[1] == INIT_PRODUCER_ID;
	}
	atomic_fetch_add(&refuser->closed, 1);
}

static void *refuse(void *arg)
{
	struct refuser *refuser = arg;
	int fd;

	while ((fd = accept(refuser->fd, NULL, NULL)) >= 0) {
		serve_until_asked_enough(refuser, fd);
		close(fd);
	}
	return NULL;
}

static void refuser_start(struct refuser *refuser)
{
	refuser->fd = dead_port(refuser->where);
	assert_int_equal(listen(refuser->fd, 8), 0);
	assert_int_equal(pthread_create(&refuser->thread, NULL, refuse, refuser), 0);
}

/* After the sink's end, which closes its connections. */
static void refuser_stop(struct refuser *refuser)
{
	shutdown(refuser->fd, SHUT_RDWR);
	pthread_join(refuser->thread, NULL);
	close(refuser->fd);
}

static bool says_that_it_closes(const struct rig *rig)
{
	return strstr(rig->sink->trouble, "closes them without an answer") != NULL;
}

/* Also not for the moment in which it is connected; and the reason stays. */
static void one_that_closes_at_the_first_question_is_not_reachable(void **state)
{
	struct rig *rig = *state;
	struct refuser refuser = {0};
	const struct kafka *kafka;

	refuser_start(&refuser);
	rig->options.embedded = false;
	rig->options.bootstrap_servers = refuser.where;
	connect_sink(rig);
	kafka = (const struct kafka *)rig->sink;
	run_until(rig, says_that_it_closes);
	run_for(rig, SECONDS * 1000 * 1000);
	assert_true(atomic_load(&refuser.closed) > 1);
	assert_false(kafka->connection.ever_reachable);
	assert_true(says_that_it_closes(rig));
	assert_true(kafka_sink_free(&rig->sink, 5000));
	refuser_stop(&refuser);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(an_unreachable_broker_is_tried_a_few_times_a_second,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(events_that_are_not_reported_in_time_must_be_kept,
					    set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		that_the_last_broker_is_lost_is_found_without_being_told, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(events_that_are_reported_may_be_freed, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(
		an_event_that_waits_for_its_topic_is_not_called_for_reports, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(many_questions_lost_together_are_asked_again, set_up,
					    tear_down),
	    cmocka_unit_test_setup_teardown(one_that_closes_at_the_first_question_is_not_reachable,
					    set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
