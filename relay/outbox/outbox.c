/* SPDX-License-Identifier: ISC */
/*
 * outbox.c - the outbox table as a source: puts its parts together
 *
 * poll.c decides; it is told here what the source is asked and what its parts answer, and what it
 * says is carried out here. An error that no part deals with ends the session.
 */
#include "outbox/outbox.h"

#include "actions.h"
#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "examine.h"
#include "heartbeat.h"
#include "membership.h"
#include "notified.h"
#include "purge.h"
#include "reconcile.h"
#include "trial.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOUSEKEEP_US = 5 * 1000 * 1000, STREAM_EVENTS = 32 };

enum {
	TAG_SETTLED = TAG_IGNORE + 1,
	TAG_ENDED, /* a transaction that claimed nothing */
	TAG_GAUGES,
	TAG_CLOSE
};

struct outbox {
	struct source source;	     /* first: the rest of the program sees only this */
	const struct config *config; /* borrowed */
	struct metrics *metrics;     /* borrowed */
	struct session *session;     /* owned, and so are the parts that follow */
	struct asker asker;
	struct opening *opening;
	struct membership *membership;
	struct actions *actions;
	struct held *held;
	struct claimer *claimer;
	struct trial *trial;
	struct examiner *examiner;
	struct reconciler *reconciler;
	struct purger *purger;
	struct heartbeat *heartbeat;
	struct notified *notified;
	struct poll poll;
	struct loop_timer *poll_timer;
	struct chunk *answered; /* owned; of the claim that poll hears of */
	bool rest_due;		/* the bell is to be put to rest behind the transaction */
	struct gauges gauges;	/* the sum so far */
	size_t gauges_left;
};

static struct outbox *outbox_of(struct source *source)
{
	return (struct outbox *)source;
}

/* ---- carrying out what poll.c says ---- */

static void ask_alone(struct outbox *outbox, int tag)
{
	session_ask_text(&outbox->asker, tag, "SELECT", NULL, 0);
	session_sync(outbox->session);
}

static void on_rolled_back(void *owner);

static void undo(struct outbox *outbox)
{
	if (examiner_rolls_back(outbox->examiner))
		return;
	if (PLANTED("settle-on-stall"))
		session_ask_text(&outbox->asker, TAG_IGNORE, "COMMIT", NULL, 0);
	session_roll_back(outbox->session, on_rolled_back, outbox);
}

static void put_bell_to_rest(void *owner)
{
	struct outbox *outbox = owner;
	if (!outbox->rest_due)
		return;
	outbox->rest_due = false;
	session_ask(&outbox->asker, TAG_IGNORE, "bell_off_told", NULL, 0, false);
	session_sync(outbox->session);
}

/* Other relays that may rely on the bell are told that it is put to rest; inside a transaction at
 * its end, since what is told is heard no sooner. */
static void bell(struct outbox *outbox, bool armed)
{
	struct pg_param param = pg_param_text("true");
	outbox->rest_due = !armed && membership_peers(outbox->membership).any;
	if (outbox->rest_due) {
		if (!session_in_transaction(outbox->session))
			put_bell_to_rest(outbox);
		return;
	}
	if (armed)
		session_ask(&outbox->asker, TAG_IGNORE, "bell", &param, 1, false);
	else
		session_ask(&outbox->asker, TAG_IGNORE, "bell_off", NULL, 0, false);
	session_sync(outbox->session);
}

static void housekeep(struct outbox *outbox)
{
	/* What is held waits too, below the low watermark. */
	bool all = !held_is_empty(outbox->held);
	struct pg_int8 first = claim_above(all ? 0 : outbox->poll.horizon.low_watermark);
	struct pg_param params[2] = {pg_param_int8(&first)};
	purger_run(outbox->purger);
	held_retest(outbox->held);
	outbox->gauges = (struct gauges){0};
	outbox->gauges_left = session_own_count(outbox->session);
	session_ask_own_leaves(&outbox->asker, TAG_GAUGES, "gauges", params, 1, false);
	session_sync(outbox->session);
}

static void tell_fetched(struct outbox *outbox, const struct poll_action *action)
{
	struct chunk *chunk = outbox->answered;
	assert(chunk != NULL);
	outbox->answered = NULL;
	chunk->took_us = action->took_us;
	outbox->source.events->fetched(outbox->source.owner, chunk, action->last);
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
		if (action->claim.alone)
			trial_ask(outbox->trial);
		else
			claimer_ask(outbox->claimer, &action->claim);
		break;
	case POLL_DO_TELL:
		tell_fetched(outbox, action);
		break;
	case POLL_DO_END:
		session_commit(&outbox->asker, TAG_ENDED);
		break;
	case POLL_DO_ROLL_BACK:
		undo(outbox);
		break;
	case POLL_DO_ABORT:
		examiner_abort(outbox->examiner);
		break;
	case POLL_DO_TELL_ROLLED_BACK:
		outbox->source.events->rolled_back(outbox->source.owner);
		break;
	case POLL_DO_BELL_ON:
	case POLL_DO_BELL_OFF:
		bell(outbox, action->kind == POLL_DO_BELL_ON);
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
		membership_leave(outbox->membership);
		ask_alone(outbox, TAG_CLOSE);
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

static struct source_peers peers(const struct outbox *outbox)
{
	struct group_peers peers = membership_peers(outbox->membership);
	return (struct source_peers){peers.healthy, peers.suspect};
}

static void acquired(struct outbox *outbox, bool gained)
{
	step(outbox, (struct poll_input){.event = POLL_LOOKED,
					 .has_bell = true,
					 .has_peers = membership_peers(outbox->membership).any,
					 .gained = gained});
	outbox->source.events->acquired(outbox->source.owner, gained, peers(outbox));
}

static void on_kept(void *owner)
{
	acquired(owner, false);
}

static void on_probed(void *owner)
{
	acquired(owner, true);
}

static void on_busy(void *owner, const char *why, bool yields)
{
	struct outbox *outbox = owner;
	tell(outbox, POLL_BUSY);
	outbox->source.events->busy(outbox->source.owner, why, yields, peers(outbox));
}

static void on_ready(void *owner)
{
	struct outbox *outbox = owner;
	heartbeat_begin(outbox->heartbeat);
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
	if (chunk->count > 0) {
		input.answer.first = chunk->events[0].id;
		input.answer.last = chunk->events[chunk->count - 1].id;
	}
	outbox->answered = chunk;
	step(outbox, input);
	if (outbox->answered != NULL) /* it was not asked for, or it is empty */
		outbox->answered->free(outbox->answered);
	outbox->answered = NULL;
}

static void on_wrong(void *owner, const struct claim_trouble *trouble)
{
	examiner_claim_failed(((struct outbox *)owner)->examiner, trouble);
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

static void on_rolled_back(void *owner)
{
	struct outbox *outbox = owner;
	tell(outbox, POLL_ROLLED_BACK);
	outbox->source.events->rolled_back(outbox->source.owner);
}

static void on_reconciled(void *owner)
{
	struct outbox *outbox = owner;
	outbox->source.events->reconciled(outbox->source.owner);
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

static void on_notified(void *owner, const char *payload, int sender)
{
	struct outbox *outbox = owner;
	char *words;
	if (strtoul(payload, &words, 10) != session_shape(outbox->session)->oid)
		return;
	if (strncmp(words, " free ", 6) == 0)
		membership_freed(outbox->membership, words + 6, sender);
	notified_receive(outbox->notified, words);
}

static bool on_heard(void *owner)
{
	return heartbeat_heard(((struct outbox *)owner)->heartbeat);
}

static void on_gone(void *owner, bool permanent, const char *why)
{
	struct outbox *outbox = owner;
	outbox->source.events->lost(outbox->source.owner, why, permanent);
}

/* Of what is beyond the cap the ids tell: those since the first, and of them our shards' part. */
static double depth(const struct outbox *outbox, double count, double first, double drawn)
{
	const struct shards *shards = &outbox->source.shards;
	int ours = session_shape(outbox->session)->partitioned ? 1 : shards_owned(shards);
	double estimate = (drawn - first + 1) * ours / shards->count;
	return count > (double)GAUGE_CAP && estimate > count ? estimate : count;
}

/* A leaf's; told when all are there. */
static void on_gauges(struct outbox *outbox, const PGresult *result)
{
	struct gauges *gauges = &outbox->gauges;
	double count = strtod(PQgetvalue(result, 0, 0), NULL);
	double first = strtod(PQgetvalue(result, 0, 1), NULL);
	double age = strtod(PQgetvalue(result, 0, 2), NULL);
	double drawn = strtod(PQgetvalue(result, 0, 3), NULL);
	gauges->depth += depth(outbox, count, first, drawn);
	if (age > gauges->oldest_age_seconds)
		gauges->oldest_age_seconds = age;
	gauges->dead_letters = strtod(PQgetvalue(result, 0, 4), NULL);
	if (--outbox->gauges_left > 0)
		return;
	if (purger_has_more(outbox->purger))
		tell(outbox, POLL_UNFINISHED);
	outbox->source.events->gauged(outbox->source.owner, gauges);
}

static void on_settled(struct outbox *outbox)
{
	held_end_try(outbox->held, true);
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
	if (tag == TAG_SETTLED || tag == TAG_ENDED) {
		if (session_committed(outbox->session, result) && tag == TAG_SETTLED)
			on_settled(outbox);
		return;
	}
	if (tag == TAG_GAUGES)
		on_gauges(outbox, result);
	else
		on_closed(outbox);
	PQclear(result);
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct outbox *outbox = part;
	if (failure->tag != TAG_SETTLED)
		return false;
	examiner_commit_refused(outbox->examiner, failure);
	return true;
}

static void on_lost(void *part)
{
	struct outbox *outbox = part;
	outbox->rest_due = false;
	notified_forget(outbox->notified);
	tell(outbox, POLL_LOST);
}

/* ---- what the source is asked ---- */

static void open_session(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
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
	session_commit(&outbox->asker, TAG_SETTLED);
	tell(outbox, POLL_SETTLE);
}

static void roll_back(struct source *source)
{
	tell(outbox_of(source), POLL_ROLL_BACK);
}

static void reconcile(struct source *source, const struct batch *batch, bool dead_letter)
{
	struct outbox *outbox = outbox_of(source);
	tell(outbox, POLL_RECONCILE);
	reconciler_start(outbox->reconciler, batch, dead_letter);
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
    .close = close_when_done,
    .drop = drop,
};
static const struct session_events session_events = {
    .connected = on_connected,
    .notified = on_notified,
    .heard = on_heard,
    .ended = put_bell_to_rest,
    .gone = on_gone,
};
static const struct asker_ops asker_ops = {on_answered, on_refused, on_lost};
static const struct opening_events opening_events = {on_ready, on_probed};
static const struct membership_events membership_events = {on_kept, on_busy};
static const struct claimer_events claimer_events = {on_observed, on_claimed, on_wrong};
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
	outbox->trial = trial_new(session, outbox->held, &claimer_events, outbox);
	outbox->examiner =
	    examiner_new(session, outbox->claimer, outbox->held, &examiner_events, outbox);
	outbox->reconciler =
	    reconciler_new(session, outbox->opening, outbox->held, on_reconciled, outbox);
	outbox->purger = purger_new(session);
	outbox->heartbeat = heartbeat_new(loop, session, outbox->claimer, outbox->membership);
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

void outbox_free(struct source **source)
{
	if (*source == NULL)
		return;
	struct outbox *outbox = outbox_of(*source);
	loop_timer_free(&outbox->poll_timer);
	notified_free(&outbox->notified);
	heartbeat_free(&outbox->heartbeat);
	purger_free(&outbox->purger);
	reconciler_free(&outbox->reconciler);
	examiner_free(&outbox->examiner);
	trial_free(&outbox->trial);
	claimer_free(&outbox->claimer);
	held_free(&outbox->held);
	actions_free(&outbox->actions);
	membership_free(&outbox->membership);
	opening_free(&outbox->opening);
	session_free(&outbox->session);
	free(outbox);
	*source = NULL;
}

const char *outbox_libpq_version(void)
{
	static char text[32];
	int version = PQlibVersion();
	snprintf(text, sizeof(text), "%d.%d", version / 10000, version % 10000);
	return text;
}
