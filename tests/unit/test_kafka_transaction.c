/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_transaction.c - transactions of the sink, from their beginning to what came of them
 */
#include "base/clock.h"
#include "kafka/helper.h"
#include "transaction_rig.h"

#include <dlfcn.h>

static void assert_ledger_of_two(struct rig *rig)
{
	struct arrivals arrivals = consume(rig, "ledger");

	assert_int_equal(arrivals.count, 4);
	for (size_t i = 0; i < arrivals.count; i++)
		assert_int_equal(arrivals.items[i]->partition, id.number);
	assert_memory_equal(arrivals.items[0]->key, "begin", 5);
	assert_memory_equal(arrivals.items[1]->key, "end/1/0", 7);
	assert_memory_equal(arrivals.items[2]->key, "begin", 5);
	assert_memory_equal(arrivals.items[3]->key, "end/2/0", 7);
	arrivals_free(&arrivals);
}

static bool has_begun(const struct rig *rig)
{
	return rig->sink->begun;
}

/* The producer does not know the ledger's topic yet: an event's partition might become part of the
 * transaction before the ledger's. */
static void no_event_is_taken_before_the_first_beginning_is_written(void **state)
{
	struct rig *rig = *state;
	const struct kafka *kafka;

	begin(rig);
	kafka = kafka_of(rig);
	rd_kafka_mock_broker_set_rtt(rig->mock, 1, 100);
	add(rig, "t", slice_of("0"), slice_of("v"));
	pump(rig);
	run_until(rig, has_begun); /* the topic is looked at before */
	assert_int_equal(rig->in_flight, 0);
	assert_int_equal(kafka->transaction.state, TRANSACTION_BEGINS);
	run_until(rig, all_settled);
	assert_int_equal(kafka->transaction.state, TRANSACTION_OPEN);
}

static void later_ones_are_not_waited_for(void **state)
{
	struct rig *rig = *state;
	const struct kafka *kafka;

	begin(rig);
	kafka = kafka_of(rig);
	commit_one(rig, 1, slice_of("first"));
	rd_kafka_mock_broker_set_rtt(rig->mock, 1, 100);
	add(rig, "t", slice_of("0"), slice_of("v"));
	pump(rig);
	assert_int_equal(rig->in_flight, 1);
	assert_true(kafka->transaction.begins);
	run_until(rig, all_settled);
	commit(rig, 2, slice_of("second"));
	run_until(rig, heard_committed);
	assert_false(kafka->transaction.begins);
	assert_int_equal(told.unclean, 0);
	assert_ledger_of_two(rig);
	rebuild(rig, &id);
	run_until(rig, is_back);
	add(rig, "t", slice_of("0"), slice_of("of another producer"));
	pump(rig);
	assert_int_equal(rig->in_flight, 0);
	run_until(rig, all_settled);
}

static void one_producer_commits_batch_after_batch(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	add(rig, "t", slice_of("k"), slice_of("1"));
	add(rig, "t", slice_of("k"), slice_of("2"));
	pump(rig);
	run_until(rig, all_settled);
	assert_int_equal(published(rig), 0);
	commit(rig, 1, slice_of("first"));
	run_until(rig, heard_committed);
	assert_int_equal(published(rig), 2);
	assert_false(rig->sink->begun);
	commit_one(rig, 2, slice_of("second"));
	assert_int_equal(told.unclean, 0);
	assert_int_equal(published(rig), 3);
	assert_int_equal(rig->broken, 0);
	assert_ledger_of_two(rig);
}

static void no_event_goes_to_the_ledger(void **state)
{
	struct rig *rig = *state;

	add(rig, "ledger", slice_of("k"), slice_of("v"));
	begin(rig);
	run_until(rig, all_settled);
	assert_int_equal(rig->refused, 1);
	assert_int_equal(rig->reason, REJECT_TOPIC);
	assert_false(rig->sink->begun);
}

/* ---- commits that are not clean ---- */

static unsigned strays;			 /* calls that are yet to get the answer of another one, */
static rd_kafka_resp_err_t stray_answer; /* this */
static unsigned calls;			 /* that got their own, since then */

/* The relay's calls come here: the program's own definition is found before the library's. */
rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *rk, int timeout_ms)
{
	rd_kafka_error_t *(*real)(rd_kafka_t * rk, int timeout_ms) =
	    dlsym(RTLD_NEXT, "rd_kafka_commit_transaction");

	if (strays == 0) {
		calls++;
		return real(rk, timeout_ms);
	}
	strays--;
	return stray_answer == OK ? NULL : rd_kafka_error_new(stray_answer, "of another call");
}

static void commit_astray(struct rig *rig, rd_kafka_resp_err_t answer)
{
	deliver_one(rig);
	strays = 1;
	stray_answer = answer;
	calls = 0;
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_in_doubt);
	assert_int_equal(told.committed, 0);
	assert_int_equal(published(rig), 0);
}

/* It is asked for again, so that nothing is left under way; the ledger tells what came of it. */
static void a_commit_that_gets_an_error_of_another_call_is_in_doubt(void **state)
{
	commit_astray(*state, RD_KAFKA_RESP_ERR__STATE);
	assert_int_equal(calls, 1);
}

static void a_commit_that_gets_the_success_of_another_call_is_in_doubt(void **state)
{
	commit_astray(*state, OK);
	assert_int_equal(calls, 0);
}

/* The connection is cut instead of an answer, and librdkafka asks again by itself. */
static void an_answer_that_was_lost_makes_a_commit_unclean(void **state)
{
	struct rig *rig = *state;

	deliver_one(rig);
	rd_kafka_mock_broker_push_request_error_rtts(rig->mock, 1, END_TXN, 1,
						     RD_KAFKA_RESP_ERR__TRANSPORT, 0);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_committed);
	assert_int_equal(told.unclean, 1);
	assert_int_equal(told.in_doubt, 0);
	assert_int_equal(published(rig), 1);
	assert_false(rig->sink->begun);
	add(rig, "t", slice_of("k"), slice_of("waits for a new producer"));
	pump(rig);
	assert_int_equal(rig->in_flight, 0);
	assert_false(rig->sink->begun);
	rebuild(rig, &id);
	run_until(rig, is_back);
	run_until(rig, all_settled);
}

static void a_commit_that_was_asked_for_twice_is_unclean(void **state)
{
	struct rig *rig = *state;

	deliver_one(rig);
	rd_kafka_mock_push_request_errors(rig->mock, END_TXN, 1,
					  RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_committed);
	assert_int_equal(told.unclean, 1);
}

static void a_slow_commit_is_clean(void **state)
{
	struct rig *rig = *state;

	deliver_one(rig);
	rd_kafka_mock_broker_push_request_error_rtts(rig->mock, 1, END_TXN, 1, OK, 1000);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_committed);
	assert_int_equal(told.unclean, 0);
}

static void a_commit_that_fails_is_in_doubt(void **state)
{
	struct rig *rig = *state;

	deliver_one(rig);
	rd_kafka_mock_push_request_errors(rig->mock, END_TXN, 1,
					  RD_KAFKA_RESP_ERR_INVALID_TXN_STATE);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_in_doubt);
	assert_int_equal(told.fenced, 0);
	assert_true(rig->sink->begun);
	assert_int_equal(published(rig), 0);
	rebuild(rig, &id);
	run_until(rig, is_back);
	assert_false(rig->sink->begun);
	assert_int_equal(rig->sink->ledger.count, 1);
}

/* ---- fenced ---- */

static void a_commit_of_a_fenced_producer_tells_both(void **state)
{
	struct rig *rig = *state;

	deliver_one(rig);
	rd_kafka_mock_push_request_errors(rig->mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_fenced);
	assert_int_equal(told.in_doubt, 1);
	assert_int_equal(told.fenced, 1);
	assert_int_equal(rig->broken, 0);
	run_for(rig, 300 * 1000);
	assert_int_equal(told.fenced, 1);
}

static void a_producer_fenced_in_a_transaction_tells(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	rd_kafka_mock_push_request_errors(rig->mock, ADD_PARTITIONS, 1,
					  RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
	add(rig, "t", slice_of("k"), slice_of("v"));
	pump(rig);
	run_until(rig, heard_fenced);
	assert_int_equal(rig->broken, 0);
	assert_int_equal(rig->in_flight, 0);
}

/* ---- events that are refused ---- */

/* The ledger is part of the transaction before: the error is the answer for the topic alone. */
static void nobody_may_write_to_the_topic(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	add(rig, "u", slice_of("k"), slice_of("v"));
	pump(rig);
	run_until(rig, all_settled);
	rd_kafka_mock_push_request_errors(rig->mock, ADD_PARTITIONS, 1,
					  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	add(rig, "t", slice_of("k"), slice_of("v"));
	pump(rig);
	run_until(rig, heard_broken);
	assert_non_null(strstr(rig->why, "topic t: TOPIC_AUTHORIZATION_FAILED"));
	assert_int_equal(rig->rejected, 0);
	run_until(rig, is_back);
}

static bool one_rejected(const struct rig *rig)
{
	return rig->rejected == 1;
}

/* BEGIN and the first event are taken, and what comes next is refused: twice the same event. */
static void refuse_the_third(struct rig *rig)
{
	rd_kafka_mock_clear_request_errors(rig->mock, PRODUCE);
	if (rig->rejected == 0)
		rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 3, OK, OK, REFUSED);
}

/* A batch of nine is refused, then one of it alone, then it waits for others to be taken, then it
 * is refused again. Until all ten are committed or rejected each is sent alone; what was delivered
 * in a transaction that ended does not count. */
static void a_search_ends_with_a_commit(void **state)
{
	enum { COUNT = 10 };
	static char linger[] = "linger.ms=20";
	static char *property[] = {linger};
	static const struct config_strings properties = {property, 1};
	struct rig *rig = *state;
	const struct kafka *kafka;
	char text[COUNT][16];

	rig->options.properties = &properties;
	at_ready = refuse_the_third;
	begin(rig);
	kafka = kafka_of(rig);
	add_many(rig, "t", COUNT, 1, text);
	pump(rig);
	run_until(rig, one_rejected);
	run_until(rig, all_settled);
	assert_int_equal(rig->events[1].state, EVENT_REJECTED);
	assert_int_equal(rig->delivered, COUNT - 1);
	assert_int_equal(rig->broken, 4);
	assert_true(kafka->producer.single);
	assert_int_equal(kafka->refusals.singles_left, COUNT - 1);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_committed);
	assert_int_equal(told.unclean, 1);
	assert_int_equal(kafka->refusals.singles_left, 0);
}

/* The first event of three is refused alone, then once more after others were taken. */
static void one_that_is_refused_is_found_and_the_rest_committed(void **state)
{
	static char linger[] = "linger.ms=20";
	static char *property[] = {linger};
	static const struct config_strings properties = {property, 1};
	struct rig *rig = *state;
	enum event_state first;

	rig->options.properties = &properties;
	begin(rig);
	rd_kafka_mock_push_request_errors(rig->mock, PRODUCE, 7, OK, REFUSED, OK, OK, OK, OK,
					  REFUSED);
	add(rig, "t", slice_of("0"), slice_of("poison"));
	add(rig, "t", slice_of("2"), slice_of("fine"));
	add(rig, "t", slice_of("11"), slice_of("fine"));
	pump(rig);
	run_until(rig, all_settled);
	first = rig->events[0].state;
	assert_int_equal(first, EVENT_REJECTED);
	assert_int_equal(rig->reason, REJECT_INVALID_RECORD);
	assert_int_equal(rig->rejected, 1);
	assert_int_equal(rig->delivered, 2);
	commit(rig, 1, slice_of("note"));
	run_until(rig, heard_committed);
	assert_int_equal(published(rig), 2);

	/* It comes again, alone. */
	rig->events[0].state = EVENT_CLAIMED;
	pump(rig);
	assert_int_equal(rig->events[0].state, EVENT_REJECTED);
	assert_int_equal(rig->refused, 1);
	assert_false(rig->sink->begun);
}

/* ---- the end ---- */

static bool aborted;

static void look_for_abort(void *arg)
{
	struct rig *rig = arg;

	aborted = aborted || kafka_transaction_aborted(kafka_of(rig));
	loop_timer_set(rig->poll, 10 * 1000);
	check(rig);
}

static bool is_aborted(const struct rig *rig)
{
	(void)rig;
	return aborted;
}

static void an_open_transaction_is_aborted(void **state)
{
	struct rig *rig = *state;
	const struct end_requests *requests;

	deliver_one(rig);
	requests = helper_end_requests(kafka_of(rig)->producer.helper);
	assert_int_equal(atomic_load(&requests->sent), 0);
	loop_timer_free(&rig->poll);
	rig->poll = loop_timer_new(rig->loop, look_for_abort, rig);
	assert_true(kafka_transaction_abort(kafka_of(rig)));
	look_for_abort(rig);
	run_until(rig, is_aborted);
	assert_int_equal(atomic_load(&requests->sent), 1);
	assert_true(atomic_load(&requests->answered) > 0);
}

static void it_ends_in_time(void **state)
{
	struct rig *rig = *state;
	int64_t before;

	deliver_one(rig);
	rd_kafka_mock_broker_push_request_error_rtts(rig->mock, 1, END_TXN, 1, OK, 60000);
	before = clock_monotonic_us();
	kafka_sink_free(&rig->sink, 2000);
	assert_true(clock_monotonic_us() - before < 4 * 1000 * 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TRANSACTION_STORY(no_event_is_taken_before_the_first_beginning_is_written),
	    TRANSACTION_STORY(later_ones_are_not_waited_for),
	    TRANSACTION_STORY(one_producer_commits_batch_after_batch),
	    TRANSACTION_STORY(no_event_goes_to_the_ledger),
	    TRANSACTION_STORY(a_commit_that_gets_an_error_of_another_call_is_in_doubt),
	    TRANSACTION_STORY(a_commit_that_gets_the_success_of_another_call_is_in_doubt),
	    TRANSACTION_STORY(an_answer_that_was_lost_makes_a_commit_unclean),
	    TRANSACTION_STORY(a_commit_that_was_asked_for_twice_is_unclean),
	    TRANSACTION_STORY(a_slow_commit_is_clean),
	    TRANSACTION_STORY(a_commit_that_fails_is_in_doubt),
	    TRANSACTION_STORY(a_commit_of_a_fenced_producer_tells_both),
	    TRANSACTION_STORY(a_producer_fenced_in_a_transaction_tells),
	    TRANSACTION_STORY(nobody_may_write_to_the_topic),
	    TRANSACTION_STORY(a_search_ends_with_a_commit),
	    TRANSACTION_STORY(one_that_is_refused_is_found_and_the_rest_committed),
	    TRANSACTION_STORY(an_open_transaction_is_aborted),
	    TRANSACTION_STORY(it_ends_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
