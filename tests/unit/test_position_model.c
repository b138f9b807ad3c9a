/* SPDX-License-Identifier: ISC */
/*
 * test_position_model.c - explores every interleaving of small cases of writers, claims, crashes
 * and hand-overs between two relays through the real position_model.c
 *
 * Writers of one key take turns (the key's lock). Each draws its id behind that lock; it may have
 * got its transaction id long before, so that neither is in the order of the other, nor of the
 * commits. Ids may begin again, and come twice. A relay claims from the shards whose locks it has,
 * several times in a transaction; what a claim takes is published at once. A COMMIT keeps the
 * positions, a crash loses them. Checked in every state: no position shows what was not published;
 * first arrivals of a key are in the order of their commits; what comes again was lost by a crash,
 * and comes in its order, before anything else of its key. A claim that finds nothing has left
 * nothing, and all shards of its relay are at one position. Planted errors must be found.
 */
#include "explored.h"
#include "outbox/position_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { WRITERS = 4, SHARDS = 2, RELAYS = 2 };
enum phase { WAITING, KEYED, COMMITTED, ABORTED };

enum plant {
	PLANT_NONE,
	PLANT_TARGET_MOVED,  /* what is next is what is there by now, also inside a target */
	PLANT_REACHED_KEPT,  /* the next target begins above what was reached of this one */
	PLANT_READ_TOO_SOON, /* the position is read before the shard's lock is got */
	PLANT_SAME_PLACE,    /* each claim of a transaction begins where the first did */
	PLANT_BY_X,	     /* what is next is taken in order of x */
	PLANT_UP_TO_XMIN,    /* a target is all that was begun before the oldest writer */
	PLANT_TIES_SPLIT,    /* of rows with the same id a claim takes as many as it is to */
	PLANT_UNION,	     /* several shards go on from what one of them has finished */
	PLANT_INTERSECTION   /* or from what all have */
};

/* A snapshot in two bytes, transaction ids as bits; a position in a few. Nothing reached is 0. */
struct seen {
	uint8_t xmax, running;
};
struct place {
	struct seen finished, target;
	uint8_t has_target, reached, walks;
};

struct state {
	uint8_t phase[WRITERS], x[WRITERS], id[WRITERS];
	uint8_t rank[WRITERS];	/* in the order of the commits, from 1 */
	uint8_t again[WRITERS]; /* its id was drawn since the ids began again */
	uint8_t next_x, completed, drawn, commits, set_back;
	struct place journal[SHARDS], open[SHARDS];
	uint8_t written;       /* shards that have an open position */
	uint8_t owner[SHARDS]; /* relay + 1 */
	uint8_t published;     /* writers */
	uint8_t pending;       /* of these, since the last COMMIT of their shard */
	uint8_t replay;	       /* those that a crash has lost, and that have not come again */
	uint8_t crashes;       /* to come */
	/* For PLANT_READ_TOO_SOON: by whom, relay + 1, and until it is used. */
	struct place early[SHARDS];
	uint8_t asked[SHARDS], unused;
};

struct scope {
	const char *keys;
	unsigned limit, few, shards, relays, crashes;
	bool set_back;
};

struct model {
	const struct scope *scope;
	unsigned writers;
	enum plant plant;
	struct explored set;
	const char *verdict;
};

/* ---- positions in a state's few bytes ---- */

/* What loaded snapshots borrow. */
struct room {
	uint64_t running[SHARDS * 2 + 1][WRITERS];
	size_t used;
};

static struct pgsnapshot load_snapshot(const struct seen *seen, struct room *room)
{
	uint64_t *running = room->running[room->used++];
	struct pgsnapshot snapshot = {.xmax = seen->xmax, .running = running};

	for (unsigned x = 0; x < 8; x++)
		if (seen->running & 1u << x)
			running[snapshot.running_count++] = x;
	snapshot.xmin = snapshot.running_count > 0 ? running[0] : seen->xmax;
	return snapshot;
}

static struct position load(const struct place *place, struct room *room)
{
	struct position position = {.finished = load_snapshot(&place->finished, room),
				    .has_target = place->has_target,
				    .walks = place->walks,
				    .has_reached = place->reached > 0,
				    .reached = place->reached};

	if (place->has_target)
		position.target = load_snapshot(&place->target, room);
	return position;
}

static struct seen save_snapshot(const struct pgsnapshot *snapshot)
{
	struct seen seen = {.xmax = (uint8_t)snapshot->xmax};

	for (size_t i = 0; i < snapshot->running_count; i++)
		seen.running |= (uint8_t)(1u << snapshot->running[i]);
	return seen;
}

static struct place save(const struct position *position)
{
	struct place place = {.finished = save_snapshot(&position->finished),
			      .has_target = position->has_target,
			      .walks = position->walks};

	if (position->has_target)
		place.target = save_snapshot(&position->target);
	if (position->has_reached)
		place.reached = (uint8_t)position->reached;
	return place;
}

/* ---- the world ---- */

static unsigned shard_of(const struct model *m, unsigned w)
{
	return (unsigned)(m->scope->keys[w] - 'a') % m->scope->shards;
}

static bool is_pair(const struct model *m, const struct state *s, unsigned earlier, unsigned w)
{
	return m->scope->keys[earlier] == m->scope->keys[w] && s->rank[earlier] < s->rank[w] &&
	       s->again[earlier] == s->again[w];
}

/* As GetSnapshotData() makes it: what is under way from xmax on is not listed. */
static struct seen present(const struct model *m, const struct state *s)
{
	struct seen seen = {.xmax = (uint8_t)(s->completed + 1)};

	for (unsigned w = 0; w < m->writers; w++)
		if (s->phase[w] < COMMITTED && s->x[w] != 0 && s->x[w] < seen.xmax)
			seen.running |= (uint8_t)(1u << s->x[w]);
	return seen;
}

static bool key_is_free(const struct model *m, const struct state *s, unsigned w)
{
	for (unsigned i = 0; i < m->writers; i++)
		if (m->scope->keys[i] == m->scope->keys[w] && s->phase[i] == KEYED)
			return false;
	return true;
}

static void end_writer(struct model *m, const struct state *from, unsigned w)
{
	struct state to = *from;

	if (to.x[w] > to.completed)
		to.completed = to.x[w];
	to.phase[w] = ABORTED;
	explored_add(&m->set, &to);
	to.phase[w] = COMMITTED;
	to.rank[w] = ++to.commits;
	explored_add(&m->set, &to);
}

static void step_writer(struct model *m, const struct state *from, unsigned w)
{
	struct state to = *from;

	if (from->phase[w] >= COMMITTED)
		return;
	if (from->x[w] == 0) {
		to.x[w] = to.next_x++;
		explored_add(&m->set, &to);
		to = *from;
	}
	if (from->phase[w] == WAITING && key_is_free(m, from, w)) {
		to.phase[w] = KEYED;
		explored_add(&m->set, &to);
	} else if (from->phase[w] == KEYED && from->id[w] == 0) {
		to.id[w] = ++to.drawn;
		to.again[w] = to.set_back;
		explored_add(&m->set, &to);
	} else if (from->phase[w] == KEYED && from->x[w] != 0) {
		end_writer(m, from, w);
	}
}

static void step_set_back(struct model *m, const struct state *from)
{
	struct state to = *from;

	if (!m->scope->set_back || from->set_back || from->drawn == 0)
		return;
	to.set_back = 1;
	to.drawn = 0;
	explored_add(&m->set, &to);
}

/* ---- what is checked ---- */

static void violated(struct model *m, const char *what)
{
	if (strcmp(m->verdict, "holds") == 0)
		m->verdict = what;
}

static void check_nothing_lost(struct model *m, const struct state *s)
{
	for (unsigned w = 0; w < m->writers; w++) {
		unsigned shard = shard_of(m, w);
		if (s->phase[w] != COMMITTED || (s->published & 1u << w))
			continue;
		for (unsigned open = 0; open < 2; open++) {
			struct room room = {0};
			struct position position =
			    load(open && (s->written & 1u << shard) ? &s->open[shard]
								    : &s->journal[shard],
				 &room);
			if (position_settles(&position, s->x[w], s->id[w]))
				violated(m, "loses a row");
		}
	}
}

static void check_published(struct model *m, const struct state *s, unsigned w)
{
	bool first = !(s->published & 1u << w);

	if (!first && !(s->replay & 1u << w))
		violated(m, "repeats");
	for (unsigned i = 0; i < m->writers; i++) {
		if (i == w || s->phase[i] != COMMITTED || !is_pair(m, s, i, w))
			continue;
		if (first && !(s->published & 1u << i))
			violated(m, "reorders");
		if (s->replay & 1u << i)
			violated(m, "repeats out of line");
	}
}

/* A claim that leaves all as it is has found nothing. */
static void check_nothing_left(struct model *m, const struct state *s, unsigned owned,
			       unsigned group)
{
	for (unsigned w = 0; w < m->writers && m->plant != PLANT_UP_TO_XMIN; w++)
		if (s->phase[w] == COMMITTED && (group & 1u << shard_of(m, w)) &&
		    !(s->published & 1u << w))
			violated(m, "leaves a row");
	if (group != owned)
		violated(m, "leaves a shard behind");
}

/* ---- claims ---- */

static unsigned owned_by(const struct state *s, unsigned relay)
{
	return (unsigned)(s->owner[0] == relay + 1) | (unsigned)(s->owner[1] == relay + 1) << 1;
}

static const struct place *place_of(const struct model *m, const struct state *s, unsigned shard)
{
	if (s->unused & 1u << shard)
		return &s->early[shard];
	if ((s->written & 1u << shard) && m->plant != PLANT_SAME_PLACE)
		return &s->open[shard];
	return &s->journal[shard];
}

struct claim {
	struct room room;
	unsigned owned, group; /* shards */
	struct position from;
	struct position_start start;
	unsigned rows[WRITERS];
	size_t count;
};

/* By planted errors all shards go on from one that is ahead, or behind. */
static unsigned merged(const struct model *m, const struct position *positions,
		       const unsigned *shards, size_t count, struct claim *claim)
{
	unsigned group = 0;

	for (size_t i = 0; i < count && m->plant == PLANT_UNION; i++)
		if (positions[i].finished.xmax > positions[claim->start.first].finished.xmax)
			claim->start.first = i;
	for (size_t i = 0; i < count; i++)
		if (m->plant == PLANT_UNION || m->plant == PLANT_INTERSECTION ||
		    position_equal(&positions[i], &positions[claim->start.first]))
			group |= 1u << shards[i];
	return group;
}

static void begin(const struct model *m, const struct state *s, struct claim *claim)
{
	struct position positions[SHARDS];
	unsigned shards[SHARDS];
	size_t count = 0;
	struct seen seen = present(m, s);
	struct pgsnapshot now = load_snapshot(&seen, &claim->room);

	if (m->plant == PLANT_UP_TO_XMIN)
		now = (struct pgsnapshot){.xmin = now.xmin, .xmax = now.xmin};
	for (unsigned k = 0; k < SHARDS; k++)
		if (claim->owned & 1u << k) {
			shards[count] = k;
			positions[count++] = load(place_of(m, s, k), &claim->room);
		}
	claim->start = position_start(positions, count, &now);
	claim->group = merged(m, positions, shards, count, claim);
	claim->from = positions[claim->start.first];
	if (m->plant == PLANT_TARGET_MOVED)
		claim->start.goal = now;
}

static bool comes_before(const struct model *m, const struct state *s, unsigned a, unsigned b)
{
	return m->plant == PLANT_BY_X ? s->x[a] < s->x[b] : s->id[a] < s->id[b];
}

static void find_rows(const struct model *m, const struct state *s, struct claim *claim)
{
	for (unsigned w = 0; w < m->writers; w++) {
		size_t at = claim->count;
		if (s->phase[w] != COMMITTED || !(claim->group & 1u << shard_of(m, w)) ||
		    !position_is_next(&claim->from, &claim->start.goal, s->x[w], s->id[w]))
			continue;
		for (; at > 0 && comes_before(m, s, w, claim->rows[at - 1]); at--)
			claim->rows[at] = claim->rows[at - 1];
		claim->rows[at] = w;
		claim->count++;
	}
}

static struct position_taken take(const struct model *m, const struct state *s,
				  const struct claim *claim)
{
	struct position_row rows[WRITERS];
	struct position_limits limits = {
	    .rows = m->scope->limit, .bytes = -1, .few = m->scope->few, .stale = 1};

	for (size_t i = 0; i < claim->count; i++)
		rows[i] = (struct position_row){.id = s->id[claim->rows[i]]};
	struct position_taken taken =
	    position_take(&claim->from, &claim->start, rows, claim->count, &limits);
	if (m->plant == PLANT_REACHED_KEPT && !taken.cut && taken.rows > 0)
		taken.behind.has_reached = true, taken.behind.reached = rows[taken.rows - 1].id;
	if (m->plant == PLANT_TIES_SPLIT && taken.rows > m->scope->limit) {
		taken.rows = m->scope->limit;
		taken.behind = (struct position){.finished = claim->from.finished,
						 .target = claim->start.goal,
						 .has_target = true,
						 .has_reached = true,
						 .reached = rows[taken.rows - 1].id};
	}
	return taken;
}

static void publish(struct model *m, struct state *s, unsigned w)
{
	check_published(m, s, w);
	s->published |= (uint8_t)(1u << w);
	s->pending |= (uint8_t)(1u << w);
	s->replay &= (uint8_t) ~(1u << w);
}

static void step_claim(struct model *m, const struct state *from, unsigned relay)
{
	struct claim claim = {.owned = owned_by(from, relay)};
	struct state to = *from;

	if (claim.owned == 0)
		return;
	begin(m, from, &claim);
	find_rows(m, from, &claim);
	struct position_taken taken = take(m, from, &claim);
	for (size_t i = 0; i < taken.rows; i++)
		publish(m, &to, claim.rows[i]);
	to.unused &= (uint8_t)~claim.owned;
	if (!taken.writes && to.unused == from->unused)
		check_nothing_left(m, from, claim.owned, claim.group);
	for (unsigned k = 0; k < SHARDS && taken.writes; k++)
		if (claim.group & 1u << k) {
			to.open[k] = save(&taken.behind);
			to.written |= (uint8_t)(1u << k);
		}
	explored_add(&m->set, &to);
}

/* ---- transactions, locks, crashes ---- */

static uint8_t of_shards(const struct model *m, uint8_t writers, unsigned shards)
{
	for (unsigned w = 0; w < m->writers; w++)
		if (!(shards & 1u << shard_of(m, w)))
			writers &= (uint8_t) ~(1u << w);
	return writers;
}

static void close_positions(struct state *s, unsigned shards, bool keep)
{
	for (unsigned k = 0; k < SHARDS; k++) {
		if (!(s->written & shards & 1u << k))
			continue;
		if (keep)
			s->journal[k] = s->open[k];
		memset(&s->open[k], 0, sizeof(s->open[k]));
	}
	s->written &= (uint8_t)~shards;
}

static void step_commit(struct model *m, const struct state *from, unsigned relay)
{
	unsigned owned = owned_by(from, relay);
	struct state to = *from;

	if ((from->written & owned) == 0)
		return;
	close_positions(&to, owned, true);
	to.pending &= (uint8_t)~of_shards(m, from->pending, owned);
	explored_add(&m->set, &to);
}

static void step_crash(struct model *m, const struct state *from, unsigned relay)
{
	unsigned owned = owned_by(from, relay);
	uint8_t lost = of_shards(m, from->pending, owned);
	struct state to = *from;

	if (from->crashes == 0 || owned == 0)
		return;
	to.crashes--;
	close_positions(&to, owned, false);
	to.replay |= lost;
	to.pending &= (uint8_t)~lost;
	to.unused &= (uint8_t)~owned;
	for (unsigned k = 0; k < SHARDS; k++)
		if (owned & 1u << k)
			to.owner[k] = 0;
	explored_add(&m->set, &to);
}

/* By a planted error a relay reads the position while it waits for the lock. */
static void step_ask(struct model *m, const struct state *from, unsigned relay, unsigned shard)
{
	struct state to = *from;

	if (m->plant != PLANT_READ_TOO_SOON || from->owner[shard] == relay + 1 ||
	    (from->unused & 1u << shard))
		return;
	to.asked[shard] = (uint8_t)(relay + 1);
	to.early[shard] = from->journal[shard];
	explored_add(&m->set, &to);
}

static void step_lock(struct model *m, const struct state *from, unsigned relay, unsigned shard)
{
	bool in_transaction = (from->written & owned_by(from, relay)) != 0;
	struct state to = *from;

	if (in_transaction || (m->plant == PLANT_READ_TOO_SOON && from->asked[shard] != relay + 1 &&
			       from->owner[shard] == 0))
		return;
	if (from->owner[shard] == 0) {
		to.owner[shard] = (uint8_t)(relay + 1);
		to.asked[shard] = 0;
		to.unused |= (uint8_t)(m->plant == PLANT_READ_TOO_SOON ? 1u << shard : 0);
		explored_add(&m->set, &to);
	} else if (from->owner[shard] == relay + 1 && m->scope->relays > 1) {
		to.owner[shard] = 0;
		to.unused &= (uint8_t) ~(1u << shard);
		explored_add(&m->set, &to);
	}
}

static void step_relay(struct model *m, const struct state *s, unsigned relay)
{
	step_claim(m, s, relay);
	step_commit(m, s, relay);
	step_crash(m, s, relay);
	for (unsigned k = 0; k < m->scope->shards; k++) {
		step_ask(m, s, relay, k);
		step_lock(m, s, relay, k);
	}
}

/* ---- exploring ---- */

static void start(struct model *m, struct state *s)
{
	s->next_x = 1;
	s->crashes = (uint8_t)m->scope->crashes;
	for (unsigned k = 0; k < SHARDS; k++)
		s->journal[k].finished.xmax = 1;
	explored_add(&m->set, s);
}

static const char *explore(const struct scope *scope, enum plant plant, size_t *states)
{
	struct model m = {.scope = scope,
			  .writers = (unsigned)strlen(scope->keys),
			  .plant = plant,
			  .set = {.size = sizeof(struct state)},
			  .verdict = "holds"};
	struct state s = {0};

	start(&m, &s);
	while (strcmp(m.verdict, "holds") == 0 && explored_take(&m.set, &s)) {
		check_nothing_lost(&m, &s);
		for (unsigned w = 0; w < m.writers; w++)
			step_writer(&m, &s, w);
		step_set_back(&m, &s);
		for (unsigned r = 0; r < scope->relays; r++)
			step_relay(&m, &s, r);
	}
	*states = m.set.count;
	explored_free(&m.set);
	return m.verdict;
}

static void expect(const char *name, const struct scope *scope, enum plant plant, const char *want)
{
	size_t states;
	const char *got = explore(scope, plant, &states);

	printf("keys %-4s limit %u, few are %u, %u shards, %u relays, %u crashes%s: %s: %s (%zu "
	       "states)\n",
	       scope->keys, scope->limit, scope->few, scope->shards, scope->relays, scope->crashes,
	       scope->set_back ? ", ids set back" : "", name, got, states);
	assert_string_equal(got, want);
}

static const struct scope scopes[] = {
    {"aab", 1, 9, 1, 1, 2, false}, {"aab", 2, 1, 1, 1, 2, false}, {"aab", 9, 9, 1, 1, 2, false},
    {"aba", 1, 1, 1, 1, 1, true},  {"aab", 9, 9, 1, 1, 1, true},  {"abab", 9, 9, 1, 1, 0, false},
    {"ab", 1, 9, 2, 2, 2, false},  {"aab", 1, 9, 2, 2, 1, false}, {"aab", 9, 1, 2, 2, 0, false},
};
enum { SCOPES = sizeof(scopes) / sizeof(scopes[0]) };

static void test_positions_hold(void **state)
{
	(void)state;
	for (size_t i = 0; i < SCOPES; i++)
		expect("positions", &scopes[i], PLANT_NONE, "holds");
}

static void test_planted_errors_are_found(void **state)
{
	static const struct scope one = {"aab", 1, 9, 1, 1, 0, false};
	static const struct scope all = {"aab", 9, 9, 1, 1, 0, false};
	static const struct scope handed = {"ab", 9, 9, 1, 2, 0, false};
	static const struct scope shards = {"ab", 9, 9, 2, 2, 0, false};
	static const struct scope twice = {"aba", 1, 9, 1, 1, 0, true};

	(void)state;
	expect("target moved", &one, PLANT_TARGET_MOVED, "loses a row");
	expect("reached kept", &all, PLANT_REACHED_KEPT, "leaves a row");
	expect("read before the lock", &handed, PLANT_READ_TOO_SOON, "repeats");
	expect("claims from the same place", &one, PLANT_SAME_PLACE, "repeats");
	expect("in order of x", &all, PLANT_BY_X, "reorders");
	expect("target up to xmin", &all, PLANT_UP_TO_XMIN, "reorders");
	expect("ties split", &twice, PLANT_TIES_SPLIT, "loses a row");
	expect("union of positions", &shards, PLANT_UNION, "loses a row");
	expect("intersection of positions", &shards, PLANT_INTERSECTION, "repeats");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_positions_hold),
	    cmocka_unit_test(test_planted_errors_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
