/* SPDX-License-Identifier: ISC */
/*
 * test_engine.c - what one event does in each of the engine's states
 */
#include "engine_world.h"

static void (*const reach[ENGINE_STATE_COUNT])(struct world *w) = {
    [ENGINE_OFFLINE] = begin,
    [ENGINE_OPENING] = reach_opening,
    [ENGINE_STANDBY] = reach_standby,
    [ENGINE_FETCHING] = reach_fetching,
    [ENGINE_PUBLISHING] = reach_publishing,
    [ENGINE_SETTLING] = reach_settling,
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

		if (reach[rows[i].from] == NULL)
			continue; /* only with transactions: test_engine_transaction.c */
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

static void test_stop_in_each_state(void **state)
{
	static const struct row rows[] = {
	    {ENGINE_OFFLINE, ENGINE_STOPPED, "stopped"},
	    {ENGINE_OPENING, ENGINE_STOPPED, "drop stopped"},
	    {ENGINE_STANDBY, ENGINE_CLOSING, "close"},
	    {ENGINE_FETCHING, ENGINE_ROLLING_BACK, "skip back"}, /* nothing has come yet */
	    {ENGINE_PUBLISHING, ENGINE_PUBLISHING, ""},
	    {ENGINE_SETTLING, ENGINE_SETTLING, ""},
	    {ENGINE_ROLLING_BACK, ENGINE_ROLLING_BACK, ""},
	    {ENGINE_HOLDING, ENGINE_HOLDING, "hold:keeps"},
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
	(void)state;
	for (int from = ENGINE_OPENING; from < ENGINE_CLOSING; from++) {
		struct row row = {(enum engine_state)from, ENGINE_OFFLINE, "skip timer"};
		check_rows(ON_LOST, &row, 1);
	}
	static const struct row closing[] = {{ENGINE_CLOSING, ENGINE_STOPPED, "skip stopped"}};
	CHECK_ROWS(ON_LOST, closing);
}

static void test_a_broken_sink_in_each_state(void **state)
{
	static const struct row rows[] = {
	    {ENGINE_OFFLINE, ENGINE_OFFLINE, ""},
	    {ENGINE_OPENING, ENGINE_OPENING, ""},
	    {ENGINE_STANDBY, ENGINE_STANDBY, ""},
	    {ENGINE_FETCHING, ENGINE_ROLLING_BACK, "skip back"},
	    {ENGINE_PUBLISHING, ENGINE_ROLLING_BACK, "skip back"},
	    {ENGINE_SETTLING, ENGINE_SETTLING, ""},
	    {ENGINE_ROLLING_BACK, ENGINE_ROLLING_BACK, ""},
	    {ENGINE_HOLDING, ENGINE_HOLDING, "hold:keeps"},
	    {ENGINE_RECONCILING, ENGINE_RECONCILING, ""},
	    {ENGINE_CLOSING, ENGINE_CLOSING, ""},
	    {ENGINE_STOPPED, ENGINE_STOPPED, ""},
	};

	(void)state;
	CHECK_ROWS(ON_BROKEN, rows);
}

/* A fetch that is open for long is not left to claim for nobody. */
static void test_an_unreachable_sink_in_each_state(void **state)
{
	(void)state;
	for (int from = ENGINE_OPENING; from < ENGINE_CLOSING; from++) {
		bool waits = from == ENGINE_FETCHING, holds = from == ENGINE_HOLDING;
		struct row row = {(enum engine_state)from,
				  waits ? ENGINE_ROLLING_BACK : (enum engine_state)from,
				  waits	  ? "skip back timer"
				  : holds ? "" /* sooner than that it sees again */
					  : "timer"};
		check_rows(ON_UNREACHABLE, &row, 1);
	}
}

static void test_a_stall_in_each_state(void **state)
{
	(void)state;
	for (int from = 0; from < ENGINE_STATE_COUNT; from++) {
		bool open = from == ENGINE_PUBLISHING;
		struct row row = {(enum engine_state)from,
				  open ? ENGINE_ROLLING_BACK : (enum engine_state)from,
				  open ? "skip back" : ""};
		check_rows(ON_STALLED, &row, 1);
	}
}

/* Only OFFLINE and HOLDING have something that time brings about. */
static void test_the_timer_in_each_state(void **state)
{
	(void)state;
	for (int from = ENGINE_OPENING; from < ENGINE_STATE_COUNT; from++) {
		bool holds = from == ENGINE_HOLDING;
		struct row row = {(enum engine_state)from, (enum engine_state)from,
				  holds ? "timer" : ""};
		check_rows(ON_TIMER, &row, 1);
	}
	static const struct row offline[] = {{ENGINE_OFFLINE, ENGINE_OPENING, "open"}};
	CHECK_ROWS(ON_TIMER, offline);
}

/* The source has looked at the group, and no shard is ours any more. */
static void test_busy_in_each_state(void **state)
{
	static const enum engine_state from[] = {ENGINE_OPENING, ENGINE_STANDBY, ENGINE_FETCHING,
						 ENGINE_ROLLING_BACK, ENGINE_HOLDING};

	(void)state;
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		struct row row = {from[i], ENGINE_STANDBY, ""};
		check_rows(ON_BUSY, &row, 1);
	}
	static const struct row closing[] = {{ENGINE_CLOSING, ENGINE_CLOSING, ""}};
	CHECK_ROWS(ON_BUSY, closing);
}

static void test_shards_in_each_state(void **state)
{
	(void)state;
	for (int from = ENGINE_OPENING; from < ENGINE_STOPPED; from++) {
		bool begins = from == ENGINE_OPENING || from == ENGINE_STANDBY;
		struct row row = {(enum engine_state)from,
				  begins ? ENGINE_FETCHING : (enum engine_state)from,
				  begins ? "clear fetch" : ""};
		check_rows(ON_ACQUIRED, &row, 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stop_in_each_state),
	    cmocka_unit_test(test_stop_at_once_in_each_state),
	    cmocka_unit_test(test_loss_in_each_state),
	    cmocka_unit_test(test_a_broken_sink_in_each_state),
	    cmocka_unit_test(test_an_unreachable_sink_in_each_state),
	    cmocka_unit_test(test_a_stall_in_each_state),
	    cmocka_unit_test(test_the_timer_in_each_state),
	    cmocka_unit_test(test_busy_in_each_state),
	    cmocka_unit_test(test_shards_in_each_state),
	    cmocka_unit_test(test_nothing_follows_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
