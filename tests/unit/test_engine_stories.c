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
	reach_claiming(&w);
	assert_is(&w, ENGINE_CLAIMING, "bell-off clear housekeep claim:opens:observes");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	observed(&w, 100);
	claimed(&w, 4);
	assert_is(&w, ENGINE_CLAIMING, "claim produce");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 4);
	claimed(&w, 4);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	send_all(&w);
	tell(&w, ON_PROGRESS);
	assert_is(&w, ENGINE_PUBLISHING, "");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle:more claim:opens");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_CLAIMING, "");
	claimed(&w, 0);
	assert_is(&w, ENGINE_RESTING, "end timer");
	finish(&w);
}

static void test_a_short_claim_ends_the_batch(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle claim:opens");
	finish(&w);
}

static void test_nothing_is_claimed_ahead_when_housekeeping_is_due(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	w.now_us += 1001 * (int64_t)SECOND;
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_ACQUIRING, "clear acquire");
	looked(&w, false);
	assert_is(&w, ENGINE_CLAIMING, "clear housekeep claim:opens");
	finish(&w);
}

static void test_returned_events_are_claimed_again(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	finish(&w);
}

static void test_a_stalled_batch_is_settled_by_identity(void **state)
{
	struct world w;

	(void)state;
	reach_holding(&w);
	assert_is(&w, ENGINE_HOLDING, "housekeep timer");
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_HOLDING, "timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_RECONCILING, "recover");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	finish(&w);
}

static void test_a_claim_under_way_at_a_withdrawal_is_not_sent(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	claimed(&w, 4);
	tell(&w, ON_BROKEN);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	claimed(&w, 4);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip");
	assert_null(batch_next(&w.batch));
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild housekeep timer");
	tell(&w, ON_READY);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	finish(&w);
}

static void test_what_was_published_is_settled_after_a_loss(void **state)
{
	struct world w;

	(void)state;
	reach_settling(&w);
	tell(&w, ON_LOST);
	tell(&w, ON_TIMER);
	acquired(&w);
	assert_is(&w, ENGINE_RECONCILING, "bell-off recover");
	finish(&w);
}

/* ---- rejects ---- */

static void test_a_reject_halts(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	assert_true(w.engine.halting);
	tell(&w, ON_CLOSED);
	assert_is(&w, ENGINE_STOPPED, "stopped");
	finish(&w);
}

/* As the Kafka sink has it: broken() first, then what each event met with. */
static void test_a_reject_of_a_orphaned_batch_halts_too(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	tell(&w, ON_BROKEN);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_ROLLING_BACK, "");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	assert_true(w.engine.halting);
	finish(&w);
}

static void test_a_reject_after_a_loss_halts_once_the_shard_is_ours(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	tell(&w, ON_LOST);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_OFFLINE, "");
	tell(&w, ON_TIMER);
	acquired(&w);
	assert_is(&w, ENGINE_CLOSING, "bell-off clear close");
	assert_true(w.engine.halting);
	finish(&w);
}

static void test_a_reject_is_dead_letter_with_the_rest_settled(void **state)
{
	struct world w;

	(void)state;
	reach_publishing(&w);
	w.engine.options.dead_letter = true;
	batch_delivered(&w.batch, &w.batch.first->events[0]);
	report_all(&w, EVENT_REJECTED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_RECONCILING, "recover:aside");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	assert_false(w.engine.halting);
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

static void test_a_stop_sends_nothing_new(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	tell(&w, ON_STOP);
	claimed(&w, 2);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

static void test_the_last_batch_is_not_committed_lazily(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	claimed(&w, 4);
	claimed(&w, 4);
	send_all(&w);
	tell(&w, ON_STOP);
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle");
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
	tell(&w, ON_TIMER);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "timer");
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_TIMER);
	acquired(&w);
	assert_is(&w, ENGINE_RECONCILING, "bell-off recover");
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

/* A batch of five events that is not full takes 3 ms. */
static void publish_a_stream(struct world *w)
{
	reach_claiming(w);
	claimed(w, 4);
	claimed(w, 1);
	while (w->engine.claims.under_way > 0)
		claimed(w, 0);
	send_all(w);
	w->now_us += 3 * MS;
	report_all(w, EVENT_DELIVERED);
}

static void test_a_stream_of_events_is_given_time_to_gather(void **state)
{
	struct world w;

	(void)state;
	publish_a_stream(&w);
	assert_is(&w, ENGINE_SETTLING, "settle");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_RESTING, "timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, 3 * MS);
	assert_false(w.engine.waker.armed);
	rested(&w);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	finish(&w);
}

static void test_a_stop_does_not_wait_for_a_stream_to_gather(void **state)
{
	struct world w;

	(void)state;
	publish_a_stream(&w);
	tell(&w, ON_STOP);
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

/* ---- the sink's moods ---- */

/* What was left for want of bytes waits: no look is saved, no sweep is over, no commit waited for.
 */
static void test_a_claim_cut_by_bytes_leaves_a_backlog(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	w.now_us += 60 * (int64_t)SECOND;
	timer(&w);
	assert_true(w.engine.sweeping);
	w.engine.horizon.low_watermark = w.next_id + 100;
	w.cut = true;
	claimed(&w, 1);
	assert_true(w.engine.sweeping);
	send_all(&w);
	report_all(&w, EVENT_DELIVERED);
	assert_true(find(&w, DO_SETTLE)->more);
	finish(&w);
}

static void test_a_blocked_sink_is_tried_again_when_writable(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	claimed(&w, 2);
	assert_false(engine_waits_for_sink(&w.engine));
	tell(&w, ON_BLOCKED);
	assert_true(engine_waits_for_sink(&w.engine));
	tell(&w, ON_WRITABLE);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	tell(&w, ON_BLOCKED);
	tell(&w, ON_STALLED);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "clear housekeep timer");
	tell(&w, ON_WRITABLE);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	finish(&w);
}

/* Nobody tells when the row that waited for its topic is mended or gone. */
static void test_a_blocked_sink_is_probed_with_no_transaction_left_open(void **state)
{
	struct world w;

	(void)state;
	reach_blocked(&w);
	w.now_us += 4 * 1000 * 1000;
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_HOLDING, "clear timer");
	w.now_us += 1000 * 1000;
	timer(&w);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	assert_true(engine_is_blocked(&w.engine));
	claimed(&w, 2);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	tell(&w, ON_BLOCKED);
	tell(&w, ON_PROGRESS);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	finish(&w);
}

static void test_a_probe_that_goes_through_ends_the_block(void **state)
{
	struct world w;

	(void)state;
	reach_blocked(&w);
	w.now_us += 5 * 1000 * 1000;
	timer(&w);
	claimed(&w, 2);
	send_all(&w);
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle claim:opens:observes");
	assert_false(engine_is_blocked(&w.engine));
	finish(&w);
}

static void test_what_is_owed_outlives_a_lost_close(void **state)
{
	struct world w;

	(void)state;
	reach_closing(&w);
	step(&w, (struct engine_input){.event = ON_LOST, .owes = true});
	assert_is(&w, ENGINE_OFFLINE, "skip timer");
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_ACQUIRING, "acquire");
	finish(&w);
}

static void test_nothing_is_claimed_while_kafka_is_away(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	tell(&w, ON_UNREACHABLE);
	rested(&w);
	assert_is(&w, ENGINE_HOLDING, "clear timer");
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_HOLDING, "clear timer");
	tell(&w, ON_REACHABLE);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens");
	finish(&w);
}

/* ---- waking ---- */

static void test_the_bell_is_armed_and_the_next_look_goes_with_it(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	rest_until(&w, WAKER_WATCHING);
	assert_is(&w, ENGINE_CLAIMING, "end bell-on claim:opens:observes");
	observed(&w, 0);
	claimed(&w, 0);
	assert_is(&w, ENGINE_RESTING, "end timer");
	assert_int_equal(find(&w, DO_TIMER)->after_us, SECOND);
	tell(&w, ON_RUNG);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens");
	claimed(&w, 1);
	assert_is(&w, ENGINE_PUBLISHING, "bell-off woken:bell produce");
	finish(&w);
}

static void test_the_poll_is_told_as_the_cause(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	rest_until(&w, WAKER_ASLEEP);
	rested(&w);
	claimed(&w, 1);
	assert_is(&w, ENGINE_PUBLISHING, "bell-off woken:poll produce");
	finish(&w);
}

static void test_the_bell_rests_while_holding_and_at_the_end(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	rest_until(&w, WAKER_ASLEEP);
	tell(&w, ON_UNREACHABLE);
	tell(&w, ON_RUNG);
	assert_is(&w, ENGINE_HOLDING, "clear bell-off timer");
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_HOLDING, "clear timer");
	tell(&w, ON_REACHABLE);
	claimed(&w, 0);
	rest_until(&w, WAKER_ASLEEP);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_CLOSING, "clear bell-off close");
	finish(&w);
}

/* ---- the sweep ---- */

/* The low watermark stands at `low watermark` and a sweep is due. */
static void reach_sweep(struct world *w, int64_t low_watermark)
{
	reach_claiming(w);
	observed(w, low_watermark);
	claimed(w, 0);
	assert_int_equal(w->engine.horizon.low_watermark, low_watermark);
	w->now_us += 10 * SECOND;
	timer(w);
	assert_int_equal(find(w, DO_CLAIM)->claim.low_watermark, 0);
}

static void test_a_sweep_ends_past_the_low_watermark(void **state)
{
	struct world w;

	(void)state;
	reach_sweep(&w, 50);
	w.next_id = 47;
	claimed(&w, 4);
	assert_is(&w, ENGINE_CLAIMING, "woken:sweep claim produce");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	w.next_id = 60;
	claimed(&w, 4);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	send_all(&w);
	report_all(&w, EVENT_DELIVERED);
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 50);
	finish(&w);
}

static void test_a_sweep_that_finds_a_backlog_ends_with_its_first_claim(void **state)
{
	struct world w;

	(void)state;
	reach_sweep(&w, 50);
	w.next_id = 60;
	claimed(&w, 4);
	assert_is(&w, ENGINE_CLAIMING, "claim:observes produce");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 50);
	finish(&w);
}

static void test_an_empty_sweep_ends_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_sweep(&w, 50);
	claimed(&w, 0);
	rested(&w);
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 50);
	finish(&w);
}

/* ---- sessions that fail ---- */

static void test_waits_grow_until_a_claim_succeeds(void **state)
{
	struct world w;
	int64_t waited = 0;

	(void)state;
	reach_claiming(&w);
	for (int i = 0; i < 8; i++) {
		tell(&w, ON_LOST);
		waited = find(&w, DO_TIMER)->after_us;
		tell(&w, ON_TIMER);
		acquired(&w);
	}
	assert_in_range(waited, 800 * MS, 1600 * MS);
	claimed(&w, 0);
	tell(&w, ON_LOST);
	assert_in_range(find(&w, DO_TIMER)->after_us, 50 * MS, 100 * MS);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_batch_is_filled_published_and_settled),
	    cmocka_unit_test(test_a_short_claim_ends_the_batch),
	    cmocka_unit_test(test_nothing_is_claimed_ahead_when_housekeeping_is_due),
	    cmocka_unit_test(test_returned_events_are_claimed_again),
	    cmocka_unit_test(test_a_stalled_batch_is_settled_by_identity),
	    cmocka_unit_test(test_a_claim_under_way_at_a_withdrawal_is_not_sent),
	    cmocka_unit_test(test_what_was_published_is_settled_after_a_loss),
	    cmocka_unit_test(test_a_reject_halts),
	    cmocka_unit_test(test_a_reject_of_a_orphaned_batch_halts_too),
	    cmocka_unit_test(test_a_reject_after_a_loss_halts_once_the_shard_is_ours),
	    cmocka_unit_test(test_a_reject_is_dead_letter_with_the_rest_settled),
	    cmocka_unit_test(test_a_stop_settles_what_is_in_flight),
	    cmocka_unit_test(test_a_stop_sends_nothing_new),
	    cmocka_unit_test(test_the_last_batch_is_not_committed_lazily),
	    cmocka_unit_test(test_a_stop_waits_for_the_shard_while_something_is_owed),
	    cmocka_unit_test(test_a_stream_of_events_is_given_time_to_gather),
	    cmocka_unit_test(test_a_stop_does_not_wait_for_a_stream_to_gather),
	    cmocka_unit_test(test_a_claim_cut_by_bytes_leaves_a_backlog),
	    cmocka_unit_test(test_a_blocked_sink_is_tried_again_when_writable),
	    cmocka_unit_test(test_a_blocked_sink_is_probed_with_no_transaction_left_open),
	    cmocka_unit_test(test_a_probe_that_goes_through_ends_the_block),
	    cmocka_unit_test(test_what_is_owed_outlives_a_lost_close),
	    cmocka_unit_test(test_nothing_is_claimed_while_kafka_is_away),
	    cmocka_unit_test(test_the_bell_is_armed_and_the_next_look_goes_with_it),
	    cmocka_unit_test(test_the_poll_is_told_as_the_cause),
	    cmocka_unit_test(test_the_bell_rests_while_holding_and_at_the_end),
	    cmocka_unit_test(test_a_sweep_ends_past_the_low_watermark),
	    cmocka_unit_test(test_a_sweep_that_finds_a_backlog_ends_with_its_first_claim),
	    cmocka_unit_test(test_an_empty_sweep_ends_at_once),
	    cmocka_unit_test(test_waits_grow_until_a_claim_succeeds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
