/*
 * shard.c - one shard at work: carries out what the engine says, through a source and a sink
 */
#include "shard.h"

#include "log.h"
#include "xalloc.h"

#include <stdlib.h>

struct shard {
	struct engine engine;
	struct batch batch;
	int64_t stall_us;
	const struct shard_world *world; /* borrowed, like all of these */
	struct metrics *metrics;
	struct source *source;
	struct sink *sink;
	struct route *route;

	/* what producing leaves for the engine, told once the current step is done */
	bool tell_blocked, tell_progress;
	bool stall_timer_set;
	bool acquired, ever_acquired;
	bool refused; /* by the source, before anything had ever worked */

	int64_t claim_sent_us, claim_us; /* of the batch: last ask, sum of the answers' times */
	int64_t publish_us, settle_us;	 /* when they began */
	int64_t progress_us;		 /* last report, or begin of the batch */
	int64_t moved_us, waiting_us;	 /* last delivery; since when events wait (0: none do) */
	int64_t blocked_us;		 /* since when the sink takes nothing (0: it does) */
	uint64_t published;
};

static void step(struct shard *shard, struct engine_input input);

static int64_t now_us(const struct shard *shard)
{
	return shard->world->monotonic_us(shard->world->arg);
}

static double seconds(int64_t microseconds)
{
	return (double)microseconds / 1e6;
}

static void tell(struct shard *shard, enum engine_event event)
{
	step(shard, (struct engine_input){.event = event});
}

/* ---- publishing ---- */

/* The topic an event would go to, for counting; "" when it cannot be told. */
static struct slice topic_of(struct shard *shard, const struct event *event)
{
	struct message message;
	struct error ignored;
	if (route_event(shard->route, event, &message, &ignored) != REJECT_NONE)
		return slice_of("");
	return message.topic;
}

static void reject(struct shard *shard, struct event *event, enum reject_reason reason,
		   const char *why)
{
	bool halts = !shard->engine.options.set_aside;
	log_error("event %lld is rejected (%s): %s; %s", (long long)event->id,
		  reject_reason_name(reason), why,
		  halts ? "the relay halts: mend or remove the row, or set outbox.on_reject = "
			  "\"dead-letter\", then start it again"
			: "it is set aside in outbox_relay.dead_letters");
	metrics_topic(shard->metrics, topic_of(shard, event))->rejected[reason]++;
	batch_reject(&shard->batch, event, reason, why);
	shard->tell_progress = true;
}

/* Hands the next event to the sink. False if there is no going on for now. */
static bool produce_one(struct shard *shard, struct event *event)
{
	struct message message;
	struct error err;
	enum reject_reason reason = route_event(shard->route, event, &message, &err);
	enum sink_answer answer = SINK_REFUSED;
	if (reason == REJECT_NONE)
		answer = shard->sink->ops->produce(shard->sink, event, &message, &reason, &err);
	switch (answer) {
	case SINK_TAKEN:
		batch_sent(&shard->batch, event);
		return true;
	case SINK_LATER:
		shard->tell_blocked = true;
		return false;
	case SINK_REFUSED:
		break;
	}
	reject(shard, event, reason, err.text);
	/* Nothing behind a rejected event may go out when the relay is to halt at it. */
	return shard->engine.options.set_aside;
}

static void produce(struct shard *shard)
{
	struct event *event;
	while ((event = batch_next(&shard->batch)) != NULL)
		if (!produce_one(shard, event))
			break;
	shard->tell_progress = true;
}

/* ---- carrying out what the engine says ---- */

static void claim(struct shard *shard, const struct claim *claim)
{
	shard->claim_sent_us = now_us(shard);
	shard->source->ops->claim(shard->source, claim);
}

static void settle(struct shard *shard, bool more)
{
	struct metrics *metrics = shard->metrics;
	shard->settle_us = now_us(shard);
	histogram_observe(&metrics->claim, seconds(shard->claim_us));
	histogram_observe(&metrics->publish, seconds(shard->settle_us - shard->publish_us));
	histogram_observe(&metrics->batch_events, (double)shard->batch.events);
	shard->claim_us = 0;
	shard->source->ops->settle(shard->source, &shard->batch, more);
}

static void clear(struct shard *shard)
{
	batch_clear(&shard->batch);
	shard->claim_us = 0;
}

static void count_wakeup(struct shard *shard, enum engine_cause cause)
{
	static const enum metrics_wakeup wakeups[] = {
	    [CAUSE_BELL] = WAKEUP_BELL,
	    [CAUSE_POLL] = WAKEUP_POLL,
	    [CAUSE_SWEEP] = WAKEUP_SWEEP,
	};
	shard->metrics->wakeups[wakeups[cause]]++;
}

static void close_source(struct shard *shard, bool at_once)
{
	if (at_once)
		shard->source->ops->drop(shard->source);
	else
		shard->source->ops->close(shard->source);
}

static void perform(struct shard *shard, const struct engine_action *action)
{
	struct source *source = shard->source;
	const struct shard_world *world = shard->world;
	switch (action->kind) {
	case DO_ACQUIRE:
		source->ops->acquire(source);
		break;
	case DO_CLAIM:
		claim(shard, &action->claim);
		break;
	case DO_PRODUCE:
		produce(shard);
		break;
	case DO_SETTLE:
		settle(shard, action->more);
		break;
	case DO_END:
		source->ops->end(source);
		break;
	case DO_WITHDRAW:
		source->ops->withdraw(source);
		break;
	case DO_RECOVER:
		source->ops->recover(source, &shard->batch, action->set_aside);
		break;
	case DO_BELL_ON:
	case DO_BELL_OFF:
		source->ops->bell(source, action->kind == DO_BELL_ON);
		break;
	case DO_HOUSEKEEP:
		source->ops->housekeep(source, shard->engine.horizon.floor);
		break;
	case DO_TIMER:
		world->set_timer(world->arg, SHARD_TIMER_WAKE, action->after_us);
		break;
	case DO_REBUILD:
		shard->sink->ops->rebuild(shard->sink);
		break;
	case DO_SKIP_UNSENT:
		batch_skip_unsent(&shard->batch);
		break;
	case DO_CLEAR:
		clear(shard);
		break;
	case DO_WOKEN:
		count_wakeup(shard, action->cause);
		break;
	case DO_CLOSE:
	case DO_DROP:
		close_source(shard, action->kind == DO_DROP);
		break;
	case DO_STOPPED:
		world->stopped(world->arg, shard->engine.halting || shard->refused);
		break;
	}
}

/* Reports that trickle in keep the transaction open, but not for so long that the server ends the
 * session (idle_in_transaction_session_timeout is 30 s more than stall_timeout). */
enum { TRICKLE_US = 10 * 1000 * 1000 };

static int64_t stalled_at(const struct shard *shard)
{
	int64_t without_report = shard->progress_us + shard->stall_us;
	int64_t at_most = shard->engine.begun_us + shard->stall_us + TRICKLE_US;
	return without_report < at_most ? without_report : at_most;
}

static void watch_for_stall(struct shard *shard)
{
	const struct shard_world *world = shard->world;
	if (shard->stall_timer_set || !engine_waits_for_sink(&shard->engine))
		return;
	shard->stall_timer_set = true;
	int64_t left = stalled_at(shard) - now_us(shard);
	world->set_timer(world->arg, SHARD_TIMER_STALL, left > 0 ? left : 0);
}

static void step_once(struct shard *shard, struct engine_input input)
{
	struct engine_actions actions;
	enum engine_state before = shard->engine.state;
	input.now_us = now_us(shard);
	input.owes = shard->source->ops->owes(shard->source);
	engine_step(&shard->engine, &input, &actions);
	if (before != shard->engine.state)
		log_debug("shard 0: %s -> %s", engine_state_name(before),
			  engine_state_name(shard->engine.state));
	if (!engine_is_blocked(&shard->engine))
		shard->blocked_us = 0;
	else if (shard->blocked_us == 0)
		shard->blocked_us = input.now_us;
	for (unsigned i = 0; i < actions.count; i++)
		perform(shard, &actions.items[i]);
	if (before != shard->engine.state && shard->world->changed != NULL)
		shard->world->changed(shard->world->arg);
}

static void step(struct shard *shard, struct engine_input input)
{
	step_once(shard, input);
	while (shard->tell_blocked || shard->tell_progress) {
		bool blocked = shard->tell_blocked;
		if (blocked)
			shard->tell_blocked = false;
		else
			shard->tell_progress = false;
		step_once(shard,
			  (struct engine_input){.event = blocked ? ON_BLOCKED : ON_PROGRESS});
	}
	watch_for_stall(shard);
}

/* ---- what the source tells ---- */

static void on_acquired(void *owner)
{
	struct shard *shard = owner;
	shard->acquired = shard->ever_acquired = true;
	shard->metrics->shard_owned = true;
	shard->metrics->connected[PEER_DATABASE] = true;
	step(shard,
	     (struct engine_input){.event = ON_ACQUIRED, .has_bell = shard->source->has_bell});
}

static void on_busy(void *owner)
{
	struct shard *shard = owner;
	shard->ever_acquired = true; /* the set-up works, as far as a standby can tell */
	if (shard->engine.failures > 0 || !shard->metrics->connected[PEER_DATABASE])
		log_info("shard 0 belongs to another relay; standing by");
	shard->metrics->connected[PEER_DATABASE] = true;
	tell(shard, ON_BUSY);
}

static void on_lost(void *owner, const char *why)
{
	struct shard *shard = owner;
	shard->acquired = false;
	shard->metrics->shard_owned = false;
	shard->metrics->connected[PEER_DATABASE] = false;
	shard->metrics->retries[PEER_DATABASE]++;
	log_warning("the session with the database is gone: %s; %s", why,
		    shard->batch.sent > 0 ? "what was published is remembered and settled after "
					    "reconnecting"
					  : "reconnecting");
	tell(shard, ON_LOST);
}

/* What nobody has ever seen work is a mistake in the set-up: say so and end. Once it has worked,
 * somebody may be at it right now (a migration, a password change): go on trying. */
static void on_refused(void *owner, const char *why)
{
	struct shard *shard = owner;
	if (shard->ever_acquired) {
		on_lost(owner, why);
		return;
	}
	log_error("%s", why);
	shard->refused = true;
	tell(shard, ON_STOP_NOW);
}

static void on_claimed(void *owner, struct chunk *chunk)
{
	struct shard *shard = owner;
	struct engine_input input = {
	    .event = ON_CLAIMED, .count = (int64_t)chunk->count, .cut = chunk->cut};
	shard->claim_us += now_us(shard) - shard->claim_sent_us;
	if (chunk->count > 0) {
		input.first = chunk->events[0].id;
		input.last = chunk->events[chunk->count - 1].id;
		if (shard->waiting_us == 0)
			shard->waiting_us = now_us(shard);
		/* Not at the first send: a sink may say LATER for as long as it likes. */
		if (shard->batch.events == 0)
			shard->publish_us = shard->progress_us = now_us(shard);
		batch_add(&shard->batch, chunk);
	} else {
		chunk->free(chunk);
	}
	step(shard, input);
}

static void on_settled(void *owner)
{
	struct shard *shard = owner;
	shard->moved_us = now_us(shard);
	histogram_observe(&shard->metrics->settle, seconds(shard->moved_us - shard->settle_us));
	clear(shard);
	tell(shard, ON_SETTLED);
}

static void on_withdrawn(void *owner)
{
	tell(owner, ON_WITHDRAWN);
}

static void on_recovered(void *owner)
{
	struct shard *shard = owner;
	if (shard->batch.delivered > 0)
		log_info("settled %zu published events by their identity", shard->batch.delivered);
	shard->moved_us = now_us(shard);
	clear(shard);
	tell(shard, ON_RECOVERED);
}

static void on_observed(void *owner, int64_t drawn, const struct writers *writers)
{
	step(owner,
	     (struct engine_input){.event = ON_OBSERVED, .drawn = drawn, .writers = writers});
}

static void on_rung(void *owner)
{
	tell(owner, ON_RUNG);
}

static void on_gauged(void *owner, const struct gauges *gauges)
{
	struct shard *shard = owner;
	shard->metrics->depth = gauges->depth;
	shard->metrics->oldest_age_seconds = gauges->oldest_age_seconds;
	shard->metrics->dead_letters = gauges->dead_letters;
	if (gauges->depth <= 0)
		shard->waiting_us = 0;
	else if (shard->waiting_us == 0)
		shard->waiting_us = now_us(shard);
	if (gauges->unfinished)
		shard->engine.housekeep_at_us = 0;
}

static void on_closed(void *owner)
{
	tell(owner, ON_CLOSED);
}

const struct source_events shard_source_events = {
    .acquired = on_acquired,
    .busy = on_busy,
    .lost = on_lost,
    .refused = on_refused,
    .claimed = on_claimed,
    .settled = on_settled,
    .withdrawn = on_withdrawn,
    .recovered = on_recovered,
    .observed = on_observed,
    .rung = on_rung,
    .gauged = on_gauged,
    .closed = on_closed,
};

/* ---- what the sink tells ---- */

static void reported(struct shard *shard)
{
	shard->progress_us = now_us(shard);
	if (shard->batch.outstanding == 0 || shard->tell_progress)
		tell(shard, ON_PROGRESS);
}

static void on_delivered(void *owner, struct event *event)
{
	struct shard *shard = owner;
	if (event->created_us > 0) {
		int64_t age = shard->world->realtime_us(shard->world->arg) - event->created_us;
		histogram_observe(&shard->metrics->latency, age > 0 ? seconds(age) : 0);
	}
	shard->published++;
	batch_delivered(&shard->batch, event);
	reported(shard);
	shard->moved_us = shard->progress_us;
}

static void on_rejected(void *owner, struct event *event, enum reject_reason reason,
			const char *why)
{
	struct shard *shard = owner;
	reject(shard, event, reason, why);
	reported(shard);
}

static void on_returned(void *owner, struct event *event)
{
	struct shard *shard = owner;
	batch_returned(&shard->batch, event);
	reported(shard);
}

static void on_writable(void *owner)
{
	struct shard *shard = owner;
	/* Whether the relay is stuck counts from here: until now it was the sink's turn. */
	shard->moved_us = now_us(shard);
	tell(shard, ON_WRITABLE);
}

static void on_broken(void *owner, const char *why)
{
	log_warning(
	    "the producer must be rebuilt: %s; what was not acknowledged is published again", why);
	tell(owner, ON_BROKEN);
}

static void on_reachable(void *owner, bool yes)
{
	tell(owner, yes ? ON_REACHABLE : ON_UNREACHABLE);
}

static void on_ready(void *owner)
{
	tell(owner, ON_READY);
}

const struct sink_events shard_sink_events = {
    .delivered = on_delivered,
    .rejected = on_rejected,
    .returned = on_returned,
    .writable = on_writable,
    .broken = on_broken,
    .reachable = on_reachable,
    .ready = on_ready,
};

/* ---- the owner's side ---- */

struct shard *shard_new(const struct engine_options *options, int64_t stall_us,
			const struct shard_world *world, struct metrics *metrics, uint64_t seed)
{
	struct shard *shard = xcalloc(1, sizeof(*shard));
	engine_init(&shard->engine, options, &shard->batch, seed);
	shard->stall_us = stall_us;
	shard->world = world;
	shard->metrics = metrics;
	return shard;
}

void shard_attach(struct shard *shard, struct source *source, struct sink *sink,
		  struct route *route)
{
	shard->source = source;
	shard->sink = sink;
	shard->route = route;
}

void shard_free(struct shard **shard)
{
	if (*shard == NULL)
		return;
	/* What the sink still held has been taken from it by now: nothing is outstanding. */
	(*shard)->batch.outstanding = 0;
	batch_clear(&(*shard)->batch);
	free(*shard);
	*shard = NULL;
}

void shard_start(struct shard *shard)
{
	tell(shard, ON_START);
}

void shard_stop(struct shard *shard, bool now)
{
	tell(shard, now ? ON_STOP_NOW : ON_STOP);
}

static void on_stall_timer(struct shard *shard)
{
	int64_t now = now_us(shard);
	shard->stall_timer_set = false;
	if (!engine_waits_for_sink(&shard->engine) || now < stalled_at(shard)) {
		watch_for_stall(shard);
		return;
	}
	bool silent = now - shard->progress_us >= shard->stall_us;
	log_warning("Kafka %s for %.0f s: the transaction is rolled back so that it does not hold "
		    "up vacuum; %zu events stay with the producer",
		    silent ? "has acknowledged nothing" : "has not acknowledged a batch",
		    seconds(now - (silent ? shard->progress_us : shard->engine.begun_us)),
		    shard->batch.outstanding);
	tell(shard, ON_STALLED);
}

void shard_on_timer(struct shard *shard, enum shard_timer timer)
{
	if (timer == SHARD_TIMER_WAKE)
		tell(shard, ON_TIMER);
	else
		on_stall_timer(shard);
}

void shard_reload(struct shard *shard, const struct engine_options *options, int64_t stall_us)
{
	shard->engine.options = *options;
	shard->engine.waker.poll_us = options->poll_us;
	shard->stall_us = stall_us;
}

static bool is_working(enum engine_state state)
{
	return state == ENGINE_CLAIMING || state == ENGINE_PUBLISHING || state == ENGINE_SETTLING ||
	       state == ENGINE_RESTING;
}

void shard_status(const struct shard *shard, struct shard_status *status)
{
	int64_t since = shard->moved_us > shard->waiting_us ? shard->moved_us : shard->waiting_us;
	bool blocked = engine_is_blocked(&shard->engine) && !shard->engine.sink_broken &&
		       shard->batch.outstanding == 0;
	*status = (struct shard_status){
	    .state = engine_state_name(shard->engine.state),
	    .floor = shard->engine.horizon.floor,
	    .batch_events = shard->batch.events,
	    .outstanding = shard->batch.outstanding,
	    .published = shard->published,
	    .working = is_working(shard->engine.state),
	    .acquired = shard->acquired,
	    .standby = shard->engine.state == ENGINE_STANDBY,
	    .waiting = shard->waiting_us > 0 || shard->batch.events > 0,
	    .idle_us = now_us(shard) - since,
	    .blocked_us = blocked ? now_us(shard) - shard->blocked_us : -1,
	};
}
