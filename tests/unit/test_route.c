/* SPDX-License-Identifier: ISC */
/*
 * test_route.c - topic, key and headers of an event by templates, and every way they can be wrong
 */
#include "../fuzz/fuzz_template.c" /* NOLINT(bugprone-suspicious-include): its check is replayed */
#include "../fuzz/replay.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TYPE, ID, EVENT_ID, NAMES };
static const char *const names[NAMES] = {"aggregate_type", "aggregate_id", "event_id"};

static int lookup(const char *name, void *arg)
{
	assert_string_equal(arg, "lookup");
	for (int i = 0; i < NAMES; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

static char lookup_arg[] = "lookup";

static struct config_strings strings(char **items, size_t count)
{
	return (struct config_strings){items, count};
}

static struct route_rules rules_of(const char *topic, const char *key,
				   const struct config_strings *headers)
{
	return (struct route_rules){.topic = topic, .key = key, .headers = headers};
}

static struct route *route_of(const char *topic, const char *key, const char *header)
{
	char *items[] = {(char *)(uintptr_t)header};
	struct config_strings headers = strings(items, header != NULL);
	const struct route_rules rules = rules_of(topic, key, &headers);
	struct error err = {""};
	struct route *route = route_new(&rules, lookup, lookup_arg, &err);

	if (route == NULL)
		fail_msg("%s", err.text);
	return route;
}

static struct event event_of(struct slice *fields, const char *type, const char *id)
{
	fields[TYPE] = slice_of(type);
	fields[ID] = slice_of(id);
	fields[EVENT_ID] = slice_of("e-1");
	return (struct event){.fields = fields, .payload = slice_of("{}")};
}

static void is(struct slice slice, const char *text)
{
	if (!slice_equal(slice, slice_of(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)slice.len, slice.data, text);
}

static void test_as_in_the_contract(void **state)
{
	char id[] = "id=${event_id}", type[] = "type=of ${aggregate_type}";
	char *items[] = {id, type};
	struct config_strings headers = strings(items, 2);
	struct slice fields[NAMES];
	struct event event = event_of(fields, "order", "42");
	struct message message;
	struct error err;
	const struct route_rules rules =
	    rules_of("events.${aggregate_type}", "${aggregate_id}", &headers);
	struct route *route = route_new(&rules, lookup, lookup_arg, &err);

	(void)state;
	event.headers = slice_of("{\"trace\":\"\\u0061b\",\"id\":7,\"gone\":null}");
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	is(message.topic, "events.order");
	assert_int_equal(message.topic.data[message.topic.len], '\0');
	assert_ptr_equal(message.key.data, fields[ID].data);
	assert_int_equal(message.key.len, 2);
	assert_ptr_equal(message.value.data, event.payload.data);
	assert_int_equal(message.header_count, 5);
	is(message.headers[0].name, "id");
	assert_ptr_equal(message.headers[0].value.data, fields[EVENT_ID].data);
	is(message.headers[1].name, "type");
	is(message.headers[1].value, "of order");
	is(message.headers[2].name, "trace");
	is(message.headers[2].value, "ab");
	is(message.headers[3].name, "id");
	is(message.headers[3].value, "7");
	is(message.headers[4].name, "gone");
	assert_null(message.headers[4].value.data);
	route_free(&route);
	assert_null(route);
	route_free(&route);
}

static void test_dollars_and_constants(void **state)
{
	struct slice fields[NAMES];
	struct event event = event_of(fields, "order", "42");
	struct message message;
	struct error err;
	struct route *route = route_of("all-events", "$$${aggregate_id}$$", "price=$$5 = {x}");

	(void)state;
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	is(message.topic, "all-events");
	is(message.key, "$42$");
	is(message.headers[0].name, "price");
	is(message.headers[0].value, "$5 = {x}");
	route_free(&route);
}

/* NULL and the empty string are different things. */
static void test_null_and_empty(void **state)
{
	struct slice fields[NAMES];
	struct event event = event_of(fields, "order", "");
	struct message message;
	struct error err;
	struct route *route = route_of("t", "${aggregate_id}", "h=${event_id}");

	(void)state;
	event.payload = SLICE_NULL;
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	assert_non_null(message.key.data);
	assert_int_equal(message.key.len, 0);
	assert_null(message.value.data);
	assert_int_equal(message.header_count, 1);

	fields[ID] = fields[EVENT_ID] = SLICE_NULL;
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	assert_null(message.key.data);
	assert_int_equal(message.header_count, 0);
	route_free(&route);

	route = route_of("t", "${aggregate_id}${event_id}", NULL);
	fields[ID] = fields[EVENT_ID] = slice_of("");
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	assert_non_null(message.key.data);
	assert_int_equal(message.key.len, 0);
	route_free(&route);
}

static void rejects_null(enum reject_reason reason, const char *topic, const char *key,
			 const char *header, const char *words)
{
	struct slice fields[NAMES];
	struct event event = event_of(fields, "order", NULL);
	struct message message;
	struct error err = {""};
	struct route *route = route_of(topic, key, header);

	assert_int_equal(route_event(route, &event, &message, &err), reason);
	assert_string_equal(err.text, words);
	route_free(&route);
}

static void test_null_within(void **state)
{
	(void)state;
	rejects_null(REJECT_TOPIC, "${aggregate_id}", "k", NULL,
		     "route.topic needs the field \"aggregate_id\", which is NULL; fill it in or "
		     "route by another");
	rejects_null(REJECT_KEY, "t", "k${aggregate_id}", NULL,
		     "route.key needs the field \"aggregate_id\", which is NULL; fill it in or "
		     "route by another");
	rejects_null(REJECT_HEADERS, "t", "k", "h=${event_id}${aggregate_id}",
		     "route.headers needs the field \"aggregate_id\", which is NULL; fill it in or "
		     "route by another");
}

/* It is told of an event that has no topic, too. */
static void test_the_key_alone(void **state)
{
	static const struct {
		const char *key, *type, *id, *is;
	} cases[] = {
	    {"${aggregate_id}", NULL, "7", "7"},    {"${aggregate_id}", "a", NULL, NULL},
	    {"${aggregate_id}", "a", "", ""},	    {"k-${aggregate_id}", NULL, "7", "k-7"},
	    {"k-${aggregate_id}", "a", NULL, NULL}, {"all", NULL, NULL, "all"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct route *route = route_of("${aggregate_type}", cases[i].key, NULL);
		struct slice fields[NAMES];
		struct event event = event_of(fields, cases[i].type, cases[i].id);
		is(route_key(route, &event), cases[i].is);
		route_free(&route);
	}
}

static void test_headers_that_are_none(void **state)
{
	struct slice fields[NAMES];
	struct event event = event_of(fields, "order", "42");
	struct message message;
	struct error err = {""};
	struct route *route = route_of("t", "k", NULL);

	(void)state;
	event.headers = slice_of("[1]");
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_HEADERS);
	assert_string_equal(err.text, "headers are not a JSON object");
	event.headers = slice_of("{}");
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	assert_int_equal(message.header_count, 0);
	route_free(&route);
}

/* ---- topics ---- */

static void test_legal_topics(void **state)
{
	static const char *const legal[] = {"a", "A.b_c-9", "...", ".a", "_", "_a_", "-"};
	static const char *const illegal[] = {"",    ".",   "..",  "__",       "__a", "a b",
					      "a/b", "a\n", "a:b", "\xc3\xa4", "a$",  "a,b"};
	char longest[251];

	(void)state;
	for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
		assert_true(route_topic_is_legal(slice_of(legal[i])));
	for (size_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++)
		assert_false(route_topic_is_legal(slice_of(illegal[i])));
	assert_false(route_topic_is_legal(SLICE_NULL));
	assert_false(route_topic_is_legal((struct slice){"a\0b", 3}));
	memset(longest, 'x', sizeof(longest));
	assert_true(route_topic_is_legal((struct slice){longest, 249}));
	assert_false(route_topic_is_legal((struct slice){longest, 250}));
}

static enum reject_reason route_type(struct route *route, const char *type, struct slice *topic)
{
	struct slice fields[NAMES];
	struct event event = event_of(fields, type, "42");
	struct message message;
	struct error err = {""};
	enum reject_reason reason = route_event(route, &event, &message, &err);

	if (reason == REJECT_NONE)
		*topic = message.topic;
	else
		assert_null(strstr(err.text, "secret"));
	return reason;
}

/* An illegal one between legal ones is refused each time and spoils nothing. */
static void test_topics_in_turn(void **state)
{
	struct route *route = route_of("${aggregate_type}", "k", NULL);
	char long_name[1000];
	struct slice topic;

	(void)state;
	memset(long_name, 'x', sizeof(long_name));
	for (size_t len = 249; len < 260; len++) {
		long_name[len] = '\0';
		assert_int_equal(route_type(route, long_name, &topic),
				 len > 249 ? REJECT_TOPIC : REJECT_NONE);
		long_name[len] = 'x';
	}
	long_name[999] = '\0';
	assert_int_equal(route_type(route, long_name, &topic), REJECT_TOPIC);
	route_free(&route);

	route = route_of("${aggregate_type}", "k", NULL);
	assert_int_equal(route_type(route, "", &topic), REJECT_TOPIC);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(route_type(route, "orders", &topic), REJECT_NONE);
		is(topic, "orders");
		assert_int_equal(route_type(route, "secret!", &topic), REJECT_TOPIC);
		assert_int_equal(route_type(route, "secret!", &topic), REJECT_TOPIC);
		assert_int_equal(route_type(route, "orders", &topic), REJECT_NONE);
		is(topic, "orders");
		assert_int_equal(route_type(route, "orbits", &topic), REJECT_NONE);
		is(topic, "orbits");
		assert_int_equal(route_type(route, "or its", &topic), REJECT_TOPIC);
		assert_int_equal(route_type(route, "order", &topic), REJECT_NONE);
		is(topic, "order");
		assert_int_equal(topic.data[topic.len], '\0');
		assert_int_equal(route_type(route, long_name, &topic), REJECT_TOPIC);
		assert_int_equal(route_type(route, "", &topic), REJECT_TOPIC);
	}
	route_free(&route);
}

/* ---- scratch space ---- */

static void check_big(struct route *route, size_t size)
{
	char *type = malloc(size + 1), *id = malloc(size + 1), *expected = malloc(2 * size + 8);
	struct slice fields[NAMES];
	struct event event;
	struct message message;
	struct error err;

	memset(type, 't', size);
	memset(id, 'i', size);
	type[size] = id[size] = '\0';
	event = event_of(fields, type, id);
	assert_int_equal(route_event(route, &event, &message, &err), REJECT_NONE);
	sprintf(expected, "%s/%s", type, id);
	is(message.key, expected);
	sprintf(expected, "<%s", id);
	is(message.headers[0].value, expected);
	sprintf(expected, "%s>", type);
	is(message.headers[1].value, expected);
	free(type);
	free(id);
	free(expected);
}

/* Growth for a later header must not move the key away from under its slice. */
static void test_growth_keeps_earlier_slices(void **state)
{
	char first[] = "a=<${aggregate_id}", second[] = "b=${aggregate_type}>";
	char *items[] = {first, second};
	struct config_strings headers = strings(items, 2);
	struct error err;
	const struct route_rules rules =
	    rules_of("t", "${aggregate_type}/${aggregate_id}", &headers);
	struct route *route = route_new(&rules, lookup, lookup_arg, &err);

	(void)state;
	for (size_t size = 1; size < 3000; size += 61)
		check_big(route, size);
	check_big(route, 1500000);
	check_big(route, 10);
	check_big(route, 600000);
	route_free(&route);
}

/* ---- what is refused at start ---- */

static void refuses(const char *topic, const char *key, const char *header, const char *words)
{
	char *items[] = {(char *)(uintptr_t)header};
	struct config_strings headers = strings(items, header != NULL);
	struct error err = {""};

	const struct route_rules rules = rules_of(topic, key, &headers);
	assert_null(route_new(&rules, lookup, lookup_arg, &err));
	assert_string_equal(err.text, words);
}

static void test_refused_templates(void **state)
{
	(void)state;
	refuses("a.${aggregate", "k", NULL,
		"route.topic \"a.${aggregate\": a \"${\" has no \"}\"; write ${field}");
	refuses("${a${b}}", "k", NULL,
		"route.topic \"${a${b}}\": a \"${\" has no \"}\"; write ${field}");
	refuses("t", "${}", NULL, "route.key \"${}\": \"${}\" names no field; write ${field}");
	refuses("t", "$aggregate_id", NULL,
		"route.key \"$aggregate_id\": a \"$\" stands alone; write ${field}, or \"$$\" for "
		"a dollar sign");
	refuses("t", "k$", NULL,
		"route.key \"k$\": a \"$\" stands alone; write ${field}, or \"$$\" for a dollar "
		"sign");
	refuses("t", "${agregate_id}", NULL,
		"route.key \"${agregate_id}\": there is no field \"agregate_id\"; name a column by "
		"its part or its name, but not payload, headers, or a part that the table has no "
		"column for");
	refuses("t", "", NULL,
		"route.key is empty; name the field that orders the events, such as "
		"${aggregate_id}");
	refuses("t", "k", "x=${y}",
		"route.headers \"${y}\": there is no field \"y\"; name a column by its part or its "
		"name, but not payload, headers, or a part that the table has no column for");
}

static void test_refused_headers_and_topics(void **state)
{
	(void)state;
	refuses("t", "k", "=${event_id}",
		"route.headers \"=${event_id}\" has no name; write name=template");
	refuses("t", "k", "${event_id}",
		"route.headers \"${event_id}\" has no name; write name=template");
	refuses("t", "k", "id = ${event_id}",
		"route.headers \"id = ${event_id}\" has a space around its name or \"=\"; write "
		"name=template without");
	refuses("", "k", NULL, "route.topic \"\" is empty; give a legal topic name");
	refuses("my events", "k", NULL,
		"route.topic \"my events\" has a character other than a-z, A-Z, 0-9, '.', '_' and "
		"'-'; give a legal topic name");
	refuses("__x", "k", NULL,
		"route.topic \"__x\" begins with \"__\", as only Kafka's own topics do; give a "
		"legal topic name");
	refuses(
	    "\u00e9v.${aggregate_type}", "k", NULL,
	    "route.topic \"\u00e9v.${aggregate_type}\" has a character other than a-z, A-Z, 0-9, "
	    "'.', '_' and '-' beside its fields; take it out");
	refuses(
	    "${aggregate_type}$$", "k", NULL,
	    "route.topic \"${aggregate_type}$$\" has a character other than a-z, A-Z, 0-9, '.', "
	    "'_' and '-' beside its fields; take it out");
}

/* ---- which fields ---- */

static void append_name(const char *name, void *arg)
{
	strcat(arg, name);
	strcat(arg, ",");
}

static void test_fields(void **state)
{
	char first[] = "x=${c}${a}", second[] = "y=${d}";
	char *items[] = {first, second};
	struct config_strings headers = strings(items, 2);
	char told[100] = "";
	struct error err = {""};

	(void)state;
	struct route_rules rules = rules_of("t.${a}", "${b}${a}", &headers);
	assert_true(route_fields(&rules, append_name, told, &err));
	assert_string_equal(told, "a,b,c,d,");
	rules.key = "${b";
	assert_false(route_fields(&rules, append_name, told, &err));
	assert_string_equal(err.text, "route.key \"${b\": a \"${\" has no \"}\"; write ${field}");
}

/* ---- checking ---- */

static const struct config_columns *columns(void)
{
	static char id[] = "id", event_id[] = "uuid", type[] = "aggregatetype", key[] = "key",
		    event_type[] = "type", payload[] = "body", none[] = "";
	static const struct config_columns own = {id,	   event_id, type, key, event_type,
						  payload, none,     none, none};
	return &own;
}

static void test_columns_of_fields(void **state)
{
	static const char *const fields[][2] = {
	    {"id", "id"},
	    {"event_id", "uuid"},
	    {"aggregate_type", "aggregatetype"},
	    {"aggregate_id", "key"},
	    {"event_type", "type"},
	    {"key", "key"},
	    {"tenant", "tenant"},
	    {"body", "body"},
	};
	static const char *const none[] = {"payload", "headers", "created_at"};

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		assert_string_equal(route_column(columns(), fields[i][0]), fields[i][1]);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_null(route_column(columns(), none[i]));
}

static void test_checks(void **state)
{
	static const char *const right[][2] = {
	    {"route.topic", "a.${aggregate_type}.${tenant}"},
	    {"route.topic", "plain"},
	    {"route.key", "${key}-$$"},
	    {"route.headers", "id=${event_id}"},
	    {"route.headers", "empty="},
	    {"route.partition", "part"},
	    {"route.timestamp", "event_id"},
	    {"route.topic_regex", "("},
	};
	static const char *const wrong[][3] = {
	    {"route.topic", "a b", "has a character other than"},
	    {"route.topic", "a.${aggregate_type", "has no \"}\""},
	    {"route.topic", "a.${}", "names no field"},
	    {"route.key", "$", "stands alone"},
	    {"route.key", "${payload}", "there is no field \"payload\""},
	    {"route.headers", "at=${created_at}", "there is no field \"created_at\""},
	    {"route.headers", "id =x", "has a space around"},
	    {"route.partition", "payload", "there is no such field"},
	    {"route.timestamp", "created_at", "there is no such field"},
	};
	const struct config config = {.outbox.columns = *columns()};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		if (!route_check(right[i][0], right[i][1], &config, &err))
			fail_msg("%s", err.text);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_false(route_check(wrong[i][0], wrong[i][1], &config, &err));
		assert_ptr_equal(strstr(err.text, wrong[i][0]), err.text);
		if (strstr(err.text, wrong[i][2]) == NULL)
			fail_msg("%s", err.text);
	}
}

static void test_reason_names(void **state)
{
	(void)state;
	assert_string_equal(reject_reason_name(REJECT_TOO_LARGE), "too_large");
	assert_string_equal(reject_reason_name(REJECT_TOPIC), "topic");
	for (int i = 0; i < REJECT_REASONS; i++) {
		assert_non_null(reject_reason_name((enum reject_reason)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(reject_reason_name((enum reject_reason)i),
						reject_reason_name((enum reject_reason)j));
	}
}

static void test_corpus(void **state)
{
	(void)state;
	assert_true(replay_corpus("template") >= 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_as_in_the_contract),
	    cmocka_unit_test(test_dollars_and_constants),
	    cmocka_unit_test(test_null_and_empty),
	    cmocka_unit_test(test_null_within),
	    cmocka_unit_test(test_the_key_alone),
	    cmocka_unit_test(test_headers_that_are_none),
	    cmocka_unit_test(test_legal_topics),
	    cmocka_unit_test(test_topics_in_turn),
	    cmocka_unit_test(test_growth_keeps_earlier_slices),
	    cmocka_unit_test(test_refused_templates),
	    cmocka_unit_test(test_refused_headers_and_topics),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_columns_of_fields),
	    cmocka_unit_test(test_checks),
	    cmocka_unit_test(test_reason_names),
	    cmocka_unit_test(test_corpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
