/* SPDX-License-Identifier: ISC */
/*
 * encode.c - what a record of each format costs, from fields to bytes
 *
 * No server: one event is routed and encoded again and again on one core.
 *   cmake --build build --target bench_encode && build/tests/bench_encode [seconds for each]
 */
#include "core/encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TYPE, KEY, ID, AT, FIELDS };

static const char *const names[FIELDS] = {"type", "key", "id", "at"};
static const struct field_type types[FIELDS] = {
    {.kind = FIELD_TEXT, .required = true, .precision = -1},
    {.kind = FIELD_INT64, .precision = -1},
    {.kind = FIELD_UUID, .required = true, .precision = -1},
    {.kind = FIELD_TIMESTAMP_UTC, .precision = -1}};

static int lookup(const char *name, void *arg)
{
	(void)arg;
	for (int i = 0; i < FIELDS; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/* Some 300 bytes, as in the other benchmarks. */
static const char payload[] =
    "{\"id\": 1234567, \"lines\": [{\"sku\": \"A-1001\", \"count\": 2, \"price\": 12.95}, "
    "{\"sku\": "
    "\"B-2002\", \"count\": 1, \"price\": 99.9}], \"status\": \"created\", \"address\": {\"city\": "
    "\"Brno\", \"street\": \"Kobli\xc5\xben\xc3\xa1\", \"number\": \"17\", \"country\": \"CZ\"}, "
    "\"customer\": \"5f0c0c6e-7d5e-4a53-9f0a-3f2b6f6a2c11\", \"note\": \"leave it at the door\"}";

static char none[] = "", space[] = "shop.public.outbox", id_header[] = "id=${id}",
	    type_header[] = "type=${type}", type_member[] = "eventType=${type}",
	    at_member[] = "at=${at}";
static char *header_items[] = {id_header, type_header};
static char *member_items[] = {type_member, at_member};
static const struct config_strings header_list = {header_items, 2};

struct setting {
	const char *name;
	int key, value, headers;
	bool expand, envelope;
};

static const struct setting settings[] = {
    {"routed only (the default)", ENCODE_PLAIN, ENCODE_PLAIN, ENCODE_PLAIN, false, false},
    {"string, simple headers", ENCODE_STRING, ENCODE_STRING, ENCODE_SIMPLE, false, false},
    {"json", ENCODE_JSON, ENCODE_JSON, ENCODE_JSON, false, false},
    {"json, expanded", ENCODE_JSON, ENCODE_JSON, ENCODE_JSON, true, false},
    {"json, expanded, envelope of 2", ENCODE_JSON, ENCODE_JSON, ENCODE_JSON, true, true},
    {"json-schema", ENCODE_JSON_SCHEMA, ENCODE_JSON_SCHEMA, ENCODE_JSON_SCHEMA, false, false},
    {"json-schema, expanded", ENCODE_JSON_SCHEMA, ENCODE_JSON_SCHEMA, ENCODE_JSON_SCHEMA, true,
     false},
};

/* Of this process: others are on the machine. */
static int64_t cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void must(bool good, const struct error *err)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", err->text);
	exit(1);
}

static void run(const struct setting *setting, int64_t us)
{
	const struct config_encoding options = {
	    .key = setting->key,
	    .value = setting->value,
	    .headers = setting->headers,
	    .expand = setting->expand,
	    .envelope = {member_items, setting->envelope ? 2 : 0},
	    .schema_namespace = setting->envelope ? space : none,
	    .schema_version = none};
	const struct route_rules rules = {
	    .topic = "events.${type}", .key = "${key}", .headers = &header_list};
	const struct field_type json = {.kind = FIELD_JSON, .precision = -1};
	const struct slice fields[FIELDS] = {slice_of("order"), slice_of("123456789"),
					     slice_of("5f0c0c6e-7d5e-4a53-9f0a-3f2b6f6a2c11"),
					     slice_of("2024-02-29 12:34:56.789012+00")};
	const struct event event = {.fields = fields, .payload = slice_of(payload)};
	struct message message;
	struct error err;
	struct route *route = route_new(&rules, lookup, NULL, &err);
	struct encoder *encoder = encoder_new(&options, &rules, "payload", lookup, NULL, &err);
	int64_t events = 0, bytes = 0, begin = cpu_us(), now = begin;

	must(route != NULL && encoder != NULL, &err);
	encoder_types(encoder, types, FIELDS, &json);
	for (; now - begin < us; now = cpu_us())
		for (int i = 0; i < 1000; i++, events++) {
			must(route_event(route, &event, &message, &err) == REJECT_NONE, &err);
			if (encode_is_needed(&options))
				must(encode_event(encoder, &event, &message, &err) == REJECT_NONE,
				     &err);
			bytes += (int64_t)message.value.len;
		}
	printf("| %-30s | %8.3f | %6" PRId64 " |\n", setting->name,
	       (double)(now - begin) / (double)events, bytes / events);
	encoder_free(&encoder);
	route_free(&route);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;

	printf("| format                         | us/event | value's bytes |\n|---|---|---|\n");
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		run(&settings[i], (int64_t)(seconds * 1e6));
	return 0;
}
