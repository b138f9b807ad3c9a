/* SPDX-License-Identifier: ISC */
/*
 * adopt_config.c - the block for the configuration file that goes with an adopted table
 */
#include "adopt.h"
#include "adopt_like.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A libconfig string. */
static char *config_string(const char *text)
{
	char *out = xmalloc(2 * strlen(text) + 3);
	char *p = out;

	*p++ = '"';
	for (; *text; text++) {
		if (*text == '"' || *text == '\\' || *text == '\n')
			*p++ = '\\';
		*p++ = *text == '\n' ? 'n' : *text;
	}
	*p++ = '"';
	*p = '\0';
	return out;
}

static void append_setting(char **out, const char *before, const char *name, const char *text)
{
	char *value = config_string(text);

	xappend(out, "%s%s = %s;\n", before, name, value);
	free(value);
}

static void append_columns(char **out, const struct adopt_plan *plan,
			   const struct adopt_published *published)
{
	xappend(out, "  columns = {\n");
	for (int role = 0; role < ADOPT_ROLES; role++)
		append_setting(out, "    ", adopt_role_name((enum adopt_role)role),
			       plan->columns[role]);
	if (published->column)
		append_setting(out, "    ", "published_at", published->column);
	xappend(out, "  };\n");
}

/* Whether a template names a part that the table has no column for. */
static bool lacks(const char *text, const struct adopt_plan *plan)
{
	char field[40];

	for (int role = 0; role < ADOPT_ROLES; role++) {
		snprintf(field, sizeof(field), "${%s}", adopt_role_name((enum adopt_role)role));
		if (*plan->columns[role] == '\0' && strstr(text, field) != NULL)
			return true;
	}
	return false;
}

static bool route_fits(const struct config *config, const struct adopt_plan *plan)
{
	bool fits = !lacks(config->route.topic, plan) && !lacks(config->route.key, plan);

	for (size_t i = 0; i < config->route.headers.count; i++)
		fits = fits && !lacks(config->route.headers.items[i], plan);
	return fits;
}

static char *topic_of(const struct adopt_facts *facts, const struct adopt_plan *plan,
		      const struct adopt_like *like, const struct config *config)
{
	if (like && like->topic)
		return xstrdup(like->topic);
	if (config && !lacks(config->route.topic, plan))
		return xstrdup(config->route.topic);
	return *plan->columns[ADOPT_AGGREGATE_TYPE] != '\0'
		   ? xstrdup("events.${aggregate_type}")
		   : xasprintf("events.%s", facts->table.table);
}

/* Those of the file, or the usual ones, but for what the table lacks. */
static void append_headers(char **out, const struct adopt_plan *plan, const struct config *config)
{
	static char id[] = "id=${event_id}", type[] = "type=${event_type}";
	static char *usual[] = {id, type};
	const struct config_strings headers =
	    config ? config->route.headers : (struct config_strings){usual, 2};
	const char *before = "";

	xappend(out, "  headers = ( ");
	for (size_t i = 0; i < headers.count; i++) {
		char *text = lacks(headers.items[i], plan) ? NULL : config_string(headers.items[i]);

		if (text) {
			xappend(out, "%s%s", before, text);
			before = ", ";
		}
		free(text);
	}
	xappend(out, " );\n};\n");
}

/* Only where the usual templates, or those of the file, name a column that is not there, or others
 * are known to fit. */
static void append_route(char **out, const struct adopt_facts *facts, const struct adopt_plan *plan,
			 const struct adopt_like *like, const struct config *config)
{
	bool has_type = *plan->columns[ADOPT_AGGREGATE_TYPE] != '\0';
	bool has_event = *plan->columns[ADOPT_EVENT_TYPE] != '\0';
	const char *key = "${aggregate_id}";
	char *topic;

	if (!like && (config ? route_fits(config, plan) : has_type && has_event))
		return;
	topic = topic_of(facts, plan, like, config);
	if (like && like->key)
		key = like->key;
	else if (config && !lacks(config->route.key, plan))
		key = config->route.key;
	xappend(out, "route = {\n");
	append_setting(out, "  ", "topic", topic);
	append_setting(out, "  ", "key", key);
	if (like && like->headers)
		xappend(out, "  headers = ( %s );\n};\n", like->headers);
	else
		append_headers(out, plan, config);
	free(topic);
}

char *adopt_config(const struct adopt_facts *facts, const struct adopt_plan *plan,
		   const struct adopt_published *published, const struct adopt_like *like,
		   const struct config *config)
{
	char table[PGNAME_FULL_SIZE];
	char *out = xstrdup("outbox = {\n");

	pgname_show(&facts->table, table);
	append_setting(&out, "  ", "table", table);
	append_columns(&out, plan, published);
	if (published->settle != SETTLE_DELETE)
		append_setting(&out, "  ", "settle", config_settle_word(published->settle));
	if (published->published_value)
		append_setting(&out, "  ", "published_value", published->published_value);
	if (published->pending_value)
		append_setting(&out, "  ", "pending_value", published->pending_value);
	if (published->where)
		append_setting(&out, "  ", "where", published->where);
	xappend(&out, "};\n");
	append_route(&out, facts, plan, like, config);
	return out;
}
