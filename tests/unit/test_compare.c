/* SPDX-License-Identifier: ISC */
/*
 * test_compare.c - what a comparison finds in two sets of topics, and how it reads times
 */
#include "commands/compare.h"
#include "core/compare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Two topics with two partitions each; in the shadow the second topic has three. */
static const struct compare_place live_places[] = {{0, 0, 2}, {0, 1, 2}, {1, 0, 2}, {1, 1, 2}};
static const struct compare_place shadow_places[] = {
    {0, 0, 2}, {0, 1, 2}, {1, 0, 3}, {1, 1, 3}, {1, 2, 3}};
static const struct compare_place *const places[] = {live_places, shadow_places};
static const struct compare_range always = {INT64_MIN, INT64_MAX};

static struct compare_header usual[] = {{{"id", 2}, {"x", 1}}, {{"type", 4}, {"Made", 4}}};

/* An event as both would publish it. */
static struct compare_record plain(int number)
{
	char text[40];

	snprintf(text, sizeof(text), "event %d", number);
	return (struct compare_record){.has_name = true,
				       .name = audit_name(slice_of(text)),
				       .offset = number,
				       .time_ms = 1000,
				       .key = slice_of("key"),
				       .value = slice_of("value"),
				       .headers = usual,
				       .header_count = 2};
}

static struct compare *fresh(void)
{
	return compare_new(places, &always);
}

static unsigned live(struct compare *compare, struct compare_record record)
{
	struct compare_spot ignored;

	return compare_record(compare, COMPARE_LIVE, &record, &ignored);
}

static unsigned shadow(struct compare *compare, struct compare_record record)
{
	struct compare_spot other = {.offset = -1};
	unsigned found = compare_record(compare, COMPARE_SHADOW, &record, &other);

	if (found != 0 && !(found & (COMPARE_WITHOUT_ID | COMPARE_REPEATED)))
		assert_int_equal(other.side, COMPARE_LIVE);
	return found;
}

/* What the two records of an event are judged. */
static unsigned pair(struct compare_record one, struct compare_record two)
{
	struct compare *compare = fresh();
	unsigned found;

	assert_int_equal(live(compare, one), 0);
	found = shadow(compare, two);
	assert_int_equal(compare_pairs(compare), 1);
	for (unsigned bit = 1; bit < 1 << COMPARE_FINDINGS; bit <<= 1)
		assert_int_equal(compare_found(compare, (enum compare_finding)bit),
				 (found & bit) != 0);
	compare_free(&compare);
	return found;
}

static void test_the_same(void **state)
{
	struct compare_record moved = plain(1);

	(void)state;
	moved.offset = 77;
	assert_int_equal(pair(plain(1), moved), 0);
}

static void test_key_and_value(void **state)
{
	struct compare_record other = plain(1), empty = plain(1), none = plain(1);

	(void)state;
	other.key = slice_of("key ");
	assert_int_equal(pair(plain(1), other), COMPARE_KEY);
	other = plain(1);
	other.value = slice_of("valuf");
	assert_int_equal(pair(plain(1), other), COMPARE_VALUE);
	/* A tombstone is no empty value. */
	empty.value = slice_of("");
	none.value = SLICE_NULL;
	assert_int_equal(pair(empty, none), COMPARE_VALUE);
	assert_int_equal(pair(none, none), 0);
	/* Nor do key and value make up for each other. */
	other = plain(1);
	other.key = slice_of("value");
	other.value = slice_of("key");
	assert_int_equal(pair(plain(1), other), COMPARE_KEY | COMPARE_VALUE);
}

static void test_headers(void **state)
{
	struct compare_header swapped[] = {usual[1], usual[0]},
			      twice[] = {usual[0], usual[1], usual[1]},
			      crossed[] = {{{"id", 2}, {"Made", 4}}, {{"type", 4}, {"x", 1}}},
			      blank[] = {{{"id", 2}, {"x", 1}}, {{"type", 4}, {NULL, 0}}};
	struct compare_record other = plain(1);

	(void)state;
	other.headers = swapped;
	assert_int_equal(pair(plain(1), other), COMPARE_HEADER_ORDER);
	other.headers = crossed;
	assert_int_equal(pair(plain(1), other), COMPARE_HEADERS);
	other.headers = blank;
	assert_int_equal(pair(plain(1), other), COMPARE_HEADERS);
	other.headers = twice;
	other.header_count = 3;
	assert_int_equal(pair(plain(1), other), COMPARE_HEADERS);
	other.header_count = 1;
	assert_int_equal(pair(plain(1), other), COMPARE_HEADERS);
}

static void test_places(void **state)
{
	struct compare_record one = plain(1), two = plain(1);

	(void)state;
	two.place = 1;
	assert_int_equal(pair(one, two), COMPARE_PARTITION);
	two.place = 2;
	assert_int_equal(pair(one, two), COMPARE_TOPIC);
	/* With another number of partitions nothing follows. */
	one.place = 2;
	two.place = 4;
	assert_int_equal(pair(one, two), 0);
}

static void test_time(void **state)
{
	struct compare_record other = plain(1);

	(void)state;
	other.time_ms++;
	assert_int_equal(pair(plain(1), other), COMPARE_TIME);
}

static void test_without_id(void **state)
{
	struct compare *compare = fresh();
	struct compare_record record = plain(1);

	(void)state;
	record.has_name = false;
	assert_int_equal(live(compare, record), COMPARE_WITHOUT_ID);
	assert_int_equal(shadow(compare, record), COMPARE_WITHOUT_ID);
	assert_int_equal(compare_counts(compare, COMPARE_LIVE)->without_id, 1);
	assert_int_equal(compare_pairs(compare), 0);
	compare_free(&compare);
}

static void test_repeats(void **state)
{
	struct compare *compare = fresh();
	struct compare_record changed = plain(1);

	(void)state;
	changed.value = slice_of("later");
	live(compare, plain(1));
	assert_int_equal(live(compare, changed), COMPARE_REPEATED);
	assert_int_equal(shadow(compare, plain(1)), 0);
	assert_int_equal(shadow(compare, plain(1)), COMPARE_REPEATED);
	/* Of an event that is in the shadow alone. */
	assert_int_equal(shadow(compare, plain(2)), 0);
	assert_int_equal(shadow(compare, plain(2)), COMPARE_REPEATED);
	assert_int_equal(compare_counts(compare, COMPARE_LIVE)->repeated, 1);
	assert_int_equal(compare_counts(compare, COMPARE_SHADOW)->repeated, 2);
	compare_free(&compare);
}

struct missing {
	struct compare_spot spots[10];
	size_t count;
};

static void note(void *arg, struct compare_spot spot)
{
	struct missing *missing = arg;

	missing->spots[missing->count++] = spot;
}

static void test_missing(void **state)
{
	struct compare *compare = fresh();
	struct missing missing = {.count = 0};

	(void)state;
	live(compare, plain(0));
	live(compare, plain(1));
	live(compare, plain(2));
	shadow(compare, plain(2));
	shadow(compare, plain(3));
	compare_missing(compare, note, &missing);
	assert_int_equal(missing.count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(missing.spots[i].side == COMPARE_LIVE ? missing.spots[i].offset < 2
								  : missing.spots[i].offset == 3);
	assert_int_equal(compare_counts(compare, COMPARE_SHADOW)->missing, 2);
	assert_int_equal(compare_counts(compare, COMPARE_LIVE)->missing, 1);
	compare_free(&compare);
}

static void test_order(void **state)
{
	struct compare *compare = fresh();
	struct compare_record other = plain(4);

	(void)state;
	other.key = slice_of("another");
	for (int i = 1; i <= 3; i++)
		live(compare, plain(i));
	live(compare, other);
	assert_int_equal(shadow(compare, other), 0); /* keys have no order between them */
	assert_int_equal(shadow(compare, plain(1)), 0);
	assert_int_equal(shadow(compare, plain(3)), 0);
	assert_int_equal(shadow(compare, plain(2)), COMPARE_ORDER);
	compare_free(&compare);
}

/* Though the shadow writes keys in another way. */
static void test_order_of_other_keys(void **state)
{
	struct compare *compare = fresh();
	struct compare_record quoted[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		live(compare, plain(i));
		quoted[i] = plain(i);
		quoted[i].key = slice_of("\"key\"");
	}
	assert_int_equal(shadow(compare, quoted[0]), COMPARE_KEY);
	assert_int_equal(shadow(compare, quoted[2]), COMPARE_KEY);
	assert_int_equal(shadow(compare, quoted[1]), COMPARE_KEY | COMPARE_ORDER);
	compare_free(&compare);
}

/* Partitions are read one beside the other; and without a key there is no order. */
static void test_no_order(void **state)
{
	struct compare *compare = fresh();
	struct compare_record first = plain(1), second = plain(2), third = plain(3);

	(void)state;
	second.place = 1;
	live(compare, first);
	live(compare, second);
	assert_int_equal(shadow(compare, second), 0);
	assert_int_equal(shadow(compare, first), 0);
	third.key = SLICE_NULL;
	live((compare_free(&compare), compare = fresh()), third);
	third = plain(4);
	third.key = SLICE_NULL;
	live(compare, third);
	assert_int_equal(shadow(compare, third), 0);
	third.name = plain(3).name;
	assert_int_equal(shadow(compare, third), 0);
	compare_free(&compare);
}

static void test_no_order_between_partitions(void **state)
{
	struct compare *compare = fresh();
	struct compare_record first = plain(1), second = plain(2);

	(void)state;
	/* Of the shadow. */
	live(compare, first);
	live(compare, second);
	first.place = 1;
	assert_int_equal(shadow(compare, second), 0);
	assert_int_equal(shadow(compare, first), COMPARE_PARTITION);
	compare_free(&compare);
	/* Of the live topic. */
	compare = fresh();
	first = plain(1);
	second.place = 1;
	live(compare, first);
	live(compare, second);
	second.place = 0;
	assert_int_equal(shadow(compare, second), COMPARE_PARTITION);
	assert_int_equal(shadow(compare, first), 0);
	compare_free(&compare);
}

/* What lies outside is read and not judged; a pair with one record inside is. */
static void test_range(void **state)
{
	const struct compare_range range = {1000, 2000};
	struct compare *compare = compare_new(places, &range);
	struct missing missing = {.count = 0};
	struct compare_record early = plain(1), late = plain(2), other = plain(3);

	(void)state;
	early.time_ms = 999;
	late.time_ms = 2000;
	live(compare, early);
	live(compare, late);
	live(compare, other);
	live(compare, plain(6));
	early.value = late.value = slice_of("other");
	assert_int_equal(shadow(compare, early), 0);
	assert_int_equal(compare_pairs(compare), 0);
	late.time_ms = 1999;
	assert_int_equal(shadow(compare, late), COMPARE_VALUE | COMPARE_TIME);
	late.name = plain(5).name;
	late.time_ms = 2000;
	shadow(compare, late);
	other = plain(6);
	other.time_ms = 2000;
	assert_int_equal(shadow(compare, other), COMPARE_TIME);
	early.name = plain(4).name;
	shadow(compare, early);
	compare_missing(compare, note, &missing);
	assert_int_equal(missing.count, 1);
	assert_int_equal(missing.spots[0].offset, 3);
	compare_free(&compare);
}

/* ---- times, values ---- */

static void reads_time(const char *text, int64_t expected)
{
	struct error err;
	int64_t time_ms = -1;

	assert_true(compare_time(text, 100000, &time_ms, &err));
	assert_int_equal(time_ms, expected);
}

static void test_times(void **state)
{
	static const char *const wrong[] = {"",
					    "yesterday",
					    "2026-11-30",
					    "2026-11-30T03:00:00",
					    "2026-11-30T03:00:00+1",
					    "2026-02-30T03:00:00Z",
					    "2026-11-30T25:00:00Z",
					    "2026-11-30T03:00:00Zx"};
	struct error err;
	int64_t time_ms;

	(void)state;
	reads_time("0", 100000);
	reads_time("30s", 70000);
	reads_time("1970-01-02T00:00:01Z", 86401000);
	reads_time("1970-01-02 00:01Z", 86460000);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(compare_time(wrong[i], 0, &time_ms, &err));
}

static void test_values(void **state)
{
	(void)state;
	assert_int_equal(compare_first(slice_of("abc"), slice_of("abd")), 2);
	assert_int_equal(compare_first(slice_of("ab"), slice_of("abd")), 2);
	assert_int_equal(compare_first(SLICE_NULL, slice_of("abd")), 0);
	assert_true(
	    compare_same_json(slice_of("{\"a\": 1, \"b\":2}"), slice_of("{\"b\":2,\"a\":1}")));
	assert_false(compare_same_json(slice_of("{\"a\": 1}"), slice_of("{\"a\":2}")));
	assert_false(compare_same_json(slice_of("a"), slice_of("a")));
	assert_false(compare_same_json(SLICE_NULL, SLICE_NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_same), cmocka_unit_test(test_key_and_value),
	    cmocka_unit_test(test_headers),  cmocka_unit_test(test_places),
	    cmocka_unit_test(test_time),     cmocka_unit_test(test_without_id),
	    cmocka_unit_test(test_repeats),  cmocka_unit_test(test_missing),
	    cmocka_unit_test(test_order),    cmocka_unit_test(test_order_of_other_keys),
	    cmocka_unit_test(test_no_order), cmocka_unit_test(test_no_order_between_partitions),
	    cmocka_unit_test(test_range),    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
