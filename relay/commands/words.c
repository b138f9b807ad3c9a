/* SPDX-License-Identifier: ISC */
/*
 * words.c - what `status` and `status --watch` say in the same words
 */
#include "words.h"

#include "base/xalloc.h"
#include "core/letters.h"

#include <stdio.h>

const char *words_lasting(double seconds, char out[32])
{
	if (seconds < 1)
		snprintf(out, 32, "%.0f ms", seconds * 1000);
	else if (seconds < 120)
		snprintf(out, 32, "%.*f s", seconds < 10, seconds);
	else if (seconds < 7200)
		snprintf(out, 32, "%.0f min", seconds / 60);
	else if (seconds < 172800)
		snprintf(out, 32, "%.0f h", seconds / 3600);
	else
		snprintf(out, 32, "%.0f days", seconds / 86400);
	return out;
}

static json_int_t number_of(const json_t *from, const char *member)
{
	return json_integer_value(json_object_get(from, member));
}

static char *counted(const json_t *from, const char *member)
{
	json_int_t count = number_of(from, member);

	return xasprintf("%s%" JSON_INTEGER_FORMAT, count > LETTERS_EXACT ? "at least " : "",
			 count);
}

static void add_reasons(char **text, const json_t *from, const char *member)
{
	const char *reason, *between = " (";
	json_t *reasons = json_object_get(from, member), *count;

	json_object_foreach(reasons, reason, count)
	{
		xappend(text, "%s%s %" JSON_INTEGER_FORMAT, between, reason,
			json_integer_value(count));
		between = ", ";
	}
	if (json_object_size(reasons) > 0)
		xappend(text, ")");
}

char *words_dead_letters(const json_t *from)
{
	char *text = counted(from, "dead_letters");

	add_reasons(&text, from, "dead_letters_by_reason");
	return text;
}

char *words_parked_keys(const json_t *from)
{
	char *text = counted(from, "parked_keys"), *events, age[32];
	double oldest = json_number_value(json_object_get(from, "parked_oldest_age_seconds"));

	add_reasons(&text, from, "parked_keys_by_reason");
	if (number_of(from, "parked_events") == 0)
		return text;
	events = counted(from, "parked_events");
	xappend(&text, "; events: %s, oldest: %s", events, words_lasting(oldest, age));
	free(events);
	return text;
}

char *words_deferred(const json_t *from, const json_t *relay)
{
	const char *topic = json_string_value(json_object_get(relay, "deferred_topic"));
	char *text = counted(from, "deferred_events");

	if (topic != NULL && number_of(from, "deferred_events") > 0)
		xappend(&text, " for %s, or others", topic);
	return text;
}
