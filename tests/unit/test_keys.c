/* SPDX-License-Identifier: ISC */
/*
 * test_keys.c - a set of keys, told apart by a hash
 */
#include "core/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_empty(void **state)
{
	struct keys keys = {0};

	(void)state;
	assert_false(keys_have(&keys, slice_of("a")));
	keys_clear(&keys);
}

static void test_bytes_tell_keys_apart(void **state)
{
	struct keys keys = {0};

	(void)state;
	keys_add(&keys, slice_of(""));
	keys_add(&keys, (struct slice){"a\0b", 3});
	assert_true(keys_have(&keys, slice_of("")));
	assert_true(keys_have(&keys, (struct slice){"a\0b", 3}));
	assert_false(keys_have(&keys, (struct slice){"a\0c", 3}));
	assert_false(keys_have(&keys, slice_of("a")));
	keys_clear(&keys);
	assert_false(keys_have(&keys, slice_of("")));
}

static void test_many_and_twice(void **state)
{
	struct keys keys = {0};
	char key[16];

	(void)state;
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 10000; i++) {
			snprintf(key, sizeof(key), "key %d", i);
			keys_add(&keys, slice_of(key));
		}
	assert_int_equal(keys.count, 10000);
	for (int i = 0; i < 20000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		assert_int_equal(keys_have(&keys, slice_of(key)), i < 10000);
	}
	keys_clear(&keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_bytes_tell_keys_apart),
	    cmocka_unit_test(test_many_and_twice),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
