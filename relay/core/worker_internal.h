/* SPDX-License-Identifier: ISC */
/*
 * worker_internal.h - what the files of the worker share
 */
#ifndef OUTBOX_WORKER_INTERNAL_H
#define OUTBOX_WORKER_INTERNAL_H

#include "base/log.h"
#include "core/worker.h"
#include "keys.h"
#include "outage.h"

struct worker {
	struct engine engine;
	struct batch batch;
	struct keys parked;   /* of events of the batch that were rejected and park their keys */
	struct keys deferred; /* topics of events of the batch that are deferred */
	int64_t state_us;     /* since when the engine is in its state */
	int64_t probed_us;    /* when the sink was last asked for a sign of life */
	int64_t stall_us;
	const struct worker_world *world; /* borrowed, like all of these */
	struct metrics *metrics;
	struct source *source;
	struct sink *sink;
	struct route *route;
	struct encoder *encoder; /* NULL: records are what the route makes */

	/* what producing leaves for the engine, told once the current step is done */
	bool tell_blocked, tell_progress;
	int64_t stall_timer_us; /* for when it is set; 0: it is not */
	bool acquired, ever_acquired;
	char standby_for[320]; /* why no shard is ours; "" if one is, or nothing is known */
	bool yields;	       /* none is, for want of the sink */
	bool refused;	       /* by a peer, before anything had ever worked */
	char refusal[400];     /* as last told in the log */
	char lost_why[400];    /* why there is no session; "" if there is one */
	bool lost_for_good;    /* trying again was no use when it was lost */
	struct outage outages[PEERS];
	int64_t outage_timer_us; /* for when it is set; 0: it is not */
	int64_t refusal_told_us;

	int64_t claim_us;	       /* of the batch: how long the source was at it */
	int64_t claimed_us;	       /* when the last events came */
	int64_t publish_us, settle_us; /* when they began */
	int64_t progress_us;	       /* last report, or begin of the batch */
	int64_t moved_us, waiting_us;  /* last delivery; since when events wait (0: none do) */
	bool excused;		       /* nothing can move, as of when it was last looked at */
	int64_t excused_us;	       /* when that last held */
	int64_t blocked_us;	       /* since when the sink takes nothing (0: it does) */
	char blocked_topic[250];       /* the topic of the event that it did not take */
	uint64_t published;

	struct log_limit broken_told;
	char broken_why[256]; /* its beginning, as last told */
};

/* Lets the engine make a step, and carries out what it says. */
void worker_step(struct worker *worker, struct engine_input input);
void worker_tell(struct worker *worker, enum engine_event event);

/* Looks whether anything can move: at each step, and every few seconds. */
void worker_note_excuse(struct worker *worker);

/* It can never be published: says so unless it was said before, and counts it. code: Kafka's name
 * of the error; "": the relay's own reason. */
void worker_reject(struct worker *worker, struct event *event, enum reject_reason reason,
		   const char *code, const char *why);

/* Forgets the batch: it is settled. */
void worker_clear(struct worker *worker);

/* ---- keys that wait (worker_parked.c) ---- */

/* It is rejected: later events of its key are to wait; what has no key keeps nothing waiting. */
void worker_park(struct worker *worker, struct event *event);
bool worker_parked(struct worker *worker, const struct event *event);
/* Of a key's events only the first that is to be published yet may be set aside: it may not go, and
 * nothing is to overtake it. The others are claimed again behind it. */
void worker_put_back_others(struct worker *worker);

/* ---- the end of a batch (worker_commit.c) ---- */

void worker_settle(struct worker *worker);
void worker_commit(struct worker *worker);
void worker_resolve(struct worker *worker);
/* The batches that the sink has committed and the source has not settled yet, as far as is known.
 */
double worker_ledger_lag(const struct worker *worker);
/* There is no session any more. */
void worker_lose(struct worker *worker, const char *why, bool permanent);

/* ---- copies (worker_copies.c) ---- */

/* It can never be published, and nothing waits for it: says so and counts it as done. */
void worker_drop_copy(struct worker *worker, struct event *event, const char *code,
		      const char *why);

/* ---- a peer's outage in the log (worker_peers.c) ---- */

/* It is not there yet, as ever at a start. */
void worker_peer_expected(struct worker *worker, enum metrics_peer peer);
/* It is lost, or could not be reached: why is in lost_why, or in the sink's trouble. */
void worker_peer_failed(struct worker *worker, enum metrics_peer peer);
void worker_peer_answers(struct worker *worker, enum metrics_peer peer);
void worker_peers_on_timer(struct worker *worker);
/* For how long it is gone; negative: it is not. */
int64_t worker_peer_outage_us(const struct worker *worker, enum metrics_peer peer);
/* For how long it has answered; negative: it does not. */
int64_t worker_peer_answers_us(const struct worker *worker, enum metrics_peer peer);
/* It answers, but that was not said yet: it comes and goes. */
bool worker_peer_flaps(const struct worker *worker, enum metrics_peer peer);

static inline int64_t worker_now_us(const struct worker *worker)
{
	return worker->world->monotonic_us(worker->world->arg);
}

static inline double worker_seconds(int64_t microseconds)
{
	return (double)microseconds / 1e6;
}

#endif
