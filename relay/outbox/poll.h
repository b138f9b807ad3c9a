/* SPDX-License-Identifier: ISC */
/*
 * poll.h - when the outbox is looked at, and from where: a pure state machine, event in, actions
 * out
 *
 * A table does not tell that it has events. So poll decides: where claims begin (horizon.h), how
 * many events each asks for (claims.h), when to look again after a look that found nothing
 * (idle.h), when to rest after a batch of a stream, when to begin below the low watermark, when to
 * read who is writing, when to look at the group, when to do the housekeeping.
 *
 * The source (polling.c) tells it what it is asked and what is answered, and carries out, in order,
 * what it says. It does no I/O, reads no clock and allocates nothing. The simulator runs this code.
 */
#ifndef OUTBOX_OUTBOX_POLL_H
#define OUTBOX_OUTBOX_POLL_H

#include "claims.h"
#include "core/source.h"
#include "horizon.h"
#include "idle.h"

enum poll_state {
	POLL_CLOSED,
	POLL_LOOKING, /* at the group; or the session is being opened */
	POLL_STANDBY, /* no shard is ours; the timer of the next look at the group runs */
	/* Shards are ours: */
	POLL_READY,    /* no transaction, and nothing is asked for */
	POLL_HELD,     /* likewise, for a while: the timer runs */
	POLL_RESTING,  /* no transaction; a fetch is open, and the timer of the next look runs */
	POLL_CLAIMING, /* in a transaction; claims are under way */
	POLL_COMPLETE, /* in a transaction; its batch is to be settled or given back */
	POLL_SETTLING, /* COMMIT is under way, perhaps with a claim behind it */
	POLL_ROLLING_BACK,
	/* A transaction of its own: published events are settled by identity. It may be refused
	 * and tried again, and what is asked behind it goes unanswered then: so no look at the
	 * group is. */
	POLL_RECONCILING,
};

enum poll_event {
	/* what the source is asked, see source.h */
	POLL_OPEN,
	POLL_AVAILABLE, /* available */
	POLL_FETCH,	/* fetch */
	POLL_HOLD,	/* keeps */
	POLL_SETTLE,
	POLL_ROLL_BACK,
	POLL_RECONCILE, /* with the session as it is after the look that is under way, if one is */
	POLL_RESOLVE,	/* likewise */
	POLL_CLOSE,
	/* what happened */
	POLL_LOOKED, /* has_bell, has_peers, gained; shards are ours */
	POLL_BUSY,   /* none is */
	POLL_LOST,
	POLL_OBSERVED, /* drawn, writers; before the answer of its claim */
	POLL_CLAIMED,  /* answer */
	POLL_SETTLED,
	POLL_ROLLED_BACK,
	POLL_RECONCILED, /* or resolved, or that cannot be done now */
	POLL_FAILED,	 /* narrow, wait; rolled back, unasked */
	POLL_RELEASED,	 /* what was held can go, or what kept claims from being made is over */
	POLL_RUNG,
	POLL_RESTED,	 /* another relay has put the bell to rest */
	POLL_MEMBERSHIP, /* another relay has come, gone or handed over */
	POLL_UNFINISHED, /* there is more housekeeping to do soon */
	POLL_TIMER,	 /* the timer of the last POLL_DO_TIMER */
};

/* What a claim has brought. */
struct claim_answer {
	int64_t count, first; /* events, and the first one's id */
	int64_t moved;	      /* rows that were set aside */
	int64_t last;	      /* of both */
	size_t bytes;	      /* that they take in memory, about */
	int64_t upto;	      /* no event up to here was left behind; 0: not known */
	bool full;	      /* as many as were asked for, somewhere at least */
	bool cut;	      /* more may be there nevertheless */
	bool set_back;	      /* ids begin again, or an event was found below */
	bool too_high;	      /* and earlier events may wait below the low watermark */
};

struct poll_input {
	enum poll_event event;
	int64_t now_us; /* monotonic */
	struct fetch fetch;
	bool available, keeps;
	bool has_bell, has_peers, gained;
	int64_t drawn;
	const struct writers *writers;
	struct claim_answer answer;
	bool narrow; /* one of the events that were asked for is the cause: ask for fewer */
	bool wait;   /* it concerns all events: try again later */
	/* always: */
	bool halted;	  /* an event is held, and nothing may be published past it */
	bool releases;	  /* events that were held may be claimed again, by a claim of all */
	bool tries;	  /* one that was rejected is to be claimed again, alone */
	bool letters;	  /* what was set aside may be due */
	bool unconfirmed; /* what is claimed might not survive: nothing is to be, until
			     POLL_RELEASED */
};

enum poll_do {
	POLL_DO_LOOK,  /* at the group; keeps */
	POLL_DO_CLAIM, /* claim */
	POLL_DO_TELL,  /* the answered claim's chunk is for the fetch; last, took_us */
	POLL_DO_END,   /* the transaction, which has claimed nothing, or set aside what it has;
			* claim.alone: the event that was tried alone */
	POLL_DO_ROLL_BACK,
	POLL_DO_ABORT,		  /* rolls back unasked; POLL_FAILED */
	POLL_DO_TELL_ROLLED_BACK, /* no transaction was open */
	POLL_DO_RECONCILE,
	POLL_DO_RESOLVE,
	POLL_DO_BELL_ON,
	POLL_DO_BELL_OFF,
	POLL_DO_HOUSEKEEP,
	POLL_DO_RETEST, /* of what is held; part of the housekeeping, and more often while halted */
	POLL_DO_WOKEN,	/* cause: a look found something */
	POLL_DO_CLOSE,
	POLL_DO_TIMER, /* after_us; replaces the one before */
};

enum poll_cause { CAUSE_NONE, CAUSE_BELL, CAUSE_POLL, CAUSE_SWEEP };

struct poll_action {
	enum poll_do kind;
	struct claim claim;
	int64_t after_us, took_us;
	bool keeps, last;
	enum poll_cause cause;
};

enum { POLL_ACTIONS_MAX = 12 };
struct poll_actions {
	struct poll_action items[POLL_ACTIONS_MAX];
	unsigned count;
};

/* May be changed between steps (reload). */
struct poll_options {
	int64_t claim_rows;
	int64_t poll_us, sweep_us, housekeep_us;
	int64_t stream_events; /* a batch of so many that is not full: a stream, not a lone event */
};

struct poll {
	enum poll_state state;
	struct horizon horizon;
	struct idle idle;
	struct claims claims;
	bool available; /* this relay reaches the sink */
	/* what is asked for */
	bool fetching; /* a fetch is open */
	struct fetch fetch;
	bool held, keeps;	 /* hold() was the last word */
	bool cancelled, closing; /* once the look is answered */
	bool reconciles;	 /* likewise: then what `owed` says */
	enum poll_do owed;
	bool stood_by;	 /* before it reconciled */
	bool given_back; /* the last transaction was */
	/* the batch */
	bool full;	     /* it ended because it was full: a backlog waits */
	bool ahead;	     /* a claim has been sent behind the COMMIT */
	int64_t begun_us;    /* when its first claim was sent */
	int64_t claim_us;    /* when its last claim was */
	int64_t pause_us;    /* to rest after it */
	bool sweeping;	     /* claims start at 0 until one has got past the low watermark */
	bool begins;	     /* no claim was made since the shards became ours */
	bool trying;	     /* the batch is one event that was rejected */
	bool lettering;	     /* the batch is of letters, and so was the last claim */
	bool halted;	     /* at the last step */
	unsigned refusals;   /* transactions that failed in a row, without a cause found */
	int64_t retry_at_us; /* nothing is claimed before */
	/* when what is due */
	int64_t rest_until_us;
	int64_t group_at_us; /* when to look at the other relays next; INT64_MAX: it is asked */
	int64_t sweep_at_us, housekeep_at_us;
	int64_t rung_off_us;   /* when a ring for nobody was last answered */
	enum poll_cause cause; /* of the look under way */
};

void poll_init(struct poll *poll);

/* One step. actions is overwritten. */
void poll_step(struct poll *poll, const struct poll_options *options,
	       const struct poll_input *input, struct poll_actions *actions);

#endif
