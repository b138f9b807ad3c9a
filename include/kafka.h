/* SPDX-License-Identifier: ISC */
/*
 * kafka.h - the Kafka sink: makes a struct sink over a librdkafka producer
 *
 * Thread: loop; kafka_check_property and kafka_version any. kafka_probe, kafka_create_topic and
 * kafka_rehearse_* block and need no loop: main, of a process without one.
 */
#ifndef OUTBOX_KAFKA_H
#define OUTBOX_KAFKA_H

#include "base/error.h"
#include "base/loop.h"
#include "config.h"
#include "core/ledger.h"
#include "core/metrics.h"
#include "core/sink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed for the life of the sink. */
struct kafka_options {
	const char *bootstrap_servers; /* ignored when embedded */
	bool embedded;		       /* run librdkafka's in-process broker and use that */
	const struct config_strings *properties; /* may be NULL; on top of our own settings */
	/* "" or NULL: none. The file is read anew while there is a producer, and for a new one. */
	const char *sasl_password_file;
	const char *oauthbearer_token_command;
	/* Each batch is published in a transaction of the producer PREFIX.GROUP.NUMBER (struct
	 * producer_id), with a note in this topic; NULL: without transactions, and what follows
	 * is ignored. */
	const char *transactional_prefix;
	const char *ledger_topic;   /* partition NUMBER is the producer's */
	int transaction_timeout_ms; /* brokers end a transaction after so long */
	struct metrics *metrics;
};

/* Whether librdkafka takes one "name=value" of kafka.properties. False and err, which names the
 * property and never holds its value. */
bool kafka_check_property(const char *property, struct error *err);

/* Whether the options of secrets go with each other and with the properties. False and err, which
 * names an option. */
bool kafka_check_secrets(const struct kafka_options *options, struct error *err);

/* Never blocks, brokers may be unreachable; ready() is called from the loop. NULL and err when a
 * property is unknown or does not go with the others: err names it and never holds its value. */
struct sink *kafka_sink_new(struct loop *loop, const struct kafka_options *options,
			    const struct sink_events *events, void *owner, struct error *err);

/* Ends, after about patience_ms at the latest. What is in flight is given up and nothing more is
 * reported. True if the events may be freed now; false if patience ran out: threads of librdkafka's
 * may still read them, and they must stay until the process ends. Not from inside a callback of the
 * sink. */
bool kafka_sink_free(struct sink **sink, int64_t patience_ms);

/* Threads of librdkafka's may still run after kafka_sink_free. End the process by _exit(2) then:
 * exit(3) has libraries clean up, and OPENSSL_cleanup(3) says that no other thread may use OpenSSL
 * meanwhile. Thread: main. */
bool kafka_left_behind(void);

/* The options of secrets are these from now on. */
void kafka_sink_reload(struct sink *sink, const struct kafka_options *options);

/* The address clients connect to: the configured one, or that of the embedded broker. */
const char *kafka_bootstrap(const struct sink *sink);

/* Payloads over this cannot be sent by this client whatever the topic allows: claims withhold them.
 */
size_t kafka_sink_max_bytes(const struct sink *sink);

/* How the way to the brokers is protected, as librdkafka understands the properties. */
struct kafka_transport {
	bool tls;
	bool verifies_certificate, verifies_host; /* with TLS */
	char mechanism[32];			  /* of SASL; "": none */
};

/* False and err when the options are wrong. */
bool kafka_transport_of(const struct kafka_options *options, struct kafka_transport *transport,
			struct error *err);

/* librdkafka's, as it runs. */
const char *kafka_version(void);

/* A product whose brokers are known by their addresses or cluster ids. */
struct kafka_product {
	const char *name;
	const char *only_codec; /* the only compression it takes at all; NULL: any, or not known */
};

/* Whether it takes the compression; product may be NULL. */
bool kafka_product_takes(const struct kafka_product *product, const char *codec);

enum probe_answer { PROBE_NOT_KNOWN, PROBE_NO, PROBE_YES };

/* What a probe learns about the brokers as a whole. */
struct kafka_probe_cluster {
	int brokers;		    /* in the cluster's metadata */
	int controller;		    /* broker id, or -1 */
	const char *id;		    /* the cluster's, or NULL */
	const char *broker_version; /* what a broker says of its protocol version, or NULL */
	int auto_create;     /* 1: brokers make unknown topics, 0: they do not, -1: not known */
	const char *problem; /* why something above is missing, or NULL */
	/* Why the brokers let the relay write nowhere; NULL: they do somewhere, or do not say. */
	const char *no_producer;
	const struct kafka_product *product; /* NULL: not recognised */
	const char *codec;		     /* compression.codec, as configured */
	/* Why the broker that was asked for more cannot be reached at the address that it
	 * advertises; NULL: it can, or was not tried. */
	const char *unreachable;
	bool defeats_compression; /* this librdkafka sends uncompressed to these brokers */
	enum probe_answer idempotence, transactions;
	enum probe_answer verifies; /* the partitions of transactions (Kafka 3.6, KIP-890) */
	int64_t transaction_max_ms; /* transaction.max.timeout.ms; -1: not known */
	enum probe_answer settings; /* whether they answer DescribeConfigs at all */
};

/* What a probe learns about one topic. */
struct kafka_probe_topic {
	const char *name;
	bool exists;
	int partitions;		   /* 0: not known */
	int replication;	   /* of the partition with the fewest replicas; 0: not known */
	int min_insync_replicas;   /* -1: not known */
	int64_t max_message_bytes; /* -1: not known */
	int64_t compaction_lag_ms; /* min.compaction.lag.ms; -1: not known */
	enum probe_answer unclean_elections;
	const char *cleanup_policy; /* "delete", "compact", ...; NULL: not known */
	/* How far a record's time may be from the broker's; -1: as far as it likes, or not known */
	int64_t ahead_ms, behind_ms;
	const char *uncreatable; /* does not exist: why brokers would not create it; or NULL */
	const char *problem; /* why something above is missing, e.g. no right to see it; or NULL */
};

/* One that keeps the last record of each key, as the ledger needs it. */
struct kafka_new_topic {
	const char *name;
	int partitions, replicas, min_insync_replicas;
	int64_t compaction_lag_ms;
};

/* False and err if it could not be made; that it is there already is an error too. */
bool kafka_create_topic(const struct kafka_options *options, const struct kafka_new_topic *topic,
			int timeout_ms, struct error *err);

/* What a relay does besides that delivers exactly once, each by a client of its own: takes this
 * transactional id, which no relay must have, since whoever had it is fenced; writes to partition 0
 * of the ledger, where brokers refuse what is sent as long as the topic is compacted; and reads it.
 * False and err, in the brokers' words, if they do not let it. Block for timeout_ms at most. */
bool kafka_rehearse_id(const struct kafka_options *options, const struct producer_id *id,
		       int timeout_ms, struct error *err);
bool kafka_rehearse_write(const struct kafka_options *options, int timeout_ms, struct error *err);
bool kafka_rehearse_read(const struct kafka_options *options, int timeout_ms, struct error *err);

struct kafka_probe_events {
	void (*cluster)(void *arg, const struct kafka_probe_cluster *cluster);
	void (*topic)(void *arg, const struct kafka_probe_topic *topic);
};

/* Connects and asks, creating nothing: calls cluster() once, then topic() for each of topics in
 * order. False and err when no broker let us in within timeout_ms (the last reason that was given
 * is in err) or the options are wrong. *remedy is what to do about it, never freed; NULL: not
 * known.
 */
bool kafka_probe(const struct kafka_options *options, const char *const *topics, size_t count,
		 int timeout_ms, const struct kafka_probe_events *events, void *arg,
		 const char **remedy, struct error *err);

#endif
