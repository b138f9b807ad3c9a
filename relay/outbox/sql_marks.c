/* SPDX-License-Identifier: ISC */
/*
 * sql_marks.c - the words that say which rows are events, and which are published
 *
 * What says so in mark mode is known to the database (sql/0017_marks.sql): conditions on the
 * columns of the outbox, without an alias. They stand only where no other table has such columns.
 * outbox.where stands in parentheses and on lines of its own, so that a comment in it ends there.
 */
#include "sql_internal.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

/* No index is chosen for it: the claim walks that of the ids. */
static char *event_of(const char *where)
{
	return *where != '\0' ? xasprintf(" AND coalesce((\n%s\n), false)", where) : xstrdup("");
}

/* Such a condition that no planner finds in a partial index (outbox_sql_still_unpublished). */
static char *hidden(const char *condition)
{
	return xasprintf(" AND CASE WHEN (\n%s\n) THEN true ELSE false END", condition);
}

static char *still_of(const struct outbox_shape *shape, const struct outbox_marks *marks,
		      const char *where)
{
	char *event = *where != '\0' ? hidden(where) : xstrdup("");
	if (!shape->mark)
		return event;
	char name[PGNAME_QUOTED_SIZE];
	pgname_quote(shape->names->published_at, name);
	char *still =
	    marks->timed ? xasprintf(" AND num_nulls(%s) = 1", name) : hidden(marks->waits);
	xappend(&still, "%s", event);
	free(event);
	return still;
}

void outbox_words_free(struct outbox_words *words)
{
	free(words->waiting);
	free(words->still);
	free(words->unmarked);
	free(words->published);
	free(words->set);
	free(words->event);
	free(words->where);
	memset(words, 0, sizeof(*words));
}

void outbox_words_make(struct outbox_shape *shape, const struct outbox_marks *marks,
		       const char *where)
{
	struct outbox_words *words = &shape->words;
	outbox_words_free(words);
	words->event = event_of(where);
	words->where = xstrdup(where);
	words->still = still_of(shape, marks, where);
	words->unmarked = shape->mark ? xasprintf(" AND %s", marks->waits) : xstrdup("");
	words->waiting = xasprintf("%s%s", words->unmarked, words->event);
	words->untimed = shape->mark && !marks->timed;
	if (!shape->mark)
		return;
	char name[PGNAME_QUOTED_SIZE];
	pgname_quote(shape->names->published_at, name);
	words->published = xstrdup(marks->published);
	words->set = xasprintf(" SET %s = %s", name, marks->marked);
}

/* Without words of their own, rows are marked by published_at. */
static const char *word(const struct outbox_shape *shape, const char *own, const char *usual)
{
	return own != NULL ? own : shape->mark ? usual : "";
}

const char *outbox_sql_unpublished(const struct outbox_shape *shape)
{
	return word(shape, shape->words.waiting, " AND published_at IS NULL");
}

const char *outbox_sql_unmarked(const struct outbox_shape *shape)
{
	return word(shape, shape->words.unmarked, " AND published_at IS NULL");
}

const char *outbox_sql_still_unpublished(const struct outbox_shape *shape)
{
	return word(shape, shape->words.still, " AND num_nulls(published_at) = 1");
}

const char *outbox_sql_published(const struct outbox_shape *shape)
{
	return word(shape, shape->words.published, "published_at IS NOT NULL");
}

const char *outbox_sql_set(const struct outbox_shape *shape)
{
	return word(shape, shape->words.set, " SET published_at = clock_timestamp()");
}

const char *outbox_sql_event(const struct outbox_shape *shape)
{
	return shape->words.event != NULL ? shape->words.event : "";
}

char *outbox_sql_mark_time(const struct outbox_shape *shape)
{
	if (shape->words.untimed)
		return NULL;
	char name[PGNAME_QUOTED_SIZE];
	pgname_quote(
	    shape->names->published_at != NULL ? shape->names->published_at : "published_at", name);
	return xasprintf("t.%s", name);
}

/* ---- whether outbox.where is a condition ---- */

/* Not in parentheses: a text that closes ours and opens its own does not pass. What names a column
 * finds those of the table only, and none that the system adds. */
char *outbox_sql_where_plain(const char *table, const char *where)
{
	return xasprintf("SELECT FROM (SELECT t.* FROM %s AS t) AS t WHERE\n%s\n", table, where);
}

/* As the predicate of an index, where PostgreSQL takes no subquery and no aggregate. It is prepared
 * only, and inserts nothing. */
char *outbox_sql_where_alone(const char *table, const char *id, const char *where)
{
	char name[PGNAME_QUOTED_SIZE];
	pgname_quote(id, name);
	return xasprintf("INSERT INTO %s AS t DEFAULT VALUES ON CONFLICT (%s) WHERE (\n%s\n) DO "
			 "NOTHING",
			 table, name, where);
}

const char outbox_where_functions[] =
    "SELECT string_agg(f.name, ', ') FROM (SELECT p.proname::text AS name FROM pg_proc AS p WHERE "
    "p.proname = ANY (string_to_array($1, chr(31))) GROUP BY p.proname HAVING "
    "bool_or(p.provolatile = 'v') OR NOT bool_or(p.provolatile = 'i') OR p.proname = 'age') AS f";
