/* SPDX-License-Identifier: ISC */
/*
 * test_route_copy.c - the copy of a rejected event: key, headers and notes
 */
#include "core/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { TYPE, ID, EVENT_ID, NAMES };
static const char *const names[NAMES] = {"aggregate_type", "aggregate_id", "event_id"};

static int lookup(const char *name, void *arg)
{
	(void)arg;
	for (int i = 0; i < NAMES; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

static void is(struct slice slice, const char *text)
{
	if (!slice_equal(slice, slice_of(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)slice.len, slice.data, text);
}

static void has(const struct message *message, const char *name, const char *value)
{
	for (size_t i = 0; i < message->header_count; i++)
		if (slice_equal(message->headers[i].name, slice_of(name))) {
			if (value == NULL)
				fail_msg("there is a header %s", name);
			is(message->headers[i].value, value);
			return;
		}
	if (value != NULL)
		fail_msg("there is no header %s", name);
}

static struct slice copy_notes[COPY_NOTES];

static struct event copied(struct slice *fields)
{
	fields[TYPE] = slice_of("order");
	fields[ID] = slice_of("42");
	fields[EVENT_ID] = slice_of("e-1");
	copy_notes[COPY_TO] = slice_of("dead");
	copy_notes[COPY_REASON] = slice_of("headers");
	copy_notes[COPY_ERROR] = slice_of("no \"object\"");
	copy_notes[COPY_TOPIC] = slice_of("order events");
	copy_notes[COPY_OUTBOX] = slice_of("public.outbox");
	copy_notes[COPY_ID] = slice_of("17");
	copy_notes[COPY_ATTEMPTS] = slice_of("2");
	copy_notes[COPY_AT] = slice_of("2026-11-29T04:26:46.123Z");
	return (struct event){.fields = fields,
			      .payload = slice_of("{}"),
			      .identity = fields[EVENT_ID],
			      .copy = copy_notes};
}

static struct route *route_of_copies(void)
{
	char id[] = "id=${event_id}", type[] = "type=of ${aggregate_type}";
	char key[] = "key=${aggregate_id}";
	char *items[] = {id, type, key};
	struct config_strings headers = {items, 3};
	struct error err;

	const struct route_rules rules = {
	    .topic = "${aggregate_type}.v1", .key = "k-${aggregate_id}", .headers = &headers};
	return route_new(&rules, lookup, NULL, &err);
}

/* As it would have been, and what was wrong. */
static void test_a_copy(void **state)
{
	struct slice fields[NAMES];
	struct event event = copied(fields);
	struct message message;
	struct route *route = route_of_copies();

	(void)state;
	event.headers = slice_of("{\"trace\":\"\\u0061b\"}");
	route_copy(route, &event, &message);
	is(message.topic, "dead");
	is(message.key, "k-42");
	assert_ptr_equal(message.value.data, event.payload.data);
	assert_int_equal(message.header_count, 12);
	is(message.headers[0].value, "e-1");
	is(message.headers[1].value, "of order");
	is(message.headers[2].value, "42");
	is(message.headers[3].value, "ab");
	has(&message, "dead-letter-reason", "headers");
	has(&message, "dead-letter-error", "no \"object\"");
	has(&message, "dead-letter-topic", "order events");
	has(&message, "dead-letter-outbox", "public.outbox");
	has(&message, "dead-letter-id", "17");
	has(&message, "dead-letter-event-id", "e-1");
	has(&message, "dead-letter-attempts", "2");
	has(&message, "dead-letter-at", "2026-11-29T04:26:46.123Z");
	has(&message, "dead-letter-headers", NULL);
	route_free(&route);
}

/* Without key and topic, and headers that end in a nested value: what can be rendered. */
static void test_a_copy_of_what_cannot_be_rendered(void **state)
{
	struct slice fields[NAMES];
	struct event event = copied(fields);
	struct message message;
	struct route *route = route_of_copies();

	(void)state;
	fields[ID] = fields[TYPE] = copy_notes[COPY_TOPIC] = SLICE_NULL;
	event.headers = slice_of("{\"trace\":\"\\u0061b\",\"more\":{}}");
	event.payload = SLICE_NULL;
	route_copy(route, &event, &message);
	assert_null(message.key.data);
	assert_null(message.value.data);
	assert_int_equal(message.header_count, 9);
	has(&message, "id", "e-1");
	has(&message, "type", NULL);
	has(&message, "key", NULL);
	has(&message, "trace", NULL);
	has(&message, "dead-letter-topic", NULL);
	has(&message, "dead-letter-headers", "{\"trace\":\"\\u0061b\",\"more\":{}}");
	route_free(&route);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_copy),
	    cmocka_unit_test(test_a_copy_of_what_cannot_be_rendered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
