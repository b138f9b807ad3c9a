/* SPDX-License-Identifier: ISC */
/*
 * route_topic.c - the topic of an event, by a template and a rule that renames what it renders
 */
#include "route_topic.h"

#include "base/xalloc.h"
#include "core/rename.h"

#include <stdlib.h>
#include <string.h>

enum { TOPIC_MAX = 249 };

/* Of what is to be renamed. */
enum { ROUTED_MAX = 1024 };

struct topic_route {
	char *text; /* owned; as configured, for messages */
	struct template *template;
	struct rename *rename; /* owned; NULL: topics are what the template renders */
	size_t prefix_len;     /* of what both names begin with */

	/* The last legal topic stands in names[legal] and need not be checked again. */
	char names[2][TOPIC_MAX + 1];
	unsigned legal;
	size_t legal_len;

	/* What was renamed last stands in routed[renamed]; names[legal] was made of it. */
	char routed[2][ROUTED_MAX];
	unsigned renamed;
	size_t routed_len;
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

/* ---- an event ---- */

bool route_is_given(const char *option)
{
	return option != NULL && *option != '\0';
}

enum reject_reason route_reject_null(struct error *err, enum reject_reason reason,
				     const char *option, const char *field)
{
	error_set(err, "%s needs the field \"%s\", which is NULL; fill it in or route by another",
		  option, field);
	return reason;
}

static enum reject_reason reject_topic(const struct topic_route *route, const char *problem,
				       struct error *err)
{
	const char *given =
	    template_is_constant(route->template) && route->rename == NULL ? "" : "the topic that ";

	error_set(err, "%sroute.topic \"%s\" %s%s; %s", given, route->text,
		  *given != '\0' ? "gives " : "", problem,
		  *given != '\0' ? "change the template or the fields it names"
				 : "give a legal topic name");
	return REJECT_TOPIC;
}

/* The name that stands in the other of names. */
static enum reject_reason take_topic(struct topic_route *route, size_t len, struct error *err)
{
	char *fresh = route->names[!route->legal];
	const char *problem;

	if (len > 0 && len == route->legal_len &&
	    memcmp(fresh, route->names[route->legal], len) == 0)
		return REJECT_NONE;
	problem = topic_problem((struct slice){fresh, len});
	if (problem != NULL)
		return reject_topic(route, problem, err);
	fresh[len] = '\0';
	route->legal = !route->legal;
	route->legal_len = len;
	return REJECT_NONE;
}

/* routed, under the name that is made of it. */
static enum reject_reason rename_topic(struct topic_route *route, struct slice routed,
				       struct error *err)
{
	char *fresh = route->names[!route->legal] + route->prefix_len;
	size_t len = routed.len, most = TOPIC_MAX - route->prefix_len;

	switch (rename_apply(route->rename, routed, fresh, most, &len)) {
	case RENAMED:
		break;
	case RENAME_KEPT:
		if (len > most)
			return reject_topic(route, "is longer than 249 characters", err);
		memcpy(fresh, routed.data, len);
		break;
	case RENAME_TOO_LONG:
		return reject_topic(route, "is longer than 249 characters", err);
	case RENAME_GAVE_UP:
		return reject_topic(route, "takes route.topic_regex too many steps to match", err);
	}
	return take_topic(route, route->prefix_len + len, err);
}

static enum reject_reason route_renamed(struct topic_route *route, const struct slice *fields,
					size_t len, struct error *err)
{
	char *fresh = route->routed[!route->renamed];
	enum reject_reason reason;

	if (len > ROUTED_MAX)
		return reject_topic(route, "is longer than 1024 bytes before it is renamed", err);
	template_write(route->template, fields, fresh);
	if (route->legal_len > 0 && len == route->routed_len &&
	    memcmp(fresh, route->routed[route->renamed], len) == 0)
		return REJECT_NONE;
	reason = rename_topic(route, (struct slice){fresh, len}, err);
	if (reason != REJECT_NONE)
		return reason;
	route->renamed = !route->renamed;
	route->routed_len = len;
	return REJECT_NONE;
}

static enum reject_reason route_as_it_is(struct topic_route *route, const struct slice *fields,
					 size_t len, struct error *err)
{
	if (route->prefix_len + len <= TOPIC_MAX)
		template_write(route->template, fields,
			       route->names[!route->legal] + route->prefix_len);
	return take_topic(route, route->prefix_len + len, err);
}

enum reject_reason topic_route_event(struct topic_route *route, const struct slice *fields,
				     struct slice *topic, struct slice *routed, struct error *err)
{
	enum reject_reason reason;
	const char *null_field;
	size_t len;

	if (!template_measure(route->template, fields, &len, &null_field))
		return route_reject_null(err, REJECT_TOPIC, "route.topic", null_field);
	reason = route->rename != NULL ? route_renamed(route, fields, len, err)
				       : route_as_it_is(route, fields, len, err);
	*topic = *routed = (struct slice){route->names[route->legal], route->legal_len};
	if (route->rename != NULL)
		*routed = (struct slice){route->routed[route->renamed], route->routed_len};
	return reason;
}

bool topic_route_is_constant(const struct topic_route *route)
{
	return template_is_constant(route->template);
}

/* ---- compiling ---- */

bool route_compile(struct template **tpl, const char *option, const char *text,
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

static bool check_literals(const struct topic_route *route, struct error *err)
{
	if (route->rename != NULL || literals_are_legal(route->text))
		return true;
	return error_set(err,
			 "route.topic \"%s\" " OTHER_CHARACTER " beside its fields; take it out",
			 route->text);
}

static bool check_constant(struct topic_route *route, struct error *err)
{
	struct slice topic, routed;
	struct error why;

	if (topic_route_event(route, NULL, &topic, &routed, &why) == REJECT_NONE)
		return true;
	return error_set(err, "%s", why.text);
}

static bool take_prefix(struct topic_route *route, const char *prefix, struct error *err)
{
	route->prefix_len = strlen(prefix);
	if (route->prefix_len >= TOPIC_MAX)
		return error_set(err,
				 "topics cannot begin with %zu characters: a name has 249 at "
				 "most; give fewer",
				 route->prefix_len);
	for (size_t i = 0; i < 2; i++)
		memcpy(route->names[i], prefix, route->prefix_len);
	return true;
}

static bool compile_topic(struct topic_route *route, const struct route_rules *rules,
			  route_field_fn field, void *arg, struct error *err)
{
	route->text = xstrdup(rules->topic);
	if (route_is_given(rules->topic_prefix) && !take_prefix(route, rules->topic_prefix, err))
		return false;
	if (!route_compile(&route->template, "route.topic", rules->topic, field, arg, err))
		return false;
	if (route_is_given(rules->topic_regex)) {
		route->rename = rename_new(rules->topic_regex, rules->topic_replacement, err);
		if (route->rename == NULL)
			return false;
	}
	return template_is_constant(route->template) ? check_constant(route, err)
						     : check_literals(route, err);
}

struct topic_route *topic_route_new(const struct route_rules *rules, route_field_fn field,
				    void *arg, struct error *err)
{
	struct topic_route *route = xcalloc(1, sizeof(*route));

	if (!compile_topic(route, rules, field, arg, err))
		topic_route_free(&route);
	return route;
}

void topic_route_free(struct topic_route **route)
{
	struct topic_route *own = *route;

	if (own == NULL)
		return;
	template_free(&own->template);
	rename_free(&own->rename);
	free(own->text);
	free(own);
	*route = NULL;
}

/* ---- the topic of copies ---- */

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
