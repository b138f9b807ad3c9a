/* SPDX-License-Identifier: ISC */
/*
 * rebalance.h - which shards a relay should take, and which to hand over
 *
 * Every relay decides for itself, from what it sees of the locks in the database; nobody leads. A
 * relay owns at most its fair share, the shards divided by the members of the group, rounded up.
 * One that has more hands over. Where the shards cannot be divided evenly, the relay with the most
 * hands one over while another is short of the share rounded down. What two relays see may differ
 * for a moment; the locks keep a shard with one owner whatever they decide.
 *
 * A relay that is unavailable, since it cannot publish, is no member. It hands over all it has as
 * soon as there is one; while there is none it takes what is free, so that one relay reports
 * what waits.
 *
 * Pure. tests/unit/test_rebalance.c plays groups that come, go and decide at any time.
 */
#ifndef OUTBOX_REBALANCE_H
#define OUTBOX_REBALANCE_H

#include "base/shards.h"

enum { REBALANCE_MEMBERS_MAX = 256 };

/* What a poll of the locks has seen. Relays are known by the process id of their session's backend:
 * of the sessions that are there at one time no two have the same. */
struct rebalance_view {
	int self;
	int members[REBALANCE_MEMBERS_MAX]; /* self too, unless it is unavailable */
	size_t member_count;
	int shards;
	int owner[SHARDS_MAX]; /* 0: free */
	bool paused;	       /* no relay shall own anything */
	bool unavailable;      /* self is */
	bool shared;	       /* every relay is to have every shard; owner[] is self or 0 */
};

/* A relay that was seen in the database; further ones of a group that is too large are left out. */
void rebalance_add_member(struct rebalance_view *view, int pid);

/* How many shards have no owner. */
int rebalance_free(const struct rebalance_view *view);

/* eligible: the free shards that may be taken by now. */
void rebalance(const struct rebalance_view *view, const struct shards *eligible,
	       struct shards *take, struct shards *give);

#endif
