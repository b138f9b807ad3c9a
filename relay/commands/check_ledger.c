/* SPDX-License-Identifier: ISC */
/*
 * check_ledger.c - `check`: what kafka.delivery = "exactly-once" rests on: transactions that the
 * brokers verify, and the ledger's topic
 */
#include "base/pgname.h"
#include "base/text.h"
#include "check.h"
#include "commands.h"
#include "core/ledger.h"
#include "kafka.h"
#include "postgres.h"

#include <inttypes.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, REPLICAS = 3, LAG_MS = 3600 * 1000 };

struct ledger_check {
	struct check *check;
	const struct config *config;
	const struct kafka_options *options;
	int brokers;
	bool there, compacts; /* the topic */
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

	ledger->there = ledger->compacts =
	    kafka_create_topic(ledger->options, &topic, TIMEOUT_MS, &err);
	if (ledger->there)
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
	ledger->there = true;
	ledger->compacts =
	    topic->cleanup_policy != NULL && !strcmp(topic->cleanup_policy, "compact");
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

/* ---- rights ---- */

/* The outbox's, which transactional ids bear. False if it is not known: what is missing in the
 * database was said already. */
static bool outbox_uuid(const struct config *config, PGconn *conn, char uuid[40])
{
	static const char SQL[] =
	    "SELECT producers AS uuid FROM outbox_relay.outboxes WHERE outbox "
	    "= to_regclass($1)";
	char table[PGNAME_FULL_SIZE];
	const char *params[] = {table};
	struct pgname name;
	struct error err;
	PGresult *result;
	bool known;

	if (conn == NULL || !pgname_parse(config->outbox.table, &name, &err))
		return false;
	pgname_print(&name, table);
	result = pgsync_query(conn, "looking for the producers", SQL, 1, params, &err);
	known = result != NULL && PQntuples(result) == 1;
	if (known)
		text_print(uuid, 40, "%s", pgsync_text(result, 0, "uuid"));
	PQclear(result);
	return known;
}

/* right: the remedy if that is what is missing. */
static const char *remedy_of(const char *right, const struct error *err)
{
	return strstr(err->text, "AUTHORIZATION_FAILED") != NULL
		   ? right
		   : "see what the brokers say, and run check again";
}

/* An id that no relay has: their numbers end before. */
static void check_transactional_id(const struct ledger_check *ledger, PGconn *conn)
{
	static const char right[] = "grant the relay WRITE and DESCRIBE on transactional ids with "
				    "the prefix outbox-relay.";
	struct producer_id id = {.number = LEDGER_PRODUCERS};
	struct error err;

	if (!outbox_uuid(ledger->config, conn, id.group))
		return;
	if (kafka_rehearse_id(ledger->options, &id, TIMEOUT_MS, &err))
		check_ok(ledger->check, "the brokers give the relay transactional ids");
	else
		check_error(ledger->check, remedy_of(right, &err),
			    "the brokers give the relay no transactional id of outbox-relay.%s: %s",
			    id.group, err.text);
}

static void check_writes(const struct ledger_check *ledger)
{
	struct error err;

	/* Otherwise what is not to be written could be. */
	if (ledger->compacts && !kafka_rehearse_write(ledger->options, TIMEOUT_MS, &err))
		check_error(ledger->check, remedy_of("grant the relay WRITE on it", &err),
			    "ledger topic %s cannot be written: %s", ledger->options->ledger_topic,
			    err.text);
}

static void check_reads(const struct ledger_check *ledger)
{
	struct error err;

	if (!kafka_rehearse_read(ledger->options, TIMEOUT_MS, &err))
		check_error(ledger->check, remedy_of("grant the relay READ on it", &err),
			    "ledger topic %s cannot be read: %s", ledger->options->ledger_topic,
			    err.text);
}

void check_ledger(struct check *check, const struct config *config, PGconn *conn)
{
	static const struct kafka_probe_events events = {on_cluster, on_topic};
	struct kafka_options options = command_kafka_transactions(config);
	struct ledger_check ledger = {.check = check, .config = config, .options = &options};
	const char *remedy;
	struct error err;

	if (config->kafka.delivery != DELIVERY_EXACTLY_ONCE)
		return;
	/* That no broker lets us in was said already. */
	if (!kafka_probe(&options, &options.ledger_topic, 1, TIMEOUT_MS, &events, &ledger, &remedy,
			 &err))
		return;
	check_transactional_id(&ledger, conn);
	if (!ledger.there)
		return;
	check_writes(&ledger);
	check_reads(&ledger);
}
