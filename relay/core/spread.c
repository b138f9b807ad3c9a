/*
 * spread.c - which shards a relay should take, and which to hand over
 */
#include "core/spread.h"

void spread_add_member(struct spread_view *view, int pid)
{
	for (size_t i = 0; i < view->member_count; i++)
		if (view->members[i] == pid)
			return;
	if (view->member_count < SPREAD_MEMBERS_MAX)
		view->members[view->member_count++] = pid;
}

static int count_of(const struct spread_view *view, int pid)
{
	int count = 0;
	for (int k = 0; k < view->shards; k++)
		count += view->owner[k] == pid;
	return count;
}

/* The last ones first: the first are the ones that were taken first. */
static void give(const struct spread_view *view, int count, struct spread_plan *plan)
{
	for (int k = view->shards - 1; k >= 0 && count > 0; k--)
		if (view->owner[k] == view->self) {
			plan->give.owned[k] = true;
			count--;
		}
}

/* Each relay begins at another shard, so that several do not try for the same. */
static int first_to_try(const struct spread_view *view)
{
	int before = 0;
	for (size_t i = 0; i < view->member_count; i++)
		before += view->members[i] < view->self;
	return view->member_count > 0 ? before * view->shards / (int)view->member_count : 0;
}

static void take(const struct spread_view *view, const struct shards *ripe, int count,
		 struct spread_plan *plan)
{
	int first = first_to_try(view);
	for (int i = 0; i < view->shards && count > 0; i++) {
		int k = (first + i) % view->shards;
		if (view->owner[k] != 0 || !ripe->owned[k])
			continue;
		plan->take.owned[k] = true;
		count--;
	}
}

/* Whether it is this relay that should help another relay that is short: the one with the most, of
 * several the one of the lowest number. */
static bool is_richest(const struct spread_view *view, int mine)
{
	for (size_t i = 0; i < view->member_count; i++) {
		int pid = view->members[i], theirs = count_of(view, pid);
		if (theirs > mine || (theirs == mine && pid < view->self))
			return false;
	}
	return true;
}

static bool somebody_is_short(const struct spread_view *view, int share)
{
	for (size_t i = 0; i < view->member_count; i++)
		if (count_of(view, view->members[i]) < share)
			return true;
	return false;
}

int spread_free(const struct spread_view *view)
{
	return count_of(view, 0);
}

void spread_plan(const struct spread_view *view, const struct shards *ripe,
		 struct spread_plan *plan)
{
	int members = (int)view->member_count;
	int mine = count_of(view, view->self);
	shards_clear(&plan->take, view->shards);
	shards_clear(&plan->give, view->shards);
	if (view->paused || (members > 0 && view->unavailable)) {
		give(view, mine, plan);
		return;
	}
	if (members == 0 || view->shared) {
		take(view, ripe, view->shards, plan);
		return;
	}
	int share = view->shards / members, most = (view->shards + members - 1) / members;
	if (mine > most)
		give(view, mine - most, plan);
	else if (mine < most && spread_free(view) > 0)
		take(view, ripe, most - mine, plan);
	else if (mine > share && spread_free(view) == 0 && somebody_is_short(view, share) &&
		 is_richest(view, mine))
		give(view, 1, plan);
}
