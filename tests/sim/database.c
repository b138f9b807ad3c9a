/* SPDX-License-Identifier: ISC */
/*
 * database.c - the model of Postgres: rows, writers, backends, notifications, commits
 *
 * READ COMMITTED: each statement sees what was committed when it ran. Writers of one key take
 * turns.
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

/* ---- what will be written ---- */

static enum row_kind plan_kind(struct sim *sim, uint32_t bad_permille)
{
	if (!sim_chance(sim, bad_permille))
		return KIND_GOOD;
	return (enum row_kind)(1 + sim_below(sim, 3));
}

static void plan_txn(struct sim *sim, struct txn *txn, uint32_t bad_permille)
{
	struct database *db = &sim->db;

	txn->first_row = db->row_count;
	txn->rows = sim->plan.exhaustive ? 1 : 1 + sim_below(sim, TXN_ROWS_MAX);
	txn->aborts = !sim->plan.exhaustive && sim_chance(sim, 120);
	for (unsigned i = 0; i < txn->rows; i++) {
		struct row *row = &db->rows[db->row_count++];
		row->key = sim_below(sim, sim->plan.keys);
		row->topic = sim->plan.topics > 1 ? sim_below(sim, sim->plan.topics) : 0;
		row->partition = (row->key + row->topic) % PARTITIONS;
		row->kind = plan_kind(sim, bad_permille);
		row->bad = row->kind != KIND_GOOD;
	}
}

/* Most writers come in a rush; some wait for seconds. */
static int64_t pause_before(struct sim *sim)
{
	if (sim->plan.exhaustive || !sim_chance(sim, 150))
		return 0;
	return sim->now_us + (int64_t)sim_below(sim, sim_chance(sim, 300) ? 4000 : 30) * MS;
}

/* Two keys and three events, two of them of one key. With letters the first of these is rejected,
 * and the other one comes with it or later. */
static void plan_small(struct sim *sim)
{
	struct database *db = &sim->db;

	for (unsigned i = 0; i < db->row_count; i++) {
		db->rows[i].key = i == 1;
		db->rows[i].partition = i == 1;
		db->rows[i].topic = 0;
		db->rows[i].kind = KIND_GOOD;
	}
	if (!sim->plan.letters)
		return;
	db->rows[0].kind = (enum row_kind)(KIND_GOOD + 1 + sim_below(sim, 3));
	db->rows[0].bad = true;
	db->txns[2].next_us = sim->now_us + (int64_t)sim_below(sim, 2) * 100 * MS;
}

void database_plan(struct sim *sim)
{
	struct database *db = &sim->db;
	uint32_t bad = sim_chance(sim, 250) ? 60 : 0;
	if (sim->plan.letters)
		bad = bad > 0 ? 400 : 120;
	unsigned txns = sim->plan.exhaustive ? 3 : 1 + sim_below(sim, 16);

	for (unsigned i = 0; i < txns && i < TXNS_MAX; i++) {
		if (db->row_count + TXN_ROWS_MAX > ROWS_MAX)
			break;
		plan_txn(sim, &db->txns[db->txn_count], bad);
		db->txns[db->txn_count++].next_us = pause_before(sim);
	}
	if (sim->plan.exhaustive)
		plan_small(sim);
	if (sim->plan.position)
		positions_plan(sim);
	slots_plan(sim);
}

bool may_dead_letter(const struct sim *sim)
{
	return (sim->plan.policies & 1u << REJECT_DEAD_LETTERS) != 0;
}

bool database_is_down(const struct sim *sim)
{
	return sim->now_us < sim->db.down_until_us;
}

/* ---- notifications ---- */

static bool is_same(const struct note *a, const struct note *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* All who listen but the sender, in the order of the commits. */
void notify(struct sim *sim, const struct backend *from, struct note note)
{
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		struct backend *to = &sim->db.backends[b];
		if (!to->used || to->ghost || to == from)
			continue;
		/* To be told the same twice in a row changes nothing. */
		if (to->note_count > 0 && is_same(&to->notes[to->note_count - 1], &note))
			continue;
		assert(to->note_count < NOTES_MAX);
		to->notes[to->note_count++] = note;
	}
}

/* ---- writers ---- */

static bool is_active(const struct txn *txn)
{
	return txn->phase != TXN_WAITING && txn->phase != TXN_ENDED;
}

static uint32_t keys_of(const struct sim *sim, const struct txn *txn)
{
	uint32_t keys = 0;

	for (unsigned i = 0; i < txn->rows; i++)
		keys |= 1u << sim->db.rows[txn->first_row + i].key;
	return keys;
}

static bool keys_are_free(const struct sim *sim, const struct txn *txn)
{
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		if (is_active(&sim->db.txns[i]) &&
		    (keys_of(sim, &sim->db.txns[i]) & keys_of(sim, txn)))
			return false;
	return true;
}

bool txn_can_step(const struct sim *sim, const struct txn *txn)
{
	if (txn->phase == TXN_ENDED || txn->next_us > sim->now_us || database_is_down(sim))
		return false;
	return txn->phase != TXN_WAITING || positions_begins_early(sim, txn) ||
	       keys_are_free(sim, txn);
}

static void commit_txn(struct sim *sim, struct txn *txn)
{
	struct database *db = &sim->db;
	positions_keep(sim);
	slots_keep(sim);
	struct commit *commit = &db->commits[db->commit_count++];

	*commit = (struct commit){0};
	for (unsigned i = 0; i < txn->rows; i++) {
		struct row *row = &db->rows[txn->first_row + i];
		row->state = ROW_VISIBLE;
		row->visible_us = sim->now_us;
		row->took_us = sim->now_us - txn->locked_us;
		row->number = db->key_numbers[row->key]++;
		commit->inserted |= ROW_BIT(txn->first_row + i);
	}
	if (txn->rings)
		notify(sim, NULL, (struct note){.kind = NOTE_RING});
}

static void end_txn(struct sim *sim, struct txn *txn)
{
	txn->phase = TXN_ENDED;
	if (!txn->aborts)
		commit_txn(sim, txn);
	for (unsigned i = 0; i < txn->rows && txn->aborts; i++)
		sim->db.rows[txn->first_row + i].state = ROW_ABORTED;
	positions_end_txn(sim, txn);
}

static void draw(struct sim *sim, struct txn *txn)
{
	struct row *row = &sim->db.rows[txn->first_row + txn->inserted];

	row->id = ++sim->db.sequence;
	row->state = ROW_DRAWN;
	positions_draw(sim, txn, txn->first_row + txn->inserted);
	txn->phase = TXN_DRAWN;
}

void txn_step(struct sim *sim, struct txn *txn)
{
	trace(sim, "writer %d: step %d", (int)(txn - sim->db.txns), (int)txn->phase);
	switch (txn->phase) {
	case TXN_WAITING:
		if (positions_begins_early(sim, txn))
			positions_begin_txn(sim, txn);
		else
			txn->phase = TXN_KEYED;
		break;
	case TXN_KEYED:
		txn->phase = TXN_LOCKED;
		txn->locked_us = sim->now_us;
		break;
	case TXN_LOCKED:
		draw(sim, txn);
		break;
	case TXN_DRAWN:
		/* The statement's end: the trigger looks at the bell. */
		txn->rings = txn->rings || sim->db.bell;
		txn->inserted++;
		txn->phase = txn->inserted < txn->rows ? TXN_LOCKED : TXN_INSERTED;
		break;
	case TXN_INSERTED:
		end_txn(sim, txn);
		break;
	case TXN_ENDED:
		break;
	}
	if (!sim->healed && is_active(txn))
		txn->next_us = pause_before(sim);
}

/* Writers, and other relays at work. */
void lock_holders(const struct sim *sim, const struct backend *self, struct holders *holders)
{
	memset(holders, 0, sizeof(*holders));
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		if (sim->db.txns[i].phase >= TXN_LOCKED && sim->db.txns[i].phase < TXN_ENDED)
			holders->txns |= 1u << i;
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		const struct backend *backend = &sim->db.backends[b];
		if (backend->used && backend != self && backend->in_transaction)
			holders->relays[holders->relay_count++] =
			    (b + 1) << 20 | backend->transactions;
	}
}

/* ---- backends ---- */

unsigned backend_number(const struct sim *sim, const struct backend *backend)
{
	return (unsigned)(backend - sim->db.backends) + 1;
}

struct backend *backend_new(struct relay *relay)
{
	struct sim *sim = relay->sim;

	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		struct backend *backend = &sim->db.backends[b];
		if (backend->used)
			continue;
		memset(backend, 0, offsetof(struct backend, notes));
		backend->used = true;
		backend->relay = relay->index;
		backend->pid = ++sim->db.last_pid;
		backend->started = ++sim->db.last_started;
		backend->heard_us = sim->now_us;
		return backend;
	}
	return NULL;
}

/* Nobody rings when a row is let go by one who does not own its shard, or not alone. */
static bool is_foreign(const struct sim *sim, const struct backend *backend, const struct row *row)
{
	return sim->plan.competing || backend->ghost || backend->layout == 0 ||
	       !(backend->locks & 1u << shard_of(row->key, backend->layout));
}

static void end_transaction(struct sim *sim, struct backend *backend)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (row->taken_by != backend_number(sim, backend))
			continue;
		row->taken_by = 0;
		if (is_foreign(sim, backend, row))
			row->foreign_until_us = sim->now_us;
	}
	backend->in_transaction = false;
	backend->deleted = backend->dead_letter = backend->moved = backend->for_topic = 0;
	backend->parks = backend->kept = backend->granted = 0;
	backend->number = 0;
	positions_end(sim, backend);
}

void backend_abort(struct sim *sim, struct backend *backend)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (backend->deleted & ROW_BIT(i))
			sim->db.rows[i].visible_us = sim->now_us;
	/* Another relay may take them sooner than this one settles what it has published. */
	if (sim->plan.competing)
		allow_repeats(sim, backend->deleted);
	end_transaction(sim, backend);
}

void backend_commit(struct sim *sim, struct backend *backend)
{
	struct database *db = &sim->db;
	if (sim->plan.exactly_once)
		slots_commit(sim, backend);
	uint64_t settled = sim->plan.position ? positions_commit(sim, backend) : backend->deleted;

	check_deleted(sim, settled & ~backend->moved & ~backend->for_topic, backend->dead_letter);
	for (unsigned i = 0; i < db->row_count; i++)
		if (settled & ROW_BIT(i)) {
			db->rows[i].state = ROW_GONE;
			db->rows[i].gone_us = sim->now_us;
			if (!sim->plan.letters)
				db->rows[i].dead_letter = (backend->dead_letter & ROW_BIT(i)) != 0;
		}
	if (sim->plan.letters)
		letters_commit(sim, backend);
	else if (settled != 0) {
		assert(db->commit_count < COMMITS_MAX);
		db->commits[db->commit_count++] =
		    (struct commit){.deleted = settled, .dead_letter = backend->dead_letter};
	}
	end_transaction(sim, backend);
}

/* The transaction is aborted before the locks are given up. */
void backend_end(struct sim *sim, struct backend *backend)
{
	backend_abort(sim, backend);
	note_freed(sim, backend);
	memset(backend, 0, offsetof(struct backend, notes));
}

/* ---- restart and failover ---- */

static void abort_writers(struct sim *sim)
{
	for (unsigned t = 0; t < sim->db.txn_count; t++) {
		struct txn *txn = &sim->db.txns[t];
		if (!is_active(txn))
			continue;
		txn->phase = TXN_ENDED;
		for (unsigned i = 0; i < txn->rows; i++)
			sim->db.rows[txn->first_row + i].state = ROW_ABORTED;
	}
}

/* The last commit never reached the disk, or the server that is the primary now. */
static void forget_commit(struct sim *sim)
{
	struct database *db = &sim->db;
	struct commit commit = db->commits[--db->commit_count];

	positions_forget_commit(sim);
	slots_forget_commit(sim);
	if (sim->plan.competing)
		allow_repeats(sim, commit.deleted);
	for (unsigned i = 0; i < db->row_count; i++) {
		struct row *row = &db->rows[i];
		if (commit.inserted & ROW_BIT(i))
			row->state = ROW_FORGOTTEN;
		if (!(commit.deleted & ROW_BIT(i)))
			continue;
		row->state = ROW_VISIBLE;
		row->dead_letter = false;
		row->visible_us = sim->now_us;
	}
}

/* Ids that only forgotten rows had are given out again. */
static void rewind_sequence(struct sim *sim)
{
	sim->db.sequence = 0;
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		bool counts = row->state == ROW_VISIBLE || row->state == ROW_GONE;
		if (counts && row->id > sim->db.sequence)
			sim->db.sequence = row->id;
	}
}

void database_restart(struct sim *sim, bool failover, unsigned lost)
{
	struct database *db = &sim->db;

	for (unsigned b = 0; b < BACKENDS_MAX; b++)
		if (db->backends[b].used)
			backend_end(sim, &db->backends[b]);
	db->last_pid = 0;
	abort_writers(sim);
	for (unsigned i = 0; failover && i < lost && db->commit_count > 0; i++) {
		allow_repeats(sim, db->commits[db->commit_count - 1].deleted);
		forget_commit(sim);
	}
	positions_restart(sim);
	if (failover)
		slots_fail_over(sim);
	if (failover && lost > 0) {
		rewind_sequence(sim);
		sim->lines_excused = true;
	}
}

uint64_t rows_of_key(const struct sim *sim, unsigned key)
{
	uint64_t rows = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		rows |= sim->db.rows[i].key == key ? ROW_BIT(i) : 0;
	return rows;
}

bool row_is_free(const struct sim *sim, const struct row *row)
{
	return row->state == ROW_VISIBLE && row->taken_by == 0 &&
	       row->foreign_until_us <= sim->now_us;
}
