/* SPDX-License-Identifier: ISC */
/*
 * test_engine_stories.c - the engine's ways through several states, step by step
 *
 * The simulator (tests/sim) tells whether the whole is right; here stands what each step answers.
 */
#include "engine_world.h"

/* ---- a batch's way ---- */

static void test_a_batch_is_filled_published_and_settled(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	assert_int_equal(find(&w, DO_FETCH)->fetch.rows, 8);
	fetched(&w, 4, false);
	assert_is(&w, ENGINE_FETCHING, "produce");
	fetched(&w, 4, true);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	send_all(&w);
	tell(&w, ON_PROGRESS);
	assert_is(&w, ENGINE_PUBLISHING, "");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle fetch");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_FETCHING, "");
	finish(&w);
}

/* A claim was under way when the batch had come to its end. */
static void test_the_last_chunk_may_be_empty(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	fetched(&w, 4, false);
	fetched(&w, 0, true);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	finish(&w);
}

static void test_returned_events_are_fetched_again(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_FETCHING, "skip clear fetch");
	finish(&w);
}

static void test_a_stalled_batch_is_settled_by_identity(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	assert_is(&w, ENGINE_HOLDING, "skip hold:keeps timer");
	w.now_us += SECOND;
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_HOLDING, "hold:keeps timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "reconcile");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

/* The source has rolled back by itself, say because the database refused a claim. */
static void test_what_was_sent_before_a_refusal_is_settled(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	fetched(&w, 4, false);
	send_all(&w);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip hold:keeps timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "reconcile");
	finish(&w);
}

static void test_a_refused_commit_is_made_up_for(void **state)
{
	struct world w;

	(void)state;
	reach_settling(&w);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_RECONCILING, "skip reconcile");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_what_was_published_is_settled_after_a_loss(void **state)
{
	struct world w;

	(void)state;
	reach_settling(&w);
	tell(&w, ON_LOST);
	w.now_us += SECOND;
	tell(&w, ON_TIMER);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_RECONCILING, "reconcile");
	finish(&w);
}

/* ---- rejects ---- */

/* What is rejected is the source's to keep back; what it lets be fetched then is its affair. */
static void test_a_reject_that_halts_is_kept_back(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_RECONCILING, "skip reconcile");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

/* As the Kafka sink has it: broken() first, then what each event met with. */
static void test_a_reject_of_an_orphaned_batch_is_kept_back(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	tell(&w, ON_BROKEN);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_ROLLING_BACK, "");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_RECONCILING, "skip reconcile");
	finish(&w);
}

static void test_a_reject_after_a_loss_is_kept_back_once_the_shard_is_ours(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	tell(&w, ON_LOST);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_OFFLINE, "");
	w.now_us += SECOND;
	tell(&w, ON_TIMER);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_RECONCILING, "reconcile");
	finish(&w);
}

/* The reject that halts is met again by whoever has the shard next. */
static void test_a_stop_without_a_session_leaves_a_reject_that_halts(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	report_all(&w, EVENT_REJECTED);
	tell(&w, ON_LOST);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_STOPPED, "stopped");
	finish(&w);
}

static void test_a_stop_of_a_source_that_halts(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	report_all(&w, EVENT_REJECTED);
	tell(&w, ON_ROLLED_BACK);
	settled(&w, ON_RECONCILED);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLOSING, "skip clear close");
	finish(&w);
}

static void test_a_reject_is_dead_lettered_with_the_rest_settled(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	engine_reload(&w.engine,
		      &(struct engine_options){8, 1000000, .policy = REJECT_DEAD_LETTERS});
	batch_delivered(&w.batch, &w.batch.first->events[0]);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_RECONCILING, "skip reconcile:aside");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

/* ---- stopping ---- */

static void test_a_stop_settles_what_is_in_flight(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	tell(&w, ON_STOP);
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

static void test_a_stop_ends_a_batch_that_is_being_fetched(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	fetched(&w, 2, false);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_FETCHING, "hold:keeps");
	finish(&w);
}

static void test_an_open_fetch_is_asked_again_with_new_sizes(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	engine_reload(&w.engine, &(struct engine_options){16, 1000000, .policy = REJECT_HALTS});
	tell(&w, ON_RELOADED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_FETCHING, "skip clear fetch");
	finish(&w);
}

static void test_a_stop_cancels_a_fetch(void **state)
{
	struct world w;

	(void)state;
	reach_closing(&w);
	assert_is(&w, ENGINE_CLOSING, "skip clear close");
	reach_settling(&w);
	tell(&w, ON_STOP);
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLOSING, "skip clear close");
	finish(&w);
}

static void test_a_stop_waits_for_the_shard_while_something_is_owed(void **state)
{
	struct world w;

	(void)state;
	reach_settling(&w);
	tell(&w, ON_LOST);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_OFFLINE, "");
	w.now_us += SECOND;
	tell(&w, ON_TIMER);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_RECONCILING, "reconcile");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

/* ---- the sink's moods ---- */

static void test_a_blocked_sink_is_tried_again_when_writable(void **state)
{
	struct world w;

	(void)state;
	reach_fetching(&w);
	fetched(&w, 2, true);
	assert_false(engine_waits_for_sink(&w.engine));
	tell(&w, ON_BLOCKED);
	assert_true(engine_waits_for_sink(&w.engine));
	tell(&w, ON_WRITABLE);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	tell(&w, ON_BLOCKED);
	tell(&w, ON_STALLED);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip clear hold timer");
	tell(&w, ON_WRITABLE);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

/* After five seconds. */
static void reach_probing(struct world *w)
{
	reach_blocked(w);
	w->now_us += 4 * SECOND;
	tell(w, ON_TIMER);
	assert_is(w, ENGINE_HOLDING, "clear hold timer");
	w->now_us += SECOND;
	tell(w, ON_TIMER);
	assert_is(w, ENGINE_FETCHING, "clear fetch:now");
	assert_int_equal(find(w, DO_FETCH)->fetch.rows, 1);
	assert_true(engine_is_blocked(&w->engine));
}

/* Nobody tells when the row that waited for its topic is mended or gone. */
static void test_a_blocked_sink_is_probed_with_no_transaction_left_open(void **state)
{
	struct world w;

	(void)state;
	reach_probing(&w);
	fetched(&w, 1, true);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	tell(&w, ON_BLOCKED);
	tell(&w, ON_PROGRESS);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	finish(&w);
}

static void test_a_probe_that_goes_through_ends_the_block(void **state)
{
	struct world w;

	(void)state;
	reach_probing(&w);
	fetched(&w, 1, true);
	send_all(&w);
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle fetch");
	assert_false(engine_is_blocked(&w.engine));
	finish(&w);
}

static void test_a_probe_that_finds_nothing_ends_the_block(void **state)
{
	struct world w;

	(void)state;
	reach_probing(&w);
	fetched(&w, 0, true);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	assert_false(engine_is_blocked(&w.engine));
	finish(&w);
}

static void test_nothing_is_fetched_while_kafka_is_unreachable(void **state)
{
	struct world w;

	(void)state;
	reach_settling(&w);
	tell(&w, ON_UNREACHABLE);
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip clear hold timer");
	tell(&w, ON_REACHABLE);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_a_broken_sink_is_rebuilt_once_it_holds_nothing(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	tell(&w, ON_BROKEN);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip hold:keeps timer");
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold");
	tell(&w, ON_READY);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

/* ---- sessions that fail ---- */

static int64_t loses(struct world *w)
{
	tell(w, ON_LOST);
	int64_t waits = find(w, DO_TIMER)->after_us;
	w->now_us += waits;
	tell(w, ON_TIMER);
	assert_int_equal(w->engine.state, ENGINE_OPENING);
	tell(w, ON_ACQUIRED);
	return waits;
}

static void test_waits_grow_until_events_come_or_a_session_lasts(void **state)
{
	struct world w;
	int64_t waited = 0;

	(void)state;
	reach_fetching(&w);
	for (int i = 0; i < 8; i++)
		waited = loses(&w);
	assert_in_range(waited, 800 * MS, 1600 * MS);
	fetched(&w, 1, true);
	assert_in_range(loses(&w), 50 * MS, 100 * MS);
	loses(&w);
	assert_in_range(loses(&w), 200 * MS, 400 * MS);
	w.now_us += 5 * SECOND;
	assert_in_range(loses(&w), 50 * MS, 100 * MS);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_batch_is_filled_published_and_settled),
	    cmocka_unit_test(test_the_last_chunk_may_be_empty),
	    cmocka_unit_test(test_returned_events_are_fetched_again),
	    cmocka_unit_test(test_a_stalled_batch_is_settled_by_identity),
	    cmocka_unit_test(test_what_was_sent_before_a_refusal_is_settled),
	    cmocka_unit_test(test_a_refused_commit_is_made_up_for),
	    cmocka_unit_test(test_what_was_published_is_settled_after_a_loss),
	    cmocka_unit_test(test_a_reject_that_halts_is_kept_back),
	    cmocka_unit_test(test_a_reject_of_an_orphaned_batch_is_kept_back),
	    cmocka_unit_test(test_a_reject_after_a_loss_is_kept_back_once_the_shard_is_ours),
	    cmocka_unit_test(test_a_stop_without_a_session_leaves_a_reject_that_halts),
	    cmocka_unit_test(test_a_stop_of_a_source_that_halts),
	    cmocka_unit_test(test_a_reject_is_dead_lettered_with_the_rest_settled),
	    cmocka_unit_test(test_a_stop_settles_what_is_in_flight),
	    cmocka_unit_test(test_a_stop_ends_a_batch_that_is_being_fetched),
	    cmocka_unit_test(test_an_open_fetch_is_asked_again_with_new_sizes),
	    cmocka_unit_test(test_a_stop_cancels_a_fetch),
	    cmocka_unit_test(test_a_stop_waits_for_the_shard_while_something_is_owed),
	    cmocka_unit_test(test_a_blocked_sink_is_tried_again_when_writable),
	    cmocka_unit_test(test_a_blocked_sink_is_probed_with_no_transaction_left_open),
	    cmocka_unit_test(test_a_probe_that_goes_through_ends_the_block),
	    cmocka_unit_test(test_a_probe_that_finds_nothing_ends_the_block),
	    cmocka_unit_test(test_nothing_is_fetched_while_kafka_is_unreachable),
	    cmocka_unit_test(test_a_broken_sink_is_rebuilt_once_it_holds_nothing),
	    cmocka_unit_test(test_waits_grow_until_events_come_or_a_session_lasts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
