/* SPDX-License-Identifier: ISC */
/*
 * engine_transaction.c - what is otherwise where the sink publishes each batch in a transaction
 */
#include "engine_internal.h"

#include "base/failpoints.h"

void engine_break_sink(struct engine *engine, enum rebuild_cause cause)
{
	if (!engine->sink_broken)
		engine->cause = cause;
	engine->sink_broken = true;
	engine->sink_ready = false;
	engine->resolved = !engine->options.transactional;
}

void engine_forsake(struct step *s)
{
	struct engine *engine = s->engine;
	bool committed = engine->options.transactional && engine->state == ENGINE_SETTLING;
	bool aborts = engine->state != ENGINE_COMMITTING && !committed;
	if (aborts && PLANTED("abort-not-rebuilt"))
		return;
	if (s->input->begun || committed)
		engine_break_sink(engine, aborts ? REBUILD_ABORTED : REBUILD_IN_DOUBT);
}

bool engine_is_in_doubt(const struct engine *engine)
{
	return !engine->resolved && engine->sink_ready && !engine->sink_broken;
}

/* A relay that does not reach the sink cannot find out: others can, and end what it has begun. */
bool engine_keeps(const struct engine *engine)
{
	bool in_flight = engine->batch->in_flight > 0;
	if (engine->options.transactional)
		return engine->available && (in_flight || !engine->resolved);
	return in_flight;
}

bool engine_batch_is_unfit(const struct batch *batch)
{
	return batch->rejected > 0 || batch->deferred > 0;
}

bool engine_verdicts_count(const struct engine *engine)
{
	bool first = batch_before_unfit(engine->batch) == 0 || engine->asked_rows == 1;
	return engine_batch_is_unfit(engine->batch) && engine->same_session && first;
}

/* Where more came than was asked for, there are parts of which each gives something. */
static int64_t rows_before_unfit(const struct engine *engine)
{
	int64_t before = (int64_t)batch_before_unfit(engine->batch), half = engine->asked_rows / 2;
	if ((int64_t)engine->batch->events <= engine->asked_rows)
		return before;
	before = before < half ? before : half;
	return before > 0 ? before : 1;
}

void engine_shorten_next(struct engine *engine)
{
	if (engine->options.transactional && engine_batch_is_unfit(engine->batch))
		engine->most_rows = rows_before_unfit(engine);
}

int64_t engine_rows_of_batch(const struct engine *engine)
{
	int64_t most = engine->most_rows, rows = engine->options.batch_rows;
	if (engine->probing)
		return 1;
	return most > 0 && most < rows ? most : rows;
}
