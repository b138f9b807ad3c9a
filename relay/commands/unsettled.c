/* SPDX-License-Identifier: ISC */
/*
 * unsettled.c - which rows of the outbox are not settled, however outbox.settle has it
 */
#include "unsettled.h"

#include "base/pgname.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "outbox/registry.h"
#include "postgres.h"

#include <stdlib.h>

/* An older schema lacks some of the columns. */
static const char KNOWN_SQL[] =
    "SELECT o.settle, to_jsonb(o) ->> 'position_home' AS home FROM outbox_relay.outboxes AS o"
    " WHERE o.outbox = to_regclass($1)";

/* As the configuration has it, for people. */
static const char *show(const struct config *config, char shown[static PGNAME_FULL_SIZE])
{
	struct pgname name;
	struct error ignored;

	text_print(shown, PGNAME_FULL_SIZE, "%s", config->outbox.table);
	if (pgname_parse(config->outbox.table, &name, &ignored))
		pgname_show(&name, shown);
	return shown;
}

static bool is_here(PGconn *conn, const char *table, const char *home, const char *shown,
		    bool *failed, struct error *err)
{
	PGresult *result = pgsync_query(
	    conn, "looking whose positions they are",
	    "SELECT outbox_relay.position_home(to_regclass($1)) AS here", 1, &table, err);
	const char *here = result ? pgsync_text(result, 0, "here") : NULL;
	bool good = result && outbox_home_check(home ? home : "", here ? here : "", shown, err);

	*failed = result == NULL;
	PQclear(result);
	return good;
}

bool unsettled_known(PGconn *conn, const struct config *config, const char *table, bool *failed,
		     struct error *err)
{
	PGresult *result;
	char shown[PGNAME_FULL_SIZE];
	const char *settle;
	bool good, ignored;

	if (!failed)
		failed = &ignored;
	*failed = false;
	if (config->outbox.settle != SETTLE_POSITION)
		return true;
	result = pgsync_query(conn, "looking for positions", KNOWN_SQL, 1, &table, err);
	*failed = result == NULL;
	if (*failed)
		return false;
	settle = PQntuples(result) > 0 ? pgsync_text(result, 0, "settle") : NULL;
	good = outbox_settling_check(settle ? settle : "none", show(config, shown), SETTLE_POSITION,
				     err) &&
	       is_here(conn, table, pgsync_text(result, 0, "home"), shown, failed, err);
	PQclear(result);
	return good;
}

static char *ask(PGconn *conn, const char *sql, const char *table, struct error *err)
{
	PGresult *result = pgsync_query(conn, "reading positions", sql, 1, &table, err);
	char *text = result ? xstrdup(pgsync_text(result, 0, "said")) : NULL;

	PQclear(result);
	return text;
}

char *settled_condition(PGconn *conn, const char *table, struct error *err)
{
	return ask(conn, "SELECT outbox_relay.settled_condition(to_regclass($1)) AS said", table,
		   err);
}

char *unsettled_marks(PGconn *conn, const char *table, const char *member, const char *usual,
		      struct error *err)
{
	const char *params[] = {table, member, usual};
	PGresult *result = pgsync_query(
	    conn, "looking what marks rows",
	    "SELECT coalesce((SELECT to_jsonb(o) ->> $2 FROM outbox_relay.outboxes AS o"
	    "  WHERE o.outbox = to_regclass($1)), $3) AS said",
	    3, params, err);
	char *text = result ? xstrdup(pgsync_text(result, 0, "said")) : NULL;

	PQclear(result);
	return text;
}

char *unsettled_event(const struct config *config)
{
	return *config->outbox.where != '\0'
		   ? xasprintf(" AND coalesce((\n%s\n), false)", config->outbox.where)
		   : xstrdup("");
}

/* Those of a table whose rows are deleted or marked. */
static char *rows_by_condition(PGconn *conn, const struct config *config, const char *table,
			       struct error *err)
{
	bool mark = config->outbox.settle == SETTLE_MARK;
	char *waits = mark ? unsettled_marks(conn, table, "waits", "published_at IS NULL", err)
			   : xstrdup("true");
	char *event = unsettled_event(config), *rows = NULL;

	if (waits && !mark && *event == '\0')
		rows = xasprintf("%s AS t", table);
	else if (waits)
		rows = xasprintf("(SELECT t.* FROM %s AS t WHERE %s%s) AS t", table, waits, event);
	free(waits);
	free(event);
	return rows;
}

char *unsettled_rows(PGconn *conn, const struct config *config, const char *table,
		     struct error *err)
{
	if (config->outbox.settle != SETTLE_POSITION)
		return rows_by_condition(conn, config, table, err);
	if (!unsettled_known(conn, config, table, NULL, err))
		return NULL;
	return ask(conn, "SELECT outbox_relay.waiting_rows(to_regclass($1)) AS said", table, err);
}

char *unsettled_order(const struct config *config, const char *id)
{
	return config->outbox.settle == SETTLE_POSITION ? xstrdup("")
							: xasprintf(" ORDER BY t.%s", id);
}
