/* SPDX-License-Identifier: ISC */
/*
 * test_rebalance.c - groups in which each relay decides for itself by the real rebalance.c
 *
 * In a round each relay polls the locks once, in any order, takes and hands over. Explored are
 * all orders from all beginnings: after a bounded number of rounds the shares are fair and nothing
 * moves any more. As in outbox/group.c a free shard is taken immediately if it was handed
 * over, by another relay, since the last poll, and otherwise when it was free in the poll before.
 */
#include "explored.h"
#include "outbox/rebalance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { RELAYS = 4, SHARDS = 4, ROUNDS_MOST = 12 };

enum plant {
	PLANT_NONE,
	PLANT_NO_GRACE, /* the one who hands over takes back immediately */
	PLANT_GIVES_ALL /* of several with the most, all hand over */
};

struct plan {
	struct shards take, give;
};

/* Relays are numbered from 1; their process ids are these numbers. */
struct state {
	uint8_t owner[SHARDS];	  /* 0: nobody */
	uint8_t was_free[RELAYS]; /* bits, in the relay's last look */
	uint8_t handed[RELAYS];	  /* another relay has handed over since */
};

struct group {
	int relays, shards;
	enum plant plant;
	struct explored next;
};

/* ---- a relay's look ---- */

static void view_of(const struct group *group, const struct state *s, int self,
		    struct rebalance_view *view)
{
	memset(view, 0, sizeof(*view));
	view->self = self;
	view->shards = group->shards;
	for (int r = 1; r <= group->relays; r++)
		rebalance_add_member(view, r);
	for (int k = 0; k < group->shards; k++)
		view->owner[k] = s->owner[k];
}

static void find_eligible(const struct group *group, struct state *s, int self,
			  struct shards *eligible)
{
	uint8_t *was_free = &s->was_free[self - 1], *handed = &s->handed[self - 1];
	bool at_once = *handed || group->plant == PLANT_NO_GRACE;

	shards_clear(eligible, group->shards);
	for (int k = 0; k < group->shards; k++)
		eligible->owned[k] = s->owner[k] == 0 && (at_once || (*was_free & 1u << k));
	*was_free = *handed = 0;
	for (int k = 0; k < group->shards; k++)
		if (s->owner[k] == 0)
			*was_free |= (uint8_t)(1u << k);
}

/* Everybody who has the most believes to be the only one. */
static void forget_the_others(struct rebalance_view *view)
{
	for (int k = 0; k < view->shards; k++)
		if (view->owner[k] != 0 && view->owner[k] < view->self)
			view->owner[k] += 100;
}

/* True if it changes anything. */
static bool look(const struct group *group, struct state *s, int self,
		 const struct shards *eligible)
{
	struct rebalance_view view;
	struct plan plan;
	bool changes = false, gives = false;

	view_of(group, s, self, &view);
	if (group->plant == PLANT_GIVES_ALL)
		forget_the_others(&view);
	rebalance(&view, eligible, &plan.take, &plan.give);
	for (int k = 0; k < group->shards; k++) {
		if (plan.give.owned[k]) {
			assert_int_equal(s->owner[k], self);
			s->owner[k] = 0;
			gives = changes = true;
		} else if (plan.take.owned[k]) {
			assert_int_equal(s->owner[k], 0);
			s->owner[k] = (uint8_t)self;
			changes = true;
		}
	}
	for (int r = 1; gives && r <= group->relays; r++)
		s->handed[r - 1] |= r != self;
	return changes;
}

/* ---- rounds ---- */

static void play(struct group *group, struct state s, unsigned looked)
{
	if (looked == (1u << group->relays) - 1) {
		explored_add(&group->next, &s);
		return;
	}
	for (int r = 1; r <= group->relays; r++) {
		struct state to = s;
		struct shards eligible;

		if (looked & 1u << (r - 1))
			continue;
		find_eligible(group, &to, r, &eligible);
		look(group, &to, r, &eligible);
		play(group, to, looked | 1u << (r - 1));
	}
}

/* Nobody would move, were every free shard eligible. */
static bool is_stable(const struct group *group, const struct state *s)
{
	struct shards eligible;

	shards_clear(&eligible, group->shards);
	for (int k = 0; k < group->shards; k++)
		eligible.owned[k] = s->owner[k] == 0;
	for (int r = 1; r <= group->relays; r++) {
		struct state to = *s;
		if (look(group, &to, r, &eligible))
			return false;
	}
	return true;
}

static bool is_fair(const struct group *group, const struct state *s)
{
	int least = SHARDS, most = 0;

	for (int k = 0; k < group->shards; k++)
		if (s->owner[k] == 0)
			return false;
	for (int r = 1; r <= group->relays; r++) {
		int owned = 0;
		for (int k = 0; k < group->shards; k++)
			owned += s->owner[k] == r;
		least = owned < least ? owned : least;
		most = owned > most ? owned : most;
	}
	return most - least <= 1;
}

static void begin_anyhow(struct group *group, struct explored *states, struct state s, int shard)
{
	if (shard == group->shards) {
		explored_add(states, &s);
		return;
	}
	for (int r = 0; r <= group->relays; r++) {
		s.owner[shard] = (uint8_t)r;
		begin_anyhow(group, states, s, shard + 1);
	}
}

/* After how many rounds all is quiet, whatever the order; more than ROUNDS_MOST: perhaps never. */
static int rounds_to_rest(int relays, int shards, enum plant plant)
{
	struct group group = {.relays = relays, .shards = shards, .plant = plant};
	struct explored states = {.size = sizeof(struct state)};
	struct state s = {0};
	int rounds = 0;

	begin_anyhow(&group, &states, s, 0);
	for (; states.count > 0 && rounds <= ROUNDS_MOST; rounds++) {
		group.next = (struct explored){.size = sizeof(struct state)};
		while (explored_take(&states, &s)) {
			if (!is_stable(&group, &s))
				play(&group, s, 0);
			else if (plant == PLANT_NONE)
				assert_true(is_fair(&group, &s));
		}
		explored_free(&states);
		states = group.next;
	}
	explored_free(&states);
	return rounds;
}

static void test_every_group_comes_to_a_fair_rest(void **state)
{
	(void)state;
	for (int relays = 1; relays <= RELAYS; relays++)
		for (int shards = 1; shards <= SHARDS; shards++) {
			int rounds = rounds_to_rest(relays, shards, PLANT_NONE);
			printf("%d relays, %d shards: at rest within %d rounds\n", relays, shards,
			       rounds);
			assert_true(rounds <= 6);
		}
}

static void test_planted_errors_never_rest(void **state)
{
	(void)state;
	assert_true(rounds_to_rest(3, 4, PLANT_NO_GRACE) > ROUNDS_MOST);
	assert_true(rounds_to_rest(3, 4, PLANT_GIVES_ALL) > ROUNDS_MOST);
}

/* ---- large groups that come and go, and decide by what they saw a while ago ---- */

enum { MANY = 12 };

struct crowd {
	uint64_t random;
	int shards, owner[64], pids[MANY]; /* 0: not there */
	int64_t free_since[MANY][64], turn;
	struct rebalance_view seen[MANY];
	bool has_seen[MANY];
};

static unsigned below(struct crowd *crowd, unsigned bound)
{
	crowd->random = crowd->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(crowd->random >> 33) % bound;
}

static void crowd_look(struct crowd *crowd, int i)
{
	struct rebalance_view *view = &crowd->seen[i];

	memset(view, 0, sizeof(*view));
	view->self = crowd->pids[i];
	view->shards = crowd->shards;
	for (int j = 0; j < MANY; j++)
		if (crowd->pids[j] != 0)
			rebalance_add_member(view, crowd->pids[j]);
	for (int k = 0; k < crowd->shards; k++)
		view->owner[k] = crowd->owner[k];
	crowd->has_seen[i] = true;
}

/* By the look before; what is not as it was is noticed by the locks alone. */
static bool crowd_decide(struct crowd *crowd, int i)
{
	struct plan plan;
	struct shards eligible;
	bool changes = false;

	shards_clear(&eligible, crowd->shards);
	for (int k = 0; k < crowd->shards; k++) {
		int64_t *since = &crowd->free_since[i][k];
		bool is_free = crowd->seen[i].owner[k] == 0;
		eligible.owned[k] = is_free && *since > 0 && crowd->turn - *since > 2 * MANY;
		*since = !is_free ? 0 : *since > 0 ? *since : crowd->turn;
	}
	rebalance(&crowd->seen[i], &eligible, &plan.take, &plan.give);
	for (int k = 0; k < crowd->shards; k++) {
		if (plan.give.owned[k] && crowd->owner[k] == crowd->pids[i]) {
			crowd->owner[k] = 0;
			changes = true;
		} else if (plan.take.owned[k] && crowd->owner[k] == 0) {
			crowd->owner[k] = crowd->pids[i];
			changes = true;
		}
	}
	crowd->has_seen[i] = false;
	return changes;
}

static void come_or_go(struct crowd *crowd, int i)
{
	static int last_pid = 1000;

	for (int k = 0; k < crowd->shards; k++)
		if (crowd->pids[i] != 0 && crowd->owner[k] == crowd->pids[i])
			crowd->owner[k] = 0;
	crowd->pids[i] = crowd->pids[i] == 0 ? ++last_pid : 0;
	crowd->has_seen[i] = false;
}

/* Each looks, and decides later; the last turn that changed anything. */
static int64_t run_crowd(struct crowd *crowd, int turns)
{
	int64_t changed = 0, end = crowd->turn + turns;

	for (; crowd->turn < end; crowd->turn++) {
		int i = (int)below(crowd, MANY);
		if (crowd->pids[i] == 0)
			continue;
		if (!crowd->has_seen[i])
			crowd_look(crowd, i);
		else if (crowd_decide(crowd, i))
			changed = crowd->turn;
	}
	return changed;
}

static void assert_fair(const struct crowd *crowd)
{
	int least = 64, most = 0;

	for (int i = 0; i < MANY; i++) {
		int owned = 0;
		for (int k = 0; k < crowd->shards; k++)
			owned += crowd->owner[k] == crowd->pids[i];
		if (crowd->pids[i] == 0)
			continue;
		least = owned < least ? owned : least;
		most = owned > most ? owned : most;
	}
	for (int k = 0; k < crowd->shards; k++)
		assert_int_not_equal(crowd->owner[k], 0);
	assert_true(most - least <= 1);
}

static void test_crowds_that_come_and_go_settle(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 100; seed++) {
		static struct crowd crowd;
		memset(&crowd, 0, sizeof(crowd));
		crowd.random = seed;
		crowd.turn = 1;
		crowd.shards = 1 + (int)below(&crowd, 64);
		come_or_go(&crowd, 0);
		for (int i = 0; i < 30; i++) {
			come_or_go(&crowd, 1 + (int)below(&crowd, MANY - 1));
			run_crowd(&crowd, (int)below(&crowd, 60));
		}
		run_crowd(&crowd, 6000);
		assert_fair(&crowd);
		assert_int_equal(run_crowd(&crowd, 2000), 0);
	}
}

/* ---- single looks ---- */

static struct plan plan_of(int self, int members, int shards, const int *owner, bool paused)
{
	struct rebalance_view view = {.self = self, .shards = shards, .paused = paused};
	struct plan plan;
	struct shards eligible;

	for (int r = 1; r <= members; r++)
		rebalance_add_member(&view, r);
	shards_clear(&eligible, shards);
	for (int k = 0; k < shards; k++) {
		view.owner[k] = owner[k];
		eligible.owned[k] = owner[k] == 0;
	}
	rebalance(&view, &eligible, &plan.take, &plan.give);
	return plan;
}

static void test_a_paused_outbox_is_nobodys(void **state)
{
	struct plan plan = plan_of(1, 2, 3, (const int[]){1, 0, 1}, true);

	(void)state;
	assert_int_equal(shards_owned(&plan.give), 2);
	assert_int_equal(shards_owned(&plan.take), 0);
}

/* A relay that is unavailable is no member of what is seen. */
static struct plan plan_abstaining(int members, const int *owner, int shards)
{
	struct rebalance_view view = {.self = 9, .shards = shards, .unavailable = true};
	struct plan plan;
	struct shards eligible;

	shards_clear(&eligible, shards);
	for (int pid = 1; pid <= members; pid++)
		rebalance_add_member(&view, pid);
	for (int k = 0; k < shards; k++) {
		view.owner[k] = owner[k];
		eligible.owned[k] = true;
	}
	rebalance(&view, &eligible, &plan.take, &plan.give);
	return plan;
}

static void test_who_unavailable_serves_only_if_nobody_else_does(void **state)
{
	const int mine[4] = {9, 9, 9, 0}, theirs[4] = {9, 5, 0, 0};
	struct plan beside = plan_abstaining(1, mine, 4);
	struct plan alone = plan_abstaining(0, theirs, 4);

	(void)state;
	assert_int_equal(shards_owned(&beside.give), 3);
	assert_int_equal(shards_owned(&beside.take), 0);
	assert_int_equal(shards_owned(&alone.give), 0);
	assert_true(alone.take.owned[2] && alone.take.owned[3]);
	assert_int_equal(shards_owned(&alone.take), 2);
}

static void test_of_shared_shards_each_has_all(void **state)
{
	struct rebalance_view view = {.self = 1, .members = {1, 2}, .member_count = 2, .shards = 4};
	struct plan plan;
	struct shards eligible;

	(void)state;
	shards_clear(&eligible, 4);
	for (int k = 0; k < 4; k++)
		eligible.owned[k] = true;
	view.shared = true;
	view.owner[0] = view.owner[1] = 1;
	rebalance(&view, &eligible, &plan.take, &plan.give);
	assert_int_equal(shards_owned(&plan.take), 2);
	assert_int_equal(shards_owned(&plan.give), 0);
	view.unavailable = true;
	rebalance(&view, &eligible, &plan.take, &plan.give);
	assert_int_equal(shards_owned(&plan.give), 2);
}

static void test_one_shard_stays_where_it_is(void **state)
{
	struct plan owner = plan_of(2, 3, 1, (const int[]){2}, false);
	struct plan other = plan_of(1, 3, 1, (const int[]){2}, false);

	(void)state;
	assert_int_equal(shards_owned(&owner.give) + shards_owned(&owner.take), 0);
	assert_int_equal(shards_owned(&other.give) + shards_owned(&other.take), 0);
}

static void test_several_begin_at_different_shards(void **state)
{
	const int nobody[4] = {0};
	struct plan first = plan_of(1, 2, 4, nobody, false);
	struct plan second = plan_of(2, 2, 4, nobody, false);

	(void)state;
	assert_true(first.take.owned[0] && first.take.owned[1]);
	assert_true(second.take.owned[2] && second.take.owned[3]);
	assert_int_equal(shards_owned(&first.take) + shards_owned(&second.take), 4);
}

static void test_a_group_may_be_too_large_to_be_told_of(void **state)
{
	struct rebalance_view view = {0};

	(void)state;
	for (int pid = 1; pid <= REBALANCE_MEMBERS_MAX + 10; pid++) {
		rebalance_add_member(&view, pid);
		rebalance_add_member(&view, pid);
	}
	assert_int_equal(view.member_count, REBALANCE_MEMBERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_group_comes_to_a_fair_rest),
	    cmocka_unit_test(test_planted_errors_never_rest),
	    cmocka_unit_test(test_crowds_that_come_and_go_settle),
	    cmocka_unit_test(test_a_paused_outbox_is_nobodys),
	    cmocka_unit_test(test_who_unavailable_serves_only_if_nobody_else_does),
	    cmocka_unit_test(test_of_shared_shards_each_has_all),
	    cmocka_unit_test(test_one_shard_stays_where_it_is),
	    cmocka_unit_test(test_several_begin_at_different_shards),
	    cmocka_unit_test(test_a_group_may_be_too_large_to_be_told_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
