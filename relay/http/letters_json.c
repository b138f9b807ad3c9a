/* SPDX-License-Identifier: ISC */
/*
 * letters_json.c - what is set aside, as members of /status and of `status --json`
 */
#include "http.h"

#include <jansson.h>

static json_t *whole(double number)
{
	return json_integer((json_int_t)number);
}

/* Those that there are. */
static json_t *by_reason(const double *numbers)
{
	json_t *json = json_object();
	for (int reason = 0; reason < REJECT_REASONS; reason++)
		if (numbers[reason] > 0)
			json_object_set_new(json, reject_reason_name((enum reject_reason)reason),
					    whole(numbers[reason]));
	return json;
}

void letters_json(json_t *json, const struct letter_gauges *letters)
{
	const struct parked_gauges *parked = &letters->parked;
	json_object_set_new(json, "parked_keys", whole(parked->keys));
	json_object_set_new(json, "parked_keys_by_reason", by_reason(parked->by_reason));
	json_object_set_new(json, "parked_events", whole(parked->events));
	json_object_set_new(json, "parked_oldest_age_seconds",
			    json_real(parked->oldest_age_seconds));
	json_object_set_new(json, "dead_letters", whole(letters->dead));
	json_object_set_new(json, "dead_letters_by_reason", by_reason(letters->dead_by_reason));
	json_object_set_new(json, "deferred_events", whole(letters->deferred));
}
