/* SPDX-License-Identifier: ISC */
/*
 * states.c - sets of states, as hashes: those that were explored from, and how many were seen
 *
 * The processes of a search share them. A set that is full takes no more; what is looked for there
 * counts as new.
 */
#include "search.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

/* In the low bits of an entry: the depth and 1; an entry of 0 is free. */
static const uint64_t DEPTH_MASK = 7;

struct states {
	atomic_size_t count;
	size_t slots_count;
	_Atomic uint64_t slots[];
};

static size_t size_of(size_t slots)
{
	return sizeof(struct states) + slots * sizeof(uint64_t);
}

struct states *states_new(unsigned bits)
{
	size_t slots = (size_t)1 << bits;
	struct states *states =
	    mmap(NULL, size_of(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(states != MAP_FAILED);
	states->slots_count = slots;
	return states;
}

void states_free(struct states **states)
{
	munmap(*states, size_of((*states)->slots_count));
	*states = NULL;
}

size_t states_count(const struct states *states)
{
	return states->count;
}

/* The slot of a hash, or the free one where it would be, and what it holds. */
static size_t find(const struct states *states, uint64_t hash, uint64_t *found)
{
	size_t slot = hash >> 20 & (states->slots_count - 1);

	while ((*found = states->slots[slot]) != 0 && (*found | DEPTH_MASK) != (hash | DEPTH_MASK))
		slot = (slot + 1) & (states->slots_count - 1);
	return slot;
}

bool states_add(struct states *states, uint64_t hash, unsigned depth)
{
	uint64_t entry = (hash & ~DEPTH_MASK) | (depth + 1), found;
	size_t slot;

	do {
		slot = find(states, hash, &found);
		if ((found & DEPTH_MASK) > depth)
			return false;
		if (found == 0 && states->count > states->slots_count / 8 * 7)
			return true;
	} while (!atomic_compare_exchange_strong(&states->slots[slot], &found, entry));
	if (found == 0)
		atomic_fetch_add_explicit(&states->count, 1, memory_order_relaxed);
	return true;
}

/* ---- what an onlooker would call the state ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0xff51afd7ed558ccdu;
	return hash ^ hash >> 32;
}

static uint64_t hash_rows(uint64_t hash, const struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		hash = mix(hash, (uint64_t)row->id << 20 | row->appended << 8 | row->taken_by << 4 |
				     row->state);
	}
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		hash = mix(hash, sim->db.txns[i].phase);
	return hash;
}

static uint64_t hash_sessions(uint64_t hash, const struct sim *sim)
{
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		const struct backend *backend = &sim->db.backends[b];
		if (!backend->used)
			continue;
		hash = mix(hash, (uint64_t)backend->locks << 8 | b << 4 |
				     (unsigned)backend->ghost << 1 | backend->in_transaction);
		for (unsigned i = 0; i < backend->ask_count; i++)
			hash = mix(hash, backend->asks[i].kind);
	}
	return mix(hash, (unsigned)sim->db.paused << 1 | sim->db.bell);
}

static uint64_t hash_transactions(uint64_t hash, const struct sim *sim)
{
	for (unsigned s = 0; s < SLOTS_SIM; s++) {
		const struct coordinator *coordinator = &sim->transactions.coordinators[s];
		hash = mix(hash, (uint64_t)coordinator->last << 16 | coordinator->partitions << 4 |
				     coordinator->state);
	}
	for (unsigned p = 0; p < PARTITIONS; p++)
		for (unsigned i = 0; i < sim->transactions.logs[p].count; i++)
			hash = mix(hash, sim->transactions.logs[p].items[i].row);
	return hash;
}

static uint64_t hash_producer(uint64_t hash, const struct producer *producer)
{
	for (unsigned p = 0; p < PARTITIONS; p++)
		for (unsigned i = 0; i < producer->flight_count[p]; i++)
			hash = mix(hash, producer->flights[p][i].row << 1 |
					     producer->flights[p][i].appended);
	for (unsigned i = 0; i < producer->report_count; i++)
		hash = mix(hash, producer->reports[i].row << 4 | producer->reports[i].kind);
	return mix(hash, producer->state << 4 | producer->in_flight << 1 | producer->blocked);
}

static uint64_t hash_relay(uint64_t hash, const struct relay *relay)
{
	const struct session *session = &relay->session;
	struct worker_status status = {0};

	for (unsigned i = 0; i < session->answer_count; i++)
		hash = mix(hash, session->answers[i].rows << 4 | session->answers[i].kind);
	if (relay->process.worker != NULL)
		worker_status(relay->process.worker, &status);
	hash = mix(hash, (uint64_t)(uintptr_t)status.state);
	hash = mix(hash, (uint64_t)status.low_watermark << 32 | status.batch_events << 16 |
			     status.in_flight);
	return hash_producer(hash, &relay->producer);
}

uint64_t states_hash(const struct sim *sim)
{
	uint64_t hash = hash_sessions(hash_rows(1, sim), sim);

	if (sim->plan.exactly_once)
		hash = hash_transactions(hash, sim);
	for (unsigned r = 0; r < sim->plan.relays; r++)
		hash = hash_relay(hash, &sim->relays[r]);
	return hash;
}
