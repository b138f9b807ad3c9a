/*
 * engine_internal.h - the words that engine.c and engine_session.c are written in
 */
#ifndef OUTBOX_ENGINE_INTERNAL_H
#define OUTBOX_ENGINE_INTERNAL_H

#include "core/engine.h"

/* One step's surroundings. */
struct step {
	struct engine *engine;
	const struct engine_input *input;
	struct engine_actions *actions;
};

struct engine_action *engine_act(struct step *s, enum engine_do kind);
void engine_enter(struct engine *engine, enum engine_state state);
void engine_set_timer(struct step *s, int64_t after_us);

/* Asked to stop, or halting at a reject. */
bool engine_finishing(const struct engine *engine);

/* Nothing was published that is not settled: the shards may be left. */
bool engine_owes_nothing(const struct step *s);

void engine_stopped(struct step *s);
void engine_close_session(struct step *s);

/* Looks for shards to take and to hand over, opening a session if there is none. keeps: looks only,
 * for the sink has events still. */
void engine_acquire(struct step *s, bool keeps);

/* To be called when the sink has come or gone: a relay without it is unavailable after a while. */
void engine_watch_sink(struct step *s);
bool engine_must_be_unavailable(const struct step *s);

/* A broken sink is rebuilt once it holds nothing, whether shards are ours or not. */
void engine_rebuild_if_broken(struct step *s);

/* Sets the timer for the next look, or for the next look at the group if that comes sooner. */
void engine_rest(struct step *s, int64_t until_us);

/* Shards are ours and no transaction is open: what now? The one place that decides it. observes:
 * should it be a claim, it is to read the writers first. */
void engine_resume(struct step *s, bool observes);

/* The gauges, old rows, held events: every few seconds. */
void engine_housekeep_if_due(struct step *s);

/* engine_refused.c. Waits: nothing is claimed for now, and the timer runs. */
bool engine_waits_for_database(struct step *s);
void engine_on_failed(struct step *s);
void engine_on_released(struct step *s);

/* The handlers of engine_session.c. */
void engine_on_acquired(struct step *s);
void engine_on_busy(struct step *s);
void engine_on_membership_changed(struct step *s);
void engine_on_lost(struct step *s);
void engine_on_rung(struct step *s);
void engine_on_rested(struct step *s);

#endif
