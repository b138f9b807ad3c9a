/*
 * open.c - from a connection to a session that serves: look, refuse or prepare
 *
 * First the session is asked whether it is one, and nothing is set, so that a pooler's shared
 * session is left as it was; then the facts, the leaves and the columns are read, the session is
 * set up, the statements are made to the table's shape, and the other relays are joined.
 */
#include "outbox/outbox.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "internal.h"
#include "outbox/migrations.h"
#include "outbox/registry.h"
#include "outbox/table.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening a session ---- */

/* Statements of ours must walk the id index whatever the statistics say of a table that is empty
 * one second and a million rows the next, must wait for no lock for long, and must see each other's
 * commits. Whatever the role or the database has by default, a COMMIT that was answered must
 * survive a crash: its events are not remembered. A relay whose host has vanished must not keep the
 * lock: keepalives find out within some ten seconds, and over a unix socket, where no host can
 * vanish, they do nothing. What this version of Postgres does not know is left out, and so is
 * client_connection_check_interval where it may be refused (manual: it rests on poll(2) extensions
 * of Linux). */
static const char settings[] =
    "SELECT set_config(name, value, false) FROM (VALUES "
    "('plan_cache_mode', 'force_generic_plan'), "
    "('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), ('enable_hashjoin', 'off'), "
    "('enable_mergejoin', 'off'), ('jit', 'off'), ('max_parallel_workers_per_gather', '0'), "
    "('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', "
    "'off'), "
    "('statement_timeout', '0'), ('transaction_timeout', '0'), ('lock_timeout', '5s'), "
    "('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')), "
    "('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', "
    "'3'), "
    "(CASE WHEN version() ~ 'linux' THEN 'client_connection_check_interval' END, '5s')) "
    "AS settings (name, value) "
    "WHERE current_setting(name, true) IS NOT NULL";

/* A database without an encoding (SQL_ASCII) may hold bytes that are not UTF-8, and asked for UTF-8
 * would refuse to give the row. */
static const char encoding[] = "SELECT set_config('client_encoding', 'SQL_ASCII', false) "
			       "WHERE current_setting('server_encoding') = 'SQL_ASCII'";

static const char facts[] =
    "SELECT pg_is_in_recovery(), current_setting('server_version_num')::int, "
    "c.oid::int8, (SELECT oid::int8 FROM pg_database WHERE datname = current_database()), "
    "CASE WHEN c.oid IS NOT NULL AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND "
    "attname = $2 AND NOT attisdropped) THEN pg_get_serial_sequence($1, $2)::regclass::oid::int8 "
    "END, "
    "EXISTS (SELECT FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE "
    "n.nspname = 'outbox_relay' AND r.relname = 'outboxes'), has_table_privilege(c.oid, 'SELECT'), "
    "has_table_privilege(c.oid, 'DELETE') AND has_any_column_privilege(c.oid, 'UPDATE'), "
    "current_user, t.* "
    "FROM (SELECT to_regclass($1)::oid AS oid) AS c LEFT JOIN " OUTBOX_TABLE " AS t ON true";

/* The tables that hold the rows. A trigger, be it a foreign key's, may put work off to the end of
 * the transaction, itself or by what it does to other tables. */
static const char leaves[] =
    "SELECT r.oid::int8, format('%I.%I', n.nspname, r.relname), "
    "has_table_privilege(r.oid, 'SELECT') AND has_table_privilege(r.oid, 'DELETE') AND "
    "has_any_column_privilege(r.oid, 'UPDATE'), "
    "EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = r.oid AND t.tgname <> "
    "'outbox_relay_bell'), "
    /* AFTER (neither 2, BEFORE, nor 64, INSTEAD) DELETE or UPDATE: pg_trigger.h */
    "EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = r.oid AND NOT t.tgisinternal AND "
    "t.tgtype & 66 = 0 AND t.tgtype & 24 <> 0) "
    "FROM pg_class AS r JOIN pg_namespace AS n ON n.oid = r.relnamespace "
    "WHERE (r.oid = to_regclass($1) AND r.relkind <> 'p') OR "
    "r.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1) AND "
    "(SELECT relkind FROM pg_class WHERE oid = inhparent) = 'p') ORDER BY r.oid";

static const char columns[] = "SELECT a.attname, " OUTBOX_BASE_TYPE "::int8 FROM pg_attribute AS a "
			      "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 "
			      "AND NOT a.attisdropped ORDER BY a.attnum";

void outbox_open_connected(void *owner)
{
	struct outbox *outbox = owner;
	FAILPOINT("session-open");
	session_ask_text(&outbox->opening, TAG_SESSION, pgsession_question, NULL, 0);
	session_sync(outbox->session);
}

static void on_session(struct outbox *outbox, PGresult *result)
{
	char table[PGNAME_FULL_SIZE];
	struct error err;
	bool good = pgsession_check(result, session_backend(outbox->session), &err);
	PQclear(result);
	if (!good) {
		session_give_up(outbox->session, true, err.text);
		return;
	}
	pgname_print(&outbox->name, table);
	struct pg_param params[] = {pg_param_text(table),
				    pg_param_text(outbox->config->outbox.columns.id)};
	struct outbox_shape *shape = session_new_shape(outbox->session);
	shape->table = xstrdup(table);
	outbox->opened_shape = shape;
	shape->competing = outbox->config->outbox.ordering == ORDERING_NONE;
	session_ask_text(&outbox->opening, TAG_IGNORE, encoding, NULL, 0);
	session_ask_text(&outbox->opening, TAG_FACTS, facts, params, 2);
	session_ask_text(&outbox->opening, TAG_LEAVES, leaves, params, 1);
	session_ask_text(&outbox->opening, TAG_COLUMNS, columns, params, 1);
	session_sync(outbox->session);
}

/* Should the relay hang or vanish, the server ends its session, and its shards are free; while it
 * waits for the next statement by the first two, while it sends an answer by the third. */
static void set_up(struct outbox *outbox)
{
	char timeout[32];
	snprintf(timeout, sizeof(timeout), "%lldms",
		 (long long)outbox->config->outbox.session_timeout_ms);
	struct pg_param param = pg_param_text(timeout);
	session_ask_text(&outbox->opening, TAG_IGNORE, settings, NULL, 0);
	session_ask_text(&outbox->opening, TAG_IGNORE,
			 "SELECT set_config('idle_session_timeout', $1, false), "
			 "set_config('idle_in_transaction_session_timeout', $1, false), "
			 "set_config('tcp_user_timeout', $1, false)",
			 &param, 1);
	session_sync(outbox->session);
}

static uint32_t oid_at(const PGresult *result, int column)
{
	return (uint32_t)strtoul(PQgetvalue(result, 0, column), NULL, 10);
}

static bool is_true(const PGresult *result, int column)
{
	return PQgetvalue(result, 0, column)[0] == 't';
}

enum {
	FACT_STANDBY,
	FACT_VERSION,
	FACT_TABLE,
	FACT_DATABASE,
	FACT_SEQUENCE,
	FACT_MIGRATED,
	FACT_MAY_READ,
	FACT_MAY_TAKE,
	FACT_USER
};

enum { LEAF_OID, LEAF_NAME, LEAF_MAY_TAKE, LEAF_GUARDED, LEAF_VERIFIES };

/* Why this server, database or table cannot be used; true if it can. *permanent: waiting is no use.
 */
static bool check_facts(const struct outbox *outbox, const PGresult *result,
			const struct outbox_table *catalog, bool *permanent, struct error *err)
{
	const char *table = outbox->shape->table, *user = PQgetvalue(result, 0, FACT_USER);
	*permanent = true;
	if (atoi(PQgetvalue(result, 0, FACT_VERSION)) < 140000)
		return error_set(err, "Postgres 14 or later is needed, this is %s",
				 PQgetvalue(result, 0, FACT_VERSION));
	*permanent = false;
	if (is_true(result, FACT_STANDBY))
		return error_set(err,
				 "this server is a standby and takes no writes; point database.dsn "
				 "at the primary, or list all hosts with "
				 "target_session_attrs=read-write");
	*permanent = true;
	if (PQgetisnull(result, 0, FACT_TABLE))
		return error_set(err,
				 "table %s does not exist in this database; run outbox-relay "
				 "migrate, or mend outbox.table",
				 table);
	if (!outbox_table_check(catalog, table, outbox->config->outbox.settle == SETTLE_MARK,
				err) ||
	    (catalog->partitions > 0 &&
	     !outbox_partitions_check(catalog, outbox->config, table, err)))
		return false;
	if (!is_true(result, FACT_MIGRATED))
		return error_set(err, "schema outbox_relay is not complete in this database; run "
				      "outbox-relay migrate");
	if (!is_true(result, FACT_MAY_READ) || !is_true(result, FACT_MAY_TAKE))
		return error_set(err,
				 "role %s may not SELECT, DELETE and UPDATE on table %s; run "
				 "outbox-relay migrate, and connect as the role outbox_relay or a "
				 "member of it",
				 user, table);
	return true;
}

static void on_facts(struct outbox *outbox, PGresult *result)
{
	struct outbox_table table;
	struct error err;
	bool permanent;
	outbox_table_read(result, &table);
	if (!check_facts(outbox, result, &table, &permanent, &err)) {
		PQclear(result);
		session_give_up(outbox->session, permanent, err.text);
		return;
	}
	struct outbox_shape *shape = outbox->opened_shape;
	shape->oid = oid_at(result, FACT_TABLE);
	shape->database = oid_at(result, FACT_DATABASE);
	shape->sequence = oid_at(result, FACT_SEQUENCE);
	shape->partitioned = table.partitions > 0;
	shape->leaf_count = shape->partitioned ? (size_t)table.partitions : 1;
	shape->leaves = xcalloc(shape->leaf_count, sizeof(*shape->leaves));
	PQclear(result);
}

static void on_leaves(struct outbox *outbox, PGresult *result)
{
	struct outbox_shape *shape = outbox->opened_shape;
	struct error err = {""};
	bool whole = (size_t)PQntuples(result) == shape->leaf_count;
	if (!whole)
		error_set(&err, "the partitions of table %s have just changed", shape->table);
	for (size_t i = 0; i < shape->leaf_count && err.text[0] == '\0'; i++) {
		const char *leaf = PQgetvalue(result, (int)i, LEAF_NAME);
		shape->leaves[i].oid =
		    (uint32_t)strtoul(PQgetvalue(result, (int)i, LEAF_OID), NULL, 10);
		shape->leaves[i].table = xstrdup(leaf);
		if (PQgetvalue(result, (int)i, LEAF_GUARDED)[0] == 't')
			session_guard(outbox->session);
		outbox->verifies |= PQgetvalue(result, (int)i, LEAF_VERIFIES)[0] == 't';
		if (PQgetvalue(result, (int)i, LEAF_MAY_TAKE)[0] != 't')
			error_set(&err,
				  "the relay's role may not SELECT, DELETE and UPDATE on "
				  "partition %s; run outbox-relay migrate again",
				  leaf);
	}
	PQclear(result);
	if (err.text[0] != '\0')
		session_give_up(outbox->session, whole, err.text);
}

static void ask_registry(struct outbox *outbox)
{
	const struct outbox_shape *shape = outbox->shape;
	struct pg_param params[] = {pg_param_text(shape->table), pg_param_text(shape->names->id),
				    pg_param_text(shape->mark ? "true" : "false")};
	session_ask_text(&outbox->opening, TAG_REGISTRY, outbox_registry, params, 3);
	session_sync(outbox->session);
}

static void on_columns(struct outbox *outbox, PGresult *result)
{
	struct outbox_shape *shape = outbox->opened_shape;
	struct error err;
	shape->mark = outbox->config->outbox.settle == SETTLE_MARK;
	if (!shape->competing && !shape->partitioned && outbox->config->outbox.shards > 1)
		shape->hashed = (int)outbox->config->outbox.shards;
	shape->keys = outbox->keys;
	shape->key_count = outbox->key_count;
	shape->withhold_bytes = outbox->withhold_bytes;
	shape->names = &outbox->config->outbox.columns;
	shape->fields = outbox->fields;
	shape->field_count = outbox->field_count;
	shape->column_count = (size_t)PQntuples(result);
	shape->columns = xcalloc(shape->column_count + 1, sizeof(*shape->columns));
	for (int i = 0; i < PQntuples(result); i++) {
		shape->columns[i].name = xstrdup(PQgetvalue(result, i, 0));
		shape->columns[i].type = (uint32_t)strtoul(PQgetvalue(result, i, 1), NULL, 10);
	}
	PQclear(result);
	if (!outbox_shape_check(shape, &err)) {
		session_give_up(outbox->session, true, err.text);
		return;
	}
	ask_registry(outbox);
}

static void prepare(struct outbox *outbox, const char *name, char *sql)
{
	session_prepare(&outbox->opening, TAG_PREPARED, name, sql);
}

static void prepare_on(struct outbox *outbox, const char *name, size_t leaf, char *sql)
{
	session_prepare_leaf(&outbox->opening, TAG_PREPARED, name, leaf, sql);
}

void outbox_open_leaf(struct outbox *outbox, size_t leaf)
{
	const struct outbox_shape *shape = outbox->shape;
	if (shape->leaves[leaf].prepared)
		return;
	shape->leaves[leaf].prepared = true;
	int64_t retention_ms = outbox->config->outbox.retention_ms;
	prepare_on(outbox, "claim", leaf, outbox_sql_claim(shape, leaf, false));
	prepare_on(outbox, "claim_exact", leaf, outbox_sql_claim(shape, leaf, true));
	prepare_on(outbox, "suspect", leaf, outbox_sql_suspect(shape, leaf));
	prepare_on(outbox, "still", leaf, outbox_sql_still(shape, leaf));
	prepare_on(outbox, "left", leaf, outbox_sql_left(shape, leaf));
	prepare_on(outbox, "ids", leaf, outbox_sql_ids(shape, leaf));
	prepare_on(outbox, "settle", leaf, outbox_sql_settle(shape, leaf));
	prepare_on(outbox, "set_aside", leaf, outbox_sql_dead_letter(shape, leaf, true));
	prepare_on(outbox, "set_aside_bare", leaf, outbox_sql_dead_letter(shape, leaf, false));
	prepare_on(outbox, "gauges", leaf, outbox_sql_gauges(shape, leaf));
	if (shape->mark)
		prepare_on(outbox, "purge", leaf, outbox_sql_purge(shape, leaf, retention_ms));
}

void outbox_open_leaves(struct outbox *outbox)
{
	for (size_t leaf = 0; leaf < outbox->shape->leaf_count; leaf++)
		outbox_open_leaf(outbox, leaf);
	session_sync(outbox->session);
}

/* A claim of no rows shows what the server has against any claim: a right, a rule, a trigger of
 * statements. */
void outbox_open_probe(struct outbox *outbox)
{
	struct pg_int8 none = pg_put_int8(0);
	struct pg_param params[5] = {pg_param_int8(&none), pg_param_int8(&none),
				     pg_param_int8(&none), pg_param_text(NULL)};
	session_ask_own_leaves(&outbox->opening, TAG_PREPARED, "claim", params, 4, true);
	session_ask_text(&outbox->opening, TAG_OPENED, "SELECT", NULL, 0);
	session_sync(outbox->session);
}

static void on_registry(struct outbox *outbox, PGresult *result)
{
	struct outbox_shape *shape = outbox->opened_shape;
	struct error err;
	int version;
	if (!outbox_registry_check(result, shape->table, shape->mark, &err)) {
		PQclear(result);
		session_give_up(outbox->session, true, err.text);
		return;
	}
	version = atoi(PQgetvalue(result, 0, REGISTRY_VERSION));
	if (version > migrate_latest())
		log_info("schema outbox_relay has version %d, this relay knows %d", version,
			 migrate_latest());
	shape->bell = oid_at(result, REGISTRY_BELL);
	PQclear(result);
	set_up(outbox);
	prepare(outbox, "fleet", outbox_sql_group(shape));
	prepare(outbox, "drawn", outbox_sql_drawn(shape));
	prepare(outbox, "writers", outbox_sql_writers(shape));
	prepare(outbox, "bell", outbox_sql_bell(shape));
	prepare(outbox, "bell_off", outbox_sql_bell_off(shape, false));
	prepare(outbox, "bell_off_told", outbox_sql_bell_off(shape, true));
	prepare(outbox, "begin", xstrdup("BEGIN"));
	prepare(outbox, "immediate", xstrdup("SET CONSTRAINTS ALL IMMEDIATE"));
	prepare(outbox, "commit", xstrdup("COMMIT"));
	session_ask_text(&outbox->opening, TAG_IGNORE, "LISTEN outbox_relay", NULL, 0);
	outbox->beat_us = outbox->heard_us = clock_boottime_us();
	session_serve(outbox->session);
	outbox_group_join(outbox);
}

void outbox_open_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	if (tag == TAG_SESSION)
		on_session(outbox, result);
	else if (tag == TAG_FACTS)
		on_facts(outbox, result);
	else if (tag == TAG_LEAVES)
		on_leaves(outbox, result);
	else if (tag == TAG_COLUMNS)
		on_columns(outbox, result);
	else if (tag == TAG_REGISTRY)
		on_registry(outbox, result);
	else
		PQclear(result);
	if (tag == TAG_OPENED)
		outbox_group_acquired(outbox, true);
}

/* What cannot be prepared, or claims nothing without an error, never will. */
bool outbox_open_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	if (failure->tag != TAG_PREPARED || failure->permanent || passing_kind(failure->state))
		return false;
	session_give_up(outbox->session, true, failure->why);
	return true;
}
