/*
 * engine_session.c - what a relay does when it gets, keeps and loses its session, its shards and
 * the bell
 */
#include "engine_internal.h"

#include "base/backoff.h"

/* How often the other relays are looked at. That another relay has come or hands over is told;
 * that another relay has died is not. Alone there is nobody to take over from. */
enum { GROUP_US = 250 * 1000, ALONE_US = 5000 * 1000 };

/* For so long a relay without the sink keeps its shards: they are not to move at every hiccup. */
enum { BE_UNAVAILABLE_US = 5000 * 1000 };

/* And for so long after that it leaves events with its producer. In an outage for all of them all
 * abstain meanwhile: an idle one asks the sink when it sees an abstainer, and hears within ten
 * seconds, or twenty, that there is no answer. */
enum { GIVE_UP_US = 30000 * 1000 };

/* When it is over, one has Kafka again before the others. */
enum { HEALTHY_PEER_US = 15000 * 1000 };

/* A relay that abstained in the last five minutes returns after 2 s with Kafka, then 4 s, ... */
enum { STEADY_US = 300 * 1000 * 1000, RETURN_US = 1000 * 1000, ABSENCES_MOST = 6 };

/* A session is tried for every 1.6 s at least: outbox/group.c reckons with relays that are away for
 * no longer than 3 s. */
enum { DOUBLINGS_MOST = 4 };

/* A ring that finds nobody asleep is answered so often at most. */
enum { RUNG_OFF_US = 20 * 1000 };

/* Sooner, should another relay have stirred since the look was asked for. */
static void look_again_in(struct step *s, int64_t us)
{
	if (s->engine->group_at_us > s->input->now_us + us)
		s->engine->group_at_us = s->input->now_us + us;
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

static void give_up(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->given_up || engine->batch->in_flight == 0)
		return;
	engine->given_up = engine->sink_broken = true;
	engine->sink_ready = false;
	engine_act(s, DO_GIVE_UP);
}

/* What the producer has it may never deliver, while another relay could. */
static void give_up_if_relieved(struct step *s)
{
	struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	if (!s->input->healthy_peer)
		engine->healthy_peer_us = INT64_MAX;
	else if (engine->healthy_peer_us == INT64_MAX)
		engine->healthy_peer_us = now;
	bool for_long = now - GIVE_UP_US >= engine->unavailable_us &&
			now - HEALTHY_PEER_US >= engine->healthy_peer_us;
	if (s->input->healthy_peer && engine->unavailable && (for_long || engine_finishing(engine)))
		give_up(s);
}

void engine_housekeep_if_due(struct step *s)
{
	struct engine *engine = s->engine;
	if (s->input->now_us < engine->housekeep_at_us)
		return;
	engine->housekeep_at_us = s->input->now_us + engine->options.housekeep_us;
	engine_act(s, DO_HOUSEKEEP);
}

void engine_on_acquired(struct step *s)
{
	struct engine *engine = s->engine;
	bool changed = s->input->has_peers != engine->waker.has_peers;
	look_again_in(s, s->input->has_peers ? GROUP_US : ALONE_US);
	/* Whoever came may have armed the bell that was put to rest without a word, whoever left
	 * may have put it to rest. */
	if (s->input->gained || changed)
		begin_anew(s);
	engine->waker.has_peers = s->input->has_peers;
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
	/* The events are another relay's by now, and would go out once more. */
	if (s->input->healthy_peer && engine->unavailable)
		give_up(s);
	/* It may be our own lost session that still has the shard. */
	if (engine_finishing(engine) && engine_owes_nothing(s)) {
		engine_close_session(s);
		return;
	}
	if (engine->waker.armed)
		engine_act(s, DO_BELL_OFF);
	waker_reset(&engine->waker, false, engine->options.poll_us);
	if (engine->batch->in_flight == 0)
		engine_rebuild_if_broken(s);
	look_again_in(s, GROUP_US);
	engine_enter(engine, ENGINE_STANDBY);
	int64_t after = engine->group_at_us - s->input->now_us;
	engine_set_timer(s, after > 0 ? after : 0);
}

void engine_on_membership_changed(struct step *s)
{
	struct engine *engine = s->engine;
	engine->group_at_us = s->input->now_us;
	if (engine->state == ENGINE_STANDBY || engine->state == ENGINE_RESTING)
		engine_acquire(s, false);
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
	engine->group_at_us = engine->rest_until_us = 0;
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
	if (!serves || !engine->waker.has_peers ||
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

bool engine_must_be_unavailable(const struct step *s)
{
	const struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	return now - BE_UNAVAILABLE_US >= engine->sink_gone_us || now < engine->return_at_us;
}

/* Who comes and goes is relied on later and later. */
static void come_back(struct step *s)
{
	struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	bool again = engine->returned_us > 0 && now - engine->returned_us < STEADY_US;
	engine->absences = again ? engine->absences + 1 : 0;
	if (engine->absences > ABSENCES_MOST)
		engine->absences = ABSENCES_MOST;
	engine->return_at_us = again ? now + (RETURN_US << engine->absences) : 0;
	engine->returned_us = now;
}

void engine_watch_sink(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->sink_reachable) {
		if (engine->sink_gone_us == INT64_MAX)
			engine->sink_gone_us = s->input->now_us;
		return;
	}
	engine->sink_gone_us = INT64_MAX;
	engine->given_up = false;
	if (!engine->unavailable)
		return;
	come_back(s);
	engine_on_membership_changed(s);
}
