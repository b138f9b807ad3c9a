/* SPDX-License-Identifier: ISC */
/*
 * engine_internal.h - what the files of the engine share
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

/* Another action, of which all but the kind is 0. */
struct engine_action *engine_act(struct step *s, enum engine_do kind);

/* What was fetched is in an open transaction, and the batch may still grow or be given up. */
bool engine_is_attached(const struct engine *engine);

/* It is to be rebuilt once it holds nothing. The first cause counts. */
void engine_break_sink(struct engine *engine, enum rebuild_cause cause);

/* ---- exactly once (engine_transaction.c) ---- */

/* The batch comes to no good end: a new producer ends what its transaction has begun. To be called
 * while the state is still the one that the batch was in. */
void engine_forsake(struct step *s);
/* The ledger can be read, and is to be, before anything is fetched. */
bool engine_is_in_doubt(const struct engine *engine);
/* Shards are not to be handed over: events of theirs are published, or may be, and not settled. */
bool engine_keeps(const struct engine *engine);
/* Something of it is rejected or deferred. */
bool engine_batch_is_unfit(const struct batch *batch);
/* What is rejected or deferred may be set aside: it comes first, since those before it are to be
 * published first. Asked for one row a source gives one of each of its parts, each the first there.
 * In another session somebody else may have published it meanwhile: it is met again. */
bool engine_verdicts_count(const struct engine *engine);
/* The next batch is to end before what this one could not be committed for. */
void engine_shorten_next(struct engine *engine);
int64_t engine_rows_of_batch(const struct engine *engine);

/* ---- the sink, as the other relays are concerned (engine_peers.c) ---- */

/* To be called when the sink has come or gone, and when time has passed. */
void engine_watch_sink(struct step *s);
/* When engine_watch_sink is to be called next. */
int64_t engine_sink_changes_at(const struct engine *engine);
/* It answers, from now on or still; it does not. */
void engine_sink_answers(struct step *s);
void engine_sink_is_gone(struct step *s);
/* What the producer has it may never deliver, while another relay could. */
void engine_give_up_to_healthy_peer(struct step *s);
void engine_give_up(struct step *s);

#endif
