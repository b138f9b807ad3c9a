/* SPDX-License-Identifier: ISC */
/*
 * test_note.c - what has to be settled for a batch, written and read again; and what is in doubt
 */
#include "base/xalloc.h"
#include "outbox/doubt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define LINE	"7345678901234567890/3"
#define A_UUID	"6f1f0d5e-8f35-4c0e-9d1c-3f6a5b7c8d9e"
#define NO_UUID "6F1F0D5E-8f35-4c0e-9d1c-3f6a5b7c8d9e"

static void free_chunk(struct chunk *chunk)
{
	free(chunk->events);
	free(chunk);
}

static struct batch batch;

static struct event *begin(size_t count)
{
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));
	chunk->events = xcalloc(count + 1, sizeof(struct event));
	chunk->count = count;
	chunk->free = free_chunk;
	batch_add(&batch, chunk);
	return chunk->events;
}

static void deliver(void)
{
	struct event *event;
	while ((event = batch_next(&batch)) != NULL) {
		batch_sent(&batch, event);
		batch_delivered(&batch, event);
	}
}

static int clear(void **state)
{
	(void)state;
	batch_clear(&batch);
	return 0;
}

static void assert_text(struct slice text, const char *expected)
{
	if (expected == NULL) {
		assert_null(text.data);
		return;
	}
	assert_int_equal(text.len, strlen(expected));
	assert_memory_equal(text.data, expected, text.len);
}

static struct slice written(void)
{
	struct slice bytes;
	bytes.data = note_write(LINE, &batch, &bytes.len);
	return bytes;
}

/* ---- notes ---- */

static void test_rows_come_back(void **state)
{
	static const struct {
		int64_t id;
		const char *identity;
	} rows[] = {{1, A_UUID},  {-5, NULL},	  {INT64_MAX, ""}, {INT64_MIN, "order-1"},
		    {7, NO_UUID}, {8, A_UUID "0"}};
	enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
	struct event *events = begin(ROWS);
	struct note note;
	struct error err;

	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		events[i].id = rows[i].id;
		events[i].identity = slice_of(rows[i].identity);
	}
	deliver();
	struct slice bytes = written();
	assert_true(note_read(&note, bytes, &err));
	assert_string_equal(note.line, LINE);
	assert_int_equal(note.count, ROWS);
	for (size_t i = 0; i < ROWS; i++) {
		assert_int_equal(note.items[i].id, rows[i].id);
		assert_text(note.items[i].identity, rows[i].identity);
		assert_int_equal(note.items[i].letter, 0);
		assert_null(note.items[i].copy);
		assert_null(note.items[i].rejected);
	}
	note_fini(&note);
	free((void *)(uintptr_t)bytes.data);
}

static void test_letters_and_copies_come_back(void **state)
{
	struct slice notes[COPY_NOTES] = {[COPY_ATTEMPTS] = {"12", 2}};
	struct event *events = begin(2);
	struct note note;
	struct error err;

	(void)state;
	events[0] =
	    (struct event){.id = 9, .letter = INT64_C(1) << 40, .identity = slice_of(A_UUID)};
	events[1] = (struct event){.id = 10, .letter = 3, .copy = notes};
	deliver();
	struct slice bytes = written();
	assert_true(note_read(&note, bytes, &err));
	assert_int_equal(note.items[0].letter, INT64_C(1) << 40);
	assert_null(note.items[0].copy);
	assert_int_equal(note.items[1].letter, 3);
	assert_text(note.items[1].copy[COPY_ATTEMPTS], "12");
	note_fini(&note);
	free((void *)(uintptr_t)bytes.data);
}

static void test_a_uuid_is_packed(void **state)
{
	struct event *events = begin(1000);

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		events[i] =
		    (struct event){.id = 1000000 + (int64_t)i, .identity = slice_of(A_UUID)};
	deliver();
	struct slice bytes = written();
	assert_true(bytes.len < 1000 * 18 + 100);
	free((void *)(uintptr_t)bytes.data);
}

/* However it was cut or spoilt, nothing is read beyond it, and a part is never taken for the whole.
 */
static void test_every_beginning_is_damaged(void **state)
{
	struct event *events = begin(3);
	struct note note;
	struct error err;

	(void)state;
	events[1] = (struct event){.id = 300, .identity = slice_of(A_UUID)};
	events[2] = (struct event){.id = 301, .identity = slice_of("x"), .letter = 7};
	deliver();
	struct slice bytes = written();
	for (size_t len = 0; len < bytes.len; len++) {
		char *copy = xcalloc(1, len + 1); /* of this size, so that a sanitizer sees */
		char *part = len > 0 ? realloc(copy, len) : copy;
		memcpy(part, bytes.data, len);
		assert_false(note_read(&note, (struct slice){part, len}, &err));
		free(part);
	}
	char *longer = xcalloc(1, bytes.len + 1);
	memcpy(longer, bytes.data, bytes.len);
	assert_false(note_read(&note, (struct slice){longer, bytes.len + 1}, &err));
	assert_string_equal(err.text, "a note in the ledger is damaged");
	free(longer);
	free((void *)(uintptr_t)bytes.data);
}

static void test_a_later_version(void **state)
{
	struct note note;
	struct error err;

	(void)state;
	assert_false(note_read(&note, slice_of("\002whatever"), &err));
	assert_non_null(strstr(err.text, "a later release"));
}

/* ---- what is in doubt ---- */

static struct slice note_of(const char *line, int64_t id)
{
	struct slice bytes;
	struct event *events = begin(1);
	events[0].id = id;
	deliver();
	bytes.data = note_write(line, &batch, &bytes.len);
	batch_clear(&batch);
	return bytes;
}

static const struct producer_id slot = {.settled = 4};
static const struct doubt_side here = {.id = &slot, .line = LINE, .cluster = "kafka-1"};

static struct error doubt_err;

/* Of batches from `first` on, as of that line. */
static bool reads(struct doubt *doubt, const char *line, int64_t first, size_t count, int64_t last,
		  const char *cluster)
{
	struct ledger_batch batches[3];
	for (size_t i = 0; i < count; i++)
		batches[i] =
		    (struct ledger_batch){.number = first + (int64_t)i,
					  .note = note_of(line, 100 * (first + (int64_t)i))};
	struct ledger ledger = {
	    .batches = batches, .count = count, .last = last, .cluster = cluster};
	bool good = doubt_read(doubt, &ledger, &here, &doubt_err);
	if (good) {
		for (size_t i = 0; i < doubt->count; i++)
			assert_int_equal(doubt->items[i].id, 100 * (slot.settled + 1 + (int64_t)i));
		doubt_fini(doubt);
	}
	for (size_t i = 0; i < count; i++)
		free((void *)(uintptr_t)batches[i].note.data);
	return good;
}

static void assert_refused(const char *line, int64_t first, size_t count, int64_t last,
			   const char *cluster, const char *words)
{
	struct doubt doubt;
	assert_false(reads(&doubt, line, first, count, last, cluster));
	if (strstr(doubt_err.text, words) == NULL)
		fail_msg("%s", doubt_err.text);
}

static void test_all_above_what_is_settled(void **state)
{
	struct doubt doubt;

	(void)state;
	assert_true(reads(&doubt, LINE, 5, 0, 4, "kafka-1"));
	assert_true(reads(&doubt, LINE, 5, 1, 5, "kafka-1"));
	assert_true(reads(&doubt, LINE, 5, 2, 6, "kafka-1"));
	assert_true(reads(&doubt, LINE, 3, 3, 5, "kafka-1"));
	/* After a promotion: what the old primary's timeline had is settled too. */
	assert_true(reads(&doubt, "7345678901234567890/2", 5, 1, 5, "kafka-1"));
	assert_true(reads(&doubt, LINE, 5, 1, 5, NULL));
}

static void test_what_does_not_go_together(void **state)
{
	(void)state;
	assert_refused(LINE, 5, 0, 3, "kafka-1", "ends with batch 3");
	assert_refused(LINE, 5, 0, 0, "kafka-1", "ends with batch 0");
	assert_refused(LINE, 6, 2, 7, "kafka-1", "has batch 6, and the one before it");
	assert_refused(LINE, 5, 1, 5, "kafka-2",
		       "Kafka cluster kafka-1, and this is cluster kafka-2");
	assert_refused("1/3", 5, 1, 5, "kafka-1", "another system identifier");
	assert_refused("7345678901234567890/4", 5, 1, 5, "kafka-1", "another server was promoted");
}

/* What the ledger knows of servers, and has no batch of yet. */
static void test_the_line_of_another_server(void **state)
{
	static const struct {
		const char *line;
		bool good;
	} cases[] = {{NULL, true},
		     {LINE, true},
		     {"7345678901234567890/2", true},
		     {"7345678901234567890/4", false},
		     {"1/4", true}}; /* whose batches were settled before the move */

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ledger ledger = {.last = 4, .line = cases[i].line};
		struct doubt doubt;

		assert_int_equal(doubt_read(&doubt, &ledger, &here, &doubt_err), cases[i].good);
		if (cases[i].good)
			doubt_fini(&doubt);
		else
			assert_non_null(strstr(doubt_err.text, "another server was promoted"));
	}
}

/* Deleted before a batch was settled. */
static void test_a_ledger_that_was_lost(void **state)
{
	struct producer_id id = {.announced = true};
	struct doubt_side side = {.id = &id, .line = LINE, .cluster = "kafka-1"};
	struct ledger ledger = {.cluster = "kafka-1"};
	struct doubt doubt;

	(void)state;
	assert_false(doubt_read(&doubt, &ledger, &side, &doubt_err));
	assert_non_null(strstr(doubt_err.text, "knows nothing of this outbox"));
	id.announced = false;
	assert_true(doubt_read(&doubt, &ledger, &side, &doubt_err));
	doubt_fini(&doubt);
	/* Where it was said is not read any more. */
	ledger.last = id.settled = 4;
	id.announced = true;
	assert_true(doubt_read(&doubt, &ledger, &side, &doubt_err));
	doubt_fini(&doubt);
}

static void test_a_damaged_note_settles_nothing(void **state)
{
	struct doubt doubt;
	struct slice good = note_of(LINE, 500);
	struct ledger_batch batches[] = {{.number = 5, .note = good},
					 {.number = 6, .note = slice_of("\001")}};
	struct ledger ledger = {.batches = batches, .count = 2, .last = 6, .cluster = "kafka-1"};

	(void)state;
	assert_false(doubt_read(&doubt, &ledger, &here, &doubt_err));
	assert_string_equal(doubt_err.text, "a note in the ledger is damaged");
	free((void *)(uintptr_t)good.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_rows_come_back, clear),
	    cmocka_unit_test_teardown(test_letters_and_copies_come_back, clear),
	    cmocka_unit_test_teardown(test_a_uuid_is_packed, clear),
	    cmocka_unit_test_teardown(test_every_beginning_is_damaged, clear),
	    cmocka_unit_test(test_a_later_version),
	    cmocka_unit_test(test_all_above_what_is_settled),
	    cmocka_unit_test(test_what_does_not_go_together),
	    cmocka_unit_test(test_the_line_of_another_server),
	    cmocka_unit_test(test_a_ledger_that_was_lost),
	    cmocka_unit_test(test_a_damaged_note_settles_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
