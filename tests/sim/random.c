/* SPDX-License-Identifier: ISC */
/*
 * random.c - every choice of a run comes from its seed
 */
#include "sim.h"

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* In the exhaustive runs a choice depends on when it is made, not on how many were made before. */
uint32_t sim_below(struct sim *sim, uint32_t bound)
{
	if (sim->plan.exhaustive)
		return (uint32_t)((sim_rank(sim, bound) >> 32) * bound >> 32);
	return (uint32_t)((next(&sim->random) >> 32) * bound >> 32);
}

uint64_t sim_rank(const struct sim *sim, uint64_t of)
{
	uint64_t state = sim->random ^ (uint64_t)sim->now_us << 20 ^ of;

	return next(&state);
}

bool sim_chance(struct sim *sim, uint32_t permille)
{
	return sim_below(sim, 1000) < permille;
}
