/*
 * engine_states.c - the engine's states: their names, and which may follow which
 */
#include "core/engine.h"

#define TO(state) (1u << ENGINE_##state)

static const unsigned legal[ENGINE_STATE_COUNT] = {
    [ENGINE_OFFLINE] = TO(ACQUIRING) | TO(STOPPED),
    [ENGINE_ACQUIRING] = TO(STANDBY) | TO(CLAIMING) | TO(RESTING) | TO(HOLDING) | TO(RECONCILING) |
			 TO(OFFLINE) | TO(CLOSING) | TO(STOPPED),
    [ENGINE_STANDBY] = TO(ACQUIRING) | TO(OFFLINE) | TO(CLOSING) | TO(STOPPED),
    [ENGINE_CLAIMING] =
	TO(PUBLISHING) | TO(RESTING) | TO(ROLLING_BACK) | TO(OFFLINE) | TO(CLOSING) | TO(STOPPED),
    [ENGINE_PUBLISHING] = TO(SETTLING) | TO(ROLLING_BACK) | TO(OFFLINE) | TO(STOPPED),
    [ENGINE_SETTLING] = TO(CLAIMING) | TO(RESTING) | TO(ACQUIRING) | TO(HOLDING) |
			TO(ROLLING_BACK) | TO(OFFLINE) | TO(CLOSING) | TO(STOPPED),
    [ENGINE_RESTING] =
	TO(CLAIMING) | TO(ACQUIRING) | TO(HOLDING) | TO(OFFLINE) | TO(CLOSING) | TO(STOPPED),
    [ENGINE_ROLLING_BACK] = TO(CLAIMING) | TO(RESTING) | TO(ACQUIRING) | TO(HOLDING) |
			    TO(RECONCILING) | TO(OFFLINE) | TO(CLOSING) | TO(STOPPED),
    [ENGINE_HOLDING] = TO(CLAIMING) | TO(RESTING) | TO(ACQUIRING) | TO(RECONCILING) | TO(OFFLINE) |
		       TO(CLOSING) | TO(STOPPED),
    [ENGINE_RECONCILING] = TO(CLAIMING) | TO(RESTING) | TO(ACQUIRING) | TO(HOLDING) | TO(OFFLINE) |
			   TO(CLOSING) | TO(STOPPED),
    [ENGINE_CLOSING] = TO(OFFLINE) | TO(STOPPED),
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
