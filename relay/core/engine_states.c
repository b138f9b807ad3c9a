/* SPDX-License-Identifier: ISC */
/*
 * engine_states.c - the engine's states: their names, which may follow which, and what is true in
 * them
 */
#include "engine_internal.h"

#include <assert.h>
#include <string.h>

#define TO(state) (1u << ENGINE_##state)

/* What follows where no transaction is open and shards are ours: see resume() in engine.c. */
#define RESUMED (TO(RECONCILING) | TO(RESOLVING) | TO(HOLDING) | TO(FETCHING) | TO(CLOSING))
/* From wherever there is a session. */
#define LEFT (TO(OFFLINE) | TO(STOPPED))

static const unsigned legal[ENGINE_STATE_COUNT] = {
    [ENGINE_OFFLINE] = TO(OPENING) | TO(STOPPED),
    [ENGINE_OPENING] = TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_STANDBY] = RESUMED | LEFT, /* what is in doubt is resolved for others */
    [ENGINE_FETCHING] = TO(PUBLISHING) | TO(ROLLING_BACK) | TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_PUBLISHING] = TO(SETTLING) | TO(COMMITTING) | TO(ROLLING_BACK) | LEFT,
    [ENGINE_COMMITTING] = TO(SETTLING) | TO(ROLLING_BACK) | LEFT,
    [ENGINE_SETTLING] = TO(ROLLING_BACK) | RESUMED | LEFT,
    [ENGINE_ROLLING_BACK] = TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_HOLDING] = TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_RECONCILING] = RESUMED | LEFT,
    [ENGINE_RESOLVING] = TO(ROLLING_BACK) | TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_CLOSING] = LEFT,
    [ENGINE_STOPPED] = 0,
};

const char *engine_state_name(enum engine_state state)
{
	static const char *const names[] = {
#define X(name, text) text,
	    ENGINE_STATES(X)
#undef X
	};
	return names[state];
}

bool engine_may_go(enum engine_state from, enum engine_state to)
{
	return (legal[from] & 1u << to) != 0;
}

bool engine_is_attached(const struct engine *engine)
{
	return engine->state == ENGINE_FETCHING || engine->state == ENGINE_PUBLISHING;
}

bool engine_waits_for_sink(const struct engine *engine)
{
	bool waits = engine->batch->in_flight > 0 || engine->sink_blocked;
	return engine->state == ENGINE_COMMITTING || (engine_is_attached(engine) && waits);
}

bool engine_is_blocked(const struct engine *engine)
{
	return (engine->sink_blocked || engine->probing) && !engine->sink_broken;
}

bool engine_halts_at_reject(const struct engine *engine)
{
	return engine->options.policy == REJECT_HALTS;
}

bool engine_breaks_off(const struct engine *engine)
{
	return engine->options.transactional || engine_halts_at_reject(engine);
}

bool engine_has_session(const struct engine *engine)
{
	return engine->state != ENGINE_OFFLINE && engine->state != ENGINE_STOPPED;
}

bool engine_is_waiting_for_ledger(const struct engine *engine)
{
	return engine_has_session(engine) && !engine->resolved;
}

bool engine_is_working(const struct engine *engine)
{
	return engine_is_attached(engine) || engine->state == ENGINE_COMMITTING ||
	       engine->state == ENGINE_SETTLING;
}

struct engine_action *engine_act(struct step *s, enum engine_do kind)
{
	assert(s->actions->count < ENGINE_ACTIONS_MAX);
	struct engine_action *action = &s->actions->items[s->actions->count++];
	memset(action, 0, sizeof(*action));
	action->kind = kind;
	return action;
}
