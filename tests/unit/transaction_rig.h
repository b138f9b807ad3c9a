/* SPDX-License-Identifier: ISC */
/*
 * transaction_rig.h - kafka_rig.h for the tests of a sink with transactions
 *
 * The embedded broker (of librdkafka 2.0.2) answers all requests of a transaction, but keeps no
 * markers: what was aborted can be read. What is committed and what is not, system tests see.
 */
#ifndef OUTBOX_TRANSACTION_RIG_H
#define OUTBOX_TRANSACTION_RIG_H

#include "kafka_rig.h"

enum { INIT_PRODUCER_ID = 22, ADD_PARTITIONS = 24, END_TXN = 26 };
#define OK	RD_KAFKA_RESP_ERR_NO_ERROR
#define REFUSED RD_KAFKA_RESP_ERR_INVALID_RECORD

static const struct producer_id id = {.group = "3f0e", .number = 2};

/* What the sink tells beyond that which the rig hears. */
static struct told {
	unsigned committed, unclean, in_doubt, fenced;
	char why[512];
} told;

static void on_committed(void *owner, bool clean)
{
	told.committed++;
	told.unclean += !clean;
	check(owner);
}

static void on_in_doubt(void *owner, const char *why)
{
	told.in_doubt++;
	snprintf(told.why, sizeof(told.why), "%s", why);
	check(owner);
}

static void on_fenced(void *owner, const char *why)
{
	told.fenced++;
	snprintf(told.why, sizeof(told.why), "%s", why);
	check(owner);
}

/* Before anything is sent by a new producer; NULL: nothing to be done. */
static void (*at_ready)(struct rig *rig);

static void on_ready_at_last(void *owner)
{
	if (at_ready != NULL)
		at_ready(owner);
	on_ready(owner);
}

static const struct sink_events events = {
    .delivered = on_delivered,
    .rejected = on_rejected,
    .returned = on_returned,
    .writable = on_writable,
    .broken = on_broken,
    .reachable = on_reachable,
    .unreachable_why = on_unreachable_why,
    .refused = on_refused,
    .ready = on_ready_at_last,
    .committed = on_committed,
    .in_doubt = on_in_doubt,
    .fenced = on_fenced,
};

static inline struct kafka *kafka_of(const struct rig *rig)
{
	return (struct kafka *)rig->sink;
}

static inline void look_again(void *arg)
{
	struct rig *rig = arg;

	loop_timer_set(rig->poll, 10 * 1000);
	check(rig);
}

static inline void connect_without_ledger(struct rig *rig)
{
	struct error err = {""};

	rig->sink = kafka_sink_new(rig->loop, &rig->options, &events, rig, &err);
	if (rig->sink == NULL)
		fail_msg("%s", err.text);
	rig->mock = kafka_of(rig)->embedded.cluster;
	rig->poll = loop_timer_new(rig->loop, look_again, rig);
	look_again(rig);
}

static inline void rebuild(struct rig *rig, const struct producer_id *with)
{
	rig->in_call = true;
	rig->sink->ops->rebuild(rig->sink, with);
	rig->in_call = false;
}

static inline void begin(struct rig *rig)
{
	connect_without_ledger(rig);
	rd_kafka_mock_topic_create(rig->mock, "ledger", PARTITIONS, 1);
	rebuild(rig, rig->id);
	run_until(rig, heard_ready);
}

/* What was heard of an earlier one is forgotten. */
static inline void commit(struct rig *rig, int64_t number, struct slice note)
{
	const struct ledger_batch batch = {number, note};

	told.committed = 0;
	rig->in_call = true;
	rig->sink->ops->commit(rig->sink, &batch);
	rig->in_call = false;
}

static inline bool heard_committed(const struct rig *rig)
{
	(void)rig;
	return told.committed > 0;
}

static inline bool heard_in_doubt(const struct rig *rig)
{
	(void)rig;
	return told.in_doubt > 0;
}

static inline bool heard_fenced(const struct rig *rig)
{
	(void)rig;
	return told.fenced > 0;
}

static inline bool heard_broken(const struct rig *rig)
{
	return rig->broken > 0;
}

static inline bool is_back(const struct rig *rig)
{
	return rig->ready == 2;
}

static inline void commit_one(struct rig *rig, int64_t number, struct slice note)
{
	add(rig, "t", slice_of("k"), slice_of("v"));
	pump(rig);
	run_until(rig, all_settled);
	commit(rig, number, note);
	run_until(rig, heard_committed);
}

static inline uint64_t published(struct rig *rig)
{
	return metrics_topic(&rig->metrics, slice_of("t"))->published;
}

static inline int set_up_transactions(void **state)
{
	struct rig *rig;

	set_up(state);
	rig = *state;
	rig->id = &id;
	rig->options.transactional_prefix = "outbox";
	rig->options.ledger_topic = "ledger";
	rig->options.transaction_timeout_ms = 20000;
	told = (struct told){0};
	at_ready = NULL;
	return 0;
}

static inline int tear_down_transactions(void **state)
{
	struct rig *rig = *state;

	loop_timer_free(&rig->poll);
	return tear_down(state);
}

static inline void enough(void *arg)
{
	loop_stop(((struct rig *)arg)->loop);
}

static inline void run_for(struct rig *rig, int64_t us)
{
	struct loop_timer *timer = loop_timer_new(rig->loop, enough, rig);

	loop_timer_set(timer, us);
	loop_run(rig->loop);
	loop_timer_free(&timer);
}

static inline void deliver_one(struct rig *rig)
{
	add(rig, "t", slice_of("k"), slice_of("v"));
	begin(rig);
	run_until(rig, all_settled);
}

static inline bool has_trouble(const struct rig *rig)
{
	return rig->sink->trouble[0] != '\0';
}

#define TRANSACTION_STORY(name)                                                                    \
	cmocka_unit_test_setup_teardown(name, set_up_transactions, tear_down_transactions)

#endif
