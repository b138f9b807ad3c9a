/*
 * exhaustive.c - two relays, two keys, three events: any one fault at any step, and pairs of faults
 *
 * The order of the steps is one that a seed gives; several seeds give several orders. One fault is
 * tried at each of them, in all its variants and to each relay. Asked for all, two are too: any
 * two, at any two steps. Otherwise, so that it takes seconds and not minutes, the first of two
 * comes at every FIRST_STRIDE-th step in one variant, which changes from step to step, and the
 * second at every STRIDE-th step after it.
 */
#include "sim.h"

#include <stdio.h>

/* Those that excuse disorder, or change nothing in so small a run, are left to the random runs. */
static const enum fault tried[] = {
    FAULT_CUT_SERVER, FAULT_CUT_CLIENT, FAULT_RESTART,	    FAULT_FAILOVER, FAULT_BROKER_DOWN,
    FAULT_BREAK,      FAULT_DRAIN,	FAULT_BLOCK,	    FAULT_CRASH,    FAULT_STOP,
    FAULT_STOP_NOW,   FAULT_PAUSE,	FAULT_PAUSE_OUTBOX,
};
enum { TRIED = sizeof(tried) / sizeof(tried[0]), RELAYS = 2, FIRST_STRIDE = 2, STRIDE = 12 };

/* To how many relays it may happen; some happen to all at once. */
static unsigned relays_of(enum fault fault)
{
	bool of_all = fault == FAULT_RESTART || fault == FAULT_FAILOVER ||
		      fault == FAULT_BROKER_DOWN || fault == FAULT_BLOCK ||
		      fault == FAULT_PAUSE_OUTBOX;

	return of_all ? 1 : RELAYS;
}

struct search {
	struct sim *sim;
	uint64_t seed;
	size_t paths, steps;
	bool all;
};

static bool run(struct search *search, const struct fixed_fault *faults, unsigned count)
{
	struct sim *sim = search->sim;

	sim_reset(sim, search->seed, PLANT_NONE);
	sim->plan = (struct plan){.keys = 2,
				  .relays = RELAYS,
				  .shards = 2,
				  .session_timeout_us = SECOND,
				  .exhaustive = true,
				  .has_bell = true,
				  .set_aside = true,
				  .stall_us = 300 * MS};
	sim->fixed = faults;
	sim->fixed_count = count;
	sim_run(sim);
	search->paths++;
	search->steps += sim->steps;
	if (sim->violation == NULL)
		return true;
	printf("exhaustive: %s: %s; replay: simulate --path %llu", sim->violation, sim->detail,
	       (unsigned long long)search->seed);
	for (unsigned i = 0; i < count; i++)
		printf(",%u:%d:%u:%u", faults[i].step, (int)faults[i].fault, faults[i].variant,
		       faults[i].relay);
	putchar('\n');
	return false;
}

/* Tries every fault at some steps from `from` on, as the last of `count`. */
static bool try_last(struct search *search, struct fixed_fault *faults, unsigned count,
		     unsigned from, unsigned to, unsigned stride)
{
	struct fixed_fault *last = &faults[count - 1];

	for (last->step = from; last->step < to; last->step += stride)
		for (unsigned f = 0; f < TRIED; f++) {
			last->fault = tried[f];
			for (last->relay = 0; last->relay < relays_of(last->fault); last->relay++)
				for (last->variant = 0; last->variant < fault_variants(last->fault);
				     last->variant++)
					if (!run(search, faults, count))
						return false;
		}
	return true;
}

/* Until the run has nothing left to do, faults matter; the idle time at its end is always alike. */
static unsigned length(struct search *search, const struct fixed_fault *faults, unsigned count)
{
	if (!run(search, faults, count))
		return 0;
	return search->sim->idle_step;
}

/* The second begins at another step for each first. */
static bool try_pairs(struct search *search, unsigned steps)
{
	struct fixed_fault faults[2];
	unsigned turn = 0;

	for (faults[0].step = 0; faults[0].step < steps; faults[0].step += FIRST_STRIDE)
		for (unsigned f = 0; f < TRIED; f++) {
			faults[0].fault = tried[f];
			faults[0].relay = turn % relays_of(tried[f]);
			faults[0].variant = turn++ / 2 % fault_variants(tried[f]);
			unsigned to = length(search, faults, 1);
			unsigned from = faults[0].step + turn % STRIDE;
			if (to == 0 || !try_last(search, faults, 2, from, to, STRIDE))
				return false;
		}
	return true;
}

static bool try_all_after(struct search *search, struct fixed_fault *faults)
{
	unsigned to = length(search, faults, 1);
	return to > 0 && try_last(search, faults, 2, faults[0].step, to, 1);
}

/* Any second after any first. */
static bool try_all_pairs(struct search *search, unsigned steps)
{
	struct fixed_fault faults[2], *first = &faults[0];

	for (first->step = 0; first->step < steps; first->step++)
		for (unsigned f = 0; f < TRIED; f++) {
			first->fault = tried[f];
			for (first->relay = 0; first->relay < relays_of(tried[f]); first->relay++)
				for (first->variant = 0; first->variant < fault_variants(tried[f]);
				     first->variant++)
					if (!try_all_after(search, faults))
						return false;
		}
	return true;
}

static bool try_seed(struct search *search)
{
	struct fixed_fault one;
	unsigned steps = length(search, NULL, 0);

	if (steps == 0 || !try_last(search, &one, 1, 0, steps, 1))
		return false;
	return search->all ? try_all_pairs(search, steps) : try_pairs(search, steps);
}

bool exhaustive_run(struct sim *sim, unsigned runs, bool all)
{
	struct search search = {.sim = sim, .all = all};
	bool ok = true;

	sim->states = states_new();
	for (search.seed = 1; ok && search.seed <= runs; search.seed++)
		ok = try_seed(&search);
	printf(
	    "exhaustive: 2 relays, 2 keys, 3 events, any fault, %s two: %zu paths, %zu steps, %zu "
	    "states: %s\n",
	    all ? "any" : "some", search.paths, search.steps, states_count(sim->states),
	    ok ? "holds" : "VIOLATED");
	states_free(&sim->states);
	return ok;
}

bool exhaustive_replay(struct sim *sim, const char *path)
{
	struct search search = {.sim = sim};
	struct fixed_fault faults[2];
	unsigned count = 0;
	unsigned long long seed;
	int used, fault;

	if (sscanf(path, "%llu%n", &seed, &used) != 1)
		return false;
	search.seed = seed;
	for (path += used; count < 2; count++, path += used) {
		if (sscanf(path, ",%u:%d:%u:%u%n", &faults[count].step, &fault,
			   &faults[count].variant, &faults[count].relay, &used) != 4)
			break;
		faults[count].fault = (enum fault)fault;
	}
	return run(&search, faults, count);
}
