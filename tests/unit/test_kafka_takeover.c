/* SPDX-License-Identifier: ISC */
/*
 * test_kafka_takeover.c - a new producer of the sink takes its id over, and reads the ledger
 */
#include "base/clock.h"
#include "transaction_rig.h"

static void it_is_ready_once_it_was_rebuilt(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	run_for(rig, 300 * 1000);
	assert_int_equal(rig->ready, 0);
	assert_true(rig->reachable);
	rebuild(rig, &id);
	run_until(rig, heard_ready);
	assert_int_equal(rig->sink->ledger.count, 0);
	assert_non_null(strstr(rig->sink->ledger.cluster, "mockCluster"));
	assert_false(rig->sink->begun);
}

/* ---- the ledger ---- */

static void a_rebuild_hands_out_what_is_not_settled(void **state)
{
	struct rig *rig = *state;
	struct producer_id later = id;
	struct slice note = {xcalloc(1, 1200000), 1200000};
	const struct ledger *ledger;

	begin(rig);
	commit_one(rig, 7, slice_of("settled"));
	commit_one(rig, 8, note);
	commit_one(rig, 9, slice_of("last"));
	later.settled = 7;
	rebuild(rig, &later);
	run_until(rig, is_back);
	ledger = &rig->sink->ledger;
	assert_int_equal(ledger->count, 2);
	assert_int_equal(ledger->batches[0].number, 8);
	assert_true(slice_equal(ledger->batches[0].note, note));
	assert_int_equal(ledger->batches[1].number, 9);
	assert_true(slice_equal(ledger->batches[1].note, slice_of("last")));
	free((char *)(uintptr_t)note.data);
}

static void the_window_is_widened_until_it_has_all(void **state)
{
	struct rig *rig = *state;

	begin(rig);
	for (int i = 1; i <= 600; i++)
		commit_one(rig, i, slice_of("note"));
	rebuild(rig, &id);
	run_until(rig, is_back);
	assert_int_equal(rig->sink->ledger.count, 600);
	assert_int_equal(rig->sink->ledger.batches[0].number, 1);
}

static void a_ledger_that_is_missing_is_awaited(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	/* It would make the topic otherwise. */
	rd_kafka_mock_topic_set_error(rig->mock, "ledger", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	rebuild(rig, &id);
	run_until(rig, has_trouble);
	assert_non_null(strstr(rig->sink->trouble, "ledger topic ledger does not exist"));
	assert_non_null(strstr(rig->sink->trouble, "check --create"));
	rd_kafka_mock_topic_set_error(rig->mock, "ledger", RD_KAFKA_RESP_ERR_NO_ERROR);
	run_until(rig, heard_ready);
	assert_string_equal(rig->sink->trouble, "");
}

static void a_ledger_of_too_few_partitions_is_told(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", 2, 1);
	rebuild(rig, &id);
	run_until(rig, has_trouble);
	assert_non_null(strstr(rig->sink->trouble, "has 2 partitions"));
	assert_int_equal(rig->ready, 0);
}

static void write_junk(const struct rig *rig)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", kafka_bootstrap(rig->sink), NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
	assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("ledger"),
					   RD_KAFKA_V_PARTITION(id.number),
					   RD_KAFKA_V_VALUE("\1junk", 5), RD_KAFKA_V_END),
			 0);
	assert_int_equal(rd_kafka_flush(rk, 10000), 0);
	rd_kafka_destroy(rk);
}

static void what_nobody_can_read_is_not_taken_for_empty(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	write_junk(rig);
	rebuild(rig, &id);
	run_until(rig, has_trouble);
	assert_non_null(strstr(rig->sink->trouble, "damaged"));
	run_for(rig, 500 * 1000);
	assert_int_equal(rig->ready, 0);
}

/* ---- on which server ---- */

static struct producer_id on_line(const char *line)
{
	struct producer_id where = id;

	snprintf(where.line, sizeof(where.line), "%s", line);
	return where;
}

static void rebuild_on(struct rig *rig, const char *line)
{
	struct producer_id where = on_line(line);
	unsigned before = rig->ready;

	rebuild(rig, &where);
	while (rig->ready == before)
		run_for(rig, 10 * 1000);
}

static size_t lines_in_ledger(struct rig *rig)
{
	struct arrivals arrivals = consume(rig, "ledger");
	size_t count = 0;

	for (size_t i = 0; i < arrivals.count; i++)
		count += arrivals.items[i]->key_len == 4 &&
			 memcmp(arrivals.items[i]->key, "line", 4) == 0;
	arrivals_free(&arrivals);
	return count;
}

static void the_ledger_has_the_last_server(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rebuild_on(rig, "7/1");
	assert_null(rig->sink->ledger.line);
	assert_int_equal(lines_in_ledger(rig), 1);
	rebuild_on(rig, ""); /* it was resolved there before */
	assert_string_equal(rig->sink->ledger.line, "7/1");
	rebuild_on(rig, "7/2");
	assert_int_equal(lines_in_ledger(rig), 2);
	rebuild_on(rig, "7/1"); /* the old primary lives on */
	assert_string_equal(rig->sink->ledger.line, "7/2");
	assert_int_equal(lines_in_ledger(rig), 2);
	rebuild_on(rig, "8/1"); /* a copy of it goes on */
	assert_int_equal(lines_in_ledger(rig), 3);
	commit_one(rig, 1, slice_of("note"));
	assert_int_equal(told.unclean, 0);
}

static void a_line_that_cannot_be_written_is_tried_again_by_another_producer(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rd_kafka_mock_push_request_errors(rig->mock, ADD_PARTITIONS, 1,
					  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	rebuild_on(rig, "7/1");
	assert_int_equal(lines_in_ledger(rig), 1);
}

/* It was committed, and another request to commit may still be on its way. */
static void a_line_whose_commit_is_unclean_needs_another_producer(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rd_kafka_mock_push_request_errors(rig->mock, END_TXN, 1,
					  RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS);
	rebuild_on(rig, "7/1");
	assert_string_equal(rig->sink->ledger.line, "7/1");
	assert_int_equal(lines_in_ledger(rig), 1);
}

static void who_is_fenced_at_the_line_gives_the_place_up(void **state)
{
	struct rig *rig = *state;
	struct producer_id where = on_line("7/1");

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rd_kafka_mock_push_request_errors(rig->mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
	rebuild(rig, &where);
	run_until(rig, heard_fenced);
	run_for(rig, 300 * 1000);
	assert_int_equal(rig->ready, 0);
}

/* ---- rebuilds ---- */

static void a_rebuild_is_superseded_by_the_next(void **state)
{
	struct rig *rig = *state;
	struct producer_id other = id;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rd_kafka_mock_broker_push_request_error_rtts(rig->mock, 1, INIT_PRODUCER_ID, 1, OK, 500);
	rebuild(rig, &id);
	run_for(rig, 200 * 1000);
	other.number = 3;
	rebuild(rig, &other);
	run_until(rig, heard_ready);
	assert_int_equal(kafka_of(rig)->transaction.id.number, 3);
	run_for(rig, 1000 * 1000);
	assert_int_equal(rig->ready, 1);
}

static void without_a_place_it_is_never_ready(void **state)
{
	struct rig *rig = *state;
	struct producer_id none = id;

	begin(rig);
	none.number = -1;
	rebuild(rig, &none);
	run_for(rig, 500 * 1000);
	assert_int_equal(rig->ready, 1);
	assert_true(rig->reachable);
	rebuild(rig, &id);
	run_until(rig, is_back);
}

static void an_id_that_is_refused_is_asked_for_again(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rd_kafka_mock_push_request_errors(rig->mock, INIT_PRODUCER_ID, 1,
					  RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
	rebuild(rig, &id);
	run_until(rig, has_trouble);
	assert_non_null(strstr(rig->sink->trouble, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"));
	run_until(rig, heard_ready);
}

static void a_producer_fenced_at_its_beginning_tells(void **state)
{
	struct rig *rig = *state;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rd_kafka_mock_push_request_errors(rig->mock, INIT_PRODUCER_ID, 1,
					  RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
	rebuild(rig, &id);
	run_until(rig, heard_fenced);
	assert_int_equal(rig->ready, 0);
	rebuild(rig, &id);
	run_until(rig, heard_ready);
	assert_int_equal(told.fenced, 1);
}

static void it_ends_while_its_ledger_is_awaited(void **state)
{
	struct rig *rig = *state;
	int64_t before;

	connect_without_ledger(rig);
	rd_kafka_mock_topic_set_error(rig->mock, "ledger", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	rebuild(rig, &id);
	run_for(rig, 200 * 1000);
	before = clock_monotonic_us();
	assert_true(kafka_sink_free(&rig->sink, 5000));
	assert_true(clock_monotonic_us() - before < 4 * 1000 * 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TRANSACTION_STORY(it_is_ready_once_it_was_rebuilt),
	    TRANSACTION_STORY(a_rebuild_hands_out_what_is_not_settled),
	    TRANSACTION_STORY(the_window_is_widened_until_it_has_all),
	    TRANSACTION_STORY(a_ledger_that_is_missing_is_awaited),
	    TRANSACTION_STORY(a_ledger_of_too_few_partitions_is_told),
	    TRANSACTION_STORY(what_nobody_can_read_is_not_taken_for_empty),
	    TRANSACTION_STORY(the_ledger_has_the_last_server),
	    TRANSACTION_STORY(a_line_that_cannot_be_written_is_tried_again_by_another_producer),
	    TRANSACTION_STORY(a_line_whose_commit_is_unclean_needs_another_producer),
	    TRANSACTION_STORY(who_is_fenced_at_the_line_gives_the_place_up),
	    TRANSACTION_STORY(a_rebuild_is_superseded_by_the_next),
	    TRANSACTION_STORY(without_a_place_it_is_never_ready),
	    TRANSACTION_STORY(an_id_that_is_refused_is_asked_for_again),
	    TRANSACTION_STORY(a_producer_fenced_at_its_beginning_tells),
	    TRANSACTION_STORY(it_ends_while_its_ledger_is_awaited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
