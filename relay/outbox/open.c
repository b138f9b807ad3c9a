/* SPDX-License-Identifier: ISC */
/*
 * open.c - from a connection to a session that serves: check the table, prepare the statements
 *
 * First the session is asked whether it is one, and nothing is set, so that a pooler's shared
 * session is left as it was; then the facts, the leaves and the columns are read, the session is
 * set up, the statements are made to the table's shape, and the other relays are joined.
 */
#include "open.h"

#include "base/failpoints.h"
#include "base/log.h"
#include "base/pgname.h"
#include "base/xalloc.h"
#include "columns.h"
#include "condition.h"
#include "leaves.h"
#include "open_fields.h"
#include "open_settings.h"
#include "outbox/migrations.h"
#include "outbox/parked.h"
#include "outbox/registry.h"
#include "outbox/table.h"
#include "passing.h"
#include "pooled.h"
#include "position_home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TAG_SESSION = TAG_IGNORE + 1,
	TAG_FACTS,
	TAG_LEAVES,
	TAG_COLUMNS,
	TAG_CONDITION,
	TAG_FUNCTIONS,
	TAG_REGISTRY,
	TAG_SETTLING,
	TAG_ADMITTED,
	TAG_PARKED,
	TAG_POSITION,
	TAG_PREPARED,
	TAG_PROBED
};

struct opening {
	struct session *session;
	struct asker asker;
	struct pooled *pooled; /* owned; where a pooler may be in between */
	const struct opening_events *events;
	void *owner;
	struct pgname name;
	size_t withhold_bytes;
	struct open_fields own;
	struct outbox_shape *shape;   /* the session's, to be filled in */
	struct error lacking;	      /* what the table lacks, if rows are settled as we think */
	size_t expected_leaves;	      /* as counted just before they are read */
	bool verifies;		      /* outlives the session */
	char lacks[PGNAME_FULL_SIZE]; /* a part without rights; "": none */
};

/* ---- opening a session ---- */

static const char facts[] =
    "SELECT pg_is_in_recovery(), current_setting('server_version_num')::int, "
    "c.oid::int8, (SELECT oid::int8 FROM pg_database WHERE datname = current_database()), "
    "CASE WHEN c.oid IS NOT NULL AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND "
    "attname = $2 AND NOT attisdropped) THEN pg_get_serial_sequence($1, $2)::regclass::oid::int8 "
    "END, "
    "EXISTS (SELECT FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE "
    "n.nspname = 'outbox_relay' AND r.relname = 'outboxes'), has_table_privilege(c.oid, 'SELECT'), "
    "$3 OR has_table_privilege(c.oid, 'DELETE') AND has_any_column_privilege(c.oid, 'UPDATE'), "
    "current_user, t.* "
    "FROM (SELECT to_regclass($1)::oid AS oid) AS c LEFT JOIN " OUTBOX_TABLE("$4", "$5") " AS t ON "
											 "true";

void opening_begin(struct opening *opening)
{
	FAILPOINT("session-open");
	if (session_login(opening->session).pooled) {
		pooled_begin(opening->pooled);
		return;
	}
	session_ask_text(&opening->asker, TAG_SESSION, pgsession_question, NULL, 0);
	session_sync(opening->session);
}

static bool rows_stay(const struct opening *opening)
{
	return session_config(opening->session)->outbox.settle == SETTLE_POSITION;
}

/* What the table is like. */
static void read_catalog(void *arg)
{
	struct opening *opening = arg;
	const struct config *config = session_config(opening->session);
	char table[PGNAME_FULL_SIZE];
	pgname_print(&opening->name, table);
	struct pg_param params[] = {pg_param_text(table), pg_param_text(config->outbox.columns.id),
				    pg_param_text(rows_stay(opening) ? "true" : "false"),
				    pg_param_text(config->outbox.columns.published_at),
				    pg_param_text(config->outbox.published_value)};
	struct outbox_shape *shape = opening->shape = session_new_shape(opening->session);
	opening->lacking.text[0] = '\0';
	shape->table = xstrdup(table);
	shape->competing = config->outbox.ordering == ORDERING_NONE;
	shape->exactly_once = config->kafka.delivery == DELIVERY_EXACTLY_ONCE;
	session_ask_text(&opening->asker, TAG_IGNORE, open_encoding, NULL, 0);
	session_ask_text(&opening->asker, TAG_FACTS, facts, params, 5);
	session_ask_text(&opening->asker, TAG_LEAVES, leaves_question, params, 1);
	session_ask_text(&opening->asker, TAG_COLUMNS, outbox_columns_question, params, 1);
	session_sync(opening->session);
}

static void on_session(struct opening *opening, PGresult *result)
{
	struct error err;
	bool good = pgsession_check(result, session_backend(opening->session), &err);
	PQclear(result);
	if (good)
		read_catalog(opening);
	else
		session_give_up(opening->session, true, err.text);
}

/* Should the relay hang or vanish, the server ends its session, and its shards are free; while it
 * waits for the next statement by the first two, while it sends an answer by the third. */
static void set_up(struct opening *opening)
{
	char timeout[32];
	snprintf(timeout, sizeof(timeout), "%lldms",
		 (long long)session_config(opening->session)->outbox.session_timeout_ms);
	struct pg_param param = pg_param_text(timeout);
	session_ask_text(&opening->asker, TAG_IGNORE, open_settings, NULL, 0);
	session_ask_text(&opening->asker, TAG_IGNORE,
			 "SELECT set_config('idle_session_timeout', $1, false), "
			 "set_config('idle_in_transaction_session_timeout', $1, false), "
			 "set_config('tcp_user_timeout', $1, false)",
			 &param, 1);
	session_sync(opening->session);
}

/* What the table lacks, columns or rights, it may well lack because rows are settled in another
 * way: then that is told. */
static void ask_settling(struct opening *opening, const struct error *lacking)
{
	struct pg_param param = pg_param_text(opening->shape->table);
	opening->lacking = *lacking;
	session_ask_text(&opening->asker, TAG_SETTLING, outbox_settling, &param, 1);
	session_sync(opening->session);
}

static void on_settling(struct opening *opening, PGresult *result)
{
	struct error err = opening->lacking;
	if (PQntuples(result) > 0)
		outbox_settling_check(PQgetvalue(result, 0, 0), opening->shape->table,
				      session_config(opening->session)->outbox.settle, &err);
	PQclear(result);
	session_give_up(opening->session, true, err.text);
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

/* Why this server, database or table cannot be used; true if it can. *permanent: waiting is no use.
 */
static bool check_facts(const struct opening *opening, const PGresult *result,
			const struct outbox_table *catalog, bool *permanent, struct error *err)
{
	const char *table = opening->shape->table, *user = PQgetvalue(result, 0, FACT_USER);
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
				 "migrate, or fix outbox.table",
				 table);
	if (!outbox_table_check(catalog, table,
				session_config(opening->session)->outbox.settle == SETTLE_MARK,
				err) ||
	    (catalog->partitions > 0 &&
	     !outbox_partitions_check(catalog, session_config(opening->session), table, err)))
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

static void on_facts(struct opening *opening, PGresult *result)
{
	struct outbox_table table;
	struct error err;
	bool permanent;
	outbox_table_read(result, &table);
	if (!check_facts(opening, result, &table, &permanent, &err)) {
		bool migrated = is_true(result, FACT_MIGRATED) &&
				!PQgetisnull(result, 0, FACT_TABLE) && permanent;
		PQclear(result);
		if (migrated)
			ask_settling(opening, &err);
		else
			session_give_up(opening->session, permanent, err.text);
		return;
	}
	struct outbox_shape *shape = opening->shape;
	shape->oid = oid_at(result, FACT_TABLE);
	shape->database = oid_at(result, FACT_DATABASE);
	shape->sequence = oid_at(result, FACT_SEQUENCE);
	shape->partitioned = table.partitions > 0;
	opening->expected_leaves = shape->partitioned ? (size_t)table.partitions : 1;
	PQclear(result);
}

static void on_leaves(struct opening *opening, PGresult *result)
{
	struct outbox_shape *shape = opening->shape;
	struct leaves_traits traits;
	struct error err;
	bool good = leaves_read(shape, result, rows_stay(opening), &traits, &err),
	     whole = shape->leaf_count == opening->expected_leaves;
	PQclear(result);
	if (!whole)
		good =
		    error_set(&err, "the partitions of table %s have just changed", shape->table);
	if (traits.guarded && !rows_stay(opening))
		session_guard(opening->session);
	opening->verifies |= traits.verifies && !rows_stay(opening);
	memcpy(opening->lacks, traits.lacks, sizeof(opening->lacks));
	if (!whole)
		session_renew(opening->session, err.text);
	else if (!good)
		ask_settling(opening, &err);
}

static void ask_registry(struct opening *opening)
{
	const struct outbox_shape *shape = opening->shape;
	struct pg_param params[] = {pg_param_text(shape->table), pg_param_text(shape->names->id),
				    pg_param_text(shape->mark ? "true" : "false"),
				    pg_param_text(shape->names->published_at)};
	session_ask_text(&opening->asker, TAG_REGISTRY, outbox_registry, params, 4);
	session_sync(opening->session);
}

static void ask_condition(struct opening *opening)
{
	condition_ask(&opening->asker, TAG_CONDITION, TAG_FUNCTIONS, opening->shape,
		      session_config(opening->session)->outbox.where);
	session_sync(opening->session);
}

static void refuse_condition(struct opening *opening, const char *why)
{
	struct error err;
	condition_error(opening->shape, session_config(opening->session)->outbox.where, why, &err);
	session_give_up(opening->session, true, err.text);
}

static void on_functions(struct opening *opening, PGresult *result)
{
	struct error err;
	bool good = condition_judge(result, &err);
	PQclear(result);
	if (good)
		ask_registry(opening);
	else
		refuse_condition(opening, err.text);
}

static void on_columns(struct opening *opening, PGresult *result)
{
	struct outbox_shape *shape = opening->shape;
	struct error err;
	shape->mark = session_config(opening->session)->outbox.settle == SETTLE_MARK;
	shape->position = session_config(opening->session)->outbox.settle == SETTLE_POSITION;
	if (!shape->competing && !shape->partitioned &&
	    session_config(opening->session)->outbox.shards > 1)
		shape->hashed = (int)session_config(opening->session)->outbox.shards;
	shape->keys = (const char *const *)opening->own.keys;
	shape->key_count = opening->own.key_count;
	shape->key_template = session_config(opening->session)->route.key;
	shape->topic_template = session_config(opening->session)->route.topic;
	shape->withhold_bytes = opening->withhold_bytes;
	shape->names = &session_config(opening->session)->outbox.columns;
	shape->fields = (const char *const *)opening->own.fields;
	shape->field_count = opening->own.field_count;
	columns_read(shape, result);
	PQclear(result);
	if (!outbox_shape_check(shape, &err) ||
	    !columns_fields(shape, session_config(opening->session), &err)) {
		ask_settling(opening, &err);
		return;
	}
	if (session_config(opening->session)->outbox.where[0] != '\0')
		ask_condition(opening);
	else
		ask_registry(opening);
}

static void prepare(struct opening *opening, const char *name, char *sql)
{
	session_prepare(&opening->asker, TAG_PREPARED, name, sql);
}

static void prepare_on(struct opening *opening, const char *name, size_t leaf, char *sql)
{
	session_prepare_leaf(&opening->asker, TAG_PREPARED, name, leaf, sql);
}

void opening_prepare(struct opening *opening, size_t leaf)
{
	const struct outbox_shape *shape = opening->shape;
	if (shape->leaves[leaf].prepared)
		return;
	shape->leaves[leaf].prepared = true;
	int64_t retention_ms = session_config(opening->session)->outbox.retention_ms;
	prepare_on(opening, "claim", leaf, outbox_sql_claim(shape, leaf, false));
	prepare_on(opening, "claim_plain", leaf, outbox_sql_claim_plain(shape, leaf));
	prepare_on(opening, "claim_exact", leaf, outbox_sql_claim(shape, leaf, true));
	prepare_on(opening, "suspect", leaf, outbox_sql_suspect(shape, leaf));
	prepare_on(opening, "still", leaf, outbox_sql_still(shape, leaf));
	prepare_on(opening, "left", leaf, outbox_sql_left(shape, leaf));
	prepare_on(opening, "ids", leaf, outbox_sql_ids(shape, leaf));
	prepare_on(opening, "settle", leaf, outbox_sql_settle(shape, leaf));
	prepare_on(opening, "dead_letter", leaf, outbox_sql_dead_letter(shape, leaf, true));
	prepare_on(opening, "dead_letter_bare", leaf, outbox_sql_dead_letter(shape, leaf, false));
	if (shape->position) {
		prepare_on(opening, "claim_one", leaf, outbox_sql_claim_one(shape, leaf));
		prepare_on(opening, "forget", leaf, outbox_sql_forget_ahead(shape, leaf));
	}
	prepare_on(opening, "gauges", leaf, outbox_sql_gauges(shape, leaf));
	if (shape->mark || shape->position)
		prepare_on(opening, "purge", leaf, outbox_sql_purge(shape, leaf, retention_ms));
}

void opening_prepare_all(struct opening *opening)
{
	for (size_t leaf = 0; leaf < opening->shape->leaf_count; leaf++)
		opening_prepare(opening, leaf);
	session_sync(opening->session);
}

/* A claim of no rows shows what the server has against any claim: a right, a rule, a trigger of
 * statements. */
void opening_probe(struct opening *opening)
{
	struct pg_int8 none = pg_put_int8(0);
	struct pg_param params[5] = {pg_param_int8(&none), pg_param_int8(&none),
				     pg_param_int8(&none), pg_param_text(NULL)};
	session_ask_own_leaves(&opening->asker, TAG_PREPARED, "claim", params, 4, true);
	session_ask_text(&opening->asker, TAG_PROBED, "SELECT", NULL, 0);
	session_sync(opening->session);
}

static void make_ready(struct opening *opening)
{
	struct outbox_shape *shape = opening->shape;
	set_up(opening);
	prepare(opening, "group", outbox_sql_group(shape));
	prepare(opening, "drawn", outbox_sql_drawn(shape));
	prepare(opening, "writers", outbox_sql_writers(shape));
	prepare(opening, "aside", outbox_sql_any_aside(shape));
	if (shape->aligns)
		prepare(opening, "take_up", outbox_sql_take_up(shape));
	prepare(opening, "bell", outbox_sql_bell(shape));
	prepare(opening, "bell_off", outbox_sql_bell_off(shape, false));
	prepare(opening, "bell_off_told", outbox_sql_bell_off(shape, true));
	prepare(opening, "begin", xstrdup("BEGIN"));
	prepare(opening, "immediate", xstrdup("SET CONSTRAINTS ALL IMMEDIATE"));
	prepare(opening, "commit", xstrdup("COMMIT"));
	session_ask_text(&opening->asker, TAG_IGNORE, "LISTEN outbox_relay", NULL, 0);
	opening->events->ready(opening->owner);
}

/* A new part comes without rights; a function of ours grants them. */
static void admit(struct opening *opening)
{
	struct pg_param param = pg_param_text(opening->shape->table);
	session_ask_text(&opening->asker, TAG_ADMITTED,
			 "SELECT outbox_relay.admit_partitions(CAST($1 AS regclass))", &param, 1);
	session_sync(opening->session);
}

static void on_registry(struct opening *opening, PGresult *result)
{
	struct outbox_shape *shape = opening->shape;
	struct outbox_marks marks;
	struct error err;
	int version;
	if (!outbox_registry_check(result, shape->table, session_config(opening->session), &err)) {
		PQclear(result);
		session_give_up(opening->session, true, err.text);
		return;
	}
	version = atoi(PQgetvalue(result, 0, REGISTRY_VERSION));
	if (version > migrate_latest())
		log_fact(LOG_INFO, "schema_newer", LOG_FIELDS(field_number("version", version)),
			 "schema outbox_relay has version %d, this relay knows %d", version,
			 migrate_latest());
	shape->bell = oid_at(result, REGISTRY_BELL);
	outbox_registry_marks(result, &marks);
	outbox_words_make(shape, &marks, session_config(opening->session)->outbox.where);
	PQclear(result);
	struct pg_param param = pg_param_text(shape->table);
	session_ask_text(&opening->asker, TAG_PARKED, parked_question, &param, 1);
	session_sync(opening->session);
}

static void prepare_to_serve(struct opening *opening)
{
	if (opening->lacks[0] != '\0')
		admit(opening);
	else
		make_ready(opening);
}

static void on_position(struct opening *opening, PGresult *result)
{
	struct error err;
	bool good = position_home_read(opening->shape, result, &err);
	PQclear(result);
	if (good)
		prepare_to_serve(opening);
	else
		session_give_up(opening->session, true, err.text);
}

static void on_parked(struct opening *opening, PGresult *result)
{
	struct outbox_shape *shape = opening->shape;
	int64_t layout = shape->competing ? PARKED_BY_ANY_KEY : outbox_sql_key_layout(shape);
	struct error err;
	const char *remedy = parked_check(result, shape->table, layout, &err);
	PQclear(result);
	if (remedy != NULL) {
		struct error words;
		error_set(&words, "%s; %s", err.text, remedy);
		session_give_up(opening->session, true, words.text);
		return;
	}
	if (!shape->position) {
		prepare_to_serve(opening);
		return;
	}
	struct pg_param param = pg_param_text(shape->table);
	session_ask_text(&opening->asker, TAG_POSITION, position_home_question, &param, 1);
	session_sync(opening->session);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct opening *opening = part;
	/* In doubt of how rows are settled, these are of no account. */
	if (opening->lacking.text[0] != '\0' && (tag == TAG_LEAVES || tag == TAG_COLUMNS))
		tag = TAG_IGNORE;
	if (tag == TAG_SESSION)
		on_session(opening, result);
	else if (tag == TAG_FACTS)
		on_facts(opening, result);
	else if (tag == TAG_LEAVES)
		on_leaves(opening, result);
	else if (tag == TAG_COLUMNS)
		on_columns(opening, result);
	else if (tag == TAG_SETTLING)
		on_settling(opening, result);
	else if (tag == TAG_FUNCTIONS)
		on_functions(opening, result);
	else if (tag == TAG_REGISTRY)
		on_registry(opening, result);
	else if (tag == TAG_PARKED)
		on_parked(opening, result);
	else if (tag == TAG_POSITION)
		on_position(opening, result);
	else
		PQclear(result);
	if (tag == TAG_ADMITTED)
		make_ready(opening);
	if (tag == TAG_PROBED)
		opening->events->probed(opening->owner);
}

/* What cannot be prepared, or claims nothing without an error, never will. */
static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct opening *opening = part;
	if (failure->tag == TAG_ADMITTED) {
		struct error err;
		error_set(&err, leaves_lacks_words, opening->lacks);
		session_give_up(opening->session, true, err.text);
		return true;
	}
	if (failure->tag == TAG_CONDITION) {
		refuse_condition(opening, failure->why);
		return true;
	}
	if (failure->tag == TAG_SETTLING) {
		session_give_up(opening->session, true, opening->lacking.text);
		return true;
	}
	if (failure->tag != TAG_PREPARED || failure->permanent || passing_kind(failure->state))
		return false;
	session_give_up(opening->session, true, failure->why);
	return true;
}

/* ---- making one ---- */

bool opening_verifies(const struct opening *opening)
{
	return opening->verifies;
}

int opening_field(struct opening *opening, const char *name)
{
	return open_fields_add(&opening->own, name);
}

struct opening *opening_new(struct loop *loop, struct session *session, size_t withhold_bytes,
			    const struct opening_events *events, void *owner, struct error *err)
{
	static const struct asker_ops ops = {on_answered, on_refused, NULL};
	const struct config *config = session_config(session);
	struct opening *opening = xcalloc(1, sizeof(*opening));
	opening->session = session;
	opening->events = events;
	opening->owner = owner;
	opening->withhold_bytes = withhold_bytes;
	if (open_fields_begin(&opening->own, config, err) &&
	    pgname_parse(config->outbox.table, &opening->name, err)) {
		opening->asker = session_join(session, &ops, opening);
		opening->pooled = pooled_new(loop, session, read_catalog, opening);
	} else
		opening_free(&opening);
	return opening;
}

void opening_free(struct opening **opening)
{
	if (*opening == NULL)
		return;
	pooled_free(&(*opening)->pooled);
	open_fields_free(&(*opening)->own);
	free(*opening);
	*opening = NULL;
}
