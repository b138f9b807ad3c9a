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
	    cmocka_unit_test(test_without_a_key_none_is_parked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
