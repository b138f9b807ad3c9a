/* SPDX-License-Identifier: ISC */
/*
 * test_position_model_claims.c - what one claim takes and where it leaves the position, and
 * snapshots as text
 */
#include "outbox/position_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct pgsnapshot before = {.xmin = 5, .xmax = 5}, after = {.xmin = 9, .xmax = 9};
static const struct position fresh = {.finished = {.xmin = 5, .xmax = 5}};
static const struct position_limits ample = {.rows = 10, .bytes = -1, .few = 100, .stale = 1000};

static struct position_taken claim_rows(const struct position *position,
					const struct position_row *rows, size_t count,
					struct position_limits limits)
{
	struct position_start start = {.goal = after, .bound = position->has_target};

	return position_take(position, &start, rows, count, &limits);
}

static void assert_cut_at(const struct position_taken *taken, size_t rows, int64_t reached)
{
	assert_int_equal(taken->rows, rows);
	assert_true(taken->cut && taken->behind.has_target);
	assert_true(pgsnapshot_equal(&taken->behind.finished, &before));
	assert_true(pgsnapshot_equal(&taken->behind.target, &after));
	assert_true(taken->behind.has_reached);
	assert_int_equal(taken->behind.reached, reached);
}

static void assert_finished(const struct position_taken *taken, size_t rows)
{
	struct position finished = {.finished = after};

	assert_int_equal(taken->rows, rows);
	assert_false(taken->cut);
	assert_true(position_equal(&taken->behind, &finished));
}

static void test_a_claim_ends_where_there_is_no_more_room(void **state)
{
	static const struct position_row rows[] = {
	    {1, 10, false}, {2, 10, false}, {2, 10, false}, {3, 50, false}};
	struct position_limits limits = ample;
	struct position_taken taken = claim_rows(&fresh, rows, 4, limits);

	(void)state;
	assert_finished(&taken, 4);
	assert_true(taken.writes);
	limits.bytes = 80;
	taken = claim_rows(&fresh, rows, 4, limits);
	assert_finished(&taken, 4);
	limits.bytes = 79;
	taken = claim_rows(&fresh, rows, 4, limits);
	assert_cut_at(&taken, 3, 2);
	limits.bytes = 29; /* not between two of the same id */
	taken = claim_rows(&fresh, rows, 4, limits);
	assert_cut_at(&taken, 1, 1);
	limits.bytes = 0; /* the first is taken, however large */
	taken = claim_rows(&fresh, &rows[1], 3, limits);
	assert_cut_at(&taken, 2, 2);
	limits = ample;
	limits.rows = 2;
	taken = claim_rows(&fresh, rows, 4, limits);
	assert_cut_at(&taken, 3, 2);
}

static void test_a_held_row_stays_and_what_follows(void **state)
{
	struct position_row rows[] = {{1, 0, false}, {2, 0, false}, {2, 0, true}, {3, 0, false}};
	struct position_taken taken = claim_rows(&fresh, rows, 4, ample);

	(void)state;
	assert_cut_at(&taken, 1, 1);
	taken = claim_rows(&fresh, &rows[1], 3, ample);
	assert_int_equal(taken.rows, 0);
	assert_false(taken.writes || taken.moves);
}

static void test_many_rows_are_walked(void **state)
{
	static const struct position_row rows[] = {{7, 0, false}, {8, 0, false}, {9, 0, false}};
	struct position_limits limits = ample;

	(void)state;
	limits.few = 2;
	struct position_taken taken = claim_rows(&fresh, rows, 3, limits);
	assert_cut_at(&taken, 0, 6);
	assert_true(taken.writes && taken.moves && taken.behind.walks);
	struct position walk = taken.behind;
	limits.rows = 3; /* whether there is a fourth it does not know */
	taken = claim_rows(&walk, rows, 3, limits);
	assert_cut_at(&taken, 3, 9);
	assert_true(taken.behind.walks);
	taken = claim_rows(&taken.behind, rows, 0, limits);
	assert_finished(&taken, 0);
	assert_true(taken.writes && taken.moves);
}

static void test_the_lowest_id_is_one_like_others(void **state)
{
	static const struct position_row rows[] = {{INT64_MIN, 0, false}, {INT64_MAX, 0, false}};
	struct position_limits limits = ample;

	(void)state;
	limits.few = 1;
	struct position_taken taken = claim_rows(&fresh, rows, 2, limits);
	assert_true(taken.cut && taken.behind.walks && !taken.behind.has_reached);
	assert_true(position_is_next(&taken.behind, &after, 7, INT64_MIN));
	assert_false(position_settles(&taken.behind, 7, INT64_MIN));
	limits.rows = 1;
	taken = claim_rows(&taken.behind, rows, 2, limits);
	assert_cut_at(&taken, 1, INT64_MIN);
	assert_true(position_settles(&taken.behind, 7, INT64_MIN));
	assert_false(position_is_next(&taken.behind, &after, 7, INT64_MIN));
	taken = claim_rows(&taken.behind, &rows[1], 1, limits);
	assert_cut_at(&taken, 1, INT64_MAX);
}

static void test_a_position_moves_on_now_and_then(void **state)
{
	struct position_limits limits = ample;
	struct position_taken taken = claim_rows(&fresh, NULL, 0, limits);

	(void)state;
	assert_finished(&taken, 0);
	assert_false(taken.writes || taken.moves);
	limits.stale = 3;
	taken = claim_rows(&fresh, NULL, 0, limits);
	assert_true(taken.writes);
	assert_false(taken.moves);
}

/* ---- snapshots as text ---- */

static void test_snapshots_are_read_and_written(void **state)
{
	static const char *const good[] = {"1:1:", "5:9:5,7", "3:18446744073709551615:3",
					   "750:751:750", NULL};
	static const char *const bad[] = {
	    "",		 "1",	  "1:1",     "1:1:1",
	    "9:5:",	 "5:9:4", "5:9:7,6", "5:9:7,",
	    "5:9:,7",	 "5:9:9", "-1:9:",   "5:9:7;8",
	    "5:9:6,7,8", "5: 9:", "a:b:",    "1:18446744073709551616:",
	    NULL};
	struct pgsnapshot snapshot;
	uint64_t running[2];

	(void)state;
	for (size_t i = 0; good[i] != NULL; i++) {
		assert_true(pgsnapshot_parse(&snapshot, good[i], running, 2));
		char *text = pgsnapshot_print(&snapshot);
		assert_string_equal(text, good[i]);
		free(text);
	}
	for (size_t i = 0; bad[i] != NULL; i++)
		if (pgsnapshot_parse(&snapshot, bad[i], running, 2))
			fail_msg("\"%s\" is read", bad[i]);
}

static void test_what_snapshots_show(void **state)
{
	struct pgsnapshot one, two;
	uint64_t room[2][2];

	(void)state;
	assert_true(pgsnapshot_parse(&one, "5:9:5,7", room[0], 2));
	assert_true(pgsnapshot_parse(&two, "7:9:7", room[1], 2));
	assert_true(pgsnapshot_shows(&one, 4) && pgsnapshot_shows(&one, 6) &&
		    pgsnapshot_shows(&one, 8));
	assert_false(pgsnapshot_shows(&one, 5) || pgsnapshot_shows(&one, 7) ||
		     pgsnapshot_shows(&one, 9));
	assert_true(pgsnapshot_shows_all(&two, &one) && pgsnapshot_shows_all(&one, &one));
	assert_false(pgsnapshot_shows_all(&one, &two) || pgsnapshot_equal(&one, &two));
}

/* The order is total, whatever order the shards are in, so that the statement has the same. */
static void test_which_shard_comes_first(void **state)
{
	const struct position in_order[] = {
	    {.finished = before, .target = after, .has_target = true},
	    {.finished = before, .target = after, .has_target = true, .walks = true},
	    {.finished = before,
	     .target = after,
	     .has_target = true,
	     .has_reached = true,
	     .reached = INT64_MIN},
	    {.finished = before,
	     .target = after,
	     .has_target = true,
	     .has_reached = true,
	     .reached = INT64_MIN,
	     .walks = true},
	    {.finished = before,
	     .target = after,
	     .has_target = true,
	     .has_reached = true,
	     .reached = 7},
	    {.finished = before},
	    {.finished = after},
	};
	enum { COUNT = sizeof(in_order) / sizeof(in_order[0]) };

	(void)state;
	for (size_t i = 0; i + 1 < COUNT; i++) {
		struct position ahead_first[] = {in_order[i + 1], in_order[i]};
		assert_int_equal(position_start(&in_order[i], 2, &after).first, 0);
		assert_int_equal(position_start(ahead_first, 2, &after).first, 1);
	}
}

/* Transaction 6 took a snapshot that shows itself; in the other one, of the same moment, it is open
 * and 7 is not. Neither is the other's target; without a row that is next they are at one position
 * after two claims, and no more is written. */
static void test_shards_that_cannot_be_compared_come_together(void **state)
{
	static uint64_t seven[] = {7}, six[] = {6};
	struct position shards[] = {
	    {.finished = {.xmin = 7, .xmax = 8, .running = seven, .running_count = 1}},
	    {.finished = {.xmin = 6, .xmax = 8, .running = six, .running_count = 1}}};
	bool written[3];

	(void)state;
	for (int claim = 0; claim < 3; claim++) {
		struct position_start start = position_start(shards, 2, &after);
		struct position_taken taken =
		    position_take(&shards[start.first], &start, NULL, 0, &ample);
		written[claim] = taken.writes;
		if (taken.writes)
			shards[start.first] = taken.behind;
	}
	assert_true(written[0] && written[1]);
	assert_false(written[2]);
	assert_true(position_equal(&shards[0], &shards[1]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_claim_ends_where_there_is_no_more_room),
	    cmocka_unit_test(test_a_held_row_stays_and_what_follows),
	    cmocka_unit_test(test_many_rows_are_walked),
	    cmocka_unit_test(test_the_lowest_id_is_one_like_others),
	    cmocka_unit_test(test_a_position_moves_on_now_and_then),
	    cmocka_unit_test(test_snapshots_are_read_and_written),
	    cmocka_unit_test(test_what_snapshots_show),
	    cmocka_unit_test(test_which_shard_comes_first),
	    cmocka_unit_test(test_shards_that_cannot_be_compared_come_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
