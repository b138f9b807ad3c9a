/*
 * lane.c - the first record that a producer sends to a partition goes alone
 *
 * A broker that knows nothing of a producer takes any sequence number of it as the first. So if the
 * first request is refused, as happens while the broker does not know yet that it leads a partition
 * that was just made, and the second is on its way already, the second is written and the first
 * never can be: librdkafka is told OUT_OF_ORDER_SEQUENCE_NUMBER for it, takes it for a repetition
 * of what was written, and reports it as delivered (KAFKA-15591, KAFKA-14312; brokers refuse the
 * second since apache/kafka#23234 of August 2026). So until a partition has acknowledged a record
 * of this producer, it gets no other. A broker forgets idle producers after
 * producer.id.expiration.ms, a day.
 *
 * librdkafka chooses the partition within rd_kafka_producev, by the function given to it, and there
 * a record can be refused. Only while it does not know the topic's partitions yet it chooses later,
 * on a thread of its own: such a record is the only one of its topic.
 */
#include "base/failpoints.h"
#include "base/xalloc.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { FRESH = 0, PROBING = -1 };

/* Acknowledged so long ago, a partition is as good as new. */
static const int64_t forgets_us = 60 * 60 * INT64_C(1000000);

static void grow(struct topic *topic, int32_t count)
{
	size_t size = (size_t)count * sizeof(*topic->lanes), old;

	if (count <= topic->lane_count)
		return;
	old = (size_t)topic->lane_count * sizeof(*topic->lanes);
	topic->lanes = xrealloc(topic->lanes, size);
	memset((char *)topic->lanes + old, 0, size - old);
	topic->lane_count = count;
}

/* Java's partitioner (librdkafka: rd_kafka_msg_partitioner_murmur2_random). */
static int32_t partition_of(const rd_kafka_topic_t *handle, const void *key, size_t len,
			    int32_t count)
{
	if (PLANTED("default-partitioner"))
		return rd_kafka_msg_partitioner_consistent_random(handle, key, len, count, NULL,
								  NULL);
	return rd_kafka_msg_partitioner_murmur2_random(handle, key, len, count, NULL, NULL);
}

static int32_t choose(const rd_kafka_topic_t *handle, const void *key, size_t len, int32_t count,
		      void *opaque, void *event)
{
	struct topic *topic = opaque;
	int32_t partition = partition_of(handle, key, len, count);
	(void)event;

	MAGIC_CHECK(topic, MAGIC_KAFKA_TOPIC);
	if (!pthread_equal(pthread_self(), topic->thread))
		return partition;
	grow(topic, count);
	topic->chosen = partition;
	return topic->lanes[partition] == PROBING ? count : partition;
}

rd_kafka_topic_t *kafka_lane_handle(rd_kafka_t *rk, struct topic *topic)
{
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(rk);

	topic->thread = pthread_self();
	rd_kafka_topic_conf_set_opaque(conf, topic);
	rd_kafka_topic_conf_set_partitioner_cb(conf, choose);
	return rd_kafka_topic_new(rk, topic->name, conf); /* which frees conf */
}

bool kafka_lane_is_open(struct topic *topic)
{
	topic->chosen = RD_KAFKA_PARTITION_UA;
	return topic->unplaced == NULL;
}

bool kafka_lane_refused(const struct topic *topic)
{
	return topic->chosen != RD_KAFKA_PARTITION_UA && topic->lanes[topic->chosen] == PROBING;
}

void kafka_lane_sent(struct topic *topic, const struct event *event, int64_t now_us)
{
	int64_t *lane;

	if (topic->chosen == RD_KAFKA_PARTITION_UA) {
		topic->unplaced = event;
		return;
	}
	lane = &topic->lanes[topic->chosen];
	if (*lane == FRESH || now_us - *lane > forgets_us)
		*lane = PROBING;
}

void kafka_lane_reported(struct topic *topic, const struct event *event, int32_t partition,
			 bool delivered, int64_t now_us)
{
	if (topic->unplaced == event)
		topic->unplaced = NULL;
	if (!delivered || partition < 0)
		return;
	grow(topic, partition + 1);
	topic->lanes[partition] = now_us;
}

void kafka_lanes_forget(struct topic *topic)
{
	free(topic->lanes);
	topic->lanes = NULL;
	topic->lane_count = 0;
	topic->unplaced = NULL;
}
