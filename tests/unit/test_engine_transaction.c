/* SPDX-License-Identifier: ISC */
/*
 * test_engine_transaction.c - exactly once: committing, in doubt, what the ledger tells
 */
#include "engine_world.h"

/* ---- the way there ---- */

static void begin_with(struct world *w, enum reject_policy policy)
{
	const struct engine_options options = {
	    .batch_rows = 8, .batch_bytes = 1000000, .policy = policy, .transactional = true};

	make_world(w, &options);
	tell(w, ON_START);
	tell(w, ON_REACHABLE);
	tell(w, ON_TIMER);
	assert_is(w, ENGINE_OPENING, "open");
}

/* A session is open, the producer is made, the ledger is read. */
static void reach_in_doubt(struct world *w)
{
	begin_with(w, REJECT_PARKS);
	tell(w, ON_ACQUIRED);
	assert_is(w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	tell(w, ON_READY);
}

static void reach_clean(struct world *w)
{
	reach_in_doubt(w);
	tell(w, ON_RESOLVED);
}

static void produce(struct world *w, size_t count)
{
	fetched(w, count, true);
	assert_is(w, ENGINE_PUBLISHING, "produce");
	w->begun = true;
	send_all(w);
}

static void reach_commit(struct world *w)
{
	reach_clean(w);
	produce(w, 3);
	report_all(w, EVENT_DELIVERED);
}

static void committed(struct world *w, bool clean)
{
	w->begun = false;
	step(w, (struct engine_input){.event = ON_COMMITTED, .clean = clean});
}

/* The new producer's end of an incident: what is in doubt is resolved before anything is fetched.
 */
static void assert_resolves(struct world *w)
{
	w->begun = false;
	tell(w, ON_READY);
	assert_is(w, ENGINE_RESOLVING, "clear resolve");
	tell(w, ON_RESOLVED);
	assert_is(w, ENGINE_FETCHING, "clear fetch");
}

/* ---- all goes well ---- */

static void test_nothing_is_fetched_before_the_ledger_is_read(void **state)
{
	struct world w;

	(void)state;
	reach_in_doubt(&w);
	assert_is(&w, ENGINE_RESOLVING, "clear resolve");
	tell(&w, ON_RESOLVED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_a_producer_of_before_the_session_is_none(void **state)
{
	struct world w;

	(void)state;
	begin_with(&w, REJECT_PARKS);
	tell(&w, ON_READY);
	assert_is(&w, ENGINE_OPENING, "");
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	finish(&w);
}

static void test_a_batch_is_committed_and_then_settled(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	assert_is(&w, ENGINE_COMMITTING, "commit");
	committed(&w, true);
	assert_is(&w, ENGINE_SETTLING, "settle fetch");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_FETCHING, "");
	finish(&w);
}

/* Of none that was handed to the sink there is nothing to commit. */
static void test_nothing_was_begun(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	produce(&w, 2);
	w.begun = false;
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_SETTLING, "settle fetch");
	finish(&w);
}

/* ---- a commit that is not clean ---- */

static void test_a_commit_that_is_not_clean_is_settled_and_the_producer_rebuilt(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	committed(&w, false);
	assert_is(&w, ENGINE_SETTLING, "settle");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

static void test_what_was_acknowledged_is_not_settled_in_doubt(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	tell(&w, ON_IN_DOUBT);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

static void test_a_commit_that_takes_too_long_is_in_doubt(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	assert_true(engine_waits_for_sink(&w.engine));
	tell(&w, ON_STALLED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	/* It comes too late: the database has the rows again. */
	committed(&w, true);
	assert_is(&w, ENGINE_ROLLING_BACK, "");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

static void test_the_session_is_lost_at_the_commit(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	tell(&w, ON_LOST);
	assert_is(&w, ENGINE_OFFLINE, "skip timer");
	committed(&w, true);
	assert_is(&w, ENGINE_OFFLINE, "");
	w.now_us += 10 * SECOND;
	tell(&w, ON_TIMER);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

/* Kafka has it, and the database has not. */
static void test_the_database_refuses_what_is_committed(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	committed(&w, true);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

/* ---- a transaction that is given up ---- */

static void test_a_broken_producer(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	produce(&w, 2);
	tell(&w, ON_BROKEN);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip hold:keeps timer");
	report_all(&w, EVENT_DELIVERED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps");
	assert_resolves(&w);
	finish(&w);
}

static void test_a_producer_that_has_begun_nothing_is_kept(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	fetched(&w, 2, true);
	tell(&w, ON_BLOCKED);
	tell(&w, ON_STALLED);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip clear hold timer");
	finish(&w);
}

static void test_another_rebuild_takes_the_place_of_one_of_a_lost_session(void **state)
{
	struct world w;

	(void)state;
	begin_with(&w, REJECT_PARKS);
	tell(&w, ON_ACQUIRED);
	tell(&w, ON_LOST);
	tell(&w, ON_READY);
	assert_false(w.engine.sink_ready);
	w.now_us += 10 * SECOND;
	tell(&w, ON_TIMER);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

static void test_it_breaks_while_the_ledger_is_settled(void **state)
{
	struct world w;

	(void)state;
	reach_in_doubt(&w);
	tell(&w, ON_BROKEN);
	assert_is(&w, ENGINE_RESOLVING, "");
	tell(&w, ON_RESOLVED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

/* The ledger and the database disagree: an operator is needed, and it is not tried without a rest.
 */
static void test_what_must_not_be_settled(void **state)
{
	struct world w;

	(void)state;
	reach_in_doubt(&w);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_HOLDING, "skip hold:keeps timer");
	w.now_us += SECOND;
	tell(&w, ON_TIMER);
	assert_is(&w, ENGINE_RESOLVING, "clear resolve");
	finish(&w);
}

/* ---- without a shard ---- */

/* Whoever has the shards may wait for what this relay has left in doubt. */
static void test_it_resolves_for_others(void **state)
{
	struct world w;

	(void)state;
	begin_with(&w, REJECT_PARKS);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_STANDBY, "rebuild");
	tell(&w, ON_READY);
	assert_is(&w, ENGINE_RESOLVING, "resolve");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_RESOLVING, "");
	tell(&w, ON_RESOLVED);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_shards_are_gained_while_it_resolves_for_others(void **state)
{
	struct world w;

	(void)state;
	begin_with(&w, REJECT_PARKS);
	tell(&w, ON_BUSY);
	tell(&w, ON_READY);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_RESOLVING, "");
	tell(&w, ON_RESOLVED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_what_must_not_be_settled_for_others(void **state)
{
	struct world w;

	(void)state;
	begin_with(&w, REJECT_PARKS);
	tell(&w, ON_BUSY);
	tell(&w, ON_READY);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_STANDBY, "skip");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_RESOLVING, "resolve");
	finish(&w);
}

/* ---- rejected events ---- */

static struct event *at(struct world *w, size_t index)
{
	return &w->batch.first->events[index];
}

/* The batch of before it is published alone; then it comes first. */
static void test_the_next_batch_ends_before_a_rejected_event(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	produce(&w, 5);
	batch_delivered(&w.batch, at(&w, 0));
	batch_reject(&w.batch, at(&w, 2), REJECT_INVALID_RECORD, "no");
	tell(&w, ON_PROGRESS);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_ROLLED_BACK);
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps");
	w.begun = false;
	tell(&w, ON_READY);
	tell(&w, ON_RESOLVED);
	assert_int_equal(find(&w, DO_FETCH)->fetch.rows, 2);
	produce(&w, 2);
	report_all(&w, EVENT_DELIVERED);
	committed(&w, true);
	assert_int_equal(find(&w, DO_FETCH)->fetch.rows, 8);
	finish(&w);
}

/* What was acknowledged behind it went with the transaction. */
static void test_a_rejected_event_that_comes_first_is_set_aside(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	produce(&w, 3);
	batch_delivered(&w.batch, at(&w, 1));
	batch_reject(&w.batch, at(&w, 0), REJECT_INVALID_RECORD, "no");
	tell(&w, ON_PROGRESS);
	tell(&w, ON_ROLLED_BACK);
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_RECONCILING, "forget reconcile:aside");
	assert_int_equal(w.batch.delivered, 0);
	assert_int_equal(w.batch.returned, 2);
	settled(&w, ON_RECONCILED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

/* Others can: whoever takes the slot ends what this relay has begun. */
static void test_a_relay_without_the_sink_keeps_nothing(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	produce(&w, 2);
	tell(&w, ON_UNREACHABLE);
	tell(&w, ON_STALLED);
	tell(&w, ON_ROLLED_BACK);
	assert_true(find(&w, DO_HOLD)->keeps);
	w.now_us += 6 * SECOND;
	tell(&w, ON_TIMER);
	assert_false(find(&w, DO_HOLD)->keeps);
	finish(&w);
}

/* ---- no shard is ours ---- */

static void reach_standby_in_doubt(struct world *w)
{
	begin_with(w, REJECT_PARKS);
	tell(w, ON_BUSY);
	assert_is(w, ENGINE_STANDBY, "rebuild");
	tell(w, ON_READY);
	assert_is(w, ENGINE_RESOLVING, "resolve");
}

/* Its slot may have something in doubt of shards that another relay has by now, and waits with. */
static void test_a_standby_resolves_too(void **state)
{
	struct world w;

	(void)state;
	reach_standby_in_doubt(&w);
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_RESOLVING, "");
	tell(&w, ON_RESOLVED);
	assert_is(&w, ENGINE_STANDBY, "");
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_shards_come_while_a_standby_resolves(void **state)
{
	struct world w;

	(void)state;
	reach_standby_in_doubt(&w);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_RESOLVING, "");
	tell(&w, ON_RESOLVED);
	assert_is(&w, ENGINE_FETCHING, "clear fetch");
	finish(&w);
}

static void test_a_standby_tries_again_what_must_not_be_settled(void **state)
{
	struct world w;

	(void)state;
	reach_standby_in_doubt(&w);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_STANDBY, "skip");
	tell(&w, ON_BUSY);
	assert_is(&w, ENGINE_RESOLVING, "resolve");
	finish(&w);
}

/* It may wait for another relay, and whoever comes next resolves it. */
static void test_who_resolves_stops_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_standby_in_doubt(&w);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_STOPPED, "drop stopped");
	finish(&w);
}

/* Of a table of two partitions, each of which gives a row however few are asked for. */
static void test_a_rejected_event_that_comes_first_in_its_part(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	assert_int_equal(find(&w, DO_FETCH)->fetch.rows, 8);
	for (int64_t asked = 8; asked > 1;) {
		produce(&w, (size_t)asked + 1);
		batch_reject(&w.batch, at(&w, 1), REJECT_INVALID_RECORD, "no");
		tell(&w, ON_PROGRESS);
		tell(&w, ON_ROLLED_BACK);
		report_all(&w, EVENT_RETURNED);
		assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps");
		w.begun = false;
		tell(&w, ON_READY);
		tell(&w, ON_RESOLVED);
		asked = find(&w, DO_FETCH)->fetch.rows;
	}
	produce(&w, 2);
	batch_reject(&w.batch, at(&w, 1), REJECT_INVALID_RECORD, "no");
	tell(&w, ON_PROGRESS);
	tell(&w, ON_ROLLED_BACK);
	report_all(&w, EVENT_RETURNED);
	assert_is(&w, ENGINE_RECONCILING, "forget reconcile:aside");
	finish(&w);
}

/* Somebody else may have published it meanwhile. */
static void test_a_verdict_of_a_lost_session_does_not_count(void **state)
{
	struct world w;

	(void)state;
	reach_clean(&w);
	produce(&w, 2);
	batch_reject(&w.batch, at(&w, 0), REJECT_INVALID_RECORD, "no");
	tell(&w, ON_PROGRESS);
	assert_is(&w, ENGINE_ROLLING_BACK, "skip back");
	tell(&w, ON_LOST);
	report_all(&w, EVENT_RETURNED);
	w.begun = false;
	w.now_us += 10 * SECOND;
	tell(&w, ON_TIMER);
	tell(&w, ON_ACQUIRED);
	assert_is(&w, ENGINE_HOLDING, "clear rebuild hold:keeps timer");
	assert_resolves(&w);
	finish(&w);
}

/* ---- the end ---- */

static void test_a_stop_awaits_the_commit(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	tell(&w, ON_STOP);
	assert_is(&w, ENGINE_COMMITTING, "");
	committed(&w, true);
	assert_is(&w, ENGINE_SETTLING, "settle");
	settled(&w, ON_SETTLED);
	assert_is(&w, ENGINE_CLOSING, "clear close");
	finish(&w);
}

/* Whoever has the shards next reads the ledger. */
static void test_a_stop_in_doubt(void **state)
{
	struct world w;

	(void)state;
	reach_commit(&w);
	tell(&w, ON_STOP);
	tell(&w, ON_IN_DOUBT);
	tell(&w, ON_ROLLED_BACK);
	assert_is(&w, ENGINE_CLOSING, "skip clear close");
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_is_fetched_before_the_ledger_is_read),
	    cmocka_unit_test(test_a_producer_of_before_the_session_is_none),
	    cmocka_unit_test(test_a_batch_is_committed_and_then_settled),
	    cmocka_unit_test(test_nothing_was_begun),
	    cmocka_unit_test(test_a_commit_that_is_not_clean_is_settled_and_the_producer_rebuilt),
	    cmocka_unit_test(test_what_was_acknowledged_is_not_settled_in_doubt),
	    cmocka_unit_test(test_a_commit_that_takes_too_long_is_in_doubt),
	    cmocka_unit_test(test_the_session_is_lost_at_the_commit),
	    cmocka_unit_test(test_the_database_refuses_what_is_committed),
	    cmocka_unit_test(test_a_broken_producer),
	    cmocka_unit_test(test_a_producer_that_has_begun_nothing_is_kept),
	    cmocka_unit_test(test_another_rebuild_takes_the_place_of_one_of_a_lost_session),
	    cmocka_unit_test(test_it_breaks_while_the_ledger_is_settled),
	    cmocka_unit_test(test_what_must_not_be_settled),
	    cmocka_unit_test(test_it_resolves_for_others),
	    cmocka_unit_test(test_shards_are_gained_while_it_resolves_for_others),
	    cmocka_unit_test(test_what_must_not_be_settled_for_others),
	    cmocka_unit_test(test_the_next_batch_ends_before_a_rejected_event),
	    cmocka_unit_test(test_a_rejected_event_that_comes_first_is_set_aside),
	    cmocka_unit_test(test_a_relay_without_the_sink_keeps_nothing),
	    cmocka_unit_test(test_a_standby_resolves_too),
	    cmocka_unit_test(test_shards_come_while_a_standby_resolves),
	    cmocka_unit_test(test_a_standby_tries_again_what_must_not_be_settled),
	    cmocka_unit_test(test_who_resolves_stops_at_once),
	    cmocka_unit_test(test_a_rejected_event_that_comes_first_in_its_part),
	    cmocka_unit_test(test_a_verdict_of_a_lost_session_does_not_count),
	    cmocka_unit_test(test_a_stop_awaits_the_commit),
	    cmocka_unit_test(test_a_stop_in_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
