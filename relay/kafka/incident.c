/* SPDX-License-Identifier: ISC */
/*
 * incident.c - whether the sink can be used, and the end of a producer's use
 *
 * The producer is broken (it can no longer be used) or drained (it finishes what it has). Either
 * way the owner hears broken(), every event in flight is reported, and the owner asks for a
 * rebuild.
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "base/text.h"
#include "internal.h"

#include <assert.h>
#include <stdarg.h>

enum {
	/* A wake-up that got lost would be found after this. */
	TICK_US = 250 * 1000,
	/* How long a failed producer's requests may take to be answered. */
	GRACE_US = 5 * 1000 * 1000,
	PURGE_US = 20 * 1000,
};

void kafka_trouble(struct kafka *kafka, const struct topic *topic, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text_vprint(kafka->trouble.text, sizeof(kafka->trouble.text), format, args);
	va_end(args);
	kafka->trouble.topic = topic;
	kafka->sink.login_refused = false;
	kafka->trouble.at_us = clock_monotonic_us();
}

void kafka_trouble_over(struct kafka *kafka)
{
	kafka->trouble.text[0] = '\0';
	kafka->trouble.topic = NULL;
	kafka->sink.login_refused = false;
}

void kafka_set_reachable(struct kafka *kafka, bool yes)
{
	if (kafka->connection.reachable == yes || kafka->state == KAFKA_CLOSING)
		return;
	kafka->connection.reachable = yes;
	kafka->connection.connected_us = 0;
	kafka->connection.lost_us = 0;
	if (!yes)
		kafka->transaction.ledger_known = false; /* by now its topic may be forgotten */
	kafka->connection.reachable_us = clock_monotonic_us();
	if (yes) {
		kafka->connection.ever_reachable = true;
		kafka->connection.all_down_us = 0;
		kafka->connection.refusals = 0;
		kafka->connection.refuser_count = 0;
		kafka->connection.other_faults = false;
	}
	if (yes && kafka->trouble.topic == NULL)
		kafka_trouble_over(kafka);
	kafka->options.metrics->connected[PEER_KAFKA] = yes;
	kafka->sink.events->reachable(kafka->sink.owner, yes);
}

void kafka_tick_at(struct kafka *kafka, int64_t at_us)
{
	int64_t now = clock_monotonic_us();

	if (at_us < now)
		at_us = now;
	loop_timer_set(kafka->tick, at_us - now < TICK_US ? at_us - now : TICK_US);
}

void kafka_writable(struct kafka *kafka, enum kafka_wait reason)
{
	if (kafka->waits_for != reason || kafka->state != KAFKA_READY)
		return;
	kafka->waits_for = WAITS_FOR_NOTHING;
	kafka->sink.events->writable(kafka->sink.owner);
}

static void begin_draining(struct kafka *kafka)
{
	kafka->state = KAFKA_DRAINING;
	kafka->incident.returned = 0;
	loop_timer_stop(kafka->incident.restart);
	loop_timer_set(kafka->refusals.judge, 0); /* returns those held back */
}

/* False if it has been done. */
static bool take_back(struct kafka *kafka)
{
	if (kafka->state == KAFKA_CLOSING || kafka->state == KAFKA_REBUILDING ||
	    kafka->incident.hard)
		return false;
	kafka->incident.hard = true;
	kafka->incident.give_up_at_us = clock_monotonic_us() + GRACE_US;
	loop_timer_set(kafka->incident.purge, 0);
	return true;
}

void kafka_break(struct kafka *kafka, const char *why)
{
	if (!take_back(kafka) || kafka->state == KAFKA_DRAINING)
		return;
	begin_draining(kafka);
	kafka->sink.events->broken(kafka->sink.owner, why);
}

void kafka_drain(struct kafka *kafka, const char *why)
{
	if (kafka->state != KAFKA_READY)
		return;
	begin_draining(kafka);
	kafka->sink.events->broken(kafka->sink.owner, why);
}

void kafka_give_up(struct kafka *kafka)
{
	if (take_back(kafka) && kafka->state != KAFKA_DRAINING)
		begin_draining(kafka);
}

void kafka_retire(struct kafka *kafka)
{
	if (kafka->state == KAFKA_READY)
		begin_draining(kafka);
}

void kafka_fence(struct kafka *kafka, const char *why)
{
	if (kafka->state == KAFKA_CLOSING || kafka->transaction.fenced)
		return;
	kafka->transaction.fenced = true;
	if (take_back(kafka) && kafka->state != KAFKA_DRAINING)
		begin_draining(kafka);
	kafka->sink.events->fenced(kafka->sink.owner, why);
}

/* Records of a failed producer may come back into its queues after a purge, from requests that it
 * would send again if it still could. So purge until all are reported; in the end also what is in
 * flight. */
void kafka_on_purge(void *arg)
{
	struct kafka *kafka = arg;
	int flags = RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING;

	if (kafka->producer.rk == NULL || kafka->state != KAFKA_DRAINING ||
	    kafka->producer.in_flight == 0)
		return;
	if (clock_monotonic_us() >= kafka->incident.give_up_at_us)
		flags |= RD_KAFKA_PURGE_F_INFLIGHT;
	rd_kafka_purge(kafka->producer.rk, flags);
	loop_timer_set(kafka->incident.purge, PURGE_US);
}

void kafka_return(struct kafka *kafka, struct event *event)
{
	kafka->incident.returned++;
	kafka->sink.events->returned(kafka->sink.owner, event);
}

void kafka_rebuild(struct kafka *kafka)
{
	struct incident *incident = &kafka->incident;
	bool wait = incident->hard && !incident->blamed;

	assert(kafka->producer.in_flight == 0);
	if (kafka->state == KAFKA_REBUILDING && !kafka_is_transactional(kafka))
		return;
	kafka->options.metrics->retries[PEER_KAFKA] += kafka->state != KAFKA_STARTING;
	kafka->state = KAFKA_REBUILDING;
	incident->hard = incident->blamed = false;
	kafka->waits_for = WAITS_FOR_NOTHING;
	loop_timer_stop(incident->purge);
	loop_timer_set(incident->restart,
		       wait ? backoff_us(incident->failures++, &kafka->random) : 0);
}
