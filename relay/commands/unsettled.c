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

char *unsettled_not(PGconn *conn, const char *table, struct error *err)
{
	PGresult *result = pgsync_query(
	    conn, "reading positions",
	    "SELECT outbox_relay.settled_condition(to_regclass($1)) AS settled", 1, &table, err);
	char *text = result ? xstrdup(pgsync_text(result, 0, "settled")) : NULL;

	PQclear(result);
	return text;
}

/* What no position has finished was begun later than all that the one furthest behind shows, or was
 * under way when one was taken. */
static const char POSITIONS_SQL[] =
    "WITH p AS MATERIALIZED (SELECT finished FROM outbox_relay.last_positions(to_regclass($1)))"
    " SELECT outbox_relay.settled_condition(to_regclass($1)) AS settled,"
    " (SELECT pg_snapshot_xmax(finished)::text FROM p ORDER BY pg_snapshot_xmax(finished) LIMIT 1)"
    "  AS later,"
    " (SELECT array_agg(DISTINCT x)::text FROM p CROSS JOIN LATERAL pg_snapshot_xip(finished) AS x)"
    "  AS running";

static char *by_x(const PGresult *result, const char *table)
{
	const char *settled = pgsync_text(result, 0, "settled");
	const char *later = pgsync_text(result, 0, "later");
	const char *running = pgsync_text(result, 0, "running");

	if (later == NULL) /* no shard has a position */
		return xasprintf("(SELECT * FROM %s AS t WHERE NOT %s) AS t", table, settled);
	return xasprintf("(SELECT t.* FROM %s AS t WHERE t.x >= '%s'::xid8 AND NOT %s UNION ALL "
			 "SELECT t.* FROM %s AS t WHERE t.x = ANY ('%s'::xid8[]) AND t.x < "
			 "'%s'::xid8 AND NOT %s) AS t",
			 table, later, settled, table, running ? running : "{}", later, settled);
}

char *unsettled_rows(PGconn *conn, const struct config *config, const char *table,
		     struct error *err)
{
	PGresult *result;
	char *rows;

	if (config->outbox.settle == SETTLE_DELETE)
		return xasprintf("%s AS t", table);
	if (config->outbox.settle == SETTLE_MARK)
		return xasprintf("(SELECT * FROM %s WHERE published_at IS NULL) AS t", table);
	if (!unsettled_known(conn, config, table, NULL, err))
		return NULL;
	result = pgsync_query(conn, "reading positions", POSITIONS_SQL, 1, &table, err);
	rows = result ? by_x(result, table) : NULL;
	PQclear(result);
	return rows;
}

char *unsettled_order(const struct config *config, const char *id)
{
	return config->outbox.settle == SETTLE_POSITION ? xstrdup("")
							: xasprintf(" ORDER BY t.%s", id);
}
