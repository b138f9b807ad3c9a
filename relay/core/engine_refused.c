/*
 * engine_refused.c - what a relay does when the database refuses a transaction, and while events
 * are held that it does not let go
 */
#include "engine_internal.h"

/* The database refuses what is asked of it, or an event that cannot be removed stops all: see
 * again later. Writers are not to ring meanwhile. */
bool engine_waits_for_database(struct step *s)
{
	struct engine *engine = s->engine;
	bool halted = s->input->held && !engine->options.dead_letter;
	int64_t until = engine->retry_at_us;
	if (halted && engine->housekeep_at_us > until)
		until = engine->housekeep_at_us;
	if (s->input->now_us >= until && !halted)
		return false;
	engine_housekeep_if_due(s);
	if (waker_found(&engine->waker))
		engine_act(s, DO_BELL_OFF);
	engine_rest(s, until > s->input->now_us ? until : engine->housekeep_at_us);
	return true;
}

/* Longer and longer, up to four seconds, while no cause is found and all of it fails. */
enum { RETRY_US = 250 * 1000, RETRY_DOUBLINGS = 4 };

static void wait_longer(struct step *s)
{
	struct engine *engine = s->engine;
	unsigned doublings =
	    engine->refusals < RETRY_DOUBLINGS ? engine->refusals : RETRY_DOUBLINGS;
	engine->refusals++;
	engine->retry_at_us = s->input->now_us + ((int64_t)RETRY_US << doublings);
}

/* What the bell was told in that transaction may be undone with it. */
void engine_on_failed(struct step *s)
{
	struct engine *engine = s->engine;
	if (s->input->narrow)
		claims_failed(&engine->claims);
	if (s->input->wait)
		wait_longer(s);
	engine->ahead = engine->probing = false;
	if (engine->waker.has_bell && !engine->waker.armed)
		engine_act(s, DO_BELL_OFF);
	engine_act(s, DO_SKIP_UNSENT);
	horizon_reset(&engine->horizon);
	engine_enter(engine, ENGINE_ROLLING_BACK);
	engine_resume(s, false);
}

void engine_on_released(struct step *s)
{
	s->engine->rest_until_us = 0;
	if (s->engine->state == ENGINE_RESTING)
		engine_resume(s, false);
}
