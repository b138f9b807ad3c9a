/*
 * verdict.c - the errors that may be an event's own fault
 */
#include "verdict.h"

/* Errors that one event may get while others are taken. A broker or a proxy may answer each of them
 * to all events alike, too: kafka/refusal.c tells the two apart. Everything else is the
 * environment's: UNSUPPORTED_COMPRESSION_TYPE and UNSUPPORTED_FOR_MESSAGE_FORMAT are answers to our
 * compression.codec, and INVALID_TIMESTAMP to our clock. */
static const struct {
	const char *name;
	enum reject_reason reason;
} event_errors[] = {
    {"MSG_SIZE_TOO_LARGE", REJECT_TOO_LARGE}, {"RECORD_LIST_TOO_LARGE", REJECT_TOO_LARGE},
    {"INVALID_RECORD", REJECT_BROKER},	      {"POLICY_VIOLATION", REJECT_BROKER},
    {"TOPIC_EXCEPTION", REJECT_TOPIC},
};

static const struct {
	const char *name, *text;
} advices[] = {
    {"INVALID_TIMESTAMP",
     "; the broker does not accept the time of the records, which is that of this machine's "
     "clock: compare the clocks of this machine and of the brokers, and see "
     "message.timestamp.after.max.ms and message.timestamp.before.max.ms of the topic"},
    {"UNSUPPORTED_FOR_MESSAGE_FORMAT",
     "; the broker does not accept this form of records: see compression.codec in "
     "kafka.properties (Azure Event Hubs accepts gzip or none)"},
    {"UNSUPPORTED_COMPRESSION_TYPE", "; see compression.codec in kafka.properties"},
    {"TOPIC_AUTHORIZATION_FAILED", "; grant the relay WRITE and DESCRIBE on the topic"},
    {"CLUSTER_AUTHORIZATION_FAILED",
     "; grant the relay WRITE on the topics, or IDEMPOTENT_WRITE on the cluster"},
};

enum reject_reason verdict_of(const char *error_name)
{
	for (size_t i = 0; i < sizeof(event_errors) / sizeof(event_errors[0]); i++)
		if (strcmp(error_name, event_errors[i].name) == 0)
			return event_errors[i].reason;
	return REJECT_NONE;
}

const char *verdict_advice(const char *error_name)
{
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		if (strcmp(error_name, advices[i].name) == 0)
			return advices[i].text;
	return "";
}
