/* SPDX-License-Identifier: ISC */
/*
 * test_audit.c - what an audit finds: stories, and random histories beside a naive model
 */
#include "base/xalloc.h"
#include "core/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HISTORIES = 3000, EVENTS = 12, KEYS = 3, PLACES = 4, TOPICS = 2, RECORDS_MOST = 40 };

/* ---- stories ---- */

static struct audit_name numbered(int number)
{
	char text[64];

	snprintf(text, sizeof(text), "00000000-0000-4000-8000-%012d", number);
	return audit_name(slice_of(text));
}

static unsigned arrive(struct audit *audit, int number, const char *key, size_t place)
{
	struct audit_record record = {.has_name = true,
				      .name = numbered(number),
				      .id = AUDIT_NO_ID,
				      .has_key = key != NULL,
				      .key = slice_of(key),
				      .place = place};
	struct audit_before before;

	return audit_record(audit, &record, &before);
}

static void know(struct audit *audit, int from, int to)
{
	for (int n = from; n <= to; n++)
		audit_know(audit, numbered(n), n, AUDIT_DUE);
}

struct missing {
	int64_t ids[1000];
	size_t count;
};

static void note(void *arg, struct audit_name name, int64_t id)
{
	struct missing *missing = arg;

	(void)name;
	missing->ids[missing->count++] = id;
}

static void test_a_loss(void **state)
{
	struct audit *audit = audit_new(1, AUDIT_ORDERED);
	struct missing missing = {.count = 0};

	(void)state;
	know(audit, 1, 3);
	assert_int_equal(audit_due(audit), 3);
	assert_int_equal(arrive(audit, 1, "a", 0), 0);
	assert_int_equal(arrive(audit, 3, "a", 0), 0);
	audit_missing(audit, note, &missing);
	assert_int_equal(missing.count, 1);
	assert_int_equal(missing.ids[0], 2);
	audit_know(audit, numbered(2), 2, AUDIT_EXCUSED);
	assert_false(audit_is_missing(audit, numbered(2)));
	assert_int_equal(audit_due(audit), 2);
	audit_free(&audit);
}

static void test_a_repeat(void **state)
{
	struct audit *audit = audit_new(2, AUDIT_ORDERED);

	(void)state;
	know(audit, 1, 3);
	for (int n = 1; n <= 3; n++)
		assert_int_equal(arrive(audit, n, "a", 0), 0);
	for (int n = 2; n <= 3; n++)
		assert_int_equal(arrive(audit, n, "a", 0), AUDIT_REPEATED);
	assert_int_equal(arrive(audit, 1, NULL, 1), AUDIT_REPEATED | AUDIT_ELSEWHERE);
	assert_int_equal(audit_counts(audit, 0)->repeated, 2);
	assert_int_equal(audit_counts(audit, 0)->repeated_runs, 1);
	assert_int_equal(audit_total(audit).repeated_runs, 2);
	know(audit, 4, 4);
	assert_int_equal(arrive(audit, 4, "a", 0), 0);
	arrive(audit, 4, "a", 0);
	assert_int_equal(audit_counts(audit, 0)->repeated_runs, 2);
	audit_free(&audit);
}

/* First arrivals count: a replay after a crash, from the beginning of a batch, is in order. */
static void test_a_swap(void **state)
{
	struct audit *audit = audit_new(1, AUDIT_ORDERED);

	(void)state;
	know(audit, 1, 9);
	arrive(audit, 1, "a", 0);
	arrive(audit, 2, "a", 0);
	assert_int_equal(arrive(audit, 1, "a", 0), AUDIT_REPEATED);
	assert_int_equal(arrive(audit, 4, "a", 0), 0);
	assert_int_equal(arrive(audit, 3, "a", 0), AUDIT_OUT_OF_ORDER);
	assert_int_equal(arrive(audit, 9, "b", 0), 0);
	assert_int_equal(arrive(audit, 5, "b", 0), AUDIT_OUT_OF_ORDER);
	assert_int_equal(arrive(audit, 6, "a", 0), 0);
	audit_free(&audit);
}

/* Which later event it comes behind; and that it counts no more once it is pardoned. */
static void test_a_pardon(void **state)
{
	struct audit *audit = audit_new(2, AUDIT_ORDERED);
	struct audit_record record = {.has_name = true,
				      .name = numbered(3),
				      .id = AUDIT_NO_ID,
				      .has_key = true,
				      .key = slice_of("a"),
				      .place = 1};
	struct audit_before before = {0, 0, AUDIT_BY_KEY, AUDIT_NO_ID};

	(void)state;
	know(audit, 1, 9);
	arrive(audit, 7, "a", 1);
	assert_int_equal(arrive(audit, 4, "a", 1), AUDIT_OUT_OF_ORDER);
	assert_int_equal(audit_record(audit, &record, &before), AUDIT_OUT_OF_ORDER);
	assert_int_equal(before.ahead, 7);
	audit_pardon(audit, 1);
	assert_int_equal(audit_counts(audit, 1)->out_of_order, 1);
	assert_int_equal(audit_total(audit).overlapping, 1);
	audit_free(&audit);
}

/* Once for each further partition; in each there is an order. */
static void test_two_partitions_for_one_key(void **state)
{
	struct audit *audit = audit_new(2, AUDIT_ORDERED);

	(void)state;
	know(audit, 1, 9);
	arrive(audit, 5, "a", 0);
	assert_int_equal(arrive(audit, 2, "a", 1), AUDIT_MISPLACED);
	assert_int_equal(arrive(audit, 3, "a", 1), 0);
	assert_int_equal(arrive(audit, 1, "a", 1), AUDIT_OUT_OF_ORDER);
	assert_int_equal(arrive(audit, 6, "a", 0), 0);
	assert_int_equal(arrive(audit, 7, "b", 1), 0);
	assert_int_equal(arrive(audit, 7, "b", 0),
			 AUDIT_REPEATED | AUDIT_ELSEWHERE | AUDIT_MISPLACED);
	assert_int_equal(arrive(audit, 8, NULL, 1), 0);
	assert_int_equal(arrive(audit, 4, NULL, 0), 0);
	audit_free(&audit);
}

static void test_without_order_there_is_none_to_keep(void **state)
{
	struct audit *audit = audit_new(2, 0);

	(void)state;
	know(audit, 1, 9);
	arrive(audit, 5, "a", 0);
	assert_int_equal(arrive(audit, 1, "a", 0), 0);
	assert_int_equal(arrive(audit, 2, "a", 1), 0);
	audit_free(&audit);
}

static void expect(struct audit *audit, int number, const char *key, int32_t partition)
{
	const struct audit_expected expected = {slice_of(key), partition};

	audit_know(audit, numbered(number), number, AUDIT_DUE);
	audit_expect(audit, numbered(number), &expected);
}

static void test_a_wrong_key(void **state)
{
	struct audit *audit = audit_new(2, AUDIT_ORDERED);

	(void)state;
	expect(audit, 1, "\"a\"", AUDIT_BY_KEY);
	expect(audit, 2, NULL, AUDIT_BY_KEY);
	expect(audit, 3, "", AUDIT_BY_KEY);
	know(audit, 4, 4);
	assert_int_equal(arrive(audit, 1, "a", 0), AUDIT_WRONG_KEY);
	assert_int_equal(arrive(audit, 1, "\"a\"", 0), AUDIT_REPEATED);
	assert_int_equal(arrive(audit, 2, "", 0), AUDIT_WRONG_KEY);
	assert_int_equal(arrive(audit, 2, NULL, 0), AUDIT_REPEATED);
	assert_int_equal(arrive(audit, 3, NULL, 1), AUDIT_WRONG_KEY);
	assert_int_equal(arrive(audit, 4, "whatever", 1), 0);
	assert_int_equal(arrive(audit, 5, "stranger", 1), AUDIT_UNKNOWN);
	assert_int_equal(audit_counts(audit, 0)->wrong_key, 2);
	assert_int_equal(audit_total(audit).wrong_key, 3);
	/* Two rows of an event that have different keys: either may be meant. */
	expect(audit, 6, "a", AUDIT_BY_KEY);
	expect(audit, 6, "b", AUDIT_BY_KEY);
	expect(audit, 6, "a", AUDIT_BY_KEY);
	assert_int_equal(arrive(audit, 6, "c", 1), 0);
	audit_free(&audit);
}

static unsigned put(struct audit *audit, int number, const char *key, int32_t partition,
		    struct audit_before *before)
{
	struct audit_record record = {.has_name = true,
				      .name = numbered(number),
				      .id = AUDIT_NO_ID,
				      .has_key = key != NULL,
				      .key = slice_of(key),
				      .place = (size_t)partition,
				      .partition = partition};

	return audit_record(audit, &record, before);
}

/* Events of a key are where their rows say, and in order in each partition. */
static void test_partitions_by_rows(void **state)
{
	struct audit *audit = audit_new(3, AUDIT_ORDERED | AUDIT_PLACED);
	struct audit_before before = {0, 0, AUDIT_BY_KEY, AUDIT_NO_ID};

	(void)state;
	for (int n = 1; n <= 9; n++)
		expect(audit, n, "a", n % 2);
	expect(audit, 10, NULL, 2);
	assert_int_equal(put(audit, 2, "a", 0, &before), 0);
	assert_int_equal(put(audit, 3, "a", 1, &before), 0);
	assert_int_equal(put(audit, 1, "a", 1, &before), AUDIT_OUT_OF_ORDER);
	assert_int_equal(before.ahead, 3);
	assert_int_equal(put(audit, 6, "a", 0, &before), 0);
	assert_int_equal(put(audit, 4, "a", 0, &before), AUDIT_OUT_OF_ORDER);
	/* As often as it is in a wrong one. */
	assert_int_equal(put(audit, 8, "a", 2, &before), AUDIT_MISPLACED);
	assert_int_equal(before.named, 0);
	assert_int_equal(put(audit, 9, "a", 2, &before), AUDIT_MISPLACED);
	assert_int_equal(before.named, 1);
	assert_int_equal(put(audit, 10, NULL, 1, &before), AUDIT_MISPLACED);
	/* What no row is known of is misplaced nowhere. */
	assert_int_equal(put(audit, 99, "a", 2, &before), AUDIT_UNKNOWN);
	audit_free(&audit);
}

/* Rows that name no partition are in one, whatever others name, and in order with them. */
static void test_partitions_by_rows_and_keys(void **state)
{
	struct audit *audit = audit_new(3, AUDIT_ORDERED | AUDIT_PLACED);
	struct audit_before before = {0, 0, AUDIT_BY_KEY, AUDIT_NO_ID};

	(void)state;
	expect(audit, 1, "a", 0);
	expect(audit, 2, "a", AUDIT_BY_KEY);
	expect(audit, 3, "a", 1);
	expect(audit, 4, "a", AUDIT_BY_KEY);
	expect(audit, 5, "a", AUDIT_BY_KEY);
	expect(audit, 6, "a", AUDIT_BY_KEY);
	assert_int_equal(put(audit, 1, "a", 0, &before), 0);
	assert_int_equal(put(audit, 4, "a", 1, &before), 0);
	assert_int_equal(put(audit, 3, "a", 1, &before), AUDIT_OUT_OF_ORDER);
	assert_int_equal(put(audit, 5, "a", 0, &before), AUDIT_MISPLACED);
	assert_int_equal(before.named, AUDIT_BY_KEY);
	assert_int_equal(before.key, 1);
	assert_int_equal(put(audit, 6, "a", 0, &before), 0);
	assert_int_equal(put(audit, 2, "a", 0, &before), AUDIT_OUT_OF_ORDER);
	/* A number that is no partition of any topic is not kept. */
	expect(audit, 7, "b", 2000000000);
	assert_int_equal(put(audit, 7, "b", 2, &before), 0);
	audit_free(&audit);
}

/* One that says so itself is no repeat, is in no order, and is there. */
static void test_a_replay(void **state)
{
	struct audit *audit = audit_new(1, AUDIT_ORDERED);
	struct audit_record replay = {.has_name = true,
				      .name = numbered(1),
				      .id = AUDIT_NO_ID,
				      .has_key = true,
				      .key = slice_of("a"),
				      .is_replay = true};
	struct audit_before before;

	(void)state;
	know(audit, 1, 2);
	arrive(audit, 2, "a", 0);
	assert_int_equal(audit_record(audit, &replay, &before), AUDIT_REPLAYED);
	assert_int_equal(audit_record(audit, &replay, &before), AUDIT_REPLAYED);
	assert_false(audit_is_missing(audit, numbered(1)));
	assert_int_equal(audit_due(audit), 2);
	audit_free(&audit);
}

static void test_strangers(void **state)
{
	struct audit *audit = audit_new(1, AUDIT_ORDERED);
	struct audit_record nameless = {.id = AUDIT_NO_ID};
	struct audit_before before;

	(void)state;
	know(audit, 1, 1);
	assert_int_equal(audit_record(audit, &nameless, &before), AUDIT_WITHOUT_NAME);
	assert_int_equal(arrive(audit, 7, "a", 0), AUDIT_UNKNOWN);
	assert_int_equal(arrive(audit, 7, "a", 0), AUDIT_UNKNOWN | AUDIT_REPEATED);
	audit_free(&audit);
}

static void test_names(void **state)
{
	struct audit_name upper = audit_name(slice_of("0A0B0C0D-0000-4000-8000-00000000000F")),
			  lower = audit_name(slice_of("0a0b0c0d-0000-4000-8000-00000000000f")),
			  text = audit_name(slice_of("0a0b0c0d-0000-4000-8000-00000000000g")),
			  nil = audit_name(slice_of("00000000-0000-0000-0000-000000000000"));

	(void)state;
	assert_memory_equal(&upper, &lower, sizeof(upper));
	assert_true(upper.high == UINT64_C(0x0a0b0c0d00004000));
	assert_memory_not_equal(&upper, &text, sizeof(upper));
	assert_true(nil.high != 0);
	/* No text is a prefix's, and letters of other texts keep their case. */
	assert_true(audit_name(slice_of("abc")).low != audit_name(slice_of("ab")).low);
	assert_true(audit_name(slice_of("abc")).high != audit_name(slice_of("ABC")).high);
	assert_true(audit_name((struct slice){"a\0", 2}).high != audit_name(slice_of("a")).high);
}

static void test_many(void **state)
{
	enum { MANY = 200000 };
	struct audit *audit = audit_new(1, AUDIT_ORDERED);
	char key[32];

	(void)state;
	know(audit, 1, MANY);
	for (int n = 1; n <= MANY; n++) {
		snprintf(key, sizeof(key), "key-%d", n);
		if (n != 777)
			assert_int_equal(arrive(audit, n, key, 0), 0);
	}
	struct missing missing = {.count = 0};
	audit_missing(audit, note, &missing);
	assert_int_equal(missing.count, 1);
	assert_int_equal(missing.ids[0], 777);
	/* As audit.h has it: 32 and 24 bytes, between a half and three quarters full. */
	assert_in_range(audit_bytes(audit), MANY * 56 * 4 / 3, MANY * 56 * 2);
	audit_free(&audit);
}

/* ---- random histories ---- */

struct arrival {
	int event, key; /* key < 0: none */
	size_t place;
	bool replay;
	bool says_id;
};

struct history {
	int known[EVENTS]; /* enum audit_known; -1: not told */
	int keys[EVENTS];  /* that rows of it have; -1: none; KEYS: not told */
	int named[EVENTS]; /* the partition; AUDIT_BY_KEY */
	bool placed;
	struct arrival arrivals[RECORDS_MOST];
	int count;
	bool ordered;
};

static int below(int limit)
{
	return rand() % limit;
}

static void make(struct history *history)
{
	history->ordered = below(4) != 0;
	history->placed = below(2) == 0;
	for (int i = 0; i < EVENTS; i++) {
		history->known[i] = below(4) - 1;
		history->keys[i] = history->known[i] >= 0 ? below(KEYS + 2) - 1 : KEYS;
		history->named[i] = history->placed ? below(PLACES / TOPICS + 1) - 1 : AUDIT_BY_KEY;
	}
	history->count = below(RECORDS_MOST);
	for (int i = 0; i < history->count; i++)
		history->arrivals[i] = (struct arrival){.event = below(EVENTS),
							.key = below(KEYS + 1) - 1,
							.place = (size_t)below(PLACES),
							.replay = below(6) == 0,
							.says_id = below(2) == 0};
}

static size_t topic_of(size_t place)
{
	return place % TOPICS;
}

static int32_t partition_of(size_t place)
{
	return (int32_t)(place / TOPICS);
}

/* Whether its event goes where its key does, as far as is known. */
static bool goes_by_key(const struct history *h, const struct arrival *a)
{
	return !h->placed || (h->keys[a->event] < KEYS && h->named[a->event] == AUDIT_BY_KEY);
}

/* The first arrival of the event of arrival i; -1: it is this one, or there was none. */
static int earlier(const struct history *h, int i)
{
	for (int j = 0; j < i; j++)
		if (!h->arrivals[j].replay && h->arrivals[j].event == h->arrivals[i].event)
			return j;
	return -1;
}

static bool has_id(const struct history *h, int i)
{
	return h->known[h->arrivals[i].event] >= 0 || h->arrivals[i].says_id;
}

/* As the header has it, word by word. */
static unsigned expected_misplaced(const struct history *h, int i)
{
	const struct arrival *a = &h->arrivals[i];
	bool was_elsewhere = false;

	if (!goes_by_key(h, a))
		return 0;
	for (int j = 0; j < i; j++) {
		const struct arrival *b = &h->arrivals[j];

		if (b->replay || b->key != a->key || topic_of(b->place) != topic_of(a->place) ||
		    !goes_by_key(h, b))
			continue;
		if (b->place == a->place)
			return 0;
		was_elsewhere = true;
	}
	return was_elsewhere ? AUDIT_MISPLACED : 0;
}

static unsigned expected_order(const struct history *h, int i)
{
	const struct arrival *a = &h->arrivals[i];

	for (int j = 0; j < i; j++) {
		const struct arrival *b = &h->arrivals[j];
		bool is_first = !b->replay && earlier(h, j) < 0;

		if (is_first && b->key == a->key && b->place == a->place && has_id(h, i) &&
		    has_id(h, j) && b->event > a->event)
			return AUDIT_OUT_OF_ORDER;
	}
	return 0;
}

static unsigned expected_row(const struct history *h, int i)
{
	const struct arrival *a = &h->arrivals[i];
	int named = h->named[a->event];

	if (h->keys[a->event] == KEYS)
		return 0;
	return (h->keys[a->event] != a->key ? AUDIT_WRONG_KEY : 0u) |
	       (named != AUDIT_BY_KEY && named != partition_of(a->place) ? AUDIT_MISPLACED : 0u);
}

static unsigned expected(const struct history *h, int i)
{
	const struct arrival *a = &h->arrivals[i];
	bool judged = h->ordered && a->key >= 0;
	unsigned found = h->known[a->event] < 0 ? AUDIT_UNKNOWN : 0;
	int before = earlier(h, i);

	if (a->replay)
		return found | AUDIT_REPLAYED;
	found |= expected_row(h, i) | (judged ? expected_misplaced(h, i) : 0u);
	if (before >= 0)
		return found | AUDIT_REPEATED |
		       (h->arrivals[before].place != a->place ? AUDIT_ELSEWHERE : 0);
	return found | (judged ? expected_order(h, i) : 0);
}

static bool expected_missing(const struct history *h, int event)
{
	for (int i = 0; i < h->count; i++)
		if (h->arrivals[i].event == event)
			return false;
	return h->known[event] == AUDIT_DUE;
}

static const char *const texts[KEYS] = {"", "a", "a longer key"};

static struct slice key_of(int key)
{
	return slice_of(key >= 0 ? texts[key] : NULL);
}

static unsigned actual(struct audit *audit, const struct arrival *a)
{
	struct audit_record record = {.has_name = true,
				      .name = numbered(a->event),
				      .id = a->says_id ? a->event : AUDIT_NO_ID,
				      .has_key = a->key >= 0,
				      .key = key_of(a->key),
				      .is_replay = a->replay,
				      .topic = topic_of(a->place),
				      .place = a->place,
				      .partition = partition_of(a->place)};
	struct audit_before before;

	return audit_record(audit, &record, &before);
}

static void tell(struct audit *audit, const struct history *h, int event)
{
	struct audit_expected expected = {.partition = h->named[event]};

	if (h->known[event] < 0)
		return;
	audit_know(audit, numbered(event), event, (enum audit_known)h->known[event]);
	if (h->keys[event] == KEYS)
		return;
	expected.key = key_of(h->keys[event]);
	audit_expect(audit, numbered(event), &expected);
}

static void compare(const struct history *h)
{
	struct audit *audit =
	    audit_new(PLACES, (h->ordered ? AUDIT_ORDERED : 0u) | (h->placed ? AUDIT_PLACED : 0u));

	for (int event = 0; event < EVENTS; event++)
		tell(audit, h, event);
	for (int i = 0; i < h->count; i++)
		assert_int_equal(actual(audit, &h->arrivals[i]), expected(h, i));
	for (int event = 0; event < EVENTS; event++)
		assert_int_equal(audit_is_missing(audit, numbered(event)),
				 expected_missing(h, event));
	assert_int_equal(audit_total(audit).records, h->count);
	audit_free(&audit);
}

static void test_random_histories(void **state)
{
	struct history history;

	(void)state;
	for (unsigned seed = 0; seed < HISTORIES; seed++) {
		srand(seed);
		make(&history);
		compare(&history);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_loss),
	    cmocka_unit_test(test_a_repeat),
	    cmocka_unit_test(test_a_swap),
	    cmocka_unit_test(test_a_pardon),
	    cmocka_unit_test(test_two_partitions_for_one_key),
	    cmocka_unit_test(test_without_order_there_is_none_to_keep),
	    cmocka_unit_test(test_a_wrong_key),
	    cmocka_unit_test(test_partitions_by_rows),
	    cmocka_unit_test(test_partitions_by_rows_and_keys),
	    cmocka_unit_test(test_a_replay),
	    cmocka_unit_test(test_strangers),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_random_histories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
