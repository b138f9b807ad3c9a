/* SPDX-License-Identifier: ISC */
/*
 * worker_commit.c - the end of a batch: settled, in a transaction of the sink too, or in doubt
 */
#include "worker_internal.h"

#include "base/failpoints.h"

void worker_settle(struct worker *worker)
{
	struct metrics *metrics = worker->metrics;
	worker->settle_us = worker_now_us(worker);
	histogram_observe(&metrics->claim, worker_seconds(worker->claim_us));
	histogram_observe(&metrics->publish,
			  worker_seconds(worker->settle_us - worker->publish_us));
	histogram_observe(&metrics->batch_events, (double)worker->batch.events);
	worker->claim_us = 0;
	FAILPOINT("before-commit");
	worker->source->ops->settle(worker->source);
	FAILPOINT("commit-sent");
}

void worker_commit(struct worker *worker)
{
	struct ledger_batch described;
	worker->progress_us = worker_now_us(worker);
	worker->source->ops->describe(worker->source, &worker->batch, &described);
	FAILPOINT("before-kafka-commit");
	worker->sink->ops->commit(worker->sink, &described);
	FAILPOINT("kafka-commit-sent");
}

double worker_ledger_lag(const struct worker *worker)
{
	const struct engine *engine = &worker->engine;
	int64_t behind = worker->sink->ledger.last - worker->source->producer.settled;
	if (!engine->options.transactional)
		return 0;
	if (!engine_has_session(engine))
		return worker->metrics->ledger_lag; /* as it was when the database was last seen */
	if (engine->state == ENGINE_SETTLING)
		return 1;
	return engine_is_waiting_for_ledger(engine) && behind > 0 ? (double)behind : 0;
}

void worker_resolve(struct worker *worker)
{
	FAILPOINT("before-resolution");
	worker->source->ops->resolve(worker->source, &worker->sink->ledger);
}
