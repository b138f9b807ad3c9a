/* SPDX-License-Identifier: ISC */
/*
 * check_ledger.c - `check`: what kafka.delivery = "exactly-once" rests on: transactions that the
 * brokers verify, and the ledger's topic
 */
#include "check.h"
#include "commands.h"
#include "kafka.h"

#include <inttypes.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, REPLICAS = 3, LAG_MS = 3600 * 1000 };

struct ledger_check {
	struct check *check;
	const struct config *config;
	const struct kafka_options *options;
	int brokers;
};

static void check_verification(struct check *check, const struct kafka_probe_cluster *cluster)
{
	static const char remedy[] =
	    "use Kafka 3.6 or later, with transaction.partition.verification.enable=true";

	if (cluster->transactions == PROBE_NO)
		check_error(check, "use brokers that have transactions, or deliver at least once",
			    "the brokers have no transactions, which kafka.delivery = "
			    "\"exactly-once\" needs");
	else if (cluster->verifies == PROBE_YES)
		check_ok(check, "the brokers verify the partitions of transactions");
	else if (cluster->verifies == PROBE_NO)
		check_error(check, remedy,
			    "the brokers do not verify the partitions of transactions: a request "
			    "that comes late could leave one open for ever, or mix two");
	else
		check_warn(check, remedy,
			   "whether the brokers verify the partitions of transactions is not "
			   "known");
}

static void check_timeout(const struct ledger_check *ledger,
			  const struct kafka_probe_cluster *cluster)
{
	int64_t wanted = command_transaction_timeout_ms(ledger->config);

	if (cluster->transaction_max_ms >= 0 && cluster->transaction_max_ms < wanted)
		check_error(ledger->check,
			    "lower outbox.stall_timeout, or raise transaction.max.timeout.ms",
			    "the brokers let a transaction take %" PRId64
			    " ms at most, and the relay needs %" PRId64
			    ": 10 s more than outbox.stall_timeout",
			    cluster->transaction_max_ms, wanted);
}

static void on_cluster(void *arg, const struct kafka_probe_cluster *cluster)
{
	struct ledger_check *ledger = arg;

	ledger->brokers = cluster->brokers;
	check_verification(ledger->check, cluster);
	check_timeout(ledger, cluster);
}

/* ---- the topic ---- */

static void create(struct ledger_check *ledger, const char *name)
{
	int replicas = ledger->brokers < REPLICAS ? ledger->brokers : REPLICAS;
	struct kafka_new_topic topic = {.name = name,
					.partitions = LEDGER_PRODUCERS,
					.replicas = replicas,
					.min_insync_replicas = replicas > 1 ? replicas - 1 : 1,
					.compaction_lag_ms = LAG_MS};
	struct error err;

	if (kafka_create_topic(ledger->options, &topic, TIMEOUT_MS, &err))
		check_ok(ledger->check, "ledger topic %s is created: %d partitions, %d replica%s",
			 name, LEDGER_PRODUCERS, replicas, replicas == 1 ? "" : "s");
	else
		check_error(ledger->check, "let the relay create it, or create it yourself",
			    "ledger topic %s cannot be created: %s", name, err.text);
}

static void absent(struct ledger_check *ledger, const struct kafka_probe_topic *topic)
{
	if (ledger->check->creates)
		create(ledger, topic->name);
	else
		check_error(ledger->check,
			    "make it with `outbox-relay check --create`, or as "
			    "docs/exactly-once.md says",
			    "ledger topic %s does not exist", topic->name);
}

static void check_cleanup(struct check *check, const struct kafka_probe_topic *topic)
{
	const char *policy = topic->cleanup_policy;

	if (policy != NULL && strcmp(policy, "compact") != 0)
		check_error(check, "set its cleanup.policy to compact",
			    "ledger topic %s has cleanup.policy=%s: what it has of a batch would "
			    "be deleted after a while",
			    topic->name, policy);
	if (topic->compaction_lag_ms >= 0 && topic->compaction_lag_ms < LAG_MS)
		check_warn(check, "set its min.compaction.lag.ms to 3600000",
			   "ledger topic %s keeps batches for %" PRId64
			   " s before it compacts them: after a failover to a standby that is "
			   "further behind, batches are missing",
			   topic->name, topic->compaction_lag_ms / 1000);
}

static void check_replicas(struct check *check, const struct kafka_probe_topic *topic)
{
	if (topic->replication > 0 && topic->replication < REPLICAS)
		check_warn(check, "give it 3 replicas",
			   "ledger topic %s has %d replica%s: without it nobody knows what was "
			   "committed",
			   topic->name, topic->replication, topic->replication == 1 ? "" : "s");
	else if (topic->min_insync_replicas == 1)
		check_warn(check, "set its min.insync.replicas to 2",
			   "ledger topic %s has min.insync.replicas 1", topic->name);
	if (topic->unclean_elections == PROBE_YES)
		check_error(check, "set its unclean.leader.election.enable to false",
			    "ledger topic %s allows unclean leader elections: what was committed "
			    "could be forgotten, and be published again",
			    topic->name);
}

static void on_topic(void *arg, const struct kafka_probe_topic *topic)
{
	struct ledger_check *ledger = arg;
	struct check *check = ledger->check;

	if (!topic->exists) {
		absent(ledger, topic);
		return;
	}
	if (topic->partitions > 0 && topic->partitions < LEDGER_PRODUCERS)
		check_error(check, "give it 64 partitions",
			    "ledger topic %s has %d partitions, and each of 64 producers needs its "
			    "own",
			    topic->name, topic->partitions);
	else
		check_ok(check, "ledger topic %s: %d partitions", topic->name, topic->partitions);
	if (topic->problem != NULL)
		check_warn(check, "grant the relay READ, WRITE and DESCRIBE_CONFIGS on it",
			   "ledger topic %s: %s", topic->name, topic->problem);
	check_cleanup(check, topic);
	check_replicas(check, topic);
}

void check_ledger(struct check *check, const struct config *config)
{
	static const struct kafka_probe_events events = {on_cluster, on_topic};
	struct kafka_options options = command_kafka_options(config);
	struct ledger_check ledger = {check, config, &options, 0};
	const char *topic = config->kafka.ledger_topic, *remedy;
	struct error err;

	if (config->kafka.delivery != DELIVERY_EXACTLY_ONCE)
		return;
	/* That no broker lets us in was said already. */
	kafka_probe(&options, &topic, 1, TIMEOUT_MS, &events, &ledger, &remedy, &err);
}
