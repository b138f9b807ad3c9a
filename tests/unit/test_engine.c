/*
 * test_engine.c - what one event does in each of the engine's states
 */
#include "engine_world.h"

static void (*const reach[ENGINE_STATE_COUNT])(struct world *w) = {
    [ENGINE_OFFLINE] = begin,
    [ENGINE_ACQUIRING] = reach_acquiring,
    [ENGINE_STANDBY] = reach_standby,
    [ENGINE_CLAIMING] = reach_claiming,
    [ENGINE_PUBLISHING] = reach_publishing,
    [ENGINE_SETTLING] = reach_settling,
    [ENGINE_RESTING] = reach_resting,
    [ENGINE_ROLLING_BACK] = reach_rolling_back,
    [ENGINE_HOLDING] = reach_holding,
    [ENGINE_RECONCILING] = reach_reconciling,
    [ENGINE_CLOSING] = reach_closing,
    [ENGINE_STOPPED] = reach_stopped,
};

/* What one event does in each state. */
struct row {
	enum engine_state from, to;
	const char *does;
};

static void check_rows(enum engine_event event, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct world w;

		reach[rows[i].from](&w);
		assert_string_equal(engine_state_name(w.engine.state),
				    engine_state_name(rows[i].from));
		tell(&w, event);
		if (w.engine.state != rows[i].to || strcmp(w.did, rows[i].does) != 0)
			fail_msg("from %s: to %s, not %s: did \"%s\", not \"%s\"",
				 engine_state_name(rows[i].from), engine_state_name(w.engine.state),
				 engine_state_name(rows[i].to), w.did, rows[i].does);
		finish(&w);
	}
}

#define CHECK_ROWS(event, rows) check_rows(event, rows, sizeof(rows) / sizeof((rows)[0]))

/* ---- one event in each state ---- */

static void test_stop_in_each_state(void **state)
{
	static const struct row rows[] = {
	    {ENGINE_OFFLINE, ENGINE_STOPPED, "stopped"},
	    {ENGINE_ACQUIRING, ENGINE_ACQUIRING, ""},
	    {ENGINE_STANDBY, ENGINE_CLOSING, "close"},
	    {ENGINE_CLAIMING, ENGINE_CLAIMING, ""},
	    {ENGINE_PUBLISHING, ENGINE_PUBLISHING, ""},
	    {ENGINE_SETTLING, ENGINE_SETTLING, ""},
	    {ENGINE_RESTING, ENGINE_CLOSING, "clear close"},
	    {ENGINE_ROLLING_BACK, ENGINE_ROLLING_BACK, ""},
	    {ENGINE_HOLDING, ENGINE_HOLDING, "timer"},
	    {ENGINE_RECONCILING, ENGINE_RECONCILING, ""},
	    {ENGINE_CLOSING, ENGINE_CLOSING, ""},
	    {ENGINE_STOPPED, ENGINE_STOPPED, ""},
	};

	(void)state;
	CHECK_ROWS(ON_STOP, rows);
}

static void test_stop_at_once_in_each_state(void **state)
{
	(void)state;
	for (int from = 0; from < ENGINE_STOPPED; from++) {
		struct row row = {(enum engine_state)from, ENGINE_STOPPED, "drop stopped"};
		check_rows(ON_STOP_NOW, &row, 1);
	}
	static const struct row again[] = {{ENGINE_STOPPED, ENGINE_STOPPED, ""}};
	CHECK_ROWS(ON_STOP_NOW, again);
}

static void test_loss_in_each_state(void **state)
{
	static const struct row rows[] = {
	    {ENGINE_ACQUIRING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_STANDBY, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_CLAIMING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_PUBLISHING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_SETTLING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_RESTING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_ROLLING_BACK, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_HOLDING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_RECONCILING, ENGINE_OFFLINE, "skip timer"},
	    {ENGINE_CLOSING, ENGINE_STOPPED, "stopped"},
	};

	(void)state;
	CHECK_ROWS(ON_LOST, rows);
}

static void test_a_broken_sink_in_each_state(void **state)
{
	static const struct row rows[] = {
	    {ENGINE_OFFLINE, ENGINE_OFFLINE, ""},
	    {ENGINE_ACQUIRING, ENGINE_ACQUIRING, ""},
	    {ENGINE_STANDBY, ENGINE_STANDBY, ""},
	    {ENGINE_CLAIMING, ENGINE_ROLLING_BACK, "skip withdraw"},
	    {ENGINE_PUBLISHING, ENGINE_ROLLING_BACK, "skip withdraw"},
	    {ENGINE_SETTLING, ENGINE_SETTLING, ""},
	    {ENGINE_RESTING, ENGINE_HOLDING, "clear rebuild timer"},
	    {ENGINE_ROLLING_BACK, ENGINE_ROLLING_BACK, ""},
	    {ENGINE_HOLDING, ENGINE_HOLDING, "timer"},
	    {ENGINE_RECONCILING, ENGINE_RECONCILING, ""},
	    {ENGINE_CLOSING, ENGINE_CLOSING, ""},
	    {ENGINE_STOPPED, ENGINE_STOPPED, ""},
	};

	(void)state;
	CHECK_ROWS(ON_BROKEN, rows);
}

static void test_a_stall_in_each_state(void **state)
{
	(void)state;
	for (int from = 0; from < ENGINE_STATE_COUNT; from++) {
		bool open = from == ENGINE_PUBLISHING;
		struct row row = {(enum engine_state)from,
				  open ? ENGINE_ROLLING_BACK : (enum engine_state)from,
				  open ? "skip withdraw" : ""};
		check_rows(ON_STALLED, &row, 1);
	}
}

static void test_the_timer_in_each_state(void **state)
{
	static const struct row rows[] = {
	    {ENGINE_OFFLINE, ENGINE_ACQUIRING, "acquire"},
	    {ENGINE_ACQUIRING, ENGINE_ACQUIRING, ""},
	    {ENGINE_STANDBY, ENGINE_ACQUIRING, "acquire"},
	    {ENGINE_CLAIMING, ENGINE_CLAIMING, ""},
	    {ENGINE_PUBLISHING, ENGINE_PUBLISHING, ""},
	    {ENGINE_SETTLING, ENGINE_SETTLING, ""},
	    {ENGINE_RESTING, ENGINE_ACQUIRING, "acquire"}, /* the rest is not over */
	    {ENGINE_ROLLING_BACK, ENGINE_ROLLING_BACK, ""},
	    {ENGINE_HOLDING, ENGINE_HOLDING, "timer"},
	    {ENGINE_RECONCILING, ENGINE_RECONCILING, ""},
	    {ENGINE_CLOSING, ENGINE_CLOSING, ""},
	    {ENGINE_STOPPED, ENGINE_STOPPED, ""},
	};

	(void)state;
	CHECK_ROWS(ON_TIMER, rows);
}

static void test_a_stir_in_each_state(void **state)
{
	(void)state;
	for (int from = 0; from < ENGINE_STATE_COUNT; from++) {
		bool free = from == ENGINE_STANDBY || from == ENGINE_RESTING;
		struct row row = {(enum engine_state)from,
				  free ? ENGINE_ACQUIRING : (enum engine_state)from,
				  free ? "acquire" : ""};
		check_rows(ON_MEMBERSHIP_CHANGED, &row, 1);
	}
}

static void test_nothing_follows_the_end(void **state)
{
	(void)state;
	for (int to = 0; to < ENGINE_STATE_COUNT; to++) {
		assert_false(engine_may_go(ENGINE_STOPPED, (enum engine_state)to));
		assert_int_equal(engine_may_go(ENGINE_CLOSING, (enum engine_state)to),
				 to == ENGINE_STOPPED || to == ENGINE_OFFLINE);
	}
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
	assert_int_equal(w.engine.horizon.low_watermark, 50);
	rested(&w);
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 50);
	w.set_back = w.too_high = true;
	claimed(&w, 2);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip withdraw");
	w.set_back = w.too_high = false;
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLAIMING, "clear claim:opens:observes");
	assert_int_equal(find(&w, DO_CLAIM)->claim.low_watermark, 0);
	finish(&w);
}

/* One that began at the lowest id has missed nothing, but what was read before is void. */
static void test_what_was_claimed_from_the_lowest_id_is_kept(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 50);
	w.set_back = true;
	claimed(&w, 2);
	assert_is(&w, ENGINE_PUBLISHING, "produce");
	assert_int_equal(w.engine.horizon.stage, HORIZON_NONE);
	finish(&w);
}

/* The reading that came with a claim whose batch is being rolled back is void too. */
static void test_what_was_read_before_the_ids_began_again_is_void(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	claimed(&w, 4);
	tell(&w, ON_BROKEN);
	observed(&w, 50);
	w.set_back = w.too_high = true;
	claimed(&w, 4);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip");
	assert_int_equal(w.engine.horizon.stage, HORIZON_NONE);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stop_in_each_state),
	    cmocka_unit_test(test_stop_at_once_in_each_state),
	    cmocka_unit_test(test_loss_in_each_state),
	    cmocka_unit_test(test_a_broken_sink_in_each_state),
	    cmocka_unit_test(test_a_stall_in_each_state),
	    cmocka_unit_test(test_the_timer_in_each_state),
	    cmocka_unit_test(test_a_stir_in_each_state),
	    cmocka_unit_test(test_nothing_follows_the_end),
	    cmocka_unit_test(test_what_was_claimed_too_high_is_given_back),
	    cmocka_unit_test(test_what_was_claimed_from_the_lowest_id_is_kept),
	    cmocka_unit_test(test_what_was_read_before_the_ids_began_again_is_void),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
