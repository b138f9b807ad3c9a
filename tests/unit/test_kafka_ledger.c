/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_ledger.c - the records of the ledger, and the notes that are put together of them
 */
#include "../fuzz/fuzz_ledger.c" /* NOLINT(bugprone-suspicious-include): its check is replayed */
#include "../fuzz/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { CHUNK = 10, MOST = 200 };

struct written {
	char key[LEDGER_KEY];
	char value[LEDGER_HEAD + MOST];
	struct slice key_of, value_of;
};

static struct written write_record(const struct ledger_record *record)
{
	struct written written;

	written.key_of.len = ledger_key(record, written.key);
	written.value_of.len = ledger_value(record, written.value);
	return written;
}

/* They are where the copy is. */
static void place(struct written *written)
{
	written->key_of.data = written->key;
	written->value_of.data = written->value;
}

static struct ledger_batch batch_of(int64_t number, const char *note)
{
	return (struct ledger_batch){number, slice_of(note)};
}

static void add_chunk(struct ledger_notes *notes, const struct ledger_batch *batch, uint32_t chunk)
{
	struct ledger_record record =
	    ledger_end(GROUP, batch, ledger_checksum(batch->note), CHUNK, chunk);
	struct written written = write_record(&record);
	struct error err;

	place(&written);
	assert_true(ledger_notes_add(notes, written.key_of, written.value_of, &err));
}

static void add_note(struct ledger_notes *notes, int64_t number, const char *note)
{
	struct ledger_batch batch = batch_of(number, note);

	for (uint32_t i = 0; i < ledger_chunks(batch.note.len, CHUNK); i++)
		add_chunk(notes, &batch, i);
}

static bool refused(struct slice key, struct slice value, const char *words)
{
	struct ledger_record record;
	struct error err = {""};

	return !ledger_parse(key, value, GROUP, &record, &err) && strstr(err.text, words) != NULL;
}

static void a_checksum_is_crc_32c(void **state)
{
	(void)state;
	assert_int_equal(ledger_checksum(slice_of("123456789")), 0xe3069283);
	assert_int_equal(ledger_checksum(slice_of("")), 0);
}

static void a_record_is_read_as_it_was_written(void **state)
{
	struct ledger_batch batch = batch_of(130, "0123456789abc");
	struct ledger_record record =
				 ledger_end(GROUP, &batch, ledger_checksum(batch.note), CHUNK, 1),
			     read;
	struct written written = write_record(&record);
	struct error err;

	(void)state;
	place(&written);
	assert_memory_equal(written.key, "end/2/1", 7);
	assert_true(ledger_parse(written.key_of, written.value_of, GROUP, &read, &err));
	assert_int_equal(read.kind, LEDGER_END);
	assert_int_equal(read.number, 130);
	assert_int_equal(read.chunks, 2);
	assert_int_equal(read.note_len, 13);
	assert_true(slice_equal(read.bytes, slice_of("abc")));

	record = ledger_begin(GROUP);
	written = write_record(&record);
	place(&written);
	assert_true(slice_equal(written.key_of, slice_of("begin")));
	assert_true(ledger_parse(written.key_of, written.value_of, GROUP, &read, &err));
	assert_int_equal(read.kind, LEDGER_BEGIN);
}

static void what_is_wrong_is_told_apart(void **state)
{
	struct ledger_batch batch = batch_of(7, "note");
	struct ledger_record record =
	    ledger_end(GROUP, &batch, ledger_checksum(batch.note), CHUNK, 0);
	struct written written = write_record(&record), other;
	struct slice *value = &other.value_of;

	(void)state;
	place(&written);
	other = written;
	place(&other);
	other.value[0] = 2;
	assert_true(refused(other.key_of, *value, "version 2"));
	other = written;
	place(&other);
	other.value[3] = 'x';
	assert_true(refused(other.key_of, *value, "another outbox"));
	assert_true(refused(slice_of("end/8/0"), written.value_of, "damaged"));
	assert_true(refused(other.key_of, SLICE_NULL, "damaged"));
	for (size_t len = 0; len < written.value_of.len - batch.note.len; len++) {
		other = written;
		place(&other);
		value->len = len;
		assert_true(refused(other.key_of, *value, "damaged"));
	}
}

static void notes_are_put_together(void **state)
{
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
	struct ledger ledger;
	struct error err;

	(void)state;
	assert_true(ledger_notes_are_cut(notes));
	add_note(notes, 5, "settled");
	assert_false(ledger_notes_are_cut(notes));
	add_note(notes, 6, "a note of several chunks");
	add_note(notes, 8, "");
	add_note(notes, 7, "exactly 10");
	assert_true(ledger_notes_end(notes, &ledger, &err));
	assert_int_equal(ledger.count, 3);
	assert_int_equal(ledger.batches[0].number, 6);
	assert_true(slice_equal(ledger.batches[0].note, slice_of("a note of several chunks")));
	assert_int_equal(ledger.batches[1].number, 7);
	assert_int_equal(ledger.batches[2].number, 8);
	assert_int_equal(ledger.batches[2].note.len, 0);
	ledger_notes_free(&notes);
}

static bool add_line(struct ledger_notes *notes, const struct ledger_record *record)
{
	struct written written = write_record(record);
	struct error err;

	place(&written);
	return ledger_notes_add(notes, written.key_of, written.value_of, &err);
}

static void the_last_line_counts(void **state)
{
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
	struct ledger_record first = ledger_line(GROUP, "7/1"), last = ledger_line(GROUP, "7/2"),
			     bad = ledger_line(GROUP, "7/3");
	struct ledger ledger;
	struct error err;

	(void)state;
	assert_true(add_line(notes, &first));
	assert_true(add_line(notes, &last));
	bad.checksum++;
	assert_false(add_line(notes, &bad));
	assert_true(ledger_notes_end(notes, &ledger, &err));
	assert_string_equal(ledger.line, "7/2");
	assert_int_equal(ledger.last, 0);
	ledger_notes_free(&notes);
}

static void more_is_to_be_read_while_a_note_may_lie_before(void **state)
{
	struct ledger_batch batch = batch_of(SETTLED + 1, "a note of several chunks");
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);

	(void)state;
	add_chunk(notes, &batch, 2); /* the end of it */
	add_note(notes, SETTLED + 2, "whole");
	assert_true(ledger_notes_are_cut(notes));
	ledger_notes_free(&notes);

	notes = ledger_notes_new(GROUP, SETTLED);
	add_note(notes, SETTLED + 2, "whole");
	assert_true(ledger_notes_are_cut(notes));
	ledger_notes_free(&notes);

	notes = ledger_notes_new(GROUP, SETTLED);
	add_note(notes, SETTLED + 1, "whole");
	assert_false(ledger_notes_are_cut(notes));
	ledger_notes_free(&notes);
}

static void a_note_that_is_not_whole_is_an_error(void **state)
{
	static const uint32_t chunks[][3] = {{0, 1, 9}, {0, 2, 9}, {1, 2, 9}, {0, 0, 1}, {0, 1, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct ledger_batch batch = batch_of(SETTLED + 1, "a note of several chunks");
		struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
		struct ledger ledger;
		struct error err;

		for (size_t k = 0; k < 3 && chunks[i][k] != 9; k++)
			add_chunk(notes, &batch, chunks[i][k]);
		assert_false(ledger_notes_end(notes, &ledger, &err));
		assert_non_null(strstr(err.text, "batch 6"));
		ledger_notes_free(&notes);
	}
}

static void a_note_of_other_bytes_is_an_error(void **state)
{
	struct ledger_batch batch = batch_of(SETTLED + 1, "note");
	struct ledger_record record =
	    ledger_end(GROUP, &batch, ledger_checksum(batch.note), CHUNK, 0);
	struct written written = write_record(&record);
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
	struct ledger ledger;
	struct error err;

	(void)state;
	place(&written);
	written.value[written.value_of.len - 1] ^= 1;
	assert_true(ledger_notes_add(notes, written.key_of, written.value_of, &err));
	assert_false(ledger_notes_end(notes, &ledger, &err));
	ledger_notes_free(&notes);
}

/* Compaction has taken chunks of it, since the newer batch has the same keys. */
static void an_old_note_may_be_incomplete(void **state)
{
	struct ledger_batch batch = batch_of(SETTLED + 1, "a note of several chunks");
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
	struct ledger ledger;
	struct error err;

	(void)state;
	add_chunk(notes, &batch, 1);
	add_chunk(notes, &batch, 2);
	add_note(notes, SETTLED + 1 + LEDGER_SLOTS, "new");
	assert_true(ledger_notes_end(notes, &ledger, &err));
	assert_int_equal(ledger.count, 1);
	assert_int_equal(ledger.batches[0].number, SETTLED + 1 + LEDGER_SLOTS);
	ledger_notes_free(&notes);
}

/* Brokers refuse it, but for those that are not Kafka's. */
static void what_check_sends_is_passed_over(void **state)
{
	struct ledger_notes *notes = ledger_notes_new(GROUP, SETTLED);
	struct error err;

	(void)state;
	assert_true(ledger_notes_add(notes, SLICE_NULL, slice_of(""), &err));
	assert_false(ledger_notes_add(notes, SLICE_NULL, slice_of("another's"), &err));
	assert_false(ledger_notes_add(notes, slice_of("begin"), slice_of(""), &err));
	ledger_notes_free(&notes);
}

static void the_window_begins_within_the_log(void **state)
{
	(void)state;
	assert_int_equal(ledger_window(0, 0, 1000), 0);
	assert_int_equal(ledger_window(0, 1000, 1000), 0);
	assert_int_equal(ledger_window(0, 5000, 1000), 4000);
	assert_int_equal(ledger_window(4500, 5000, 1000), 4500);
	assert_int_equal(ledger_window(7, INT64_MAX, INT64_MAX), 7);
}

static void the_fuzzers_corpus_holds(void **state)
{
	(void)state;
	assert_true(replay_corpus("ledger") >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_checksum_is_crc_32c),
	    cmocka_unit_test(a_record_is_read_as_it_was_written),
	    cmocka_unit_test(what_is_wrong_is_told_apart),
	    cmocka_unit_test(notes_are_put_together),
	    cmocka_unit_test(the_last_line_counts),
	    cmocka_unit_test(more_is_to_be_read_while_a_note_may_lie_before),
	    cmocka_unit_test(a_note_that_is_not_whole_is_an_error),
	    cmocka_unit_test(a_note_of_other_bytes_is_an_error),
	    cmocka_unit_test(an_old_note_may_be_incomplete),
	    cmocka_unit_test(what_check_sends_is_passed_over),
	    cmocka_unit_test(the_window_begins_within_the_log),
	    cmocka_unit_test(the_fuzzers_corpus_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
