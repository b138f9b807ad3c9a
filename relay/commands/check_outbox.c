/* SPDX-License-Identifier: ISC */
/*
 * check_outbox.c - `check`: the relay's schema, the outbox table, its rights, ids, bell and
 * vacuum
 */
#include "base/xalloc.h"
#include "check_subject.h"
#include "condition.h"
#include "core/encode.h"
#include "core/route.h"
#include "depth_guard.h"
#include "outbox/migrations.h"
#include "outbox/obstacles.h"
#include "outbox/registry.h"
#include "outbox/table.h"
#include "postgres.h"
#include "sequence.h"
#include "unsettled.h"
#include "warnings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The tables that hold rows: a partitioned one has partitions for that. */
#define LEAVES                                                                                     \
	"(SELECT c.oid::regclass AS leaf, c.reloptions,"                                           \
	" CASE WHEN c.oid <> to_regclass($1) THEN c.oid::regclass::text END AS partition"          \
	" FROM pg_class c WHERE c.relkind = 'r' AND (c.oid = to_regclass($1)"                      \
	"  OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1))))) AS leaves"

static bool check_schema(const struct subject *s)
{
	/* By the catalog: to_regclass fails on a schema that one may not use. */
	static const char SQL[] =
	    "SELECT count(*) > 0 AS present, coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE')"
	    " AND has_table_privilege(c.oid, 'SELECT')), false) AS readable, $1::text, $2::text"
	    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
	    " WHERE n.nspname = 'outbox_relay' AND c.relname IN ('schema_version', 'outboxes')";
	PGresult *result = subject_ask(s, "looking for the relay's schema", SQL);
	bool readable = result && pgsync_bool(result, 0, "readable");
	int version;

	if (result && !pgsync_bool(result, 0, "present"))
		check_error(s->check, MIGRATE, "the relay's schema outbox_relay does not exist");
	else if (result && !readable)
		check_error(s->check, RIGHTS, "this role may not read the schema outbox_relay");
	PQclear(result);
	if (!readable)
		return false;
	result = subject_ask(s, "reading the schema version",
			     "SELECT coalesce(max(version), 0) AS version, $1::text, $2::text"
			     " FROM outbox_relay.schema_version");
	if (!result)
		return false;
	version = (int)pgsync_number(result, 0, "version");
	PQclear(result);
	if (version < migrate_latest())
		check_error(s->check, MIGRATE, "schema version is %d, this relay needs %d", version,
			    migrate_latest());
	else if (version > migrate_latest())
		check_warn(s->check, "use the outbox-relay that made it",
			   "schema version is %d, this relay knows %d", version, migrate_latest());
	else
		check_ok(s->check, "schema version is %d", version);
	return version >= migrate_latest();
}

static bool check_table(struct subject *s)
{
	struct error err;

	if (!adopt_table_read(s->conn, &s->table, &err)) {
		check_error(s->check,
			    subject_remedy("GRANT USAGE ON its SCHEMA to the relay's role"),
			    "table %s was not checked: %s", s->shown, err.text);
		return false;
	}
	if (!s->table.exists) {
		check_error(s->check, "create it with `outbox-relay migrate`, or fix outbox.table",
			    "table %s does not exist", s->shown);
		return false;
	}
	return outbox_table_check(&s->table.outbox, s->shown,
				  s->config->outbox.settle == SETTLE_MARK, &err) ||
	       subject_refuse(s, &err);
}

/* Whether its partitions can be its shards. */
static void check_partitions(const struct subject *s)
{
	struct error err;

	if (!outbox_partitions_check(&s->table.outbox, s->config, s->shown, &err))
		subject_refuse(s, &err);
	else if (s->config->outbox.ordering != ORDERING_NONE)
		check_ok(s->check, "each of the %d partitions of table %s is a shard",
			 s->table.outbox.partitions, s->shown);
}

static const struct adopt_column *column_of(const struct subject *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->table.facts.count; i++) {
		if (strcmp(s->table.facts.columns[i].name, name) == 0)
			return &s->table.facts.columns[i];
	}
	return NULL;
}

/* Only where the relay does something with the value besides making text of it. */
static bool type_matters(enum adopt_role role)
{
	return role == ADOPT_ID || role == ADOPT_PAYLOAD || role == ADOPT_HEADERS ||
	       role == ADOPT_CREATED_AT;
}

/* An event can do without these. */
#define NONE(part) "set outbox.columns." part " = \"\" if there is none, or name the right one"
static const char *const without[ADOPT_ROLES] = {[ADOPT_AGGREGATE_TYPE] = NONE("aggregate_type"),
						 [ADOPT_EVENT_TYPE] = NONE("event_type"),
						 [ADOPT_HEADERS] = NONE("headers"),
						 [ADOPT_CREATED_AT] = NONE("created_at")};

static bool check_column(const struct subject *s, enum adopt_role role)
{
	const char *name = adopt_configured(&s->config->outbox.columns, role);
	const struct adopt_column *column = column_of(s, name);

	if (!*name)
		return true;
	if (!column) {
		check_error(s->check,
			    without[role] ? without[role]
					  : "name the right one in outbox.columns, or see "
					    "`outbox-relay migrate --adopt`",
			    "table %s has no column %s (outbox.columns.%s)", s->shown, name,
			    adopt_role_name(role));
		return false;
	}
	if (!type_matters(role) || adopt_column_fits(role, column))
		return true;
	check_error(s->check,
		    "name another one in outbox.columns, or see `outbox-relay migrate --adopt`",
		    "column %s (outbox.columns.%s) is of type %s and must be %s", name,
		    adopt_role_name(role), column->type, adopt_types(role));
	return false;
}

static void check_field(const char *field, void *arg)
{
	const struct subject *s = arg;

	if (!column_of(s, route_column(&s->config->outbox.columns, field)))
		check_error(s->check, "fix the template, or add the column",
			    "route names ${%s}, and table %s has no such column", field, s->shown);
}

/* What is written as a value of its column's type needs a rule for it. */
static void check_types(const struct subject *s)
{
	const char *params[] = {s->name};
	PGresult *columns =
	    subject_query(s, "looking at its columns", outbox_columns_question, 1, params);
	struct error err;

	if (columns != NULL && !outbox_columns_check(columns, s->config, &err))
		subject_refuse(s, &err);
	PQclear(columns);
}

static void check_route(struct subject *s)
{
	const struct route_rules rules = route_rules_of(s->config);
	struct error err;

	/* False it cannot be: the templates were checked when the file was read. */
	route_fields(&rules, check_field, s, &err);
	encode_fields(&s->config->encode, check_field, s);
	check_types(s);
}

static bool check_columns(const struct subject *s)
{
	bool good = true;
	int role;

	for (role = 0; role < ADOPT_ROLES; role++)
		good = check_column(s, (enum adopt_role)role) && good;
	if (s->config->outbox.settle == SETTLE_MARK &&
	    !column_of(s, s->config->outbox.columns.published_at)) {
		check_error(s->check, MIGRATE,
			    "table %s has no column %s, which settle = \"mark\" needs", s->shown,
			    s->config->outbox.columns.published_at);
		good = false;
	}
	if (good)
		check_ok(s->check, "table %s has all columns", s->shown);
	return good;
}

/* Nothing is lost by a NULL in them, but promises hang on them. */
static void check_nullable(const struct subject *s)
{
	static const char SQL[] =
	    "SELECT attname = $2 AS identity, attname FROM pg_attribute"
	    " WHERE attrelid = to_regclass($1) AND attname IN ($2, $3) AND NOT attnotnull"
	    " ORDER BY attnum";
	const struct config_columns *columns = &s->config->outbox.columns;
	const char *params[] = {s->name, columns->event_id, columns->aggregate_id};
	PGresult *result = subject_query(s, "looking for NULLs", SQL, 3, params);
	int row;

	for (row = 0; result && row < PQntuples(result); row++)
		check_warn(s->check, "ALTER TABLE ... ALTER COLUMN ... SET NOT NULL",
			   "column %s of %s may be NULL; an event without it has no %s",
			   pgsync_text(result, row, "attname"), s->shown,
			   pgsync_bool(result, row, "identity")
			       ? "identity, by which consumers drop repeats"
			       : "key, and so no order");
	PQclear(result);
}

static bool check_table_rights(const struct subject *s)
{
	/* On every leaf, as partitions are claimed from one by one. */
	static const char SQL[] =
	    "SELECT string_agg(missing || CASE WHEN leaf = to_regclass($1) THEN '' ELSE ' on ' ||"
	    " leaf::text END, ', ' ORDER BY leaf, missing) AS missing, $2::text,"
	    " bool_or(row_security_active(leaf)) AS filtered,"
	    " bool_or(" OUTBOX_MAY_HIDE(
		"leaf") ") AS may_hide,"
			" bool_or(row_security_active(leaf) AND NOT EXISTS (SELECT FROM pg_policy "
			"p, unnest("
			"  p.polroles) AS r (id) WHERE p.polrelid = leaf AND p.polpermissive"
			"  AND (r.id = 0 OR pg_has_role(r.id, 'USAGE')))) AS hidden FROM ("
			"  SELECT to_regclass($1) AS leaf"
			"  UNION SELECT relid FROM pg_partition_tree(to_regclass($1))) AS leaves"
			" LEFT JOIN LATERAL (VALUES"
			"  (has_table_privilege(leaf, 'SELECT'), 'SELECT'),"
			"  ($3 OR has_table_privilege(leaf, 'DELETE'), 'DELETE'),"
			"  ($3 OR has_any_column_privilege(leaf, 'UPDATE'), 'UPDATE')) AS v (has, "
			"missing)"
			" ON NOT has";
	bool stay = s->config->outbox.settle == SETTLE_POSITION, good = true;
	const char *params[] = {s->name, s->config->outbox.columns.id, stay ? "true" : "false"};
	PGresult *result = subject_query(s, "looking at rights on the table", SQL, 3, params);

	if (result && pgsync_text(result, 0, "missing")) {
		check_error(s->check, RIGHTS, "this role lacks rights on %s: %s", s->shown,
			    pgsync_text(result, 0, "missing"));
		good = false;
	}
	if (result && pgsync_bool(result, 0, "hidden")) {
		check_error(s->check,
			    "ALTER ROLE ... BYPASSRLS, or add a policy that shows it all rows",
			    "row level security hides all rows of %s from this role", s->shown);
		good = false;
	} else if (result && stay && pgsync_bool(result, 0, "may_hide")) {
		check_error(
		    s->check,
		    "add a policy FOR SELECT USING (true) for it, or ALTER ROLE ... BYPASSRLS",
		    "row level security may hide rows of %s from this role; what is hidden "
		    "when the position passes it is never published",
		    s->shown);
		good = false;
	} else if (result && !stay && pgsync_bool(result, 0, "filtered")) {
		check_warn(s->check,
			   "see that a policy lets it SELECT, UPDATE and DELETE all rows, or "
			   "ALTER ROLE ... BYPASSRLS",
			   "row level security decides which rows of %s this role sees; what it "
			   "hides is never published",
			   s->shown);
		good = false;
	}
	PQclear(result);
	return good;
}

/* What is not wrong, and has to be known. */
static void check_marks(const struct subject *s, const PGresult *result)
{
	const char *where = s->config->outbox.where;

	if (s->config->outbox.settle == SETTLE_MARK &&
	    PQgetvalue(result, 0, REGISTRY_MARK_TIMED)[0] != 't')
		check_ok(s->check,
			 "column %s marks rows and does not say when: outbox.retention deletes "
			 "none of them",
			 s->config->outbox.columns.published_at);
	if (*where != '\0' && *PQgetvalue(result, 0, REGISTRY_CONDITION) == '\0')
		check_warn(s->check, MIGRATE,
			   "the database does not know outbox.where yet; a depth guard counts all "
			   "rows of %s",
			   s->shown);
}

static bool check_registry(const struct subject *s)
{
	bool mark = s->config->outbox.settle == SETTLE_MARK, good;
	const char *params[] = {s->name, s->config->outbox.columns.id, mark ? "true" : "false",
				s->config->outbox.columns.published_at};
	struct error err;
	PGresult *result =
	    subject_query(s, "asking the relay's schema for the table", outbox_registry, 4, params);

	if (!result)
		return false;
	good = outbox_registry_check(result, s->shown, s->config, &err);
	if (good)
		check_marks(s, result);
	PQclear(result);
	return good ? check_parked(s->check, s->config, s->conn, s->name) : subject_refuse(s, &err);
}

static void check_rights(const struct subject *s, bool whole)
{
	bool table = check_table_rights(s);

	/* The question names columns. */
	if (whole && check_registry(s) && table)
		check_ok(s->check, "this role has the rights it needs");
}

static void check_sequence(const struct subject *s)
{
	PGresult *result = subject_ask(s, "looking at the sequence of ids", sequence_question);
	struct sequence_finding finding;

	if (!result)
		return;
	sequence_judge(result, &finding);
	PQclear(result);
	if (finding.state == SEQUENCE_RIGHT)
		check_ok(s->check, "%s", finding.what);
	else if (finding.state == SEQUENCE_BREAKS)
		check_error(s->check, finding.remedy, "%s", finding.what);
	else
		check_warn(s->check, finding.remedy, "%s", finding.what);
}

static void check_warnings(const struct subject *s)
{
	struct error err;
	PGresult *result = warnings_read(s->conn, s->name, &s->config->outbox.columns,
					 s->config->outbox.settle, &err);

	if (!result)
		check_error(s->check, subject_remedy(RIGHTS), "%s", err.text);
	for (int row = 0; result && row < PQntuples(result); row++)
		check_warn(s->check, pgsync_text(result, row, "remedy"), "%s",
			   pgsync_text(result, row, "what"));
	if (result && PQntuples(result) == 0)
		check_ok(s->check, "nothing stops rows of %s from being settled", s->shown);
	PQclear(result);
}

/* Whether the claims of a leaf find one. */
static bool check_index_of(const struct subject *s, const PGresult *result, int row)
{
	bool mark = s->config->outbox.settle == SETTLE_MARK;
	const char *id = s->config->outbox.columns.id;
	const char *leaf = pgsync_text(result, row, "partition");

	if (pgsync_bool(result, row, mark ? "waiting" : "whole"))
		return true;
	if (mark)
		check_error(s->check, MIGRATE,
			    "no index on %s (%s) WHERE %s; every claim would walk over what is "
			    "published already",
			    leaf ? leaf : s->shown, id, pgsync_text(result, row, "waits"));
	else
		check_error(s->check, "CREATE UNIQUE INDEX CONCURRENTLY one",
			    "no index on %s leads with %s; every claim would read the whole table",
			    leaf ? leaf : s->shown, id);
	return false;
}

static void check_index(const struct subject *s, bool migrated)
{
	static const char usual[] = "(published_at IS NULL)";
	static const char SQL[] =
	    "SELECT partition, coalesce(whole, false) AS whole, coalesce(waiting, false) AS "
	    "waiting,"
	    " btrim($3, '()') AS waits"
	    " FROM " LEAVES " LEFT JOIN LATERAL (SELECT bool_or(i.indpred IS NULL) AS whole,"
	    "  bool_or(pg_get_expr(i.indpred, i.indrelid) = $3) AS waiting"
	    "  FROM pg_index i JOIN pg_attribute a"
	    "   ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
	    "  JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam"
	    "  WHERE i.indrelid = leaf AND a.attname = $2 AND i.indisvalid"
	    "   AND m.amname = 'btree') AS has ON true ORDER BY leaf";
	struct error err;
	char *waits = migrated ? unsettled_marks(s->conn, s->name, "waits_index", usual, &err)
			       : xstrdup(usual);
	const char *params[] = {s->name, s->config->outbox.columns.id, waits};
	PGresult *result = waits ? subject_query(s, "looking at indexes", SQL, 3, params) : NULL;
	bool good = true;
	int row;

	for (row = 0; result && row < PQntuples(result); row++)
		good = check_index_of(s, result, row) && good;
	if (result && good)
		check_ok(s->check, "an index leads with %s", s->config->outbox.columns.id);
	PQclear(result);
	free(waits);
}

static void check_where(const struct subject *s)
{
	const char *where = s->config->outbox.where;
	struct error err;

	if (*where == '\0')
		return;
	if (condition_check(s->conn, "outbox.where", where, s->name, s->shown,
			    s->config->outbox.columns.id, &err))
		check_ok(s->check, "outbox.where is a condition on the rows of %s", s->shown);
	else
		check_error(s->check, "fix outbox.where", "%s", err.text);
}

static void judge_bell(const struct subject *s, const PGresult *result)
{
	const char *enabled = pgsync_text(result, 0, "tgenabled");

	if (!pgsync_bool(result, 0, "has_bell"))
		check_warn(s->check, MIGRATE,
			   "there is no bell for %s; events are only seen every poll_interval",
			   s->shown);
	else if (!enabled)
		check_warn(s->check, MIGRATE,
			   "table %s has no trigger outbox_relay_bell; events are only seen every "
			   "poll_interval",
			   s->shown);
	else if (*enabled == 'D' || *enabled == 'R')
		check_warn(s->check, "ALTER TABLE ... ENABLE TRIGGER outbox_relay_bell",
			   "trigger outbox_relay_bell on %s is %s; events are only seen every "
			   "poll_interval",
			   s->shown, *enabled == 'D' ? "disabled" : "enabled for replication only");
	else
		check_ok(s->check, "the bell of %s is in place", s->shown);
	/* Not our right but the applications': without it their INSERTs fail. */
	if (enabled && *enabled != 'D' && pgsync_bool(result, 0, "has_bell") &&
	    !pgsync_bool(result, 0, "public"))
		check_error(s->check, MIGRATE,
			    "PUBLIC may not read the bell of %s; inserts into the table fail",
			    s->shown);
}

static void check_bell(const struct subject *s)
{
	static const char SQL[] =
	    "SELECT t.tgenabled, b.oid IS NOT NULL AS has_bell, $2::text,"
	    " EXISTS (SELECT FROM aclexplode(b.relacl) a WHERE a.grantee = 0"
	    "  AND a.privilege_type = 'SELECT') AS public"
	    " FROM (SELECT to_regclass($1) AS box) AS x"
	    " LEFT JOIN outbox_relay.outboxes o ON o.outbox = x.box"
	    " LEFT JOIN pg_class b ON b.oid = o.bell"
	    " LEFT JOIN pg_trigger t ON t.tgrelid = x.box AND t.tgname = 'outbox_relay_bell'";
	PGresult *result = subject_ask(s, "looking at the bell", SQL);

	if (result)
		judge_bell(s, result);
	PQclear(result);
}

static bool check_vacuum_of(const struct subject *s, const PGresult *result, int row)
{
	const char *leaf = pgsync_text(result, row, "partition");

	if (pgsync_bool(result, row, "off"))
		check_error(s->check, "ALTER TABLE ... RESET (autovacuum_enabled)",
			    "autovacuum is off for %s; published rows are never cleaned up",
			    leaf ? leaf : s->shown);
	else if (!pgsync_bool(result, row, "tuned"))
		check_warn(s->check, MIGRATE,
			   "autovacuum of %s waits for a share of the table; claims slow down with "
			   "dead rows",
			   leaf ? leaf : s->shown);
	else
		return true;
	return false;
}

static void check_vacuum(const struct subject *s)
{
	static const char SQL[] =
	    "SELECT partition, coalesce(o.off, false) AS off,"
	    " coalesce(o.scale, false) AS tuned, $2::text FROM " LEAVES " LEFT JOIN LATERAL ("
	    "  SELECT bool_or(option_name = 'autovacuum_enabled' AND NOT option_value::bool) AS "
	    "off,"
	    "   bool_or(option_name = 'autovacuum_vacuum_scale_factor'"
	    "    AND option_value::float8 <= 0.02) AS scale"
	    "  FROM pg_options_to_table(leaves.reloptions)) AS o ON true ORDER BY leaf";
	PGresult *result = subject_ask(s, "looking at vacuum settings", SQL);
	bool good = true;
	int row;

	for (row = 0; result && row < PQntuples(result); row++)
		good = check_vacuum_of(s, result, row) && good;
	if (result && good)
		check_ok(s->check, "autovacuum comes often enough to %s", s->shown);
	PQclear(result);
}

/* It may have been forgotten. */
static void check_pause(const struct subject *s)
{
	static const char SQL[] = "SELECT $2::text FROM outbox_relay.outboxes"
				  " WHERE outbox = to_regclass($1) AND paused";
	PGresult *result = subject_ask(s, "looking for a pause", SQL);

	if (result && PQntuples(result) > 0)
		check_warn(s->check, "`outbox-relay resume` ends it",
			   "outbox %s is paused; no relay publishes its events", s->shown);
	PQclear(result);
}

void check_outbox(struct check *check, const struct config *config, PGconn *conn)
{
	struct subject s = {.check = check,
			    .config = config,
			    .conn = conn,
			    .table.published_at = config->outbox.columns.published_at,
			    .table.published_value = config->outbox.published_value};
	struct error err;
	bool migrated;

	if (!pgname_parse(config->outbox.table, &s.table.facts.table, &err)) {
		check_error(check, "fix outbox.table", "%s", err.text);
		return;
	}
	pgname_print(&s.table.facts.table, s.name);
	pgname_show(&s.table.facts.table, s.shown);
	migrated = check_schema(&s);
	if (check_table(&s)) {
		bool whole;

		check_route(&s);
		whole = check_columns(&s);
		if (whole) {
			check_sequence(&s);
			check_index(&s, migrated);
			check_where(&s);
			check_nullable(&s);
		}
		check_warnings(&s);
		if (s.table.outbox.partitions > 0)
			check_partitions(&s);
		if (migrated) {
			check_rights(&s, whole);
			check_bell(&s);
			check_pause(&s);
			depth_guard_check(check, conn, s.name, s.shown);
			check_parts(&s);
			check_position(&s);
			check_standbys(&s);
			check_strangers(&s);
		}
		check_vacuum(&s);
	}
	adopt_table_free(&s.table);
}
