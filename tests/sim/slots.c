/* SPDX-License-Identifier: ISC */
/*
 * slots.c - what a server process does about slots: what the functions of
 * sql/0016_exactly_once.sql do
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

void slots_plan(struct sim *sim)
{
	sim->slots.line = 1;
}

/* ---- locks ---- */

static bool is_locked(const struct sim *sim, int slot)
{
	for (unsigned b = 0; b < BACKENDS_MAX; b++)
		if (sim->db.backends[b].used && (sim->db.backends[b].slots & 1u << slot))
			return true;
	return false;
}

static bool try_lock(const struct sim *sim, struct backend *backend, int slot)
{
	if (is_locked(sim, slot))
		return false;
	backend->slots |= 1u << slot;
	return true;
}

/* ---- taking one ---- */

static bool has_rows(const struct sim *sim, int slot)
{
	for (unsigned layout = 0; layout <= SHARDS_SIM; layout++)
		for (unsigned k = 0; k < SHARDS_SIM; k++)
			if (sim->slots.now.owners[layout][k] == slot + 1)
				return true;
	return false;
}

static bool is_of_another_line(const struct sim *sim, int slot)
{
	const struct slot_row *row = &sim->slots.now.rows[slot];

	return row->line != 0 && row->line != sim->slots.line;
}

/* In this order: as it is asked for, in doubt or not; used; the lowest. */
static unsigned rank_of(const struct sim *sim, int slot, bool clean)
{
	bool in_doubt = has_rows(sim, slot) || is_of_another_line(sim, slot);

	return (in_doubt == clean ? 2u : 0u) + !sim->slots.now.rows[slot].used;
}

static void take(struct sim *sim, struct backend *backend, const struct ask *ask,
		 struct answer *answer)
{
	answer->slot = -1;
	for (unsigned rank = 0; rank < 4; rank++)
		for (int slot = 0; slot < SLOTS_SIM && answer->slot < 0; slot++)
			if (rank_of(sim, slot, ask->unavailable) == rank &&
			    try_lock(sim, backend, slot))
				answer->slot = slot;
	if (answer->slot < 0)
		return;
	sim->slots.now.rows[answer->slot].used = true;
	backend->slot = answer->slot;
	answer->number = sim->slots.now.rows[answer->slot].settled;
	answer->line = sim->slots.line;
}

/* ---- who may have something of a shard in doubt ---- */

static void count_commit(struct sim *sim)
{
	struct database *db = &sim->db;

	slots_keep(sim);
	positions_keep(sim);
	if (db->commit_count < COMMITS_MAX - ROWS_MAX - TXNS_MAX)
		db->commits[db->commit_count++] = (struct commit){0};
}

static void forget(struct sim *sim, int slot, int layout, uint32_t shards)
{
	for (int n = 0; n <= SHARDS_SIM; n++)
		for (unsigned k = 0; k < SHARDS_SIM; k++)
			if (sim->slots.now.owners[n][k] == slot + 1 &&
			    (layout == 0 || (n == layout && (shards & 1u << k))))
				sim->slots.now.owners[n][k] = 0;
}

static int other_slot(const struct sim *sim, const struct backend *backend, uint32_t shards)
{
	for (int n = 0; n <= SHARDS_SIM; n++)
		for (unsigned k = 0; k < SHARDS_SIM; k++) {
			int owner = sim->slots.now.owners[n][k];
			if (owner != 0 && owner != backend->slot + 1 &&
			    (n != backend->layout || (shards & 1u << k)))
				return owner - 1;
		}
	for (int slot = 0; slot < SLOTS_SIM; slot++)
		if (slot != backend->slot && is_of_another_line(sim, slot))
			return slot;
	return -1;
}

/* -1, or the slot that is in the way; then nothing is done but that our own are free of ours. */
static int own(struct sim *sim, const struct backend *backend, uint32_t shards)
{
	int other = other_slot(sim, backend, shards);

	if (other >= 0) {
		forget(sim, backend->slot, 0, 0);
		return other;
	}
	for (unsigned k = 0; k < (unsigned)backend->layout; k++)
		if ((shards & 1u << k) && sim->slots.now.owners[backend->layout][k] == 0)
			sim->slots.now.owners[backend->layout][k] = (uint8_t)(backend->slot + 1);
	return -1;
}

/* Of a server whose last commits are lost: such a line there is none. */
static void doubt_unknown(struct sim *sim, const struct backend *backend, uint64_t used)
{
	for (int slot = 0; slot < SLOTS_SIM; slot++) {
		struct slot_row *row = &sim->slots.now.rows[slot];
		if (slot == backend->slot || !(used >> slot & 1) || row->line != 0)
			continue;
		row->used = true;
		row->line = -1;
	}
}

/* In one transaction: what the slot has in doubt is settled, and the shards are its own. */
static void resolved(struct sim *sim, struct backend *backend, const struct ask *ask,
		     struct answer *answer)
{
	struct slot_row *row = &sim->slots.now.rows[backend->slot];

	count_commit(sim);
	row->settled = ask->number;
	row->line = sim->slots.line;
	forget(sim, backend->slot, 0, 0);
	if (sim->plant != PLANT_USE_FORGOTTEN)
		doubt_unknown(sim, backend, ask->used);
	answer->slot = own(sim, backend, ask->shards);
}

bool slots_serve(struct sim *sim, struct backend *backend, const struct ask *first,
		 struct answer *answer)
{
	switch (first->kind) {
	case ASK_SLOT:
		answer->kind = ANSWER_SLOT;
		take(sim, backend, first, answer);
		return true;
	case ASK_OWN:
		backend_is_outside(sim, backend);
		count_commit(sim);
		answer->kind = ANSWER_OWNED;
		answer->slot = own(sim, backend, first->shards);
		return true;
	case ASK_RESOLVED:
		backend_is_outside(sim, backend);
		answer->kind = ANSWER_RESOLVED;
		resolved(sim, backend, first, answer);
		return true;
	case ASK_TRY_SLOT:
		answer->kind = ANSWER_SLOT_TRIED;
		answer->over = !is_locked(sim, first->slot);
		return true;
	case ASK_PROVE:
		answer->kind = ANSWER_PROVED;
		return true;
	case ASK_FORGET:
		backend_is_outside(sim, backend);
		count_commit(sim);
		forget(sim, backend->slot, backend->layout, first->shards);
		return false;
	default: /* ASK_NUMBER */
		backend->number = first->number;
		return false;
	}
}

/* ---- the end of a transaction ---- */

void slots_commit(struct sim *sim, struct backend *backend)
{
	struct slot_row *row = &sim->slots.now.rows[backend->slot];

	slots_keep(sim);
	if (backend->number == 0)
		return;
	if (row->settled != backend->number - 1)
		violated(sim, "settles another batch than the next", "slot %d: %lld after %lld",
			 backend->slot, (long long)backend->number, (long long)row->settled);
	row->settled = backend->number;
}

void slots_keep(struct sim *sim)
{
	assert(sim->db.commit_count < COMMITS_MAX);
	if (sim->plan.exactly_once)
		sim->slots.before[sim->db.commit_count] = sim->slots.now;
}

void slots_forget_commit(struct sim *sim)
{
	if (sim->plan.exactly_once)
		sim->slots.now = sim->slots.before[sim->db.commit_count];
}

void slots_fail_over(struct sim *sim)
{
	sim->slots.line++;
}

/* ---- the end ---- */

bool slots_have_owner_rows(const struct sim *sim)
{
	for (int slot = 0; slot < SLOTS_SIM; slot++)
		if (has_rows(sim, slot))
			return true;
	return false;
}

bool slots_are_resolved(const struct sim *sim)
{
	for (int slot = 0; slot < SLOTS_SIM; slot++)
		if (is_of_another_line(sim, slot) || (has_rows(sim, slot) && !is_locked(sim, slot)))
			return false;
	return true;
}

/* Each session had nothing in doubt when it ended. */
void slots_check_end(struct sim *sim)
{
	if (!sim->impatient && slots_have_owner_rows(sim))
		violated(sim, "leaves an owner row", "%s", "");
}
