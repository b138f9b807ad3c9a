/* SPDX-License-Identifier: ISC */
/*
 * engine_peers.c - the sink, as the other relays are concerned: whether this relay can be relied on
 */
#include "engine_internal.h"

/* For so long a relay without the sink keeps its shards: they are not to move at every hiccup. Once
 * it has left them it is relied on again when the sink has answered for a while. */
enum { BE_UNAVAILABLE_US = 5000 * 1000, RETURN_US = 10 * 1000 * 1000 };

/* And for so long after that it leaves events with its producer. In an outage for all relays all
 * are unavailable meanwhile: an idle one asks the sink when it sees one that is, and hears within
 * ten seconds, or twenty, that there is no answer. */
enum { GIVE_UP_US = 30000 * 1000 };

/* When the outage is over, one has Kafka again before the others. */
enum { HEALTHY_PEER_US = 15000 * 1000 };

void engine_watch_sink(struct step *s)
{
	struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	bool available = now >= engine->return_at_us;
	if (!engine->sink_reachable)
		available = engine->available && now - BE_UNAVAILABLE_US < engine->sink_gone_us;
	if (available == engine->available)
		return;
	engine->available = available;
	engine->unavailable_us = now;
	engine_act(s, DO_AVAILABLE)->available = available;
}

int64_t engine_sink_changes_at(const struct engine *engine)
{
	if (engine->available && !engine->sink_reachable)
		return engine->sink_gone_us + BE_UNAVAILABLE_US;
	if (!engine->available && engine->sink_reachable)
		return engine->return_at_us;
	return INT64_MAX;
}

void engine_give_up(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->given_up || engine->batch->in_flight == 0)
		return;
	engine->given_up = true;
	engine_break_sink(engine, REBUILD_GIVEN_UP);
	engine_act(s, DO_GIVE_UP);
}

void engine_give_up_to_healthy_peer(struct step *s)
{
	struct engine *engine = s->engine;
	int64_t now = s->input->now_us;
	if (!s->input->healthy_peer)
		engine->healthy_peer_us = INT64_MAX;
	else if (engine->healthy_peer_us == INT64_MAX)
		engine->healthy_peer_us = now;
	bool for_long = now - GIVE_UP_US >= engine->unavailable_us &&
			now - HEALTHY_PEER_US >= engine->healthy_peer_us;
	if (s->input->healthy_peer && !engine->available && (for_long || engine->stopping))
		engine_give_up(s);
}

void engine_sink_answers(struct step *s)
{
	struct engine *engine = s->engine;
	if (!engine->available && engine->sink_gone_us != INT64_MIN)
		engine->return_at_us = s->input->now_us + RETURN_US;
	engine->sink_reachable = true;
	engine->sink_gone_us = INT64_MAX;
	engine->given_up = false;
	engine_watch_sink(s);
}

void engine_sink_is_gone(struct step *s)
{
	struct engine *engine = s->engine;
	if (engine->sink_reachable)
		engine->sink_gone_us = s->input->now_us;
	engine->sink_reachable = false;
	engine_watch_sink(s);
}
