/* SPDX-License-Identifier: ISC */
/*
 * dlq_filter.c - which letters an operator means, as a condition of SQL
 */
#include "dlq_filter.h"

#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "core/event.h"
#include "dlq_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PostgreSQL takes 65,535 parameters (protocol, "Bind"), and this is far more than anybody types.
 */
enum { VALUES_MAX = 10000 };

static const struct {
	const char *option, *column, *value;
} kinds[DLQ_KINDS] = {
    [DLQ_ID] = {"--id", "id", "$%d::bigint"},
    [DLQ_EVENT_ID] = {"--event-id", "event_id", "left($%d::text, 600)"}, /* what is kept of it */
    [DLQ_KEY] = {"--key", "key", "$%d::text"},
    [DLQ_TOPIC] = {"--topic", "topic", "$%d::text"},
    [DLQ_REASON] = {"--reason", "reason", "$%d::text"},
};

void dlq_values_add(struct dlq_values *values, const char *value)
{
	values->items = xrealloc(values->items, (values->count + 1) * sizeof(*values->items));
	values->items[values->count++] = value;
}

bool dlq_take_value(void *to, const char *text, struct error *err)
{
	struct dlq_values *values = to;

	if (values->count == VALUES_MAX)
		return error_set(err, "may be given %d times at most", VALUES_MAX);
	if (!dlq_is_text(text, strlen(text)))
		return error_set(err, "has a value that is no UTF-8");
	dlq_values_add(values, text);
	return true;
}

bool dlq_take_id(void *to, const char *text, struct error *err)
{
	int64_t ignored;

	if (!units_parse_number(text, INT64_MIN, INT64_MAX, &ignored))
		return error_set(err,
				 "\"%s\" is no id: it is the number in the column "
				 "outbox.columns.id; an event id goes with --event-id",
				 text);
	return dlq_take_value(to, text, err);
}

/* One that no event can have would match nothing, silently. */
bool dlq_take_reason(void *to, const char *text, struct error *err)
{
	char names[256] = "";

	for (int reason = REJECT_NONE + 1; reason < REJECT_REASONS; reason++) {
		const char *name = reject_reason_name((enum reject_reason)reason);

		if (strcmp(name, text) == 0)
			return dlq_take_value(to, text, err);
		text_print(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
			   reason > REJECT_NONE + 1 ? ", " : "", name);
	}
	return error_set(err, "\"%s\" is no reason; there are: %s", text, names);
}

bool dlq_filter_is_set(const struct dlq_filter *filter)
{
	for (size_t kind = 0; kind < DLQ_KINDS; kind++)
		if (filter->values[kind].count > 0)
			return true;
	return filter->older || filter->all;
}

/* Whether it says which events, rather than how they are. */
static bool names_events(const struct dlq_filter *filter)
{
	return filter->values[DLQ_ID].count + filter->values[DLQ_EVENT_ID].count +
		   filter->values[DLQ_KEY].count + filter->values[DLQ_TOPIC].count >
	       0;
}

char *dlq_filter_sql(const struct dlq_filter *filter, int first, struct dlq_values *params,
		     char age[DLQ_AGE_SIZE])
{
	char *sql = xstrdup("");

	for (size_t kind = 0; kind < DLQ_KINDS; kind++) {
		const struct dlq_values *values = &filter->values[kind];

		for (size_t i = 0; i < values->count; i++) {
			if (i == 0)
				xappend(&sql, " AND d.%s IN (", kinds[kind].column);
			xappend(&sql, "%s", i > 0 ? ", " : "");
			xappend(&sql, kinds[kind].value, first++);
			dlq_values_add(params, values->items[i]);
		}
		if (values->count > 0)
			xappend(&sql, ")");
	}
	if (filter->older) {
		snprintf(age, DLQ_AGE_SIZE, "%" PRId64, filter->older_ms);
		/* No interval holds every number of milliseconds: 100 years are older than any. */
		xappend(&sql,
			" AND d.dead_at < clock_timestamp() - least($%d::bigint, 3155760000000) * "
			"interval '1 ms'",
			first);
		dlq_values_add(params, age);
	}
	if (!names_events(filter))
		xappend(&sql, " AND d.held_for IS DISTINCT FROM 'topic'");
	return sql;
}

char *dlq_filter_text(const struct dlq_filter *filter)
{
	char *text = xstrdup(""), age[32];

	for (size_t kind = 0; kind < DLQ_KINDS; kind++)
		for (size_t i = 0; i < filter->values[kind].count; i++) {
			char *value = dlq_escape(filter->values[kind].items[i]);

			xappend(&text, " %s %s", kinds[kind].option, value);
			free(value);
		}
	units_print_duration(filter->older_ms, age, sizeof(age));
	if (filter->older)
		xappend(&text, " --older-than %s", age);
	if (filter->all)
		xappend(&text, " --all");
	return text;
}

void dlq_filter_free(struct dlq_filter *filter)
{
	for (size_t kind = 0; kind < DLQ_KINDS; kind++)
		free(filter->values[kind].items);
}
