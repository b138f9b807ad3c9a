/* SPDX-License-Identifier: ISC */
/*
 * test_outbox_fingerprint.c - relays that put a row in different shards have different fingerprints
 */
#include "outbox/sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *const by_id[] = {"aggregate_id"};
static const char *const by_owner[] = {"owner_id"};
static const char *const by_both[] = {"aggregate_id", "tenant"};
static const char *const by_both_reversed[] = {"tenant", "aggregate_id"};
static struct outbox_leaf leaves[] = {{.oid = 12}, {.oid = 3}};

static uint32_t of_key(const char *const *keys, size_t count, int hashed)
{
	struct outbox_shape shape = {
	    .keys = keys, .key_count = count, .hashed = hashed, .leaves = leaves, .leaf_count = 1};
	return outbox_sql_fingerprint(&shape);
}

static void test_the_columns_of_the_key(void **state)
{
	(void)state;
	uint32_t usual = of_key(by_id, 1, 8);
	assert_int_equal(of_key(by_id, 1, 8), usual);
	assert_int_not_equal(of_key(by_owner, 1, 8), usual);
	assert_int_not_equal(of_key(by_both, 2, 8), usual);
	assert_int_not_equal(of_key(by_both_reversed, 2, 8), of_key(by_both, 2, 8));
	assert_int_not_equal(of_key(by_id, 0, 8), usual);
}

static void test_one_shard_holds_every_row(void **state)
{
	(void)state;
	assert_int_equal(of_key(by_id, 1, 0), of_key(by_owner, 1, 0));
}

static uint32_t of_partitions(size_t count, uint32_t first, bool competing)
{
	struct outbox_leaf own[] = {{.oid = first}, leaves[1]};
	struct outbox_shape shape = {
	    .partitioned = true, .competing = competing, .leaves = own, .leaf_count = count};
	return outbox_sql_fingerprint(&shape);
}

static void test_the_partitions(void **state)
{
	(void)state;
	uint32_t usual = of_partitions(2, 12, false);
	assert_int_equal(of_partitions(2, 12, false), usual);
	assert_int_not_equal(of_partitions(2, 123, false), usual);
	assert_int_not_equal(of_partitions(1, 12, false), usual);
	assert_int_equal(of_partitions(2, 12, true), of_partitions(2, 13, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_columns_of_the_key),
	    cmocka_unit_test(test_one_shard_holds_every_row),
	    cmocka_unit_test(test_the_partitions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
