/* SPDX-License-Identifier: ISC */
/*
 * test_outbox_sql.c - which tables are accepted, and what the statements must have for any table
 */
#include "outbox/sql.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OID = 16385, SEQUENCE = 16384, BELL = 16390, DATABASE = 5, WITHHOLD = 1000000 };

static struct config_columns names;
static const char *fields[8];
static struct outbox_column columns[80];
static struct outbox_shape shape;
static struct outbox_leaf leaf;
static const char *keys[] = {"aggregate_id", "tenant"};

static void add(const char *name, uint32_t type)
{
	columns[shape.column_count].name = (char *)(uintptr_t)name;
	columns[shape.column_count++].type = type;
}

#define TEXT(s) ((char *)(uintptr_t)(s))

static int usual(void **state)
{
	(void)state;
	names = (struct config_columns){
	    TEXT("id"),		  TEXT("event_id"),   TEXT("aggregate_type"),
	    TEXT("aggregate_id"), TEXT("event_type"), TEXT("payload"),
	    TEXT("headers"),	  TEXT("created_at"), TEXT("published_at")};
	fields[0] = "event_id", fields[1] = "aggregate_id";
	leaf = (struct outbox_leaf){.table = TEXT("\"public\".\"outbox_events\""), .oid = OID};
	shape = (struct outbox_shape){.table = leaf.table,
				      .oid = OID,
				      .leaves = &leaf,
				      .leaf_count = 1,
				      .keys = keys,
				      .key_count = 1,
				      .database = DATABASE,
				      .sequence = SEQUENCE,
				      .bell = BELL,
				      .withhold_bytes = WITHHOLD,
				      .columns = columns,
				      .names = &names,
				      .fields = fields,
				      .field_count = 2};
	add("id", TYPE_INT8);
	add("event_id", TYPE_UUID);
	add("aggregate_type", TYPE_TEXT);
	add("aggregate_id", TYPE_TEXT);
	add("event_type", TYPE_TEXT);
	add("payload", TYPE_JSONB);
	add("headers", TYPE_JSONB);
	add("created_at", TYPE_TIMESTAMPTZ);
	return 0;
}

static int usual_marked(void **state)
{
	usual(state);
	shape.mark = true;
	add("published_at", TYPE_TIMESTAMPTZ);
	return 0;
}

static void retype(const char *name, uint32_t type)
{
	for (size_t i = 0; i < shape.column_count; i++)
		if (strcmp(columns[i].name, name) == 0)
			columns[i].type = type;
}

/* ---- the shape ---- */

static void refused(const char *const *words)
{
	struct error err;
	assert_false(outbox_shape_check(&shape, &err));
	for (; *words != NULL; words++)
		if (strstr(err.text, *words) == NULL)
			fail_msg("\"%s\" lacks \"%s\"", err.text, *words);
}

#define assert_refused(...) refused((const char *const[]){__VA_ARGS__, NULL})

static void assert_accepted(void)
{
	struct error err;
	if (!outbox_shape_check(&shape, &err))
		fail_msg("%s", err.text);
}

static void test_the_usual_shape(void **state)
{
	(void)state;
	assert_accepted();
	retype("id", TYPE_INT4);
	retype("created_at", TYPE_TIMESTAMP);
	assert_accepted();
	names.headers = names.created_at = TEXT("");
	assert_accepted();
}

static void test_every_payload_type(void **state)
{
	static const uint32_t types[] = {TYPE_JSONB, TYPE_JSON, TYPE_TEXT, TYPE_VARCHAR,
					 TYPE_BYTEA};
	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		retype("payload", types[i]);
		assert_accepted();
	}
}

static void test_types_that_cannot_be(void **state)
{
	static const struct {
		const char *column, *wanted;
	} cases[] = {{"id", "bigint or integer"},
		     {"payload", "jsonb, json, text, varchar or bytea"},
		     {"headers", "jsonb, json or text"},
		     {"created_at", "timestamptz or timestamp"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		usual(state);
		retype(cases[i].column, TYPE_UUID);
		assert_refused(cases[i].column, "outbox.columns.", "must be", cases[i].wanted,
			       "outbox_events");
	}
}

static void test_columns_that_are_not_there(void **state)
{
	char **const roles[] = {&names.id,	     &names.event_id,	&names.aggregate_type,
				&names.aggregate_id, &names.event_type, &names.payload,
				&names.headers,	     &names.created_at};
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		usual(state);
		char *role = *roles[i];
		*roles[i] = TEXT("absent");
		assert_refused("no column \"absent\"", role, "outbox_events", "add it");
	}
}

static void test_a_template_names_a_column_that_is_not_there(void **state)
{
	(void)state;
	fields[1] = "tenant";
	assert_refused("no column \"tenant\"", "template");
}

static void test_marking_needs_its_column(void **state)
{
	(void)state;
	shape.mark = true;
	assert_refused("published_at", "\"mark\"", "outbox-relay migrate");
	add("published_at", TYPE_TIMESTAMPTZ);
	assert_accepted();
}

/* ---- the statements ---- */

struct statements {
	char *items[13];
	size_t count;
};

static void make(struct statements *all)
{
	*all =
	    (struct statements){{outbox_sql_claim(&shape, 0, false), outbox_sql_settle(&shape, 0),
				 outbox_sql_dead_letter(&shape, 0, true),
				 outbox_sql_gauges(&shape, 0), outbox_sql_purge(&shape, 0, 1000),
				 outbox_sql_drawn(&shape), outbox_sql_writers(&shape),
				 outbox_sql_bell(&shape), outbox_sql_bell_off(&shape, false),
				 outbox_sql_ids(&shape, 0), outbox_sql_suspect(&shape, 0),
				 outbox_sql_still(&shape, 0), outbox_sql_left(&shape, 0)},
				13};
}

static void drop(struct statements *all)
{
	for (size_t i = 0; i < all->count; i++)
		free(all->items[i]);
}

static void assert_has(const char *sql, const char *words)
{
	if (strstr(sql, words) == NULL)
		fail_msg("\"%s\" is not in: %s", words, sql);
}

static void assert_lacks(const char *sql, const char *words)
{
	if (strstr(sql, words) != NULL)
		fail_msg("\"%s\" is in: %s", words, sql);
}

/* Reads over a quoted part from its opening quote to its closing one. */
static const char *over_quoted(const char *at)
{
	char quote = *at++;
	for (; *at != '\0'; at++)
		if (*at == quote && *++at != quote)
			return at;
	return NULL;
}

/* Quotes are closed, parentheses match outside of them, and it is one statement. */
static void assert_balanced(const char *sql)
{
	int depth = 0;
	for (const char *at = sql; *at != '\0';) {
		if (*at == '"' || *at == '\'') {
			at = over_quoted(at);
			if (at == NULL)
				fail_msg("a quote is open in: %s", sql);
			continue;
		}
		depth += (*at == '(') - (*at == ')');
		if (depth < 0 || *at == ';')
			fail_msg("at %s in: %s", at, sql);
		at++;
	}
	assert_int_equal(depth, 0);
}

static void assert_all_balanced(void)
{
	struct statements all;
	make(&all);
	for (size_t i = 0; i < all.count; i++)
		assert_balanced(all.items[i]);
	drop(&all);
}

static void test_every_shape_gives_whole_statements(void **state)
{
	static const uint32_t payloads[] = {TYPE_JSONB, TYPE_TEXT, TYPE_BYTEA};
	for (unsigned bits = 0; bits < 24; bits++) {
		(bits & 1 ? usual_marked : usual)(state);
		if (bits & 2)
			names.headers = TEXT("");
		if (bits & 4)
			names.created_at = TEXT("");
		retype("payload", payloads[bits / 8]);
		assert_all_balanced();
	}
	usual(state);
	shape.sequence = 0;
	assert_all_balanced();
}

static void test_hostile_names(void **state)
{
	(void)state;
	static char evil[] = "a\"); DROP TABLE x; --'\\";
	static const char quoted[] = "\"a\"\"); DROP TABLE x; --'\\\"";
	names.payload = names.id = names.event_id = names.headers = evil;
	names.created_at = names.aggregate_id = names.aggregate_type = names.event_type = evil;
	fields[0] = evil;
	shape.field_count = 1;
	add(evil, TYPE_TEXT);
	add("c'd", TYPE_TEXT); /* a key of the extra columns: a literal, and an identifier */
	shape.table = leaf.table = TEXT("\"s'\"\".x\".\"t\"\"; --\"");
	struct statements all;
	make(&all);
	for (size_t i = 0; i < 5; i++) {
		assert_balanced(all.items[i]);
		assert_has(all.items[i], quoted);
		assert_has(all.items[i], shape.table);
	}
	assert_has(all.items[2], "c''d");
	assert_has(all.items[2], "t.\"c'd\"");
	drop(&all);
}

static void test_the_claim(void **state)
{
	char *sql = outbox_sql_claim(&shape, 0, false);
	(void)state;
	assert_has(sql, "DELETE FROM ONLY \"public\".\"outbox_events\" AS t WHERE t.ctid = ANY "
			"((SELECT places ");
	assert_has(sql, "ORDER BY t.\"id\" LIMIT $2::int8) AS next");
	assert_has(sql, "\"id\" >= $1::int8");
	assert_has(sql, "upto <= $3::int8 OR upto = size");
	assert_has(sql, "tableoid = 16385::oid");
	assert_has(sql, "1000000");
	assert_lacks(sql, "published_at");
	/* in the order of CLAIM_* and the fields */
	assert_has(sql, "RETURNING \"id\"::int8, \"created_at\", ");
	static const char last[] =
	    " 0::int8 END, \"event_id\", \"varchar\"(\"aggregate_id\"::varchar, 1000005, true)";
	assert_string_equal(sql + strlen(sql) - strlen(last), last);
	free(sql);
}

static void test_the_claim_that_marks(void **state)
{
	char *sql = outbox_sql_claim(&shape, 0, false);
	(void)state;
	assert_has(sql, ") UPDATE ONLY \"public\".\"outbox_events\" AS t SET published_at");
	assert_has(sql, "AND published_at IS NULL AND "); /* else not the partial index */
	assert_has(sql, "CASE WHEN published_at IS NULL THEN -1 ELSE ");
	assert_lacks(sql, "DELETE");
	free(sql);
}

/* What was seen is found again by its place, and places are compared by hash: the session's
 * settings leave a join nothing but each with each. */
static void test_a_claim_judges_what_it_has_locked(void **state)
{
	static const char *const words[] = {
	    "t.ctid = ANY ((SELECT places FROM seen)::tid[]) FOR UPDATE SKIP LOCKED",
	    "t.ctid IN (SELECT unnest(places) FROM locked) AS free",
	    "(PARTITION BY key ORDER BY id)", "$2::int8 + 20000"};
	(void)state;
	char *sql = outbox_sql_claim(&shape, 0, false);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_has(sql, words[i]);
	assert_lacks(sql, " JOIN ");
	free(sql);
	shape.competing = true;
	sql = outbox_sql_claim(&shape, 0, false);
	assert_has(sql, "ORDER BY t.\"id\" LIMIT $2::int8 FOR UPDATE SKIP LOCKED");
	assert_lacks(sql, "PARTITION BY");
	free(sql);
}

/* A row that is published meanwhile is tested again once it is locked. */
static void test_a_marking_claim_locks_what_is_unpublished(void **state)
{
	char *sql = outbox_sql_claim(&shape, 0, false);
	(void)state;
	assert_has(sql, "FROM seen)::tid[]) AND num_nulls(published_at) = 1 FOR UPDATE");
	free(sql);
}

/* What makes an event large is counted and held to a bound, each in its way. */
static void test_the_claim_counts_what_it_returns(void **state)
{
	(void)state;
	char *sql = outbox_sql_claim(&shape, 0, false);
	assert_has(sql, "pg_column_size(ARRAY[\"payload\"]) END, 0) + ");
	assert_has(sql, " + coalesce(octet_length(\"aggregate_id\"), 0) AS size");
	assert_lacks(sql, "\"event_id\"), 0)"); /* a uuid */
	assert_has(sql, "\"varchar\"(\"payload\"::text::varchar, 1028 + 2 * CASE WHEN");
	assert_has(sql, "\"varchar\"(\"headers\"::text::varchar, 1028 + 2 * CASE WHEN");
	free(sql);
}

/* By key, or where there is no order by id. */
static void test_what_is_held_is_left_out(void **state)
{
	char *sql = outbox_sql_claim(&shape, 0, false);
	(void)state;
	assert_has(sql, "AND ($4::int8[] IS NULL OR NOT hashtextextended((");
	free(sql);
	shape.competing = true;
	sql = outbox_sql_claim(&shape, 0, false);
	assert_has(sql, "AND ($4::int8[] IS NULL OR NOT t.\"id\"::int8 = ANY ($4::int8[]))");
	free(sql);
}

/* No text is made of a value before it is known that it can be. */
static void test_the_exact_claim_measures_first(void **state)
{
	(void)state;
	char *sql = outbox_sql_claim(&shape, 0, true);
	assert_has(sql, "LIMIT 1) AS next");
	assert_has(sql, "> 65536 THEN (SELECT CASE WHEN bound > 1000000000 THEN bound ");
	assert_has(sql, " <= 2000000) FROM ONLY ");
	assert_has(sql, "CASE WHEN (SELECT whole FROM taken) THEN \"payload\"::text END");
	assert_has(sql, "($2::int8[] IS NULL OR NOT ");
	assert_lacks(sql, "$3");
	assert_lacks(sql, "::text::varchar, 1028");
	free(sql);
}

static void test_fields_that_are_no_text_are_cast(void **state)
{
	(void)state;
	retype("aggregate_id", 1700 /* numeric */);
	char *sql = outbox_sql_claim(&shape, 0, false);
	assert_has(sql, "\"varchar\"(\"aggregate_id\"::text::varchar, 1028 + 2 * CASE WHEN");
	free(sql);
	retype("aggregate_id", TYPE_TEXT);
	sql = outbox_sql_claim(&shape, 0, false);
	assert_lacks(sql, "\"varchar\"(\"aggregate_id\"::text");
	free(sql);
}

/* What a claim returns of an event id, be it cut, is what the row is found again by. */
static void test_event_ids_that_are_text(void **state)
{
	static const uint32_t types[] = {TYPE_TEXT, 1042 /* char */, 1700 /* numeric */, 16400};
	static const char text[] = "::text::varchar, 1000005, true)";
	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		retype("event_id", types[i]);
		char *claim = outbox_sql_claim(&shape, 0, false);
		char *exact = outbox_sql_claim(&shape, 0, true);
		char *settle = outbox_sql_settle(&shape, 0);
		char *aside = outbox_sql_dead_letter(&shape, 0, true);
		char returned[80], compared[80];
		snprintf(returned, sizeof(returned), ", \"varchar\"(\"event_id\"%s, ", text);
		snprintf(compared, sizeof(compared), "\"varchar\"(t.\"event_id\"%s IS NOT ", text);
		assert_has(claim, ", 1000005, true), \"varchar\"(\"aggregate_id\"");
		assert_has(exact, returned);
		assert_has(settle, compared);
		assert_has(aside, compared);
		assert_has(aside, "left(t.\"event_id\"::text, 600)");
		free(claim);
		free(exact);
		free(settle);
		free(aside);
	}
}

/* Nothing of an event's fields is NULL that is not NULL in the row: else it would be refused for
 * that. */
static void test_fields_of_an_event_that_is_not_fetched(void **state)
{
	(void)state;
	retype("aggregate_id", 16400 /* an enum */);
	char *sql = outbox_sql_claim(&shape, 0, true);
	assert_has(sql, "THEN \"aggregate_id\"::text ELSE \"varchar\"(\"aggregate_id\"::text");
	free(sql);
	retype("aggregate_id", TYPE_JSONB);
	sql = outbox_sql_claim(&shape, 0, true);
	assert_has(sql, "THEN \"aggregate_id\"::text ELSE jsonb_typeof(\"aggregate_id\") END");
	free(sql);
}

/* Each id must be looked up in the index, whatever was known of the table when this was planned. */
static void test_reconciliation_looks_each_id_up(void **state)
{
	for (int mark = 0; mark < 2; mark++) {
		(mark ? usual_marked : usual)(state);
		char *settle = outbox_sql_settle(&shape, 0),
		     *aside = outbox_sql_dead_letter(&shape, 0, true);
		assert_has(settle, "LATERAL (SELECT t.tableoid");
		assert_has(settle, "OFFSET 0 FOR UPDATE SKIP LOCKED)");
		assert_has(settle, "IS NOT DISTINCT FROM given.event_id");
		assert_has(settle, mark ? "UPDATE" : "DELETE FROM");
		assert_int_equal(strstr(settle, "published_at IS NULL") != NULL, mark);
		assert_has(aside, "LATERAL (SELECT t.tableoid");
		assert_has(aside, mark ? "UPDATE ONLY" : "DELETE FROM");
		assert_lacks(aside, "ON CONFLICT"); /* each row has a letter of its own */
		free(settle);
		free(aside);
	}
}

static void test_what_is_dead_letter_is_the_bytes(void **state)
{
	(void)state;
	char *sql = outbox_sql_dead_letter(&shape, 0, true);
	assert_has(sql, "convert_to(CASE WHEN ");
	assert_has(sql, "<= 1000000000 THEN t.\"payload\"::text END, pg_client_encoding())");
	assert_has(sql, "> 1000000000 THEN jsonb_build_object('payload', t.\"payload\")");
	free(sql);
	retype("payload", TYPE_JSON);
	sql = outbox_sql_dead_letter(&shape, 0, true);
	assert_has(sql, "convert_to(t.\"payload\"::text, ");
	free(sql);
	retype("payload", TYPE_BYTEA);
	sql = outbox_sql_dead_letter(&shape, 0, true);
	assert_lacks(sql, "convert_to(");
	free(sql);
}

/* A function takes 100 arguments at most; the mapped columns have places of their own. */
static void test_many_extra_columns(void **state)
{
	static char extra[60][8];
	(void)state;
	char *sql = outbox_sql_dead_letter(&shape, 0, true);
	assert_has(sql, "nullif(jsonb_build_object() || ");
	free(sql);
	for (int i = 0; i < 60; i++) {
		snprintf(extra[i], sizeof(extra[i]), "x%d", i);
		add(extra[i], TYPE_TEXT);
	}
	sql = outbox_sql_dead_letter(&shape, 0, true);
	const char *second = strstr(sql, ") || jsonb_build_object(");
	assert_non_null(second);
	assert_true(strstr(sql, "t.\"x49\"") < second);
	assert_true(strstr(sql, "t.\"x50\"") > second);
	assert_lacks(sql, "'created_at'");
	assert_lacks(sql, "t.\"x49\"::text");
	assert_balanced(sql);
	free(sql);
}

/* jsonb holds less than json, and nothing at all may be too much. */
static void test_extra_columns_that_make_no_jsonb(void **state)
{
	(void)state;
	add("meta", TYPE_JSON);
	char *sql = outbox_sql_dead_letter(&shape, 0, true);
	assert_has(sql, "'meta', t.\"meta\"::text");
	free(sql);
	sql = outbox_sql_dead_letter(&shape, 0, false);
	assert_lacks(sql, "t.\"meta\"");
	assert_has(sql, "jsonb_build_object('payload', t.\"payload\")");
	assert_lacks(sql, "'event_id', ");
	assert_balanced(sql);
	free(sql);
}

static void test_bell_and_horizon(void **state)
{
	struct statements all;
	(void)state;
	make(&all);
	assert_has(all.items[5], "pg_sequence_last_value(16384::oid::regclass)");
	assert_has(all.items[5], "to_regclass");
	assert_has(all.items[6], "relation IN (16385)");
	assert_has(all.items[6], "database = 5::oid");
	assert_has(all.items[6], "'RowExclusiveLock'");
	assert_has(all.items[6], "IS DISTINCT FROM pg_backend_pid()");
	assert_has(all.items[7], "setval(16390::oid::regclass, 1, $1::boolean)");
	assert_has(all.items[7], "'synchronous_commit', 'off', true");
	assert_has(all.items[8], "setval(16390::oid::regclass, 1, false)");
	drop(&all);
	shape.sequence = 0;
	char *drawn = outbox_sql_drawn(&shape);
	assert_has(drawn, "NULL::int8");
	free(drawn);
}

static void test_the_purge_waits_for_nobody(void **state)
{
	(void)state;
	char *sql = outbox_sql_purge(&shape, 0, INT64_C(604800000));
	assert_has(sql, "604800000 * interval '1 millisecond'");
	assert_has(sql, "FOR UPDATE OF t SKIP LOCKED");
	assert_has(sql, "LIMIT $1::int8 OFFSET $2::int8");
	free(sql);
}

static void test_shapes_are_freed(void **state)
{
	struct outbox_shape own = {.table = xstrdup("t"), .column_count = 1};
	(void)state;
	own.columns = xcalloc(1, sizeof(*own.columns));
	own.columns[0].name = xstrdup("c");
	assert_non_null(outbox_shape_column(&own, "c"));
	assert_null(outbox_shape_column(&own, "C"));
	outbox_shape_free(&own);
	assert_null(own.table);
	assert_int_equal(own.column_count, 0);
	outbox_shape_free(&own);
}

#define on_usual(test)	cmocka_unit_test_setup(test, usual)
#define on_marked(test) cmocka_unit_test_setup(test, usual_marked)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    on_usual(test_the_usual_shape),
	    on_usual(test_every_payload_type),
	    on_usual(test_types_that_cannot_be),
	    on_usual(test_columns_that_are_not_there),
	    on_usual(test_a_template_names_a_column_that_is_not_there),
	    on_usual(test_marking_needs_its_column),
	    on_usual(test_every_shape_gives_whole_statements),
	    on_usual(test_hostile_names),
	    on_usual(test_the_claim),
	    on_marked(test_the_claim_that_marks),
	    on_usual(test_a_claim_judges_what_it_has_locked),
	    on_marked(test_a_marking_claim_locks_what_is_unpublished),
	    on_usual(test_the_claim_counts_what_it_returns),
	    on_usual(test_what_is_held_is_left_out),
	    on_usual(test_the_exact_claim_measures_first),
	    on_usual(test_fields_that_are_no_text_are_cast),
	    on_usual(test_event_ids_that_are_text),
	    on_usual(test_fields_of_an_event_that_is_not_fetched),
	    on_usual(test_reconciliation_looks_each_id_up),
	    on_usual(test_what_is_dead_letter_is_the_bytes),
	    on_usual(test_many_extra_columns),
	    on_usual(test_extra_columns_that_make_no_jsonb),
	    on_usual(test_bell_and_horizon),
	    on_marked(test_the_purge_waits_for_nobody),
	    on_usual(test_shapes_are_freed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
