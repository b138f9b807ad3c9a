/* SPDX-License-Identifier: ISC */
/*
 * simulate.c - the program: random runs, the exhaustive ones, and the planted errors
 */
#include "search.h"

#include "base/xalloc.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_SEEDS = 10000, PLANT_SEEDS = 60000 };

struct totals {
	size_t steps, claims, gains, faults, crashes, repeats;
};

/* ---- one run ---- */

struct sim *sim_new(void)
{
	struct sim *sim = xcalloc(1, sizeof(*sim));

	sim->metrics = xcalloc(1, sizeof(*sim->metrics));
	metrics_init(sim->metrics, "sim", "public.outbox_events");
	return sim;
}

void sim_free(struct sim **sim)
{
	metrics_fini((*sim)->metrics);
	free((*sim)->metrics);
	free(*sim);
	*sim = NULL;
}

/* ordering = "none". Half of them are about rows that another session has locked for a while. */
static void draw_competing(struct sim *sim)
{
	struct plan *plan = &sim->plan;

	plan->competing = true;
	plan->shards = 1;
	plan->fault_kinds &= ~(1u << FAULT_LAYOUT);
	if (sim_chance(sim, 500)) {
		plan->fault_kinds = 1u << FAULT_ROW_LOCK;
		plan->fault_permille = 500;
		plan->faults_left = 20;
	}
}

/* Rows that cannot go, and rows that another session has locked, and little else. */
static void draw_stuck(struct sim *sim)
{
	struct plan *plan = &sim->plan;

	plan->fault_kinds = 1u << FAULT_STUCK | 1u << FAULT_ROW_LOCK;
	plan->fault_kinds |= 1u << sim_below(sim, FAULTS_ANY);
	plan->fault_permille = 50;
	plan->faults_left = 60;
}

/* Sessions that are lost while shares change, and little else. */
static void draw_losses(struct sim *sim)
{
	struct plan *plan = &sim->plan;

	plan->relays = 2;
	plan->shards = SHARDS_SIM;
	plan->fault_kinds = 1u << FAULT_RESTART | 1u << FAULT_PAUSE_OUTBOX | 1u << FAULT_STOP |
			    1u << FAULT_CRASH | 1u << FAULT_AWAY;
	plan->fault_permille = 30;
	plan->faults_left = 30;
}

/* What is rejected is set aside, and operators ask for it; the policy may be another one after a
 * reload. In every second of these runs topics are deleted and made again. A failover that loses
 * what they asked for is left out. */
static void draw_letters(struct sim *sim)
{
	struct plan *plan = &sim->plan;

	plan->letters = true;
	plan->policies = 1u << REJECT_PARKS;
	if (sim_chance(sim, 400))
		plan->policies |= 1u << sim_below(sim, 3);
	if (sim->seed % 8 == 1)
		plan->topics = TOPICS;
	plan->fault_kinds &= ~(1u << FAULT_FAILOVER);
	if (sim_chance(sim, 300)) {
		plan->fault_kinds = 1u << FAULT_RELOAD | 1u << FAULT_BAD | 1u << FAULT_ROW_LOCK |
				    1u << FAULT_CUT_CLIENT | 1u << FAULT_CRASH | 1u << FAULT_STUCK;
		plan->fault_permille = 30;
		plan->faults_left = 30;
	}
}

/* Each batch is a transaction of the broker's. Letters are left out. */
static void draw_exactly_once(struct sim *sim)
{
	struct plan *plan = &sim->plan;

	plan->exactly_once = true;
	plan->late_requests = true;
	uint32_t about = sim_below(sim, 10);
	if (about > 3)
		return;
	if (about == 0) { /* relays that end while none of them reaches the broker */
		plan->relays = 2;
		plan->shards = 2;
		plan->fault_kinds = 1u << FAULT_OUTAGE | 1u << FAULT_CRASH | 1u << FAULT_CUT_CLIENT;
		plan->fault_permille = 30;
		plan->faults_left = 15;
		return;
	}
	plan->fault_kinds = 1u << FAULT_CUT_CLIENT | 1u << FAULT_CRASH | 1u << FAULT_AWAY |
			    1u << FAULT_PAUSE | 1u << FAULT_FAILOVER | 1u << FAULT_PAUSE_OUTBOX;
	plan->fault_permille = 30;
	plan->faults_left = 30;
}

static void draw_plan(struct sim *sim)
{
	static const uint16_t permilles[] = {3, 10, 30, 100};
	struct plan *plan = &sim->plan;

	plan->keys = 1 + sim_below(sim, KEYS_MAX);
	plan->relays = sim_chance(sim, 300) ? 1 : 1 + sim_below(sim, RELAYS_MAX);
	plan->shards = 1 + (int)sim_below(sim, SHARDS_SIM);
	plan->session_timeout_us = (int64_t)(600 + sim_below(sim, 2400)) * MS;
	plan->policies = 1u << (sim_chance(sim, 500) ? REJECT_DEAD_LETTERS : REJECT_HALTS);
	plan->has_bell = sim_chance(sim, 700);
	plan->rings_lossy = plan->has_bell && sim_chance(sim, 200);
	plan->late_requests = sim_chance(sim, 300);
	plan->stall_us = (int64_t)(300 + sim_below(sim, 2000)) * MS;
	plan->fault_permille = permilles[sim_below(sim, 4)];
	plan->faults_left = sim_chance(sim, 200) ? 0 : sim_below(sim, 8);
	plan->fault_kinds = sim_chance(sim, 300) ? 1u << sim_below(sim, FAULTS_ANY) |
						       1u << sim_below(sim, FAULTS_ANY)
						 : ~0u;
	/* This one excuses a good deal. */
	if (!sim_chance(sim, 250))
		plan->fault_kinds &= ~(1u << FAULT_FAILOVER);
	if (sim_chance(sim, 100))
		draw_stuck(sim);
	else if (sim_chance(sim, 100))
		draw_losses(sim);
	if (sim_chance(sim, 200))
		draw_competing(sim);
	else if (sim->seed % 4 == 1)
		draw_letters(sim);
	plan->position = sim->seed % 3 == 1 && !plan->competing;
	if (sim->seed % 4 == 3 && !plan->competing)
		draw_exactly_once(sim);
}

void sim_reset(struct sim *sim, uint64_t seed, enum plant plant)
{
	struct metrics *metrics = sim->metrics;
	bool verbose = sim->verbose;

	memset(sim, 0, sizeof(*sim));
	sim->metrics = metrics;
	sim->verbose = verbose;
	sim->seed = seed;
	sim->random = seed * 0x9e3779b97f4a7c15u + 1;
	sim->now_us = SECOND;
	sim->plant = plant;
	for (unsigned r = 0; r < RELAYS_MAX; r++) {
		sim->relays[r].sim = sim;
		sim->relays[r].index = r;
	}
}

static void run_seed(struct sim *sim, uint64_t seed, enum plant plant, struct totals *totals)
{
	sim_reset(sim, seed, plant);
	draw_plan(sim);
	sim_run(sim);
	totals->steps += sim->steps;
	totals->claims += sim->claims;
	totals->gains += sim->gains;
	totals->faults += sim->faults;
	totals->crashes += sim->crashes;
	totals->repeats += sim->repeats;
}

/* ---- many ---- */

static double clock_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell_failure(struct sim *sim, enum plant plant)
{
	struct totals ignored = {0};
	uint64_t seed = sim->seed;

	printf(
	    "seed %llu: VIOLATED: %s: %s\n  replay: simulate --seed %llu --seeds 1 --verbose%s%s\n",
	    (unsigned long long)seed, sim->violation, sim->detail, (unsigned long long)seed,
	    plant == PLANT_NONE ? "" : " --plant ", plant == PLANT_NONE ? "" : plants[plant].name);
	if (sim->verbose)
		return;
	sim->verbose = true;
	run_seed(sim, seed, plant, &ignored);
	sim->verbose = false;
}

static bool run_random(struct sim *sim, uint64_t first, uint64_t seeds)
{
	struct totals totals = {0};
	double began = clock_seconds();

	for (uint64_t seed = first; seed < first + seeds; seed++) {
		run_seed(sim, seed, PLANT_NONE, &totals);
		if (sim->violation != NULL) {
			tell_failure(sim, PLANT_NONE);
			return false;
		}
	}
	printf("random: %llu seeds, %zu steps, %zu claims, %zu shards gained, %zu faults, %zu "
	       "crashes, %zu repeats, %.0f "
	       "seeds/s: holds\n",
	       (unsigned long long)seeds, totals.steps, totals.claims, totals.gains, totals.faults,
	       totals.crashes, totals.repeats, (double)seeds / (clock_seconds() - began));
	return true;
}

static bool run_plant(struct sim *sim, enum plant plant, uint64_t first, uint64_t seeds)
{
	struct totals totals = {0};
	unsigned others = 0, among = plant_searches[plant].among;
	unsigned rest = plant_searches[plant].rest > 0 ? plant_searches[plant].rest : 1;

	for (uint64_t seed = first; seed < first + seeds; seed++) {
		if (among > 0 && seed % among != rest)
			continue;
		run_seed(sim, seed, plant, &totals);
		if (sim->violation == NULL)
			continue;
		if (sim->verbose)
			tell_failure(sim, plant);
		if (strcmp(sim->violation, plants[plant].expects) == 0) {
			printf("planted: %-24s found at seed %5llu: %s (%u others)\n",
			       plants[plant].name, (unsigned long long)seed, sim->violation,
			       others);
			return true;
		}
		others++;
	}
	printf("planted: %-24s NOT FOUND in %llu seeds (%u others)\n", plants[plant].name,
	       (unsigned long long)seeds, others);
	return false;
}

static bool run_plants(struct sim *sim)
{
	bool ok = true;

	for (int plant = PLANT_NONE + 1; plant < PLANT_COUNT; plant++) {
		const struct plant_search *search = &plant_searches[plant];
		uint64_t first = search->from > 0 ? search->from : 1;

		ok = (search->small > 0 ? exhaustive_finds(sim, (enum plant)plant, search->small)
					: run_plant(sim, (enum plant)plant, first, PLANT_SEEDS)) &&
		     ok;
	}
	return ok;
}

/* ---- the command line ---- */

struct arguments {
	uint64_t seed, seeds;
	const char *plant, *path;
	unsigned exhaustive; /* seeds; 0: not asked for */
	bool small, verbose, all;
};

static const char help[] =
    "usage: simulate [options]\n"
    "\n"
    "Without options: random runs, any one fault at any step, and every planted error.\n"
    "\n"
    "  --seeds N        so many random runs\n"
    "  --seed S         the first of them, or of the small ones\n"
    "  --plant NAME     with a planted error (\"list\" names them); must find it\n"
    "  --exhaustive N   any one and any two faults at any steps of N small runs: minutes each;\n"
    "                   with a planted error: must find it, but not with one fault\n"
    "  --small          any one fault at any steps of small runs: seconds; with a planted error\n"
    "                   of what is set aside: must find it\n"
    "  --path PATH      one of these again\n"
    "  --verbose        every step\n";

static bool parse(int argc, char **argv, struct arguments *args)
{
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
						{"seed", required_argument, NULL, 's'},
						{"plant", required_argument, NULL, 'p'},
						{"path", required_argument, NULL, 'r'},
						{"exhaustive", required_argument, NULL, 'e'},
						{"small", no_argument, NULL, 'm'},
						{"verbose", no_argument, NULL, 'v'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int option;

	*args = (struct arguments){.seed = 1, .seeds = 0, .all = argc == 1};
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			args->seeds = strtoull(optarg, NULL, 10);
			break;
		case 's':
			args->seed = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			args->plant = optarg;
			break;
		case 'r':
			args->path = optarg;
			break;
		case 'e':
			args->exhaustive = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			args->small = true;
			break;
		case 'v':
			args->verbose = true;
			break;
		default:
			fputs(help, option == 'h' ? stdout : stderr);
			return false;
		}
	}
	return optind == argc;
}

static int plant_of(const char *name)
{
	for (int plant = PLANT_NONE + 1; plant < PLANT_COUNT; plant++)
		if (strcmp(plants[plant].name, name) == 0)
			return plant;
	for (int plant = PLANT_NONE + 1; plant < PLANT_COUNT; plant++)
		printf("%-24s %s\n", plants[plant].name, plants[plant].expects);
	return -1;
}

static bool run_as_asked(struct sim *sim, const struct arguments *args)
{
	uint64_t seeds = args->seeds > 0 ? args->seeds : DEFAULT_SEEDS;

	int plant = args->plant != NULL ? plant_of(args->plant) : PLANT_NONE;

	if (plant < 0)
		return false;
	if (args->all) {
		bool random = run_random(sim, 1, seeds);
		bool exhaustive = exhaustive_small(sim);
		return run_plants(sim) && random && exhaustive;
	}
	if (args->small)
		return plant == PLANT_NONE ? exhaustive_small(sim)
					   : exhaustive_finds(sim, (enum plant)plant, args->seed);
	if (args->path != NULL)
		return exhaustive_replay(sim, args->path, (enum plant)plant);
	if (args->exhaustive > 0 && plant == PLANT_NONE)
		return exhaustive_run(sim, args->seed, args->exhaustive);
	if (args->exhaustive > 0)
		return exhaustive_plant(sim, (enum plant)plant);
	if (plant == PLANT_NONE)
		return run_random(sim, args->seed, seeds);
	return run_plant(sim, (enum plant)plant, args->seed, seeds);
}

int main(int argc, char **argv)
{
	struct arguments args;

	if (!parse(argc, argv, &args))
		return 2;
	struct sim *sim = sim_new();
	sim->verbose = args.verbose;
	bool ok = run_as_asked(sim, &args);
	sim_free(&sim);
	return ok ? 0 : 1;
}
