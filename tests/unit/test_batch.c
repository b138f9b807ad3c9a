/* SPDX-License-Identifier: ISC */
/*
 * test_batch.c - the bookkeeping of a batch, by stories and by random walks beside a naive model
 */

/* The module itself is included, so that its asserts are there whatever the build type. */
#undef NDEBUG
#include "../../relay/core/batch.c" /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int chunks_alive;

static void free_events(struct chunk *chunk)
{
	for (size_t i = 0; i < chunk->count; i++)
		assert_null(chunk->events[i].why);
	free(chunk->events);
	free(chunk);
	chunks_alive--;
}

static struct chunk *new_chunk(size_t count, int64_t first_id)
{
	struct chunk *chunk = xcalloc(1, sizeof(*chunk));

	chunk->events = xcalloc(count, sizeof(*chunk->events));
	chunk->count = count;
	chunk->bytes = 100 * count;
	chunk->free = free_events;
	for (size_t i = 0; i < count; i++)
		chunk->events[i].id = first_id + (int64_t)i;
	chunks_alive++;
	return chunk;
}

/* ---- stories ---- */

static void test_all_delivered(void **state)
{
	struct batch batch = {0};
	struct event *event;

	(void)state;
	assert_null(batch_next(&batch));
	batch_add(&batch, new_chunk(2, 1));
	batch_add(&batch, new_chunk(1, 3));
	for (int64_t id = 1; id <= 3; id++) {
		event = batch_next(&batch);
		assert_int_equal(event->id, id);
		assert_ptr_equal(batch_next(&batch), event);
		batch_sent(&batch, event);
		batch_delivered(&batch, event);
		assert_int_equal(event->state, EVENT_DELIVERED);
	}
	assert_null(batch_next(&batch));
	assert_int_equal(batch.events, 3);
	assert_int_equal(batch.bytes, 300);
	assert_int_equal(batch.sent, 3);
	assert_int_equal(batch.delivered, 3);
	assert_int_equal(batch.in_flight, 0);
	batch_clear(&batch);
	assert_int_equal(chunks_alive, 0);
	assert_null(batch.first);
	assert_int_equal(batch.events + batch.sent + batch.delivered, 0);
}

/* Claims overlap with producing: the cursor has reached the end when the next chunk comes. */
static void test_add_after_the_end(void **state)
{
	struct batch batch = {0};

	(void)state;
	batch_add(&batch, new_chunk(1, 1));
	batch_sent(&batch, batch_next(&batch));
	assert_null(batch_next(&batch));
	batch_add(&batch, new_chunk(0, 0));
	assert_null(batch_next(&batch));
	batch_add(&batch, new_chunk(1, 2));
	assert_int_equal(batch_next(&batch)->id, 2);
	batch_delivered(&batch, &batch.first->events[0]);
	batch_clear(&batch);
}

static void test_reject_before_and_after_sending(void **state)
{
	struct batch batch = {0};
	struct event *first, *second;
	char why[] = "too long";

	(void)state;
	batch_add(&batch, new_chunk(2, 1));
	first = batch_next(&batch);
	batch_reject(&batch, first, REJECT_TOPIC, why);
	why[0] = 'x';
	assert_string_equal(first->why, "too long");
	assert_int_equal(first->state, EVENT_REJECTED);
	assert_int_equal(first->reason, REJECT_TOPIC);
	assert_int_equal(batch.sent, 0);

	second = batch_next(&batch);
	assert_int_equal(second->id, 2);
	batch_sent(&batch, second);
	batch_reject(&batch, second, REJECT_INVALID_RECORD, NULL);
	assert_null(second->why);
	assert_int_equal(second->reason, REJECT_INVALID_RECORD);
	assert_int_equal(batch.sent, 1);
	assert_int_equal(batch.in_flight, 0);
	assert_int_equal(batch.rejected, 2);
	assert_null(batch_next(&batch));
	batch_clear(&batch);
	assert_int_equal(chunks_alive, 0);
}

/* A orphaned batch: what was sent is still reported, the rest is forgotten. */
static void test_skip_unsent(void **state)
{
	struct batch batch = {0};
	struct event *event;

	(void)state;
	batch_skip_unsent(&batch);
	batch_add(&batch, new_chunk(2, 1));
	batch_add(&batch, new_chunk(2, 3));
	event = batch_next(&batch);
	batch_sent(&batch, event);
	batch_skip_unsent(&batch);
	assert_null(batch_next(&batch));
	assert_int_equal(batch.in_flight, 1);
	batch_returned(&batch, event);
	assert_int_equal(event->state, EVENT_RETURNED);
	assert_int_equal(batch.returned, 1);
	assert_int_equal(batch.last->events[1].state, EVENT_CLAIMED);
	batch_clear(&batch);
	assert_int_equal(chunks_alive, 0);
}

/* One waits behind a rejected one, one that was rejected is put back: both are claimed again. */
static void test_pass_and_put_back(void **state)
{
	struct batch batch = {0};
	struct event *rejected, *second;

	(void)state;
	batch_add(&batch, new_chunk(4, 1));
	rejected = batch_next(&batch);
	batch_reject(&batch, rejected, REJECT_TOO_LARGE, "large");
	batch_pass(&batch, batch_next(&batch));
	second = batch_next(&batch);
	assert_int_equal(second->id, 3);
	batch_reject(&batch, second, REJECT_TOO_LARGE, "large");
	batch_put_back(&batch, second);
	assert_int_equal(second->state, EVENT_CLAIMED);
	assert_int_equal(batch.rejected, 1);
	assert_int_equal(batch.passed, 1);
	assert_int_equal(batch_next(&batch)->id, 4);
	batch_pass(&batch, batch_next(&batch));
	assert_null(batch_next(&batch));
	assert_int_equal(batch.sent, 0);
	batch_clear(&batch);
	assert_int_equal(chunks_alive, 0);
}

static void test_walk(void **state)
{
	struct batch batch = {0};
	struct batch_walk walk;
	int64_t expected = 1;

	(void)state;
	assert_null(batch_first(&batch, &walk));
	batch_add(&batch, new_chunk(0, 0));
	assert_null(batch_first(&batch, &walk));
	batch_add(&batch, new_chunk(2, 1));
	batch_add(&batch, new_chunk(0, 0));
	batch_add(&batch, new_chunk(3, 3));
	for (struct event *e = batch_first(&batch, &walk); e; e = batch_following(&walk))
		assert_int_equal(e->id, expected++);
	assert_int_equal(expected, 6);
	batch_clear(&batch);
}

/* ---- illegal moves ---- */

static void send_nothing(struct batch *batch)
{
	batch_sent(batch, NULL);
}

static void send_out_of_order(struct batch *batch)
{
	batch_sent(batch, &batch->first->events[2]);
}

static void send_twice(struct batch *batch)
{
	batch_sent(batch, &batch->first->events[0]);
}

static void deliver_unsent(struct batch *batch)
{
	batch_delivered(batch, &batch->first->events[1]);
}

static void deliver_twice(struct batch *batch)
{
	batch_delivered(batch, &batch->first->events[0]);
	batch_delivered(batch, &batch->first->events[0]);
}

static void return_delivered(struct batch *batch)
{
	batch_delivered(batch, &batch->first->events[0]);
	batch_returned(batch, &batch->first->events[0]);
}

static void reject_ahead_of_the_cursor(struct batch *batch)
{
	batch_reject(batch, &batch->first->events[2], REJECT_TOPIC, NULL);
}

static void reject_delivered(struct batch *batch)
{
	batch_delivered(batch, &batch->first->events[0]);
	batch_reject(batch, &batch->first->events[0], REJECT_INVALID_RECORD, NULL);
}

static void reject_skipped(struct batch *batch)
{
	batch_skip_unsent(batch);
	batch_reject(batch, &batch->first->events[1], REJECT_TOPIC, NULL);
}

static void reject_for_no_reason(struct batch *batch)
{
	batch_reject(batch, &batch->first->events[1], REJECT_NONE, NULL);
}

static void clear_while_in_flight(struct batch *batch)
{
	batch_clear(batch);
}

static void add_twice(struct batch *batch)
{
	batch_add(batch, batch->first);
}

static bool aborts(void (*move)(struct batch *batch))
{
	struct batch batch = {0};
	pid_t child;
	int status;

	batch_add(&batch, new_chunk(3, 1));
	batch_sent(&batch, batch_next(&batch));
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		move(&batch);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	batch_delivered(&batch, batch.first->events);
	batch_clear(&batch);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_illegal_moves(void **state)
{
	(void)state;
	assert_true(aborts(send_nothing));
	assert_true(aborts(send_out_of_order));
	assert_true(aborts(send_twice));
	assert_true(aborts(deliver_unsent));
	assert_true(aborts(deliver_twice));
	assert_true(aborts(return_delivered));
	assert_true(aborts(reject_ahead_of_the_cursor));
	assert_true(aborts(reject_delivered));
	assert_true(aborts(reject_skipped));
	assert_true(aborts(reject_for_no_reason));
	assert_true(aborts(clear_while_in_flight));
	assert_true(aborts(add_twice));
}

/* ---- random walks ---- */

enum { MODEL_MAX = 4000 };

/* The naive model: every event's state in one array, and every count by counting. */
struct model {
	enum event_state state[MODEL_MAX];
	struct event *event[MODEL_MAX];
	bool was_sent[MODEL_MAX];
	bool skipped[MODEL_MAX];
	size_t count;
};

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static size_t count_state(const struct model *model, enum event_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < model->count; i++)
		n += model->state[i] == state;
	return n;
}

static size_t count_sent(const struct model *model)
{
	size_t n = 0;

	for (size_t i = 0; i < model->count; i++)
		n += model->was_sent[i];
	return n;
}

/* The first that still waits; count if none does. */
static size_t model_next(const struct model *model)
{
	size_t i = 0;

	while (i < model->count && (model->state[i] != EVENT_CLAIMED || model->skipped[i]))
		i++;
	return i;
}

/* Any event in the sink's hands; count if there is none. */
static size_t model_any_sent(const struct model *model, uint64_t *seed)
{
	size_t at = model->count ? next_random(seed) % model->count : 0;

	for (size_t i = 0; i < model->count; i++, at = (at + 1) % model->count)
		if (model->state[at] == EVENT_SENT)
			return at;
	return model->count;
}

static void compare(const struct batch *batch, const struct model *model)
{
	struct batch_walk walk;
	struct event *event = batch_first(batch, &walk);
	size_t next = model_next(model);

	for (size_t i = 0; i < model->count; i++) {
		assert_ptr_equal(event, model->event[i]);
		assert_int_equal(event->state, model->state[i]);
		event = batch_following(&walk);
	}
	assert_null(event);
	assert_ptr_equal(batch_next(batch), next < model->count ? model->event[next] : NULL);
	assert_int_equal(batch->events, model->count);
	assert_int_equal(batch->bytes, 100 * model->count);
	assert_int_equal(batch->sent, count_sent(model));
	assert_int_equal(batch->in_flight, count_state(model, EVENT_SENT));
	assert_int_equal(batch->delivered, count_state(model, EVENT_DELIVERED));
	assert_int_equal(batch->rejected, count_state(model, EVENT_REJECTED));
	assert_int_equal(batch->returned, count_state(model, EVENT_RETURNED));
}

static void walk_add(struct batch *batch, struct model *model, size_t count)
{
	struct chunk *chunk;

	if (model->count + count > MODEL_MAX)
		return;
	chunk = new_chunk(count, (int64_t)model->count);
	for (size_t i = 0; i < count; i++)
		model->event[model->count++] = &chunk->events[i];
	batch_add(batch, chunk);
}

static void walk_send_or_reject(struct batch *batch, struct model *model, bool send)
{
	size_t i = model_next(model);

	if (i == model->count)
		return;
	if (send)
		batch_sent(batch, model->event[i]);
	else
		batch_reject(batch, model->event[i], REJECT_HEADERS, "why");
	model->state[i] = send ? EVENT_SENT : EVENT_REJECTED;
	model->was_sent[i] = send;
}

static void walk_report(struct batch *batch, struct model *model, uint64_t *seed)
{
	size_t i = model_any_sent(model, seed);

	if (i == model->count)
		return;
	switch (next_random(seed) % 4) {
	case 0:
		batch_reject(batch, model->event[i], REJECT_INVALID_RECORD, "why");
		model->state[i] = EVENT_REJECTED;
		break;
	case 1:
		batch_returned(batch, model->event[i]);
		model->state[i] = EVENT_RETURNED;
		break;
	default:
		batch_delivered(batch, model->event[i]);
		model->state[i] = EVENT_DELIVERED;
	}
}

static void walk_clear(struct batch *batch, struct model *model, uint64_t *seed)
{
	while (batch->in_flight > 0)
		walk_report(batch, model, seed);
	compare(batch, model);
	batch_clear(batch);
	assert_int_equal(chunks_alive, 0);
	memset(model, 0, sizeof(*model));
}

static void walk_step(struct batch *batch, struct model *model, uint64_t *seed)
{
	switch (next_random(seed) % 32) {
	case 0:
	case 1:
	case 2:
		walk_add(batch, model, next_random(seed) % 6);
		break;
	case 3:
		batch_skip_unsent(batch);
		for (size_t i = 0; i < model->count; i++)
			model->skipped[i] = true;
		break;
	case 4:
		if (next_random(seed) % 8 == 0)
			walk_clear(batch, model, seed);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		walk_send_or_reject(batch, model, false);
		break;
	default:
		if (next_random(seed) % 2)
			walk_send_or_reject(batch, model, true);
		else
			walk_report(batch, model, seed);
	}
	compare(batch, model);
}

static void test_random_walks(void **state)
{
	static struct model model;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct batch batch = {0};
		uint64_t random = seed * 0x9E3779B97F4A7C15u;

		print_message("random walk, seed %llu\n", (unsigned long long)seed);
		for (int i = 0; i < 3000; i++)
			walk_step(&batch, &model, &random);
		walk_clear(&batch, &model, &random);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_delivered),
	    cmocka_unit_test(test_add_after_the_end),
	    cmocka_unit_test(test_reject_before_and_after_sending),
	    cmocka_unit_test(test_skip_unsent),
	    cmocka_unit_test(test_pass_and_put_back),
	    cmocka_unit_test(test_walk),
	    cmocka_unit_test(test_illegal_moves),
	    cmocka_unit_test(test_random_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
