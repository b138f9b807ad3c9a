/* SPDX-License-Identifier: ISC */
/*
 * test_engine_peers.c - the engine among other relays: whether they are to serve its shards while
 * it cannot reach the sink
 */
#include "engine_world.h"

/* The source has looked at the group; shards are ours. */
static void looked(struct world *w, bool healthy_peer)
{
	step(w, (struct engine_input){.event = ON_ACQUIRED, .healthy_peer = healthy_peer});
}

static void pass(struct world *w, int64_t us)
{
	w->now_us += us;
	tell(w, ON_TIMER);
}

static void test_without_the_sink_it_is_unavailable_after_a_while(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	tell(&w, ON_UNREACHABLE);
	assert_is(&w, ENGINE_STANDBY, "timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, 5 * SECOND);
	pass(&w, 4999 * MS);
	assert_is(&w, ENGINE_STANDBY, "timer");
	pass(&w, MS);
	assert_is(&w, ENGINE_STANDBY, "unavailable");
	finish(&w);
}

static void test_a_hiccup_of_the_sink_is_not_told(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	tell(&w, ON_UNREACHABLE);
	w.now_us += 4 * SECOND;
	tell(&w, ON_REACHABLE);
	assert_is(&w, ENGINE_STANDBY, "");
	pass(&w, 60 * (int64_t)SECOND);
	assert_is(&w, ENGINE_STANDBY, "");
	finish(&w);
}

/* It goes on with what is its own meanwhile. */
static void test_it_is_relied_on_again_when_the_sink_has_lasted(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	tell(&w, ON_UNREACHABLE);
	tell(&w, ON_ROLLED_BACK);
	pass(&w, 5 * SECOND);
	assert_is(&w, ENGINE_HOLDING, "unavailable clear hold timer");
	tell(&w, ON_REACHABLE);
	assert_is(&w, ENGINE_FETCHING, "clear fetch timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, 10 * SECOND);
	pass(&w, 10 * SECOND);
	assert_is(&w, ENGINE_FETCHING, "available");
	finish(&w);
}

static void test_who_comes_and_goes_is_not_relied_on(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	tell(&w, ON_UNREACHABLE);
	pass(&w, 5 * SECOND);
	for (int i = 0; i < 4; i++) {
		tell(&w, ON_REACHABLE);
		pass(&w, 9 * SECOND);
		assert_is(&w, ENGINE_STANDBY, "timer");
		tell(&w, ON_UNREACHABLE);
		pass(&w, SECOND);
		assert_is(&w, ENGINE_STANDBY, "");
	}
	tell(&w, ON_REACHABLE);
	pass(&w, 10 * SECOND);
	assert_is(&w, ENGINE_STANDBY, "available");
	finish(&w);
}

static void test_it_is_unavailable_until_the_sink_has_answered(void **state)
{
	struct world w = {.now_us = SECOND};

	(void)state;
	engine_init(&w.engine, &(struct engine_options){.batch_rows = 8}, &w.batch, 1);
	tell(&w, ON_START);
	pass(&w, 0);
	assert_is(&w, ENGINE_OPENING, "open");
	tell(&w, ON_REACHABLE); /* for the first time: no reason to wait */
	assert_is(&w, ENGINE_OPENING, "available");
	finish(&w);
}

/* ---- what the sink has ---- */

/* It has been unavailable for 30 seconds, with events in flight. */
static void reach_long_outage(struct world *w, bool healthy_peer)
{
	reach_holding(w);
	tell(w, ON_UNREACHABLE);
	pass(w, 5 * SECOND);
	assert_is(w, ENGINE_HOLDING, "unavailable hold:keeps timer");
	looked(w, healthy_peer);
	assert_is(w, ENGINE_HOLDING, "");
	w->now_us += 30 * SECOND;
	looked(w, healthy_peer);
}

/* At the end of an outage for all another one has the sink again a moment before. */
static void test_a_healthy_peer_must_last(void **state)
{
	struct world w;

	(void)state;
	reach_long_outage(&w, false);
	w.now_us += 250 * MS;
	looked(&w, true);
	assert_is(&w, ENGINE_HOLDING, "");
	w.now_us += 15 * SECOND;
	looked(&w, true);
	assert_is(&w, ENGINE_HOLDING, "give-up");
	finish(&w);
}

/* It may yet be delivered, and nobody else is there to do it. */
static void test_what_the_sink_holds_is_left_to_it(void **state)
{
	struct world w;

	(void)state;
	reach_long_outage(&w, false);
	assert_is(&w, ENGINE_HOLDING, "");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "reconcile");
	finish(&w);
}

static void test_what_the_sink_holds_is_taken_back_for_others(void **state)
{
	struct world w;

	(void)state;
	reach_long_outage(&w, true);
	assert_is(&w, ENGINE_HOLDING, "give-up");
	looked(&w, true);
	assert_is(&w, ENGINE_HOLDING, "");
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold timer");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "");
	finish(&w);
}

static void test_what_others_have_is_taken_back_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	tell(&w, ON_UNREACHABLE);
	tell(&w, ON_LOST);
	pass(&w, 5 * SECOND);
	assert_is(&w, ENGINE_OPENING, "unavailable open");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "");
	step(&w, (struct engine_input){.event = ON_BUSY, .healthy_peer = true});
	assert_is(&w, ENGINE_STANDBY, "give-up");
	finish(&w);
}

static void test_a_stop_does_not_wait_for_a_sink_that_is_gone(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	tell(&w, ON_UNREACHABLE);
	pass(&w, 5 * SECOND);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_HOLDING, "hold:keeps");
	looked(&w, true);
	assert_is(&w, ENGINE_HOLDING, "give-up");
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

/* Otherwise it would be unavailable indefinitely. */
static void test_a_broken_sink_is_rebuilt_without_shards(void **state)
{
	struct world w;

	(void)state;
	reach_standby(&w);
	tell(&w, ON_BROKEN);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "rebuild");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "");
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_the_sink_it_is_unavailable_after_a_while),
	    cmocka_unit_test(test_a_hiccup_of_the_sink_is_not_told),
	    cmocka_unit_test(test_it_is_relied_on_again_when_the_sink_has_lasted),
	    cmocka_unit_test(test_who_comes_and_goes_is_not_relied_on),
	    cmocka_unit_test(test_it_is_unavailable_until_the_sink_has_answered),
	    cmocka_unit_test(test_a_healthy_peer_must_last),
	    cmocka_unit_test(test_what_the_sink_holds_is_left_to_it),
	    cmocka_unit_test(test_what_the_sink_holds_is_taken_back_for_others),
	    cmocka_unit_test(test_what_others_have_is_taken_back_at_once),
	    cmocka_unit_test(test_a_stop_does_not_wait_for_a_sink_that_is_gone),
	    cmocka_unit_test(test_a_broken_sink_is_rebuilt_without_shards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
