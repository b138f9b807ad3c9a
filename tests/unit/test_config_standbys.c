/* SPDX-License-Identifier: ISC */
/*
 * test_config_standbys.c - outbox.publish_standbys: what is understood, and what is refused
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* names: by chr(31) */
static void reads(const char *text, int needed, const char *names)
{
	struct config_standbys standbys;
	struct error err;
	char *joined;

	if (!config_standbys_read(text, &standbys, &err))
		fail_msg("%s: %s", text, err.text);
	joined = config_standbys_join(&standbys);
	assert_string_equal(joined, names);
	assert_int_equal(standbys.needed, needed);
	free(joined);
	config_standbys_free(&standbys);
}

static void refuses(const char *text)
{
	struct config_standbys standbys;
	struct error err;

	if (config_standbys_read(text, &standbys, &err))
		fail_msg("%s is taken", text);
	assert_non_null(strstr(err.text, "write \"ANY 1 (standby1, standby2)\""));
	assert_int_equal(standbys.names.count, 0);
}

static void test_a_quorum(void **state)
{
	(void)state;
	reads("ANY 1 (a, b)", 1,
	      "a\x1f"
	      "b");
	reads("any 2(a,b , c)", 2,
	      "a\x1f"
	      "b\x1f"
	      "c");
	reads("  ANY  1  ( a )  ", 1, "a");
	reads("ANY 1 (\"my standby\", \"a\"\"b\", eu-west_1.x)", 1,
	      "my standby\x1f"
	      "a\"b\x1f"
	      "eu-west_1.x");
}

static void test_a_single_one(void **state)
{
	(void)state;
	reads("standby1", 1, "standby1");
	reads("\"any 1\"", 1, "any 1");
	reads("any", 1, "any");
	reads("", 0, "");
}

/* FIRST means an order of synchronous standbys, and any of them may be promoted here. */
static void test_what_is_refused(void **state)
{
	static const char *const texts[] = {
	    "a, b",	   "2 (a, b)",	   "FIRST 1 (a, b)",
	    "ANY (a)",	   "ANY 0 (a)",	   "ANY 3 (a, b)",
	    "ANY 1 (a",	   "ANY 1 (a,)",   "ANY 1 ()",
	    "ANY 1 (a) b", "ANY 1 (a, a)", "ANY 1 (*)",
	    "*",	   "ANY -1 (a)",   "ANY 1 (a, A)",
	    "ANY 1 (\"a)", "\"\"",	   "ANY1 (a)",
	    "a b",	   "ANY 1 a",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refuses(texts[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_quorum),
	    cmocka_unit_test(test_a_single_one),
	    cmocka_unit_test(test_what_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
