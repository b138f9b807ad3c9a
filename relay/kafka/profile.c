/* SPDX-License-Identifier: ISC */
/*
 * profile.c - what is known of the brokers: which product they are, and which requests they offer
 *
 * Products by their addresses and cluster ids; docs/brokers.md has the sources. What a broker
 * offers, its answer to ApiVersions, shows in no function of librdkafka's, but in its log with
 * debug=feature (rd_kafka_handle_ApiVersion).
 */
#include "base/text.h"
#include "internal.h"

#include <stdio.h>

enum { PRODUCE = 0, INIT_PRODUCER_ID = 22, END_TXN = 26, DESCRIBE_CONFIGS = 32 };

/* The first librdkafka that compresses for brokers that do not offer Produce v0
 * (librdkafka#4956). */
enum { COMPRESSES_VERSION = 0x020b0100 };

static const struct product {
	const char *address; /* what is in it, in this order: "A*B"; NULL: not known by it */
	const char *cluster; /* what the cluster's id begins with; NULL: likewise */
	struct kafka_product product;
} products[] = {
    {".servicebus.windows.net", NULL, {"Azure Event Hubs", "gzip"}},
    {".servicebus.chinacloudapi.cn", NULL, {"Azure Event Hubs", "gzip"}},
    {".servicebus.usgovcloudapi.net", NULL, {"Azure Event Hubs", "gzip"}},
    {".confluent.cloud", NULL, {"Confluent Cloud", NULL}},
    {".kafka-serverless.", NULL, {"Amazon MSK Serverless", NULL}},
    /* What else Amazon has at such addresses may be any broker on a machine of its own. */
    {".kafka.*.amazonaws.com", NULL, {"Amazon MSK", NULL}},
    {".aivencloud.com", NULL, {"Aiven for Apache Kafka", NULL}},
    {".managedkafka.", NULL, {"Google Managed Service for Apache Kafka", NULL}},
    {"warpstream.com", NULL, {"WarpStream", NULL}},
    {".redpanda.com", "redpanda.", {"Redpanda", NULL}},
};

static bool is_in(const char *servers, const char *address)
{
	const char *star = strchr(address, '*');
	char first[64];
	const char *at;

	if (star == NULL)
		return strstr(servers, address) != NULL;
	text_print(first, sizeof(first), "%.*s", (int)(star - address), address);
	at = strstr(servers, first);
	return at != NULL && strstr(at, star + 1) != NULL;
}

const struct kafka_product *kafka_product_of(const char *bootstrap, const char *cluster)
{
	for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
		const struct product *known = &products[i];

		if (known->address != NULL && is_in(bootstrap, known->address))
			return &known->product;
		if (known->cluster != NULL && cluster != NULL &&
		    strncmp(cluster, known->cluster, strlen(known->cluster)) == 0)
			return &known->product;
	}
	return NULL;
}

bool kafka_product_takes(const struct kafka_product *product, const char *codec)
{
	return product == NULL || product->only_codec == NULL || strcmp(codec, "none") == 0 ||
	       strcmp(codec, product->only_codec) == 0;
}

void kafka_offers_note(struct kafka_offers *offers, const char *facility, const char *text)
{
	const char *at = strstr(text, "  ApiKey ");
	short key, oldest, newest;

	if (strcmp(facility, "APIVERSION") != 0)
		return;
	if (strstr(text, "Broker API support:") != NULL)
		*offers = (struct kafka_offers){.heard = true};
	if (at == NULL || (at = strchr(at, '(')) == NULL ||
	    sscanf(at, "(%hd) Versions %hd..%hd", &key, &oldest, &newest) != 3)
		return;
	if (key >= 0 && key < 64)
		offers->keys |= UINT64_C(1) << key;
	if (key == PRODUCE)
		offers->oldest_produce = oldest;
}

static enum probe_answer offered(const struct kafka_offers *offers, int key)
{
	if (!offers->heard)
		return PROBE_NOT_KNOWN;
	return (offers->keys >> key & 1) != 0 ? PROBE_YES : PROBE_NO;
}

enum probe_answer kafka_offers_idempotence(const struct kafka_offers *offers)
{
	return offered(offers, INIT_PRODUCER_ID);
}

enum probe_answer kafka_offers_transactions(const struct kafka_offers *offers)
{
	return offered(offers, END_TXN);
}

enum probe_answer kafka_offers_settings(const struct kafka_offers *offers)
{
	return offered(offers, DESCRIBE_CONFIGS);
}

bool kafka_offers_defeat(const struct kafka_offers *offers, const char *codec, int version)
{
	return offers->heard && offers->oldest_produce > 0 && version < COMPRESSES_VERSION &&
	       strcmp(codec, "none") != 0 && strcmp(codec, "zstd") != 0;
}
