/* SPDX-License-Identifier: ISC */
/*
 * test_idle.c - explores every interleaving of writers, rings and looks through the real idle.c,
 * used as the engine uses it: the relay never sleeps on a visible row that nobody rings for
 *
 * A writer takes the table's lock, inserts (its trigger looks at the bell then) and commits later;
 * a ring is on its way from the commit on. The relay looks (reading the writers first when told
 * to), rests as the idle says, and sleeps in the end. The poll interval, which is behind all of
 * this, is left out. Planted errors must be found.
 */
#include "explored.h"
#include "outbox/idle.h"
#include "writer_masks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { WRITERS = 4 };
enum phase { IDLE, LOCKED, SILENT, RANG, COMMITTED };
/* A look's answer is a while under way: a ring may overtake it. */
enum at { AT_ARM, AT_READ, AT_LOOK, AT_ANSWERED, AT_REST };

enum plant {
	PLANT_NONE,
	PLANT_NO_WATCH,	     /* sleeps right after arming */
	PLANT_NO_READING,    /* takes it that nobody is writing */
	PLANT_READ_TOO_SOON, /* reads the writers, then arms */
	PLANT_READ_TOO_LATE, /* looks, then reads the writers: no look once they are gone */
	PLANT_RING_INSIDE,   /* a ring is told within the transaction of a look */
};

struct state {
	uint8_t phase[WRITERS];
	uint8_t claimed;			       /* by writer */
	uint8_t armed;				       /* the bell, in the database */
	uint8_t ring;				       /* on its way to the relay */
	uint8_t at, observe;			       /* the look under way */
	uint8_t found;				       /* it took rows */
	uint8_t now;				       /* a reading that was taken too soon */
	uint8_t state, step, has_armed, read, awaited; /* struct idle */
};

struct model {
	unsigned writers;
	enum plant plant;
	struct explored set;
	const char *verdict;
};

/* ---- the idle in a state's few bytes ---- */

static void load(const struct state *s, struct idle *idle)
{
	idle_reset(idle, true, 1000 * 1000);
	idle->state = (enum idle_state)s->state;
	idle->step = s->step;
	idle->armed = s->has_armed;
	idle->read = s->read;
	set_of(&idle->writers, s->awaited);
}

/* Looks while watching differ only in how long the waits grow. */
static void save(struct state *s, const struct idle *idle)
{
	s->state = (uint8_t)idle->state;
	s->step = idle->state == IDLE_WATCHING ? 0 : (uint8_t)idle->step;
	s->has_armed = idle->armed;
	s->read = idle->read;
	s->awaited = mask_of(&idle->writers);
}

/* ---- steps of the world ---- */

static unsigned visible(const struct model *m, const struct state *s)
{
	return in_phases(s->phase, m->writers, COMMITTED, COMMITTED) & ~(unsigned)s->claimed;
}

static void step_writer(struct model *m, const struct state *from, unsigned w)
{
	struct state to = *from;

	switch (from->phase[w]) {
	case IDLE:
		to.phase[w] = LOCKED;
		break;
	case LOCKED:
		to.phase[w] = from->armed ? RANG : SILENT;
		break;
	case COMMITTED:
		return;
	default:
		to.phase[w] = COMMITTED;
		to.ring = from->ring || from->phase[w] == RANG;
		break;
	}
	explored_add(&m->set, &to);
}

/* ---- steps of the relay ---- */

static void begin_look(struct state *s, bool observe)
{
	s->observe = observe;
	s->at = observe ? AT_READ : AT_LOOK;
}

static void step_ring(struct model *m, const struct state *from)
{
	struct state to = *from;

	/* The server tells outside transactions only: after the answer to the look. */
	if (from->at == AT_ANSWERED && m->plant != PLANT_RING_INSIDE)
		return;
	to.ring = 0;
	/* A look that has not begun will see what rang. */
	if (from->at == AT_REST && from->has_armed)
		begin_look(&to, from->state == IDLE_WATCHING);
	explored_add(&m->set, &to);
}

static void tell_observed(const struct model *m, struct state *s, unsigned now)
{
	struct idle idle;
	struct writers writers;

	load(s, &idle);
	set_of(&writers, m->plant == PLANT_NO_READING ? 0 : now);
	idle_observed(&idle, &writers);
	save(s, &idle);
}

static void step_arm(struct model *m, const struct state *from)
{
	struct state to = *from;

	to.armed = 1;
	begin_look(&to, from->observe);
	explored_add(&m->set, &to);
}

static void step_read(struct model *m, const struct state *from)
{
	struct state to = *from;

	if (m->plant == PLANT_READ_TOO_SOON)
		tell_observed(m, &to, from->now);
	else if (m->plant != PLANT_READ_TOO_LATE)
		tell_observed(m, &to, in_phases(from->phase, m->writers, LOCKED, RANG));
	to.now = 0;
	to.at = AT_LOOK;
	explored_add(&m->set, &to);
}

static void found(struct state *s)
{
	struct idle idle;

	load(s, &idle);
	if (idle_found(&idle))
		s->armed = 0;
	save(s, &idle);
	begin_look(s, false);
}

static void dry(const struct model *m, struct state *s)
{
	struct idle idle;

	load(s, &idle);
	struct idle_rest rest = idle_dry(&idle, 0);
	if (m->plant == PLANT_NO_WATCH && rest.arm)
		idle.state = IDLE_ASLEEP;
	save(s, &idle);
	if (rest.arm) {
		s->at = AT_ARM;
		s->observe = rest.observe;
		s->now = (uint8_t)in_phases(s->phase, m->writers, LOCKED, RANG);
		if (m->plant == PLANT_NO_WATCH) {
			s->armed = 1;
			s->at = AT_REST;
		}
	} else if (rest.after_us == 0) {
		begin_look(s, rest.observe);
	} else {
		s->at = AT_REST;
	}
}

static void step_look(struct model *m, const struct state *from)
{
	struct state to = *from;
	unsigned rows = visible(m, from);

	to.claimed |= (uint8_t)rows;
	to.found = rows != 0;
	to.at = AT_ANSWERED;
	explored_add(&m->set, &to);
}

static void step_answer(struct model *m, const struct state *from)
{
	struct state to = *from;

	to.found = 0;
	if (m->plant == PLANT_READ_TOO_LATE && from->observe)
		tell_observed(m, &to, in_phases(from->phase, m->writers, LOCKED, RANG));
	if (from->found)
		found(&to);
	else
		dry(m, &to);
	explored_add(&m->set, &to);
}

static void step_timer(struct model *m, const struct state *from)
{
	struct state to = *from;

	if (from->state == IDLE_ASLEEP)
		return;
	begin_look(&to, from->state == IDLE_WATCHING);
	explored_add(&m->set, &to);
}

static void step_all(struct model *m, const struct state *s)
{
	for (unsigned w = 0; w < m->writers; w++)
		step_writer(m, s, w);
	if (s->ring)
		step_ring(m, s);
	if (s->at == AT_ARM)
		step_arm(m, s);
	else if (s->at == AT_READ)
		step_read(m, s);
	else if (s->at == AT_REST)
		step_timer(m, s);
	else if (s->at == AT_LOOK)
		step_look(m, s);
	else
		step_answer(m, s);
}

static const char *explore(unsigned writers, enum plant plant, size_t *states)
{
	struct model m = {.writers = writers,
			  .plant = plant,
			  .set = {.size = sizeof(struct state)},
			  .verdict = "holds"};
	struct state s = {.at = AT_LOOK};

	explored_add(&m.set, &s);
	while (explored_take(&m.set, &s)) {
		if (s.at == AT_REST && s.state == IDLE_ASLEEP && !s.ring && visible(&m, &s)) {
			m.verdict = "sleeps on a row";
			break;
		}
		step_all(&m, &s);
	}
	*states = m.set.count;
	explored_free(&m.set);
	return m.verdict;
}

static void explore_all(const char *name, enum plant plant, const char *want)
{
	for (unsigned writers = 2; writers <= WRITERS; writers++) {
		size_t states;
		const char *got = explore(writers, plant, &states);

		printf("%u writers: %s: %s (%zu states)\n", writers, name, got, states);
		assert_string_equal(got, want);
	}
}

static void test_protocol_holds(void **state)
{
	(void)state;
	explore_all("protocol", PLANT_NONE, "holds");
}

static void test_planted_errors_are_found(void **state)
{
	(void)state;
	explore_all("sleeping right after arming", PLANT_NO_WATCH, "sleeps on a row");
	explore_all("no reading of the writers", PLANT_NO_READING, "sleeps on a row");
	explore_all("writers read before arming", PLANT_READ_TOO_SOON, "sleeps on a row");
	explore_all("no look once they are gone", PLANT_READ_TOO_LATE, "sleeps on a row");
	explore_all("a ring within a transaction", PLANT_RING_INSIDE, "sleeps on a row");
}

/* ---- how long the rests are ---- */

static void test_a_table_without_bell_is_polled(void **state)
{
	struct idle idle;
	struct idle_rest rest;
	int rests = 0;

	(void)state;
	idle_reset(&idle, false, 250 * 1000);
	do {
		rest = idle_dry(&idle, 0);
		assert_false(rest.arm);
		rests++;
	} while (idle.state == IDLE_SHORT_POLLING);
	assert_int_equal(rests, 8);
	assert_int_equal(idle.state, IDLE_ASLEEP);
	assert_int_equal(rest.after_us, 250 * 1000);
	assert_false(idle_found(&idle));
}

static void test_rests_grow_to_a_bound_while_a_writer_stays(void **state)
{
	struct idle idle;
	struct writers one;
	struct idle_rest rest;
	int64_t before = 0, now = 0;

	(void)state;
	idle_reset(&idle, true, 60 * 1000);
	writers_clear(&one);
	writers_add(&one, 7);
	do
		rest = idle_dry(&idle, now);
	while (!rest.arm);
	assert_int_equal(rest.after_us, 0);
	for (int i = 0; i < 20; i++) {
		idle_observed(&idle, &one);
		now += before;
		rest = idle_dry(&idle, now);
		assert_true(rest.observe);
		assert_true(rest.after_us >= before && rest.after_us <= 60 * 1000);
		before = rest.after_us;
	}
	assert_int_equal(before, 60 * 1000);
	writers_clear(&one);
	idle_observed(&idle, &one);
	rest = idle_dry(&idle, now);
	assert_int_equal(idle.state, IDLE_ASLEEP);
	assert_true(idle_found(&idle));
	assert_int_equal(idle.state, IDLE_AWAKE);
	assert_false(idle_found(&idle));
}

/* A reload asks for the claim anew, and a ring for another table's events may come. */
static void test_looks_that_cut_a_rest_short_do_not_lengthen_the_next(void **state)
{
	struct idle idle;
	struct writers one;

	(void)state;
	idle_reset(&idle, true, 10 * 1000 * 1000);
	writers_clear(&one);
	writers_add(&one, 7);
	while (!idle_dry(&idle, 5000).arm)
		;
	idle_observed(&idle, &one);
	for (int i = 0; i < 20; i++)
		assert_int_equal(idle_dry(&idle, 5000 + i).after_us, 1000);
	assert_int_equal(idle_dry(&idle, 5000 + 64 * 1000).after_us, 64 * 1000);
	assert_int_equal(idle_dry(&idle, 5000 + 65 * 1000).after_us, 65 * 1000);
}

static void test_a_writer_that_came_after_the_first_reading_is_not_awaited(void **state)
{
	struct idle idle;
	struct writers writers;

	(void)state;
	idle_reset(&idle, true, 60 * 1000);
	while (!idle_dry(&idle, 0).arm)
		;
	writers_clear(&writers);
	writers_add(&writers, 7);
	idle_observed(&idle, &writers);
	idle_dry(&idle, 0);
	writers_clear(&writers);
	writers_add(&writers, 8);
	idle_observed(&idle, &writers);
	idle_dry(&idle, 0);
	assert_int_equal(idle.state, IDLE_ASLEEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_protocol_holds),
	    cmocka_unit_test(test_planted_errors_are_found),
	    cmocka_unit_test(test_a_table_without_bell_is_polled),
	    cmocka_unit_test(test_rests_grow_to_a_bound_while_a_writer_stays),
	    cmocka_unit_test(test_looks_that_cut_a_rest_short_do_not_lengthen_the_next),
	    cmocka_unit_test(test_a_writer_that_came_after_the_first_reading_is_not_awaited),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
