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

char *outbox_sql_remove(const struct outbox_shape *shape, int64_t id, const char *identity)
{
	SCRATCH char *row = where(shape, id, identity);
	return xasprintf(shape->mark ? "UPDATE %s SET published_at = now() %s;"
				     : "DELETE FROM %s %s;",
			 shape->table, row);
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
	case REJECT_BROKER:
		*column = shape->names->payload;
		*value = "'{}'";
		break;
	default:
		return false; /* the words of the reject name the column */
	}
	return outbox_shape_column(shape, *column) != NULL;
}

char *outbox_sql_change(const struct outbox_shape *shape, int64_t id, const char *identity,
			enum reject_reason reason)
{
	const char *column, *value;
	if (!remedy_of(shape, reason, &column, &value))
		return NULL;
	SCRATCH char *row = where(shape, id, identity), *name = outbox_sql_quoted(column);
	return xasprintf("UPDATE %s SET %s = %s %s;", shape->table, name, value, row);
}
