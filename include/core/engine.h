/* SPDX-License-Identifier: ISC */
/*
 * engine.h - what a relay does next: a pure state machine, event in, actions out
 *
 * The engine knows of one session with a source, one batch, one sink. It does no I/O, reads no
 * clock and allocates nothing: the caller (worker.c) tells it what happened and carries out, in
 * order, what it answers. The simulator runs the same code against a model of the world.
 *
 * One rule keeps everything whole: an event leaves the source only in a transaction that commits
 * after the sink has acknowledged it, and an event that the sink may still publish is never fetched
 * again. While the transaction is open the batch is attached, and settling it is a COMMIT. When the
 * transaction is gone (session lost, acknowledgement timeout, reject, broken sink) the batch is
 * orphaned: the engine waits until every event in the sink's hands is reported, settles the
 * delivered ones by identity, and only then fetches. With that the rejected ones are set aside, or
 * the source keeps them back and lets no fetch have events (source.h: halted).
 *
 * Exactly once (options.transactional): the sink publishes a batch in a transaction of its own,
 * with a note of it in its ledger. A report then says that an event would go with the commit, and
 * no more: nothing is settled but behind a commit with one clean answer, or by the ledger. Whatever
 * else ends a batch whose transaction has begun, and each new session, has the sink rebuilt, which
 * ends what it had begun, and then the ledger read: batches that it has and the source has not
 * settled are settled (resolved), all else is published again. Nothing is fetched before, and a
 * standby does so, too: relays that have the shards by now may wait for it. Where a batch has a
 * rejected event the next one ends before it, so that it is the first of its batch when it is set
 * aside.
 *
 * Behind a rejected event that parks its key, the worker passes over the key's later events of the
 * batch; they go back with the transaction, and the source sets them aside once it meets them. So
 * it does with events of a topic that cannot be used: the first one is deferred.
 */
#ifndef OUTBOX_ENGINE_H
#define OUTBOX_ENGINE_H

#include "core/batch.h"
#include "core/rebuild.h"
#include "core/source.h"

/* What is true in each state. ATTACHED: what was fetched is in an open transaction. */
#define ENGINE_STATES(X)                                                                           \
	X(OFFLINE, "offline")		/* no session; the retry timer runs */                     \
	X(OPENING, "opening")		/* a session is being opened */                            \
	X(STANDBY, "standby")		/* no shard is ours */                                     \
	X(FETCHING, "fetching")		/* attached; a fetch is open, perhaps for a long time */   \
	X(PUBLISHING, "publishing")	/* attached; the batch is complete, reports are awaited */ \
	X(COMMITTING, "committing")	/* attached; the sink's commit is awaited */               \
	X(SETTLING, "settling")		/* the batch is being settled, all of it is delivered */   \
	X(ROLLING_BACK, "rolling back") /* what was fetched is being given back */                 \
	X(HOLDING, "holding")		/* nothing is fetched: waiting for reports or the sink */  \
	X(RECONCILING, "reconciling")	/* the orphaned batch is being settled by identity */      \
	X(RESOLVING, "resolving")	/* what is in doubt is being settled by the ledger */      \
	X(CLOSING, "closing")		/* the session is being closed */                          \
	X(STOPPED, "stopped")		/* the end */

enum engine_state {
#define X(name, text) ENGINE_##name,
	ENGINE_STATES(X)
#undef X
	    ENGINE_STATE_COUNT
};
const char *engine_state_name(enum engine_state state);

/* True if this is a transition; one step may make several. Staying is no transition. */
bool engine_may_go(enum engine_state from, enum engine_state to);

enum engine_event {
	ON_START,
	ON_ACQUIRED, /* healthy_peer; shards are ours */
	ON_BUSY,     /* healthy_peer; none is */
	ON_LOST,
	ON_FETCHED,	/* last; the chunk is in the batch already */
	ON_SETTLED,	/* the batch has been cleared already */
	ON_ROLLED_BACK, /* asked for or not */
	ON_RECONCILED,	/* the batch has been cleared already */
	ON_RESOLVED,	/* nothing is in doubt any more */
	ON_CLOSED,
	ON_PROGRESS,	/* reports have changed the batch, or producing has come to its end */
	ON_BLOCKED,	/* the sink takes nothing for now */
	ON_WRITABLE,	/* it does again */
	ON_BROKEN,	/* it must be rebuilt */
	ON_READY,	/* it has been */
	ON_COMMITTED,	/* clean */
	ON_IN_DOUBT,	/* whether it has committed is not known */
	ON_REACHABLE,	/* its peer answers */
	ON_UNREACHABLE, /* its peer is unreachable */
	ON_STALLED,	/* no report for the acknowledgement timeout, or no topic for a second */
	ON_TIMER,	/* the timer of the last DO_TIMER */
	ON_RELOADED,	/* the options have changed */
	ON_STOP,	/* settle what is in flight, then stop */
	ON_STOP_NOW,	/* stop without waiting for anything */
};

struct engine_input {
	enum engine_event event;
	int64_t now_us; /* monotonic */
	bool last;
	bool healthy_peer;
	bool clean; /* nothing of the commit is still on its way */
	bool begun; /* with any event: the sink's transaction has begun, and is not committed */
};

enum engine_do {
	DO_OPEN,
	DO_AVAILABLE, /* available */
	DO_FETCH,     /* fetch */
	DO_HOLD,      /* keeps */
	DO_PRODUCE,
	DO_COMMIT,
	DO_SETTLE,
	DO_ROLL_BACK,
	DO_FORGET,    /* no event of the batch is delivered after all */
	DO_RECONCILE, /* policy */
	DO_RESOLVE,
	DO_TIMER,   /* after_us; replaces the one before */
	DO_REBUILD, /* cause */
	DO_GIVE_UP,
	DO_SKIP_UNSENT,
	DO_CLEAR,
	DO_CLOSE,
	DO_DROP,
	DO_STOPPED,
};

struct engine_action {
	enum engine_do kind;
	struct fetch fetch;
	int64_t after_us;
	bool available, keeps;
	enum reject_policy policy;
	enum rebuild_cause cause;
};

enum { ENGINE_ACTIONS_MAX = 10 };
struct engine_actions {
	struct engine_action items[ENGINE_ACTIONS_MAX];
	unsigned count;
};

struct engine_options {
	int64_t batch_rows, batch_bytes;
	enum reject_policy policy;
	bool transactional; /* engine_reload leaves it as it is */
};

struct engine {
	struct engine_options options;
	const struct batch *batch; /* borrowed; the caller keeps it up to date */
	enum engine_state state;
	bool stopping; /* asked to stop */
	bool ahead;    /* the next batch was asked for right behind settling */
	bool standby;  /* no shard is ours, as far as was told */
	/* the sink */
	bool sink_ready, sink_reachable, sink_broken, sink_blocked, rebuilding;
	enum rebuild_cause cause; /* why it is broken */
	bool given_up;		  /* what the sink had was taken back since it has gone */
	bool probing; /* one event is tried, to see whether a blocked sink takes it now */
	int64_t probe_at_us;
	bool resolved; /* since the session and the sink are what they are */
	int64_t
	    asked_rows;	   /* of the last batch; a source may give more, one of each of its parts */
	bool same_session; /* in which that batch was asked for */
	int64_t most_rows; /* of the next batch; 0: as many as the options say */
	/* the sink, as the other relays are concerned; INT64_MAX: not so */
	bool available;		 /* as the source was told */
	int64_t unavailable_us;	 /* since when it is not */
	int64_t sink_gone_us;	 /* since when its peer is unreachable; INT64_MIN: it always was */
	int64_t healthy_peer_us; /* since when another relay has it */
	int64_t return_at_us;	 /* not sooner it is to be relied on again */
	/* the session */
	int64_t opened_us;
	unsigned failures;  /* sessions lost in a row */
	int64_t tick_at_us; /* OFFLINE: the next try; HOLDING: see again */
	int64_t timer_us;   /* for when the timer is set; INT64_MAX: it is not */
	uint64_t random;    /* state of the jitter's generator */
};

void engine_init(struct engine *engine, const struct engine_options *options,
		 const struct batch *batch, uint64_t seed);

/* They hold from the next step on. */
void engine_reload(struct engine *engine, const struct engine_options *options);

/* One step. actions is overwritten. */
void engine_step(struct engine *engine, const struct engine_input *input,
		 struct engine_actions *actions);

/* True while a transaction is open and waits for the sink: the stall timer must run. */
bool engine_waits_for_sink(const struct engine *engine);

/* True if nothing is published past a reject. */
bool engine_halts_at_reject(const struct engine *engine);

/* True if nothing of a batch is handed to the sink past one that is rejected or deferred. */
bool engine_breaks_off(const struct engine *engine);

/* True while a session is open, and what is in doubt is yet to be resolved. */
bool engine_is_waiting_for_ledger(const struct engine *engine);

/* True while a session is open, or being opened or closed. */
bool engine_has_session(const struct engine *engine);

/* True while the sink takes nothing, though its peer answers: it waits for a topic. */
bool engine_is_blocked(const struct engine *engine);

/* True while events are fetched and published, or there is nothing to publish. */
bool engine_is_working(const struct engine *engine);

#endif
