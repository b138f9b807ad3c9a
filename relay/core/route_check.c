/* SPDX-License-Identifier: ISC */
/*
 * route_check.c - whether the rules of a route are right, and which fields they name
 */
#include "base/xalloc.h"
#include "core/rename.h"
#include "route_topic.h"

#include <stdlib.h>
#include <string.h>

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

/* What is checked alone goes with anything in the other places. */
static const struct config_strings no_headers = {NULL, 0};

static bool check_rules(const struct route_rules *rules, const struct config_columns *columns,
			struct error *err)
{
	struct route *route = route_new(rules, any_column, &columns, err);
	bool ok = route != NULL;

	route_free(&route);
	return ok;
}

static bool check_template(const char *option, const char *text, const struct config *config,
			   struct error *err)
{
	const struct config_columns *columns = &config->outbox.columns;
	char *item = (char *)(uintptr_t)text;
	const struct config_strings headers = {&item, 1};
	struct route_rules rules = {.topic = "t", .key = "k", .headers = &no_headers};

	if (strcmp(option, "route.topic") == 0) {
		rules.topic = text;
		/* What is renamed is checked with its rule, all of the group together. */
		if (route_is_given(config->route.topic_regex))
			rules.topic_regex = rules.topic_replacement = "t";
	} else if (strcmp(option, "route.key") == 0) {
		rules.key = text;
	} else {
		rules.headers = &headers;
	}
	return check_rules(&rules, columns, err);
}

bool route_check(const char *option, const char *text, const struct config *config,
		 struct error *err)
{
	const struct config_columns *columns = &config->outbox.columns;
	struct route_rules rules = {.topic = "t", .key = "k", .headers = &no_headers};

	if (strncmp(option, "route.topic_", 12) == 0)
		return true;
	if (strcmp(option, "route.partition") == 0)
		rules.partition = text;
	else if (strcmp(option, "route.timestamp") == 0)
		rules.timestamp = text;
	else
		return check_template(option, text, config, err);
	return check_rules(&rules, columns, err);
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

bool route_fields(const struct route_rules *rules, void (*each)(const char *name, void *arg),
		  void *arg, struct error *err)
{
	struct collector collector = {.each = each, .arg = arg};
	struct route *route = route_new(rules, collect, &collector, err);
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

bool route_check_fields(const struct route_rules *rules, struct error *err)
{
	size_t count = 0;

	if (!route_fields(rules, count_field, &count, err) || count <= ROUTE_FIELDS_MAX)
		return true;
	return error_set(err, "route names %zu different fields, more than %d; name fewer", count,
			 ROUTE_FIELDS_MAX);
}

bool route_check_rules(const struct route_rules *rules, struct error *err)
{
	bool has_regex = route_is_given(rules->topic_regex);
	struct rename *rename;
	bool good;

	if (!has_regex && route_is_given(rules->topic_replacement))
		return error_set(err,
				 "route.topic_replacement is what route.topic_regex is replaced "
				 "by, which is not set; set it, or remove this");
	if (!has_regex)
		return true;
	if (!route_is_given(rules->topic_replacement))
		return error_set(err, "route.topic_regex needs route.topic_replacement, the topic "
				      "where it matches; set it, such as \"outbox.event.$1\"");
	rename = rename_new(rules->topic_regex, rules->topic_replacement, err);
	good = rename != NULL;
	rename_free(&rename);
	return good;
}
