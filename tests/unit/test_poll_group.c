/* SPDX-License-Identifier: ISC */
/*
 * test_poll_group.c - when the group is looked at, what follows, and the bell that it shares
 */
#include "poll_world.h"

/* ---- looks ---- */

static void test_a_look_in_a_rest_does_not_end_it(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	int64_t until = w.poll.rest_until_us;
	w.now_us += 250 * MS;
	tell(&w, POLL_TIMER);
	assert_is(&w, POLL_LOOKING, "look");
	looked(&w, false, true);
	assert_is(&w, POLL_RESTING, "timer");
	assert_int_equal(w.poll.rest_until_us, until);
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, 250 * MS);
}

static void test_a_busy_relay_looks_between_two_batches(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, true);
	fetch(&w);
	housekept(&w);
	claimed(&w, 4);
	claimed(&w, 4);
	w.now_us += 250 * MS;
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, "");
	tell(&w, POLL_SETTLED);
	assert_is(&w, POLL_LOOKING, "look");
	looked(&w, false, true);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
}

static void test_a_change_of_members_during_a_look_is_followed_by_another(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_MEMBERSHIP);
	tell(&w, POLL_MEMBERSHIP);
	looked(&w, true, true);
	assert_is(&w, POLL_LOOKING, "bell-off look");
	tell(&w, POLL_MEMBERSHIP);
	w.now_us += MS;
	tell(&w, POLL_BUSY);
	assert_is(&w, POLL_STANDBY, "timer");
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, 0);
}

static void test_a_look_is_waited_for_before_the_end(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_MEMBERSHIP);
	tell(&w, POLL_ROLL_BACK);
	assert_is(&w, POLL_LOOKING, "");
	looked(&w, false, true);
	assert_is(&w, POLL_READY, "rolled-back");
	hold(&w, false);
	tell(&w, POLL_MEMBERSHIP);
	assert_is(&w, POLL_LOOKING, "look");
	tell(&w, POLL_CLOSE);
	assert_is(&w, POLL_LOOKING, "");
	looked(&w, false, true);
	assert_is(&w, POLL_CLOSED, "close");
}

static void test_without_shards_it_stands_by(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_MEMBERSHIP);
	tell(&w, POLL_BUSY);
	assert_is(&w, POLL_STANDBY, "bell-off timer");
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, 250 * MS);
	tell(&w, POLL_TIMER);
	assert_is(&w, POLL_LOOKING, "look");
	looked(&w, true, true);
	assert_is(&w, POLL_READY, "bell-off");
}

static void test_with_new_shards_all_begins_anew(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	w.poll.horizon.low_watermark = 70;
	tell(&w, POLL_MEMBERSHIP);
	looked(&w, true, true);
	assert_is(&w, POLL_CLAIMING, "bell-off claim:opens:observes");
	assert_int_equal(begins_at(&w), 0);
}

static void test_who_comes_or_goes_is_a_reason_to_begin_anew(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_MEMBERSHIP);
	looked(&w, false, false);
	assert_is(&w, POLL_CLAIMING, "bell-off claim:opens:observes");
	assert_false(w.poll.idle.armed);
}

/* ---- while nothing is fetched ---- */

static void test_nothing_is_handed_over_that_is_not_settled(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, true);
	hold(&w, true);
	tell(&w, POLL_MEMBERSHIP);
	assert_is(&w, POLL_HELD, "timer");
	/* Others may come to have the shards, though not by being given them. */
	step(&w, (struct poll_input){.event = POLL_AVAILABLE, .available = false});
	assert_is(&w, POLL_LOOKING, "look:keeps");
	tell(&w, POLL_RECONCILE);
	assert_is(&w, POLL_LOOKING, ""); /* what is asked behind it might go unanswered */
	looked(&w, false, true);
	assert_is(&w, POLL_RECONCILING, "reconcile");
	tell(&w, POLL_MEMBERSHIP);
	assert_is(&w, POLL_RECONCILING, "");
	tell(&w, POLL_RECONCILED);
	assert_is(&w, POLL_READY, "");
}

static void reach_standby(struct world *w)
{
	reach_ready(w, true);
	step(w, (struct poll_input){.event = POLL_AVAILABLE, .available = true});
	tell(w, POLL_BUSY);
}

static void test_a_standby_looks_on_once_nothing_is_in_doubt(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	tell(&w, POLL_RESOLVE);
	assert_is(&w, POLL_RECONCILING, "resolve");
	w.now_us += SECOND;
	tell(&w, POLL_TIMER); /* of the look that was to come */
	assert_is(&w, POLL_RECONCILING, "");
	tell(&w, POLL_RECONCILED);
	assert_is(&w, POLL_STANDBY, "timer");
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, 0);
	tell(&w, POLL_TIMER);
	assert_is(&w, POLL_LOOKING, "look");
}

/* A look at the group is under way when the relay is asked to resolve. */
static void reach_look_that_resolves(struct world *w)
{
	reach_ready(w, true);
	hold(w, false);
	step(w, (struct poll_input){.event = POLL_AVAILABLE, .available = false});
	tell(w, POLL_RESOLVE);
}

static void test_who_lost_all_while_it_looked_resolves_all_the_same(void **state)
{
	struct world w;

	(void)state;
	reach_look_that_resolves(&w);
	assert_is(&w, POLL_LOOKING, "");
	tell(&w, POLL_BUSY);
	assert_is(&w, POLL_RECONCILING, "resolve");
	tell(&w, POLL_RECONCILED);
	assert_is(&w, POLL_STANDBY, "timer");
}

static void test_what_is_to_be_settled_goes_with_the_session(void **state)
{
	struct world w;

	(void)state;
	reach_look_that_resolves(&w);
	tell(&w, POLL_LOST);
	tell(&w, POLL_OPEN);
	looked(&w, true, true);
	assert_null(strstr(w.did, "resolve"));
	assert_int_equal(w.poll.state, POLL_READY);
}

static void test_who_is_unavailable_hands_over(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, true);
	hold(&w, false);
	assert_is(&w, POLL_HELD, "housekeep timer");
	step(&w, (struct poll_input){.event = POLL_AVAILABLE, .available = false});
	assert_is(&w, POLL_LOOKING, "look");
	looked(&w, false, true);
	assert_is(&w, POLL_HELD, "timer");
	assert_int_equal(find(&w, POLL_DO_TIMER)->after_us, 250 * MS);
}

/* The rest is not gone back to with the bell put to rest. */
static void test_a_rest_that_was_cut_short_is_over(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_ROLL_BACK);
	tell(&w, POLL_ROLLED_BACK);
	hold(&w, false);
	assert_is(&w, POLL_HELD, "bell-off housekeep timer");
	w.now_us += 250 * MS;
	fetch(&w);
	assert_is(&w, POLL_LOOKING, "look");
	looked(&w, false, true);
	assert_is(&w, POLL_CLAIMING, "claim:opens");
}

/* Nor after a look that was under way when the fetch came. */
static void test_a_fetch_during_a_look_does_not_go_back_to_an_old_rest(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_ROLL_BACK);
	tell(&w, POLL_ROLLED_BACK);
	hold(&w, false);
	tell(&w, POLL_MEMBERSHIP);
	fetch(&w);
	assert_is(&w, POLL_LOOKING, "");
	looked(&w, false, true);
	assert_is(&w, POLL_CLAIMING, "claim:opens");
}

/* ---- the shared bell ---- */

static void test_a_ring_is_heard_by_all_and_puts_the_bell_to_rest(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_RUNG);
	assert_is(&w, POLL_CLAIMING, "bell-off claim:opens");
	assert_int_equal(w.poll.idle.surplus, 0);
}

static void test_a_bell_that_was_put_to_rest_is_not_relied_on(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w, true);
	tell(&w, POLL_RESTED);
	assert_is(&w, POLL_CLAIMING, "claim:opens");
	assert_false(w.poll.idle.armed);
	claimed(&w, 0);
	assert_is(&w, POLL_RESTING, "end timer");
	tell(&w, POLL_RESTED);
	assert_is(&w, POLL_RESTING, "");
}

static void test_a_ring_for_nobody_is_answered_now_and_then(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, true);
	fetch(&w);
	tell(&w, POLL_RUNG);
	assert_is(&w, POLL_CLAIMING, "bell-off");
	tell(&w, POLL_RUNG);
	assert_is(&w, POLL_CLAIMING, "");
	w.now_us += 20 * MS;
	tell(&w, POLL_RUNG);
	assert_is(&w, POLL_CLAIMING, "bell-off");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_look_in_a_rest_does_not_end_it),
	    cmocka_unit_test(test_a_busy_relay_looks_between_two_batches),
	    cmocka_unit_test(test_a_change_of_members_during_a_look_is_followed_by_another),
	    cmocka_unit_test(test_a_look_is_waited_for_before_the_end),
	    cmocka_unit_test(test_without_shards_it_stands_by),
	    cmocka_unit_test(test_with_new_shards_all_begins_anew),
	    cmocka_unit_test(test_who_comes_or_goes_is_a_reason_to_begin_anew),
	    cmocka_unit_test(test_nothing_is_handed_over_that_is_not_settled),
	    cmocka_unit_test(test_a_standby_looks_on_once_nothing_is_in_doubt),
	    cmocka_unit_test(test_who_lost_all_while_it_looked_resolves_all_the_same),
	    cmocka_unit_test(test_what_is_to_be_settled_goes_with_the_session),
	    cmocka_unit_test(test_who_is_unavailable_hands_over),
	    cmocka_unit_test(test_a_rest_that_was_cut_short_is_over),
	    cmocka_unit_test(test_a_fetch_during_a_look_does_not_go_back_to_an_old_rest),
	    cmocka_unit_test(test_a_ring_is_heard_by_all_and_puts_the_bell_to_rest),
	    cmocka_unit_test(test_a_bell_that_was_put_to_rest_is_not_relied_on),
	    cmocka_unit_test(test_a_ring_for_nobody_is_answered_now_and_then),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
