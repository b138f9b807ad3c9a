/* SPDX-License-Identifier: ISC */
/*
 * group.h - which shards this relay owns: what it takes and hands over, by what the locks say
 *
 * The locks of outbox/locks.h say which relays are there and who owns what. The caller
 * (membership.c) polls them, tells each lock to group_view_add, and carries out the plan that
 * group_polled makes of them. It does so in the session that claims, between two transactions, so
 * a shard that is handed over has nothing in flight.
 *
 * Pure. The simulator runs the same code on modelled locks, and tests/unit/test_group_losses.c
 * plays small groups exhaustively.
 */
#ifndef OUTBOX_GROUP_H
#define OUTBOX_GROUP_H

#include "base/shards.h"
#include "rebalance.h"

#include <stdint.h>

/* A free shard that was not handed over is left to its owner for so long: it may be reconnecting,
 * and remembers what was published. If our own session was lost, so may have been those of the
 * owners of all that is free at first, and they may be back at any moment. */
enum { GROUP_GRACE_US = 200 * 1000, GROUP_GRACE_AFTER_LOSS_US = 3000 * 1000 };

/* A session, as the server knows it. After a restart of a server in a container its process ids
 * begin anew, and a pooler hands a backend on, so the number alone may soon be that of another
 * relay's session. */
struct session_id {
	int pid;       /* 0: none */
	int64_t start; /* OUTBOX_SQL_START */
};

/* A session's lock on a key of outbox/locks.h. */
struct group_lock {
	uint32_t key;
	struct session_id session;
	int64_t fingerprint;  /* of the session's layout lock; -1: it has none */
	const char *stranger; /* words about a session that is no relay's; NULL: it may be one */
	bool held, exclusive; /* otherwise it is waited for; shared */
};

/* What a poll of the locks has seen. */
struct group_view {
	struct rebalance_view shards;
	struct session_id self; /* pid 0: it has no lock */
	int other_layout;	/* the shards of a relay of another layout at work; -1: none */
	bool previous;		/* this relay's previous session is still there */
	bool unavailable_peers;
	bool joined, marked; /* our own member's and layout's locks are there */
	int occupied;	     /* shards whose lock is a stranger's */
	char stranger[200];  /* a session that is no relay's and has a key of ours; "" if none */
	int peers[REBALANCE_MEMBERS_MAX]; /* relays' sessions, self too */
	size_t peer_count;
};

struct group_shard {
	int64_t free_since_us; /* as far as polls have seen; 0: it is owned */
	bool remembered;       /* ours, or the previous session's and nobody's since: this relay
				  remembers what of it was published */
	bool handed_over;      /* by another relay since the last poll */
	bool tried;	       /* its lock was got by the try under way */
};

struct group {
	int self; /* process id of this session's backend */
	uint32_t fingerprint;
	bool shared;		    /* every relay has every shard: layout 0 */
	bool unavailable;	    /* which of a member's locks is held */
	bool keeps;		    /* the poll under way takes and gives nothing */
	bool polled;		    /* once, since the process began */
	bool rejoined;		    /* after a session was lost that had joined */
	int64_t joined_us;	    /* this session */
	int64_t polled_us;	    /* the last time */
	unsigned joins_failed;	    /* in a row */
	struct session_id session;  /* this one, once a poll has seen it */
	struct session_id previous; /* the last one that had joined, until it is gone */
	size_t peer_count;
	int peers[REBALANCE_MEMBERS_MAX]; /* as the last poll has seen them */
	struct shards owned;
	struct group_shard shards[SHARDS_MAX];
};

/* What to do, in this order. */
struct group_plan {
	bool join, mark;    /* the member's, the layout's lock is to be had, under another key */
	struct shards give; /* unlocked: then group_gave; and announced */
	struct shards take; /* their locks are to be tried for and polled: then group_tried for
			       each, and group_verified */
};

/* What the engine is told of the group. */
struct group_peers {
	bool healthy; /* another member is there */
	bool suspect; /* another relay is unavailable, and this one is not */
	bool any;     /* other relays are there, or shards that this one does not own */
};

/* A session has connected that is to serve so many shards. group->previous is to be ended, if it is
 * still there. */
void group_join(struct group *group, int self, int shards, bool shared, uint32_t fingerprint,
		int64_t now_us);

/* The session is gone, and the shards with it. */
void group_lost(struct group *group);

/* This process did not run for so long that others may have owned its shards since. */
void group_forget(struct group *group);

/* The number of shards as the locks have it. */
int group_layout(const struct group *group);

/* view is what this poll has seen; group_view_begin comes before the first lock. */
void group_view_begin(const struct group *group, struct group_view *view, bool paused);
void group_view_add(const struct group *group, struct group_view *view,
		    const struct group_lock *lock);

void group_polled(struct group *group, const struct group_view *view, int64_t now_us,
		  struct group_plan *plan);
void group_gave(struct group *group, const struct shards *given);
void group_tried(struct group *group, int shard, bool got);

/* What was got is ours, or to be given back. True: some is ours. */
bool group_verified(struct group *group, const struct group_view *view, struct shards *give);

/* A session says that it has handed shards over. */
void group_freed(struct group *group, int sender, int layout, const struct shards *shards);

struct group_peers group_peers(const struct group *group, const struct group_view *view);

#endif
