/* SPDX-License-Identifier: ISC */
/*
 * check_position.c - `check`: what publishing by positions rests on (outbox.settle = "position")
 */
#include "base/xalloc.h"
#include "check_subject.h"
#include "core/route.h"
#include "postgres.h"
#include "unsettled.h"

#include <stdlib.h>
#include <string.h>

#define LOOKED_UP                                                                                  \
	" FROM (SELECT relid AS leaf FROM pg_partition_tree(to_regclass($1))"                      \
	"  UNION SELECT to_regclass($1)) AS leaves"

/* What set_position makes anew: all of it, after the owner has said which rows are published. */
static char *anew(const struct subject *s)
{
	return xasprintf("stop the relays, and have the owner run SELECT outbox_relay.set_position("
			 "'%s', 'from', ID) with the first id that is not published; it makes all "
			 "of it anew",
			 s->shown);
}

/* ---- the column, its index and its triggers ---- */

static bool judge_column(const struct subject *s, const PGresult *result)
{
	const char *type = pgsync_text(result, 0, "type");
	bool good = true;
	char *remedy;

	if (strcmp(type, "xid8") != 0) {
		remedy = anew(s);
		check_error(s->check, remedy,
			    "column x of table %s is of type %s, and is to be xid8: which "
			    "transaction inserted a row",
			    s->shown, type);
		free(remedy);
		return false;
	}
	if (!pgsync_bool(result, 0, "filled")) {
		check_error(s->check, "ALTER TABLE ... ALTER COLUMN x SET NOT NULL",
			    "column x of table %s may be NULL; a row without it is never published",
			    s->shown);
		good = false;
	}
	if (!pgsync_bool(result, 0, "defaults")) {
		check_warn(s->check,
			   "ALTER TABLE ... ALTER COLUMN x SET DEFAULT "
			   "pg_catalog.pg_current_xact_id()",
			   "column x of table %s has not the default pg_current_xact_id(); the "
			   "trigger has to set it for each row",
			   s->shown);
		good = false;
	}
	return good;
}

static bool check_column(const struct subject *s)
{
	PGresult *result = subject_ask(
	    s, "looking at column x",
	    "SELECT format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS filled,"
	    " coalesce(pg_get_expr(d.adbin, d.adrelid) ~ '^(pg_catalog[.])?pg_current_xact_id"
	    "[(][)]$', false) AS defaults, $2::text FROM pg_attribute AS a LEFT JOIN"
	    " pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
	    " WHERE a.attrelid = to_regclass($1) AND a.attname = 'x' AND NOT a.attisdropped");
	bool good = result != NULL && PQntuples(result) > 0;
	char *remedy;

	if (good) {
		good = judge_column(s, result);
	} else if (result != NULL) {
		remedy = anew(s);
		check_error(s->check, remedy,
			    "table %s has no column x, which tells positions the transaction of a "
			    "row",
			    s->shown);
		free(remedy);
	}
	PQclear(result);
	return good;
}

static const char INDEX_SQL[] =
    "SELECT leaf::text AS leaf" LOOKED_UP
    " JOIN pg_class AS c ON c.oid = leaf AND c.relkind = 'r' WHERE NOT EXISTS ("
    "  SELECT FROM pg_index AS i JOIN pg_class AS k ON k.oid = i.indexrelid"
    "  JOIN pg_am AS m ON m.oid = k.relam"
    "  JOIN pg_attribute AS x ON x.attrelid = leaf AND x.attnum = i.indkey[0]"
    "  JOIN pg_attribute AS d ON d.attrelid = leaf AND d.attnum = i.indkey[1]"
    "  WHERE i.indrelid = leaf AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree'"
    "   AND x.attname = 'x' AND d.attname = $2) ORDER BY leaf";

static bool check_index(const struct subject *s)
{
	PGresult *result = subject_ask(s, "looking at the index of x", INDEX_SQL);
	bool good = result != NULL && PQntuples(result) == 0;

	for (int row = 0; result != NULL && row < PQntuples(result); row++) {
		const char *leaf = pgsync_text(result, row, "leaf");
		char *remedy =
		    xasprintf("CREATE INDEX CONCURRENTLY ON %s (x, %s), and drop the one "
			      "that is not valid",
			      leaf, s->config->outbox.columns.id);

		check_error(s->check, remedy,
			    "no valid index on %s (x, %s); every claim would read the whole table",
			    leaf, s->config->outbox.columns.id);
		free(remedy);
	}
	PQclear(result);
	return good;
}

/* Row triggers of a partitioned table are in each partition, too, under the same name. */
static const char TRIGGERS_SQL[] =
    "SELECT leaf::text AS leaf, w.name, g.tgenabled IS NOT NULL AS there, $2::text" LOOKED_UP
    " CROSS JOIN (VALUES ('outbox_relay_x'), ('outbox_relay_x_stays')) AS w (name)"
    " LEFT JOIN pg_trigger AS g ON g.tgrelid = leaf AND g.tgname = w.name"
    " WHERE g.tgenabled IS DISTINCT FROM 'A' ORDER BY leaf, w.name";

static void tell_trigger(const struct subject *s, const PGresult *result, int row)
{
	const char *leaf = pgsync_text(result, row, "leaf"),
		   *name = pgsync_text(result, row, "name");
	bool there = pgsync_bool(result, row, "there");
	char *remedy =
	    there ? xasprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", leaf, name) : anew(s);

	check_error(
	    s->check, remedy,
	    "trigger %s of table %s %s; a row with another transaction in x may be published "
	    "twice, or never",
	    name, leaf, there ? "is not enabled ALWAYS" : "is missing");
	free(remedy);
}

static bool check_triggers(const struct subject *s)
{
	PGresult *result = subject_ask(s, "looking at the triggers of x", TRIGGERS_SQL);
	bool good = result != NULL && PQntuples(result) == 0;

	for (int row = 0; result != NULL && row < PQntuples(result); row++)
		tell_trigger(s, result, row);
	PQclear(result);
	return good;
}

/* Triggers run in the order of their names (manual: CREATE TRIGGER). */
static bool check_later_triggers(const struct subject *s)
{
	PGresult *result = subject_ask(
	    s, "looking at other triggers",
	    "SELECT g.tgname AS name, $2::text FROM pg_trigger AS g WHERE g.tgrelid ="
	    " to_regclass($1) AND NOT g.tgisinternal AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0"
	    " AND g.tgenabled <> 'D' AND g.tgname > 'outbox_relay_x' COLLATE \"C\""
	    " AND g.tgname <> 'outbox_relay_x_stays' ORDER BY g.tgname");
	bool good = result != NULL && PQntuples(result) == 0;

	for (int row = 0; result != NULL && row < PQntuples(result); row++)
		check_warn(s->check, "see that it leaves x as it is, or rename it",
			   "trigger %s of table %s runs after outbox_relay_x: what it puts into x "
			   "stays there",
			   pgsync_text(result, row, "name"), s->shown);
	PQclear(result);
	return good;
}

/* ---- of which shards ---- */

struct keys {
	const struct config *config;
	char *list; /* owned; by chr(31) */
};

static void add_key(const char *field, void *arg)
{
	struct keys *keys = arg;

	xappend(&keys->list, "%s%s", *keys->list != '\0' ? "\x1f" : "",
		route_column(&keys->config->outbox.columns, field));
}

/* The columns of the key, as position_keys has them. */
static char *keys_of(const struct config *config)
{
	static const struct config_strings no_headers = {NULL, 0};
	const struct route_rules rules = {
	    .topic = "topic", .key = config->route.key, .headers = &no_headers};
	struct keys keys = {config, xstrdup("")};
	struct error err;

	/* False it cannot be: the template was checked when the file was read. */
	route_fields(&rules, add_key, &keys, &err);
	return keys.list;
}

static void judge_layout(const struct subject *s, const PGresult *result)
{
	int64_t layout = pgsync_number(result, 0, "layout"), shards = s->config->outbox.shards;
	const char *known = pgsync_text(result, 0, "keys");
	char *keys = keys_of(s->config);
	bool differ = shards > 1 && layout == shards && strcmp(known ? known : "", keys) != 0;

	free(keys);
	if ((layout == 0) != (s->table.outbox.partitions > 0))
		check_error(s->check, MIGRATE,
			    "the positions of table %s are of a table that was partitioned in "
			    "another way",
			    s->shown);
	else if (layout == 0)
		check_ok(s->check, "each of the %d partitions of table %s has a position",
			 s->table.outbox.partitions, s->shown);
	else if (layout != shards || differ)
		check_ok(s->check,
			 "table %s has positions of %lld shards%s, and the configuration has %lld: "
			 "relays that begin publish to one common position first, and then go on "
			 "with the new ones",
			 s->shown, (long long)layout, differ ? " by another key" : "",
			 (long long)shards);
	else
		check_ok(s->check, "table %s has positions of %lld shard%s", s->shown,
			 (long long)layout, layout == 1 ? "" : "s");
}

static void check_layout(const struct subject *s)
{
	PGresult *result = subject_ask(
	    s, "looking at positions",
	    "SELECT o.position_layout AS layout, array_to_string(o.position_keys, chr(31)) AS"
	    " keys, $2::text FROM outbox_relay.outboxes AS o WHERE o.outbox = to_regclass($1)");

	if (result != NULL && PQntuples(result) > 0)
		judge_layout(s, result);
	PQclear(result);
}

static bool check_home(const struct subject *s)
{
	struct error err;

	return unsettled_known(s->conn, s->config, s->name, NULL, &err) || subject_refuse(s, &err);
}

/* ---- rows that change ---- */

/* Whoever has been granted UPDATE on such a column of the outbox, or of a part of it. */
static const char UPDATERS_SQL[] =
    "SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS role,"
    " coalesce(o.writer::oid = g.grantee, false) AS writes,"
    " string_agg(DISTINCT quote_ident(g.col), ', ') AS columns" LOOKED_UP
    " JOIN pg_class AS c ON c.oid = leaf CROSS JOIN LATERAL ("
    "  SELECT a.attname AS col, e.grantee FROM pg_attribute AS a CROSS JOIN LATERAL"
    "  (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) AS e"
    "  WHERE a.attrelid = c.oid AND a.attname::text = ANY (string_to_array($2, chr(31)))"
    "  AND e.privilege_type = 'UPDATE' AND e.grantee <> c.relowner) AS g"
    " JOIN outbox_relay.outboxes AS o ON o.outbox = to_regclass($1) GROUP BY 1, 2 ORDER BY 1";

static void tell_updater(const struct subject *s, const PGresult *result, int row)
{
	const char *role = pgsync_text(result, row, "role");
	char *remedy = xasprintf("REVOKE UPDATE ON %s FROM %s, or grant it on other columns only",
				 s->shown, role);

	check_warn(s->check, remedy,
		   "role %s%s may UPDATE %s of table %s: a position tells rows apart "
		   "by them, so that such an UPDATE fails, or moves a row past it",
		   role, pgsync_bool(result, row, "writes") ? ", which inserts events," : "",
		   pgsync_text(result, row, "columns"), s->shown);
	free(remedy);
}

static bool check_updaters(const struct subject *s)
{
	char *keys = keys_of(s->config);
	char *columns = xasprintf("x\x1f%s\x1f%s", s->config->outbox.columns.id, keys);
	const char *params[] = {s->name, columns};
	PGresult *result = subject_query(s, "looking at who may update", UPDATERS_SQL, 2, params);
	bool good = result != NULL && PQntuples(result) == 0;

	for (int row = 0; result != NULL && row < PQntuples(result); row++)
		tell_updater(s, result, row);
	PQclear(result);
	free(columns);
	free(keys);
	return good;
}

/* Nothing else says how old a row is. Of partitions check_parts tells. */
static void check_retention(const struct subject *s)
{
	if (*s->config->outbox.columns.created_at != '\0' || s->table.outbox.parts > 0)
		return;
	check_warn(s->check,
		   "name the column in outbox.columns.created_at, or delete rows yourself",
		   "no column says when a row of table %s was created: outbox.retention deletes "
		   "none, and all stay",
		   s->shown);
}

void check_position(const struct subject *s)
{
	bool good;

	if (s->config->outbox.settle != SETTLE_POSITION || !check_home(s))
		return;
	check_layout(s);
	check_retention(s);
	good = check_column(s);
	good = check_index(s) && good;
	good = check_triggers(s) && good;
	good = check_later_triggers(s) && good;
	good = check_updaters(s) && good;
	if (good)
		check_ok(s->check, "x of table %s is always the transaction that inserted the row",
			 s->shown);
}
