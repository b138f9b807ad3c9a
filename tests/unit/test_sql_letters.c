/* SPDX-License-Identifier: ISC */
/*
 * test_sql_letters.c - what the statements on letters must have
 */
#include "outbox/sql.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s) ((char *)(uintptr_t)(s))

static const struct config_columns names = {
    TEXT("id"),		  TEXT("event_id"),   TEXT("aggregate_type"),
    TEXT("aggregate_id"), TEXT("event_type"), TEXT("payload"),
    TEXT("headers"),	  TEXT("created_at"), TEXT("published_at")};
static const char *const fields[] = {"event_id"};
static struct outbox_column columns[] = {{.name = TEXT("payload"), .type = TYPE_JSONB},
					 {.name = TEXT("headers"), .type = TYPE_JSONB}};
static struct outbox_shape shape = {.table = TEXT("public.outbox"),
				    .oid = 16385,
				    .withhold_bytes = 1000,
				    .columns = columns,
				    .column_count = 2,
				    .names = &names,
				    .fields = fields,
				    .field_count = 1};

/* How often this is in it. */
static int count(char *sql, const char *words)
{
	int times = 0;
	for (const char *at = sql; (at = strstr(at, words)) != NULL; at++)
		times++;
	free(sql);
	return times;
}

static int letters_locked(char *sql)
{
	return count(sql, "r.action <> 'retry') ORDER BY d.number LIMIT $1::int8 FOR UPDATE SKIP "
			  "LOCKED) AS sized");
}

/* Where relays compete, one that waited for a letter of another's would publish nothing meanwhile.
 * It takes none that is still to be edited: the edit may have been passed over for another's lock.
 * Otherwise there is one owner, and what somebody else has locked must not be passed. */
static void test_those_that_compete_wait_for_no_letter(void **state)
{
	(void)state;
	for (int competing = 0; competing < 2; competing++) {
		shape.competing = competing;
		assert_int_equal(letters_locked(outbox_sql_letters_attempt(&shape)), competing);
		assert_int_equal(letters_locked(outbox_sql_letters_claim(&shape)), competing);
		const char *requests =
		    competing ? "FOR UPDATE OF r, d SKIP LOCKED)" : "FOR UPDATE OF r SKIP LOCKED)";
		assert_int_equal(count(outbox_sql_letters_edit(&shape), requests), 1);
		assert_int_equal(count(outbox_sql_letters_discard(&shape), requests), 1);
	}
	shape.competing = false;
}

/* An event without a key keeps nothing waiting, whatever it is said to be held for. */
static void test_without_a_key_none_is_parked(void **state)
{
	char *sql = outbox_sql_letters_refused();
	(void)state;
	assert_non_null(strstr(sql, "held_for = CASE WHEN d.held_for IS NOT NULL AND d.key_hash IS "
				    "NOT NULL THEN given.held END"));
	free(sql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_those_that_compete_wait_for_no_letter),
	    cmocka_unit_test(test_without_a_key_none_is_parked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
