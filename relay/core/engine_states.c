/* SPDX-License-Identifier: ISC */
/*
 * engine_states.c - the engine's states: their names, and which may follow which
 */
#include "core/engine.h"

#define TO(state) (1u << ENGINE_##state)

/* What follows where no transaction is open and shards are ours: see resume() in engine.c. */
#define RESUMED (TO(RECONCILING) | TO(HOLDING) | TO(FETCHING) | TO(CLOSING))
/* From wherever there is a session. */
#define LEFT (TO(OFFLINE) | TO(STOPPED))

static const unsigned legal[ENGINE_STATE_COUNT] = {
    [ENGINE_OFFLINE] = TO(OPENING) | TO(STOPPED),
    [ENGINE_OPENING] = TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_STANDBY] = RESUMED | LEFT,
    [ENGINE_FETCHING] = TO(PUBLISHING) | TO(ROLLING_BACK) | TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_PUBLISHING] = TO(SETTLING) | TO(ROLLING_BACK) | LEFT,
    [ENGINE_SETTLING] = TO(ROLLING_BACK) | RESUMED | LEFT,
    [ENGINE_ROLLING_BACK] = TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_HOLDING] = TO(STANDBY) | RESUMED | LEFT,
    [ENGINE_RECONCILING] = RESUMED | LEFT,
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
