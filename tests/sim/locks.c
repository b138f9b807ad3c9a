/* SPDX-License-Identifier: ISC */
/*
 * locks.c - the advisory locks by which relays know each other
 *
 * A member lock tells of how many shards its relay counts; the lock of a shard has that number in
 * its key, so those of two layouts do not exclude each other. They end with their session.
 */
#include "sim.h"

#include <string.h>

unsigned shard_of(unsigned key, int layout)
{
	return key % (unsigned)layout;
}

static const struct backend *holder(const struct sim *sim, int layout, unsigned shard)
{
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		const struct backend *backend = &sim->db.backends[b];
		if (backend->used && backend->layout == layout && (backend->locks & 1u << shard))
			return backend;
	}
	return NULL;
}

static bool is_free(const struct sim *sim, const struct backend *backend, unsigned shard)
{
	return sim->plan.competing || sim->plant == PLANT_LOCK_IGNORED ||
	       holder(sim, backend->layout, shard) == NULL;
}

uint32_t locks_try(struct sim *sim, struct backend *backend, uint32_t shards)
{
	uint32_t got = 0;

	for (unsigned k = 0; k < (unsigned)backend->layout; k++)
		if ((shards & 1u << k) && is_free(sim, backend, k))
			got |= 1u << k;
	backend->locks |= got;
	sim->gains += (unsigned)__builtin_popcount(got);
	sim->idle_gains += (unsigned)__builtin_popcount(got);
	return got;
}

void locks_give(struct sim *sim, struct backend *backend, uint32_t shards)
{
	for (unsigned key = 0; key < KEYS_MAX; key++)
		if (backend->worked & shards & 1u << shard_of(key, backend->layout))
			sim->db.key_handed[key] = true;
	backend->worked &= ~shards;
	backend->locks &= ~shards;
}

void locks_look(const struct sim *sim, struct sight *sight)
{
	memset(sight, 0, sizeof(*sight));
	sight->paused = sim->db.paused;
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		const struct backend *backend = &sim->db.backends[b];
		if (backend->used && backend->layout != 0)
			sight->holders[sight->count++] =
			    (struct holder){.pid = backend->pid,
					    .started = backend->started,
					    .locks = backend->locks,
					    .layout = backend->layout,
					    .unavailable = backend->unavailable};
	}
}
