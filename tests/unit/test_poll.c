/* SPDX-License-Identifier: ISC */
/*
 * test_poll.c - when the outbox is looked at and from where: the ways of a fetch, step by step
 *
 * The simulator (tests/sim) tells whether the whole is right; here stands what each step answers.
 */
#include "poll_world.h"

/* ---- a batch ---- */

static void test_a_batch_is_filled_by_two_claims_at_a_time(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	assert_int_equal(begins_at(&w), 0);
	observed(&w, 100);
	claimed(&w, 4);
	/* The next goes out before this one's events are told. */
	assert_is(&w, POLL_CLAIMING, "claim tell");
	assert_int_equal(begins_at(&w), 4);
	claimed(&w, 4);
	assert_is(&w, POLL_COMPLETE, "tell:last");
	assert_true(w.poll.full);
}

static void test_a_hold_ends_a_batch_with_what_is_on_its_way(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	step(&w, (struct poll_input){.event = POLL_HOLD, .keeps = true});
	claimed(&w, 4);
	assert_is(&w, POLL_COMPLETE, "tell:last");
}

static void test_a_short_claim_ends_the_batch(void **state)
{
	struct world w;

	(void)state;
	reach_complete(&w);
	assert_is(&w, POLL_COMPLETE, "tell:last");
	assert_false(w.poll.full);
}

static void test_the_next_claim_goes_right_behind_the_commit(void **state)
{
	struct world w;

	(void)state;
	reach_complete(&w);
	housekept(&w);
	tell(&w, POLL_SETTLE);
	assert_is(&w, POLL_SETTLING, "");
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "claim:opens");
	tell(&w, POLL_SETTLED);
	assert_is(&w, POLL_CLAIMING, "");
	claimed(&w, 0);
	assert_is(&w, POLL_RESTING, "end timer");
}

static void test_nothing_goes_behind_the_commit_when_housekeeping_is_due(void **state)
{
	struct world w;

	(void)state;
	reach_complete(&w);
	w.now_us += 1001 * (int64_t)SECOND;
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "");
	tell(&w, POLL_SETTLED);
	assert_is(&w, POLL_LOOKING, "look");
	looked(&w, false, false);
	assert_is(&w, POLL_CLAIMING, "housekeep claim:opens");
}

/* A batch of five events that is not full takes 3 ms. */
static void test_a_stream_of_events_is_given_time_to_gather(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	housekept(&w);
	claimed(&w, 4);
	claimed(&w, 1);
	assert_is(&w, POLL_COMPLETE, "tell:last");
	w.now_us += 3 * MS;
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "");
	tell(&w, POLL_SETTLED);
	assert_is(&w, POLL_RESTING, "timer");
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, 3 * MS);
	assert_false(w.poll.idle.armed);
	rested(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
}

static void test_what_is_given_back_is_claimed_from_the_start(void **state)
{
	struct world w;

	(void)state;
	reach_complete(&w);
	housekept(&w);
	tell(&w, POLL_ROLL_BACK);
	assert_is(&w, POLL_ROLLING_BACK, "back");
	tell(&w, POLL_ROLLED_BACK);
	fetch(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	assert_int_equal(begins_at(&w), 0);
}

static void test_a_claim_under_way_at_a_roll_back_is_not_told(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	claimed(&w, 4);
	tell(&w, POLL_ROLL_BACK);
	claimed(&w, 4);
	assert_is(&w, POLL_ROLLING_BACK, "");
}

static void test_a_rest_is_cancelled(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	tell(&w, POLL_ROLL_BACK);
	assert_is(&w, POLL_ROLLING_BACK, "back");
	tell(&w, POLL_ROLLED_BACK);
	tell(&w, POLL_TIMER); /* the rest's */
	assert_is(&w, POLL_READY, "");
}

static void test_a_fetch_that_cannot_wait_is_answered_with_nothing(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, false);
	step(&w, (struct poll_input){.event = POLL_FETCH, .fetch = {1, 1000, .now = true}});
	claimed(&w, 0);
	assert_is(&w, POLL_READY, "end tell:last");
}

/* ---- waking ---- */

static void test_the_bell_is_armed_and_the_next_look_goes_with_it(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	rest_until(&w, IDLE_WATCHING);
	assert_is(&w, POLL_CLAIMING, "end bell-on claim:opens:observes");
	observed(&w, 0);
	claimed(&w, 0);
	assert_is(&w, POLL_RESTING, "end timer");
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, SECOND);
	tell(&w, POLL_RUNG);
	assert_is(&w, POLL_CLAIMING, "claim:opens");
	claimed(&w, 1);
	assert_is(&w, POLL_COMPLETE, "bell-off woken:bell tell:last");
}

static void test_the_poll_is_told_as_the_cause(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, false);
	rested(&w);
	claimed(&w, 1);
	assert_is(&w, POLL_COMPLETE, "bell-off woken:poll tell:last");
}

static void test_the_bell_rests_while_nothing_is_fetched_and_at_the_end(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, false);
	tell(&w, POLL_ROLL_BACK);
	tell(&w, POLL_ROLLED_BACK);
	hold(&w, false);
	assert_is(&w, POLL_HELD, "bell-off housekeep timer");
	hold(&w, false);
	assert_is(&w, POLL_HELD, "timer");
	reach_sleep(&w, false);
	tell(&w, POLL_ROLL_BACK);
	tell(&w, POLL_ROLLED_BACK);
	tell(&w, POLL_CLOSE);
	assert_is(&w, POLL_CLOSED, "bell-off close");
}

/* ---- the sweep ---- */

/* The low watermark stands at `low_watermark` and a sweep is due. */
static void reach_sweep(struct world *w, int64_t low_watermark)
{
	reach_claiming(w);
	observed(w, low_watermark);
	claimed(w, 0);
	assert_int_equal(w->poll.horizon.low_watermark, low_watermark);
	w->now_us += 10 * SECOND;
	timer(w);
	assert_int_equal(begins_at(w), 0);
}

static void settle(struct world *w)
{
	tell(w, POLL_SETTLE);
	fetch(w);
	tell(w, POLL_SETTLED);
}

static void test_a_sweep_ends_past_the_low_watermark(void **state)
{
	struct world w;

	(void)state;
	reach_sweep(&w, 50);
	w.next_id = 47;
	claimed(&w, 4);
	assert_is(&w, POLL_CLAIMING, "woken:sweep claim tell");
	assert_int_equal(begins_at(&w), 0);
	w.next_id = 60;
	claimed(&w, 4);
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_int_equal(begins_at(&w), 50);
}

static void test_a_sweep_that_finds_a_backlog_ends_with_its_first_claim(void **state)
{
	struct world w;

	(void)state;
	reach_sweep(&w, 50);
	w.next_id = 60;
	claimed(&w, 4);
	assert_is(&w, POLL_CLAIMING, "claim:observes tell");
	assert_int_equal(begins_at(&w), 50);
}

static void test_an_empty_sweep_ends_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_sweep(&w, 50);
	claimed(&w, 0);
	rested(&w);
	assert_int_equal(begins_at(&w), 50);
}

/* Dead rows that an old snapshot keeps make it long: it has 0.5 % of the time, down to one in 30
 * intervals. */
static void test_a_long_sweep_is_rarer(void **state)
{
	static const struct {
		int64_t took_us, next_us;
	} cases[] = {
	    {SECOND / 100, 10 * SECOND}, {SECOND / 2, 100 * SECOND}, {10 * SECOND, 300 * SECOND}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct world w;
		reach_sweep(&w, 50);
		int64_t begun_us = w.now_us;
		w.now_us += cases[i].took_us;
		claimed(&w, 0);
		assert_false(w.poll.sweeping);
		int64_t at_us = w.poll.sweep_at_us - begun_us;
		assert_true(at_us >= cases[i].next_us);
		assert_true(at_us <= cases[i].next_us + cases[i].took_us);
	}
}

/* What was left for want of bytes waits: no sweep is over, and a backlog is there. */
static void test_a_claim_cut_by_bytes_leaves_a_backlog(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	w.now_us += 60 * (int64_t)SECOND;
	timer(&w);
	assert_true(w.poll.sweeping);
	w.poll.horizon.low_watermark = w.next_id + 100;
	w.next.cut = true;
	claimed(&w, 1);
	assert_true(w.poll.sweeping);
	assert_true(w.poll.full);
}

/* ---- ids that begin again ---- */

/* A claim above the low watermark took the later of them. It is given back, and the next begins at
 * the lowest id. */
static void test_what_was_claimed_too_high_is_given_back(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 50);
	claimed(&w, 0);
	rested(&w);
	assert_int_equal(begins_at(&w), 50);
	w.next.set_back = w.next.too_high = true;
	claimed(&w, 2);
	assert_is(&w, POLL_CLAIMING, "abort");
	tell(&w, POLL_FAILED);
	fetch(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	assert_int_equal(begins_at(&w), 0);
}

/* One that began at the lowest id has missed nothing, but what was read before is void. */
static void test_what_was_claimed_from_the_lowest_id_is_kept(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 50);
	w.next.set_back = true;
	claimed(&w, 2);
	assert_is(&w, POLL_COMPLETE, "tell:last");
	assert_int_equal(w.poll.horizon.stage, HORIZON_NONE);
}

/* The reading that came with a claim whose batch is being rolled back is void too. */
static void test_what_was_read_before_the_ids_began_again_is_void(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	claimed(&w, 4);
	tell(&w, POLL_ROLL_BACK);
	observed(&w, 50);
	w.next.set_back = w.next.too_high = true;
	claimed(&w, 4);
	assert_is(&w, POLL_ROLLING_BACK, "");
	assert_int_equal(w.poll.horizon.stage, HORIZON_NONE);
}

/* ---- housekeeping ---- */

/* Its answer tells from where on they need to count. */
static void test_the_gauges_come_after_the_first_claim(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	observed(&w, 100);
	claimed(&w, 1);
	settle(&w);
	assert_is(&w, POLL_CLAIMING, "housekeep claim:opens");
	assert_int_equal(w.poll.horizon.low_watermark, 1);
}

/* Where nothing waits, that is soon. */
static void test_the_gauges_come_after_a_first_look_that_finds_nothing(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 100);
	claimed(&w, 0);
	assert_is(&w, POLL_RESTING, "end timer");
	assert_true(find(&w, POLL_DO_TIMER)->after_us <= 20 * MS);
	w.now_us = w.poll.rest_until_us;
	timer(&w);
	assert_is(&w, POLL_CLAIMING, "housekeep claim:opens");
}

/* A sink that refuses each batch must not keep the gauges from being told. */
static void test_the_gauges_come_after_a_first_batch_that_is_given_back(void **state)
{
	struct world w;

	(void)state;
	reach_complete(&w);
	tell(&w, POLL_ROLL_BACK);
	tell(&w, POLL_ROLLED_BACK);
	fetch(&w);
	assert_is(&w, POLL_CLAIMING, "housekeep claim:opens:observes");
}

static void test_more_housekeeping_comes_soon(void **state)
{
	struct world w;

	(void)state;
	reach_complete(&w);
	tell(&w, POLL_UNFINISHED);
	settle(&w);
	assert_is(&w, POLL_CLAIMING, "housekeep claim:opens");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_batch_is_filled_by_two_claims_at_a_time),
	    cmocka_unit_test(test_a_hold_ends_a_batch_with_what_is_on_its_way),
	    cmocka_unit_test(test_a_short_claim_ends_the_batch),
	    cmocka_unit_test(test_the_next_claim_goes_right_behind_the_commit),
	    cmocka_unit_test(test_nothing_goes_behind_the_commit_when_housekeeping_is_due),
	    cmocka_unit_test(test_a_stream_of_events_is_given_time_to_gather),
	    cmocka_unit_test(test_what_is_given_back_is_claimed_from_the_start),
	    cmocka_unit_test(test_a_claim_under_way_at_a_roll_back_is_not_told),
	    cmocka_unit_test(test_a_rest_is_cancelled),
	    cmocka_unit_test(test_a_fetch_that_cannot_wait_is_answered_with_nothing),
	    cmocka_unit_test(test_the_bell_is_armed_and_the_next_look_goes_with_it),
	    cmocka_unit_test(test_the_poll_is_told_as_the_cause),
	    cmocka_unit_test(test_the_bell_rests_while_nothing_is_fetched_and_at_the_end),
	    cmocka_unit_test(test_a_sweep_ends_past_the_low_watermark),
	    cmocka_unit_test(test_a_sweep_that_finds_a_backlog_ends_with_its_first_claim),
	    cmocka_unit_test(test_an_empty_sweep_ends_at_once),
	    cmocka_unit_test(test_a_long_sweep_is_rarer),
	    cmocka_unit_test(test_a_claim_cut_by_bytes_leaves_a_backlog),
	    cmocka_unit_test(test_what_was_claimed_too_high_is_given_back),
	    cmocka_unit_test(test_what_was_claimed_from_the_lowest_id_is_kept),
	    cmocka_unit_test(test_what_was_read_before_the_ids_began_again_is_void),
	    cmocka_unit_test(test_the_gauges_come_after_the_first_claim),
	    cmocka_unit_test(test_the_gauges_come_after_a_first_look_that_finds_nothing),
	    cmocka_unit_test(test_the_gauges_come_after_a_first_batch_that_is_given_back),
	    cmocka_unit_test(test_more_housekeeping_comes_soon),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
