/* SPDX-License-Identifier: ISC */
/*
 * test_pgsession.c - the settings of a session: the user's own ones first, then ours
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OURS " -c TimeZone=UTC -c DateStyle=ISO,MDY "

static void gives(const char *dsn, const char *keyword, const char *expected)
{
	char *value = pgsession_keyword(dsn, keyword);

	assert_string_equal(value, expected);
	free(value);
}

static void starts_with(const char *dsn, const char *own)
{
	char *options = pgsession_options(&(struct pg_login){.dsn = dsn});

	assert_memory_equal(options, own, strlen(own));
	assert_memory_equal(options + strlen(own), OURS, strlen(OURS));
	free(options);
}

/* The dsn comes before the environment, as libpq has it. No host is asked: it has none. */
static void test_own_options(void **state)
{
	(void)state;
	unsetenv("PGOPTIONS");
	starts_with("host=nowhere.invalid", "");
	starts_with("host=nowhere.invalid options='-c work_mem=5MB'", "-c work_mem=5MB");
	starts_with("postgresql://nowhere.invalid/x?options=-c%20geqo%3Doff", "-c geqo=off");
	setenv("PGOPTIONS", "-c jit=off", 1);
	starts_with("host=nowhere.invalid", "-c jit=off");
	starts_with("host=nowhere.invalid options='-c work_mem=5MB'", "-c work_mem=5MB");
	unsetenv("PGOPTIONS");
}

/* A pooler refuses options: it gets the user's own only, and the rest as a statement. */
static void test_through_a_pooler(void **state)
{
	struct pg_login login = {.dsn = "host=nowhere.invalid options='-c work_mem=5MB'",
				 .pooled = true};
	char *options = pgsession_options(&login), *settings = pgsession_settings();

	(void)state;
	assert_string_equal(options, "-c work_mem=5MB");
	assert_non_null(strstr(settings, "pg_catalog.set_config('TimeZone', 'UTC', false)"));
	assert_non_null(strstr(settings, "pg_catalog.set_config('search_path', "
					 "'pg_catalog,pg_temp', false)"));
	free(options);
	free(settings);
}

static void test_marks(void **state)
{
	char one[PGSESSION_MARK_SIZE], other[PGSESSION_MARK_SIZE];

	(void)state;
	pgsession_new_mark(one);
	pgsession_new_mark(other);
	assert_int_equal(strlen(one), PGSESSION_MARK_SIZE - 1);
	assert_string_not_equal(one, other);
}

static void test_refused_by_a_pooler(void **state)
{
	(void)state;
	assert_true(pgsession_is_refused("FATAL:  unsupported startup parameter: options"));
	assert_true(pgsession_is_refused("FATAL:  unsupported startup parameter in options: geqo"));
	assert_true(pgsession_is_refused("FATAL: Feature not supported: RDS Proxy currently "
					 "doesn't support command-line options."));
	assert_false(pgsession_is_refused("FATAL:  28P01: password authentication failed"));
	assert_true(pgsession_is_shared("SQLSTATE 08P01: transaction blocks not allowed in "
					"statement pooling mode"));
}

static void test_keyword(void **state)
{
	(void)state;
	gives("host=nowhere.invalid connect_timeout=7", "connect_timeout", "7");
	gives("host=nowhere.invalid", "connect_timeout", "");
	gives("host=nowhere.invalid service=there_is_none", "connect_timeout", "");
	gives("host=nowhere.invalid sslmode=maybe connect_timeout=7", "connect_timeout", "7");
	gives("host=a,b port=1,2,3 connect_timeout=7", "connect_timeout", "7");
	unsetenv("PGDATABASE");
	gives("host=a,b dbname='sh op' user=me", "dbname", "sh op");
	gives("postgresql://me@a,b/shop?target_session_attrs=any", "dbname", "shop");
	gives("host=nowhere.invalid user=me", "dbname", "me");
	setenv("PGDATABASE", "other", 1);
	gives("host=nowhere.invalid user=me", "dbname", "other");
	unsetenv("PGDATABASE");
}

static void test_environment(void **state)
{
	(void)state;
	setenv("PGTZ", "Asia/Kolkata", 1);
	setenv("PGDATESTYLE", "German", 1);
	pgsession_clean_environment();
	assert_null(getenv("PGTZ"));
	assert_null(getenv("PGDATESTYLE"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_own_options), cmocka_unit_test(test_through_a_pooler),
	    cmocka_unit_test(test_marks),	cmocka_unit_test(test_refused_by_a_pooler),
	    cmocka_unit_test(test_keyword),	cmocka_unit_test(test_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
