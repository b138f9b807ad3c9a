/* SPDX-License-Identifier: ISC */
/*
 * test_sql_template.c - a template of route as an expression of SQL
 */
#include "outbox/sql_internal.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static char id[] = "id", event_id[] = "event_id", kind[] = "kind", key[] = "the \"key\"";
static char empty[] = "";
static struct config_columns names = {id, event_id, kind, key, empty, empty, empty, empty, empty};
static const char *fields[] = {event_id, key, kind};

static void test_table(void **state)
{
	static const struct {
		const char *text, *sql;
	} cases[] = {
	    {"${aggregate_id}", "('' || t.\"the \"\"key\"\"\"::text)"},
	    {"events.${aggregate_type}", "('' || 'events.' || t.\"kind\"::text)"},
	    {"${aggregate_type}/${event_id}",
	     "('' || t.\"kind\"::text || '/' || t.\"event_id\"::text)"},
	    {"it's", "('' || 'it''s')"},
	    {"$$1", "('' || '$1')"},
	    {"", "('')"},
	    /* What the table has no column for, and what does not parse. */
	    {"${event_type}", "NULL::text"},
	    {"${payload}", "NULL::text"},
	    {"${", "NULL::text"},
	    {NULL, "NULL::text"},
	};
	const struct outbox_shape shape = {.names = &names, .fields = fields, .field_count = 3};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *sql = outbox_sql_template(&shape, cases[i].text);
		assert_string_equal(sql, cases[i].sql);
		free(sql);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
