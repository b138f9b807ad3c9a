/* SPDX-License-Identifier: ISC */
/*
 * test_horizon.c - explores every interleaving of small cases of writers, readings, claims, row
 * locks of others, rollbacks and ids that begin again through the real horizon.c
 *
 * Writers of one key take turns (the key's lock); each takes the table's lock, draws an id, then
 * commits or aborts. The relay reads and claims as the source does: the ids drawn, then the
 * writers, then the rows, then what is left. A row that another session has locked is passed over,
 * and with it the later ones of its key. Checked in every state: no row that is visible lies
 * unclaimed at or under the low watermark, and no row is taken before an earlier one of its key.
 * Planted errors must be found.
 *
 * The ids may begin again once, while the outbox is empty. Each claim and each reading also asks
 * whether they have; a claim that hears it gives its rows back, and the horizon is reset.
 */
#include "explored.h"
#include "outbox/horizon.h"
#include "writer_masks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { WRITERS = 4 };
enum phase { IDLE, KEY_LOCKED, TABLE_LOCKED, ID_DRAWN, COMMITTED, ABORTED };

/* Where the relay is between two of its statements. */
enum at { AT_REST, AT_DRAWN, AT_READ, AT_CLAIMED, AT_UNTOLD, AT_UNTOLD_DRAWN };

enum plant {
	PLANT_NONE,
	PLANT_WRITERS_FIRST, /* the ids drawn are read after the writers */
	PLANT_NOT_WAITING,   /* the low watermark follows the claims while writers are awaited */
	PLANT_NO_CLAIM,	  /* the low watermark moves once the writers are gone, without a claim */
	PLANT_OLD_CLAIM,  /* a reading is told before the claim that ran before it */
	PLANT_ABOVE_LAST, /* a claim starts above the last id claimed */
	PLANT_NO_RESET,	  /* nothing is forgotten at a rollback */
	PLANT_HIGH_WATERMARK_FORGOTTEN, /* the low watermark follows the claims past the high
					   watermark */
	PLANT_PASSED_OVER,		/* a claim that found nothing to take has left nothing */
	PLANT_PASSED_LOCKED,		/* nor has one that took rows behind a locked one */
	PLANT_KEY_NOT_HELD,		/* the later rows of a locked one's key are taken */
	PLANT_SET_BACK			/* nothing is done about ids that begin again */
};

struct state {
	uint8_t phase[WRITERS], id[WRITERS];
	uint8_t drawn; /* highest id given out */
	uint8_t taken; /* rows in our open transaction, by writer */
	uint8_t done;  /* rows in those that committed */
	uint8_t at;
	uint8_t read_drawn; /* the reading under way */
	uint8_t read_writers;
	uint8_t untold_count, untold_last, untold_upto; /* a claim's answer not yet told */
	uint8_t rolling_back;				/* the rollback is queued behind a claim */
	uint8_t locked, was_locked;			/* by another session: writer + 1, once */
	uint8_t stage, low_watermark, high_watermark, last, awaited; /* struct horizon */
	uint8_t set_back, heard;				     /* the ids; by the relay */
	uint8_t too_high; /* the claim under way may be */
};

struct model {
	const char *keys;
	unsigned writers, limit;
	bool locks; /* another session may lock a row */
	bool set_back;
	enum plant plant;
	bool drawn_known;
	struct explored set;
	const char *verdict;
};

/* ---- the horizon in a state's few bytes ---- */

static void load(const struct state *s, struct horizon *horizon)
{
	horizon_reset(horizon);
	horizon->stage = (enum horizon_stage)s->stage;
	horizon->low_watermark = s->low_watermark;
	horizon->high_watermark = s->high_watermark;
	horizon->last = s->last;
	set_of(&horizon->writers, s->awaited);
}

static void save(struct state *s, const struct horizon *horizon)
{
	s->stage = (uint8_t)horizon->stage;
	s->low_watermark = (uint8_t)horizon->low_watermark;
	s->high_watermark = (uint8_t)horizon->high_watermark;
	s->last = (uint8_t)horizon->last;
	s->awaited = mask_of(&horizon->writers);
}

static void tell_observed(const struct model *m, struct state *s)
{
	struct horizon horizon;
	struct writers now;

	load(s, &horizon);
	set_of(&now, s->read_writers);
	horizon_observed(&horizon, m->drawn_known ? s->read_drawn : DRAWN_UNKNOWN, &now, 0);
	if (m->plant == PLANT_NO_CLAIM && horizon.stage == HORIZON_OPEN)
		horizon.low_watermark = horizon.high_watermark;
	save(s, &horizon);
	s->read_drawn = s->read_writers = 0;
}

static void tell_claimed(const struct model *m, struct state *s, unsigned count, unsigned last,
			 unsigned upto)
{
	struct horizon horizon;

	load(s, &horizon);
	horizon_claimed(&horizon, count, last, upto);
	if (m->plant == PLANT_NOT_WAITING && horizon.stage == HORIZON_WAITING && count > 0)
		horizon.low_watermark =
		    last < horizon.high_watermark ? last : horizon.high_watermark;
	if (m->plant == PLANT_HIGH_WATERMARK_FORGOTTEN && horizon.stage == HORIZON_OPEN &&
	    count > 0)
		horizon.low_watermark = last;
	if (m->plant == PLANT_ABOVE_LAST)
		horizon.low_watermark = 0; /* this mistake alone */
	save(s, &horizon);
}

static void forget(const struct model *m, struct state *s)
{
	struct horizon horizon;

	if (m->plant == PLANT_NO_RESET)
		return;
	horizon_reset(&horizon);
	save(s, &horizon);
}

/* ---- what is checked ---- */

static bool is_visible(const struct state *s, unsigned w)
{
	return s->phase[w] == COMMITTED && !((s->taken | s->done) & 1u << w);
}

static void check_nothing_lost(struct model *m, const struct state *s)
{
	if (s->set_back != s->heard || s->too_high)
		return;
	for (unsigned w = 0; w < m->writers; w++)
		if (is_visible(s, w) && s->id[w] <= s->low_watermark)
			m->verdict = "loses a row";
}

/* Writers of a key take turns, so the order of its ids is the order of its commits. What is taken
 * too high is given back. */
static void check_order(struct model *m, const struct state *s, unsigned taken)
{
	if (s->too_high)
		return;
	for (unsigned w = 0; w < m->writers; w++)
		if (w != taken && is_visible(s, w) && m->keys[w] == m->keys[taken] &&
		    s->id[w] < s->id[taken])
			m->verdict = "reorders";
}

/* ---- steps ---- */

static bool key_is_free(const struct model *m, const struct state *s, unsigned w)
{
	for (unsigned x = 0; x < m->writers; x++)
		if (m->keys[x] == m->keys[w] && s->phase[x] >= KEY_LOCKED &&
		    s->phase[x] <= ID_DRAWN)
			return false;
	return true;
}

static void step_writer(struct model *m, const struct state *from, unsigned w)
{
	struct state to = *from;

	if (from->phase[w] >= COMMITTED || (from->phase[w] == IDLE && !key_is_free(m, from, w)))
		return;
	to.phase[w]++;
	if (to.phase[w] == ID_DRAWN)
		to.id[w] = ++to.drawn;
	explored_add(&m->set, &to);
	if (to.phase[w] == COMMITTED) {
		to.phase[w] = ABORTED;
		explored_add(&m->set, &to);
	}
}

/* Somebody else has locked the row, or an earlier one of its key. */
static bool is_held(const struct model *m, const struct state *s, unsigned w)
{
	unsigned other = s->locked - 1u;

	if (s->locked == 0 || !is_visible(s, other))
		return false;
	if (other == w)
		return true;
	return m->keys[other] == m->keys[w] && s->id[other] < s->id[w] &&
	       m->plant != PLANT_KEY_NOT_HELD;
}

struct taken {
	unsigned count, last;
	bool passed; /* over a row */
};

/* Takes what is visible above the low watermark in order of id. */
static struct taken take(struct model *m, struct state *s)
{
	unsigned above =
	    m->plant == PLANT_ABOVE_LAST && s->last > s->low_watermark ? s->last : s->low_watermark;
	struct taken taken = {0};

	for (unsigned id = above + 1; id <= s->drawn && taken.count < m->limit; id++)
		for (unsigned w = 0; w < m->writers; w++) {
			if (s->id[w] != id || !is_visible(s, w))
				continue;
			if (is_held(m, s, w)) {
				taken.passed = true;
				continue;
			}
			check_order(m, s, w);
			s->taken |= (uint8_t)(1u << w);
			taken.last = id;
			taken.count++;
		}
	return taken;
}

/* Of a claim that took nothing it cannot be told whether it left anything. */
static unsigned upto(const struct model *m, const struct taken *taken)
{
	if (taken->count == 0)
		return m->plant == PLANT_PASSED_OVER ? UINT8_MAX : 0;
	return taken->passed && m->plant != PLANT_PASSED_LOCKED ? 0 : taken->last;
}

/* The relay asks whether ids have begun again since it last did. */
static void hear(const struct model *m, struct state *s)
{
	s->too_high |= (uint8_t)(s->heard != s->set_back && m->plant != PLANT_SET_BACK);
	s->heard = s->set_back;
}

/* All is given back; if the claim's answer tells that ids have begun again, nothing is known. */
static void give_back(const struct model *m, struct state *s)
{
	if (s->too_high)
		forget(m, s);
	s->taken = s->too_high = s->rolling_back = 0;
}

static void step_claim(struct model *m, const struct state *from)
{
	struct state to = *from;
	hear(m, &to);
	struct taken taken = take(m, &to);

	to.at = AT_REST;
	if (from->rolling_back || (to.too_high && from->at != AT_READ)) {
		/* Its answer is not told: the rollback behind it gives the rows back. */
		give_back(m, &to);
	} else if (m->plant == PLANT_OLD_CLAIM || from->at == AT_READ) {
		to.untold_count = (uint8_t)taken.count;
		to.untold_last = (uint8_t)taken.last;
		to.untold_upto = (uint8_t)upto(m, &taken);
		to.at = m->plant == PLANT_OLD_CLAIM ? AT_UNTOLD : AT_CLAIMED;
	} else {
		tell_claimed(m, &to, taken.count, taken.last, upto(m, &taken));
	}
	explored_add(&m->set, &to);
}

/* A claim that observes asks for the lowest row that is left, which tells more than the claim. */
static void step_left(struct model *m, const struct state *from)
{
	struct state to = *from;
	unsigned left = UINT8_MAX;

	for (unsigned w = 0; w < m->writers; w++)
		if (is_visible(from, w) && from->id[w] > from->low_watermark && from->id[w] <= left)
			left = from->id[w] - 1u;
	if (m->plant == PLANT_PASSED_OVER || m->plant == PLANT_PASSED_LOCKED)
		left = from->untold_upto; /* this mistake alone */
	to.at = AT_REST;
	if (from->rolling_back || from->too_high)
		give_back(m, &to);
	else
		tell_claimed(m, &to, from->untold_count, from->untold_last, left);
	to.untold_count = to.untold_last = to.untold_upto = 0;
	explored_add(&m->set, &to);
}

static void step_lock(struct model *m, const struct state *from)
{
	struct state to = *from;

	if (from->locked) {
		to.locked = 0;
		explored_add(&m->set, &to);
	}
	for (unsigned w = 0; m->locks && !from->was_locked && w < m->writers; w++)
		if (is_visible(from, w)) {
			to.was_locked = 1;
			to.locked = (uint8_t)(w + 1);
			explored_add(&m->set, &to);
		}
}

static void step_read(struct model *m, const struct state *from)
{
	struct state to = *from;
	bool first = from->at == AT_REST || from->at == AT_UNTOLD;

	if (first == (m->plant != PLANT_WRITERS_FIRST))
		to.read_drawn = from->drawn;
	else
		to.read_writers =
		    (uint8_t)in_phases(from->phase, m->writers, TABLE_LOCKED, ID_DRAWN);
	if (from->at == AT_REST) {
		hear(m, &to);
		to.at = AT_DRAWN;
	} else if (from->at == AT_UNTOLD) {
		to.at = AT_UNTOLD_DRAWN;
	} else if (from->at == AT_DRAWN) {
		tell_observed(m, &to);
		to.at = AT_READ;
	} else {
		tell_observed(m, &to);
		tell_claimed(m, &to, from->untold_count, from->untold_last, from->untold_upto);
		to.untold_count = to.untold_last = to.untold_upto = 0;
		to.at = AT_REST;
	}
	explored_add(&m->set, &to);
}

/* Not while a row waits or is on its way: its id would be drawn again. */
static void step_set_back(struct model *m, const struct state *from)
{
	struct state to = *from;

	if (!m->set_back || from->set_back || from->taken)
		return;
	for (unsigned w = 0; w < m->writers; w++)
		if (from->phase[w] == ID_DRAWN || is_visible(from, w))
			return;
	to.set_back = 1;
	to.drawn = 0;
	explored_add(&m->set, &to);
}

/* A rollback is asked for between two claims, or while a claim (and its reading) is under way. */
static void step_end(struct model *m, const struct state *from)
{
	struct state to = *from;

	if (from->at == AT_REST && !from->rolling_back && from->taken) {
		to.done |= from->taken;
		to.taken = 0;
		explored_add(&m->set, &to);
		to = *from;
		to.taken = 0;
		forget(m, &to);
		explored_add(&m->set, &to);
	}
	to = *from;
	if (!from->rolling_back && from->at <= AT_CLAIMED) {
		to.rolling_back = 1;
		forget(m, &to);
		explored_add(&m->set, &to);
	}
}

static void step_all(struct model *m, const struct state *s)
{
	for (unsigned w = 0; w < m->writers; w++)
		step_writer(m, s, w);
	if (s->at == AT_REST || s->at == AT_READ)
		step_claim(m, s);
	if (s->at == AT_CLAIMED)
		step_left(m, s);
	else if (s->at != AT_READ)
		step_read(m, s);
	step_lock(m, s);
	step_set_back(m, s);
	step_end(m, s);
}

static const struct scope {
	const char *keys;
	unsigned limit;
	bool locks, set_back;
} scopes[] = {{"aab", 1, true, false}, {"aab", 2, true, false},	  {"aab", 9, true, false},
	      {"abb", 9, true, false}, {"abba", 1, false, false}, {"abba", 9, false, false},
	      {"aaa", 1, false, true}, {"aaa", 9, false, true},	  {"aba", 9, false, true}};
enum { SCOPES = sizeof(scopes) / sizeof(scopes[0]) };

static const char *explore(const struct scope *scope, enum plant plant, bool drawn_known,
			   size_t *states)
{
	struct model m = {.keys = scope->keys,
			  .writers = (unsigned)strlen(scope->keys),
			  .limit = scope->limit,
			  .locks = scope->locks,
			  .set_back = scope->set_back,
			  .plant = plant,
			  .drawn_known = drawn_known,
			  .set = {.size = sizeof(struct state)},
			  .verdict = "holds"};
	struct state s = {0}, start = {0};

	explored_add(&m.set, &start);
	while (strcmp(m.verdict, "holds") == 0 && explored_take(&m.set, &s)) {
		check_nothing_lost(&m, &s);
		step_all(&m, &s);
	}
	*states = m.set.count;
	explored_free(&m.set);
	return m.verdict;
}

static void explore_all(const char *name, enum plant plant, bool drawn_known, const char *want)
{
	bool of_locks = plant >= PLANT_PASSED_OVER && plant <= PLANT_KEY_NOT_HELD;

	for (size_t i = 0; i < SCOPES; i++) {
		const struct scope *scope = &scopes[i];
		size_t states;

		if ((of_locks && !scope->locks) ||
		    (plant != PLANT_NONE && (plant == PLANT_SET_BACK) != scope->set_back))
			continue;
		const char *got = explore(scope, plant, drawn_known, &states);
		printf("keys %-4s limit %u%s: %s: %s (%zu states)\n", scope->keys, scope->limit,
		       scope->locks	 ? " locks"
		       : scope->set_back ? " set back"
					 : "",
		       name, got, states);
		assert_string_equal(got, want);
	}
}

static void test_protocol_holds(void **state)
{
	(void)state;
	explore_all("protocol", PLANT_NONE, true, "holds");
	explore_all("protocol, ids drawn not known", PLANT_NONE, false, "holds");
}

static void test_planted_errors_are_found(void **state)
{
	(void)state;
	explore_all("ids read after the writers", PLANT_WRITERS_FIRST, true, "loses a row");
	explore_all("floor moved while waiting", PLANT_NOT_WAITING, true, "loses a row");
	explore_all("floor without a claim", PLANT_NO_CLAIM, true, "loses a row");
	explore_all("reading told before an older claim", PLANT_OLD_CLAIM, true, "loses a row");
	explore_all("claim above the last id", PLANT_ABOVE_LAST, true, "reorders");
	explore_all("nothing forgotten at a rollback", PLANT_NO_RESET, true, "loses a row");
	explore_all("floor past the ceiling", PLANT_HIGH_WATERMARK_FORGOTTEN, true, "loses a row");
	explore_all("floor past a passed row, dry", PLANT_PASSED_OVER, true, "loses a row");
	explore_all("key of a locked row not held", PLANT_KEY_NOT_HELD, true, "reorders");
	explore_all("floor past a passed row", PLANT_PASSED_LOCKED, true, "loses a row");
	explore_all("ids begin again unheard", PLANT_SET_BACK, true, "loses a row");
}

/* ---- when another reading pays ---- */

static const struct writers nobody;

static void test_a_reading_is_wanted_first_and_while_it_pays(void **state)
{
	struct horizon horizon;

	(void)state;
	horizon_reset(&horizon);
	assert_true(horizon_wants(&horizon, 0));
	horizon_observed(&horizon, 100, &nobody, 0);
	assert_false(horizon_wants(&horizon, 10 * 1000000));
	horizon_claimed(&horizon, 100, 100, 100);
	assert_int_equal(horizon.low_watermark, 100);
	assert_false(horizon_wants(&horizon, 10 * 1000000));
	horizon_claimed(&horizon, 1, 101, 101);
	assert_int_equal(horizon.low_watermark, 100);
	assert_false(horizon_wants(&horizon, 999 * 1000));
	assert_true(horizon_wants(&horizon, 1000 * 1000));
	horizon_claimed(&horizon, 5000, 5101, 5101);
	assert_false(horizon_wants(&horizon, 49 * 1000));
	assert_true(horizon_wants(&horizon, 50 * 1000));
}

/* Its high watermark is 70. */
static struct horizon open_horizon(void)
{
	struct horizon horizon;

	horizon_reset(&horizon);
	horizon_observed(&horizon, 70, &nobody, 0);
	return horizon;
}

static void test_an_empty_claim_moves_the_low_watermark_to_the_high_watermark(void **state)
{
	struct horizon horizon = open_horizon();

	(void)state;
	assert_int_equal(horizon.low_watermark, 0);
	horizon_claimed(&horizon, 0, 0, INT64_MAX);
	assert_int_equal(horizon.low_watermark, 70);
}

static void test_the_low_watermark_never_falls(void **state)
{
	struct horizon horizon = open_horizon();

	(void)state;
	horizon_claimed(&horizon, 1, 60, 60);
	assert_int_equal(horizon.low_watermark, 60);
	horizon_claimed(&horizon, 1, 3, 3); /* a sweep found it */
	assert_int_equal(horizon.low_watermark, 60);
	assert_int_equal(horizon.last, 60);
}

/* TRUNCATE ... RESTART IDENTITY, ALTER SEQUENCE ... RESTART. */
static void test_ids_set_back_void_the_low_watermark(void **state)
{
	struct horizon horizon = open_horizon();

	(void)state;
	horizon_claimed(&horizon, 0, 0, INT64_MAX);
	assert_false(horizon_observed(&horizon, 69, &nobody, 1));
	assert_int_equal(horizon.low_watermark, 0);
	horizon_claimed(&horizon, 0, 0, INT64_MAX); /* above 70, where nothing can be */
	assert_int_equal(horizon.low_watermark, 0);
	assert_true(horizon_wants(&horizon, 1));
	assert_true(horizon_observed(&horizon, 69, &nobody, 1));
	horizon_claimed(&horizon, 0, 0, INT64_MAX);
	assert_int_equal(horizon.low_watermark, 69);
	horizon_observed(&horizon, DRAWN_UNKNOWN, &nobody, 2); /* is not set back */
	assert_int_equal(horizon.low_watermark, 69);
	assert_false(horizon_observed(&horizon, -1, &nobody, 3));
	assert_int_equal(horizon.low_watermark, 0);
	horizon_claimed(&horizon, 1, 70, 70); /* a high id given by hand */
	horizon_observed(&horizon, -1, &nobody, 4);
	horizon_claimed(&horizon, 0, 0, INT64_MAX);
	assert_int_equal(horizon.low_watermark, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_protocol_holds),
	    cmocka_unit_test(test_planted_errors_are_found),
	    cmocka_unit_test(test_a_reading_is_wanted_first_and_while_it_pays),
	    cmocka_unit_test(test_an_empty_claim_moves_the_low_watermark_to_the_high_watermark),
	    cmocka_unit_test(test_the_low_watermark_never_falls),
	    cmocka_unit_test(test_ids_set_back_void_the_low_watermark),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
