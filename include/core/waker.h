/*
 * waker.h - when to look again after the source ran dry
 *
 * A busy outbox is looked at again immediately; then, for a few milliseconds, at short intervals,
 * so that it never rings; then the bell is armed and rung by the next writer. The race: a
 * transaction may pass the trigger before the bell is armed and commit after the last look. So:
 * arm, then read who is writing, then look again until those have ended, and look once after.
 * tests/unit/test_waker.c explores every interleaving. Correctness never depends on the bell:
 * poll_interval is behind it.
 *
 * The bell is the outbox's, not the relay's. With other relays in company, each of them hears it,
 * whoever the event is for, and whoever puts it to rest tells the others: so once rung, a relay
 * may no longer rely on it. It puts it to rest and goes the whole way again. Writers that come fast
 * ring several times before it is at rest: the more such rings, the later is it armed again, so
 * that an idle relay beside a busy one does not make every insert notify.
 *
 * AWAKE -> LINGERING -> WATCHING -> ASLEEP; rows found: AWAKE
 */
#ifndef OUTBOX_WAKER_H
#define OUTBOX_WAKER_H

#include "core/writers.h"

enum waker_state {
	WAKER_AWAKE,	 /* the last look found events */
	WAKER_LINGERING, /* dry, for a few milliseconds */
	WAKER_WATCHING,	 /* the bell is armed; writers that did not see it may be under way */
	WAKER_ASLEEP,	 /* whoever commits now rings */
};

struct waker {
	enum waker_state state;
	unsigned step; /* looks in this state so far */
	bool has_bell;
	bool has_peers;
	bool armed;
	unsigned surplus; /* rings that came when it was not armed any more */
	bool read;	  /* writers holds a reading taken since the bell was armed */
	struct writers writers;
	int64_t poll_us;
};

/* What to do after a look that found nothing. */
struct waker_rest {
	bool arm;	  /* arm the bell first */
	bool observe;	  /* the next look reads the writers before it looks */
	int64_t after_us; /* when to look; 0 = immediately */
};

/* Forgets everything, e.g. on a new session. The bell's position is then unknown: it is put to rest
 * by the caller. */
void waker_reset(struct waker *waker, bool has_bell, int64_t poll_us);

struct waker_rest waker_dry(struct waker *waker);

/* How long to rest after a batch of events that stream in, which took so long. Fewer, larger
 * batches cost the database and the brokers less, event by event. The shard works half of the time
 * at most, and the longer a busy machine makes it work, the less often it comes. */
int64_t waker_pause_us(int64_t worked_us);

/* A look found events. True if the bell must be put to rest. */
bool waker_found(struct waker *waker);

/* The bell was rung, and a look follows if it was armed. True if the bell must be put to rest. */
bool waker_rung(struct waker *waker);

/* Another relay has put the bell to rest. True if this one relied on it, and is to look again. */
bool waker_rested(struct waker *waker);

/* A reading that the database took before the look that is answered next. */
void waker_observed(struct waker *waker, const struct writers *writers);

#endif
