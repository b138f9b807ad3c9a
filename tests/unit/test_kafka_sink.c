/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_sink.c - the sink on the embedded broker, with the real loop
 */
#include "base/clock.h"
#include "kafka_rig.h"

#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_record_arrives_as_it_was_sent(void **state)
{
	struct rig *rig = *state;
	const struct header headers[] = {{{"idXX", 2}, {"4711XX", 4}},
					 {slice_of("none"), SLICE_NULL},
					 {slice_of("empty"), {"", 0}}};
	const rd_kafka_message_t *got;
	struct message *message;
	struct arrivals arrivals;

	message = add(rig, "t", slice_of("order-1"), slice_of("{\"a\": 1}"));
	message->headers = headers;
	message->header_count = 3;
	add(rig, "t", slice_of("gone"), SLICE_NULL);
	add(rig, "t", slice_of("blank"), slice_of(""));
	add(rig, "t", (struct slice){"", 0}, slice_of("empty key"));
	add(rig, "t", SLICE_NULL, slice_of("no key"));
	connect_sink(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->delivered, 5);
	assert_int_equal(rig->broken, 0);
	assert_true(rig->reachable);
	assert_true(rig->metrics.connected[PEER_KAFKA]);
	assert_int_equal(metrics_topic(&rig->metrics, slice_of("t"))->published, 5);

	arrivals = consume(rig, "t");
	assert_int_equal(arrivals.count, 5);
	got = with_key(&arrivals, "order-1");
	assert_int_equal(got->len, 8);
	assert_memory_equal(got->payload, "{\"a\": 1}", 8);
	assert_header(got, 0, "id", "4711");
	assert_header(got, 1, "none", NULL);
	assert_header(got, 2, "empty", "");
	assert_null(with_key(&arrivals, "gone")->payload);
	assert_non_null(with_key(&arrivals, "blank")->payload);
	assert_int_equal(with_key(&arrivals, "blank")->len, 0);
	assert_int_equal(with_key(&arrivals, "")->len, strlen("empty key"));
	arrivals_free(&arrivals);
}

/* org.apache.kafka.common.utils.Utils.murmur2 */
static int32_t java_murmur2(const char *data, size_t length)
{
	const uint32_t m = 0x5bd1e995;
	const unsigned char *bytes = (const unsigned char *)data;
	uint32_t h = 0x9747b28cu ^ (uint32_t)length;
	size_t i = 0;

	for (; i + 4 <= length; i += 4) {
		uint32_t k = (uint32_t)bytes[i] | (uint32_t)bytes[i + 1] << 8 |
			     (uint32_t)bytes[i + 2] << 16 | (uint32_t)bytes[i + 3] << 24;

		k *= m;
		k ^= k >> 24;
		h = h * m ^ k * m;
	}
	if (length - i > 2)
		h ^= (uint32_t)bytes[i + 2] << 16;
	if (length - i > 1)
		h ^= (uint32_t)bytes[i + 1] << 8;
	if (length - i > 0)
		h = (h ^ bytes[i]) * m;
	h = (h ^ h >> 13) * m;
	return (int32_t)(h ^ h >> 15);
}

static void keys_go_where_java_puts_them(void **state)
{
	struct rig *rig = *state;
	static const char *const keys[] = {"21",
					   "foobar",
					   "a-little-bit-long-string",
					   "a-little-bit-longer-string",
					   "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
					   "abc",
					   "\xc3\xa4\xc3\xb6\xc3\xbc",
					   "order-1",
					   ""};
	enum { KEYS = sizeof(keys) / sizeof(keys[0]) };
	struct arrivals arrivals;

	/* From Kafka's own UtilsTest. */
	assert_int_equal(java_murmur2("21", 2), -973932308);
	assert_int_equal(java_murmur2("foobar", 6), -790332482);
	assert_int_equal(java_murmur2("abc", 3), 479470107);
	assert_int_equal(java_murmur2(keys[2], strlen(keys[2])), -985981536);
	assert_int_equal(java_murmur2(keys[3], strlen(keys[3])), -1486304829);
	assert_int_equal(java_murmur2(keys[4], strlen(keys[4])), -58897971);
	for (size_t i = 0; i < KEYS; i++)
		add(rig, "t", slice_of(keys[i]), slice_of("x"));
	connect_sink(rig);
	run_until(rig, all_settled);
	arrivals = consume(rig, "t");
	assert_int_equal(arrivals.count, KEYS);
	for (size_t i = 0; i < KEYS; i++)
		assert_int_equal(with_key(&arrivals, keys[i])->partition,
				 (java_murmur2(keys[i], strlen(keys[i])) & 0x7fffffff) %
				     PARTITIONS);
	arrivals_free(&arrivals);
}

static void each_keys_events_stay_in_order(void **state)
{
	struct rig *rig = *state;
	enum { COUNT = 10000, KEYS = 100 };
	char(*text)[16] = xcalloc(COUNT, sizeof(*text));

	add_many(rig, "t", COUNT, KEYS, text);
	connect_sink(rig);
	run_until(rig, all_settled);
	assert_complete_and_ordered(rig, "t", COUNT, KEYS);
	free(text);
}

static void a_refused_record_is_rejected_and_the_rest_goes_on(void **state)
{
	struct rig *rig = *state;

	connect_sink(rig);
	run_until(rig, heard_ready);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	add(rig, "t", slice_of("k"), slice_of("poison"));
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->rejected, 1);
	assert_int_equal(rig->broken, 1);
	assert_int_equal(rig->reason, REJECT_TOO_LARGE);
	assert_non_null(strstr(rig->reject, "MSG_SIZE_TOO_LARGE"));
	assert_non_null(strstr(rig->reject, "topic t"));

	add(rig, "t", slice_of("k"), slice_of("fine"));
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->delivered, 1);
	assert_int_equal(rig->metrics.retries[PEER_KAFKA], 1);
}

static int32_t partition_of(const char *key)
{
	return (java_murmur2(key, strlen(key)) & INT32_MAX) % PARTITIONS;
}

static bool some_taken(const struct rig *rig)
{
	return rig->in_flight > 0;
}

/* KAFKA-15591: otherwise the second could be written and the first reported as delivered, though it
 * never was. */
static void a_partition_gets_one_record_until_it_has_acknowledged(void **state)
{
	struct rig *rig = *state;
	char cold[] = "1"; /* of another partition than 0 */

	while (partition_of(cold) == partition_of("0"))
		cold[0]++;
	add(rig, "t", slice_of("0"), slice_of("of a topic whose partitions are not known"));
	add(rig, "t", slice_of("0"), slice_of("waits for it"));
	connect_sink(rig);
	run_until(rig, some_taken);
	assert_int_equal(rig->in_flight, 1);
	run_until(rig, all_settled);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
	add(rig, "t", slice_of("0"), slice_of("goes"));
	add(rig, "t", slice_of("0"), slice_of("goes with it"));
	add(rig, "t", slice_of(cold), slice_of("goes alone"));
	add(rig, "t", slice_of(cold), slice_of("waits for it"));
	pump(rig);
	assert_int_equal(rig->in_flight, 3);
	run_until(rig, all_settled);
	assert_int_equal(rig->broken, 0);
}

/* The broker fails a whole batch for one record: its mates must not be rejected with it. The second
 * refusal meets the first event again, alone. */
static void the_mates_of_a_refused_record_are_not_rejected(void **state)
{
	struct rig *rig = *state;
	enum { COUNT = 50 };
	char text[COUNT][16];
	char *property[] = {"linger.ms=50"}; /* one batch */
	const struct config_strings properties = {property, 1};

	add(rig, "t", slice_of("0"), slice_of("warms up"));
	rig->options.properties = &properties;
	connect_sink(rig);
	run_until(rig, all_settled);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD,
					  RD_KAFKA_RESP_ERR_INVALID_RECORD);
	add_many(rig, "t", COUNT, 1, text);
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->rejected, 1);
	assert_int_equal(rig->events[1].state, EVENT_REJECTED);
	assert_int_equal(rig->reason, REJECT_INVALID_RECORD);
	assert_int_equal(rig->delivered, COUNT);
	assert_true(rig->returned >= COUNT);
}

static void an_error_of_the_environment_returns_events(void **state)
{
	struct rig *rig = *state;
	enum { COUNT = 1000 };
	char(*text)[16] = xcalloc(COUNT, sizeof(*text));

	add_many(rig, "t", COUNT, 1, text);
	connect_sink(rig);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	run_until(rig, all_settled);
	assert_true(rig->returned > 0);
	assert_int_equal(rig->rejected, 0);
	assert_int_equal(rig->broken, 1);
	assert_int_equal(rig->ready, 2);
	assert_non_null(strstr(rig->why, "uthoriz"));
	assert_complete_and_ordered(rig, "t", COUNT, 1);
	free(text);
}

static void a_broker_that_is_unreachable_for_a_while_loses_and_repeats_nothing(void **state)
{
	struct rig *rig = *state;
	enum { COUNT = 500 };
	char text[COUNT][16];

	add(rig, "other", slice_of("warm"), slice_of("up"));
	connect_sink(rig);
	run_until(rig, all_settled);
	rd_kafka_mock_broker_set_down(rig->mock, 1);
	add_many(rig, "other", 1, 1, text);
	add_many(rig, "t", COUNT, 10, text);
	pump(rig);
	run_until(rig, heard_unreachable);
	assert_false(rig->metrics.connected[PEER_KAFKA]);
	rd_kafka_mock_broker_set_up(rig->mock, 1);
	run_until(rig, all_settled);
	assert_true(rig->reachable);
	assert_int_equal(rig->broken, 0);
	assert_complete_and_ordered(rig, "t", COUNT, 10);
}

static void a_broker_may_be_unreachable_at_the_start(void **state)
{
	struct rig *rig = *state;
	char text[10][16];

	add_many(rig, "t", 10, 10, text);
	connect_sink(rig);
	rd_kafka_mock_broker_set_down(rig->mock, 1);
	run_until(rig, heard_unreachable);
	assert_int_equal(rig->delivered, 0);
	rd_kafka_mock_broker_set_up(rig->mock, 1);
	run_until(rig, all_settled);
	assert_true(rig->reachable);
	assert_complete_and_ordered(rig, "t", 10, 10);
}

static void what_is_too_large_is_refused_before_it_is_sent(void **state)
{
	struct rig *rig = *state;
	char limit[] = "message.max.bytes=2000";
	char *property[] = {limit};
	const struct config_strings properties = {property, 1};
	static char payload[2000];

	memset(payload, 'x', sizeof(payload));
	rig->options.properties = &properties;
	add(rig, "t", slice_of("k"), (struct slice){payload, 1500});
	add(rig, "t", slice_of("k"), (struct slice){payload, sizeof(payload)});
	add(rig, "t", slice_of("k"), (struct slice){payload, 1800});
	connect_sink(rig);
	assert_int_equal(kafka_sink_max_bytes(rig->sink), 2000);
	run_until(rig, all_settled);
	assert_int_equal(rig->refused, 1);
	assert_int_equal(rig->events[1].state, EVENT_REJECTED);
	assert_int_equal(rig->reason, REJECT_TOO_LARGE);
	assert_non_null(strstr(rig->reject, "2000 bytes"));
	assert_non_null(strstr(rig->reject, "topic t"));
	assert_int_equal(rig->delivered, 2);
	assert_int_equal(rig->broken, 0);
}

static void a_withheld_payload_is_refused_and_not_sent_as_a_tombstone(void **state)
{
	struct rig *rig = *state;

	add(rig, "t", slice_of("k"), SLICE_NULL);
	rig->events[0].withheld = true;
	rig->events[0].payload_bytes = 100 * 1000 * 1000;
	connect_sink(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->refused, 1);
	assert_int_equal(rig->reason, REJECT_TOO_LARGE);
	assert_non_null(strstr(rig->reject, "100000000 bytes"));
}

static void a_full_queue_makes_events_wait(void **state)
{
	struct rig *rig = *state;
	char limit[] = "queue.buffering.max.messages=7";
	char *property[] = {limit};
	const struct config_strings properties = {property, 1};
	enum { COUNT = 200 };
	char text[COUNT][16];

	rig->options.properties = &properties;
	add_many(rig, "t", COUNT, 1, text);
	connect_sink(rig);
	run_until(rig, all_settled);
	assert_complete_and_ordered(rig, "t", COUNT, 1);
}

static void wrong_properties_are_named_but_not_shown(void **state)
{
	static const struct {
		const char *property, *name;
	} wrong[] = {
	    {"no.such.property=hunter2", "no.such.property"},
	    {"linger.ms=hunter2", "linger.ms"},
	    {"linger.ms=99999999", "linger.ms"},
	    {"security.protocol=hunter2", "security.protocol"},
	    {"hunter2", "name=value"},
	    {"=hunter2", "name=value"},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char *property[] = {(char *)(uintptr_t)wrong[i].property};
		const struct config_strings properties = {property, 1};
		struct error err = {""};

		rig->options.properties = &properties;
		assert_null(kafka_sink_new(rig->loop, &rig->options, &rig_events, rig, &err));
		assert_non_null(strstr(err.text, wrong[i].name));
		assert_null(strstr(err.text, "hunter2"));
		assert_null(strstr(err.text, "99999999"));
	}
}

static void the_embedded_broker_serves_and_survives_a_rebuild(void **state)
{
	struct rig *rig = *state;
	char address[128];

	add(rig, "t", slice_of("k"), slice_of("1"));
	connect_sink(rig);
	run_until(rig, all_settled);
	snprintf(address, sizeof(address), "%s", kafka_bootstrap(rig->sink));
	rig->down = true;
	rig->sink->ops->rebuild(rig->sink, NULL);
	add(rig, "t", slice_of("k"), slice_of("2"));
	run_until(rig, all_settled);
	assert_int_equal(rig->ready, 2);
	assert_string_equal(kafka_bootstrap(rig->sink), address);
	assert_complete_and_ordered(rig, "t", 2, 1);
}

static void it_ends_in_time_with_events_in_flight(void **state)
{
	struct rig *rig = *state;
	enum { COUNT = 100 };
	char text[COUNT][16];

	add(rig, "t", slice_of("0"), slice_of("warms up"));
	connect_sink(rig);
	run_until(rig, one_delivered);
	rd_kafka_mock_broker_set_down(rig->mock, 1);
	add_many(rig, "t", COUNT, 1, text);
	pump(rig);
	assert_int_equal(rig->in_flight, COUNT);
	rig->in_call = true; /* nothing may be reported any more */
	kafka_sink_free(&rig->sink, 5000);
	assert_null(rig->sink);
}

/* A broker that answered a moment ago is asked for a topic, and no answer comes before the end. */
static void it_ends_with_a_question_open(void **state)
{
	struct rig *rig = *state;
	struct kafka *kafka;

	rig->options.embedded = false;
	rig->options.bootstrap_servers = "127.0.0.1:9";
	connect_sink(rig);
	kafka = (struct kafka *)rig->sink;
	kafka_set_reachable(kafka, true);
	kafka_topic(kafka, slice_of("t"));
	kafka_topics_tick(kafka, INT64_MAX);
	assert_true(kafka->topics.last->asking);
	kafka_sink_free(&rig->sink, 5000);
	assert_null(rig->sink);
}

static bool warned_of_the_topic(const struct rig *rig)
{
	const struct kafka *kafka = (const struct kafka *)rig->sink;

	return kafka->topics.last != NULL && kafka->topics.last->warned_us != 0;
}

static void look_again(void *arg)
{
	struct rig *rig = arg;

	loop_timer_set(rig->poll, 20 * 1000);
	check(rig);
}

/* A socket on a free port of the loopback, named in where; listened on or (dead) not. */
static int local_port(char where[32], bool listened_on)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	if (listened_on)
		assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(where, 32, "127.0.0.1:%d", ntohs(address.sin_port));
	return fd;
}

static double cpu_seconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void enough(void *arg)
{
	loop_stop(((struct rig *)arg)->loop);
}

/* While Kafka is unreachable and a topic waits for it, neither the loop nor librdkafka keeps a core
 * busy.
 */
static void waiting_for_kafka_costs_little(void **state)
{
	struct rig *rig = *state;
	char where[32];
	int unused = local_port(where, false);
	double used = cpu_seconds();

	rig->options.embedded = false;
	rig->options.bootstrap_servers = where;
	add(rig, "t", slice_of("k"), slice_of("v"));
	connect_sink(rig);
	rig->poll = loop_timer_new(rig->loop, enough, rig);
	loop_timer_set(rig->poll, 2 * 1000 * 1000);
	loop_run(rig->loop);
	loop_timer_free(&rig->poll);
	assert_true(cpu_seconds() - used < 0.4);
	close(unused);
}

/* It has only ever one broker to ask, which takes connections and is silent. */
static void a_controller_that_does_not_answer_is_logged(void **state)
{
	struct rig *rig = *state;
	char where[32], words[4096] = "";
	int silent = local_port(where, true), log = memfd_create("log", 0);
	int real_stderr = dup(STDERR_FILENO);

	rig->options.embedded = false;
	rig->options.bootstrap_servers = where;
	add(rig, "orders", slice_of("k"), slice_of("v"));
	dup2(log, STDERR_FILENO);
	connect_sink(rig);
	kafka_set_reachable((struct kafka *)rig->sink, true);
	rig->poll = loop_timer_new(rig->loop, look_again, rig);
	look_again(rig);
	run_until(rig, warned_of_the_topic);
	loop_timer_free(&rig->poll);
	dup2(real_stderr, STDERR_FILENO);
	assert_true(pread(log, words, sizeof(words) - 1, 0) > 0);
	assert_non_null(strstr(words, "topic \"orders\" is not usable yet: "));
	assert_non_null(strstr(words, "controller"));
	assert_non_null(strstr(words, "; its events wait"));
	close(real_stderr);
	close(log);
	close(silent);
}

/* Asks as the sink does, but for so short a time that no answer can come. */
static void ask_in_vain(struct kafka *kafka, struct topic *topic)
{
	topic->asking = true;
	kafka_ask_settings(kafka->producer.rk, RD_KAFKA_RESOURCE_TOPIC, topic->name, 1, topic,
			   kafka->producer.queue);
}

static bool answer_came(const struct rig *rig)
{
	return !((const struct kafka *)rig->sink)->topics.last->asking;
}

/* The row was deleted or corrected, or the topic is retired. */
static void a_topic_that_nothing_waits_for_is_left_alone(void **state)
{
	struct rig *rig = *state;
	const int64_t minutes_us = 5 * 60 * INT64_C(1000000);
	int64_t now = clock_monotonic_us();
	struct kafka *kafka;
	struct topic *topic;
	char where[32];
	int silent = local_port(where, true);

	rig->options.embedded = false;
	rig->options.bootstrap_servers = where;
	connect_sink(rig);
	run_until(rig, heard_ready);
	kafka = (struct kafka *)rig->sink;
	kafka->connection.reachable = true;
	topic = kafka_topic(kafka, slice_of("retired"));
	assert_false(kafka_topic_usable(kafka, topic));
	rig->poll = loop_timer_new(rig->loop, look_again, rig);
	look_again(rig);

	topic->wanted_us = topic->trouble_since_us = now - minutes_us;
	ask_in_vain(kafka, topic);
	run_until(rig, answer_came);
	assert_int_equal(topic->warned_us, 0);
	assert_int_equal(topic->ask_at_us, INT64_MAX);

	/* An event comes for it again. */
	assert_false(kafka_topic_usable(kafka, topic));
	assert_int_equal(topic->ask_at_us, 0);
	topic->trouble_since_us = now - minutes_us;
	ask_in_vain(kafka, topic);
	run_until(rig, warned_of_the_topic);
	assert_true(topic->ask_at_us <= clock_monotonic_us() + 2 * INT64_C(1000000));

	/* It has gone a moment ago: no warning any more, though the pause between two is over. */
	topic->warned_us = topic->trouble_since_us = now - minutes_us;
	topic->wanted_us = clock_monotonic_us() - 10 * INT64_C(1000000);
	ask_in_vain(kafka, topic);
	run_until(rig, answer_came);
	assert_int_equal(topic->warned_us, now - minutes_us);
	loop_timer_free(&rig->poll);
	close(silent);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    STORY(a_record_arrives_as_it_was_sent),
	    STORY(keys_go_where_java_puts_them),
	    STORY(each_keys_events_stay_in_order),
	    STORY(a_refused_record_is_rejected_and_the_rest_goes_on),
	    STORY(a_partition_gets_one_record_until_it_has_acknowledged),
	    STORY(the_mates_of_a_refused_record_are_not_rejected),
	    STORY(an_error_of_the_environment_returns_events),
	    STORY(a_broker_that_is_unreachable_for_a_while_loses_and_repeats_nothing),
	    STORY(a_broker_may_be_unreachable_at_the_start),
	    STORY(what_is_too_large_is_refused_before_it_is_sent),
	    STORY(a_withheld_payload_is_refused_and_not_sent_as_a_tombstone),
	    STORY(a_full_queue_makes_events_wait),
	    STORY(wrong_properties_are_named_but_not_shown),
	    STORY(the_embedded_broker_serves_and_survives_a_rebuild),
	    STORY(it_ends_in_time_with_events_in_flight),
	    STORY(it_ends_with_a_question_open),
	    STORY(waiting_for_kafka_costs_little),
	    STORY(a_controller_that_does_not_answer_is_logged),
	    STORY(a_topic_that_nothing_waits_for_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
