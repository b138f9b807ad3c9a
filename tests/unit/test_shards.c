/* SPDX-License-Identifier: ISC */
/*
 * test_shards.c - which shards of how many
 */
#include "base/shards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_text(const struct shards *shards, const char *want)
{
	char *text = shards_text(shards);

	assert_string_equal(text, want);
	free(text);
}

static void test_none_one_and_some(void **state)
{
	struct shards shards;

	(void)state;
	shards_clear(&shards, 4);
	assert_int_equal(shards_owned(&shards), 0);
	assert_text(&shards, "{}");
	shards.owned[2] = true;
	assert_text(&shards, "{2}");
	shards.owned[0] = shards.owned[3] = true;
	assert_int_equal(shards_owned(&shards), 3);
	assert_text(&shards, "{0,2,3}");
	shards_clear(&shards, 0);
	assert_int_equal(shards_owned(&shards), 0);
	assert_text(&shards, "{}");
}

/* As long as it gets. */
static void test_all_of_the_most(void **state)
{
	struct shards shards;

	(void)state;
	shards_clear(&shards, SHARDS_MAX);
	for (int k = 0; k < SHARDS_MAX; k++)
		shards.owned[k] = true;
	assert_int_equal(shards_owned(&shards), SHARDS_MAX);
	char *text = shards_text(&shards);
	size_t length = strlen(text);
	assert_int_equal(text[length - 1], '}');
	assert_memory_equal(text + length - 6, ",1023}", 6);
	free(text);
}

static void test_the_only_one(void **state)
{
	struct shards shards;

	(void)state;
	shards_clear(&shards, 3);
	assert_int_equal(shards_only(&shards), -1);
	shards.owned[2] = true;
	assert_int_equal(shards_only(&shards), 2);
	shards.owned[0] = true;
	assert_int_equal(shards_only(&shards), -1);
}

static void test_two_of_them(void **state)
{
	struct shards a, b;

	(void)state;
	shards_clear(&a, 4);
	shards_clear(&b, 4);
	assert_true(shards_equal(&a, &b));
	assert_false(shards_overlap(&a, &b));
	a.owned[1] = b.owned[2] = true;
	assert_false(shards_equal(&a, &b));
	assert_false(shards_overlap(&a, &b));
	b.owned[1] = true;
	assert_true(shards_overlap(&a, &b));
	a.owned[2] = true;
	assert_true(shards_equal(&a, &b));
	shards_clear(&b, 0);
	assert_false(shards_equal(&a, &b));
	assert_false(shards_overlap(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_two_of_them),
	    cmocka_unit_test(test_the_only_one),
	    cmocka_unit_test(test_none_one_and_some),
	    cmocka_unit_test(test_all_of_the_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
