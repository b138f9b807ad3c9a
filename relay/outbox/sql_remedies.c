/* SPDX-License-Identifier: ISC */
/*
 * sql_remedies.c - statements for an operator, about one row
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { IDENTITY_MOST = 100 };

/* In any terminal and any encoding. The id alone is enough where it is not. */
static bool can_be_pasted(const char *identity)
{
	if (identity == NULL || strlen(identity) > IDENTITY_MOST)
		return false;
	for (const char *c = identity; *c != '\0'; c++)
		if (!isprint((unsigned char)*c) || (unsigned char)*c > 126)
			return false;
	return true;
}

static char *where(const struct outbox_shape *shape, int64_t id, const char *identity)
{
	SCRATCH char *name = outbox_sql_quoted(shape->names->id);
	char *text = xasprintf("WHERE %s = %" PRId64, name, id);
	if (can_be_pasted(identity)) {
		SCRATCH char *event_id = outbox_sql_quoted(shape->names->event_id);
		SCRATCH char *literal = pgname_literal(identity);
		xappend(&text, " AND %s =%s%s", event_id, literal[0] == ' ' ? "" : " ", literal);
	}
	return text;
}

/* Nothing is deleted from a history. */
static char *withdraw(const struct outbox_shape *shape, int64_t id, const char *identity)
{
	bool named = can_be_pasted(identity);
	SCRATCH char *table = pgname_literal(shape->table);
	SCRATCH char *event_id = pgname_literal(named ? identity : "");
	return xasprintf("SELECT outbox_relay.withdraw(%s, %" PRId64 "%s%s);",
			 table + (table[0] == ' '), id, named ? ", " : "",
			 named ? event_id + (event_id[0] == ' ') : "");
}

/* Not marked instead where rows stay: it would count as published, so that `verify` misses it and a
 * replay publishes it. */
char *outbox_sql_remove(const struct outbox_shape *shape, int64_t id, const char *identity)
{
	if (shape->position)
		return withdraw(shape, id, identity);
	SCRATCH char *row = where(shape, id, identity);
	return xasprintf("DELETE FROM %s %s;", shape->table, row);
}

/* What is set to what. */
static bool remedy_of(const struct outbox_shape *shape, enum reject_reason reason,
		      const char **column, const char **value)
{
	switch (reason) {
	case REJECT_HEADERS:
		*column = shape->names->headers;
		*value = "NULL";
		break;
	case REJECT_TOPIC:
		*column = shape->names->aggregate_type;
		*value = "'a_legal_name'";
		break;
	case REJECT_TOO_LARGE:
	case REJECT_UNREADABLE:
	case REJECT_INVALID_RECORD:
	case REJECT_POLICY_VIOLATION:
		*column = shape->names->payload;
		*value = "'{}'";
		break;
	default:
		return false; /* the words of the reject name the column */
	}
	return outbox_shape_column(shape, *column) != NULL;
}

/* By another key the row may be of another shard, whose position has passed it. */
static bool moves_row(const struct outbox_shape *shape, const char *column)
{
	for (size_t i = 0; shape->position && i < shape->key_count; i++)
		if (strcmp(shape->keys[i], column) == 0)
			return true;
	return false;
}

char *outbox_sql_change(const struct outbox_shape *shape, int64_t id, const char *identity,
			enum reject_reason reason)
{
	const char *column, *value;
	if (!remedy_of(shape, reason, &column, &value) || moves_row(shape, column))
		return NULL;
	SCRATCH char *row = where(shape, id, identity), *name = outbox_sql_quoted(column);
	return xasprintf("UPDATE %s SET %s = %s %s;", shape->table, name, value, row);
}
