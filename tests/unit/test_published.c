/* SPDX-License-Identifier: ISC */
/*
 * test_published.c - which waiting rows are published: by their event ids, and what is left behind
 */
#include "core/published.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A set with two topics, of the numbers 0 and 1. */
static struct published *fresh(void)
{
	struct published *published = published_new();

	assert_int_equal(published_topic_of(published, slice_of("orders")), 0);
	assert_int_equal(published_topic_of(published, slice_of("bills")), 1);
	return published;
}

static struct published_row row(int64_t id, const char *event_id, const char *key)
{
	return (struct published_row){.id = id,
				      .event_id =
					  event_id != NULL ? slice_of(event_id) : SLICE_NULL,
				      .key = key != NULL ? slice_of(key) : SLICE_NULL,
				      .created_ms = 1000 * id};
}

static void take(struct published *published, struct published_row taken)
{
	published_take(published, &taken);
}

static bool record(struct published *published, const char *event_id)
{
	return published_record(published, slice_of(event_id));
}

static void test_found_and_left(void **state)
{
	struct published *published = fresh();
	const struct published_counts *counts;
	const int64_t *ids;
	size_t count;

	(void)state;
	for (int64_t id = 50; id > 0; id--) {
		char event_id[24];

		snprintf(event_id, sizeof(event_id), "event %d", (int)id);
		take(published, row(id, event_id, "k"));
	}
	assert_true(record(published, "event 7"));
	assert_true(record(published, "event 3"));
	assert_false(record(published, "event 7")); /* a repeat */
	assert_false(record(published, "event 51"));
	assert_false(record(published, ""));
	published_judge(published);
	counts = published_counts(published);
	assert_int_equal(counts->waiting, 50);
	assert_int_equal(counts->looked_up, 50);
	assert_int_equal(counts->found, 2);
	assert_int_equal(counts->left, 48);
	assert_int_equal(counts->first_left, 1);
	assert_int_equal(counts->last_left, 50);
	ids = published_found(published, &count);
	assert_int_equal(count, 2);
	assert_int_equal(ids[0], 3);
	assert_int_equal(ids[1], 7);
	assert_true(published_is_found(published, 7, slice_of("event 7")));
	assert_false(published_is_found(published, 8, slice_of("event 7"))); /* another row */
	assert_false(published_is_found(published, 8, slice_of("event 8")));
	assert_false(published_is_found(published, 8, slice_of("event 80")));
	published_free(&published);
	assert_null(published);
}

/* Nothing is in the topics, and nothing waits. */
static void test_nothing(void **state)
{
	struct published *published = published_new();
	size_t count;

	(void)state;
	assert_false(record(published, "a"));
	published_judge(published);
	assert_int_equal(published_counts(published)->waiting, 0);
	assert_int_equal(published_counts(published)->left, 0);
	published_found(published, &count);
	assert_int_equal(count, 0);
	published_counted(published, &count);
	assert_int_equal(count, 0);
	published_behind(published, &count);
	assert_int_equal(count, 0);
	published_free(&published);
	published_free(&published);
}

/* A UUID is the same however it is written. */
static void test_uuid(void **state)
{
	struct published *published = fresh();

	(void)state;
	take(published, row(1, "1c7a0000-0000-4000-8000-00000000abcd", "k"));
	assert_true(record(published, "1C7A0000-0000-4000-8000-00000000ABCD"));
	published_free(&published);
}

/* Rows that count are not looked up, whatever their event ids are, and are told of by their ids. */
static void test_counted(void **state)
{
	struct published *published = fresh();
	struct published_row old = row(2, "a", "k"), older = row(1, NULL, NULL);
	const int64_t *ids;
	size_t count;

	(void)state;
	old.counts = older.counts = true;
	take(published, old);
	take(published, older);
	take(published, row(3, "b", "k"));
	assert_false(record(published, "a"));
	published_judge(published);
	ids = published_counted(published, &count);
	assert_int_equal(count, 2);
	assert_int_equal(ids[0], 1);
	assert_int_equal(ids[1], 2);
	assert_int_equal(published_counts(published)->counted, 2);
	assert_int_equal(published_counts(published)->looked_up, 1);
	assert_int_equal(published_counts(published)->nameless, 0);
	assert_int_equal(published_counts(published)->left, 1);
	assert_false(published_is_found(published, 2, slice_of("a")));
	published_free(&published);
}

/* A row that is left is behind if a later one of its key is published, or counts so. */
static void test_behind(void **state)
{
	struct published *published = fresh();
	struct published_row counted = row(40, NULL, "old");
	const struct published_behind *behind;
	size_t count;

	(void)state;
	take(published, row(1, "a", "k"));     /* behind 3 */
	take(published, row(2, "b", "k"));     /* found */
	take(published, row(3, "c", "k"));     /* found */
	take(published, row(4, "d", "k"));     /* left, and after it nothing */
	take(published, row(5, "e", "l"));     /* left: of its key nothing is published */
	take(published, row(6, "f", NULL));    /* no key */
	take(published, row(7, "g", NULL));    /* found */
	take(published, row(-9, "h", "k"));    /* behind, with a negative id */
	take(published, row(30, NULL, "old")); /* cannot be looked up, and is behind 40 */
	counted.counts = true;
	take(published, counted);
	assert_true(record(published, "c"));
	assert_true(record(published, "b"));
	assert_true(record(published, "g"));
	published_judge(published);
	behind = published_behind(published, &count);
	assert_int_equal(count, 3);
	assert_int_equal(published_counts(published)->behind, 3);
	assert_int_equal(behind[0].id, -9);
	assert_int_equal(behind[0].ahead, 3);
	assert_int_equal(behind[1].id, 1);
	assert_int_equal(behind[1].ahead, 3);
	assert_int_equal(behind[2].id, 30);
	assert_int_equal(behind[2].ahead, 40);
	assert_int_equal(published_counts(published)->first_left, -9);
	assert_int_equal(published_counts(published)->last_left, 30);
	published_free(&published);
}

/* The empty text is a key, and a published id below zero has others behind it as well. */
static void test_empty_key_and_low_ids(void **state)
{
	struct published *published = fresh();
	const struct published_behind *behind;
	size_t count;

	(void)state;
	take(published, row(-20, "a", ""));
	take(published, row(-10, "b", ""));
	take(published, row(-5, "c", ""));
	assert_true(record(published, "b"));
	published_judge(published);
	behind = published_behind(published, &count);
	assert_int_equal(count, 1);
	assert_int_equal(behind[0].id, -20);
	assert_int_equal(behind[0].ahead, -10);
	published_free(&published);
}

/* One record tells of one row: of the first by id, in whatever order they come. */
static void test_doubled(void **state)
{
	static const int64_t orders[][3] = {{1, 2, 3}, {3, 2, 1}, {2, 1, 3}};

	(void)state;
	for (size_t n = 0; n < sizeof(orders) / sizeof(orders[0]); n++) {
		struct published *published = fresh();
		const int64_t *ids;
		size_t count;

		for (size_t i = 0; i < 3; i++)
			take(published, row(orders[n][i], "same", "k"));
		assert_true(record(published, "same"));
		assert_false(record(published, "same"));
		published_judge(published);
		ids = published_found(published, &count);
		assert_int_equal(count, 1);
		assert_int_equal(ids[0], 1);
		assert_int_equal(published_counts(published)->doubled, 2);
		assert_int_equal(published_counts(published)->left, 2);
		assert_int_equal(published_counts(published)->first_left, 2);
		published_free(&published);
	}
}

static void test_topics(void **state)
{
	struct published *published = fresh();
	struct published_row rows[] = {row(1, "a", "k"), row(2, "b", "k"), row(3, NULL, "k"),
				       row(4, "d", "k"), row(5, "e", "k"), row(6, "f", "k")};
	const struct published_topic *orders, *bills;

	(void)state;
	rows[0].counts = true;
	rows[3].topic = 1;
	rows[4].topic = PUBLISHED_NOWHERE;
	rows[5].created_ms = 0; /* not known */
	for (size_t i = 0; i < 6; i++)
		take(published, rows[i]);
	assert_int_equal(published_topic_of(published, slice_of("bills")), 1);
	assert_int_equal(published_topics(published), 2);
	assert_true(record(published, "b"));
	assert_true(record(published, "e")); /* wherever it is */
	published_judge(published);
	orders = published_topic(published, 0);
	bills = published_topic(published, 1);
	assert_string_equal(orders->name, "orders");
	assert_int_equal(orders->waiting, 4);
	assert_int_equal(orders->counted, 1);
	assert_int_equal(orders->looked_up, 2);
	assert_int_equal(orders->found, 1);
	assert_int_equal(orders->left, 2);
	assert_int_equal(orders->oldest_ms, 0);
	assert_string_equal(bills->name, "bills");
	assert_int_equal(bills->left, 1);
	assert_int_equal(bills->oldest_ms, 4000);
	assert_int_equal(published_counts(published)->nowhere, 1);
	assert_int_equal(published_counts(published)->found, 2);
	published_free(&published);
}

/* As published.h has it. */
static void test_memory(void **state)
{
	enum { MANY = 100000 };
	struct published *published = fresh();
	char text[24];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "%d", i);
		take(published, row(i, text, text));
	}
	assert_in_range(published_bytes(published), 40 * MANY, 80 * MANY + 256 * 1024);
	published_free(&published);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_found_and_left), cmocka_unit_test(test_nothing),
	    cmocka_unit_test(test_uuid),	   cmocka_unit_test(test_counted),
	    cmocka_unit_test(test_behind),	   cmocka_unit_test(test_empty_key_and_low_ids),
	    cmocka_unit_test(test_doubled),	   cmocka_unit_test(test_topics),
	    cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
