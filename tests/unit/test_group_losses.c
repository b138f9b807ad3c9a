/* SPDX-License-Identifier: ISC */
/*
 * test_group_losses.c - small groups on modelled locks, each relay with the real group.c,
 * exhaustively
 *
 * Time goes in ticks, in each of which every relay that is connected polls once, in any order.
 * Sessions are lost: with the server's knowledge, or so that the server keeps the session and its
 * locks for a while. Process ids are given out again at once. Explored is all that may come of two
 * such losses at any time, and checked at each poll: what is taken was free, its owner had time to
 * come back, and what was a relay's own is taken back; and from each state, that in the end all is
 * owned in fair shares.
 */
#include "explored.h"
#include "outbox/group.h"
#include "outbox/locks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { RELAYS = 2, SHARDS = 2, GHOSTS = 2, PEERS = RELAYS * (GHOSTS + 1), FINGERPRINT = 7 };
enum { TICK_US = 100 * 1000, AGE_MOST = 32, SEEN = 2, AWAY_MOST = 4, NOW_US = 1000 * 1000 * 1000 };

enum plant {
	PLANT_NONE,
	PLANT_NO_GRACE,		/* what is free is taken at once */
	PLANT_SHORT_GRACE,	/* also after a loss of its own session */
	PLANT_OWNERS_UNSEEN,	/* what others own looks free */
	PLANT_BY_PID,		/* the previous session is known by process id alone */
	PLANT_OWN_FORGOTTEN,	/* what was its own before a loss is like any other shard */
	PLANT_PREVIOUS_IGNORED, /* it does not wait for its end */
	PLANTS
};

struct session {
	uint8_t pid, started, locks, away; /* pid 0: none; locks: bits; away: ticks as a ghost */
};

/* All of a struct group that counts here; ages in ticks. */
struct packed {
	uint8_t self, session_pid, session_started, previous_pid, previous_started;
	uint8_t rejoined, polled, owned, remembered, handed_over;
	uint8_t joined_age, polled_age, free_age[SHARDS]; /* + 1; 0: not free */
	uint8_t peers[PEERS], peer_count;
};

struct relay {
	struct session session, ghosts[GHOSTS];
	struct packed group;
	uint8_t polled; /* in this tick */
	uint8_t away;	/* ticks without a session */
	uint8_t starts; /* sessions begun, modulo 4 */
	uint8_t lost;	/* a session that had polled */
};

/* Of a shard: which relay owned it last (+ 1), and before; for how many ticks, and how it was let
 * go. */
struct past {
	uint8_t owner, before, ticks, handed, freed_age;
};

struct world {
	struct relay relays[RELAYS];
	struct past past[SHARDS];
	uint8_t losses_left;
};

static enum plant planted;
static const char *violated;
static struct group group;
static struct group_view view;

static void violate(const char *what)
{
	if (violated == NULL)
		violated = what;
}

/* ---- a group, there and back ---- */

static int64_t time_of(uint8_t age)
{
	return NOW_US - (int64_t)age * TICK_US;
}

static uint8_t age_of(int64_t time_us)
{
	int64_t age = (NOW_US - time_us) / TICK_US;

	return (uint8_t)(age < AGE_MOST ? age : AGE_MOST);
}

static void unpack(const struct packed *p)
{
	memset(&group, 0, offsetof(struct group, shards));
	group.self = p->self;
	group.fingerprint = FINGERPRINT;
	group.polled = p->polled;
	group.rejoined = p->rejoined;
	group.joined_us = time_of(p->joined_age);
	group.polled_us = time_of(p->polled_age);
	group.session = (struct session_id){p->session_pid, p->session_started};
	group.previous = (struct session_id){p->previous_pid, p->previous_started};
	group.peer_count = p->peer_count;
	for (size_t i = 0; i < p->peer_count; i++)
		group.peers[i] = p->peers[i];
	shards_clear(&group.owned, SHARDS);
	for (int k = 0; k < SHARDS; k++) {
		group.owned.owned[k] = p->owned >> k & 1;
		group.shards[k] = (struct group_shard){
		    .free_since_us = p->free_age[k] > 0 ? time_of(p->free_age[k] - 1) : 0,
		    .remembered = p->remembered >> k & 1,
		    .handed_over = p->handed_over >> k & 1};
	}
}

static void pack(struct packed *p)
{
	memset(p, 0, sizeof(*p));
	p->self = (uint8_t)group.self;
	p->polled = group.polled;
	p->rejoined = group.rejoined;
	p->joined_age = age_of(group.joined_us);
	p->polled_age = age_of(group.polled_us);
	p->session_pid = (uint8_t)group.session.pid;
	p->session_started = group.session.pid ? (uint8_t)group.session.start : 0;
	p->previous_pid = (uint8_t)group.previous.pid;
	p->previous_started = group.previous.pid ? (uint8_t)group.previous.start : 0;
	p->peer_count = (uint8_t)group.peer_count;
	for (size_t i = 0; i < group.peer_count; i++)
		p->peers[i] = (uint8_t)group.peers[i];
	for (int k = 0; k < SHARDS; k++) {
		const struct group_shard *shard = &group.shards[k];
		p->owned |= (uint8_t)(group.owned.owned[k] << k);
		p->remembered |= (uint8_t)(shard->remembered << k);
		p->handed_over |= (uint8_t)(shard->handed_over << k);
		p->free_age[k] =
		    shard->free_since_us ? (uint8_t)(age_of(shard->free_since_us) + 1) : 0;
	}
}

/* ---- the locks ---- */

static struct session *session_at(struct world *w, int r, int i)
{
	return i == 0 ? &w->relays[r].session : &w->relays[r].ghosts[i - 1];
}

/* The relay + 1 one of whose sessions has the shard; 0: it is free. */
static int holder_of(struct world *w, int k)
{
	for (int r = 0; r < RELAYS; r++)
		for (int i = 0; i <= GHOSTS; i++)
			if (session_at(w, r, i)->pid != 0 && (session_at(w, r, i)->locks >> k & 1))
				return r + 1;
	return 0;
}

static uint8_t free_pid(struct world *w)
{
	uint8_t pid = 1;

	for (int n = 0; n < PEERS; n++)
		for (int r = 0; r < RELAYS; r++)
			for (int i = 0; i <= GHOSTS; i++)
				pid = (uint8_t)(pid + (session_at(w, r, i)->pid == pid));
	return pid;
}

static void add_locks(const struct session *session, bool hidden)
{
	int started = planted == PLANT_BY_PID ? 0 : session->started;
	struct group_lock lock = {.key = (uint32_t)outbox_member_lock(SHARDS, false, 0),
				  .session = {session->pid, started},
				  .fingerprint = FINGERPRINT,
				  .held = true};

	group_view_add(&group, &view, &lock);
	lock.exclusive = true;
	for (int k = 0; k < SHARDS && !hidden; k++) {
		lock.key = (uint32_t)outbox_shard_lock(SHARDS, k);
		if (session->locks >> k & 1)
			group_view_add(&group, &view, &lock);
	}
}

static void look(struct world *w, int self)
{
	group_view_begin(&group, &view, false);
	for (int r = 0; r < RELAYS; r++)
		for (int i = 0; i <= GHOSTS; i++)
			if (session_at(w, r, i)->pid != 0)
				add_locks(session_at(w, r, i),
					  planted == PLANT_OWNERS_UNSEEN && r != self);
	if (planted == PLANT_PREVIOUS_IGNORED)
		view.previous = false;
}

static void let_go(struct world *w, uint8_t locks, bool handed)
{
	for (int k = 0; k < SHARDS; k++)
		if (locks >> k & 1) {
			w->past[k].handed = handed;
			w->past[k].freed_age = 0;
		}
}

/* ---- what must be true ---- */

static bool has_ghost(struct world *w, int r)
{
	for (int i = 0; i < GHOSTS; i++)
		if (w->relays[r].ghosts[i].pid != 0 && w->relays[r].ghosts[i].locks != 0)
			return true;
	return false;
}

static bool is_alone(struct world *w, int self)
{
	for (int r = 0; r < RELAYS; r++)
		for (int i = 0; i <= GHOSTS; i++)
			if ((r != self || i != 0) && session_at(w, r, i)->pid != 0)
				return false;
	return !group.polled;
}

/* What another relay has owned for less than two ticks not all have seen. Nor has one who had it
 * before and was away all the time: that takes it back. */
static bool was_seen(const struct past *past, int self, int joined_age)
{
	bool was_away = past->before == self + 1 && joined_age <= past->freed_age + past->ticks;

	return past->ticks >= SEEN && !was_away;
}

static bool had_time(const struct past *past, int self, int joined_age, bool lost)
{
	bool after_loss = lost && past->freed_age > joined_age;

	if (past->owner == 0 || past->owner == self + 1 || past->handed ||
	    !was_seen(past, self, joined_age))
		return true;
	if (after_loss)
		return joined_age * TICK_US >= GROUP_GRACE_AFTER_LOSS_US;
	return past->freed_age * TICK_US >= GROUP_GRACE_US;
}

static void check_plan(struct world *w, int self, const struct group_plan *plan, bool alone)
{
	int joined_age = age_of(group.joined_us);

	if (shards_owned(&plan->take) > 0 && has_ghost(w, self))
		violate("takes before its previous session has ended");
	if (view.previous && !has_ghost(w, self) && w->relays[self].ghosts[0].pid == 0 &&
	    w->relays[self].ghosts[1].pid == 0)
		violate("takes another's session for its own");
	for (int k = 0; k < SHARDS; k++) {
		int holder = holder_of(w, k);
		bool own = w->past[k].owner == self + 1 && !w->past[k].handed;
		if (plan->take.owned[k] && holder != 0)
			violate("takes what is not free");
		else if (plan->take.owned[k] && !alone &&
			 !had_time(&w->past[k], self, joined_age, w->relays[self].lost))
			violate("does not wait for the owner");
		if (plan->give.owned[k] && holder != self + 1)
			violate("gives what it has not");
		if (own && holder == 0 && !view.previous && !plan->take.owned[k])
			violate("does not take its own back");
	}
}

/* ---- steps ---- */

/* Hands over, and tells the others at once. */
static void give(struct world *w, int r, const struct shards *shards)
{
	uint8_t bits = 0;

	for (int k = 0; k < SHARDS; k++)
		bits |= (uint8_t)(shards->owned[k] << k);
	group_gave(&group, shards);
	pack(&w->relays[r].group);
	w->relays[r].session.locks &= (uint8_t)~bits;
	let_go(w, bits, true);
	for (int other = 0; other < RELAYS; other++) {
		if (other == r || w->relays[other].session.pid == 0)
			continue;
		unpack(&w->relays[other].group);
		group_freed(&group, w->relays[r].session.pid, SHARDS, shards);
		pack(&w->relays[other].group);
	}
	unpack(&w->relays[r].group);
}

static void take(struct world *w, int r, const struct shards *shards)
{
	struct shards give_back;

	for (int k = 0; k < SHARDS; k++) {
		if (!shards->owned[k])
			continue;
		bool got = holder_of(w, k) == 0;
		group_tried(&group, k, got);
		if (!got)
			continue;
		w->relays[r].session.locks |= (uint8_t)(1 << k);
		uint8_t last = w->past[k].owner, own = (uint8_t)(r + 1);
		w->past[k] = (struct past){own, last == own ? w->past[k].before : last, 0, 0, 0};
	}
	look(w, r);
	group_verified(&group, &view, &give_back);
	assert_int_equal(shards_owned(&give_back), 0);
}

static void spoil(void)
{
	if (planted == PLANT_SHORT_GRACE)
		group.rejoined = false;
	for (int k = 0; k < SHARDS; k++) {
		group.shards[k].handed_over |= planted == PLANT_NO_GRACE;
		group.shards[k].remembered &= planted != PLANT_OWN_FORGOTTEN;
	}
	if (planted == PLANT_BY_PID)
		group.previous.start = 0;
}

/* True if it changes anything. */
static bool poll(struct world *w, int r)
{
	struct group_plan plan;
	bool alone;

	unpack(&w->relays[r].group);
	alone = is_alone(w, r);
	spoil();
	look(w, r);
	group_polled(&group, &view, NOW_US, &plan);
	check_plan(w, r, &plan, alone);
	if (shards_owned(&plan.give) > 0)
		give(w, r, &plan.give);
	if (shards_owned(&plan.take) > 0)
		take(w, r, &plan.take);
	pack(&w->relays[r].group);
	w->relays[r].polled = true;
	return shards_owned(&plan.give) + shards_owned(&plan.take) > 0;
}

/* The previous session is told to end; the server does so when it has come to it. */
static void join(struct world *w, int r)
{
	struct relay *relay = &w->relays[r];

	relay->starts = (uint8_t)((relay->starts + 1) % 4);
	relay->session =
	    (struct session){.pid = free_pid(w), .started = (uint8_t)(r * 4 + relay->starts + 1)};
	unpack(&relay->group);
	group_join(&group, relay->session.pid, SHARDS, false, FINGERPRINT, NOW_US);
	pack(&relay->group);
	relay->polled = relay->away = 0;
}

static void lose(struct world *w, int r, bool one_sided)
{
	struct relay *relay = &w->relays[r];
	int i = relay->ghosts[0].pid != 0;

	unpack(&relay->group);
	relay->lost |= group.session.pid != 0;
	group_lost(&group);
	pack(&relay->group);
	if (one_sided)
		relay->ghosts[i] = relay->session;
	else
		let_go(w, relay->session.locks, false);
	relay->session = (struct session){0};
	relay->polled = false;
}

static void end_ghost(struct world *w, int r, int i)
{
	let_go(w, w->relays[r].ghosts[i].locks, false);
	w->relays[r].ghosts[i] = (struct session){0};
}

static void grow(uint8_t *age)
{
	*age = (uint8_t)(*age + (*age < AGE_MOST));
}

static void tick(struct world *w)
{
	for (int r = 0; r < RELAYS; r++) {
		struct relay *relay = &w->relays[r];
		relay->polled = false;
		if (relay->session.pid == 0)
			relay->away++;
		grow(&relay->group.joined_age);
		grow(&relay->group.polled_age);
		for (int i = 0; i < GHOSTS; i++)
			if (relay->ghosts[i].pid != 0)
				relay->ghosts[i].away++;
		for (int k = 0; k < SHARDS; k++)
			if (relay->group.free_age[k] > 0)
				grow(&relay->group.free_age[k]);
	}
	for (int k = 0; k < SHARDS; k++)
		if (holder_of(w, k) == 0)
			grow(&w->past[k].freed_age);
		else if (w->past[k].ticks < SEEN)
			w->past[k].ticks++;
}

/* Nobody is to poll before the tick is over, and nobody has been away for too long. */
static bool may_tick(const struct world *w)
{
	for (int r = 0; r < RELAYS; r++) {
		const struct relay *relay = &w->relays[r];
		if (relay->session.pid != 0 ? !relay->polled : relay->away >= AWAY_MOST)
			return false;
		for (int i = 0; i < GHOSTS; i++)
			if (relay->ghosts[i].away >= AWAY_MOST)
				return false;
	}
	return true;
}

/* ---- all that may happen ---- */

static void expand_losses(struct explored *states, const struct world *from, int r)
{
	bool room = from->relays[r].ghosts[1].pid == 0;

	for (int one_sided = 0; one_sided <= room && from->losses_left > 0; one_sided++) {
		struct world w = *from;
		w.losses_left--;
		lose(&w, r, one_sided);
		explored_add(states, &w);
	}
}

static void expand(struct explored *states, const struct world *from)
{
	for (int r = 0; r < RELAYS; r++) {
		const struct relay *relay = &from->relays[r];
		struct world w = *from;
		if (relay->session.pid == 0)
			join(&w, r);
		else if (!relay->polled)
			poll(&w, r);
		explored_add(states, &w);
		if (relay->session.pid != 0)
			expand_losses(states, from, r);
		for (int i = 0; i < GHOSTS; i++) {
			w = *from;
			if (relay->ghosts[i].pid == 0)
				continue;
			end_ghost(&w, r, i);
			explored_add(states, &w);
		}
	}
	struct world w = *from;
	if (may_tick(from))
		tick(&w);
	explored_add(states, &w);
}

/* With nothing more going wrong, all is owned in fair shares in the end, and nothing moves. */
static void check_rest(struct world w)
{
	bool moves = true;

	for (int r = 0; r < RELAYS; r++) {
		for (int i = 0; i < GHOSTS; i++)
			if (w.relays[r].ghosts[i].pid != 0)
				end_ghost(&w, r, i);
		if (w.relays[r].session.pid == 0)
			join(&w, r);
	}
	for (int ticks = 0; ticks < GROUP_GRACE_AFTER_LOSS_US / TICK_US + 5; ticks++) {
		moves = false;
		for (int r = 0; r < RELAYS; r++)
			moves |= poll(&w, r);
		tick(&w);
	}
	for (int r = 0; r < RELAYS; r++)
		if (moves || __builtin_popcount(w.relays[r].session.locks) != SHARDS / RELAYS)
			violate("comes to no fair rest");
}

static void settle(struct world *w)
{
	for (int r = 0; r < RELAYS; r++)
		join(w, r);
	for (int ticks = 0; ticks < AGE_MOST; ticks++) {
		for (int r = 0; r < RELAYS; r++)
			poll(w, r);
		tick(w);
	}
}

/* The first violation; NULL: none. */
static const char *explore(enum plant plant, unsigned losses, size_t *count)
{
	struct explored states = {.size = sizeof(struct world)};
	struct world w = {.losses_left = (uint8_t)losses};

	planted = plant;
	violated = NULL;
	settle(&w);
	explored_add(&states, &w);
	while (explored_take(&states, &w) && violated == NULL) {
		expand(&states, &w);
		if (w.losses_left == 0 && states.next % 16 == 0)
			check_rest(w);
	}
	*count = states.count;
	explored_free(&states);
	return violated;
}

static void test_groups_that_lose_sessions(void **state)
{
	size_t count;
	const char *found = explore(PLANT_NONE, 2, &count);

	(void)state;
	printf("%zu states\n", count);
	if (found != NULL)
		fail_msg("%s", found);
}

static void test_planted_errors_are_found(void **state)
{
	static const char *const expected[PLANTS] = {
	    [PLANT_NO_GRACE] = "does not wait for the owner",
	    [PLANT_SHORT_GRACE] = "does not wait for the owner",
	    [PLANT_OWNERS_UNSEEN] = "does not wait for the owner",
	    [PLANT_BY_PID] = "takes another's session for its own",
	    [PLANT_OWN_FORGOTTEN] = "does not take its own back",
	    [PLANT_PREVIOUS_IGNORED] = "does not take its own back"};

	(void)state;
	for (int plant = PLANT_NONE + 1; plant < PLANTS; plant++) {
		size_t count;
		const char *found = explore((enum plant)plant, 2, &count);
		printf("%d: %s, %zu states\n", plant, found != NULL ? found : "not found", count);
		assert_non_null(found);
		assert_string_equal(found, expected[plant]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_groups_that_lose_sessions),
	    cmocka_unit_test(test_planted_errors_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
