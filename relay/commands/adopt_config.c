/* SPDX-License-Identifier: ISC */
/*
 * adopt_config.c - the block for the configuration file that goes with an adopted table
 */
#include "adopt.h"
#include "adopt_like.h"

#include "base/xalloc.h"

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

/* Only where the usual templates name a column that is not there, or others are known to fit. */
static void append_route(char **out, const struct adopt_facts *facts, const struct adopt_plan *plan,
			 const struct adopt_like *like)
{
	bool has_type = *plan->columns[ADOPT_AGGREGATE_TYPE] != '\0';
	bool has_event = *plan->columns[ADOPT_EVENT_TYPE] != '\0';
	char *topic;

	if (!like && has_type && has_event)
		return;
	topic = like && like->topic ? xstrdup(like->topic)
		: has_type	    ? xstrdup("events.${aggregate_type}")
				    : xasprintf("events.%s", facts->table.table);
	xappend(out, "route = {\n");
	append_setting(out, "  ", "topic", topic);
	append_setting(out, "  ", "key", like && like->key ? like->key : "${aggregate_id}");
	if (like && like->headers)
		xappend(out, "  headers = ( %s );\n};\n", like->headers);
	else
		xappend(out, "  headers = ( \"id=${event_id}\"%s );\n};\n",
			has_event ? ", \"type=${event_type}\"" : "");
	free(topic);
}

char *adopt_config(const struct adopt_facts *facts, const struct adopt_plan *plan,
		   const struct adopt_published *published, const struct adopt_like *like)
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
	append_route(&out, facts, plan, like);
	return out;
}
