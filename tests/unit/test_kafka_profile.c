/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_profile.c - products by their addresses, what brokers offer by librdkafka's log, and
 * versions of librdkafka with known faults
 */
#include "commands/check.h"
#include "kafka/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { OLD = 0x020002ff, NEW = 0x020b01ff };

static const char *name_of(const char *bootstrap, const char *cluster)
{
	const struct kafka_product *product = kafka_product_of(bootstrap, cluster);

	return product != NULL ? product->name : "";
}

static void products_are_known_by_address_or_cluster(void **state)
{
	(void)state;
	assert_string_equal(name_of("x.servicebus.windows.net:9093", NULL), "Azure Event Hubs");
	assert_string_equal(name_of("boot-a.c1.kafka-serverless.us-east-1.amazonaws.com:9098", ""),
			    "Amazon MSK Serverless");
	assert_string_equal(name_of("b-1.x.c2.kafka.eu-west-1.amazonaws.com:9098", NULL),
			    "Amazon MSK");
	assert_string_equal(name_of("ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:9092", NULL), "");
	assert_string_equal(name_of("kafka-0.kafka.shop.svc.cluster.local:9092", NULL), "");
	assert_string_equal(name_of("kafka1:9092,kafka2:9092", "redpanda.0c5b"), "Redpanda");
	assert_string_equal(name_of("kafka1:9092", "b3V0Ym94LXJlbGF5LXRlc3Q"), "");
	assert_string_equal(name_of("kafka1:9092", NULL), "");
}

static void event_hubs_takes_gzip_or_none(void **state)
{
	const struct kafka_product *hubs = kafka_product_of("x.servicebus.windows.net:9093", NULL);

	(void)state;
	assert_true(kafka_product_takes(hubs, "none"));
	assert_true(kafka_product_takes(hubs, "gzip"));
	assert_false(kafka_product_takes(hubs, "lz4"));
	assert_true(kafka_product_takes(NULL, "lz4"));
}

/* As both 2.0.2 and 2.15.0 write it. */
static void note(struct kafka_offers *offers, const char *what)
{
	char line[200];

	snprintf(line, sizeof(line), "[thrd:b:1/bootstrap]: b:1/bootstrap: %s", what);
	kafka_offers_note(offers, "APIVERSION", line);
}

static void what_is_offered_is_read_from_the_log(void **state)
{
	struct kafka_offers offers = {0};

	(void)state;
	assert_int_equal(kafka_offers_idempotence(&offers), PROBE_NOT_KNOWN);
	note(&offers, "Broker API support:");
	note(&offers, "  ApiKey Produce (0) Versions 3..9");
	note(&offers, "  ApiKey InitProducerId (22) Versions 0..4");
	note(&offers, "  ApiKey Unknown-74? (74) Versions 0..1");
	kafka_offers_note(&offers, "FEATURE", "  ApiKey EndTxn (26) Versions 0..4");
	assert_int_equal(kafka_offers_idempotence(&offers), PROBE_YES);
	assert_int_equal(kafka_offers_settings(&offers), PROBE_NO);
	assert_int_equal(kafka_offers_transactions(&offers), PROBE_NO);
	assert_true(kafka_offers_defeat(&offers, "lz4", OLD));
	assert_false(kafka_offers_defeat(&offers, "lz4", NEW));
	assert_false(kafka_offers_defeat(&offers, "none", OLD));
}

static void the_broker_heard_last_counts(void **state)
{
	struct kafka_offers offers = {0};

	(void)state;
	note(&offers, "Broker API support:");
	note(&offers, "  ApiKey DescribeConfigs (32) Versions 1..4");
	note(&offers, "Broker API support:");
	note(&offers, "  ApiKey Produce (0) Versions 0..12");
	assert_int_equal(kafka_offers_settings(&offers), PROBE_NO);
	assert_false(kafka_offers_defeat(&offers, "lz4", OLD));
}

/* The levels of all findings, "w" or "e" each, or "o". */
static const char *judged(const char *version)
{
	static char levels[8];
	struct check check = {.list = json_array()};
	json_t *finding;
	size_t i;

	levels[0] = '\0';
	check_library(&check, version);
	json_array_foreach(check.list, i, finding)
	{
		levels[i] = *json_string_value(json_object_get(finding, "level"));
		levels[i + 1] = '\0';
	}
	json_decref(check.list);
	return levels;
}

static void versions_with_known_faults_are_named(void **state)
{
	(void)state;
	assert_string_equal(judged("2.0.2"), "w");
	assert_string_equal(judged("2.3.0"), "o");
	assert_string_equal(judged("2.5.0"), "ew");
	assert_string_equal(judged("2.8.0"), "w");
	assert_string_equal(judged("2.10.0"), "e");
	assert_string_equal(judged("2.10.1"), "o");
	assert_string_equal(judged("2.15.0"), "o");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(products_are_known_by_address_or_cluster),
	    cmocka_unit_test(event_hubs_takes_gzip_or_none),
	    cmocka_unit_test(what_is_offered_is_read_from_the_log),
	    cmocka_unit_test(the_broker_heard_last_counts),
	    cmocka_unit_test(versions_with_known_faults_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
