/*
 * test_engine_group.c - the engine among other relays: looks, shards gained and lost, the shared
 * bell
 */
#include "engine_world.h"

static void in_has_peers(struct world *w, bool gained)
{
	step(w, (struct engine_input){
		    .event = ON_ACQUIRED, .has_bell = true, .has_peers = true, .gained = gained});
}

/* Asleep, with the bell armed, beside another relay. */
static void reach_sleep(struct world *w)
{
	reach_acquiring(w);
	in_has_peers(w, true);
	observed(w, 0);
	claimed(w, 0);
	rest_until(w, WAKER_ASLEEP);
}

/* ---- looks ---- */

static void test_a_look_in_a_rest_does_not_end_it(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	w.now_us += 250 * MS;
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_ACQUIRING, "acquire");
	in_has_peers(&w, false);
	assert_is(&w, ENGINE_RESTING, "timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, 250 * MS);
	finish(&w);
}

static void test_a_busy_relay_looks_between_two_batches(void **state)
{
	struct world w;

	(void)state;
	reach_acquiring(&w);
	in_has_peers(&w, true);
	claimed(&w, 4);
	claimed(&w, 4);
	send_all(&w);
	w.now_us += 250 * MS;
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle:more");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_ACQUIRING, "clear acquire");
	in_has_peers(&w, false);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	finish(&w);
}

static void test_nothing_is_handed_over_that_is_not_settled(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	tell(&w, ON_MEMBERSHIP_CHANGED);
	assert_is(&w, ENGINE_HOLDING, "");
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_HOLDING, "timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "recover");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_ACQUIRING, "clear acquire");
	finish(&w);
}

static void test_a_stir_during_a_look_is_followed_by_another(void **state)
{
	struct world w;

	(void)state;
	reach_acquiring(&w);
	tell(&w, ON_MEMBERSHIP_CHANGED);
	acquired(&w);
	assert_is(&w, ENGINE_ACQUIRING, "bell-off clear acquire");
	tell(&w, ON_MEMBERSHIP_CHANGED);
	w.now_us += MS;
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, 0);
	finish(&w);
}

static void test_a_stop_in_a_look_is_not_forgotten(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_MEMBERSHIP_CHANGED);
	tell(&w, ON_STOP);
	in_has_peers(&w, false);
	assert_is(&w, ENGINE_CLOSING, "clear bell-off close");
	finish(&w);
}

/* ---- without the sink ---- */

/* For long enough to abstain. */
static void lose_the_sink(struct world *w)
{
	tell(w, ON_UNREACHABLE);
	w->now_us += 5 * SECOND;
}

static void test_without_the_sink_it_unavailable_after_a_while(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_UNREACHABLE);
	w.now_us += 4999 * MS;
	timer(&w);
	assert_is(&w, ENGINE_HOLDING, "clear bell-off timer");
	w.now_us += MS;
	looked(&w, true);
	w.now_us += 250 * MS;
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_ACQUIRING, "clear acquire:abstains");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "timer");
	finish(&w);
}

static void test_with_the_sink_it_is_back_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	lose_the_sink(&w);
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_ACQUIRING, "acquire:abstains");
	tell(&w, ON_BUSY);
	tell(&w, ON_REACHABLE);
	assert_is(&w, ENGINE_ACQUIRING, "acquire");
	acquired(&w);
	assert_is(&w, ENGINE_CLAIMING, "bell-off clear housekeep claim:opens:observes");
	finish(&w);
}

/* A look in which another relay has the sink, or none. */
static void healthy_peer_seen(struct world *w, bool healthy_peer)
{
	step(w, (struct engine_input){
		    .event = ON_ACQUIRED, .has_peers = true, .healthy_peer = healthy_peer});
}

static void reach_healthy_peer(struct world *w, bool healthy_peer)
{
	reach_holding(w);
	lose_the_sink(w);
	tell(w, ON_TIMER);
	assert_is(w, ENGINE_ACQUIRING, "acquire:abstains:keeps");
	healthy_peer_seen(w, healthy_peer);
	assert_is(w, ENGINE_HOLDING, "housekeep timer");
	w->now_us += 30 * SECOND;
	tell(w, ON_TIMER);
	healthy_peer_seen(w, healthy_peer);
}

/* At the end of an outage for all another one has the sink again a moment before. */
static void test_healthy_peer_must_last(void **state)
{
	struct world w;

	(void)state;
	reach_healthy_peer(&w, false);
	w.now_us += 250 * MS;
	tell(&w, ON_TIMER);
	healthy_peer_seen(&w, true);
	assert_is(&w, ENGINE_HOLDING, "timer");
	w.now_us += 15 * SECOND;
	tell(&w, ON_TIMER);
	healthy_peer_seen(&w, true);
	assert_is(&w, ENGINE_HOLDING, "give-up timer");
	finish(&w);
}

/* It may yet be delivered, and nobody else is there to do it. */
static void test_what_the_sink_holds_is_left_to_it(void **state)
{
	struct world w;

	(void)state;
	reach_healthy_peer(&w, false);
	assert_is(&w, ENGINE_HOLDING, "timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "recover");
	finish(&w);
}

static void test_what_the_sink_holds_is_taken_back_for_others(void **state)
{
	struct world w;

	(void)state;
	reach_healthy_peer(&w, true);
	assert_is(&w, ENGINE_HOLDING, "give-up timer");
	w.now_us += 250 * MS;
	tell(&w, ON_TIMER);
	healthy_peer_seen(&w, true);
	assert_is(&w, ENGINE_HOLDING, "timer");
	w.now_us += 250 * MS;
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_ACQUIRING, "clear acquire:abstains");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "rebuild timer");
	finish(&w);
}

static void test_what_others_have_is_taken_back_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	tell(&w, ON_UNREACHABLE);
	tell(&w, ON_LOST);
	w.now_us += 5 * SECOND;
	tell(&w, ON_TIMER);
	step(&w, (struct engine_input){.event = ON_BUSY});
	assert_is(&w, ENGINE_STANDBY, "timer");
	tell(&w, ON_MEMBERSHIP_CHANGED);
	step(&w, (struct engine_input){.event = ON_BUSY, .healthy_peer = true});
	assert_is(&w, ENGINE_STANDBY, "give-up timer");
	finish(&w);
}

static void test_a_stop_does_not_wait_for_a_sink_that_is_gone(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	lose_the_sink(&w);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_ACQUIRING, "acquire:abstains:keeps");
	healthy_peer_seen(&w, true);
	assert_is(&w, ENGINE_HOLDING, "give-up housekeep timer");
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

/* Away from second 1 on, and back for a moment each time. */
static void test_who_comes_and_goes_is_relied_on_later(void **state)
{
	static const int64_t waits[] = {0, 2 * SECOND, 4 * SECOND, 8 * SECOND};
	struct world w;

	(void)state;
	reach_standby(&w);
	for (int i = 0; i < 4; i++) {
		lose_the_sink(&w);
		tell(&w, ON_TIMER);
		assert_is(&w, ENGINE_ACQUIRING, "acquire:abstains");
		tell(&w, ON_BUSY);
		tell(&w, ON_REACHABLE);
		if (waits[i] > 0) {
			assert_is(&w, ENGINE_ACQUIRING, "acquire:abstains");
			tell(&w, ON_BUSY);
			w.now_us += waits[i] - 1;
			tell(&w, ON_TIMER);
			assert_is(&w, ENGINE_ACQUIRING, "acquire:abstains");
			tell(&w, ON_BUSY);
			w.now_us += 1;
			tell(&w, ON_TIMER);
		}
		assert_is(&w, ENGINE_ACQUIRING, "acquire");
		tell(&w, ON_BUSY);
	}
	finish(&w);
}

static void test_it_unavailable_until_the_sink_has_answered(void **state)
{
	struct world w = {.now_us = SECOND};

	(void)state;
	engine_init(&w.engine, &(struct engine_options){.poll_us = SECOND}, &w.batch, 1);
	tell(&w, ON_START);
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_ACQUIRING, "acquire:abstains");
	tell(&w, ON_REACHABLE);
	tell(&w, ON_BUSY);
	assert_int_equal(find(&w, DO_TIMER)->after_us, 0);
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_ACQUIRING, "acquire");
	finish(&w);
}

/* Otherwise it would abstain indefinitely. */
static void test_a_broken_sink_is_rebuilt_without_shards(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	tell(&w, ON_BROKEN);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_TIMER);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "rebuild timer");
	tell(&w, ON_TIMER);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "timer");
	finish(&w);
}

/* ---- shards that come and go ---- */

static void test_with_new_shards_all_begins_anew(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	w.engine.horizon.low_watermark = 70;
	tell(&w, ON_MEMBERSHIP_CHANGED);
	in_has_peers(&w, true);
	assert_is(&w, ENGINE_CLAIMING, "bell-off clear housekeep claim:opens:observes");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	finish(&w);
}

static void test_without_shards_it_stands_by(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_MEMBERSHIP_CHANGED);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "bell-off timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, 250 * MS);
	finish(&w);
}

/* From the rest it went to holding; the rest is not gone back to with the bell put to rest. */
static void test_a_rest_that_was_cut_short_is_over(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_BROKEN);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild bell-off timer");
	w.now_us += 250 * MS;
	tell(&w, ON_READY);
	assert_is(&w, ENGINE_ACQUIRING, "clear acquire");
	in_has_peers(&w, false);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens");
	finish(&w);
}

/* ---- the shared bell ---- */

static void test_a_ring_is_heard_by_all_and_puts_the_bell_to_rest(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_RUNG);
	assert_is(&w, ENGINE_CLAIMING, "bell-off clear claim:opens");
	assert_int_equal(w.engine.waker.surplus, 0);
	finish(&w);
}

static void test_a_bell_that_was_put_to_rest_is_not_relied_on(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_RESTED);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens");
	assert_false(w.engine.waker.armed);
	claimed(&w, 0);
	assert_is(&w, ENGINE_RESTING, "end timer");
	tell(&w, ON_RESTED);
	assert_is(&w, ENGINE_RESTING, "");
	finish(&w);
}

static void test_a_ring_for_nobody_is_answered_now_and_then(void **state)
{
	struct world w;

	(void)state;
	reach_acquiring(&w);
	in_has_peers(&w, true);
	tell(&w, ON_RUNG);
	assert_is(&w, ENGINE_CLAIMING, "bell-off");
	tell(&w, ON_RUNG);
	assert_is(&w, ENGINE_CLAIMING, "");
	w.now_us += 20 * MS;
	tell(&w, ON_RUNG);
	assert_is(&w, ENGINE_CLAIMING, "bell-off");
	finish(&w);
}

static void test_who_comes_or_goes_is_a_reason_to_begin_anew(void **state)
{
	struct world w;

	(void)state;
	reach_sleep(&w);
	tell(&w, ON_MEMBERSHIP_CHANGED);
	looked(&w, false);
	assert_is(&w, ENGINE_CLAIMING, "bell-off clear housekeep claim:opens:observes");
	assert_false(w.engine.waker.armed);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_look_in_a_rest_does_not_end_it),
	    cmocka_unit_test(test_a_busy_relay_looks_between_two_batches),
	    cmocka_unit_test(test_nothing_is_handed_over_that_is_not_settled),
	    cmocka_unit_test(test_a_stir_during_a_look_is_followed_by_another),
	    cmocka_unit_test(test_a_stop_in_a_look_is_not_forgotten),
	    cmocka_unit_test(test_without_the_sink_it_unavailable_after_a_while),
	    cmocka_unit_test(test_with_the_sink_it_is_back_at_once),
	    cmocka_unit_test(test_what_others_have_is_taken_back_at_once),
	    cmocka_unit_test(test_a_stop_does_not_wait_for_a_sink_that_is_gone),
	    cmocka_unit_test(test_who_comes_and_goes_is_relied_on_later),
	    cmocka_unit_test(test_it_unavailable_until_the_sink_has_answered),
	    cmocka_unit_test(test_healthy_peer_must_last),
	    cmocka_unit_test(test_what_the_sink_holds_is_left_to_it),
	    cmocka_unit_test(test_what_the_sink_holds_is_taken_back_for_others),
	    cmocka_unit_test(test_a_broken_sink_is_rebuilt_without_shards),
	    cmocka_unit_test(test_with_new_shards_all_begins_anew),
	    cmocka_unit_test(test_without_shards_it_stands_by),
	    cmocka_unit_test(test_a_rest_that_was_cut_short_is_over),
	    cmocka_unit_test(test_a_ring_is_heard_by_all_and_puts_the_bell_to_rest),
	    cmocka_unit_test(test_a_bell_that_was_put_to_rest_is_not_relied_on),
	    cmocka_unit_test(test_a_ring_for_nobody_is_answered_now_and_then),
	    cmocka_unit_test(test_who_comes_or_goes_is_a_reason_to_begin_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
