/* SPDX-License-Identifier: ISC */
/*
 * test_health.c - what is wrong decides /readyz, in order; every state has a sentence
 */
#include "core/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { STALL_US = 30 * 1000 * 1000 };

static struct shards shards;
static struct metrics metrics;
static struct health health;

/* A relay that is at work with nothing to do. */
static struct worker_status well(void)
{
	metrics = (struct metrics){.connected = {true, true}};
	return (struct worker_status){.engine = ENGINE_FETCHING,
				      .state = "fetching",
				      .acquired = true,
				      .standby = "",
				      .obstacle = "",
				      .unconfirmed = "",
				      .refusal = "",
				      .lost_why = "",
				      .trouble = "",
				      .shards = &shards,
				      .blocked_us = -1};
}

static const char *unready(const struct worker_status *status)
{
	health_judge(status, &metrics, STALL_US, &health);
	return health.unready != NULL ? health.unready->text : "";
}

static void check_only(enum health_problem kind)
{
	assert_int_equal(health.count, 1);
	assert_int_equal(health.problems[0].kind, kind);
}

static void test_well(void **state)
{
	struct worker_status status = well();

	(void)state;
	assert_string_equal(unready(&status), "");
	assert_int_equal(health.count, 0);
	assert_false(health.stuck);
}

static void test_peers(void **state)
{
	struct worker_status status = well();

	(void)state;
	metrics.connected[PEER_DATABASE] = false;
	status.outage_us[PEER_DATABASE] = 7;
	assert_string_equal(unready(&status), "no session with the database");
	check_only(PROBLEM_DATABASE_UNREACHABLE);
	assert_int_equal(health.problems[0].lasts_us, 7);
	status.lost_why = "connection refused";
	assert_string_equal(unready(&status), "no session with the database: connection refused");
	metrics.connected[PEER_KAFKA] = false;
	unready(&status);
	assert_int_equal(health.count, 2);
	metrics.connected[PEER_DATABASE] = true;
	assert_string_equal(unready(&status), "no Kafka broker answers");
	status.trouble = "SSL handshake failed";
	assert_string_equal(unready(&status), "no Kafka broker answers: SSL handshake failed");
	check_only(PROBLEM_KAFKA_UNREACHABLE);
	status.login_refused = true;
	assert_string_equal(unready(&status),
			    "Kafka does not let this relay in: SSL handshake failed");
	check_only(PROBLEM_KAFKA_LOGIN);
}

static void test_standby(void **state)
{
	struct worker_status status = well();

	(void)state;
	status.acquired = false;
	status.standby = "another relay owns the shard";
	metrics.connected[PEER_KAFKA] = false; /* not asked of a standby that owns nothing */
	assert_string_equal(unready(&status), "");
	status.unavailable = true;
	assert_string_equal(unready(&status), "standby: another relay owns the shard");
	check_only(PROBLEM_KAFKA_UNREACHABLE);
	status.unavailable = false;
	status.obstacle = status.standby = "session 7 is no relay";
	assert_string_equal(unready(&status), "standby: session 7 is no relay");
	check_only(PROBLEM_FOREIGN_LOCK);
}

static void test_refusals(void **state)
{
	struct worker_status status = well();

	(void)state;
	status.refusal = "event 4 (event_id x) cannot be removed";
	assert_string_equal(unready(&status),
			    "one key or more waits: event 4 (event_id x) cannot be removed");
	check_only(PROBLEM_EVENT_NOT_REMOVED);
	assert_int_equal(health.problems[0].lasts_us, -1);
	status.standby = "the outbox is paused"; /* no key is this relay's */
	assert_string_equal(unready(&status), "");
	status.standby = "";
	status.stopped_by_refusal = true;
	status.refusal = "SQLSTATE 42501: permission denied";
	assert_string_equal(unready(&status),
			    "nothing is published: SQLSTATE 42501: permission denied");
	check_only(PROBLEM_DATABASE_REFUSES);
	status.refusal = "";
	status.trouble = "topic t refuses every event";
	assert_string_equal(unready(&status),
			    "Kafka accepts no events: topic t refuses every event");
	check_only(PROBLEM_KAFKA_REFUSES);
	status.trouble = "";
	status.obstacle = "session 7 is no relay";
	assert_string_equal(unready(&status), "session 7 is no relay");
	check_only(PROBLEM_FOREIGN_LOCK);
}

/* A restart helps nothing: it is not ready, and not stuck. */
static void test_halted(void **state)
{
	struct worker_status status = well();
	struct source_event event = {.id = 4, .remove = "DELETE FROM t WHERE id = 4;"};

	(void)state;
	status.halted_at = &event;
	status.stopped_by_refusal = status.waiting = true;
	status.idle_us = INT64_MAX;
	status.refusal = "event 4 is rejected";
	assert_string_equal(unready(&status), "halted, nothing is published: event 4 is rejected");
	check_only(PROBLEM_HALTED);
	assert_false(health.stuck);
	event.remove = NULL; /* it is not rejected, it cannot be removed */
	unready(&status);
	check_only(PROBLEM_EVENT_NOT_REMOVED);
}

static void test_topic(void **state)
{
	struct worker_status status = well();

	(void)state;
	status.blocked_us = 2000 * 1000;
	status.blocked_topic = "events.order";
	assert_string_equal(unready(&status), "");
	status.blocked_us = 4000 * 1000;
	assert_string_equal(unready(&status), "waiting for topic \"events.order\", see the log");
	check_only(PROBLEM_TOPIC_MISSING);
}

static void test_stuck(void **state)
{
	struct worker_status status = well();

	(void)state;
	status.waiting = true;
	status.idle_us = 2 * (int64_t)STALL_US;
	unready(&status);
	assert_false(health.stuck);
	status.idle_us++;
	assert_string_equal(unready(&status), "");
	assert_true(health.stuck);
	check_only(PROBLEM_STUCK);
	status.blocked_us = 0;
	unready(&status);
	assert_false(health.stuck);
	status.blocked_us = -1;
	metrics.connected[PEER_KAFKA] = false;
	unready(&status);
	assert_false(health.stuck);
}

static void test_worth_knowing(void **state)
{
	struct worker_status status = well();

	(void)state;
	metrics.paused = true;
	metrics.letters.dead = 3;
	metrics.letters.dead_by_reason[REJECT_HEADERS] = 3;
	assert_string_equal(unready(&status), "");
	assert_int_equal(health.count, 2);
	assert_int_equal(health.problems[0].kind, PROBLEM_PAUSED);
	assert_string_equal(health.problems[1].text,
			    "rejected events in the dead letters: 3 (headers 3); `outbox-relay dlq "
			    "list` names them");
	assert_string_equal(health_problem_name(PROBLEM_PAUSED), "paused");
	assert_string_equal(health_problem_runbook(PROBLEM_DEAD_LETTERS),
			    "docs/runbooks/rejected-event.md");
}

/* The relay is ready; how many, why, since when, and what to do. */
static void test_parked_keys(void **state)
{
	struct worker_status status = well();
	struct parked_gauges *parked = &metrics.letters.parked;

	(void)state;
	*parked = (struct parked_gauges){.keys = 3, .events = 17, .oldest_age_seconds = 61.5};
	parked->by_reason[REJECT_TOO_LARGE] = 2;
	parked->by_reason[REJECT_HEADERS] = 1;
	assert_string_equal(unready(&status), "");
	check_only(PROBLEM_PARKED_KEYS);
	assert_string_equal(
	    health.problems[0].text,
	    "keys that wait behind a rejected event: 3 (too_large 2, headers 1); their events: 17, "
	    "the oldest is 62 s old; `outbox-relay dlq list` names them");
	assert_string_equal(health_problem_name(PROBLEM_PARKED_KEYS), "parked_keys");
	*parked = (struct parked_gauges){.keys = 20000, .events = LETTERS_EXACT + 1};
	unready(&status);
	assert_non_null(strstr(health.problems[0].text, "their events: at least 10001, "));
}

static void test_deferred(void **state)
{
	struct worker_status status = well();

	(void)state;
	metrics.letters.deferred = 7;
	status.deferred_topic = "events.invoice";
	assert_string_equal(unready(&status), "");
	check_only(PROBLEM_TOPIC_MISSING);
	assert_string_equal(health.problems[0].text,
			    "events that wait for topic \"events.invoice\", or for others that "
			    "cannot be used: 7; events of all other topics are published");
	status.deferred_topic = "";
	unready(&status);
	assert_string_equal(health.problems[0].text,
			    "events that wait for a topic that could not be used: 7");
}

/* The order of the kinds is the order of the list, whatever else is wrong. */
static void test_order(void **state)
{
	struct worker_status status = well();

	(void)state;
	metrics = (struct metrics){.paused = true, .letters = {.dead = 1, .parked = {.keys = 1}}};
	status.refusal = status.obstacle = "x";
	status.trouble = "y";
	status.blocked_us = INT64_MAX;
	unready(&status);
	for (size_t i = 1; i < health.count; i++)
		assert_true(health.problems[i - 1].kind < health.problems[i].kind);
	assert_ptr_equal(health.unready, &health.problems[0]);
	assert_true(health.count >= 8);
}

static const char *explained(const struct worker_status *status)
{
	static char text[400];

	memset(text, 'x', sizeof(text));
	health_explain(status, &metrics, text, sizeof(text));
	return text;
}

static void test_every_state_is_explained(void **state)
{
	struct worker_status status = well();

	(void)state;
	for (int i = 0; i < ENGINE_STATE_COUNT; i++) {
		status.engine = (enum engine_state)i;
		assert_in_range(strlen(explained(&status)), 5, 200);
	}
	status.engine = ENGINE_HOLDING;
	status.in_flight = 12;
	assert_string_equal(explained(&status), "nothing more is published while Kafka has not "
						"reported the fate of 12 events");
	status.in_flight = 0;
	metrics.connected[PEER_KAFKA] = false;
	assert_string_equal(explained(&status), "nothing is published until Kafka answers");
	status.engine = ENGINE_STANDBY;
	status.standby = "the outbox is paused";
	assert_string_equal(explained(&status), "no shard is this relay's: the outbox is paused");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_well),	cmocka_unit_test(test_peers),
	    cmocka_unit_test(test_standby),	cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_halted),	cmocka_unit_test(test_topic),
	    cmocka_unit_test(test_stuck),	cmocka_unit_test(test_worth_knowing),
	    cmocka_unit_test(test_order),	cmocka_unit_test(test_every_state_is_explained),
	    cmocka_unit_test(test_parked_keys), cmocka_unit_test(test_deferred),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
