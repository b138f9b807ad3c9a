/* SPDX-License-Identifier: ISC */
/*
 * verdict.c - what an error of a produced record says of the event, by the protocol's name of it
 *
 * The table has every error with which a record may come back: of the broker's those that
 * kafka.server.ReplicaManager and UnifiedLog answer to a ProduceRequest, of the client's those that
 * librdkafka puts into a delivery report (rd_kafka_handle_Produce_error, rd_kafka_err_action). What
 * is not in it counts as the environment's, so that nothing is rejected by mistake, and is counted:
 * there is an alert for it.
 */
#include "internal.h"

#include <string.h>

static const struct verdict {
	const char *name;
	enum reject_reason reason; /* REJECT_NONE: the environment's */
	const char *advice;	   /* NULL: none beyond librdkafka's words */
} verdicts[] = {
    /* the event's own */
    {"MSG_SIZE_TOO_LARGE", REJECT_TOO_LARGE, NULL},
    {"RECORD_LIST_TOO_LARGE", REJECT_TOO_LARGE, NULL},
    {"INVALID_RECORD", REJECT_INVALID_RECORD, NULL},
    {"POLICY_VIOLATION", REJECT_POLICY_VIOLATION, NULL},
    {"TOPIC_EXCEPTION", REJECT_TOPIC, NULL},

    /* the broker's answer to all events alike, until somebody changes something */
    {"INVALID_TIMESTAMP", REJECT_NONE,
     "; the broker does not accept the time of the records, which is that of this machine's "
     "clock: compare the clocks of this machine and of the brokers, and see "
     "message.timestamp.after.max.ms and message.timestamp.before.max.ms of the topic"},
    {"UNSUPPORTED_FOR_MESSAGE_FORMAT", REJECT_NONE,
     "; the broker does not accept this form of records: see compression.codec in "
     "kafka.properties (Azure Event Hubs accepts gzip or none)"},
    {"UNSUPPORTED_COMPRESSION_TYPE", REJECT_NONE, "; see compression.codec in kafka.properties"},
    {"TOPIC_AUTHORIZATION_FAILED", REJECT_NONE,
     "; grant the relay WRITE and DESCRIBE on the topic"},
    {"CLUSTER_AUTHORIZATION_FAILED", REJECT_NONE,
     "; grant the relay WRITE on the topics, or IDEMPOTENT_WRITE on the cluster"},
    {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", REJECT_NONE,
     "; grant the relay WRITE and DESCRIBE on its transactional ids"},
    {"SASL_AUTHENTICATION_FAILED", REJECT_NONE, NULL},
    {"SECURITY_DISABLED", REJECT_NONE, NULL},
    {"INVALID_REQUIRED_ACKS", REJECT_NONE, NULL},
    {"INVALID_REQUEST", REJECT_NONE, NULL},
    {"UNSUPPORTED_VERSION", REJECT_NONE, NULL},
    {"UNKNOWN_TOPIC_OR_PART", REJECT_NONE, NULL},
    {"INVALID_PARTITIONS", REJECT_NONE, NULL},

    /* it may be over with the next try */
    {"UNKNOWN", REJECT_NONE, NULL},
    {"INVALID_MSG", REJECT_NONE, NULL},
    {"INVALID_MSG_SIZE", REJECT_NONE, NULL},
    {"LEADER_NOT_AVAILABLE", REJECT_NONE, NULL},
    {"NOT_LEADER_FOR_PARTITION", REJECT_NONE, NULL},
    {"REQUEST_TIMED_OUT", REJECT_NONE, NULL},
    {"BROKER_NOT_AVAILABLE", REJECT_NONE, NULL},
    {"REPLICA_NOT_AVAILABLE", REJECT_NONE, NULL},
    {"NETWORK_EXCEPTION", REJECT_NONE, NULL},
    {"NOT_ENOUGH_REPLICAS", REJECT_NONE, NULL},
    {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", REJECT_NONE, NULL},
    {"NOT_CONTROLLER", REJECT_NONE, NULL},
    {"KAFKA_STORAGE_ERROR", REJECT_NONE, NULL},
    {"LOG_DIR_NOT_FOUND", REJECT_NONE, NULL},
    {"FENCED_LEADER_EPOCH", REJECT_NONE, NULL},
    {"UNKNOWN_LEADER_EPOCH", REJECT_NONE, NULL},
    {"STALE_BROKER_EPOCH", REJECT_NONE, NULL},
    {"THROTTLING_QUOTA_EXCEEDED", REJECT_NONE, NULL},

    /* of the producer: another one takes its place */
    {"OUT_OF_ORDER_SEQUENCE_NUMBER", REJECT_NONE, NULL},
    {"DUPLICATE_SEQUENCE_NUMBER", REJECT_NONE, NULL},
    {"INVALID_PRODUCER_EPOCH", REJECT_NONE, NULL},
    {"INVALID_PRODUCER_ID_MAPPING", REJECT_NONE, NULL},
    {"UNKNOWN_PRODUCER_ID", REJECT_NONE, NULL},
    {"PRODUCER_FENCED", REJECT_NONE, NULL},
    {"INVALID_TXN_STATE", REJECT_NONE, NULL},
    {"INVALID_TRANSACTION_TIMEOUT", REJECT_NONE,
     "; the brokers allow transactions transaction.max.timeout.ms at most"},
    {"CONCURRENT_TRANSACTIONS", REJECT_NONE, NULL},
    {"TRANSACTION_COORDINATOR_FENCED", REJECT_NONE, NULL},

    /* the client's */
    {"_BAD_MSG", REJECT_NONE, NULL},
    {"_BAD_COMPRESSION", REJECT_NONE, NULL},
    {"_DESTROY", REJECT_NONE, NULL},
    {"_FAIL", REJECT_NONE, NULL},
    {"_TRANSPORT", REJECT_NONE, NULL},
    {"_CRIT_SYS_RESOURCE", REJECT_NONE, NULL},
    {"_RESOLVE", REJECT_NONE, NULL},
    {"_MSG_TIMED_OUT", REJECT_NONE, NULL},
    {"_UNKNOWN_PARTITION", REJECT_NONE, NULL},
    {"_UNKNOWN_TOPIC", REJECT_NONE, NULL},
    {"_ALL_BROKERS_DOWN", REJECT_NONE, NULL},
    {"_INVALID_ARG", REJECT_NONE, NULL},
    {"_TIMED_OUT", REJECT_NONE, NULL},
    {"_TIMED_OUT_QUEUE", REJECT_NONE, NULL},
    {"_QUEUE_FULL", REJECT_NONE, NULL},
    {"_ISR_INSUFF", REJECT_NONE, NULL},
    {"_NODE_UPDATE", REJECT_NONE, NULL},
    {"_SSL", REJECT_NONE, NULL},
    {"_AUTHENTICATION", REJECT_NONE, NULL},
    {"_UNSUPPORTED_FEATURE", REJECT_NONE, NULL},
    {"_WAIT_CACHE", REJECT_NONE, NULL},
    {"_INTR", REJECT_NONE, NULL},
    {"_OUTDATED", REJECT_NONE, NULL},
    {"_STATE", REJECT_NONE, NULL},
    {"_RETRY", REJECT_NONE, NULL},
    {"_PURGE_QUEUE", REJECT_NONE, NULL},
    {"_PURGE_INFLIGHT", REJECT_NONE, NULL},
    {"_FATAL", REJECT_NONE, NULL},
    {"_INCONSISTENT", REJECT_NONE, NULL},
    {"_GAPLESS_GUARANTEE", REJECT_NONE, NULL},
    {"_FENCED", REJECT_NONE, NULL},
    {"_APPLICATION", REJECT_NONE, NULL},
    {"_INVALID_DIFFERENT_RECORD", REJECT_NONE, NULL},
};

static const struct verdict *find(const char *error_name)
{
	for (size_t i = 0; i < kafka_verdicts(); i++)
		if (strcmp(error_name, verdicts[i].name) == 0)
			return &verdicts[i];
	return NULL;
}

bool kafka_knows(const char *error_name)
{
	return find(error_name) != NULL;
}

size_t kafka_verdicts(void)
{
	return sizeof(verdicts) / sizeof(verdicts[0]);
}

enum reject_reason kafka_verdict(const char *error_name)
{
	const struct verdict *verdict = find(error_name);
	return verdict != NULL ? verdict->reason : REJECT_NONE;
}

const char *kafka_advice(const char *error_name)
{
	const struct verdict *verdict = find(error_name);
	if (verdict == NULL)
		return "; this version of outbox-relay does not know the error: no event is "
		       "rejected "
		       "for it; please report it";
	return verdict->advice != NULL ? verdict->advice : "";
}

bool kafka_refuses_codec(const char *error_name)
{
	return strcmp(error_name, "UNSUPPORTED_COMPRESSION_TYPE") == 0 ||
	       strcmp(error_name, "UNSUPPORTED_FOR_MESSAGE_FORMAT") == 0; /* Azure Event Hubs */
}

bool kafka_is_fenced(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
	       code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}
