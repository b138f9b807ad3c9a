/*
 * test_engine_failed.c - what the engine does when the database refuses a claim or a COMMIT, and
 * while events are held that it does not let go
 */
#include "engine_world.h"

static void failed(struct world *w, bool narrow, bool wait)
{
	step(w, (struct engine_input){.event = ON_FAILED, .narrow = narrow, .wait = wait});
}

static void test_a_refused_claim_is_tried_with_fewer_rows(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	assert_int_equal(w.engine.claims.asked[0], 4);
	failed(&w, true, false);
	assert_is(&w, ENGINE_CLAIMING, "bell-off skip clear claim:opens:observes");
	assert_int_equal(find(&w, DO_CLAIM)->claim.rows, 2);
	failed(&w, true, false);
	assert_int_equal(find(&w, DO_CLAIM)->claim.rows, 1);
	claimed(&w, 1);
	/* Nothing else is at stake with it. */
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	finish(&w);
}

/* What went out of earlier claims of the batch is settled by identity, and not claimed again. */
static void test_what_was_sent_before_a_refusal_is_settled(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	claimed(&w, 4);
	send_all(&w);
	failed(&w, true, false);
	assert_is(&w, ENGINE_HOLDING, "bell-off skip housekeep timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "recover");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	finish(&w);
}

static void test_a_refused_commit_is_made_up_for(void **state)
{
	struct world w;
	(void)state;
	reach_settling(&w);
	failed(&w, false, false);
	assert_is(&w, ENGINE_RECONCILING, "bell-off skip recover");
	finish(&w);
}

static void test_what_concerns_all_is_waited_for(void **state)
{
	struct world w;
	int64_t waits[6];
	(void)state;
	reach_claiming(&w);
	for (int i = 0; i < 6; i++) {
		failed(&w, false, true);
		assert_int_equal(w.engine.state, ENGINE_RESTING);
		waits[i] = w.engine.retry_at_us - w.now_us;
		/* A ring does not cut it short. */
		tell(&w, ON_RUNG);
		assert_int_equal(w.engine.state, ENGINE_RESTING);
		rested(&w);
		assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	}
	assert_true(waits[0] == 250 * MS && waits[1] == 500 * MS);
	assert_true(waits[5] == 4 * SECOND);
	claimed(&w, 0);
	assert_int_equal(w.engine.refusals, 0);
	finish(&w);
}

/* Unless rejected events are dead-lettered, nothing goes out past one that is held. */
static void test_a_held_event_halts(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	w.engine.options.housekeep_us = 5 * SECOND;
	step(&w, (struct engine_input){.event = ON_FAILED, .held = true});
	assert_int_equal(w.engine.state, ENGINE_RESTING);
	/* It is tried again by the housekeeping. */
	w.now_us = w.engine.housekeep_at_us;
	step(&w, (struct engine_input){.event = ON_TIMER, .held = true});
	if (w.engine.state == ENGINE_ACQUIRING)
		step(&w,
		     (struct engine_input){.event = ON_ACQUIRED, .has_bell = true, .held = true});
	assert_int_equal(w.engine.state, ENGINE_RESTING);
	find(&w, DO_HOUSEKEEP);
	step(&w, (struct engine_input){.event = ON_RELEASED, .releases = true});
	assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	finish(&w);
}

static void test_where_rejected_events_are_dead_lettered_others_go_on(void **state)
{
	struct world w;
	(void)state;
	reach_claiming(&w);
	w.engine.options.dead_letter = true;
	step(&w, (struct engine_input){.event = ON_FAILED, .held = true});
	assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	finish(&w);
}

/* What is released is older than the low watermark. */
static void test_what_is_released_is_claimed_from_the_start(void **state)
{
	struct world w;
	(void)state;
	reach_resting(&w);
	w.engine.horizon.low_watermark = 50;
	step(&w, (struct engine_input){.event = ON_RELEASED, .releases = true});
	assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	finish(&w);
}

/* It may be locked by then: what follows it must not be taken by a claim above it. */
static void test_a_released_event_that_is_locked_lowers_the_low_watermark(void **state)
{
	struct world w;
	(void)state;
	reach_resting(&w);
	w.engine.horizon.low_watermark = 50;
	step(&w, (struct engine_input){.event = ON_RELEASED, .releases = true});
	observed(&w, 100);
	step(&w, (struct engine_input){.event = ON_CLAIMED, .upto = 6});
	rested(&w);
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 6);
	finish(&w);
}

static void test_what_is_released_during_a_look_is_claimed_after_it(void **state)
{
	struct world w;
	(void)state;
	reach_resting(&w);
	rest_until(&w, WAKER_ASLEEP);
	rested(&w);
	assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	step(&w, (struct engine_input){.event = ON_RELEASED, .releases = true});
	step(&w, (struct engine_input){.event = ON_CLAIMED, .upto = INT64_MAX, .releases = true});
	assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	finish(&w);
}

static void test_what_is_released_while_it_looks_at_others_ends_the_rest(void **state)
{
	struct world w;
	(void)state;
	reach_resting(&w);
	rest_until(&w, WAKER_ASLEEP);
	tell(&w, ON_MEMBERSHIP_CHANGED);
	assert_int_equal(w.engine.state, ENGINE_ACQUIRING);
	step(&w, (struct engine_input){.event = ON_RELEASED, .releases = true});
	step(&w, (struct engine_input){.event = ON_ACQUIRED, .has_bell = true, .releases = true});
	assert_int_equal(w.engine.state, ENGINE_CLAIMING);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_refused_claim_is_tried_with_fewer_rows),
	    cmocka_unit_test(test_what_was_sent_before_a_refusal_is_settled),
	    cmocka_unit_test(test_a_refused_commit_is_made_up_for),
	    cmocka_unit_test(test_what_concerns_all_is_waited_for),
	    cmocka_unit_test(test_a_held_event_halts),
	    cmocka_unit_test(test_where_rejected_events_are_dead_lettered_others_go_on),
	    cmocka_unit_test(test_what_is_released_is_claimed_from_the_start),
	    cmocka_unit_test(test_a_released_event_that_is_locked_lowers_the_low_watermark),
	    cmocka_unit_test(test_what_is_released_during_a_look_is_claimed_after_it),
	    cmocka_unit_test(test_what_is_released_while_it_looks_at_others_ends_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
