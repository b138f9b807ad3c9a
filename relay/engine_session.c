/*
 * engine_session.c - what a relay does when it gets, keeps and loses its session, its shards and
 * the bell
 */
#include "engine_internal.h"

#include "backoff.h"

/* How often the other relays are looked at. That somebody has come or hands over is told; that
 * somebody has died is not. Alone there is nobody to take over from. */
enum { FLEET_US = 250 * 1000, ALONE_US = 5000 * 1000 };

/* For so long a relay without the sink keeps its shards: they are not to move at every hiccup. */
enum { ABSTAIN_US = 5000 * 1000 };

/* And for so long it leaves events with its producer. Longer, so that in an outage for all of them
 * all abstain before one gives up. */
enum { GIVE_UP_US = 15000 * 1000 };

/* A session is tried for every 1.6 s at least: outbox_fleet.c reckons with relays that are away for
 * no longer than 3 s. */
enum { DOUBLINGS_MOST = 4 };

/* A ring that finds nobody asleep is answered so often at most. */
enum { RUNG_OFF_US = 20 * 1000 };

/* Sooner, should another relay have stirred since the look was asked for. */
static void look_again_in(struct step *s, int64_t us)
{
	if (s->engine->fleet_at_us > s->input->now_us + us)
		s->engine->fleet_at_us = s->input->now_us + us;
}

/* What was known of the waiting events is not true of the new shards. */
static void begin_anew(struct step *s)
{
	struct engine *engine = s->engine;
	engine->ahead = engine->sweeping = false;
	engine->sweep_at_us = s->input->now_us + engine->options.sweep_us;
	engine->rest_until_us = engine->housekeep_at_us = 0;
	horizon_reset(&engine->horizon);
	waker_reset(&engine->waker, s->input->has_bell, engine->options.poll_us);
	/* Whoever had the shards before may have left it armed. */
	if (s->input->has_bell)
		engine_act(s, DO_BELL_OFF);
}

/* What the producer has it may never deliver, while another relay could. */
static void give_up_if_relieved(struct step *s)
{
	struct engine *engine = s->engine;
	bool long_gone = s->input->now_us - GIVE_UP_US >= engine->sink_gone_us;
	if (!s->input->relief || !long_gone || engine->batch->outstanding == 0 || engine->given_up)
		return;
	engine->given_up = engine->sink_broken = true;
	engine->sink_ready = false;
	engine_act(s, DO_GIVE_UP);
}

void engine_on_acquired(struct step *s)
{
	struct engine *engine = s->engine;
	bool changed = s->input->company != engine->waker.company;
	look_again_in(s, s->input->company ? FLEET_US : ALONE_US);
	/* Whoever came may have armed the bell that was put to rest without a word, whoever left
	 * may have put it to rest. */
	if (s->input->gained || changed)
		begin_anew(s);
	engine->waker.company = s->input->company;
	give_up_if_relieved(s);
	if (s->input->now_us < engine->rest_until_us && !engine_finishing(engine))
		engine_rest(s, engine->rest_until_us);
	else
		engine_resume(s, false);
}

void engine_on_busy(struct step *s)
{
	struct engine *engine = s->engine;
	engine->failures = 0;
	/* It may be our own lost session that still has the shard. */
	if (engine_finishing(engine) && engine_owes_nothing(s)) {
		engine_close_session(s);
		return;
	}
	if (engine->waker.armed)
		engine_act(s, DO_BELL_OFF);
	waker_reset(&engine->waker, false, engine->options.poll_us);
	if (engine->batch->outstanding == 0)
		engine_rebuild_if_broken(s);
	look_again_in(s, FLEET_US);
	engine_enter(engine, ENGINE_STANDBY);
	int64_t after = engine->fleet_at_us - s->input->now_us;
	engine_set_timer(s, after > 0 ? after : 0);
}

void engine_on_stirred(struct step *s)
{
	struct engine *engine = s->engine;
	engine->fleet_at_us = s->input->now_us;
	if (engine->state == ENGINE_STANDBY || engine->state == ENGINE_RESTING)
		engine_acquire(s);
}

void engine_on_lost(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->state == ENGINE_CLOSING && engine_owes_nothing(s)) {
		engine_stopped(s);
		return;
	}
	engine_act(s, DO_SKIP_UNSENT);
	horizon_reset(&engine->horizon);
	waker_reset(&engine->waker, false, engine->options.poll_us);
	engine_enter(engine, ENGINE_OFFLINE);
	engine->fleet_at_us = engine->rest_until_us = 0;
	if (engine_finishing(engine) && engine_owes_nothing(s)) {
		engine_stopped(s);
		return;
	}
	unsigned doublings = engine->failures < DOUBLINGS_MOST ? engine->failures : DOUBLINGS_MOST;
	engine->failures++;
	engine_set_timer(s, backoff_us(doublings, &engine->random));
}

/* The bell may have been armed by a relay that has died since. One that is asleep will hear that it
 * was put to rest, and arm it again. */
static void put_to_rest(struct step *s)
{
	struct engine *engine = s->engine;
	bool serves = engine->state == ENGINE_RESTING || engine->state == ENGINE_CLAIMING ||
		      engine->state == ENGINE_PUBLISHING;
	if (!serves || !engine->waker.company ||
	    s->input->now_us < engine->rung_off_us + RUNG_OFF_US)
		return;
	engine->rung_off_us = s->input->now_us;
	engine_act(s, DO_BELL_OFF);
}

/* A claim under way began after the commit that rings: sessions hear outside transactions. */
static void look(struct step *s, bool observes)
{
	struct engine *engine = s->engine;
	engine->rest_until_us = 0;
	engine->cause = CAUSE_BELL;
	if (engine->state == ENGINE_RESTING)
		engine_resume(s, observes);
}

void engine_on_rung(struct step *s)
{
	struct engine *engine = s->engine;
	bool watching = engine->waker.state == WAKER_WATCHING, armed = engine->waker.armed;
	if (waker_rung(&engine->waker))
		engine_act(s, DO_BELL_OFF);
	if (armed)
		look(s, watching);
	else
		put_to_rest(s);
}

/* Should it have been armed again meanwhile, the next ring finds nobody asleep. */
void engine_on_rested(struct step *s)
{
	if (waker_rested(&s->engine->waker))
		look(s, false);
}

/* ---- the sink, as the other relays are concerned ---- */

bool engine_must_abstain(const struct step *s)
{
	return s->input->now_us - ABSTAIN_US >= s->engine->sink_gone_us;
}

bool engine_looks_for_relief(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine_must_abstain(s) || s->input->now_us < engine->fleet_at_us)
		return false;
	engine_acquire(s);
	s->actions->items[s->actions->count - 1].keeps = true;
	return true;
}

void engine_watch_sink(struct step *s)
{
	struct engine *engine = s->engine;
	bool there = engine->sink_ready && engine->sink_reachable && !engine->sink_broken;
	if (!there && engine->sink_gone_us == INT64_MAX)
		engine->sink_gone_us = s->input->now_us;
	if (!there)
		return;
	engine->sink_gone_us = INT64_MAX;
	engine->given_up = false;
	if (engine->abstains)
		engine_on_stirred(s);
}
