/*
 * event.c - the names of the reject reasons, as metrics and dead letters show them
 */
#include "core/event.h"

#include <assert.h>

const char *reject_reason_name(enum reject_reason reason)
{
	static const char *const names[REJECT_REASONS] = {
	    [REJECT_NONE] = "none",   [REJECT_TOO_LARGE] = "too_large",
	    [REJECT_TOPIC] = "topic", [REJECT_HEADERS] = "headers",
	    [REJECT_ROUTE] = "route", [REJECT_BROKER] = "broker",
	};

	assert((unsigned)reason < REJECT_REASONS);
	return names[reason];
}
