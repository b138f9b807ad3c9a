/* SPDX-License-Identifier: ISC */
/*
 * group.c - which shards this relay owns: what it takes and hands over, by what the locks say
 */
#include "group.h"

#include "outbox/locks.h"

#include <stdio.h>
#include <string.h>

/* A session joins within this time of the others that were lost at the same time. */
enum { REJOIN_US = 1000 * 1000 };

/* What was free before a time of so long without a poll may have had an owner since. A relay that
 * waits for Kafka polls every second. */
enum { BLIND_US = 1500 * 1000 };

/* Owner of a shard whose lock is a stranger's. */
enum { STRANGER = -1 };

int group_layout(const struct group *group)
{
	return group->shared ? 0 : group->owned.count;
}

/* ---- what a poll has seen ---- */

void group_view_begin(const struct group *group, struct group_view *view, bool paused)
{
	memset(view, 0, sizeof(*view));
	view->other_layout = -1;
	view->shards.self = group->self;
	view->shards.shards = group->owned.count;
	view->shards.unavailable = group->unavailable;
	view->shards.shared = group->shared;
	view->shards.paused = paused;
}

/* Where every relay has every shard, shared locks do not disturb. */
static void add_stranger(const struct group *group, struct group_view *view,
			 const struct group_lock *lock)
{
	int shard = outbox_lock_shard(lock->key);
	bool is_shard = lock->key >= OUTBOX_SHARD_LOCK;
	bool blocks = is_shard && lock->held &&
		      outbox_lock_layout(lock->key) == group_layout(group) &&
		      shard < view->shards.shards && (lock->exclusive || !group->shared);
	if (!is_shard && view->stranger[0] != '\0')
		return;
	if (!is_shard || blocks)
		snprintf(view->stranger, sizeof(view->stranger), "%s", lock->stranger);
	if (!blocks)
		return;
	view->occupied++;
	view->shards.owner[shard] = STRANGER;
}

static void add_session(const struct group *group, struct group_view *view,
			const struct session_id *session)
{
	const struct session_id *previous = &group->previous;
	if (session->pid == group->self)
		view->self = *session;
	else if (session->pid == previous->pid && session->start == previous->start)
		view->previous = true;
	for (size_t i = 0; i < view->peer_count; i++)
		if (view->peers[i] == session->pid)
			return;
	if (view->peer_count < REBALANCE_MEMBERS_MAX)
		view->peers[view->peer_count++] = session->pid;
}

static void add_shard_lock(const struct group *group, struct group_view *view,
			   const struct group_lock *lock, bool alike)
{
	int shard = outbox_lock_shard(lock->key), pid = lock->session.pid;
	if (outbox_lock_layout(lock->key) != group_layout(group) || !alike)
		view->other_layout = outbox_lock_layout(lock->key);
	else if (shard < view->shards.shards && (!group->shared || pid == group->self))
		view->shards.owner[shard] = pid;
}

void group_view_add(const struct group *group, struct group_view *view,
		    const struct group_lock *lock)
{
	int pid = lock->session.pid;
	bool own = pid == group->self, alike = lock->fingerprint == group->fingerprint;
	if (lock->stranger != NULL) {
		add_stranger(group, view, lock);
		return;
	}
	if (!lock->held)
		return;
	add_session(group, view, &lock->session);
	if (own)
		view->marked = alike;
	if (lock->key >= OUTBOX_SHARD_LOCK) {
		add_shard_lock(group, view, lock, alike);
		return;
	}
	view->joined |= own;
	if (lock->key < OUTBOX_MEMBER_LOCK)
		view->unavailable_peers |= !own;
	else if (outbox_lock_layout(lock->key) == group_layout(group) && alike)
		rebalance_add_member(&view->shards, pid);
}

/* ---- what the group is like ---- */

static bool has_healthy_peer(const struct group *group, const struct group_view *view)
{
	return view->shards.member_count > (group->unavailable ? 0 : 1);
}

struct group_peers group_peers(const struct group *group, const struct group_view *view)
{
	struct group_peers peers = {.healthy = has_healthy_peer(group, view),
				    .suspect = view->unavailable_peers && !group->unavailable};
	peers.any = peers.healthy || view->unavailable_peers ||
		    shards_owned(&group->owned) < group->owned.count;
	return peers;
}

/* By process id alone, since a notification tells no more. */
static bool is_peer(const struct group *group, int pid)
{
	for (size_t i = 0; i < group->peer_count; i++)
		if (group->peers[i] == pid)
			return true;
	return false;
}

/* Any login may say so. A relay that the last poll has seen is believed; without its word shards
 * are left to their owner for a moment longer. */
void group_freed(struct group *group, int sender, int layout, const struct shards *shards)
{
	if (layout != group_layout(group) || !is_peer(group, sender))
		return;
	for (int k = 0; k < group->owned.count; k++)
		group->shards[k].handed_over |= shards->owned[k];
}

/* ---- what may be taken ---- */

/* A shard that is not free; to a relay of another layout at work all of them belong. */
static void note_owned(const struct group *group, struct group_shard *shard, int owner)
{
	bool ours = owner == group->self || (owner != 0 && owner == group->previous.pid);
	shard->free_since_us = 0;
	shard->handed_over = false;
	shard->remembered &= ours;
}

/* Also at a poll that takes nothing. */
static void note_owners(struct group *group, const struct group_view *view, int64_t now_us)
{
	bool blind = now_us - group->polled_us > BLIND_US;
	group->polled_us = now_us;
	for (int k = 0; k < group->owned.count; k++) {
		struct group_shard *shard = &group->shards[k];
		int owner = view->shards.owner[k];
		if (owner != 0 || view->other_layout >= 0)
			note_owned(group, shard, owner);
		else if (shard->free_since_us == 0 || blind)
			shard->free_since_us = now_us;
	}
}

static bool grace_is_over(const struct group *group, int64_t since_us, int64_t now_us)
{
	bool all_lost = group->rejoined && since_us < group->joined_us + REJOIN_US;
	/* Whoever has not polled for a while takes what is free to be free since now: it was
	 * perhaps lost with our own session. */
	if (group->rejoined && now_us - group->joined_us < GROUP_GRACE_AFTER_LOSS_US)
		return false;
	return now_us - since_us >= (all_lost ? GROUP_GRACE_AFTER_LOSS_US : GROUP_GRACE_US);
}

/* A relay that starts where there is no other need not wait. */
static void find_eligible(struct group *group, bool alone, int64_t now_us, struct shards *eligible)
{
	shards_clear(eligible, group->owned.count);
	for (int k = 0; k < group->owned.count; k++) {
		struct group_shard *shard = &group->shards[k];
		bool handed_over = shard->handed_over;
		shard->handed_over = false;
		if (shard->free_since_us != 0)
			eligible->owned[k] = alone || handed_over || shard->remembered ||
					     grace_is_over(group, shard->free_since_us, now_us);
	}
}

/* What was ours before the session was lost is taken again whatever the fair share: only this relay
 * remembers what of it was published. It is handed over when that is settled. */
static void reclaim(const struct group *group, const struct group_view *view, struct shards *take)
{
	for (int k = 0; k < group->owned.count && !view->shards.paused; k++)
		if (group->shards[k].remembered && group->shards[k].free_since_us != 0)
			take->owned[k] = true;
}

/* One that owns shards goes on, also beside a relay of another layout: that waits for its end. */
static bool may_take(const struct group *group, const struct group_view *view)
{
	return shards_owned(&group->owned) > 0 ||
	       (view->other_layout < 0 && !view->previous && view->joined && view->marked);
}

/* ---- steps ---- */

static void note_sessions(struct group *group, const struct group_view *view)
{
	if (view->self.pid != 0)
		group->session = view->self;
	if (!view->previous)
		group->previous.pid = 0;
	group->polled = true;
	group->peer_count = view->peer_count;
	memcpy(group->peers, view->peers, sizeof(group->peers));
}

void group_polled(struct group *group, const struct group_view *view, int64_t now_us,
		  struct group_plan *plan)
{
	struct shards eligible;
	bool alone = !group->polled && view->peer_count <= 1;
	note_sessions(group, view);
	note_owners(group, view, now_us);
	plan->join = !view->joined;
	plan->mark = !view->marked;
	group->joins_failed = plan->join || plan->mark ? group->joins_failed + 1 : 0;
	shards_clear(&plan->give, group->owned.count);
	shards_clear(&plan->take, group->owned.count);
	if (group->keeps)
		return;
	find_eligible(group, alone, now_us, &eligible);
	rebalance(&view->shards, &eligible, &plan->take, &plan->give);
	reclaim(group, view, &plan->take);
	if (!may_take(group, view))
		shards_clear(&plan->take, group->owned.count);
}

void group_gave(struct group *group, const struct shards *given)
{
	for (int k = 0; k < group->owned.count; k++)
		if (given->owned[k] && group->owned.owned[k])
			group->owned.owned[k] = group->shards[k].remembered = false;
}

void group_tried(struct group *group, int shard, bool got)
{
	group->shards[shard].tried = got;
	if (!got) /* it has had an owner since the poll */
		group->shards[shard].free_since_us = 0;
}

/* The operator who paused the outbox, or a relay of another layout, may have polled before we had
 * the locks. */
bool group_verified(struct group *group, const struct group_view *view, struct shards *give)
{
	bool works = shards_owned(&group->owned) > 0, gained = false;
	bool refused = view->shards.paused || (!works && view->other_layout >= 0);
	shards_clear(give, group->owned.count);
	for (int k = 0; k < group->owned.count; k++) {
		struct group_shard *shard = &group->shards[k];
		if (!shard->tried)
			continue;
		shard->tried = false;
		give->owned[k] = refused;
		if (refused)
			continue;
		group->owned.owned[k] = shard->remembered = gained = true;
	}
	return gained;
}

/* ---- sessions ---- */

void group_join(struct group *group, int self, int shards, bool shared, uint32_t fingerprint,
		int64_t now_us)
{
	bool same = shards == group->owned.count && fingerprint == group->fingerprint;
	group->self = self;
	group->shared = shared;
	group->fingerprint = fingerprint;
	group->keeps = false;
	group->rejoined = group->previous.pid != 0;
	group->joined_us = now_us;
	shards_clear(&group->owned, shards);
	for (int k = 0; k < shards; k++)
		group->shards[k] =
		    (struct group_shard){.remembered = same && group->shards[k].remembered};
}

void group_forget(struct group *group)
{
	for (int k = 0; k < group->owned.count; k++)
		group->shards[k].remembered = false;
}

void group_lost(struct group *group)
{
	/* A session that waits for the previous one has no shards: that one stays the previous. */
	if (group->session.pid != 0 && group->previous.pid == 0)
		group->previous = group->session;
	group->session.pid = 0;
	group->peer_count = 0;
	shards_clear(&group->owned, group->owned.count);
}
