/* SPDX-License-Identifier: ISC */
/*
 * test_group.c - single polls of the locks, and what the group makes of them
 */
#include "outbox/group.h"
#include "outbox/locks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SELF = 1, OTHER = 2, FINGERPRINT = 7, NOW_US = 1000 * 1000 * 1000 };

static struct group group;
static struct group_view view;

/* A relay of so many shards that has just joined. */
static void begin(int shards, bool polled)
{
	memset(&group, 0, sizeof(group));
	group.polled = polled;
	group_join(&group, SELF, shards, false, FINGERPRINT, NOW_US);
}

static void add(int pid, int32_t key, int64_t fingerprint, const char *stranger)
{
	struct group_lock lock = {.key = (uint32_t)key,
				  .session = {pid, 1},
				  .fingerprint = fingerprint,
				  .stranger = stranger,
				  .held = true,
				  .exclusive = true};

	group_view_add(&group, &view, &lock);
}

static void add_member(int pid, int shards)
{
	add(pid, outbox_member_lock(shards, false, 0), FINGERPRINT, NULL);
}

static void see_members(int others)
{
	group_view_begin(&group, &view, false);
	for (int pid = SELF; pid <= SELF + others; pid++)
		add_member(pid, group.owned.count);
}

static struct group_plan *plan_after(int64_t us)
{
	static struct group_plan plan;

	group_polled(&group, &view, NOW_US + us, &plan);
	return &plan;
}

static void test_one_that_starts_alone_does_not_wait(void **state)
{
	(void)state;
	begin(2, false);
	see_members(0);
	assert_int_equal(shards_owned(&plan_after(0)->take), 2);
	begin(2, false);
	see_members(0);
	add_member(OTHER, 3);
	assert_int_equal(shards_owned(&plan_after(0)->take), 0);
	see_members(0);
	assert_int_equal(shards_owned(&plan_after(GROUP_GRACE_US)->take), 2);
}

static void test_what_a_peer_hands_over_is_taken_at_once(void **state)
{
	const struct shards given = {.count = 2, .owned = {[1] = true}};
	struct shards take;

	(void)state;
	begin(2, true);
	see_members(1);
	plan_after(0);
	group_freed(&group, OTHER + 1, 2, &given);
	group_freed(&group, OTHER, 3, &given);
	assert_int_equal(shards_owned(&plan_after(1)->take), 0);
	group_freed(&group, OTHER, 2, &given);
	take = plan_after(2)->take;
	assert_true(take.owned[1] && !take.owned[0]);
}

/* All sessions were lost, and this relay was stopped as soon as it was back: how long the shards
 * have been free it cannot know, that others may come back for them it does. */
static void test_who_was_away_after_a_loss_leaves_the_shards_as_long(void **state)
{
	const int64_t away_us = 2000 * 1000;

	(void)state;
	begin(1, true);
	group.rejoined = true;
	see_members(1);
	assert_int_equal(shards_owned(&plan_after(0)->take), 0);
	assert_int_equal(shards_owned(&plan_after(away_us)->take), 0);
	assert_int_equal(shards_owned(&plan_after(away_us + GROUP_GRACE_US)->take), 0);
	assert_int_equal(shards_owned(&plan_after(GROUP_GRACE_AFTER_LOSS_US)->take), 1);
}

static void test_owners_are_noted_while_nothing_is_taken(void **state)
{
	(void)state;
	begin(1, true);
	group.shards[0].remembered = true;
	group.keeps = true;
	see_members(1);
	add(OTHER, outbox_shard_lock(1, 0), FINGERPRINT, NULL);
	plan_after(0);
	group.keeps = false;
	see_members(1);
	assert_int_equal(shards_owned(&plan_after(1)->take), 0);
	assert_int_equal(shards_owned(&plan_after(1 + GROUP_GRACE_US)->take), 1);
}

static void test_relays_of_another_layout_are_waited_for(void **state)
{
	const int64_t fingerprints[] = {FINGERPRINT, FINGERPRINT + 1, -1};

	(void)state;
	for (int i = 0; i < 3; i++) {
		begin(1, true);
		group.shards[0].remembered = true;
		see_members(0);
		add(OTHER, outbox_shard_lock(i == 0 ? 2 : 1, 0), fingerprints[i], NULL);
		assert_int_equal(shards_owned(&plan_after(0)->take), 0);
		assert_int_equal(view.other_layout, i == 0 ? 2 : 1);
		/* Its owner may be back in a moment. */
		see_members(0);
		assert_int_equal(shards_owned(&plan_after(1)->take), 0);
	}
}

/* Paused behind the poll that led to the try. */
static void test_what_cannot_be_kept_is_given_back(void **state)
{
	struct shards give_back;

	(void)state;
	begin(2, true);
	group.shards[0].remembered = true;
	group_tried(&group, 0, true);
	group_tried(&group, 1, false);
	see_members(1);
	view.shards.paused = true;
	assert_false(group_verified(&group, &view, &give_back));
	assert_true(give_back.owned[0] && !give_back.owned[1]);
	group_gave(&group, &give_back);
	assert_true(group.shards[0].remembered);
	assert_int_equal(shards_owned(&plan_after(0)->take), 0);
	view.shards.paused = false;
	assert_true(plan_after(0)->take.owned[0]);
}

static void test_a_strangers_lock_blocks_its_shard_only(void **state)
{
	const struct group_plan *plan;

	(void)state;
	begin(2, false);
	see_members(0);
	add(9, outbox_shard_lock(2, 1), -1, "session 9");
	plan = plan_after(0);
	assert_true(plan->take.owned[0] && !plan->take.owned[1]);
	assert_int_equal(view.occupied, 1);
	assert_string_equal(view.stranger, "session 9");
}

static void test_an_occupied_key_is_left_for_another(void **state)
{
	const struct group_plan *plan;

	(void)state;
	begin(1, false);
	group_view_begin(&group, &view, false);
	plan = plan_after(0);
	assert_true(plan->join && plan->mark);
	assert_int_equal(shards_owned(&plan->take), 0);
	assert_int_equal(group.joins_failed, 1);
}

static void test_another_layout_of_its_own_is_begun_anew(void **state)
{
	(void)state;
	begin(2, true);
	group.shards[0].remembered = group.shards[1].remembered = true;
	group_join(&group, SELF, 2, false, FINGERPRINT, NOW_US);
	assert_true(group.shards[1].remembered);
	group_join(&group, SELF, 2, false, FINGERPRINT + 1, NOW_US);
	assert_false(group.shards[0].remembered || group.shards[1].remembered);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_that_starts_alone_does_not_wait),
	    cmocka_unit_test(test_what_a_peer_hands_over_is_taken_at_once),
	    cmocka_unit_test(test_who_was_away_after_a_loss_leaves_the_shards_as_long),
	    cmocka_unit_test(test_owners_are_noted_while_nothing_is_taken),
	    cmocka_unit_test(test_relays_of_another_layout_are_waited_for),
	    cmocka_unit_test(test_what_cannot_be_kept_is_given_back),
	    cmocka_unit_test(test_a_strangers_lock_blocks_its_shard_only),
	    cmocka_unit_test(test_an_occupied_key_is_left_for_another),
	    cmocka_unit_test(test_another_layout_of_its_own_is_begun_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
