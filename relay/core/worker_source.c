/* SPDX-License-Identifier: ISC */
/*
 * worker_source.c - what the source tells the worker
 */
#include "worker_internal.h"

#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

enum { PROBE_US = 2000 * 1000 };

static void connected(struct worker *worker, bool acquired)
{
	worker->acquired = acquired;
	worker->ever_acquired = true; /* the set-up works, as far as a standby can tell */
	worker->metrics->shards = worker->source->shards;
	worker->metrics->paused = worker->source->paused;
	worker->metrics->connected[PEER_DATABASE] = true;
	worker->lost_why[0] = '\0';
	worker_peer_answers(worker, PEER_DATABASE);
}

/* Of the shards that this relay owns, none at the moment: whoever has them tells. What it said last
 * would stay, and be counted twice. */
static void forget_waiting(struct worker *worker)
{
	struct metrics *metrics = worker->metrics;
	metrics->depth = metrics->oldest_age_seconds = 0;
	metrics->held_keys = metrics->parked_keys = 0;
	metrics->letters = (struct letter_gauges){0};
	metrics->partitions_ahead = metrics->position_lag_seconds = -1;
}

/* Another relay cannot reach the sink: perhaps this one has only not noticed. */
static void probe_if_suspect(struct worker *worker, struct source_peers peers)
{
	int64_t now = worker_now_us(worker);
	if (!peers.suspect || now - worker->probed_us < PROBE_US)
		return;
	worker->probed_us = now;
	worker->sink->ops->probe(worker->sink);
}

static void on_acquired(void *owner, bool gained, struct source_peers peers)
{
	struct worker *worker = owner;
	const struct source_types *types = &worker->source->types;
	if (gained)
		FAILPOINT("lock-got");
	if (gained && worker->encoder != NULL)
		encoder_types(worker->encoder, types->fields, types->count, &types->payload);
	worker->standby_for[0] = '\0';
	worker->yields = false;
	connected(worker, true);
	probe_if_suspect(worker, peers);
	worker_step(worker,
		    (struct engine_input){.event = ON_ACQUIRED, .healthy_peer = peers.healthy});
}

static void on_busy(void *owner, const char *why, bool yields, struct source_peers peers)
{
	struct worker *worker = owner;
	connected(worker, false);
	if (strcmp(worker->standby_for, why) != 0 && !worker_peer_flaps(worker, PEER_DATABASE))
		log_fact(LOG_INFO, "standby",
			 LOG_FIELDS(field_number("shards", worker->source->shards.count)),
			 "standby: %s", why);
	text_print(worker->standby_for, sizeof(worker->standby_for), "%s", why);
	worker->yields = yields;
	forget_waiting(worker);
	worker->metrics->partitions_ahead = worker->source->partitions_ahead;
	worker->waiting_us = 0;
	probe_if_suspect(worker, peers);
	worker_step(worker, (struct engine_input){.event = ON_BUSY, .healthy_peer = peers.healthy});
}

/* Similar messages are suppressed for a minute. */
enum { REFUSAL_US = 60 * 1000 * 1000 };

void worker_lose(struct worker *worker, const char *why, bool permanent)
{
	worker->acquired = false;
	worker->lost_for_good = permanent;
	text_print(worker->lost_why, sizeof(worker->lost_why), "%s", why);
	worker->standby_for[0] = '\0';
	shards_clear(&worker->metrics->shards, worker->source->shards.count);
	worker->metrics->paused = false;
	worker->metrics->connected[PEER_DATABASE] = false;
	forget_waiting(worker);
	if (worker->source->renews) {
		log_fact(LOG_INFO, "session_renewed", LOG_FIELDS(field_text("peer", "database")),
			 "begins its session with the database anew: %s", why);
	} else {
		worker->metrics->retries[PEER_DATABASE]++;
		worker_peer_failed(worker, PEER_DATABASE);
	}
	worker_tell(worker, ON_LOST);
}

static bool is_news(struct worker *worker, const char *why)
{
	int64_t now = worker_now_us(worker);
	bool same = strncmp(worker->refusal, why, sizeof(worker->refusal) - 1) == 0;
	if (same && now - worker->refusal_told_us < REFUSAL_US)
		return false;
	worker->refusal_told_us = now;
	text_print(worker->refusal, sizeof(worker->refusal), "%s", why);
	return true;
}

static void tell_refusal(struct worker *worker)
{
	const char *why = worker->source->refusal;
	if (is_news(worker, why))
		log_fact(LOG_ERROR, "database_refuses", LOG_FIELDS(field_sqlstate(why)),
			 "the database refuses to let events be claimed: %s; nothing is published "
			 "until that is fixed, the relay tries again every few seconds",
			 why);
}

/* How far the standbys are is in the words, and changes. */
static void tell_unconfirmed(struct worker *worker)
{
	if (is_news(worker, "unconfirmed"))
		log_fact(LOG_ERROR, "events_unconfirmed", NULL,
			 "nothing is published: %s; what was claimed is given back, and nothing "
			 "more is claimed until then",
			 worker->source->unconfirmed);
}

static void on_failed(void *owner)
{
	struct worker *worker = owner;
	worker->metrics->retries[PEER_DATABASE]++;
	if (worker->source->refusal[0] != '\0')
		tell_refusal(worker);
	else if (worker->source->unconfirmed[0] != '\0')
		tell_unconfirmed(worker);
	worker_tell(worker, ON_ROLLED_BACK);
}

/* What nobody has ever seen work is a mistake in the set-up: say so and end. Once it has worked,
 * an operator may be at work right now (a migration, a password change): go on trying. */
static void on_lost(void *owner, const char *why, bool permanent)
{
	struct worker *worker = owner;
	if (!permanent || worker->ever_acquired) {
		worker_lose(worker, why, permanent);
		return;
	}
	log_fact(LOG_ERROR, "setup_refused",
		 LOG_FIELDS(field_text("peer", "database"), field_sqlstate(why)), "%s", why);
	worker->refused = true;
	worker_tell(worker, ON_STOP_NOW);
}

static void on_fetched(void *owner, struct chunk *chunk, bool last)
{
	struct worker *worker = owner;
	int64_t now = worker_now_us(worker);
	worker->claim_us += chunk->took_us;
	worker->refusal[0] = '\0';
	if (chunk->count > 0) {
		FAILPOINT("claimed");
		worker->claimed_us = now;
		if (worker->waiting_us == 0)
			worker->waiting_us = now;
		/* Not at the first send: a sink may say LATER for as long as it likes. */
		if (worker->batch.events == 0)
			worker->publish_us = worker->progress_us = now;
		batch_add(&worker->batch, chunk);
	} else {
		chunk->free(chunk);
	}
	worker_step(worker, (struct engine_input){.event = ON_FETCHED, .last = last});
}

static void on_settled(void *owner)
{
	struct worker *worker = owner;
	FAILPOINT("commit-answered");
	worker->moved_us = worker_now_us(worker);
	histogram_observe(&worker->metrics->settle,
			  worker_seconds(worker->moved_us - worker->settle_us));
	worker_clear(worker);
	worker_tell(worker, ON_SETTLED);
}

static void on_rolled_back(void *owner)
{
	worker_tell(owner, ON_ROLLED_BACK);
}

static void on_reconciled(void *owner)
{
	struct worker *worker = owner;
	FAILPOINT("recovered");
	if (worker->batch.delivered > 0)
		log_fact(LOG_INFO, "settled_by_identity",
			 LOG_FIELDS(field_number("events", (int64_t)worker->batch.delivered)),
			 "settled %zu published events by their identity", worker->batch.delivered);
	worker->moved_us = worker_now_us(worker);
	/* What is deferred waits for no restart; what else waits shows with the next gauges. */
	if (worker->batch.deferred > 0)
		worker->waiting_us = 0;
	worker_clear(worker);
	worker_tell(worker, ON_RECONCILED);
}

static void on_resolved(void *owner, int64_t events)
{
	struct worker *worker = owner;
	worker->metrics->settled_by_ledger += (double)events;
	if (events > 0)
		log_fact(LOG_INFO, "settled_by_ledger", LOG_FIELDS(field_number("events", events)),
			 "settled %lld events that the ledger says are published",
			 (long long)events);
	worker->moved_us = worker_now_us(worker);
	worker_tell(worker, ON_RESOLVED);
}

static void on_gauged(void *owner, const struct gauges *gauges)
{
	struct worker *worker = owner;
	worker->metrics->depth = gauges->depth;
	worker->metrics->oldest_age_seconds = gauges->oldest_age_seconds;
	worker->metrics->position_lag_seconds = gauges->position_lag_seconds;
	worker->metrics->letters = gauges->letters;
	worker->metrics->partitions_ahead = worker->source->partitions_ahead;
	worker->metrics->held_keys = (double)worker->source->held_keys;
	worker->metrics->parked_keys = worker->metrics->held_keys + gauges->letters.parked.keys;
	/* No restart brings a topic. */
	if (gauges->depth - gauges->letters.deferred <= 0)
		worker->waiting_us = 0;
	else if (worker->waiting_us == 0)
		worker->waiting_us = worker_now_us(worker);
	worker_note_excuse(worker);
}

static void on_closed(void *owner)
{
	worker_tell(owner, ON_CLOSED);
}

const struct source_events worker_source_events = {
    .acquired = on_acquired,
    .busy = on_busy,
    .lost = on_lost,
    .fetched = on_fetched,
    .settled = on_settled,
    .rolled_back = on_rolled_back,
    .failed = on_failed,
    .reconciled = on_reconciled,
    .resolved = on_resolved,
    .gauged = on_gauged,
    .closed = on_closed,
};
