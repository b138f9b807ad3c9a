/* SPDX-License-Identifier: ISC */
/*
 * idle.h - when to look again after the source ran dry
 *
 * A busy outbox is looked at again immediately; then, for a few milliseconds, at short intervals,
 * so that it never rings; then the bell is armed and rung by the next writer. The race: a
 * transaction may pass the trigger before the bell is armed and commit after the last look. So:
 * arm, then read who is writing, then look again until those have ended, and look once after.
 * tests/unit/test_idle.c explores every interleaving. Correctness never depends on the bell:
 * poll_interval is behind it.
 *
 * The bell is the outbox's, not the relay's. With other relays present, each of them hears it,
 * whoever the event is for, and whoever puts it to rest tells the others: so once rung, a relay
 * may no longer rely on it. It puts it to rest and goes the whole way again. Writers that come fast
 * ring several times before it is at rest: the more such rings, the later is it armed again, so
 * that an idle relay beside a busy one does not make every insert notify.
 *
 * AWAKE -> SHORT POLLING -> WATCHING -> ASLEEP; rows found: AWAKE
 */
#ifndef OUTBOX_OUTBOX_IDLE_H
#define OUTBOX_OUTBOX_IDLE_H

#include "writers.h"

enum idle_state {
	IDLE_AWAKE,	    /* the last look found events */
	IDLE_SHORT_POLLING, /* dry, for a few milliseconds */
	IDLE_WATCHING,	    /* the bell is armed; writers that did not see it may be under way */
	IDLE_ASLEEP,	    /* whoever commits now rings */
};

struct idle {
	enum idle_state state;
	unsigned step;	     /* looks in this state so far */
	int64_t watching_us; /* since when, while it watches; monotonic */
	bool has_bell;
	bool has_peers;
	bool armed;
	unsigned surplus; /* rings that came when it was not armed any more */
	bool read;	  /* writers holds a reading taken since the bell was armed */
	struct writers writers;
	int64_t poll_us;
};

/* What to do after a look that found nothing. */
struct idle_rest {
	bool arm;	  /* arm the bell first */
	bool observe;	  /* the next look reads the writers before it looks */
	int64_t after_us; /* when to look; 0 = immediately */
};

/* Forgets everything, e.g. on a new session. The bell's position is then unknown: it is put to rest
 * by the caller. */
void idle_reset(struct idle *idle, bool has_bell, int64_t poll_us);

struct idle_rest idle_dry(struct idle *idle, int64_t now_us);

/* How long to rest after a batch of events that stream in, which took so long. Fewer, larger
 * batches cost the database and the brokers less, event by event. The shard works half of the time
 * at most, and the longer a busy machine makes it work, the less often it comes. */
int64_t idle_pause_us(int64_t worked_us);

/* A look found events. True if the bell must be put to rest. */
bool idle_found(struct idle *idle);

/* The bell was rung, and a look follows if it was armed. True if the bell must be put to rest. */
bool idle_rung(struct idle *idle);

/* Another relay has put the bell to rest. True if this one relied on it, and is to look again. */
bool idle_rested(struct idle *idle);

/* A reading that the database took before the look that is answered next. */
void idle_observed(struct idle *idle, const struct writers *writers);

#endif
