/* SPDX-License-Identifier: ISC */
/*
 * worker.c - a relay at work on its shards: carries out what the engine says, through a source and
 * a sink
 */
#include "worker_internal.h"

#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void worker_tell(struct worker *worker, enum engine_event event)
{
	worker_step(worker, (struct engine_input){.event = event});
}

/* ---- publishing ---- */

/* The topic an event would go to, for counting; "" when it cannot be told. */
static struct slice topic_of(struct worker *worker, const struct event *event)
{
	struct message message;
	struct error ignored;
	if (route_event(worker->route, event, &message, &ignored) != REJECT_NONE)
		return slice_of("");
	return message.topic;
}

/* Of several the source alone knows which it is. */
static struct log_field field_shard(const struct worker *worker)
{
	int shard = shards_only(&worker->metrics->shards);
	return shard < 0 ? field_text("shard", NULL) : field_number("shard", shard);
}

/* What was set aside before stays there: the relay halts at rows alone. */
static const char *what_follows(const struct event *event, enum reject_policy policy)
{
	static const char *const follows[] = {
	    [REJECT_HALTS] = "the relay halts until the row is changed or gone",
	    [REJECT_DEAD_LETTERS] = "it is moved to outbox_relay.dead_letters",
	    [REJECT_PARKS] = "it is moved to outbox_relay.dead_letters",
	    [REJECT_SKIPS] = "the replay leaves it out",
	};
	if (event->letter != 0 && policy == REJECT_HALTS)
		return "the relay does not halt, as the event was set aside before: it stays in "
		       "outbox_relay.dead_letters; see outbox-relay dlq";
	if (event->letter != 0)
		return "it stays in outbox_relay.dead_letters, and later events of its key wait "
		       "behind it unless it is a dead letter; see outbox-relay dlq";
	if (event->parks)
		return "its key is parked: its later events wait behind it in "
		       "outbox_relay.dead_letters; see outbox-relay dlq";
	return follows[policy];
}

/* Topic and key as far as they can be told. code is Kafka's; "": the relay's own reason. */
static void log_reject(struct worker *worker, const struct event *event, enum reject_reason reason,
		       const char *code, const char *why)
{
	struct message message = {.value = SLICE_NULL};
	struct error ignored;
	if (route_event(worker->route, event, &message, &ignored) != REJECT_NONE)
		message = (struct message){.value = SLICE_NULL};
	log_fact(
	    LOG_ERROR, "event_rejected",
	    LOG_FIELDS(field_number("id", event->id), field_slice("event_id", event->identity),
		       field_slice("topic", message.topic), field_hash("key_hash", message.key),
		       field_shard(worker), field_text("reason", reject_reason_name(reason)),
		       field_text("error_code", code)),
	    "event %lld is rejected (%s): %s; %s", (long long)event->id, reject_reason_name(reason),
	    why, what_follows(event, worker->engine.options.policy));
}

void worker_reject(struct worker *worker, struct event *event, enum reject_reason reason,
		   const char *code, const char *why)
{
	worker_park(worker, event);
	/* One that was tried again was told of before, and counted. A row at which the relay halts
	 * is tried again by itself, a letter when an operator asks for it. */
	if (!event->again || event->letter != 0 || !engine_halts_at_reject(&worker->engine))
		log_reject(worker, event, reason, code, why);
	if (!event->again)
		metrics_topic(worker->metrics, topic_of(worker, event))->rejected[reason]++;
	batch_reject(&worker->batch, event, reason, why);
	worker->tell_progress = true;
}

/* By what the topic's template gives, since the source knows no other name of it. Later events of
 * the topic go back with the transaction, and the source meets them one by one:
 * what somebody has locked meanwhile must not be overtaken by what comes behind it. */
static void defer(struct worker *worker, struct event *event, struct slice topic)
{
	keys_add(&worker->deferred, topic);
	batch_defer(&worker->batch, event, topic);
}

/* The sink takes no event of this topic now, and says when it does. */
static void wait_for(struct worker *worker, struct slice topic)
{
	text_print(worker->blocked_topic, sizeof(worker->blocked_topic), "%s", topic.data);
	worker->tell_blocked = true;
}

/* Topic, key, headers and what is written of it all; what the source cannot hand out goes nowhere.
 */
static enum reject_reason route(struct worker *worker, const struct event *event,
				struct message *message, struct error *err)
{
	enum reject_reason reason = REJECT_NONE;
	if (event->copy != NULL)
		route_copy(worker->route, event, message);
	else
		reason = route_event(worker->route, event, message, err);
	if (reason == REJECT_NONE && worker->encoder != NULL && event->copy == NULL)
		reason = encode_event(worker->encoder, event, message, err);
	if (reason != REJECT_NONE || !event->unreadable)
		return reason;
	error_set(err,
		  "payload and headers have %lld bytes as text, or more: the database cannot hand "
		  "that out",
		  (long long)event->payload_bytes);
	return REJECT_UNREADABLE;
}

/* Hands the next event to the sink. False if there is no going on for now. */
static bool produce_one(struct worker *worker, struct event *event)
{
	struct message message;
	struct error err;
	if (event->copy == NULL && worker_parked(worker, event)) {
		batch_pass(&worker->batch, event);
		return true;
	}
	enum reject_reason reason = route(worker, event, &message, &err);
	enum sink_answer answer = SINK_REFUSED;
	/* It may be usable by now, but others of it wait. */
	if (reason == REJECT_NONE && keys_have(&worker->deferred, message.routed)) {
		batch_pass(&worker->batch, event);
		return true;
	}
	if (reason == REJECT_NONE)
		answer = worker->sink->ops->produce(worker->sink, event, &message, &reason, &err);
	switch (answer) {
	case SINK_TAKEN:
		batch_sent(&worker->batch, event);
		FAILPOINT("first-produced");
		return true;
	case SINK_NO_TOPIC:
		/* Where there is no other topic, nothing is gained. */
		if (event->copy != NULL || !route_topic_is_constant(worker->route)) {
			defer(worker, event, message.routed);
			return !worker->engine.options.transactional;
		}
		/* fall through */
	case SINK_LATER:
		wait_for(worker, message.topic);
		return false;
	case SINK_REFUSED:
		break;
	}
	if (event->copy != NULL) {
		worker_drop_copy(worker, event, "", err.text);
		return true;
	}
	worker_reject(worker, event, reason, "", err.text);
	return !engine_breaks_off(&worker->engine);
}

static void produce(struct worker *worker)
{
	struct event *event;
	FAILPOINT("before-produce");
	while ((event = batch_next(&worker->batch)) != NULL)
		if (!produce_one(worker, event))
			break;
	worker->tell_progress = true;
}

/* ---- carrying out what the engine says ---- */

void worker_clear(struct worker *worker)
{
	batch_clear(&worker->batch);
	keys_clear(&worker->parked);
	keys_clear(&worker->deferred);
	worker->claim_us = 0;
}

static void give_up(struct worker *worker)
{
	log_fact(LOG_WARNING, "events_taken_back",
		 LOG_FIELDS(field_number("events", (int64_t)worker->batch.in_flight)),
		 "no connection to Kafka, and another relay is there: %zu events are taken "
		 "back from the producer and left to it; it publishes those again that Kafka "
		 "has already",
		 worker->batch.in_flight);
	worker->sink->ops->give_up(worker->sink);
}

static void perform(struct worker *worker, const struct engine_action *action)
{
	struct source *source = worker->source;
	const struct worker_world *world = worker->world;
	switch (action->kind) {
	case DO_OPEN:
		source->ops->open(source);
		break;
	case DO_AVAILABLE:
		source->ops->available(source, action->available);
		break;
	case DO_FETCH:
		source->ops->fetch(source, &action->fetch);
		break;
	case DO_HOLD:
		source->ops->hold(source, action->keeps);
		break;
	case DO_PRODUCE:
		produce(worker);
		break;
	case DO_COMMIT:
		worker_commit(worker);
		break;
	case DO_SETTLE:
		worker_settle(worker);
		break;
	case DO_ROLL_BACK:
		source->ops->roll_back(source);
		break;
	case DO_FORGET:
		batch_forget(&worker->batch);
		break;
	case DO_RESOLVE:
		worker_resolve(worker);
		break;
	case DO_RECONCILE:
		FAILPOINT("before-recovery");
		worker_put_back_others(worker);
		source->ops->reconcile(source, &worker->batch, action->policy);
		break;
	case DO_TIMER:
		world->set_timer(world->arg, WORKER_TIMER_WAKE, action->after_us);
		break;
	case DO_GIVE_UP:
		give_up(worker);
		break;
	case DO_REBUILD:
		worker->metrics->rebuilds[action->cause]++;
		worker->sink->ops->rebuild(worker->sink, &source->producer);
		break;
	case DO_SKIP_UNSENT:
		batch_skip_unsent(&worker->batch);
		break;
	case DO_CLEAR:
		worker_clear(worker);
		break;
	case DO_CLOSE:
		source->ops->close(source);
		break;
	case DO_DROP:
		source->ops->drop(source);
		break;
	case DO_STOPPED:
		world->stopped(world->arg, worker->refused);
		break;
	}
}

/* Reports that trickle in keep the transaction open, but not indefinitely: vacuum waits for it. */
enum { TRICKLE_US = 10 * 1000 * 1000 };

/* While the sink takes nothing and holds nothing, the transaction only locks rows that others may
 * want to fix or delete. A topic that the broker creates by itself is there sooner. */
enum { BLOCKED_US = 1000 * 1000 };

/* By a topic: within a transaction it is the ledger that is waited for. */
static bool is_blocked(const struct worker *worker)
{
	return engine_is_blocked(&worker->engine) && !worker->sink->begun;
}

static bool waits_for_topic(const struct worker *worker)
{
	return worker->batch.in_flight == 0 && is_blocked(worker);
}

/* While this holds, nothing can move, and a restart would not help. That a peer does not answer,
 * idle_us knows. */
static bool is_excused(const struct worker *worker)
{
	const struct source *source = worker->source;
	bool only_held = source->held_keys > 0 && worker->batch.events == 0;

	return !worker->acquired || waits_for_topic(worker) || source->halted ||
	       source->refusal[0] != '\0' || source->unconfirmed[0] != '\0' || only_held;
}

/* Source and sink end it before they tell: it held until now if it did when last looked at. */
void worker_note_excuse(struct worker *worker)
{
	bool excused = is_excused(worker);

	if (excused || worker->excused)
		worker->excused_us = worker_now_us(worker);
	worker->excused = excused;
}

static int64_t stalled_at(const struct worker *worker)
{
	if (waits_for_topic(worker)) {
		bool later = worker->progress_us > worker->claimed_us;
		return (later ? worker->progress_us : worker->claimed_us) + BLOCKED_US;
	}
	int64_t without_report = worker->progress_us + worker->stall_us;
	int64_t at_most = worker->publish_us + worker->stall_us + TRICKLE_US;
	return without_report < at_most ? without_report : at_most;
}

static void watch_for_stall(struct worker *worker)
{
	const struct worker_world *world = worker->world;
	if (!engine_waits_for_sink(&worker->engine))
		return;
	int64_t at = stalled_at(worker), left = at - worker_now_us(worker);
	if (worker->stall_timer_us != 0 && worker->stall_timer_us <= at)
		return;
	worker->stall_timer_us = at;
	world->set_timer(world->arg, WORKER_TIMER_STALL, left > 0 ? left : 0);
}

static void step_once(struct worker *worker, struct engine_input input)
{
	struct engine_actions actions;
	enum engine_state before = worker->engine.state;
	input.now_us = worker_now_us(worker);
	input.begun = worker->sink->begun;
	engine_step(&worker->engine, &input, &actions);
	if (before != worker->engine.state) {
		worker->state_us = input.now_us;
		log_debug("%s -> %s", engine_state_name(before),
			  engine_state_name(worker->engine.state));
	}
	worker->metrics->in_doubt = engine_is_waiting_for_ledger(&worker->engine);
	if (!is_blocked(worker))
		worker->blocked_us = 0;
	else if (worker->blocked_us == 0)
		worker->blocked_us = input.now_us;
	for (unsigned i = 0; i < actions.count; i++)
		perform(worker, &actions.items[i]);
	worker->metrics->ledger_lag = worker_ledger_lag(worker); /* of the slot that is ours now */
	worker_note_excuse(worker);
	if (before != worker->engine.state && worker->world->changed != NULL)
		worker->world->changed(worker->world->arg);
}

void worker_step(struct worker *worker, struct engine_input input)
{
	step_once(worker, input);
	while (worker->tell_blocked || worker->tell_progress) {
		bool blocked = worker->tell_blocked;
		if (blocked)
			worker->tell_blocked = false;
		else
			worker->tell_progress = false;
		step_once(worker,
			  (struct engine_input){.event = blocked ? ON_BLOCKED : ON_PROGRESS});
	}
	watch_for_stall(worker);
}

/* ---- the owner's side ---- */

struct worker *worker_new(const struct engine_options *options, int64_t stall_us,
			  const struct worker_world *world, struct metrics *metrics, uint64_t seed)
{
	struct worker *worker = xcalloc(1, sizeof(*worker));
	engine_init(&worker->engine, options, &worker->batch, seed);
	worker->stall_us = stall_us;
	worker->world = world;
	worker->metrics = metrics;
	worker->state_us = worker_now_us(worker);
	return worker;
}

void worker_attach(struct worker *worker, struct source *source, struct sink *sink,
		   struct route *route)
{
	worker->source = source;
	worker->metrics->shards = source->shards;
	worker->sink = sink;
	worker->route = route;
}

void worker_encode(struct worker *worker, struct encoder *encoder)
{
	worker->encoder = encoder;
}

void worker_free(struct worker **worker)
{
	if (*worker == NULL)
		return;
	/* What the sink still held has been taken from it by now: nothing is in flight. */
	(*worker)->batch.in_flight = 0;
	worker_clear(*worker);
	free(*worker);
	*worker = NULL;
}

void worker_start(struct worker *worker)
{
	worker_peer_expected(worker, PEER_KAFKA);
	worker_tell(worker, ON_START);
}

void worker_stop(struct worker *worker, bool now)
{
	worker_tell(worker, now ? ON_STOP_NOW : ON_STOP);
}

static void log_stall(const struct worker *worker, int64_t now)
{
	if (waits_for_topic(worker)) {
		log_fact(LOG_INFO, "events_wait_for_topic", NULL,
			 "events wait for a topic: the transaction is rolled back so that it locks "
			 "no rows meanwhile");
		return;
	}
	bool silent = now - worker->progress_us >= worker->stall_us;
	log_fact(LOG_WARNING, "kafka_stalled",
		 LOG_FIELDS(field_text("peer", "kafka"),
			    field_number("in_flight", (int64_t)worker->batch.in_flight)),
		 "Kafka %s for %.0f s: the transaction is rolled back so that it does not hold "
		 "up vacuum; %zu events stay with the producer",
		 silent ? "has acknowledged nothing" : "has not acknowledged a batch",
		 worker_seconds(now - (silent ? worker->progress_us : worker->publish_us)),
		 worker->batch.in_flight);
}

static void on_stall_timer(struct worker *worker)
{
	int64_t now = worker_now_us(worker);
	worker->stall_timer_us = 0;
	if (!engine_waits_for_sink(&worker->engine) || now < stalled_at(worker)) {
		watch_for_stall(worker);
		return;
	}
	log_stall(worker, now);
	worker_tell(worker, ON_STALLED);
}

void worker_on_timer(struct worker *worker, enum worker_timer timer)
{
	if (timer == WORKER_TIMER_WAKE)
		worker_tell(worker, ON_TIMER);
	else if (timer == WORKER_TIMER_STALL)
		on_stall_timer(worker);
	else
		worker_peers_on_timer(worker);
}

void worker_reload(struct worker *worker, const struct engine_options *options, int64_t stall_us)
{
	engine_reload(&worker->engine, options);
	worker->stall_us = stall_us;
	worker_tell(worker, ON_RELOADED);
}

void worker_watch(struct worker *worker, int64_t for_us)
{
	worker->source->watched_us = worker_now_us(worker) + for_us;
}

/* For how long nothing has moved though something might have: a peer counts from its return on. */
static int64_t idle_us(const struct worker *worker)
{
	int64_t now = worker_now_us(worker), idle = now;
	const int64_t without[] = {now - worker->moved_us, now - worker->waiting_us,
				   now - worker->excused_us,
				   worker_peer_answers_us(worker, PEER_DATABASE),
				   worker_peer_answers_us(worker, PEER_KAFKA)};

	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
		if (without[i] < idle)
			idle = without[i];
	return worker->excused || is_excused(worker) || idle < 0 ? 0 : idle;
}

void worker_status(const struct worker *worker, struct worker_status *status)
{
	const struct source *source = worker->source;
	bool blocked = waits_for_topic(worker);
	*status = (struct worker_status){
	    .state = source->halted ? "halted" : engine_state_name(worker->engine.state),
	    .engine = worker->engine.state,
	    .state_us = worker_now_us(worker) - worker->state_us,
	    .low_watermark = source->position,
	    .batch_events = worker->batch.events,
	    .in_flight = worker->batch.in_flight,
	    .published = worker->published,
	    .working = engine_is_working(&worker->engine) && !source->halted,
	    .flapping = worker_peer_flaps(worker, PEER_DATABASE),
	    .acquired = worker->acquired,
	    .standby = worker->standby_for,
	    .unavailable = worker->yields,
	    .obstacle = source->obstacle,
	    .unconfirmed = source->unconfirmed,
	    .refusal = source->refusal[0] != '\0' || source->held_why == NULL ? source->refusal
									      : source->held_why,
	    .stopped_by_refusal = source->refusal[0] != '\0' || source->halted,
	    .halted_at = source->halted ? &source->halted_at : NULL,
	    .lost_why = worker->lost_why,
	    .held_keys = source->held_keys,
	    .shards = &source->shards,
	    .waiting = worker->waiting_us > 0 || worker->batch.events > 0,
	    .idle_us = idle_us(worker),
	    .trouble = worker->sink->trouble != NULL ? worker->sink->trouble : "",
	    .login_refused = worker->sink->login_refused,
	    .blocked_us = blocked ? worker_now_us(worker) - worker->blocked_us : -1,
	    .blocked_topic = worker->blocked_topic,
	    .deferred_topic = source->deferred_topic,
	    .outage_us = {worker_peer_outage_us(worker, PEER_DATABASE),
			  worker_peer_outage_us(worker, PEER_KAFKA)},
	    .answers_us = {worker_peer_answers_us(worker, PEER_DATABASE),
			   worker_peer_answers_us(worker, PEER_KAFKA)},
	    .relays = source->relays,
	    .relay_count = source->relay_count,
	    .actions = source->actions,
	    .action_count = source->action_count,
	};
}
