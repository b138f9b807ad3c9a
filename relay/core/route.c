/* SPDX-License-Identifier: ISC */
/*
 * route.c - where an event goes: topic, key and headers by templates over its fields
 */
#include "core/route.h"

#include "base/failpoints.h"
#include "base/xalloc.h"
#include "core/template.h"
#include "headers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TOPIC_MAX = 249 };

/* Scratch space beyond this is given back: no broker takes a record with such a key. */
enum { SCRATCH_KEEP = 1024 * 1024 };

struct named_template {
	char *name; /* owned */
	size_t name_len;
	struct template *value; /* owned */
};

struct route {
	char *topic_text; /* owned; as configured, for messages */
	struct template *topic, *key;
	struct named_template *named; /* owned; the configured headers */
	size_t named_count;

	struct headers headers;
	char *scratch; /* owned; keys and header values that are no single field; never NULL */
	size_t scratch_size;

	/* The last legal topic stands in names[legal] and need not be checked again. */
	char names[2][TOPIC_MAX + 1];
	unsigned legal;
	size_t legal_len;
};

/* ---- topic names ---- */

static bool is_topic_character(char c)
{
	static const bool allowed[256] = {
	    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true,
	    ['.'] = true,	  ['_'] = true,		['-'] = true,
	};

	return allowed[(unsigned char)c];
}

#define OTHER_CHARACTER "has a character other than a-z, A-Z, 0-9, '.', '_' and '-'"

static const char *topic_problem(struct slice topic)
{
	if (topic.len == 0)
		return "is empty";
	if (topic.len > TOPIC_MAX)
		return "is longer than 249 characters";
	for (size_t i = 0; i < topic.len; i++)
		if (!is_topic_character(topic.data[i]))
			return OTHER_CHARACTER;
	if (topic.data[0] == '.' && (topic.len == 1 || (topic.len == 2 && topic.data[1] == '.')))
		return "is \".\" or \"..\"";
	if (topic.len >= 2 && memcmp(topic.data, "__", 2) == 0)
		return "begins with \"__\", as only Kafka's own topics do";
	return NULL;
}

bool route_topic_is_legal(struct slice topic)
{
	return topic_problem(topic) == NULL;
}

/* ---- compiling ---- */

static bool compile(struct template **tpl, const char *option, const char *text,
		    route_field_fn field, void *arg, struct error *err)
{
	struct error inner;

	*tpl = template_new(text, field, arg, &inner);
	return *tpl != NULL || error_set(err, "%s \"%s\": %s", option, text, inner.text);
}

/* What stands around the fields of a template that parses: a fault in it would be every event's. */
static bool literals_are_legal(const char *text)
{
	for (; *text != '\0'; text++)
		if (text[0] == '$' && text[1] == '{')
			text = strchr(text, '}');
		else if (!is_topic_character(*text))
			return false;
	return true;
}

static bool compile_topic(struct route *route, const char *text, route_field_fn field, void *arg,
			  struct error *err)
{
	struct slice name;
	const char *problem;

	route->topic_text = xstrdup(text);
	if (!compile(&route->topic, "route.topic", text, field, arg, err))
		return false;
	if (!template_is_constant(route->topic))
		return literals_are_legal(text) || error_set(err,
							     "route.topic \"%s\" " OTHER_CHARACTER
							     " beside its fields; take it out",
							     text);
	template_borrow(route->topic, NULL, &name);
	problem = topic_problem(name);
	if (problem != NULL)
		return error_set(err, "route.topic \"%s\" %s; give a legal topic name", text,
				 problem);
	return true;
}

/* An empty key would put every event into one partition; which is never meant. */
static bool compile_key(struct route *route, const char *text, route_field_fn field, void *arg,
			struct error *err)
{
	if (*text == '\0')
		return error_set(err, "route.key is empty; name the field that orders the events, "
				      "such as ${aggregate_id}");
	return compile(&route->key, "route.key", text, field, arg, err);
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
	if (!compile(&named->value, "route.headers", text + len + 1, field, arg, err))
		return false;
	named->name = xasprintf("%.*s", (int)len, text);
	named->name_len = len;
	route->named_count++;
	return true;
}

struct route *route_new(const char *topic, const char *key, const struct config_strings *headers,
			route_field_fn field, void *arg, struct error *err)
{
	struct route *route = xcalloc(1, sizeof(*route));
	bool ok = compile_topic(route, topic, field, arg, err) &&
		  compile_key(route, key, field, arg, err);

	route->scratch_size = 256;
	route->scratch = xmalloc(route->scratch_size);
	route->named = xcalloc(headers->count, sizeof(*route->named));
	for (size_t i = 0; ok && i < headers->count; i++)
		ok = compile_header(route, headers->items[i], field, arg, err);
	if (!ok)
		route_free(&route);
	return route;
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
	template_free(&r->topic);
	template_free(&r->key);
	headers_free(&r->headers);
	free(r->scratch);
	free(r->topic_text);
	free(r);
	*route = NULL;
}

/* ---- checking ---- */

const char *route_column(const struct config_columns *columns, const char *field)
{
	const struct {
		const char *part, *column;
	} parts[] = {
	    {"id", columns->id},
	    {"event_id", columns->event_id},
	    {"aggregate_type", columns->aggregate_type},
	    {"aggregate_id", columns->aggregate_id},
	    {"event_type", columns->event_type},
	    {"created_at", columns->created_at},
	    {"payload", ""},
	    {"headers", ""},
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strcmp(parts[i].part, field) == 0)
			return *parts[i].column != '\0' ? parts[i].column : NULL;
	return field;
}

/* A route_field_fn that knows every field there may be. */
static int any_column(const char *name, void *arg)
{
	const struct config_columns *const *columns = arg;

	return route_column(*columns, name) != NULL ? 0 : -1;
}

bool route_check(const char *option, const char *text, const struct config_columns *columns,
		 struct error *err)
{
	struct route *route = xcalloc(1, sizeof(*route));
	bool ok;

	route->named = xcalloc(1, sizeof(*route->named));
	if (strcmp(option, "route.topic") == 0)
		ok = compile_topic(route, text, any_column, &columns, err);
	else if (strcmp(option, "route.key") == 0)
		ok = compile_key(route, text, any_column, &columns, err);
	else
		ok = compile_header(route, text, any_column, &columns, err);
	route_free(&route);
	return ok;
}

/* ---- which fields ---- */

struct collector {
	char **names; /* owned, each too */
	int count;
	void (*each)(const char *name, void *arg);
	void *arg;
};

/* A route_field_fn that knows every name, and reports each once. */
static int collect(const char *name, void *arg)
{
	struct collector *collector = arg;

	for (int i = 0; i < collector->count; i++)
		if (strcmp(collector->names[i], name) == 0)
			return i;
	collector->names =
	    xrealloc(collector->names, ((size_t)collector->count + 1) * sizeof(char *));
	collector->names[collector->count] = xstrdup(name);
	collector->each(name, collector->arg);
	return collector->count++;
}

bool route_fields(const char *topic, const char *key, const struct config_strings *headers,
		  void (*each)(const char *name, void *arg), void *arg, struct error *err)
{
	struct collector collector = {.each = each, .arg = arg};
	struct route *route = route_new(topic, key, headers, collect, &collector, err);
	bool ok = route != NULL;

	route_free(&route);
	for (int i = 0; i < collector.count; i++)
		free(collector.names[i]);
	free(collector.names);
	return ok;
}

static void count_field(const char *name, void *arg)
{
	(void)name;
	++*(size_t *)arg;
}

bool route_check_fields(const char *topic, const char *key, const struct config_strings *headers,
			struct error *err)
{
	size_t count = 0;

	if (!route_fields(topic, key, headers, count_field, &count, err) ||
	    count <= ROUTE_FIELDS_MAX)
		return true;
	return error_set(err, "route names %zu different fields, more than %d; name fewer", count,
			 ROUTE_FIELDS_MAX);
}

/* ---- routing ---- */

static enum reject_reason reject_null(struct error *err, enum reject_reason reason,
				      const char *option, const char *field)
{
	error_set(err, "%s needs the field \"%s\", which is NULL; fill it in or route by another",
		  option, field);
	return reason;
}

static enum reject_reason reject_topic(const struct route *route, const char *problem,
				       struct error *err)
{
	error_set(err,
		  "the topic that route.topic \"%s\" gives %s; change the template or the "
		  "fields it names",
		  route->topic_text, problem);
	return REJECT_TOPIC;
}

static enum reject_reason route_topic(struct route *route, const struct slice *fields,
				      struct slice *topic, struct error *err)
{
	char *fresh = route->names[!route->legal];
	const char *null_field, *problem;
	size_t len;

	if (!template_measure(route->topic, fields, &len, &null_field))
		return reject_null(err, REJECT_TOPIC, "route.topic", null_field);
	if (len <= TOPIC_MAX)
		template_write(route->topic, fields, fresh);
	if (len == 0 || len != route->legal_len ||
	    memcmp(fresh, route->names[route->legal], len) != 0) {
		problem = topic_problem((struct slice){fresh, len});
		if (problem != NULL)
			return reject_topic(route, problem, err);
		fresh[len] = '\0';
		route->legal = !route->legal;
		route->legal_len = len;
	}
	*topic = (struct slice){route->names[route->legal], route->legal_len};
	return REJECT_NONE;
}

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
		return reject_null(err, REJECT_KEY, "route.key", null_field);
	for (size_t i = 0; i < route->named_count; i++)
		if (!measure(route->named[i].value, fields, size, &null_field))
			return reject_null(err, REJECT_HEADERS, "route.headers", null_field);
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

enum reject_reason route_event(struct route *route, const struct event *event,
			       struct message *message, struct error *err)
{
	size_t size;
	enum reject_reason reason = route_topic(route, event->fields, &message->topic, err);

	if (reason == REJECT_NONE)
		reason = measure_all(route, event->fields, &size, err);
	if (reason != REJECT_NONE)
		return reason;
	make_room(route, size);
	render_all(route, event->fields, &message->key);
	if (event->headers.data != NULL && !PLANTED("no-headers") &&
	    !headers_parse(&route->headers, event->headers, err))
		return REJECT_HEADERS;
	message->headers = route->headers.items;
	message->header_count = route->headers.count;
	message->value = event->payload;
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
	*message = (struct message){.topic = event->copy[COPY_TO], .value = event->payload};
	message->key = has_key ? render(route->key, event->fields, &out) : SLICE_NULL;
	headers_clear(&route->headers);
	add_configured(route, event->fields, out);
	add_own_headers(route, event);
	add_notes(route, event);
	message->headers = route->headers.items;
	message->header_count = route->headers.count;
}

bool route_check_dead_letters(const char *text, const char *topic, struct error *err)
{
	const char *problem = *text != '\0' ? topic_problem(slice_of(text)) : NULL;

	if (strstr(text, "${") != NULL)
		return error_set(err,
				 "route.dead_letter_topic \"%s\": copies of all rejected events go "
				 "to one topic; give its name, without fields",
				 text);
	if (problem != NULL)
		return error_set(err,
				 "route.dead_letter_topic \"%s\" %s; give a legal topic name, or "
				 "\"\" for no copies",
				 text, problem);
	if (*text != '\0' && strcmp(text, topic) == 0)
		return error_set(err,
				 "route.dead_letter_topic \"%s\" is route.topic, where consumers "
				 "would take copies for events; give another name",
				 text);
	return true;
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
	return template_is_constant(route->topic);
}
