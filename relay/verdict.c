/*
 * verdict.c - the errors that are an event's own fault
 */
#include "verdict.h"

/* Everything else is the environment's. UNSUPPORTED_COMPRESSION_TYPE is left out on purpose: it is
 * our compression.codec that the topic cannot take, and no event should pay for that. */
static const struct {
	const char *name;
	enum reject_reason reason;
} event_errors[] = {
    {"MSG_SIZE_TOO_LARGE", REJECT_TOO_LARGE}, {"RECORD_LIST_TOO_LARGE", REJECT_TOO_LARGE},
    {"INVALID_RECORD", REJECT_BROKER},	      {"INVALID_TIMESTAMP", REJECT_BROKER},
    {"POLICY_VIOLATION", REJECT_BROKER},      {"UNSUPPORTED_FOR_MESSAGE_FORMAT", REJECT_BROKER},
    {"TOPIC_EXCEPTION", REJECT_TOPIC},
};

enum reject_reason verdict_of(const char *error_name)
{
	for (size_t i = 0; i < sizeof(event_errors) / sizeof(event_errors[0]); i++)
		if (strcmp(error_name, event_errors[i].name) == 0)
			return event_errors[i].reason;
	return REJECT_NONE;
}
