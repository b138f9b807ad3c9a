/* SPDX-License-Identifier: ISC */
/*
 * dead_letters.c - the model of outbox_relay.dead_letters and letter_requests: what the statements
 * of outbox/sql_letters.c and the claim's part in them do; and the operators
 *
 * A letter is a row of the outbox in another state. What is asked for it lies with it.
 */
#include "sim.h"

#include <string.h>

static bool is_ours(const struct backend *backend, const struct row *row, uint32_t shards)
{
	return backend->layout > 0 && (shards & 1u << shard_of(row->key, backend->layout));
}

static bool is_letter(const struct row *row)
{
	return row->state == ROW_LETTER;
}

/* ---- a claim's part ---- */

/* Of the key of this row, what was set aside by others, or by this transaction. */
static bool holds_key(const struct sim *sim, const struct backend *backend, unsigned letter,
		      unsigned key)
{
	const struct row *row = &sim->db.rows[letter];

	if (row->key != key || !row->letter.parked)
		return false;
	if (sim->plant == PLANT_MARK_WITH_FIRST && !row->letter.rejected)
		return false;
	return is_letter(row) || (backend->moved & ROW_BIT(letter)) != 0;
}

/* Whether a claim of this row sets it aside, by what its statement sees itself. */
bool letters_park(const struct sim *sim, const struct backend *backend, unsigned row)
{
	const struct session *session = &sim->relays[backend->relay].session;
	unsigned key = sim->db.rows[row].key;

	if (sim->plant == PLANT_PARKED_PUBLISHED)
		return false;
	if (sim->plant == PLANT_PARKED_IN_MEMORY)
		return (session->remembered & 1u << key) != 0;
	for (unsigned i = 0; i < sim->db.row_count && sim->plan.letters; i++)
		if (holds_key(sim, backend, i, key))
			return true;
	return false;
}

/* Whether other events of its topic wait for that, whoever owns them. */
bool letters_wait_for_topic(const struct sim *sim, const struct backend *backend, unsigned row)
{
	if (sim->plant == PLANT_LANE_PASSED)
		return false;
	for (unsigned i = 0; i < sim->db.row_count && sim->plan.topics > 1; i++) {
		const struct row *other = &sim->db.rows[i];
		bool aside = is_letter(other) || (backend->moved & ROW_BIT(i)) != 0;
		if (aside && other->letter.for_topic && other->topic == sim->db.rows[row].topic)
			return true;
	}
	return false;
}

static void give_number(struct sim *sim, unsigned row)
{
	sim->db.rows[row].letter = (struct letter){.number = ++sim->db.letters};
}

void letters_move(struct sim *sim, struct backend *backend, unsigned row, bool for_topic)
{
	give_number(sim, row);
	sim->db.rows[row].letter.parked = !for_topic;
	sim->db.rows[row].letter.for_topic = for_topic;
	backend->moved |= ROW_BIT(row);
}

/* ---- what is due ---- */

static bool is_wanted(const struct sim *sim, const struct row *row)
{
	unsigned changes = sim->plant == PLANT_EDIT_OVERTAKEN ? 0 : WANTS_EDIT | WANTS_DISCARD;

	return (row->letter.wants & WANTS_RETRY) && !(row->letter.wants & changes);
}

static bool is_to_change(const struct row *row)
{
	return (row->letter.wants & (WANTS_EDIT | WANTS_DISCARD)) != 0;
}

static bool may_topic(const struct row *row, const struct ask *ask)
{
	return !(ask->out & 1u << row->topic);
}

/* Nothing of its topic lies before it but what is due with it; of one that is tried, nothing. */
static bool is_ready_for_topic(const struct sim *sim, const struct backend *backend,
			       const struct row *row, const struct ask *ask)
{
	bool alone = (ask->tried & 1u << row->topic) && sim->plant != PLANT_LANE_SENDS_ALL;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (!is_letter(other) || !other->letter.for_topic || other->topic != row->topic ||
		    !is_ours(backend, other, ask->shards) ||
		    other->letter.number > row->letter.number)
			continue;
		if ((other != row && alone) ||
		    (is_to_change(other) && sim->plant != PLANT_LANE_CHANGE_PASSED))
			return false;
	}
	return true;
}

/* Nothing of its key lies before it but what is due with it. */
static bool is_ready(const struct sim *sim, const struct backend *backend, const struct row *row,
		     const struct ask *ask)
{
	bool follows = false;

	if (!may_topic(row, ask))
		return false;
	if (row->letter.for_topic)
		return is_ready_for_topic(sim, backend, row, ask);
	if (!row->letter.parked)
		return is_wanted(sim, row);
	if (sim->plant == PLANT_RETRY_BY_ID && is_wanted(sim, row))
		return true;
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (!is_letter(other) || !other->letter.parked || other->key != row->key ||
		    other->letter.number >= row->letter.number)
			continue;
		follows = true;
		if (other->letter.rejected || is_to_change(other) || !may_topic(other, ask))
			return false;
	}
	if (is_to_change(row) && sim->plant != PLANT_EDIT_OVERTAKEN)
		return false;
	return row->letter.rejected ? !follows && is_wanted(sim, row) : true;
}

/* The first of those of our shards that are ready. */
uint64_t letters_due(const struct sim *sim, const struct backend *backend, const struct ask *ask)
{
	int64_t most = ask->claim.bytes / 100, after = 0;
	uint64_t due = 0;

	most = most < 1 ? 1 : most;
	most = most < ask->claim.rows ? most : ask->claim.rows;
	for (int64_t taken = 0; taken < most; taken++) {
		int next = -1;
		for (unsigned i = 0; i < sim->db.row_count; i++) {
			const struct row *row = &sim->db.rows[i];
			if (is_letter(row) && row->letter.number > after &&
			    is_ours(backend, row, ask->shards) &&
			    is_ready(sim, backend, row, ask) &&
			    (next < 0 || row->letter.number < sim->db.rows[next].letter.number))
				next = (int)i;
		}
		if (next < 0)
			break;
		after = sim->db.rows[next].letter.number;
		due |= ROW_BIT(next);
	}
	return due;
}

/* Whether a claim may find some. */
bool letters_count(const struct sim *sim, const struct backend *backend, const struct ask *ask)
{
	const struct ask any = {
	    .claim = {.rows = 1, .bytes = 100}, .shards = ask->shards, .out = ask->out};
	bool wanted = false;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		wanted |= is_letter(&sim->db.rows[i]) && sim->db.rows[i].letter.wants != 0;
	return wanted || letters_due(sim, backend, &any) != 0;
}

/* ---- statements ---- */

static void changed(struct sim *sim)
{
	sim->lettered_us = sim->now_us;
}

static void edit(struct sim *sim, struct row *row)
{
	row->kind = KIND_GOOD;
	row->letter.wants &= ~(unsigned)WANTS_EDIT;
	changed(sim);
}

static void discard(struct sim *sim, struct row *row)
{
	row->state = ROW_REMOVED;
	row->letter.wants = 0;
	changed(sim);
}

static void attempt(struct sim *sim, const struct backend *backend, const struct ask *ask)
{
	uint64_t due = letters_due(sim, backend, ask);

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if ((due & ROW_BIT(i)) && sim->plant != PLANT_ATTEMPT_UNMARKED)
			sim->db.rows[i].letter.attempted = true;
}

/* Those that are due by now and were marked before. */
static void claim(struct sim *sim, struct backend *backend, const struct ask *ask,
		  struct answer *answer)
{
	uint64_t due = letters_due(sim, backend, ask);

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (!(due & ROW_BIT(i)))
			continue;
		bool takes = row->letter.attempted || sim->plant == PLANT_ATTEMPT_UNMARKED;
		if (takes || sim->plant == PLANT_REQUEST_FORGOTTEN)
			backend->granted |= ROW_BIT(i);
		if (!takes)
			continue;
		check_claimed(sim, backend, i);
		row->taken_by = backend_number(sim, backend);
		backend->deleted |= ROW_BIT(i);
		answer->rows |= ROW_BIT(i);
		sim->relays[backend->relay].process.lettered_us[i] = sim->now_us;
	}
	answer->kind = ANSWER_CLAIMED;
	answer->letters = true;
}

static void serve_each(struct sim *sim, const struct backend *backend, const struct ask *ask,
		       unsigned wants, void (*serve)(struct sim *sim, struct row *row))
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (is_letter(row) && (row->letter.wants & wants) &&
		    is_ours(backend, row, ask->shards))
			serve(sim, row);
	}
}

/* True if there is something to answer. */
bool letters_serve(struct sim *sim, struct backend *backend, const struct ask *ask,
		   struct answer *answer)
{
	switch (ask->kind) {
	case ASK_LETTERS_EDIT:
		serve_each(sim, backend, ask, WANTS_EDIT, edit);
		return false;
	case ASK_LETTERS_DISCARD:
		serve_each(sim, backend, ask, WANTS_DISCARD, discard);
		return false;
	case ASK_LETTERS_ATTEMPT:
		attempt(sim, backend, ask);
		return false;
	default:
		note_work(sim, backend, ask->shards & backend->locks);
		claim(sim, backend, ask, answer);
		return true;
	}
}

/* Another session has one of them locked. */
bool letters_wait(const struct sim *sim, const struct backend *backend, const struct ask *ask)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if (is_letter(row) && is_ours(backend, row, ask->shards) && row->taken_by != 0 &&
		    row->taken_by != backend_number(sim, backend))
			return true;
	}
	return false;
}

/* ---- what is settled by identity ---- */

/* In the order of their ids. */
static void make_letters(struct sim *sim, uint64_t rows, uint64_t for_topic)
{
	while (rows != 0) {
		unsigned first = (unsigned)__builtin_ctzll(rows);
		for (unsigned i = first; i < sim->db.row_count; i++)
			if ((rows & ROW_BIT(i)) && sim->db.rows[i].id < sim->db.rows[first].id)
				first = i;
		rows &= ~ROW_BIT(first);
		give_number(sim, first);
		sim->db.rows[first].letter.for_topic = (for_topic & ROW_BIT(first)) != 0;
	}
}

/* Rows that are rejected become letters, letters that were published go, and those that were
 * rejected again stay. */
void letters_reconcile(struct sim *sim, struct backend *backend, const struct ask *ask)
{
	make_letters(sim, backend->dead_letter, ask->deferred);
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (is_letter(row) && (ask->deferred & ROW_BIT(i))) { /* by a planted error */
			row->letter.parked = row->letter.rejected = false;
			row->letter.for_topic = true;
		}
		if (is_letter(row) && (ask->published & ROW_BIT(i))) {
			row->taken_by = backend_number(sim, backend);
			backend->deleted |= ROW_BIT(i);
		}
		if (is_letter(row) && (ask->kept & ROW_BIT(i))) {
			row->taken_by = backend_number(sim, backend);
			backend->kept |= ROW_BIT(i);
		}
	}
	backend->for_topic |= backend->dead_letter & ask->deferred;
	backend->dead_letter &= ~ask->deferred;
	backend->parks = ask->parks;
}

static void keep(struct sim *sim, struct backend *backend, unsigned index)
{
	struct letter *letter = &sim->db.rows[index].letter;

	if (letter->wants & WANTS_RETRY)
		check_request_gone(sim, backend, index, true);
	letter->wants &= ~(unsigned)WANTS_RETRY;
	letter->rejected = true;
	letter->parked = (letter->parked || letter->for_topic) && (backend->parks & ROW_BIT(index));
	letter->for_topic = false;
	sim->db.rows[index].dead_letter |= !letter->parked;
}

/* When an operator sees it; he may watch. */
static int64_t seen_at(struct sim *sim)
{
	uint32_t most = sim->healed || sim->plan.exhaustive ? SECOND : 5 * SECOND;

	return sim->now_us + 1 + (int64_t)sim_below(sim, sim_chance(sim, 500) ? 20 * MS : most);
}

static void set_aside(struct sim *sim, const struct backend *backend, unsigned index)
{
	struct row *row = &sim->db.rows[index];

	row->state = ROW_LETTER;
	row->letter.rejected = (backend->dead_letter & ROW_BIT(index)) != 0;
	if (row->letter.rejected)
		row->letter.parked = (backend->parks & ROW_BIT(index)) != 0;
	row->dead_letter |= !row->letter.parked && !row->letter.for_topic;
	trace_of(&sim->relays[backend->relay], "row %u is letter %lld%s%s%s", index,
		 (long long)row->letter.number, row->letter.parked ? ", parked" : "",
		 row->letter.for_topic ? ", for its topic" : "",
		 row->letter.rejected ? ", rejected" : "");
	row->mend_us = seen_at(sim);
	if (row->letter.parked && row->letter.rejected)
		sim->relays[backend->relay].session.remembered |= 1u << row->key;
}

/* What waits for its topic waits for its key, too, once that is parked. */
static void join(struct sim *sim, uint64_t rejected)
{
	uint32_t keys = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if ((rejected & ROW_BIT(i)) && sim->db.rows[i].letter.parked)
			keys |= 1u << sim->db.rows[i].key;
	for (unsigned i = 0; i < sim->db.row_count && sim->plant != PLANT_LANE_NOT_JOINED; i++) {
		struct row *row = &sim->db.rows[i];
		if (!is_letter(row) || !row->letter.for_topic || !(keys & 1u << row->key))
			continue;
		row->letter.for_topic = false;
		row->letter.parked = true;
	}
}

/* What this transaction does to letters, with its COMMIT. */
void letters_commit(struct sim *sim, struct backend *backend)
{
	uint64_t aside =
	    sim->plan.letters ? backend->moved | backend->dead_letter | backend->for_topic : 0;

	if ((aside | backend->kept | backend->granted | backend->deleted) != 0)
		changed(sim);
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct letter *letter = &sim->db.rows[i].letter;
		if (aside & ROW_BIT(i))
			set_aside(sim, backend, i);
		if (backend->kept & ROW_BIT(i))
			keep(sim, backend, i);
		if ((backend->granted & ROW_BIT(i)) && (letter->wants & WANTS_RETRY)) {
			if (is_letter(&sim->db.rows[i]) && !(backend->deleted & ROW_BIT(i)))
				check_request_gone(sim, backend, i, false);
			letter->wants &= ~(unsigned)WANTS_RETRY;
		}
	}
	join(sim, backend->dead_letter | backend->kept);
}

/* ---- operators ---- */

/* In the end all is asked for that keeps a key waiting. */
bool letters_can_be_operated(const struct sim *sim, const struct row *row)
{
	bool waits = is_letter(row) && row->letter.rejected && row->letter.wants == 0;

	if (is_letter(row) && row->letter.for_topic)
		return !sim->healed && row->letter.wants == 0 && sim->now_us >= row->mend_us;
	if (!waits || (!row->letter.parked && sim->healed))
		return false;
	return sim->now_us >= row->mend_us;
}

static void want(struct sim *sim, struct row *row, unsigned what)
{
	row->letter.wants |= what;
	row->letter.wanted_us = sim->now_us;
}

/* What waits behind it is asked for, too, as by `dlq retry --key`; or goes with it. */
static void want_key(struct sim *sim, unsigned key, unsigned what)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (is_letter(row) && row->key == key && row->letter.wants == 0)
			want(sim, row, what);
	}
}

void letters_operate(struct sim *sim, unsigned index)
{
	struct row *row = &sim->db.rows[index];
	uint32_t way = sim_below(sim, sim->healed ? 4 : 6);

	trace(sim, "operator: letter of row %u, way %u", index, way);
	if (row->letter.for_topic) {
		/* He leaves most as they are. */
		if (way < 2)
			want(sim, row, way == 0 ? WANTS_DISCARD : WANTS_EDIT);
	} else if (way == 0) {
		want(sim, row, WANTS_DISCARD);
	} else if (way == 1 || way == 2) {
		want(sim, row, WANTS_EDIT | WANTS_RETRY);
	} else if (way == 3) {
		row->kind = KIND_GOOD; /* what it met with elsewhere is mended */
		want_key(sim, row->key, WANTS_RETRY);
	} else if (way == 4) {
		want_key(sim, row->key, WANTS_RETRY); /* in vain */
	} else {
		want_key(sim, row->key, WANTS_DISCARD);
	}
	row->mend_us = seen_at(sim);
	changed(sim);
	notify(sim, NULL, (struct note){.kind = NOTE_LETTERS});
}

/* What keeps a key waiting, or is asked for. */
bool letters_are_left(const struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (is_letter(&sim->db.rows[i]) &&
		    (sim->db.rows[i].letter.parked || sim->db.rows[i].letter.for_topic ||
		     sim->db.rows[i].letter.wants != 0))
			return true;
	return false;
}
