/* SPDX-License-Identifier: ISC */
/*
 * test_idle_peers.c - explores every interleaving of two relays at one bell, through the real
 * idle.c, used as the engine and the source use it: none of them sleeps on its own visible row
 * that nobody rings for
 *
 * Each writer writes for one of the relays; a ring goes to both. Whoever puts the bell to rest does
 * so behind its transaction, and tells the other. A relay that is not asleep may put to rest a bell
 * that rings, or leave that to the next ring. Looks while short polling are one; see test_idle.c
 * for the rest. Planted errors must be found.
 */
#include "explored.h"
#include "outbox/idle.h"
#include "writer_masks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { RELAYS = 2, WRITERS = 3, SHORT_POLLED = 7 };
enum phase { IDLE, LOCKED, SILENT, RANG, COMMITTED };
enum at { AT_ARM, AT_READ, AT_LOOK, AT_ANSWERED, AT_PUBLISH, AT_REST };

enum plant {
	PLANT_NONE,
	PLANT_UNTOLD,	  /* the bell is put to rest without a word */
	PLANT_NOT_HEEDED, /* who is told goes on sleeping */
	PLANT_ROLLED_BACK /* put to rest in the transaction, whose rollback takes the word back */
};

struct relay {
	uint8_t at, observe, found, rest_due;
	uint8_t ring, rest;			   /* on their way */
	uint8_t state, step, armed, read, awaited; /* struct idle */
};

struct state {
	uint8_t phase[WRITERS], claimed;
	uint8_t bell;
	struct relay relays[RELAYS];
};

struct model {
	const char *owners; /* of the writers' rows */
	unsigned writers;
	enum plant plant;
	struct explored set;
	const char *verdict;
};

/* ---- the idle in a state's few bytes ---- */

static void load(const struct relay *relay, struct idle *idle)
{
	idle_reset(idle, true, 1000 * 1000);
	idle->has_peers = true;
	idle->state = (enum idle_state)relay->state;
	idle->step = relay->step;
	idle->armed = relay->armed;
	idle->read = relay->read;
	set_of(&idle->writers, relay->awaited);
}

static void save(struct relay *relay, const struct idle *idle)
{
	relay->state = (uint8_t)idle->state;
	relay->step = idle->state == IDLE_SHORT_POLLING ? SHORT_POLLED : 0;
	relay->armed = idle->armed;
	relay->read = idle->read;
	relay->awaited = mask_of(&idle->writers);
}

/* ---- writers ---- */

static unsigned visible(const struct model *m, const struct state *s, unsigned r)
{
	unsigned mask =
	    in_phases(s->phase, m->writers, COMMITTED, COMMITTED) & ~(unsigned)s->claimed;

	for (unsigned w = 0; w < m->writers; w++)
		if (m->owners[w] != (char)('a' + r))
			mask &= ~(1u << w);
	return mask;
}

static void step_writer(struct model *m, const struct state *from, unsigned w)
{
	struct state to = *from;

	switch (from->phase[w]) {
	case IDLE:
		to.phase[w] = LOCKED;
		break;
	case LOCKED:
		to.phase[w] = from->bell ? RANG : SILENT;
		break;
	case COMMITTED:
		return;
	default:
		to.phase[w] = COMMITTED;
		for (unsigned r = 0; r < RELAYS; r++)
			to.relays[r].ring |= from->phase[w] == RANG;
		break;
	}
	explored_add(&m->set, &to);
}

/* ---- a relay and the bell ---- */

static void begin_look(struct relay *relay, bool observe)
{
	relay->observe = observe;
	relay->at = observe ? AT_READ : AT_LOOK;
}

static void put_to_rest(const struct model *m, struct state *s, unsigned r)
{
	s->bell = 0;
	s->relays[r].rest_due = 0;
	if (m->plant != PLANT_UNTOLD)
		s->relays[1 - r].rest = 1;
}

/* Behind the transaction, if one is open. */
static void ask_rest(const struct model *m, struct state *s, unsigned r)
{
	s->relays[r].rest_due = 1;
	if (s->relays[r].at == AT_REST)
		put_to_rest(m, s, r);
	else if (m->plant == PLANT_ROLLED_BACK)
		s->bell = 0;
}

static void step_ring(struct model *m, const struct state *from, unsigned r)
{
	struct state to = *from;
	struct relay *relay = &to.relays[r];
	struct idle idle;

	relay->ring = 0;
	if (!relay->armed) {
		explored_add(&m->set, &to); /* so soon after the last that it is let be */
		ask_rest(m, &to, r);
		explored_add(&m->set, &to);
		return;
	}
	bool watching = relay->state == IDLE_WATCHING;
	load(relay, &idle);
	if (idle_rung(&idle))
		ask_rest(m, &to, r);
	save(relay, &idle);
	if (relay->at == AT_REST)
		begin_look(relay, watching);
	explored_add(&m->set, &to);
}

static void step_rest(struct model *m, const struct state *from, unsigned r)
{
	struct state to = *from;
	struct relay *relay = &to.relays[r];
	struct idle idle;

	relay->rest = 0;
	load(relay, &idle);
	if (m->plant != PLANT_NOT_HEEDED && idle_rested(&idle) && relay->at == AT_REST)
		begin_look(relay, false);
	save(relay, &idle);
	explored_add(&m->set, &to);
}

/* ---- looks ---- */

static void end_transaction(struct model *m, struct state *s, unsigned r)
{
	if (s->relays[r].rest_due)
		put_to_rest(m, s, r);
}

static void dry(struct model *m, struct state *s, unsigned r)
{
	struct relay *relay = &s->relays[r];
	struct idle idle;

	end_transaction(m, s, r);
	load(relay, &idle);
	struct idle_rest rest = idle_dry(&idle, 0);
	save(relay, &idle);
	relay->observe = rest.observe;
	relay->at = rest.arm ? AT_ARM : AT_REST;
}

static void step_read(const struct model *m, struct state *s, unsigned r)
{
	struct relay *relay = &s->relays[r];
	struct writers writers;
	struct idle idle;

	load(relay, &idle);
	set_of(&writers, in_phases(s->phase, m->writers, LOCKED, RANG));
	idle_observed(&idle, &writers);
	save(relay, &idle);
	relay->at = AT_LOOK;
}

static void step_answer(struct model *m, struct state *s, unsigned r)
{
	struct relay *relay = &s->relays[r];
	struct idle idle;

	if (!relay->found) {
		dry(m, s, r);
		return;
	}
	relay->found = 0;
	load(relay, &idle);
	bool was_armed = idle_found(&idle);
	save(relay, &idle);
	relay->at = AT_PUBLISH;
	if (was_armed)
		ask_rest(m, s, r);
}

static void step_publish(struct model *m, const struct state *from, unsigned r)
{
	struct state to = *from;

	if (m->plant == PLANT_ROLLED_BACK && from->relays[r].rest_due) {
		to.relays[r].rest_due = 0;
		begin_look(&to.relays[r], false);
		explored_add(&m->set, &to);
		to = *from;
	}
	end_transaction(m, &to, r);
	begin_look(&to.relays[r], false);
	explored_add(&m->set, &to);
}

static void step_relay(struct model *m, const struct state *from, unsigned r)
{
	struct state to = *from;
	struct relay *relay = &to.relays[r];

	switch (relay->at) {
	case AT_ARM:
		to.bell = 1;
		begin_look(relay, relay->observe);
		break;
	case AT_READ:
		step_read(m, &to, r);
		break;
	case AT_LOOK:
		relay->found = visible(m, from, r) != 0;
		to.claimed |= (uint8_t)visible(m, from, r);
		relay->at = AT_ANSWERED;
		break;
	case AT_ANSWERED:
		step_answer(m, &to, r);
		break;
	case AT_PUBLISH:
		step_publish(m, from, r);
		return;
	default:
		if (relay->state == IDLE_ASLEEP)
			return;
		begin_look(relay, relay->state == IDLE_WATCHING);
		break;
	}
	explored_add(&m->set, &to);
}

/* The server tells outside transactions only. */
static bool hears(const struct relay *relay)
{
	return relay->at != AT_ANSWERED && relay->at != AT_PUBLISH;
}

static void step_all(struct model *m, const struct state *s)
{
	for (unsigned w = 0; w < m->writers; w++)
		step_writer(m, s, w);
	for (unsigned r = 0; r < RELAYS; r++) {
		step_relay(m, s, r);
		if (s->relays[r].ring && hears(&s->relays[r]))
			step_ring(m, s, r);
		if (s->relays[r].rest && hears(&s->relays[r]))
			step_rest(m, s, r);
	}
}

static bool sleeps_on_a_row(const struct model *m, const struct state *s)
{
	for (unsigned r = 0; r < RELAYS; r++) {
		const struct relay *relay = &s->relays[r];
		if (relay->at == AT_REST && relay->state == IDLE_ASLEEP && !relay->ring &&
		    !relay->rest && visible(m, s, r))
			return true;
	}
	return false;
}

static const char *explore(const char *owners, enum plant plant, size_t *states)
{
	struct model m = {.owners = owners,
			  .writers = (unsigned)strlen(owners),
			  .plant = plant,
			  .set = {.size = sizeof(struct state)},
			  .verdict = "holds"};
	struct state s = {.relays = {{.at = AT_LOOK}, {.at = AT_LOOK}}};

	explored_add(&m.set, &s);
	while (explored_take(&m.set, &s)) {
		if (sleeps_on_a_row(&m, &s)) {
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
	static const char *const scopes[] = {"a", "ab", "aa"};

	for (size_t i = plant == PLANT_NONE ? 0 : 1; i < 2 + (plant == PLANT_NONE); i++) {
		size_t states;
		const char *got = explore(scopes[i], plant, &states);

		printf("rows for %-3s: %s: %s (%zu states)\n", scopes[i], name, got, states);
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
	explore_all("put to rest without a word", PLANT_UNTOLD, "sleeps on a row");
	explore_all("the word is not heeded", PLANT_NOT_HEEDED, "sleeps on a row");
	explore_all("the word is rolled back", PLANT_ROLLED_BACK, "sleeps on a row");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_protocol_holds),
	    cmocka_unit_test(test_planted_errors_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
