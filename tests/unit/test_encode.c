/* SPDX-License-Identifier: ISC */
/*
 * test_encode.c - routed events as records: key, value, headers, and what can be none
 */
#include "core/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TYPE, KEY, ID, VERSION, FIELDS };
static const char *const names[FIELDS] = {"type", "key", "id", "version"};
static struct field_type types[FIELDS] = {{.kind = FIELD_TEXT, .required = true},
					  {.kind = FIELD_INT64, .precision = -1},
					  {.kind = FIELD_UUID, .required = true},
					  {.kind = FIELD_INT32, .precision = -1}};

static int lookup(const char *name, void *arg)
{
	(void)arg;
	for (int i = 0; i < FIELDS; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

struct rig {
	struct config_encoding options;
	char *headers[3], *members[3];
	struct config_strings header_list;
	struct slice fields[FIELDS];
	struct event event;
	struct field_type payload;
	struct route *route;
	struct encoder *encoder;
	struct message message;
	struct error err;
};

static char id_header[] = "id=${id}", key_header[] = "key=${key}", text_header[] = "t=of ${type}";
static char type_member[] = "eventType=${type}", text_member[] = "who=${type}-${id}";

static char none[] = "";

static void set_up(struct rig *rig)
{
	*rig = (struct rig){.options = {.schema_namespace = none, .schema_version = none},
			    .headers = {id_header, key_header, text_header},
			    .fields = {[TYPE] = slice_of("order"),
				       [KEY] = slice_of("42"),
				       [ID] = slice_of("u-1"),
				       [VERSION] = slice_of("3")},
			    .payload = {.kind = FIELD_JSON}};
	rig->header_list = (struct config_strings){rig->headers, 3};
	rig->event = (struct event){.fields = rig->fields,
				    .payload = slice_of("{\"a\": 1.10}"),
				    .headers = slice_of("{\"own\":\"1\"}")};
}

static enum reject_reason encode(struct rig *rig)
{
	const struct route_rules rules = {
	    .topic = "${type}", .key = "${key}", .headers = &rig->header_list};

	encoder_free(&rig->encoder);
	route_free(&rig->route);
	rig->route = route_new(&rules, lookup, NULL, &rig->err);
	rig->encoder = encoder_new(&rig->options, &rules, "body", lookup, NULL, &rig->err);
	assert_non_null(rig->route);
	assert_non_null(rig->encoder);
	encoder_types(rig->encoder, types, FIELDS, &rig->payload);
	assert_int_equal(route_event(rig->route, &rig->event, &rig->message, &rig->err),
			 REJECT_NONE);
	return encode_event(rig->encoder, &rig->event, &rig->message, &rig->err);
}

static void tear_down(struct rig *rig)
{
	encoder_free(&rig->encoder);
	encoder_free(&rig->encoder);
	route_free(&rig->route);
}

static void is(struct slice slice, const char *text)
{
	if (!slice_equal(slice, slice_of(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)slice.len, slice.data, text);
}

static void test_all_in_json(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.options.key = rig.options.value = rig.options.headers = ENCODE_JSON;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.key, "42");
	is(rig.message.value, "\"{\\\"a\\\": 1.10}\"");
	assert_true(rig.message.transient);
	assert_int_equal(rig.message.header_count, 4);
	is(rig.message.headers[0].value, "\"u-1\"");
	is(rig.message.headers[1].name, "key");
	is(rig.message.headers[1].value, "42");
	is(rig.message.headers[2].value, "\"of order\"");
	is(rig.message.headers[3].name, "own");
	is(rig.message.headers[3].value, "1");
	tear_down(&rig);
}

static void test_null(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.fields[KEY] = SLICE_NULL;
	rig.event.payload = SLICE_NULL;
	rig.options.key = rig.options.value = rig.options.headers = ENCODE_JSON;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.key, "null");
	is(rig.message.value, "null");
	is(rig.message.headers[1].value, "null");
	is(rig.message.headers[2].value, "\"of order\"");
	rig.options.key = rig.options.value = rig.options.headers = ENCODE_STRING;
	assert_int_equal(encode(&rig), REJECT_NONE);
	assert_null(rig.message.key.data);
	assert_null(rig.message.value.data);
	assert_int_equal(rig.message.header_count, 4);
	assert_null(rig.message.headers[1].value.data);
	rig.options.key = rig.options.value = ENCODE_JSON_SCHEMA;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.key, "{\"schema\":{\"type\":\"int64\",\"optional\":true},\"payload\":null}");
	is(rig.message.value, "{\"schema\":{\"type\":\"string\",\"optional\":true,\"name\":"
			      "\"io.debezium.data.Json\",\"version\":1},\"payload\":null}");
	tear_down(&rig);
}

/* What is not encoded stays the bytes that it was: no copy. */
static void test_parts_that_stay(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.options.key = ENCODE_JSON;
	assert_int_equal(encode(&rig), REJECT_NONE);
	assert_ptr_equal(rig.message.value.data, rig.event.payload.data);
	assert_false(rig.message.transient);
	assert_ptr_equal(rig.message.headers[0].value.data, rig.fields[ID].data);
	rig.options.key = ENCODE_PLAIN;
	rig.options.value = ENCODE_JSON;
	rig.event.withheld = true;
	rig.event.payload = SLICE_NULL;
	assert_int_equal(encode(&rig), REJECT_NONE);
	assert_null(rig.message.value.data);
	assert_ptr_equal(rig.message.key.data, rig.fields[KEY].data);
	tear_down(&rig);
}

static void test_envelope(void **state)
{
	char namespace[] = "shop.public.outbox", version[] = "version";
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.members[0] = type_member;
	rig.members[1] = text_member;
	rig.options.envelope = (struct config_strings){rig.members, 2};
	rig.options.value = ENCODE_JSON;
	rig.options.expand = true;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value,
	   "{\"payload\":{\"a\":1.1},\"eventType\":\"order\",\"who\":\"order-u-1\"}");
	rig.options.value = ENCODE_STRING;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "Struct{payload=Struct{a=1.1},eventType=order,who=order-u-1}");
	rig.options.value = ENCODE_JSON_SCHEMA;
	rig.options.schema_namespace = namespace;
	rig.options.schema_version = version;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value,
	   "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":[{"
	   "\"type\":\"double\",\"optional\":true,\"field\":\"a\"}],\"optional\":true,\"name\":"
	   "\"body\",\"field\":\"payload\"},{\"type\":\"string\",\"optional\":false,\"field\":"
	   "\"eventType\"},{\"type\":\"string\",\"optional\":false,\"field\":\"who\"}],"
	   "\"optional\":false,\"name\":\"shop.public.outbox.order.Value\",\"version\":3},"
	   "\"payload\":{\"payload\":{\"a\":1.1},\"eventType\":\"order\",\"who\":\"order-u-1\"}}");
	rig.fields[VERSION] = SLICE_NULL;
	rig.event.payload = slice_of("[]");
	assert_int_equal(encode(&rig), REJECT_ENCODING);
	assert_non_null(strstr(rig.err.text, "an envelope has no place for an empty array"));
	tear_down(&rig);
}

static void test_tombstones(void **state)
{
	static const struct {
		const char *payload;
		bool tombstone;
	} cases[] = {{"", true},      {" \t\n\x01", true}, {"\xc2\xa0", false},
		     {"null", false}, {"{}", false},	   {NULL, true}};
	static const int formats[] = {ENCODE_PLAIN, ENCODE_STRING, ENCODE_JSON};
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.payload.kind = FIELD_TEXT;
	rig.options.tombstone_on_empty = true;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t j = 0; j < 3; j++) {
			rig.options.value = formats[j];
			rig.event.payload = slice_of(cases[i].payload);
			assert_int_equal(encode(&rig), REJECT_NONE);
			assert_int_equal(rig.message.value.data == NULL, cases[i].tombstone);
		}
	rig.payload.kind = FIELD_BYTES;
	rig.event.payload = slice_of("");
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "\"\"");
	tear_down(&rig);
}

static void test_bytes(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.payload.kind = FIELD_BYTES;
	rig.options.value = ENCODE_JSON;
	rig.options.expand = true;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "\"eyJhIjogMS4xMH0=\"");
	rig.options.value = ENCODE_STRING;
	rig.options.binary = BINARY_HEX;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "7b2261223a20312e31307d");
	tear_down(&rig);
}

/* The blanks that fill a char(n) up are a part of it to a converter, and its text lacks them. */
static void test_char_payload(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.payload = (struct field_type){.kind = FIELD_CHAR, .precision = 12};
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "{\"a\": 1.10}");
	rig.options.value = ENCODE_STRING;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "{\"a\": 1.10} ");
	rig.options.value = ENCODE_JSON;
	rig.options.expand = true;
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "{\"a\":1.1}");
	rig.event.payload = slice_of("no JSON");
	assert_int_equal(encode(&rig), REJECT_NONE);
	is(rig.message.value, "\"no JSON     \"");
	rig.event.payload = slice_of("");
	rig.options.tombstone_on_empty = true;
	assert_int_equal(encode(&rig), REJECT_NONE);
	assert_null(rig.message.value.data);
	tear_down(&rig);
}

static void test_rejects(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	rig.options.value = ENCODE_JSON;
	rig.options.expand = true;
	rig.event.payload = slice_of("[1]");
	assert_int_equal(encode(&rig), REJECT_ENCODING);
	assert_string_equal(rig.err.text,
			    "the payload cannot be expanded: it is an array, and only "
			    "an object can be; change it, or set encode.expand = "
			    "false");
	rig.options.key = ENCODE_JSON;
	rig.fields[KEY] = slice_of("x");
	assert_int_equal(encode(&rig), REJECT_ENCODING);
	tear_down(&rig);
}

static void test_columns(void **state)
{
	char topic[] = "t", key[] = "${tags}", header[] = "h=${box}", part[] = "part",
	     *headers[] = {header};
	struct config config = {
	    .outbox.columns = {none, none, none, none, none, none, none, none, none},
	    .route = {topic, key, {headers, 1}, .partition = part, .timestamp = none},
	    .encode = {.schema_version = none}};
	const struct field_type unknown = {.kind = FIELD_UNKNOWN}, big = {.kind = FIELD_INT64},
				number = {.kind = FIELD_INT32};
	struct error err;

	(void)state;
	assert_true(encode_check_column(&config, "tags", &unknown, &err));
	config.encode.key = ENCODE_JSON;
	assert_false(encode_check_column(&config, "tags", &unknown, &err));
	assert_non_null(strstr(err.text, "route.key writes column \"tags\""));
	assert_true(encode_check_column(&config, "tags", &big, &err));
	assert_true(encode_check_column(&config, "box", &unknown, &err));
	config.encode.headers = ENCODE_SIMPLE;
	assert_false(encode_check_column(&config, "box", &unknown, &err));
	assert_false(encode_check_column(&config, "part", &big, &err));
	assert_string_equal(err.text, "route.partition names column \"part\", which is not of type "
				      "integer or smallint; name another one");
	assert_true(encode_check_column(&config, "part", &number, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_in_json),	    cmocka_unit_test(test_null),
	    cmocka_unit_test(test_parts_that_stay), cmocka_unit_test(test_envelope),
	    cmocka_unit_test(test_tombstones),	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_char_payload),    cmocka_unit_test(test_rejects),
	    cmocka_unit_test(test_columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
