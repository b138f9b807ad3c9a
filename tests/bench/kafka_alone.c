/* SPDX-License-Identifier: ISC */
/*
 * kafka_alone.c - librdkafka alone, with records and settings like the relay's: what Kafka alone
 * gives
 *
 * usage: kafka_alone TOPIC EVENTS KEYS PROPERTY=VALUE...
 */
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	PAYLOAD_BYTES = 300,
	PAYLOADS = 1 << 14, /* more than the caches hold, as with real events */
	WAIT_MS = 30 * 1000,
};

struct tally {
	long acknowledged;
	rd_kafka_resp_err_t error;
};

static char payloads[PAYLOADS][PAYLOAD_BYTES];

static double seconds(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "kafka_alone: cannot %s: %s\n", what, why);
	exit(1);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void)rk;
	struct tally *tally = opaque;
	tally->acknowledged++;
	if (message->err)
		tally->error = message->err;
}

static rd_kafka_t *open_producer(char **properties, int count, struct tally *tally)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[512];
	for (int i = 0; i < count; i++) {
		char *equals = strchr(properties[i], '=');
		if (!equals)
			fail("read a property", properties[i]);
		*equals = '\0';
		if (rd_kafka_conf_set(conf, properties[i], equals + 1, why, sizeof(why)))
			fail("set a property", why);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_report);
	rd_kafka_conf_set_opaque(conf, tally);
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!rk)
		fail("make a producer", why);
	return rk;
}

/* So that the time to connect is not in the figure. */
static rd_kafka_topic_t *open_topic(rd_kafka_t *rk, const char *name)
{
	rd_kafka_topic_conf_t *conf = rd_kafka_topic_conf_new();
	char why[512];
	if (rd_kafka_topic_conf_set(conf, "partitioner", "murmur2_random", why, sizeof(why)))
		fail("set the partitioner", why);
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, conf);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &metadata, WAIT_MS);
	if (err)
		fail("look at the topic", rd_kafka_err2str(err));
	rd_kafka_metadata_destroy(metadata);
	return topic;
}

static void fill_payloads(void)
{
	uint32_t state = 2463534242U;
	for (size_t i = 0; i < PAYLOADS; i++) {
		for (size_t j = 0; j < PAYLOAD_BYTES; j++) {
			state ^= state << 13;
			state ^= state >> 17;
			state ^= state << 5;
			payloads[i][j] = "0123456789abcdef"[state & 15];
		}
	}
}

/* Knuth's multiplicative hash: keys in no order, each as often as the others. */
static size_t write_key(char key[32], long n, long keys)
{
	uint64_t mixed = (uint64_t)n * UINT64_C(11400714819323198485) >> 20;
	return (size_t)snprintf(key, 32, "key-%05llu",
				(unsigned long long)mixed % (unsigned long)keys);
}

static void produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, long n, long keys)
{
	char key[32], id[64];
	size_t key_size = write_key(key, n, keys);
	int id_size = snprintf(id, sizeof(id), "%08lx-0000-4000-8000-%012lx", n, n);
	for (;;) {
		rd_kafka_resp_err_t err =
		    rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_KEY(key, key_size),
				      RD_KAFKA_V_VALUE(payloads[n % PAYLOADS], PAYLOAD_BYTES),
				      RD_KAFKA_V_HEADER("id", id, id_size),
				      RD_KAFKA_V_HEADER("type", "BenchEvent", 10), RD_KAFKA_V_END);
		if (!err)
			return;
		if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail("produce", rd_kafka_err2str(err));
		rd_kafka_poll(rk, 10);
	}
}

static void produce_all(rd_kafka_t *rk, rd_kafka_topic_t *topic, long events, long keys)
{
	for (long n = 0; n < events; n++) {
		produce(rk, topic, n, keys);
		if (n % 256 == 0)
			rd_kafka_poll(rk, 0);
	}
	rd_kafka_resp_err_t err = rd_kafka_flush(rk, WAIT_MS);
	if (err)
		fail("flush", rd_kafka_err2str(err));
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: kafka_alone TOPIC EVENTS KEYS PROPERTY=VALUE...\n");
		return 2;
	}
	const long events = atol(argv[2]), keys = atol(argv[3]);
	struct tally tally = {0};
	fill_payloads();
	rd_kafka_t *rk = open_producer(argv + 4, argc - 4, &tally);
	rd_kafka_topic_t *topic = open_topic(rk, argv[1]);
	double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	produce_all(rk, topic, events, keys);
	double end = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	if (tally.error || tally.acknowledged != events)
		fail("deliver everything", rd_kafka_err2str(tally.error));
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	printf("{\"events\": %ld, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", events, end - start,
	       cpu);
	return 0;
}
