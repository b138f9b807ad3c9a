/* SPDX-License-Identifier: ISC */
/*
 * fuzz_template.c - templates and routes from any bytes, held against a naive expansion
 *
 * The input's lines: a template, then the values of the fields a, b and c ("\" alone is NULL).
 */
#include "core/route.h"
#include "core/template.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_template: %s\n", what);
	abort();
}

static int field(const char *name, void *arg)
{
	(void)arg;
	return name[0] >= 'a' && name[0] < 'a' + FIELDS && name[1] == '\0' ? name[0] - 'a' : -1;
}

static void count_field(const char *name, void *arg)
{
	unsigned *counts = arg;
	int i = field(name, NULL);

	if (i >= 0)
		counts[i]++;
}

/* What text expands to, in one pass over the text; false where it has no meaning. *nulls counts the
 * NULL fields in it. */
static bool expand(const char *text, const struct slice *fields, char *out, size_t *len,
		   unsigned *nulls)
{
	*len = 0;
	*nulls = 0;
	while (*text != '\0') {
		if (strncmp(text, "$$", 2) == 0) {
			out[(*len)++] = '$';
			text += 2;
		} else if (*text != '$') {
			out[(*len)++] = *text++;
		} else if (text[1] == '{' && text[2] >= 'a' && text[2] < 'a' + FIELDS &&
			   text[3] == '}') {
			struct slice value = fields[text[2] - 'a'];

			*nulls += value.data == NULL;
			if (value.len > 0)
				memcpy(out + *len, value.data, value.len);
			*len += value.len;
			text += 4;
		} else {
			return false;
		}
	}
	return true;
}

static void check_rendering(const struct template *tpl, const struct slice *fields,
			    struct slice expected, unsigned nulls)
{
	struct slice borrowed;
	const char *null_field = NULL;
	size_t len;
	char *out;

	if (template_borrow(tpl, fields, &borrowed))
		must(nulls ? borrowed.data == NULL : slice_equal(borrowed, expected),
		     "borrowed bytes differ");
	if (!template_measure(tpl, fields, &len, &null_field)) {
		must(nulls > 0 && field(null_field, NULL) >= 0, "a NULL that is none");
		return;
	}
	must(nulls == 0 && len == expected.len, "the length differs");
	out = malloc(len ? len : 1);
	must(template_write(tpl, fields, out) == out + len, "more or less written than measured");
	must(memcmp(out, expected.data, len) == 0, "rendered bytes differ");
	free(out);
}

static void check_message(const struct message *message, struct slice expected)
{
	must(route_topic_is_legal(message->topic), "an illegal topic");
	must(message->topic.data[message->topic.len] == '\0', "a topic that is not terminated");
	must(slice_equal(message->topic, expected), "the topic differs");
	must(slice_equal(message->key, expected), "the key differs");
	must(message->header_count == 1, "the number of headers differs");
	must(slice_equal(message->headers[0].name, slice_of("h")), "the header's name differs");
	must(message->headers[0].value.len == expected.len + 1, "the header's length differs");
	must(memcmp(message->headers[0].value.data, expected.data, expected.len) == 0,
	     "the header differs");
}

/* The template as topic, key and (with something behind it) header, twice: the second time the
 * topic is a known one. */
static void check_route(const char *text, const struct slice *fields, struct slice expected,
			unsigned nulls)
{
	char header[4200];
	char *items[] = {header};
	struct config_strings headers = {items, 1};
	const struct route_rules rules = {.topic = text, .key = text, .headers = &headers};
	struct event event = {.fields = fields};
	struct message message;
	struct error err;
	struct route *route;

	snprintf(header, sizeof(header), "h=%s-", text);
	route = route_new(&rules, field, NULL, &err);
	if (route == NULL)
		return;
	for (int i = 0; i < 2; i++) {
		enum reject_reason reason = route_event(route, &event, &message, &err);

		must(nulls == 0 || reason == REJECT_TOPIC, "NULL is not a reject");
		must(nulls || (reason == REJECT_NONE) == route_topic_is_legal(expected),
		     "a legal topic refused or an illegal one taken");
		if (reason == REJECT_NONE)
			check_message(&message, expected);
	}
	route_free(&route);
}

static void check_fields(const char *text)
{
	const struct config_strings none = {NULL, 0};
	const struct route_rules rules = {.topic = "t", .key = text, .headers = &none};
	unsigned counts[FIELDS] = {0};
	struct error err;

	if (!route_fields(&rules, count_field, counts, &err))
		return;
	for (int i = 0; i < FIELDS; i++) {
		char reference[] = {'$', '{', (char)('a' + i), '}', '\0'};

		must(counts[i] <= 1, "a field told twice");
		must(!counts[i] || strstr(text, reference), "a field that is not there");
	}
}

static void check(const char *text, const struct slice *fields, char *space)
{
	struct error err = {""};
	struct template *tpl = template_new(text, field, NULL, &err);
	struct slice expected = {space, 0};
	unsigned nulls;
	bool means = expand(text, fields, space, &expected.len, &nulls);

	must((tpl != NULL) == means, "parsed otherwise than the naive expansion");
	must(means || err.text[0] != '\0', "no words for a refusal");
	if (tpl != NULL) {
		check_rendering(tpl, fields, expected, nulls);
		if (text[0] != ' ')
			check_route(text, fields, expected, nulls);
	}
	check_fields(text);
	template_free(&tpl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice fields[FIELDS];
	char *copy, *line, *rest, *space;

	if (size > 4096)
		return 0;
	copy = calloc(size + 1, 1);
	memcpy(copy, data ? (const void *)data : "", size);
	rest = copy;
	line = strsep(&rest, "\n");
	for (int i = 0; i < FIELDS; i++) {
		fields[i] = slice_of(rest ? strsep(&rest, "\n") : "");
		if (slice_equal(fields[i], slice_of("\\")))
			fields[i] = SLICE_NULL;
	}
	/* Every character of the template may stand for all of a value. */
	space = malloc((size + 1) * (size + 1));
	check(line, fields, space);
	free(space);
	free(copy);
	return 0;
}
