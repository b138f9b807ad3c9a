/*
 * engine.h - what a relay does next for its shards: a pure state machine, event in, actions out
 *
 * The engine knows of one session (its transaction and its hold on shards), one batch, one sink.
 * It does no I/O, reads no clock and allocates nothing: the caller (worker.c) tells it what
 * happened and carries out, in order, what it answers. The simulator runs the same code against a
 * model of the world.
 *
 * One rule keeps everything whole: an event leaves the source only in a transaction that commits
 * after the sink has acknowledged it, and an event that the sink may still publish is never claimed
 * again. While the transaction is open the batch is attached and COMMIT settles it. When the
 * transaction is gone (session lost, stall, reject, broken sink) the batch is orphaned: the engine
 * waits until every event in the sink's hands is reported, settles the delivered ones by identity,
 * and only then claims.
 */
#ifndef OUTBOX_ENGINE_H
#define OUTBOX_ENGINE_H

#include "core/batch.h"
#include "core/claims.h"
#include "core/horizon.h"
#include "core/source.h"
#include "core/waker.h"

/* What is true in each state. ATTACHED: a transaction of ours is open. */
#define ENGINE_STATES(X)                                                                           \
	X(OFFLINE, "offline")	    /* no session; the retry timer runs */                         \
	X(ACQUIRING, "acquiring")   /* opening a session, or looking for shards to take or give */ \
	X(STANDBY, "standby")	    /* no shard is ours; the retry timer runs */                   \
	X(CLAIMING, "claiming")	    /* attached; a claim is under way */                           \
	X(PUBLISHING, "publishing") /* attached; the batch is complete, reports are awaited */     \
	X(SETTLING, "settling")	    /* COMMIT is under way, all of the batch is delivered */       \
	X(RESTING, "resting")	    /* no transaction; the timer of the next look runs */          \
	X(ROLLING_BACK, "rolling back") /* ROLLBACK is under way */                                \
	X(HOLDING, "holding")		/* no transaction; waiting for reports or for the sink */  \
	X(RECONCILING, "reconciling")	/* the orphaned batch is being settled by identity */      \
	X(CLOSING, "closing")		/* the session is being closed */                          \
	X(STOPPED, "stopped")		/* the end */

enum engine_state {
#define X(name, text) ENGINE_##name,
	ENGINE_STATES(X)
#undef X
	    ENGINE_STATE_COUNT
};
const char *engine_state_name(enum engine_state state);

/* True if a step may lead from one to the other. Staying is no transition. */
bool engine_may_go(enum engine_state from, enum engine_state to);

enum engine_event {
	ON_START,
	ON_ACQUIRED,	       /* has_bell, company, gained, relief */
	ON_BUSY,	       /* relief */
	ON_MEMBERSHIP_CHANGED, /* another relay has come, gone or handed over */
	ON_LOST,
	ON_CLAIMED, /* first, last, count; its chunk is in the batch already */
	ON_SETTLED, /* its batch has been cleared already */
	ON_ROLLED_BACK,
	ON_FAILED,     /* narrow, wait; the source has rolled back by itself */
	ON_RELEASED,   /* what was held can go */
	ON_RECONCILED, /* likewise */
	ON_OBSERVED,   /* drawn, writers */
	ON_RUNG,
	ON_RESTED, /* another relay has put the bell to rest */
	ON_CLOSED,
	ON_PROGRESS,	/* reports have changed the batch, or producing has come to its end */
	ON_BLOCKED,	/* the sink takes nothing for now */
	ON_WRITABLE,	/* it does again */
	ON_BROKEN,	/* it must be rebuilt */
	ON_READY,	/* it has been */
	ON_REACHABLE,	/* its peer answers */
	ON_UNREACHABLE, /* its peer is unreachable */
	ON_STALLED,	/* no report for stall_timeout */
	ON_TIMER,	/* the timer of the last DO_TIMER */
	ON_STOP,	/* settle what is in flight, then stop */
	ON_STOP_NOW,	/* stop without waiting for anything */
};

struct engine_input {
	enum engine_event event;
	int64_t now_us; /* monotonic */
	int64_t count, first, last;
	int64_t upto;  /* with ON_CLAIMED: none was left behind up to here; 0: not known */
	bool full;     /* with ON_CLAIMED: as many as were asked for, somewhere at least */
	bool cut;      /* with ON_CLAIMED: more may be there nevertheless */
	bool set_back; /* with ON_CLAIMED: ids begin again */
	bool too_high; /* and earlier events may wait below the claim's low watermark */
	int64_t drawn;
	const struct writers *writers;
	bool has_bell, has_peers, gained, healthy_peer;
	bool narrow, wait;
	bool held;     /* some events cannot be claimed, see source.h */
	bool releases; /* some that could not be can be by now */
	bool owes;     /* the source remembers removals that may not be durable yet */
};

enum engine_do {
	DO_ACQUIRE, /* is unavailable, keeps */
	DO_CLAIM,   /* claim */
	DO_PRODUCE,
	DO_SETTLE, /* more */
	DO_END,
	DO_ROLL_BACK,
	DO_RECONCILE, /* dead_letter */
	DO_BELL_ON,
	DO_BELL_OFF,
	DO_HOUSEKEEP,
	DO_TIMER, /* after_us; replaces the one before */
	DO_REBUILD,
	DO_GIVE_UP,
	DO_SKIP_UNSENT,
	DO_CLEAR,
	DO_WOKEN, /* cause: a look found something */
	DO_CLOSE,
	DO_DROP,
	DO_STOPPED,
};

enum engine_cause { CAUSE_NONE, CAUSE_BELL, CAUSE_POLL, CAUSE_SWEEP };

struct engine_action {
	enum engine_do kind;
	struct claim claim;
	int64_t after_us;
	bool dead_letter;
	bool more;
	bool unavailable, keeps;
	enum engine_cause cause;
};

enum { ENGINE_ACTIONS_MAX = 12 };
struct engine_actions {
	struct engine_action items[ENGINE_ACTIONS_MAX];
	unsigned count;
};

/* May be changed between steps (reload). */
struct engine_options {
	struct claims_limits limits;
	int64_t poll_us, sweep_us, housekeep_us;
	int64_t stream_events; /* a batch of so many that is not full: a stream, not a lone event */
	bool dead_letter;      /* on_reject = "dead-letter"; otherwise a reject halts */
};

struct engine {
	struct engine_options options;
	const struct batch *batch; /* borrowed; the caller keeps it up to date */
	enum engine_state state;
	struct horizon horizon;
	struct waker waker;
	bool sink_ready, sink_reachable, sink_broken, sink_blocked, rebuilding;
	int64_t sink_gone_us;	 /* since when its peer is unreachable; INT64_MAX: it answers */
	int64_t healthy_peer_us; /* since when another relay has it; INT64_MAX: none does */
	int64_t return_at_us;	 /* not sooner it is to be relied on again */
	int64_t returned_us;	 /* when that was the last time */
	unsigned absences;	 /* in a row, without a longer time between */
	bool unavailable;	 /* as the last look had it: others shall have the shards */
	int64_t unavailable_us;	 /* since when */
	bool given_up;		 /* what the sink had was taken back since it has gone */
	bool probing; /* one claim, to see whether a blocked sink would take its events now */
	int64_t probe_at_us;
	bool stopping;	  /* asked to stop */
	bool halting;	  /* an event was rejected and the policy is to halt */
	bool ahead;	  /* a claim has been sent behind the COMMIT */
	bool full;	  /* the batch ended because it was full: a backlog waits */
	int64_t begun_us; /* when the batch's first claim was sent */
	int64_t pause_us; /* to rest after this batch */
	int64_t rest_until_us;
	int64_t group_at_us; /* when to look at the other relays next */
	bool sweeping;	     /* claims start at 0 until one has got past the low watermark */
	int64_t sweep_at_us, housekeep_at_us;
	struct claims claims;
	enum engine_cause cause;
	unsigned failures;   /* sessions lost in a row */
	unsigned refusals;   /* transactions that failed in a row, without a cause found */
	int64_t retry_at_us; /* nothing is claimed before */
	int64_t rung_off_us; /* when a ring for nobody was last answered */
	uint64_t random;     /* state of the jitter's generator */
};

void engine_init(struct engine *engine, const struct engine_options *options,
		 const struct batch *batch, uint64_t seed);

/* One step. actions is overwritten. */
void engine_step(struct engine *engine, const struct engine_input *input,
		 struct engine_actions *actions);

/* True while a transaction is open and waits for the sink: the stall timer must run. */
bool engine_waits_for_sink(const struct engine *engine);

/* True while the sink takes nothing, though its peer answers: it waits for a topic. */
bool engine_is_blocked(const struct engine *engine);

#endif
