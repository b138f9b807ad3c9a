/*
 * spread.h - which shards a relay should take, and which to hand over
 *
 * Every relay decides for itself, from what it sees of the locks in the database; nobody leads. A
 * relay owns at most its fair share, the shards divided by the relays that are there, rounded up.
 * Who has more hands over. Where the shards cannot be divided evenly, the relay with the most hands
 * one over while another relay is short of the share rounded down. What two relays see may differ
 * for a moment; the locks keep a shard with one owner whatever they decide.
 *
 * A relay that is unavailable, since it cannot publish, is no member. It hands over all it has as
 * soon as there is one; while there is none it takes what is free, so that one relay reports
 * what waits.
 *
 * Pure. tests/unit/test_spread.c plays group that come, go and decide at any time.
 */
#ifndef OUTBOX_SPREAD_H
#define OUTBOX_SPREAD_H

#include "base/shards.h"

enum { SPREAD_MEMBERS_MAX = 256 };

/* What a look has seen. Relays are known by the process id of their session's backend. */
struct spread_view {
	int self;
	int members[SPREAD_MEMBERS_MAX]; /* self too, unless it is unavailable */
	size_t member_count;
	int shards;
	int owner[SHARDS_MAX]; /* 0: nobody */
	bool paused;	       /* nobody shall own anything */
	bool unavailable;      /* self does */
	bool shared;	       /* every relay is to have every shard; owner[] is self or nobody */
};

/* A relay that was seen in the database; further ones of a group that is too large are left out. */
void spread_add_member(struct spread_view *view, int pid);

/* How many shards have no owner. */
int spread_free(const struct spread_view *view);

struct spread_plan {
	struct shards take, give;
};

/* ripe: the free shards that may be taken by now. */
void spread_plan(const struct spread_view *view, const struct shards *ripe,
		 struct spread_plan *plan);

#endif
