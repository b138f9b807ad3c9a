/* SPDX-License-Identifier: ISC */
/*
 * route.c - where an event goes: topic, key and headers by templates over its fields
 */
#include "core/route.h"

#include "base/failpoints.h"
#include "base/xalloc.h"
#include "civil.h"
#include "core/template.h"
#include "headers.h"
#include "route_topic.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Scratch space beyond this is given back: no broker takes a record with such a key. */
enum { SCRATCH_KEEP = 1024 * 1024 };

struct named_template {
	char *name; /* owned */
	size_t name_len;
	struct template *value; /* owned */
};

struct route {
	struct topic_route *topic; /* owned */
	struct template *key;
	struct named_template *named; /* owned; the configured headers */
	size_t named_count;

	int partition, timestamp; /* fields; -1: none */

	struct headers headers;
	char *scratch; /* owned; keys and header values that are no single field; never NULL */
	size_t scratch_size;
};

/* ---- compiling ---- */

/* An empty key would put every event into one partition; which is never meant. */
static bool compile_key(struct route *route, const char *text, route_field_fn field, void *arg,
			struct error *err)
{
	if (*text == '\0')
		return error_set(err, "route.key is empty; name the field that orders the events, "
				      "such as ${aggregate_id}");
	return route_compile(&route->key, "route.key", text, field, arg, err);
}

static bool compile_header(struct route *route, const char *text, route_field_fn field, void *arg,
			   struct error *err)
{
	struct named_template *named = &route->named[route->named_count];
	size_t len = strcspn(text, "=");

	if (len == 0 || text[len] == '\0')
		return error_set(err, "route.headers \"%s\" has no name; write name=template",
				 text);
	if (text[0] == ' ' || text[len - 1] == ' ' || text[len + 1] == ' ')
		return error_set(err,
				 "route.headers \"%s\" has a space around its name or \"=\"; write "
				 "name=template without",
				 text);
	if (!route_compile(&named->value, "route.headers", text + len + 1, field, arg, err))
		return false;
	named->name = xasprintf("%.*s", (int)len, text);
	named->name_len = len;
	route->named_count++;
	return true;
}

static bool compile_column(int *index, const char *option, const char *column, route_field_fn field,
			   void *arg, struct error *err)
{
	*index = route_is_given(column) ? field(column, arg) : -1;
	if (*index >= 0 || !route_is_given(column))
		return true;
	return error_set(
	    err,
	    "%s \"%s\": there is no such field; name a column by its part or its name, "
	    "but not payload, headers, or a part that the table has no column for",
	    option, column);
}

static bool compile_all(struct route *route, const struct route_rules *rules, route_field_fn field,
			void *arg, struct error *err)
{
	bool ok = (route->topic = topic_route_new(rules, field, arg, err)) != NULL &&
		  compile_key(route, rules->key, field, arg, err);

	for (size_t i = 0; ok && i < rules->headers->count; i++)
		ok = compile_header(route, rules->headers->items[i], field, arg, err);
	return ok &&
	       compile_column(&route->partition, "route.partition", rules->partition, field, arg,
			      err) &&
	       compile_column(&route->timestamp, "route.timestamp", rules->timestamp, field, arg,
			      err);
}

struct route *route_new(const struct route_rules *rules, route_field_fn field, void *arg,
			struct error *err)
{
	struct route *route = xcalloc(1, sizeof(*route));

	route->scratch_size = 256;
	route->scratch = xmalloc(route->scratch_size);
	route->named = xcalloc(rules->headers->count + 1, sizeof(*route->named));
	if (!compile_all(route, rules, field, arg, err))
		route_free(&route);
	return route;
}

struct route_rules route_rules_of(const struct config *config)
{
	return (struct route_rules){.topic = config->route.topic,
				    .key = config->route.key,
				    .headers = &config->route.headers,
				    .topic_regex = config->route.topic_regex,
				    .topic_replacement = config->route.topic_replacement,
				    .partition = config->route.partition,
				    .timestamp = config->route.timestamp};
}

void route_free(struct route **route)
{
	struct route *r = *route;

	if (r == NULL)
		return;
	for (size_t i = 0; i < r->named_count; i++) {
		free(r->named[i].name);
		template_free(&r->named[i].value);
	}
	free(r->named);
	topic_route_free(&r->topic);
	template_free(&r->key);
	headers_free(&r->headers);
	free(r->scratch);
	free(r);
	*route = NULL;
}

/* ---- routing ---- */

/* Adds to *size what the template takes of the scratch space. */
static bool measure(const struct template *tpl, const struct slice *fields, size_t *size,
		    const char **null_field)
{
	struct slice borrowed;
	size_t len;

	if (template_borrow(tpl, fields, &borrowed))
		return true;
	if (!template_measure(tpl, fields, &len, null_field))
		return false;
	*size += len;
	return true;
}

static enum reject_reason measure_all(const struct route *route, const struct slice *fields,
				      size_t *size, struct error *err)
{
	const char *null_field;

	*size = 0;
	if (!measure(route->key, fields, size, &null_field))
		return route_reject_null(err, REJECT_KEY, "route.key", null_field);
	for (size_t i = 0; i < route->named_count; i++)
		if (!measure(route->named[i].value, fields, size, &null_field))
			return route_reject_null(err, REJECT_HEADERS, "route.headers", null_field);
	return REJECT_NONE;
}

/* Before anything of this event is rendered: growing moves the space. */
static void make_room(struct route *route, size_t size)
{
	if (size > route->scratch_size)
		route->scratch_size =
		    size > route->scratch_size * 2 ? size : route->scratch_size * 2;
	else if (route->scratch_size > SCRATCH_KEEP && size <= SCRATCH_KEEP)
		route->scratch_size = SCRATCH_KEEP;
	else
		return;
	free(route->scratch);
	route->scratch = xmalloc(route->scratch_size);
}

static struct slice render(const struct template *tpl, const struct slice *fields, char **out)
{
	struct slice bytes;

	if (template_borrow(tpl, fields, &bytes))
		return bytes;
	bytes.data = *out;
	*out = template_write(tpl, fields, *out);
	bytes.len = (size_t)(*out - bytes.data);
	return bytes;
}

static void render_all(struct route *route, const struct slice *fields, struct slice *key)
{
	char *out = route->scratch;

	*key = render(route->key, fields, &out);
	headers_clear(&route->headers);
	for (size_t i = 0; i < route->named_count; i++) {
		const struct named_template *named = &route->named[i];
		struct slice value = render(named->value, fields, &out);

		if (value.data != NULL)
			headers_add(&route->headers, (struct slice){named->name, named->name_len},
				    value);
	}
	assert(out <= route->scratch + route->scratch_size);
}

/* ---- partition and time ---- */

static enum reject_reason reject_column(struct error *err, const char *option, const char *problem)
{
	error_set(err, "%s %s; fix the column, or make it NULL", option, problem);
	return REJECT_ENCODING;
}

static enum reject_reason route_partition(struct slice text, struct message *message,
					  struct error *err)
{
	int64_t number = 0;

	if (text.data == NULL)
		return REJECT_NONE;
	if (!civil_integer(text, &number))
		return reject_column(err, "route.partition", "is no whole number");
	if (number < 0 || number > INT32_MAX)
		return reject_column(err, "route.partition", "is no number of a partition");
	message->placed = true;
	message->partition = (int32_t)number;
	return REJECT_NONE;
}

/* 0 is for librdkafka what is not given; a millisecond later is next to it. */
static enum reject_reason route_timestamp(struct slice text, struct message *message,
					  struct error *err)
{
	int64_t us;

	if (text.data == NULL)
		return REJECT_NONE;
	if (!civil_timestamp(text, &us))
		return reject_column(err, "route.timestamp", "is no point in time");
	if (us < 0)
		return reject_column(err, "route.timestamp",
				     "is before 1970, which Kafka does not take");
	message->timestamp_ms = us / 1000 > 0 ? us / 1000 : 1;
	return REJECT_NONE;
}

enum reject_reason route_event(struct route *route, const struct event *event,
			       struct message *message, struct error *err)
{
	size_t size;
	enum reject_reason reason =
	    topic_route_event(route->topic, event->fields, &message->topic, &message->routed, err);

	if (reason == REJECT_NONE)
		reason = measure_all(route, event->fields, &size, err);
	message->placed = false;
	message->timestamp_ms = 0;
	if (reason == REJECT_NONE && route->partition >= 0)
		reason = route_partition(event->fields[route->partition], message, err);
	if (reason == REJECT_NONE && route->timestamp >= 0)
		reason = route_timestamp(event->fields[route->timestamp], message, err);
	if (reason != REJECT_NONE)
		return reason;
	make_room(route, size);
	render_all(route, event->fields, &message->key);
	message->configured = route->headers.count;
	if (event->headers.data != NULL && !PLANTED("no-headers") &&
	    !headers_parse(&route->headers, event->headers, err))
		return REJECT_HEADERS;
	message->headers = route->headers.items;
	message->header_count = route->headers.count;
	message->value = event->payload;
	message->transient = false;
	if (PLANTED("null-is-empty") && message->value.data == NULL)
		message->value = slice_of("");
	return REJECT_NONE;
}

/* ---- copies of what was rejected ---- */

static const char *const note_names[COPY_NOTES] = {
    [COPY_REASON] = "dead-letter-reason",
    [COPY_ERROR] = "dead-letter-error",
    [COPY_TOPIC] = "dead-letter-topic",
    [COPY_OUTBOX] = "dead-letter-outbox",
    [COPY_ID] = "dead-letter-id",
    [COPY_AT] = "dead-letter-at",
    [COPY_ATTEMPTS] = "dead-letter-attempts",
};
static const char event_id_name[] = "dead-letter-event-id";
static const char own_headers_name[] = "dead-letter-headers";

static void add_note(struct route *route, const char *name, struct slice value)
{
	if (value.data != NULL)
		headers_add(&route->headers, slice_of(name), value);
}

static void add_notes(struct route *route, const struct event *event)
{
	for (int i = 0; i < COPY_NOTES; i++)
		if (note_names[i] != NULL)
			add_note(route, note_names[i], event->copy[i]);
	add_note(route, event_id_name, event->identity);
}

/* All or none: what is left of a faulty text would look like the whole. */
static void add_own_headers(struct route *route, const struct event *event)
{
	struct error ignored;
	size_t before = route->headers.count;

	if (event->headers.data == NULL || headers_parse(&route->headers, event->headers, &ignored))
		return;
	route->headers.count = before;
	add_note(route, own_headers_name, event->headers);
}

static void add_configured(struct route *route, const struct slice *fields, char *out)
{
	const char *null_field;
	size_t ignored = 0;

	for (size_t i = 0; i < route->named_count; i++) {
		const struct named_template *named = &route->named[i];

		if (!measure(named->value, fields, &ignored, &null_field))
			continue;
		add_note(route, named->name, render(named->value, fields, &out));
	}
}

void route_copy(struct route *route, const struct event *event, struct message *message)
{
	const char *null_field;
	size_t size = 0;
	bool has_key = measure(route->key, event->fields, &size, &null_field);

	for (size_t i = 0; i < route->named_count; i++)
		measure(route->named[i].value, event->fields, &size, &null_field);
	make_room(route, size);
	char *out = route->scratch;
	*message = (struct message){
	    .topic = event->copy[COPY_TO], .routed = event->copy[COPY_TO], .value = event->payload};
	message->key = has_key ? render(route->key, event->fields, &out) : SLICE_NULL;
	headers_clear(&route->headers);
	add_configured(route, event->fields, out);
	add_own_headers(route, event);
	add_notes(route, event);
	message->headers = route->headers.items;
	message->header_count = route->headers.count;
}

struct slice route_key(struct route *route, const struct event *event)
{
	const char *null_field;
	size_t size = 0;

	if (!measure(route->key, event->fields, &size, &null_field))
		return SLICE_NULL;
	make_room(route, size);
	char *out = route->scratch;
	return render(route->key, event->fields, &out);
}

bool route_topic_is_constant(const struct route *route)
{
	return topic_route_is_constant(route->topic);
}
