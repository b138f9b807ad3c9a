/* SPDX-License-Identifier: ISC */
/*
 * exhaustive.c - two relays, two keys, three events: any one and any two faults, at any steps
 *
 * The order of the steps is one that a seed gives; several seeds give several orders. At each step
 * until nothing is left to do, each fault strikes in each of its variants and at each relay; from
 * there the run goes on, to its end or to a second fault. The way to a step is made once: the state
 * before a fault is put back after what came of it. A fault that leads to a state that was explored
 * from already, with as many faults to come, leads nowhere new (snapshot.c says why that is so) and
 * is not followed. Of the processes of a search, the first that comes to a state explores from it.
 */
#include "search.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Those that change nothing in so small a run are left to the random runs. */
static const enum fault tried[] = {
    FAULT_CUT_SERVER, FAULT_CUT_CLIENT, FAULT_RESTART,	    FAULT_FAILOVER, FAULT_BROKER_DOWN,
    FAULT_BREAK,      FAULT_DRAIN,	FAULT_BLOCK,	    FAULT_CRASH,    FAULT_STOP,
    FAULT_STOP_NOW,   FAULT_PAUSE,	FAULT_ROW_LOCK,	    FAULT_AWAY,	    FAULT_PAUSE_OUTBOX,
    FAULT_STUCK,      FAULT_BAD,	FAULT_END_REPEATED, FAULT_END_LOST, FAULT_TIMED_OUT,
    FAULT_FENCED,
};
enum { TRIED = sizeof(tried) / sizeof(tried[0]), RELAYS = 2, FAULTS_MOST = 2, WORKERS_MAX = 16 };
enum { LETTERS_RUNS = 3, EXACTLY_ONCE_RUNS = 3 };
enum { EXPLORED_BITS = 27, SEEN_BITS = 22 };

/* What runs are of; so their paths begin. */
enum small_run { RUN_PLAIN, RUN_LETTERS, RUN_POSITION, RUN_EXACTLY_ONCE, RUNS };
static const char *const run_names[RUNS] = {"", "letters:", "position:", "exactly-once:"};

/* What the processes of a search share. */
struct found {
	atomic_size_t struck, paths, ends, steps;
	atomic_bool violated;
	char violation[64];
};

struct search {
	struct sim *sim;
	uint64_t seed;
	enum plant plant;
	struct fixed_fault faults[FAULTS_MOST]; /* that have struck so far */
	unsigned count, most;
	struct snapshot before[FAULTS_MOST]; /* each of them */
	struct states *explored, *seen;
	uint64_t last_seen;
	struct found *found;
	bool all; /* to the end of every path, known or not */
	enum small_run run;
	size_t struck, paths, ends, steps, states;
	char violation[64];
};

/* With letters: the first event of the key that has two of them is rejected, and parks it; an
 * operator has it edited, discarded or tried again. With positions: rows stay. */
static void set_up(struct sim *sim, uint64_t seed, enum plant plant, enum small_run run)
{
	bool letters = run == RUN_LETTERS;
	enum reject_policy policy = letters ? REJECT_PARKS : REJECT_DEAD_LETTERS;

	sim_reset(sim, seed, plant);
	sim->plan = (struct plan){.keys = 2,
				  .relays = RELAYS,
				  .shards = 2,
				  .session_timeout_us = SECOND,
				  .exhaustive = true,
				  .has_bell = true,
				  .policies = 1u << policy,
				  .letters = letters,
				  .position = run == RUN_POSITION,
				  .exactly_once = run == RUN_EXACTLY_ONCE,
				  .late_requests = run == RUN_EXACTLY_ONCE,
				  .stall_us = 300 * MS};
}

/* ---- one path ---- */

static void tell_path(const struct search *search)
{
	printf("; replay: simulate --path %s%llu", run_names[search->run],
	       (unsigned long long)search->seed);
	for (unsigned i = 0; i < search->count; i++)
		printf(",%u:%d:%u:%u", search->faults[i].step, (int)search->faults[i].fault,
		       search->faults[i].variant, search->faults[i].relay);
	if (search->plant != PLANT_NONE)
		printf(" --plant %s", plants[search->plant].name);
	putchar('\n');
	fflush(stdout);
}

static void tell_violation(const struct search *search)
{
	const struct sim *sim = search->sim;

	if (atomic_exchange(&search->found->violated, true))
		return;
	snprintf(search->found->violation, sizeof(search->found->violation), "%s", sim->violation);
	printf("exhaustive: %s: %s", sim->violation, sim->detail);
	tell_path(search);
}

static const struct search *searching;

/* An assertion of the relay's, or of the model's. */
static void on_abort(int number)
{
	(void)number;
	printf("exhaustive: aborted");
	tell_path(searching);
	_exit(1);
}

/* Where more faults were to come, all was explored that comes with fewer. */
static bool is_new(struct search *search, uint64_t hash)
{
	return states_add(search->explored, hash, search->most - search->count) || search->all;
}

static void follow(struct search *search);

/* Does what `fault` says, and all that may come after it, and is back before it. */
static void try_fault(struct search *search, struct fixed_fault fault)
{
	struct sim *sim = search->sim;

	fault_strike(&sim->relays[fault.relay], fault.fault, fault.variant);
	search->struck++;
	uint64_t hash = snapshot_hash(sim);
	if (hash == search->before[search->count].hash && sim->violation == NULL)
		return; /* nothing has come of it */
	search->faults[search->count++] = fault;
	if (sim->violation != NULL || is_new(search, hash))
		follow(search);
	search->count--;
	snapshot_put_back(&search->before[search->count]);
	sim->steps = fault.step;
}

/* To how many relays it may happen; some happen to all at the same time. */
static unsigned relays_of(enum fault fault)
{
	bool of_all = fault == FAULT_RESTART || fault == FAULT_FAILOVER ||
		      fault == FAULT_BROKER_DOWN || fault == FAULT_BLOCK ||
		      fault == FAULT_PAUSE_OUTBOX || fault == FAULT_ROW_LOCK ||
		      fault == FAULT_STUCK || fault == FAULT_BAD;

	return of_all ? 1 : RELAYS;
}

/* The commits that letters came by are not kept, so that a failover cannot forget them. */
static bool may_strike(const struct search *search, enum fault fault)
{
	if (fault >= FAULT_END_REPEATED)
		return search->run == RUN_EXACTLY_ONCE;
	return search->run != RUN_LETTERS || fault != FAULT_FAILOVER;
}

/* Faults times variants times relays. */
static unsigned kinds(const struct search *search)
{
	unsigned sum = 0;

	for (unsigned f = 0; f < TRIED; f++)
		if (may_strike(search, tried[f]))
			sum += fault_variants(tried[f]) * relays_of(tried[f]);
	return sum;
}

static void try_faults(struct search *search)
{
	struct fixed_fault fault = {.step = search->sim->steps};

	snapshot_take(&search->before[search->count], search->sim);
	for (unsigned f = 0; f < TRIED; f++) {
		fault.fault = tried[f];
		if (!may_strike(search, fault.fault))
			continue;
		for (fault.relay = 0; fault.relay < relays_of(fault.fault); fault.relay++)
			for (fault.variant = 0; fault.variant < fault_variants(fault.fault);
			     fault.variant++)
				try_fault(search, fault);
	}
}

static void note_seen(struct search *search)
{
	uint64_t hash = states_hash(search->sim);

	if (hash != search->last_seen)
		states_add(search->seen, hash, 0);
	search->last_seen = hash;
}

/* From here to the end, or to a state that was explored from. The idle time at the end is always
 * alike: no fault strikes there. */
static void follow(struct search *search)
{
	struct sim *sim = search->sim;
	bool over = sim->violation != NULL;

	search->paths++;
	while (!over) {
		int64_t now = sim->now_us;
		if (search->count < search->most && sim->idle_us == 0)
			try_faults(search);
		if (search->found->violated)
			return;
		over = sim_step(sim);
		note_seen(search);
		search->steps++;
		/* All processes go the way without a fault. */
		if (!over && sim->now_us > now && sim->idle_us == 0 &&
		    !is_new(search, snapshot_hash(sim)) && search->count > 0)
			return;
	}
	sim_finish(sim);
	search->ends++;
	if (sim->violation != NULL)
		tell_violation(search);
}

/* ---- all paths ---- */

static void work(struct search *search)
{
	searching = search;
	signal(SIGABRT, on_abort);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_up(search->sim, search->seed, search->plant, search->run);
	heap_open();
	sim_begin(search->sim);
	follow(search);
	heap_close();
	for (unsigned i = 0; i < search->most; i++)
		snapshot_fini(&search->before[i]);
	atomic_fetch_add(&search->found->struck, search->struck);
	atomic_fetch_add(&search->found->paths, search->paths);
	atomic_fetch_add(&search->found->ends, search->ends);
	atomic_fetch_add(&search->found->steps, search->steps);
}

static bool work_together(struct search *search)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	pid_t workers[WORKERS_MAX];
	unsigned count = 0;
	bool ok = true;
	int status;

	fflush(stdout);
	for (; count < WORKERS_MAX && count < (unsigned)cores; count++) {
		workers[count] = fork();
		if (workers[count] == 0) {
			work(search);
			_exit(0);
		}
		ok = workers[count] > 0 && ok;
	}
	for (unsigned i = 0; i < count; i++)
		ok = workers[i] > 0 && waitpid(workers[i], &status, 0) == workers[i] &&
		     status == 0 && ok;
	return ok;
}

/* What a first run allocates once and for all must not lie on the heap of one: a route, and what
 * the metrics have of each topic, and of none. */
static void warm_up(struct search *search)
{
	metrics_topic(search->sim->metrics, slice_of(""));
	metrics_topic(search->sim->metrics, slice_of("sim-events"));
	metrics_topic(search->sim->metrics, slice_of("sim-others"));
	set_up(search->sim, 1, PLANT_NONE, search->run);
	sim_run(search->sim);
}

/* Every run with up to so many faults. False if something is violated, or was not explored. */
static bool search_all(struct search *search)
{
	struct found *found =
	    mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(found != MAP_FAILED);
	search->found = found;
	search->explored = states_new(EXPLORED_BITS);
	search->seen = states_new(SEEN_BITS);
	warm_up(search);
	bool ended = work_together(search);
	printf("exhaustive: 2 relays, 2 keys, 3 events%s, any %s of %u faults at any steps: %zu "
	       "struck, %zu paths, %zu to the end, %zu steps, %zu states, explored from %zu: %s\n",
	       search->run == RUN_LETTERS	 ? ", the first rejected"
	       : search->run == RUN_POSITION	 ? ", rows stay"
	       : search->run == RUN_EXACTLY_ONCE ? ", exactly once"
						 : "",
	       search->most > 1 ? "one and any two" : "one", kinds(search), found->struck,
	       found->paths, found->ends, found->steps, states_count(search->seen),
	       states_count(search->explored),
	       !ended		 ? "DID NOT END"
	       : found->violated ? found->violation
				 : "complete, holds");
	search->states = states_count(search->seen);
	states_free(&search->explored);
	states_free(&search->seen);
	bool ok = ended && !found->violated;
	snprintf(search->violation, sizeof(search->violation), "%s", found->violation);
	munmap(found, sizeof(*found));
	return ok;
}

/* With one fault every path can be followed to its end: the others must see no state less. */
static bool misses_nothing(struct sim *sim, enum small_run run)
{
	struct search all = {.sim = sim, .seed = 1, .most = 1, .all = true, .run = run};
	struct search some = {.sim = sim, .seed = 1, .most = 1, .run = run};
	bool ok = search_all(&all) && search_all(&some);

	if (ok && some.states != all.states)
		printf("exhaustive: MISSES states: %zu instead of %zu\n", some.states, all.states);
	return ok && some.states == all.states;
}

bool exhaustive_small(struct sim *sim)
{
	bool ok = misses_nothing(sim, RUN_PLAIN) && misses_nothing(sim, RUN_LETTERS);

	for (uint64_t seed = 2; ok && seed <= LETTERS_RUNS; seed++)
		ok = search_all(
		    &(struct search){.sim = sim, .seed = seed, .most = 1, .run = RUN_LETTERS});
	ok = ok &&
	     search_all(&(struct search){.sim = sim, .seed = 1, .most = 1, .run = RUN_POSITION});
	for (uint64_t seed = 1; ok && seed <= EXACTLY_ONCE_RUNS; seed++)
		ok = search_all(
		    &(struct search){.sim = sim, .seed = seed, .most = 1, .run = RUN_EXACTLY_ONCE});
	return ok;
}

bool exhaustive_finds(struct sim *sim, enum plant plant, uint64_t seed)
{
	struct search one = {
	    .sim = sim, .seed = seed, .plant = plant, .most = 1, .run = RUN_LETTERS};
	bool ok = !search_all(&one) && strcmp(one.violation, plants[plant].expects) == 0;

	printf("planted: %-24s %s by one fault: %s\n", plants[plant].name,
	       ok ? "found" : "NOT FOUND", one.violation);
	return ok;
}

bool exhaustive_run(struct sim *sim, uint64_t first, unsigned runs)
{
	bool ok = exhaustive_small(sim);

	for (uint64_t seed = first; ok && seed < first + runs; seed++)
		ok = search_all(&(struct search){.sim = sim, .seed = seed, .most = FAULTS_MOST}) &&
		     search_all(&(struct search){
			 .sim = sim, .seed = seed, .most = FAULTS_MOST, .run = RUN_EXACTLY_ONCE});
	return ok;
}

bool exhaustive_plant(struct sim *sim, enum plant plant)
{
	struct search one = {.sim = sim, .seed = 1, .plant = plant, .most = 1};
	struct search two = {.sim = sim, .seed = 1, .plant = plant, .most = 2};
	bool single = !search_all(&one);
	bool ok = !single && !search_all(&two) && strcmp(two.violation, plants[plant].expects) == 0;

	printf("planted: %-24s %s: %s\n", plants[plant].name,
	       single ? "found by one fault already"
	       : ok   ? "found by two faults, not by one"
		      : "NOT FOUND",
	       single ? one.violation : two.violation);
	return ok;
}

bool exhaustive_replay(struct sim *sim, const char *path, enum plant plant)
{
	struct fixed_fault faults[FAULTS_MOST];
	unsigned long long seed;
	unsigned count = 0;
	int used, fault;

	enum small_run run = RUNS - 1;
	while (strncmp(path, run_names[run], strlen(run_names[run])) != 0)
		run--;
	path += strlen(run_names[run]);
	if (sscanf(path, "%llu%n", &seed, &used) != 1)
		return false;
	for (path += used; count < FAULTS_MOST; count++, path += used) {
		if (sscanf(path, ",%u:%d:%u:%u%n", &faults[count].step, &fault,
			   &faults[count].variant, &faults[count].relay, &used) != 4)
			break;
		faults[count].fault = (enum fault)fault;
	}
	set_up(sim, seed, plant, run);
	sim->fixed = faults;
	sim->fixed_count = count;
	sim_run(sim);
	return sim->violation == NULL;
}
