/* SPDX-License-Identifier: ISC */
/*
 * check_broker.c - `check`: what the brokers are, and what of Kafka they offer
 */
#include "check.h"
#include "kafka.h"

#include <string.h>

static void check_product(struct check *check, const struct kafka_probe_cluster *cluster)
{
	const char *plural = cluster->brokers == 1 ? "" : "s";

	if (cluster->product != NULL)
		check_ok(check, "%d broker%s: %s, by the address or the cluster's id",
			 cluster->brokers, plural, cluster->product->name);
	else
		check_ok(
		    check, "%d broker%s: Apache Kafka or like it, %s", cluster->brokers, plural,
		    cluster->broker_version != NULL ? cluster->broker_version : "version unknown");
}

/* Only a record could tell, and a check publishes none. */
static void check_compression(struct check *check, const struct kafka_probe_cluster *cluster)
{
	if (strcmp(cluster->codec, "none") == 0)
		check_ok(check, "compression: none");
	else if (!kafka_product_takes(cluster->product, cluster->codec))
		check_warn(check,
			   "set compression.codec=none in kafka.properties; docs/brokers.md says "
			   "where another is taken",
			   "compression %s: %s does not take it; the relay finds out at the first "
			   "batch and goes on without",
			   cluster->codec, cluster->product->name);
	else if (cluster->defeats_compression)
		check_warn(check,
			   "use librdkafka 2.11.1 or later, or have the brokers offer Produce v0",
			   "compression %s: librdkafka %s sends uncompressed to these brokers, "
			   "which do not offer Produce v0",
			   cluster->codec, kafka_version());
	else
		check_ok(check,
			 "compression %s: not tried, as that takes a record; if it is refused, the "
			 "relay goes on without",
			 cluster->codec);
}

static void check_idempotence(struct check *check, const struct kafka_probe_cluster *cluster)
{
	if (cluster->idempotence == PROBE_YES)
		check_ok(check, "idempotence: yes");
	else if (cluster->idempotence == PROBE_NO)
		check_error(check, "use brokers that have it, as Apache Kafka 0.11 and later do",
			    "idempotence: no; the relay publishes nothing to these brokers, since "
			    "repeats and disorder would be possible");
	else if (cluster->no_producer == NULL)
		check_warn(check, "see that the brokers answer InitProducerId",
			   "idempotence: not known; no broker has given a producer id");
	if (cluster->no_producer != NULL && cluster->idempotence != PROBE_NO)
		check_error(check, "grant the relay WRITE and DESCRIBE on its topics",
			    "the brokers let the relay write to no topic: %s",
			    cluster->no_producer);
}

static void check_settings(struct check *check, const struct kafka_probe_cluster *cluster)
{
	if (cluster->unreachable != NULL)
		check_error(check,
			    "set the brokers' advertised.listeners to addresses that this machine "
			    "reaches, or start the broker",
			    "a broker cannot be reached at the address that it advertises: %s",
			    cluster->unreachable);
	else if (cluster->settings == PROBE_NO)
		check_ok(check,
			 "DescribeConfigs: not answered; limits of topics are not known, so that "
			 "an event that is too large shows when the brokers refuse it");
	else if (cluster->problem != NULL)
		check_warn(check,
			   "grant the relay DESCRIBE and DESCRIBE_CONFIGS to have it checked",
			   "the brokers do not report everything: %s", cluster->problem);
}

static void check_transactions(struct check *check, const struct kafka_probe_cluster *cluster)
{
	static const char *const words[] = {
	    [PROBE_NOT_KNOWN] = "not known", [PROBE_NO] = "no", [PROBE_YES] = "yes"};

	check_ok(check, "transactions: %s (used by kafka.delivery = \"exactly-once\" alone)",
		 words[cluster->transactions]);
}

void check_broker(struct check *check, const struct kafka_probe_cluster *cluster)
{
	check_product(check, cluster);
	check_compression(check, cluster);
	check_idempotence(check, cluster);
	check_settings(check, cluster);
	check_transactions(check, cluster);
}
