/* SPDX-License-Identifier: ISC */
/*
 * outbox.c - the outbox table as a source: puts its parts together
 *
 * poll.c decides; it is told here what the source is asked and what its parts answer, and what it
 * says is carried out here. An error that no part deals with ends the session.
 */
#include "parts.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "columns.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOUSEKEEP_US = 5 * 1000 * 1000, STREAM_EVENTS = 32 };

enum {
	TAG_SETTLED = TAG_IGNORE + 1,
	TAG_ENDED, /* a transaction that leaves nothing to be published */
	TAG_TRIED, /* likewise: of an event that was tried alone */
	TAG_CLOSE
};

static struct outbox *outbox_of(struct source *source)
{
	return (struct outbox *)source;
}

/* ---- carrying out what poll.c says ---- */

static void on_rolled_back(void *owner);

static void undo(struct outbox *outbox)
{
	durable_forget(outbox->durable);
	if (examiner_rolls_back(outbox->examiner))
		return;
	if (PLANTED("settle-on-stall"))
		session_ask_text(&outbox->asker, TAG_IGNORE, "COMMIT", NULL, 0);
	session_roll_back(outbox->session, on_rolled_back, outbox);
}

static void housekeep(struct outbox *outbox)
{
	/* What is held waits too, below the low watermark. */
	bool all = !held_is_empty(outbox->held);
	ranges_run(outbox->ranges, outbox->poll.horizon.low_watermark);
	purger_forget(outbox->purger);
	if (ranges_leave_rows(outbox->ranges))
		purger_run(outbox->purger, outbox->poll.horizon.low_watermark);
	held_retest(outbox->held);
	letters_count(outbox->letters);
	gauger_ask(outbox->gauger, all ? 0 : outbox->poll.horizon.low_watermark);
}

static void tell_fetched(struct outbox *outbox, const struct poll_action *action)
{
	struct chunk *chunk = outbox->answered;
	assert(chunk != NULL);
	outbox->answered = NULL;
	chunk->took_us = action->took_us;
	durable_add(outbox->durable, chunk, action->last);
}

static void count_wakeup(struct outbox *outbox, enum poll_cause cause)
{
	static const enum metrics_wakeup wakeups[] = {
	    [CAUSE_BELL] = WAKEUP_BELL,
	    [CAUSE_POLL] = WAKEUP_POLL,
	    [CAUSE_SWEEP] = WAKEUP_SWEEP,
	};
	outbox->metrics->wakeups[wakeups[cause]]++;
}

/* What tells the owner something comes last in a step: the owner asks for more immediately, and
 * that is a step too. */
static void perform(struct outbox *outbox, const struct poll_action *action)
{
	switch (action->kind) {
	case POLL_DO_LOOK:
		membership_poll(outbox->membership, !outbox->poll.available, action->keeps);
		actions_look(outbox->actions);
		break;
	case POLL_DO_CLAIM:
		if (action->claim.opens)
			take_up_ask(outbox->take_up);
		if (action->claim.alone)
			trial_ask(outbox->trial);
		else if (action->claim.letters)
			letters_ask(outbox->letters, &action->claim);
		else
			claimer_ask(outbox->claimer, &action->claim);
		break;
	case POLL_DO_TELL:
		tell_fetched(outbox, action);
		break;
	case POLL_DO_END:
		session_commit(&outbox->asker, action->claim.alone ? TAG_TRIED : TAG_ENDED);
		break;
	case POLL_DO_ROLL_BACK:
		undo(outbox);
		break;
	case POLL_DO_ABORT:
		durable_forget(outbox->durable);
		examiner_abort(outbox->examiner);
		break;
	case POLL_DO_TELL_ROLLED_BACK:
		outbox->source.events->rolled_back(outbox->source.owner);
		break;
	case POLL_DO_RECONCILE:
		reconciler_start(outbox->reconciler, outbox->orphans, outbox->policy);
		break;
	case POLL_DO_RESOLVE:
		producers_resolve(outbox->producers, outbox->ledger);
		break;
	case POLL_DO_BELL_ON:
	case POLL_DO_BELL_OFF:
		bell_set(outbox->bell, action->kind == POLL_DO_BELL_ON);
		break;
	case POLL_DO_HOUSEKEEP:
		housekeep(outbox);
		break;
	case POLL_DO_RETEST:
		held_retest(outbox->held);
		break;
	case POLL_DO_WOKEN:
		count_wakeup(outbox, action->cause);
		break;
	case POLL_DO_CLOSE:
		producers_leave(outbox->producers);
		membership_leave(outbox->membership);
		session_ask_text(&outbox->asker, TAG_CLOSE, "SELECT", NULL, 0);
		session_sync(outbox->session);
		break;
	case POLL_DO_TIMER:
		loop_timer_set(outbox->poll_timer, action->after_us);
		break;
	}
}

/* ---- telling poll.c ---- */

static void step(struct outbox *outbox, struct poll_input input)
{
	const struct config *config = outbox->config;
	struct poll_options options = {.claim_rows = config->outbox.claim_rows,
				       .poll_us = config->outbox.poll_interval_ms * 1000,
				       .sweep_us = config->outbox.sweep_interval_ms * 1000,
				       .housekeep_us = HOUSEKEEP_US,
				       .stream_events = STREAM_EVENTS};
	struct poll_actions actions;
	input.now_us = clock_monotonic_us();
	outbox->metrics->halted = input.halted = held_halts(outbox->held);
	input.releases = held_releases(outbox->held);
	input.tries = held_tries(outbox->held);
	input.letters = letters_are_due(outbox->letters);
	input.unconfirmed = durable_is_late(outbox->durable);
	poll_step(&outbox->poll, &options, &input, &actions);
	outbox->source.position = outbox->poll.horizon.low_watermark;
	for (unsigned i = 0; i < actions.count; i++)
		perform(outbox, &actions.items[i]);
}

static void tell(struct outbox *outbox, enum poll_event event)
{
	step(outbox, (struct poll_input){.event = event});
}

static void on_timer(void *arg)
{
	tell(arg, POLL_TIMER);
}

/* ---- what the parts tell ---- */

static void acquired(struct outbox *outbox, bool gained)
{
	step(outbox, (struct poll_input){.event = POLL_LOOKED,
					 .has_bell = true,
					 .has_peers = membership_peers(outbox->membership).any,
					 .gained = gained});
	outbox->source.types = columns_types(session_shape(outbox->session));
	outbox->source.events->acquired(outbox->source.owner, gained,
					membership_sink_peers(outbox->membership));
}

static void on_kept(void *owner)
{
	acquired(owner, false);
}

static void on_owned(void *owner)
{
	letters_look(((struct outbox *)owner)->letters);
	acquired(owner, true);
}

static void on_probed(void *owner)
{
	producers_own(((struct outbox *)owner)->producers);
}

static bool on_given(void *owner, const struct shards *shards)
{
	return producers_give(((struct outbox *)owner)->producers, shards);
}

static void on_busy(void *owner, const char *why, bool yields)
{
	struct outbox *outbox = owner;
	if (!producers_stand_by(outbox->producers, !outbox->poll.available))
		return;
	ranges_make(outbox->ranges);
	tell(outbox, POLL_BUSY);
	outbox->source.events->busy(outbox->source.owner, why, yields,
				    membership_sink_peers(outbox->membership));
}

static void on_ready(void *owner)
{
	struct outbox *outbox = owner;
	producers_begin(outbox->producers, !outbox->poll.available);
}

static void on_slotted(void *owner)
{
	struct outbox *outbox = owner;
	heartbeat_begin(outbox->heartbeat);
	durable_begin(outbox->durable);
	letters_prepare(outbox->letters);
	session_serve(outbox->session);
	membership_join(outbox->membership, !outbox->poll.available);
}

static void on_observed(void *owner, int64_t drawn, const struct writers *writers)
{
	step(owner,
	     (struct poll_input){.event = POLL_OBSERVED, .drawn = drawn, .writers = writers});
}

static void on_claimed(void *owner, struct chunk *chunk, const struct claim_answer *answer)
{
	struct outbox *outbox = owner;
	struct poll_input input = {.event = POLL_CLAIMED, .answer = *answer};
	outbox->source.refusal[0] = '\0';
	input.answer.count = (int64_t)chunk->count;
	input.answer.bytes = chunk->bytes;
	if (chunk->count > 0)
		input.answer.first = chunk->events[0].id;
	outbox->answered = chunk;
	step(outbox, input);
	if (outbox->answered != NULL) /* it was not asked for, or it is empty */
		outbox->answered->free(outbox->answered);
	outbox->answered = NULL;
}

static void on_wrong(void *owner, const struct claim_trouble *trouble)
{
	struct outbox *outbox = owner;
	durable_forget(outbox->durable);
	examiner_claim_failed(outbox->examiner, trouble);
}

static void on_failed(void *owner, const struct failure *failure)
{
	struct outbox *outbox = owner;
	if (failure->why != NULL)
		text_print(outbox->source.refusal, sizeof(outbox->source.refusal), "%s",
			   failure->why);
	step(outbox, (struct poll_input){
			 .event = POLL_FAILED, .narrow = failure->narrow, .wait = failure->wait});
	outbox->source.events->failed(outbox->source.owner);
}

static void on_passed(void *owner, struct chunk *chunk, bool last)
{
	struct outbox *outbox = owner;
	outbox->source.events->fetched(outbox->source.owner, chunk, last);
}

static void on_confirmed(void *owner, bool yes)
{
	if (yes)
		tell(owner, POLL_RELEASED);
	else
		examiner_give_back(((struct outbox *)owner)->examiner);
}

static void on_rolled_back(void *owner)
{
	struct outbox *outbox = owner;
	tell(outbox, POLL_ROLLED_BACK);
	outbox->source.events->rolled_back(outbox->source.owner);
}

static void on_reconciled(void *owner)
{
	struct source *source = &((struct outbox *)owner)->source;
	tell(owner, POLL_RECONCILED);
	source->events->reconciled(source->owner);
}

static void on_resolved(void *owner, int64_t events)
{
	struct source *source = &((struct outbox *)owner)->source;
	tell(owner, POLL_RECONCILED);
	source->events->resolved(source->owner, events);
}

static void on_unresolved(void *owner)
{
	struct source *source = &((struct outbox *)owner)->source;
	tell(owner, POLL_RECONCILED);
	source->events->failed(source->owner);
}

static void on_gauged(void *owner, const struct gauges *gauges)
{
	struct outbox *outbox = owner;
	if (purger_has_more(outbox->purger))
		tell(outbox, POLL_UNFINISHED);
	struct gauges all = *gauges;
	letters_add(outbox->letters, &all);
	outbox->source.events->gauged(outbox->source.owner, &all);
}

static void on_released(void *owner, bool more)
{
	if (more)
		tell(owner, POLL_UNFINISHED);
	tell(owner, POLL_RELEASED);
}

static void pass_on(void *owner, enum notified_kind kind)
{
	static const enum poll_event events[] = {[NOTIFIED_RING] = POLL_RUNG,
						 [NOTIFIED_REST] = POLL_RESTED,
						 [NOTIFIED_GROUP] = POLL_MEMBERSHIP};
	tell(owner, events[kind]);
}

/* ---- what the session tells ---- */

static void on_connected(void *owner)
{
	opening_begin(((struct outbox *)owner)->opening);
}

/* An operator has asked for something. */
static void on_letters(struct outbox *outbox)
{
	letters_look(outbox->letters);
	tell(outbox, POLL_RELEASED);
}

static void on_notified(void *owner, const char *payload, int sender)
{
	struct outbox *outbox = owner;
	char *words;
	if (strtoul(payload, &words, 10) != session_shape(outbox->session)->oid)
		return;
	if (strncmp(words, " free ", 6) == 0)
		membership_freed(outbox->membership, words + 6, sender);
	if (strcmp(words, " letters") == 0)
		on_letters(outbox);
	else
		notified_receive(outbox->notified, words);
}

static void on_ended(void *owner)
{
	bell_ended(((struct outbox *)owner)->bell);
}

static bool on_heard(void *owner)
{
	return heartbeat_heard(((struct outbox *)owner)->heartbeat);
}

static void on_gone(void *owner, bool permanent, const char *why)
{
	struct outbox *outbox = owner;
	outbox->source.renews = session_renews(outbox->session);
	outbox->source.events->lost(outbox->source.owner, why, permanent);
}

static void on_settled(struct outbox *outbox)
{
	producers_settled(outbox->producers);
	letters_settled(outbox->letters);
	tell(outbox, POLL_SETTLED);
	outbox->source.events->settled(outbox->source.owner);
}

static void on_closed(struct outbox *outbox)
{
	session_close(outbox->session);
	outbox->source.events->closed(outbox->source.owner);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	if (tag != TAG_CLOSE) {
		bool committed = session_committed(outbox->session, result);
		if (committed && tag != TAG_ENDED)
			held_end_try(outbox->held, true);
		if (committed && tag == TAG_SETTLED)
			on_settled(outbox);
		return;
	}
	on_closed(outbox);
	PQclear(result);
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	session_guard(outbox->session); /* a row that was set aside may not go, either */
	if (failure->tag != TAG_SETTLED)
		return false;
	examiner_commit_refused(outbox->examiner, failure);
	return true;
}

static void on_lost(void *part)
{
	struct outbox *outbox = part;
	notified_forget(outbox->notified);
	tell(outbox, POLL_LOST);
}

/* ---- what the source is asked ---- */

static void open_session(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	outbox->source.renews = false;
	tell(outbox, POLL_OPEN);
	session_open(outbox->session);
}

static void available(struct source *source, bool yes)
{
	step(outbox_of(source), (struct poll_input){.event = POLL_AVAILABLE, .available = yes});
}

static void fetch(struct source *source, const struct fetch *fetch)
{
	step(outbox_of(source), (struct poll_input){.event = POLL_FETCH, .fetch = *fetch});
}

static void hold(struct source *source, bool keeps)
{
	step(outbox_of(source), (struct poll_input){.event = POLL_HOLD, .keeps = keeps});
}

static void settle(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	producers_settle(outbox->producers);
	session_commit(&outbox->asker, TAG_SETTLED);
	tell(outbox, POLL_SETTLE);
}

static void roll_back(struct source *source)
{
	tell(outbox_of(source), POLL_ROLL_BACK);
}

static void reconcile(struct source *source, const struct batch *batch, enum reject_policy policy)
{
	struct outbox *outbox = outbox_of(source);
	outbox->orphans = batch;
	outbox->policy = policy;
	tell(outbox, POLL_RECONCILE);
}

static void describe(struct source *source, const struct batch *batch,
		     struct ledger_batch *described)
{
	producers_describe(outbox_of(source)->producers, batch, described);
}

static void resolve(struct source *source, const struct ledger *ledger)
{
	struct outbox *outbox = outbox_of(source);
	outbox->ledger = ledger;
	tell(outbox, POLL_RESOLVE);
}

static void close_when_done(struct source *source)
{
	tell(outbox_of(source), POLL_CLOSE);
}

static void drop(struct source *source)
{
	session_close(outbox_of(source)->session);
}

int outbox_field(const char *name, void *source)
{
	return opening_field(outbox_of(source)->opening, name);
}

/* ---- making one ---- */

static const struct source_ops source_ops = {
    .open = open_session,
    .available = available,
    .fetch = fetch,
    .hold = hold,
    .settle = settle,
    .roll_back = roll_back,
    .reconcile = reconcile,
    .describe = describe,
    .resolve = resolve,
    .close = close_when_done,
    .drop = drop,
};
static const struct session_events session_events = {
    .connected = on_connected,
    .notified = on_notified,
    .heard = on_heard,
    .ended = on_ended,
    .gone = on_gone,
};
static const struct asker_ops asker_ops = {on_answered, on_refused, on_lost};
static const struct opening_events opening_events = {on_ready, on_probed};
static const struct membership_events membership_events = {on_kept, on_busy, on_given};
static const struct producers_events producers_events = {on_slotted, on_owned, on_resolved,
							 on_unresolved};
static const struct claimer_events claimer_events = {on_observed, on_claimed, on_wrong};
static const struct durable_events durable_events = {on_passed, on_confirmed};
static const struct examiner_events examiner_events = {on_failed, on_rolled_back};

static void make_parts(struct outbox *outbox, struct loop *loop)
{
	struct session *session = outbox->session;
	struct source *source = &outbox->source;
	outbox->membership =
	    membership_new(session, outbox->opening, source, &membership_events, outbox);
	outbox->actions = actions_new(session, source);
	outbox->held = held_new(session, outbox->opening, source, on_released, outbox);
	outbox->claimer =
	    claimer_new(session, outbox->opening, outbox->held, &claimer_events, outbox);
	outbox->take_up = take_up_new(session);
	outbox->trial = trial_new(session, outbox->held, &claimer_events, outbox);
	outbox->letters = letters_new(session, source, &claimer_events, outbox);
	outbox->examiner =
	    examiner_new(session, outbox->claimer, outbox->held, &examiner_events, outbox);
	outbox->reconciler = reconciler_new(session, outbox->opening, outbox->held, outbox->letters,
					    on_reconciled, outbox);
	outbox->producers =
	    producers_new(loop, session, source, outbox->reconciler, &producers_events, outbox);
	outbox->purger = purger_new(session);
	outbox->ranges = ranges_new(session, source);
	outbox->gauger = gauger_new(session, on_gauged, outbox);
	outbox->durable =
	    durable_new(loop, session, source, outbox->metrics, &durable_events, outbox);
	outbox->heartbeat = heartbeat_new(loop, session, outbox->claimer, outbox->membership);
	outbox->bell = bell_new(session, outbox->membership);
	outbox->notified = notified_new(loop, pass_on, outbox);
	/* Last: the parts have forgotten the session when poll.c hears of its end. */
	outbox->asker = session_join(session, &asker_ops, outbox);
	outbox->poll_timer = loop_timer_new(loop, on_timer, outbox);
	poll_init(&outbox->poll);
}

struct source *outbox_new(struct loop *loop, const struct config *config, size_t withhold_bytes,
			  struct metrics *metrics, const struct source_events *events, void *owner,
			  struct error *err)
{
	struct outbox *outbox = xcalloc(1, sizeof(*outbox));
	struct source *source = &outbox->source;
	*source = (struct source){.ops = &source_ops, .events = events, .owner = owner};
	outbox->config = config;
	outbox->metrics = metrics;
	outbox->session = session_new(loop, config, &session_events, outbox);
	outbox->opening =
	    opening_new(loop, outbox->session, withhold_bytes, &opening_events, outbox, err);
	if (outbox->opening == NULL)
		outbox_free(&source);
	else
		make_parts(outbox, loop);
	return source;
}
