/* SPDX-License-Identifier: ISC */
/*
 * dlq_filter.h - which letters an operator means, as a condition of SQL. Pure
 *
 * Values of one kind are alternatives; the kinds must all be met.
 */
#ifndef OUTBOX_CMD_DLQ_FILTER_H
#define OUTBOX_CMD_DLQ_FILTER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dlq_kind { DLQ_ID, DLQ_EVENT_ID, DLQ_KEY, DLQ_TOPIC, DLQ_REASON, DLQ_KINDS };

struct dlq_values {
	const char **items; /* each borrowed */
	size_t count;
};

struct dlq_filter {
	struct dlq_values values[DLQ_KINDS];
	bool older, all;
	int64_t older_ms; /* in dead_letters for longer than this */
};

/* For options: to is the struct dlq_values of that kind. An id must be a number, a reason
 * one that there is. */
bool dlq_take_value(void *to, const char *text, struct error *err);
bool dlq_take_id(void *to, const char *text, struct error *err);
bool dlq_take_reason(void *to, const char *text, struct error *err);

/* Whether anything was asked for; --all is something. */
bool dlq_filter_is_set(const struct dlq_filter *filter);

/* " AND ..." on outbox_relay.dead_letters AS d, malloc'd. What waits for its topic is backlog and
 * goes on by itself: it is meant only if an id, an event id, a key or a topic is given. The
 * parameters are $first and so on, and are appended to params, whose items are borrowed from the
 * filter but for `age`, where the number of milliseconds is printed. */
enum { DLQ_AGE_SIZE = 24 };
char *dlq_filter_sql(const struct dlq_filter *filter, int first, struct dlq_values *params,
		     char age[DLQ_AGE_SIZE]);

/* As it was asked for, "--id 5 --key a"; malloc'd. */
char *dlq_filter_text(const struct dlq_filter *filter);

void dlq_values_add(struct dlq_values *values, const char *value);
void dlq_filter_free(struct dlq_filter *filter);

#endif
