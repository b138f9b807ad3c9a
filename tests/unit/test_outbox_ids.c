/* SPDX-License-Identifier: ISC */
/*
 * test_outbox_ids.c - the events of a batch as Postgres array literals
 */
#include "base/xalloc.h"
#include "outbox/ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void free_chunk(struct chunk *chunk)
{
	free(chunk->events);
	free(chunk);
}

static struct batch batch;

/* A batch of events with these identities and the ids -1, 0, 1 ..., all sent. */
static void given(size_t count, const struct slice *identities)
{
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));
	chunk->events = xcalloc(count, sizeof(struct event));
	chunk->count = count;
	chunk->free = free_chunk;
	for (size_t i = 0; i < count; i++) {
		chunk->events[i].id = (int64_t)i - 1;
		chunk->events[i].identity = identities[i];
	}
	batch_add(&batch, chunk);
	for (size_t i = 0; i < count; i++)
		batch_sent(&batch, &chunk->events[i]);
}

static struct event *event(size_t index)
{
	return &batch.first->events[index];
}

static int clear(void **state)
{
	(void)state;
	batch_clear(&batch);
	return 0;
}

/* The literals of published rows with these identities and the ids -1, 0, 1 ... */
static void published(struct outbox_ids *ids, size_t count, const struct slice *identities)
{
	struct outbox_ids_item *items = xcalloc(count + 1, sizeof(*items));
	for (size_t i = 0; i < count; i++)
		items[i] =
		    (struct outbox_ids_item){.id = (int64_t)i - 1, .identity = identities[i]};
	outbox_ids_published(ids, items, count);
	free(items);
}

static void test_none(void **state)
{
	struct outbox_ids ids;
	(void)state;
	published(&ids, 0, NULL);
	assert_int_equal(ids.count, 0);
	assert_string_equal(ids.ids, "{}");
	assert_string_equal(ids.identities, "{}");
	outbox_ids_free(&ids);
	assert_null(ids.ids);
}

/* Quotes, backslashes, separators, emptiness, the word NULL, and no identity at all. */
static void test_hostile_identities(void **state)
{
	const struct slice identities[] = {slice_of("a\"b"), slice_of("\\x00"), slice_of("},{"),
					   slice_of(""),     slice_of("NULL"),	SLICE_NULL};
	struct outbox_ids ids;
	(void)state;
	published(&ids, 6, identities);
	assert_string_equal(ids.identities, "{\"a\\\"b\",\"\\\\x00\",\"},{\",\"\",\"NULL\",NULL}");
	outbox_ids_free(&ids);
}

/* The server would refuse bytes that are no character, and characters that its encoding lacks. */
static void test_reasons_and_words(void **state)
{
	const struct slice identities[] = {slice_of("a"), slice_of("b")};
	struct outbox_ids ids;
	(void)state;
	given(2, identities);
	batch_reject(&batch, event(0), REJECT_HEADERS, "member \"\xc3\xa9\xc3\" is no \\text");
	batch_reject(&batch, event(1), REJECT_TOO_LARGE, NULL);
	const struct slice notes[COPY_NOTES] = {[COPY_ATTEMPTS] = slice_of("3")};
	const struct outbox_ids_item items[] = {{1, identities[0], event(0), true, 0, NULL},
						{2, identities[0], NULL, false, 0, NULL},
						{3, identities[1], event(1), false, 0, NULL},
						{4, identities[0], NULL, false, 40, NULL},
						{5, identities[0], event(0), true, 50, NULL},
						{6, identities[0], NULL, false, 60, notes}};
	outbox_ids_published(&ids, items, 6);
	assert_string_equal(ids.ids, "{2}");
	outbox_ids_free(&ids);
	outbox_ids_rejected(&ids, items, 6, false);
	assert_string_equal(ids.ids, "{1,3}");
	assert_string_equal(ids.reasons, "{\"headers\",\"too_large\"}");
	assert_string_equal(ids.held, "{\"key\",NULL}");
	assert_string_equal(ids.errors, "{\"member \\\"???\\\" is no \\\\text\",\"\"}");
	outbox_ids_free(&ids);
	outbox_ids_rejected(&ids, items, 6, true);
	assert_string_equal(ids.errors, "{\"member \\\"\xc3\xa9?\\\" is no \\\\text\",\"\"}");
	outbox_ids_free(&ids);
	outbox_ids_letters_published(&ids, items, 6);
	assert_string_equal(ids.ids, "{40}");
	outbox_ids_free(&ids);
	outbox_ids_copied(&ids, items, 6);
	assert_string_equal(ids.ids, "{60}");
	assert_string_equal(ids.attempts, "{\"3\"}");
	outbox_ids_free(&ids);
	outbox_ids_letters_rejected(&ids, items, 6, true);
	assert_string_equal(ids.ids, "{50}");
	assert_string_equal(ids.reasons, "{\"headers\"}");
	outbox_ids_free(&ids);
}

static void test_a_large_batch(void **state)
{
	enum { MANY = 10000 };
	struct slice *identities = xcalloc(MANY, sizeof(*identities));
	struct outbox_ids ids;
	(void)state;
	for (size_t i = 0; i < MANY; i++)
		identities[i] = slice_of("12345678-1234-1234-1234-123456789012");
	published(&ids, MANY, identities);
	assert_int_equal(ids.count, MANY);
	assert_int_equal(strlen(ids.identities), MANY * (36 + 2 + 1) + 1);
	assert_string_equal(ids.ids + strlen(ids.ids) - 6, ",9998}");
	outbox_ids_free(&ids);
	free(identities);
}

/* Only where the event has an identity of its own. */
static void test_rows_that_letters_were(void **state)
{
	struct event rejected = {.id = 4};
	struct outbox_ids_item items[] = {
	    {.id = 1, .identity = slice_of("a")},
	    {.id = 2, .identity = slice_of("b"), .letter = 7},
	    {.id = 3, .identity = slice_of("3"), .letter = 8},
	    {.id = 4, .identity = slice_of("d"), .letter = 9, .rejected = &rejected},
	    {.id = 5, .letter = 10},
	};
	struct outbox_ids_item rows[5];
	(void)state;
	assert_int_equal(outbox_ids_rows_of_letters(rows, items, 5), 1);
	assert_int_equal(rows[0].id, 2);
	assert_int_equal(rows[0].letter, 0);
	assert_true(slice_equal(rows[0].identity, slice_of("b")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_none),
	    cmocka_unit_test(test_hostile_identities),
	    cmocka_unit_test_teardown(test_reasons_and_words, clear),
	    cmocka_unit_test(test_a_large_batch),
	    cmocka_unit_test(test_rows_that_letters_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
