/* SPDX-License-Identifier: ISC */
/*
 * test_replay_done.c - a replay's position passes over nothing that was not published, and what was
 * published behind it is left out: stories, and random batches beside a naive model
 */
#include "../../relay/outbox/replay_done.h"

#include "base/xalloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 40, PAGE = 7, ROUNDS = 2000 };

/* How often each row was done. Rows 0 and 1 have the same id, rows 10 and 11, and so on. */
static int published[ROWS];
static char names[ROWS][8];

static int64_t id_of(int row)
{
	return row % 10 == 1 ? row : row + 1;
}

static void free_chunk(struct chunk *chunk)
{
	free(chunk->events);
	free(chunk);
}

/* The rows behind the position, a page of them and those with the id of its last one. */
static struct chunk *page(int64_t position)
{
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));

	chunk->events = xcalloc(ROWS, sizeof(*chunk->events));
	chunk->free = free_chunk;
	for (int row = 0; row < ROWS; row++) {
		bool tie = chunk->count > 0 && chunk->events[chunk->count - 1].id == id_of(row);

		if (id_of(row) <= position || (chunk->count >= PAGE && !tie))
			continue;
		chunk->events[chunk->count].id = id_of(row);
		chunk->events[chunk->count++].identity = slice_of(names[row]);
	}
	return chunk;
}

static int row_of(const struct event *event)
{
	return (int)(event->identity.data - names[0]) / (int)sizeof(names[0]);
}

/* Some are delivered, rejected or returned, or not even sent. */
static void publish(struct batch *batch)
{
	struct event *event;

	while ((event = batch_next(batch)) != NULL && rand() % 8 > 0) {
		if (rand() % 5 == 0) {
			batch_reject(batch, event, REJECT_TOPIC, "");
			published[row_of(event)]++;
			continue;
		}
		batch_sent(batch, event);
		if (rand() % 4 == 0) {
			batch_returned(batch, event);
			continue;
		}
		batch_delivered(batch, event);
		published[row_of(event)]++;
	}
}

static int64_t round_of(struct replay_done *done, int64_t position)
{
	struct batch batch = {0};
	struct chunk *chunk = page(position);
	int64_t last = chunk->count > 0 ? chunk->events[chunk->count - 1].id : position;

	replay_done_leave_out(done, chunk);
	if (chunk->count == 0) {
		free_chunk(chunk);
		replay_done_forget(done, last);
		return last;
	}
	batch_add(&batch, chunk);
	publish(&batch);
	position = replay_done_take(done, &batch, position);
	batch_clear(&batch);
	return position;
}

/* Each row is done exactly once, however often batches break off. */
static void test_each_row_is_done_once(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < ROUNDS; seed++) {
		struct replay_done done = {0};
		int64_t position = 0, before;

		srand(seed);
		memset(published, 0, sizeof(published));
		for (int round = 0; position < ROWS && round < 1000; round++) {
			before = position;
			position = round_of(&done, position);
			assert_true(position >= before);
			for (int row = 0; row < ROWS; row++)
				assert_true(published[row] == 1 || id_of(row) > position);
		}
		for (int row = 0; row < ROWS; row++)
			assert_int_equal(published[row], 1);
		replay_done_forget(&done, INT64_MAX);
		assert_null(done.items);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_row_is_done_once)};

	for (int row = 0; row < ROWS; row++) {
		memset(names[row], 'a' + row % 26, 3);
		names[row][3] = (char)('0' + row / 26);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
