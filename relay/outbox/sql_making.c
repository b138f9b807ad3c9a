/* SPDX-License-Identifier: ISC */
/*
 * sql_making.c - what the two makers of claims have in common
 */
#include "sql_making.h"

#include "base/xalloc.h"

#include <stdlib.h>

struct making outbox_sql_making_new(const struct outbox_shape *shape, size_t leaf, bool alone,
				    bool plain)
{
	SCRATCH char *not_held = outbox_sql_not_held(shape, alone ? "$2" : "$4");
	SCRATCH char *mine = outbox_sql_mine(shape, alone ? "$3" : "$5");
	return (struct making){.shape = shape,
			       .leaf = &shape->leaves[leaf],
			       .id = outbox_sql_quoted(shape->names->id),
			       .key = outbox_sql_key(shape),
			       .ours = xasprintf("%s%s", not_held, mine),
			       .none = plain ? outbox_sql_none_aside(shape) : xstrdup(""),
			       .plain = plain,
			       .size = "0",
			       .limit = alone ? "1" : "$2::int8"};
}

void outbox_sql_making_free(struct making *m)
{
	free(m->id);
	free(m->key);
	free(m->ours);
	free(m->none);
}

char *outbox_sql_all_columns(const struct outbox_shape *shape)
{
	char *columns = xstrdup("t.tableoid, t.ctid");
	for (size_t i = 0; i < shape->column_count; i++) {
		SCRATCH char *name = outbox_sql_quoted(shape->columns[i].name);
		xappend(&columns, ", t.%s", name);
	}
	return columns;
}

char *outbox_sql_parting(const struct outbox_shape *shape, size_t leaf, const char *picked,
			 const char *aside_at)
{
	SCRATCH char *rows = outbox_sql_aside_rows(shape, picked, "");
	SCRATCH char *copies = outbox_sql_aside_copies(shape, leaf, aside_at);
	SCRATCH char *members = outbox_sql_aside_members(shape);
	return xasprintf(
	    ", %s, aside_at AS MATERIALIZED (SELECT part, %s FROM %s GROUP BY part), aside AS "
	    "MATERIALIZED (SELECT array_agg(place) AS places, (SELECT array_agg(key) FROM "
	    "aside_at, unnest(keys) AS key) AS keys, (SELECT array_agg(topic) FROM aside_at, "
	    "unnest(topics) AS topic) AS topics FROM aside_at, unnest(places) AS place), %s",
	    members, outbox_sql_aside_arrays, rows, copies);
}
