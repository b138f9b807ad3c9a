/* SPDX-License-Identifier: ISC */
/*
 * test_outbox_chunk.c - a claim's binary result as events, from results made by hand
 */
#include "base/xalloc.h"
#include "outbox/chunk.h"
#include "postgres.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A table whose fields have one of each native type. */
enum { EVENT_ID, KEY, SMALL, MIDDLE, BIG, FIELDS };

static struct config_columns names = {
    .payload = (char[]){"payload"},
    .headers = (char[]){"headers"},
};

static struct outbox_column columns[] = {
    {.name = (char[]){"payload"}, .type = TYPE_JSONB},
    {.name = (char[]){"headers"}, .type = TYPE_JSONB},
    {.name = (char[]){"event_id"}, .type = TYPE_UUID},
    {.name = (char[]){"key"}, .type = TYPE_TEXT},
    {.name = (char[]){"small"}, .type = TYPE_INT2},
    {.name = (char[]){"middle"}, .type = TYPE_INT4},
    {.name = (char[]){"big"}, .type = TYPE_INT8},
};

static const char *const fields[] = {"event_id", "key", "small", "middle", "big"};

static struct outbox_shape shape(uint32_t payload)
{
	columns[0].type = payload;
	return (struct outbox_shape){
	    .columns = columns,
	    .column_count = sizeof(columns) / sizeof(columns[0]),
	    .names = &names,
	    .fields = fields,
	    .field_count = FIELDS,
	};
}

static PGresult *result;

static void begin_result(int field_count)
{
	static char name[] = "x";
	PGresAttDesc columns_of_result[CLAIM_FIELDS + FIELDS + COPY_NOTES];
	memset(columns_of_result, 0, sizeof(columns_of_result));
	for (int i = 0; i < CLAIM_FIELDS + field_count; i++) {
		columns_of_result[i].name = name;
		columns_of_result[i].format = 1;
	}
	result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PQsetResultAttrs(result, CLAIM_FIELDS + field_count, columns_of_result);
}

static void put(int row, int column, const char *bytes, int len)
{
	char copy[64];
	if (bytes != NULL)
		memcpy(copy, bytes, (size_t)len);
	assert_true(PQsetvalue(result, row, column, bytes ? copy : NULL, bytes ? len : -1));
}

static void put_int8(int row, int column, int64_t value)
{
	put(row, column, pg_put_int8(value).bytes, 8);
}

static const char uuid[] = "\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";

/* NULL in every column but id. */
static void put_row(int row, int64_t id, int field_count)
{
	put_int8(row, CLAIM_ID, id);
	for (int i = CLAIM_CREATED; i < CLAIM_FIELDS + field_count; i++)
		put(row, i, NULL, 0);
}

static void assert_slice(struct slice slice, const char *want)
{
	assert_non_null(slice.data);
	assert_int_equal(slice.len, strlen(want));
	assert_memory_equal(slice.data, want, slice.len);
}

static struct chunk *chunk;

/* The shape is gone by the time the events are used. */
static struct event *events(uint32_t payload)
{
	struct outbox_shape one = shape(payload);
	PGresult **results = xmalloc(sizeof(*results));
	results[0] = result;
	chunk = outbox_chunk_new(results, 1, &one);
	memset(&one, 0, sizeof(one));
	return chunk->events;
}

static int done(void **state)
{
	(void)state;
	chunk->free(chunk);
	chunk = NULL;
	return 0;
}

static void test_a_row(void **state)
{
	(void)state;
	begin_result(FIELDS);
	put_row(0, 42, FIELDS);
	put_int8(0, CLAIM_CREATED, 1000000); /* a second after 2000 began */
	put(0, CLAIM_PAYLOAD, "{\"a\": 1}", 8);
	put(0, CLAIM_HEADERS, "{}", 2);
	put(0, CLAIM_FIELDS + EVENT_ID, uuid, 16);
	put(0, CLAIM_FIELDS + KEY, "k\xc3\xa9y", 4);
	put(0, CLAIM_FIELDS + SMALL, "\x80\x00", 2);
	put(0, CLAIM_FIELDS + MIDDLE, "\x80\x00\x00\x00", 4);
	put_int8(0, CLAIM_FIELDS + BIG, INT64_MIN);
	const struct event *event = events(TYPE_JSONB);
	assert_int_equal(chunk->count, 1);
	assert_true(event->id == 42 && event->created_us == 946684801000000);
	assert_slice(event->payload, "{\"a\": 1}");
	assert_int_equal(event->payload_bytes, 8);
	assert_false(event->withheld);
	assert_slice(event->headers, "{}");
	assert_slice(event->identity, "01234567-89ab-cdef-fedc-ba9876543210");
	assert_slice(event->fields[KEY], "k\xc3\xa9y");
	assert_slice(event->fields[SMALL], "-32768");
	assert_slice(event->fields[MIDDLE], "-2147483648");
	assert_slice(event->fields[BIG], "-9223372036854775808");
	assert_int_equal(event->state, EVENT_CLAIMED);
	assert_ptr_equal(event->chunk, chunk);
}

static void test_nulls(void **state)
{
	(void)state;
	begin_result(FIELDS);
	put_row(0, 1, FIELDS);
	const struct event *event = events(TYPE_JSONB);
	assert_null(event->payload.data);
	assert_null(event->headers.data);
	assert_null(event->identity.data);
	for (int i = 0; i < FIELDS; i++)
		assert_null(event->fields[i].data);
	assert_int_equal(event->created_us, 0);
	assert_int_equal(event->payload_bytes, 0);
	assert_false(event->withheld);
}

/* Bytes are bytes, and an empty value is not none. */
static void test_payloads_of_any_bytes(void **state)
{
	(void)state;
	begin_result(FIELDS);
	put_row(0, 1, FIELDS);
	put(0, CLAIM_PAYLOAD, "\1\0x", 3);
	put_row(1, 2, FIELDS);
	put(1, CLAIM_PAYLOAD, "", 0);
	const struct event *event = events(TYPE_BYTEA);
	assert_int_equal(event[0].payload.len, 3);
	assert_memory_equal(event[0].payload.data, "\1\0x", 3);
	assert_non_null(event[1].payload.data);
	assert_int_equal(event[1].payload.len, 0);
}

static void test_withheld(void **state)
{
	(void)state;
	begin_result(FIELDS);
	put_row(0, 1, FIELDS);
	put_int8(0, CLAIM_WITHHELD, INT64_C(100) << 30);
	const struct event *event = events(TYPE_JSONB);
	assert_true(event->withheld);
	assert_null(event->payload.data);
	assert_true(event->payload_bytes == INT64_C(100) << 30);
}

static void test_infinite_and_far_times_are_not_known(void **state)
{
	static const int64_t last = INT64_C(9223371331199999999); /* of the year 294276 */
	static const int64_t first = INT64_C(-211813488000000000);
	static const int64_t times[] = {INT64_MAX, INT64_MIN, last, INT64_MAX - 946684800000000,
					first};

	(void)state;
	begin_result(FIELDS);
	for (int i = 0; i < 5; i++) {
		put_row(i, i + 1, FIELDS);
		put_int8(i, CLAIM_CREATED, times[i]);
	}
	const struct event *event = events(TYPE_JSONB);
	assert_true(event[0].created_us == 0 && event[1].created_us == 0);
	assert_true(event[2].created_us == 0 && event[3].created_us == INT64_MAX);
	assert_true(event[4].created_us == first + 946684800000000);
}

static void test_rows_are_sorted_and_keep_their_fields(void **state)
{
	static const int64_t ids[] = {7, -3, INT64_MAX, 0, INT64_MIN, 5};
	static const char *const keys[] = {"7", "-3", "max", "0", "min", "5"};
	static const char *const sorted[] = {"min", "-3", "0", "5", "7", "max"};
	(void)state;
	begin_result(FIELDS);
	for (int i = 0; i < 6; i++) {
		put_row(i, ids[i], FIELDS);
		put(i, CLAIM_FIELDS + KEY, keys[i], (int)strlen(keys[i]));
		put_int8(i, CLAIM_FIELDS + BIG, ids[i]);
	}
	const struct event *event = events(TYPE_JSONB);
	for (int i = 0; i < 6; i++) {
		char id[32];
		snprintf(id, sizeof(id), "%" PRId64, event[i].id);
		assert_slice(event[i].fields[KEY], sorted[i]);
		assert_slice(event[i].fields[BIG], id);
	}
}

static void test_no_rows(void **state)
{
	(void)state;
	begin_result(FIELDS);
	events(TYPE_JSONB);
	assert_int_equal(chunk->count, 0);
}

/* What a batch's limit is measured by. */
static void test_bytes_are_those_of_the_result_and_more(void **state)
{
	enum { ROWS = 1000, BYTES = 60 };
	char payload[BYTES] = {0};
	(void)state;
	begin_result(FIELDS);
	for (int i = 0; i < ROWS; i++) {
		put_row(i, i, FIELDS);
		put(i, CLAIM_PAYLOAD, payload, BYTES);
	}
	size_t alone = PQresultMemorySize(result);
	events(TYPE_BYTEA);
	assert_true(alone > ROWS * BYTES);
	assert_true(chunk->bytes >=
		    alone + ROWS * (sizeof(struct event) + FIELDS * sizeof(struct slice)));
	assert_true(chunk->bytes < 3 * alone);
}

#define with_chunk(test) cmocka_unit_test_teardown(test, done)

static void put_text(int row, int column, const char *text)
{
	put(row, column, text, (int)strlen(text));
}

/* In the order of their letters, each with its own notes, which may be NULL. */
static void test_copies(void **state)
{
	struct outbox_shape one = shape(TYPE_JSONB);

	(void)state;
	begin_result(FIELDS + COPY_NOTES);
	for (int row = 0; row < 2; row++) {
		put_row(row, 10 - row, FIELDS + COPY_NOTES);
		put_int8(row, CLAIM_LETTER, 7 - row);
		put_text(row, CLAIM_FIELDS + EVENT_ID, row == 0 ? "first" : "second");
		put_text(row, CLAIM_FIELDS + FIELDS + COPY_TO, "dead");
		put_text(row, CLAIM_FIELDS + FIELDS + COPY_AT, row == 0 ? "then" : "now");
	}
	chunk = outbox_chunk_of_copies(result, &one);
	assert_int_equal(chunk->count, 2);
	const struct event *second = &chunk->events[0], *first = &chunk->events[1];
	assert_true(second->letter == 6 && first->letter == 7 && !first->again);
	assert_slice(second->identity, "second");
	assert_slice(second->copy[COPY_TO], "dead");
	assert_slice(second->copy[COPY_AT], "now");
	assert_slice(first->copy[COPY_AT], "then");
	assert_null(first->copy[COPY_TOPIC].data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    with_chunk(test_a_row),
	    with_chunk(test_nulls),
	    with_chunk(test_payloads_of_any_bytes),
	    with_chunk(test_withheld),
	    with_chunk(test_infinite_and_far_times_are_not_known),
	    with_chunk(test_rows_are_sorted_and_keep_their_fields),
	    with_chunk(test_no_rows),
	    with_chunk(test_copies),
	    with_chunk(test_bytes_are_those_of_the_result_and_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
