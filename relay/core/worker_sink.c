/* SPDX-License-Identifier: ISC */
/*
 * worker_sink.c - what the sink tells the worker
 */
#include "worker_internal.h"

#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"

#include <string.h>

/* The same reason of a rebuild is not written again before this. */
enum { REPEAT_US = 30 * 1000 * 1000 };

static void reported(struct worker *worker)
{
	worker->progress_us = worker_now_us(worker);
	if (worker->batch.in_flight == 0 || worker->tell_progress)
		worker_tell(worker, ON_PROGRESS);
}

static void count_published(struct worker *worker, const struct event *event)
{
	int64_t age = -1;
	if (event->created_us > 0) {
		age = worker->world->realtime_us(worker->world->arg) - event->created_us;
		age = age > 0 ? age : 0;
		histogram_observe(&worker->metrics->latency, worker_seconds(age));
	}
	worker->published++;
	recent_event(&worker->metrics->recent, worker_now_us(worker), age);
}

static void on_delivered(void *owner, struct event *event)
{
	struct worker *worker = owner;
	batch_delivered(&worker->batch, event);
	if (worker->batch.in_flight == 0)
		FAILPOINT("acknowledged");
	if (event->copy != NULL)
		worker->metrics->copies++;
	else
		count_published(worker, event);
	reported(worker);
	worker->moved_us = worker->progress_us;
}

static void on_rejected(void *owner, struct event *event, enum reject_reason reason,
			const char *code, const char *why)
{
	struct worker *worker = owner;
	if (event->copy != NULL)
		worker_drop_copy(worker, event, code, why);
	else
		worker_reject(worker, event, reason, code, why);
	reported(worker);
}

static void on_returned(void *owner, struct event *event)
{
	struct worker *worker = owner;
	batch_returned(&worker->batch, event);
	reported(worker);
}

static void on_writable(void *owner)
{
	struct worker *worker = owner;
	/* Whether the relay is stuck counts from here: until now it was the sink's turn. */
	worker->moved_us = worker_now_us(worker);
	worker_tell(worker, ON_WRITABLE);
}

static void on_broken(void *owner, const char *why)
{
	struct worker *worker = owner;
	if (strncmp(worker->broken_why, why, sizeof(worker->broken_why) - 1) != 0)
		worker->broken_told = (struct log_limit){0};
	text_print(worker->broken_why, sizeof(worker->broken_why), "%s", why);
	if (log_limit_due(&worker->broken_told, worker_now_us(worker), REPEAT_US))
		log_fact(LOG_WARNING, "producer_rebuilt", NULL,
			 "the producer must be rebuilt: %s; what was not acknowledged is "
			 "published again%s",
			 why, worker->broken_told.note);
	worker_tell(worker, ON_BROKEN);
}

static void on_reachable(void *owner, bool yes)
{
	struct worker *worker = owner;
	if (yes)
		worker_peer_answers(worker, PEER_KAFKA);
	else
		worker_peer_failed(worker, PEER_KAFKA);
	worker_tell(worker, yes ? ON_REACHABLE : ON_UNREACHABLE);
}

static void on_unreachable_why(void *owner)
{
	worker_peer_failed(owner, PEER_KAFKA);
}

/* As for the source: nobody has ever seen it work. */
static void on_refused(void *owner, const char *why)
{
	struct worker *worker = owner;
	log_fact(LOG_ERROR, "setup_refused", LOG_FIELDS(field_text("peer", "kafka")),
		 "Kafka does not let this relay in: %s", why);
	worker->refused = true;
	worker_tell(worker, ON_STOP_NOW);
}

static void on_ready(void *owner)
{
	worker_tell(owner, ON_READY);
}

static void on_committed(void *owner, bool clean)
{
	FAILPOINT("kafka-commit-answered");
	worker_step(owner, (struct engine_input){.event = ON_COMMITTED, .clean = clean});
}

static void on_in_doubt(void *owner, const char *why)
{
	struct worker *worker = owner;
	log_fact(LOG_WARNING, "commit_in_doubt", LOG_FIELDS(field_text("peer", "kafka")),
		 "whether %zu events were committed in Kafka is not known: %s; the ledger tells, "
		 "and they are settled or published again",
		 worker->batch.events, why);
	worker_tell(worker, ON_IN_DOUBT);
}

/* Only who holds the slot in the database may have its producer: this session is to be proved. */
static void on_fenced(void *owner, const char *why)
{
	struct worker *worker = owner;
	worker->metrics->fenced++;
	log_fact(LOG_WARNING, "producer_fenced", LOG_FIELDS(field_text("peer", "kafka")),
		 "another producer has taken this relay's place in Kafka, or a transaction took "
		 "longer than Kafka lets it: %s; the relay begins its session with the database "
		 "anew",
		 why);
	worker_tell(worker, ON_BROKEN);
	if (!engine_has_session(&worker->engine))
		return;
	worker->source->ops->drop(worker->source);
	worker_lose(worker, "another producer has this relay's place in Kafka", false);
}

const struct sink_events worker_sink_events = {
    .delivered = on_delivered,
    .rejected = on_rejected,
    .returned = on_returned,
    .writable = on_writable,
    .broken = on_broken,
    .reachable = on_reachable,
    .unreachable_why = on_unreachable_why,
    .refused = on_refused,
    .ready = on_ready,
    .committed = on_committed,
    .in_doubt = on_in_doubt,
    .fenced = on_fenced,
};
