/* SPDX-License-Identifier: ISC */
/*
 * rebalance.c - which shards a relay should take, and which to hand over
 */
#include "rebalance.h"

void rebalance_add_member(struct rebalance_view *view, int pid)
{
	for (size_t i = 0; i < view->member_count; i++)
		if (view->members[i] == pid)
			return;
	if (view->member_count < REBALANCE_MEMBERS_MAX)
		view->members[view->member_count++] = pid;
}

static int count_of(const struct rebalance_view *view, int pid)
{
	int count = 0;
	for (int k = 0; k < view->shards; k++)
		count += view->owner[k] == pid;
	return count;
}

/* The last ones first: the first are the ones that were taken first. */
static void choose_to_give(const struct rebalance_view *view, int count, struct shards *give)
{
	for (int k = view->shards - 1; k >= 0 && count > 0; k--)
		if (view->owner[k] == view->self) {
			give->owned[k] = true;
			count--;
		}
}

/* Each relay begins at another shard, so that several do not try for the same. */
static int first_to_try(const struct rebalance_view *view)
{
	int before = 0;
	for (size_t i = 0; i < view->member_count; i++)
		before += view->members[i] < view->self;
	return view->member_count > 0 ? before * view->shards / (int)view->member_count : 0;
}

static void choose_to_take(const struct rebalance_view *view, const struct shards *eligible,
			   int count, struct shards *take)
{
	int first = first_to_try(view);
	for (int i = 0; i < view->shards && count > 0; i++) {
		int k = (first + i) % view->shards;
		if (view->owner[k] != 0 || !eligible->owned[k])
			continue;
		take->owned[k] = true;
		count--;
	}
}

/* Whether it is this relay that should help one that is short: the one with the most, of several
 * the one of the lowest number. */
static bool is_richest(const struct rebalance_view *view, int mine)
{
	for (size_t i = 0; i < view->member_count; i++) {
		int pid = view->members[i], theirs = count_of(view, pid);
		if (theirs > mine || (theirs == mine && pid < view->self))
			return false;
	}
	return true;
}

static bool another_is_short(const struct rebalance_view *view, int share)
{
	for (size_t i = 0; i < view->member_count; i++)
		if (count_of(view, view->members[i]) < share)
			return true;
	return false;
}

int rebalance_free(const struct rebalance_view *view)
{
	return count_of(view, 0);
}

void rebalance(const struct rebalance_view *view, const struct shards *eligible,
	       struct shards *take, struct shards *give)
{
	int members = (int)view->member_count;
	int mine = count_of(view, view->self);
	shards_clear(take, view->shards);
	shards_clear(give, view->shards);
	if (view->paused || (members > 0 && view->unavailable)) {
		choose_to_give(view, mine, give);
		return;
	}
	if (members == 0 || view->shared) {
		choose_to_take(view, eligible, view->shards, take);
		return;
	}
	int share = view->shards / members, most = (view->shards + members - 1) / members;
	if (mine > most)
		choose_to_give(view, mine - most, give);
	else if (mine < most && rebalance_free(view) > 0)
		choose_to_take(view, eligible, most - mine, take);
	else if (mine > share && rebalance_free(view) == 0 && another_is_short(view, share) &&
		 is_richest(view, mine))
		choose_to_give(view, 1, give);
}
