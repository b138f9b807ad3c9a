/* SPDX-License-Identifier: ISC */
/*
 * test_poll_failed.c - when to claim again after the database has refused, and while events are
 * held that it does not let go
 */
#include "poll_world.h"

static void failed(struct world *w, bool narrow, bool wait)
{
	step(w, (struct poll_input){.event = POLL_FAILED, .narrow = narrow, .wait = wait});
}

static void test_a_refused_claim_is_tried_with_fewer_rows(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	assert_int_equal(w.poll.claims.asked[0], 4);
	failed(&w, true, false);
	/* What the bell was told in that transaction may be undone with it. */
	assert_is(&w, POLL_READY, "bell-off");
	fetch(&w);
	assert_int_equal(find(&w, POLL_DO_CLAIM)->claim.rows, 2);
	failed(&w, true, false);
	fetch(&w);
	assert_int_equal(find(&w, POLL_DO_CLAIM)->claim.rows, 1);
	claimed(&w, 1);
	/* Nothing else is at stake with it. */
	assert_is(&w, POLL_COMPLETE, "tell:last");
}

static void test_what_concerns_all_is_waited_for(void **state)
{
	struct world w;
	int64_t waits[6];
	(void)state;
	reach_claiming(&w);
	housekept(&w);
	for (int i = 0; i < 6; i++) {
		failed(&w, false, true);
		fetch(&w);
		assert_is(&w, POLL_RESTING, "timer");
		waits[i] = w.poll.retry_at_us - w.now_us;
		/* A ring does not cut it short. */
		tell(&w, POLL_RUNG);
		assert_int_equal(w.poll.state, POLL_RESTING);
		rested(&w);
		assert_int_equal(w.poll.state, POLL_CLAIMING);
	}
	assert_true(waits[0] == 250 * MS && waits[1] == 500 * MS);
	assert_true(waits[5] == 4 * SECOND);
	claimed(&w, 0);
	assert_int_equal(w.poll.refusals, 0);
}

/* Unless rejected events are dead-lettered, nothing goes out past one that is held. */
static void test_a_held_event_halts(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	w.options.housekeep_us = 5 * SECOND;
	w.poll.housekeep_at_us = w.now_us + 5 * SECOND;
	w.halted = true;
	failed(&w, false, false);
	fetch(&w);
	assert_int_equal(w.poll.state, POLL_RESTING);
	find(&w, POLL_DO_HOUSEKEEP); /* the gauges show at once what waits */
	/* It is tried again by the housekeeping. */
	w.now_us = w.poll.housekeep_at_us;
	timer(&w);
	assert_int_equal(w.poll.state, POLL_RESTING);
	find(&w, POLL_DO_HOUSEKEEP);
	w.halted = false;
	w.releases = true;
	tell(&w, POLL_RELEASED);
	assert_int_equal(w.poll.state, POLL_CLAIMING);
}

/* What was claimed would not survive: nothing is claimed, nor is anything held tried, until it is
 * told that the gate opens. */
static void test_nothing_is_claimed_while_unconfirmed(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	w.unconfirmed = true;
	failed(&w, false, true);
	fetch(&w);
	assert_int_equal(w.poll.state, POLL_RESTING);
	w.tries = w.halted = true;
	for (int i = 0; i < 5; i++) {
		w.now_us = w.poll.rest_until_us;
		tell(&w, POLL_RELEASED);
		assert_int_equal(w.poll.state, POLL_RESTING);
		assert_null(strstr(w.did, "claim"));
		assert_null(strstr(w.did, "retest"));
	}
	w.tries = w.halted = w.unconfirmed = false;
	tell(&w, POLL_RELEASED);
	assert_int_equal(w.poll.state, POLL_CLAIMING);
}

/* A claim has failed at a row that is held, and halts. */
static void reach_halted(struct world *w)
{
	reach_claiming(w);
	w->options.housekeep_us = 5 * SECOND;
	w->halted = true;
	failed(w, false, false);
	fetch(w);
}

/* It is looked at more often than housekeeping is due. */
static void test_a_rejected_event_is_tried_alone(void **state)
{
	struct world w;
	(void)state;
	reach_halted(&w);
	find(&w, POLL_DO_RETEST);
	assert_true(w.poll.rest_until_us - w.now_us <= w.options.poll_us);
	w.tries = true;
	tell(&w, POLL_RELEASED);
	assert_is(&w, POLL_CLAIMING, "claim:opens");
	assert_true(find(&w, POLL_DO_CLAIM)->claim.alone);
	w.tries = false;
	/* No claim follows it, and none is sent ahead of what comes of it. */
	claimed(&w, 1);
	assert_is(&w, POLL_COMPLETE, "tell:last");
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "");
	tell(&w, POLL_SETTLED);
	assert_int_equal(w.poll.state, POLL_RESTING);
}

/* on_reject is another one since a reload: its key is not to wait for housekeeping. */
static void test_what_is_held_is_looked_at_when_it_halts_no_more(void **state)
{
	struct world w;
	(void)state;
	reach_halted(&w);
	w.halted = false;
	tell(&w, POLL_ROLL_BACK);
	tell(&w, POLL_ROLLED_BACK);
	fetch(&w);
	assert_is(&w, POLL_CLAIMING, "housekeep claim:opens:observes");
}

/* Others go on meanwhile: neither their rests nor their claims delay it. */
static void test_a_rejected_event_is_tried_between_the_batches_of_others(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	w.tries = true;
	tell(&w, POLL_RELEASED);
	observed(&w, 100);
	claimed(&w, 0);
	assert_is(&w, POLL_CLAIMING, "end claim:opens");
	assert_true(find(&w, POLL_DO_CLAIM)->claim.alone);
	w.tries = false;
	claimed(&w, 1);
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "");
	tell(&w, POLL_SETTLED);
	claimed(&w, 2);
	w.tries = true;
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "");
	tell(&w, POLL_SETTLED);
	assert_true(find(&w, POLL_DO_CLAIM)->claim.alone);
}

/* It is older than the low watermark. */
static void test_what_is_released_is_claimed_from_the_start(void **state)
{
	struct world w;
	(void)state;
	reach_resting(&w);
	w.poll.horizon.low_watermark = 50;
	w.releases = true;
	tell(&w, POLL_RELEASED);
	assert_int_equal(w.poll.state, POLL_CLAIMING);
	assert_int_equal(begins_at(&w), 0);
}

/* It may be locked by then: what follows it must not be taken by a claim above it. */
static void test_a_released_event_that_is_locked_lowers_the_low_watermark(void **state)
{
	struct world w;
	(void)state;
	reach_resting(&w);
	w.poll.horizon.low_watermark = 50;
	w.releases = true;
	tell(&w, POLL_RELEASED);
	w.releases = false;
	observed(&w, 100);
	step(&w, (struct poll_input){.event = POLL_CLAIMED, .answer = {.upto = 6}});
	rested(&w);
	assert_int_equal(begins_at(&w), 6);
}

static void test_what_is_released_during_a_look_is_claimed_after_it(void **state)
{
	struct world w;
	(void)state;
	reach_sleep(&w, false);
	rested(&w);
	assert_int_equal(w.poll.state, POLL_CLAIMING);
	w.releases = true;
	tell(&w, POLL_RELEASED);
	claimed(&w, 0);
	assert_int_equal(w.poll.state, POLL_CLAIMING);
	assert_int_equal(begins_at(&w), 0);
}

static void test_what_is_released_while_it_looks_at_others_ends_the_rest(void **state)
{
	struct world w;
	(void)state;
	reach_sleep(&w, false);
	tell(&w, POLL_MEMBERSHIP);
	assert_int_equal(w.poll.state, POLL_LOOKING);
	w.releases = true;
	tell(&w, POLL_RELEASED);
	looked(&w, false, false);
	assert_int_equal(w.poll.state, POLL_CLAIMING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_refused_claim_is_tried_with_fewer_rows),
	    cmocka_unit_test(test_what_concerns_all_is_waited_for),
	    cmocka_unit_test(test_a_held_event_halts),
	    cmocka_unit_test(test_nothing_is_claimed_while_unconfirmed),
	    cmocka_unit_test(test_a_rejected_event_is_tried_alone),
	    cmocka_unit_test(test_what_is_held_is_looked_at_when_it_halts_no_more),
	    cmocka_unit_test(test_a_rejected_event_is_tried_between_the_batches_of_others),
	    cmocka_unit_test(test_what_is_released_is_claimed_from_the_start),
	    cmocka_unit_test(test_a_released_event_that_is_locked_lowers_the_low_watermark),
	    cmocka_unit_test(test_what_is_released_during_a_look_is_claimed_after_it),
	    cmocka_unit_test(test_what_is_released_while_it_looks_at_others_ends_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
