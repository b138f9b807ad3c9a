/* SPDX-License-Identifier: ISC */
/*
 * test_poll_letters.c - what was set aside: rows and letters have their turns, and a claim may set
 * all aside that it took
 */
#include "poll_world.h"

/* Nothing was taken but moved: so many rows. */
static void moved(struct world *w, int64_t rows)
{
	struct claim_answer answer = {.moved = rows, .upto = w->next_id + rows - 1};

	answer.full = rows == w->poll.claims.asked[0];
	w->next_id += rows;
	answer.last = w->next_id - 1;
	step(w, (struct poll_input){.event = POLL_CLAIMED, .answer = answer});
}

static void reach_letters(struct world *w)
{
	reach_ready(w, false);
	w->letters = true;
	fetch(w);
}

static void test_letters_that_are_due_are_claimed_first(void **state)
{
	struct world w;

	(void)state;
	reach_letters(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:letters");
	claimed(&w, 2);
	assert_is(&w, POLL_COMPLETE, "tell:last");
}

static void test_rows_have_their_turn_between_two_claims_of_letters(void **state)
{
	struct world w;

	(void)state;
	reach_letters(&w);
	claimed(&w, 2);
	tell(&w, POLL_SETTLE);
	fetch(&w);
	assert_is(&w, POLL_SETTLING, ""); /* not behind the COMMIT */
	tell(&w, POLL_SETTLED);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	claimed(&w, 2);
	assert_is(&w, POLL_COMPLETE, "tell:last");
	tell(&w, POLL_SETTLE);
	fetch(&w);
	tell(&w, POLL_SETTLED);
	assert_is(&w, POLL_CLAIMING, "claim:opens:letters");
}

/* Of a transaction that was aborted for the sake of one of them. */
static void give_back_and_ask_again(struct world *w)
{
	tell(w, POLL_ROLL_BACK);
	tell(w, POLL_ROLLED_BACK);
	step(w, (struct poll_input){.event = POLL_FETCH, .fetch = {1, 1000000, .again = true}});
}

static void test_what_was_given_back_is_asked_again_out_of_turn(void **state)
{
	struct world w;

	(void)state;
	reach_letters(&w);
	claimed(&w, 2);
	give_back_and_ask_again(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:letters");
	claimed(&w, 1);
	tell(&w, POLL_SETTLE);
	tell(&w, POLL_SETTLED);
	fetch(&w);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	claimed(&w, 2);
	give_back_and_ask_again(&w);
	assert_is(&w, POLL_CLAIMING,
		  "housekeep claim:opens:observes"); /* rows, though letters are due */
}

/* The first of what was given back may be gone, and then it is all as ever. */
static void test_what_was_given_back_is_asked_again_once(void **state)
{
	struct world w;

	(void)state;
	reach_letters(&w);
	claimed(&w, 2);
	give_back_and_ask_again(&w);
	claimed(&w, 0);
	assert_is(&w, POLL_CLAIMING, "end claim:opens:observes");
	observed(&w, 0);
	claimed(&w, 0);
	assert_is(&w, POLL_CLAIMING, "end claim:opens:letters");
}

static void test_where_no_letter_is_due_rows_are_claimed_at_once(void **state)
{
	struct world w;

	(void)state;
	reach_letters(&w);
	w.letters = false;
	claimed(&w, 0);
	assert_is(&w, POLL_CLAIMING, "end claim:opens:observes");
}

static void test_a_dry_look_at_rows_leads_to_letters(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 0);
	w.letters = true;
	claimed(&w, 0);
	assert_is(&w, POLL_CLAIMING, "end claim:opens:letters");
}

static void test_a_request_ends_a_rest(void **state)
{
	struct world w;

	(void)state;
	reach_resting(&w);
	w.letters = true;
	tell(&w, POLL_RELEASED);
	assert_is(&w, POLL_CLAIMING, "claim:opens:letters");
}

static void test_letters_wait_while_halted(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, false);
	w.letters = w.halted = true;
	fetch(&w);
	assert_int_equal(w.poll.state, POLL_RESTING);
	assert_null(strstr(w.did, "claim"));
}

static void test_rows_that_were_set_aside_are_committed_and_passed(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 100);
	moved(&w, 2);
	assert_is(&w, POLL_CLAIMING, "end housekeep claim:opens");
	assert_int_equal(begins_at(&w), 2);
}

/* While the relay halts at it. It is held no longer once that is committed. */
static void test_what_was_tried_alone_and_set_aside_is_committed(void **state)
{
	struct world w;

	(void)state;
	reach_ready(&w, false);
	w.halted = w.tries = true;
	fetch(&w);
	w.tries = false;
	moved(&w, 1);
	assert_is(&w, POLL_RESTING, "end housekeep retest timer");
	assert_true(find(&w, POLL_DO_END)->claim.alone);
	assert_false(w.poll.trying);
	w.halted = false;
	w.releases = true;
	tell(&w, POLL_RELEASED);
	assert_is(&w, POLL_CLAIMING, "claim:opens:observes");
	assert_false(find(&w, POLL_DO_CLAIM)->claim.alone);
}

static void test_a_full_claim_that_set_all_aside_is_followed_by_the_next(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 100);
	moved(&w, 4);
	assert_is(&w, POLL_CLAIMING, "claim"); /* in the same transaction */
	claimed(&w, 2);
	assert_is(&w, POLL_COMPLETE, "tell:last");
}

static void test_what_was_set_aside_counts_for_the_batch(void **state)
{
	struct world w;

	(void)state;
	reach_claiming(&w);
	observed(&w, 100);
	moved(&w, 4);
	moved(&w, 4); /* 8 rows are a batch */
	assert_is(&w, POLL_CLAIMING, "end housekeep claim:opens");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_letters_that_are_due_are_claimed_first),
	    cmocka_unit_test(test_rows_have_their_turn_between_two_claims_of_letters),
	    cmocka_unit_test(test_what_was_given_back_is_asked_again_out_of_turn),
	    cmocka_unit_test(test_what_was_given_back_is_asked_again_once),
	    cmocka_unit_test(test_where_no_letter_is_due_rows_are_claimed_at_once),
	    cmocka_unit_test(test_a_dry_look_at_rows_leads_to_letters),
	    cmocka_unit_test(test_a_request_ends_a_rest),
	    cmocka_unit_test(test_letters_wait_while_halted),
	    cmocka_unit_test(test_rows_that_were_set_aside_are_committed_and_passed),
	    cmocka_unit_test(test_what_was_tried_alone_and_set_aside_is_committed),
	    cmocka_unit_test(test_a_full_claim_that_set_all_aside_is_followed_by_the_next),
	    cmocka_unit_test(test_what_was_set_aside_counts_for_the_batch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
