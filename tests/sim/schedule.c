/* SPDX-License-Identifier: ISC */
/*
 * schedule.c - a run: which of what could happen does, what goes wrong, and how it ends
 */
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void put_line(const struct sim *sim, const struct relay *relay, const char *format,
		     va_list args)
{
	printf("%10.3f ms %5u  %-13s ", (double)sim->now_us / MS, sim->steps,
	       relay != NULL ? process_state(relay) : "");
	if (relay != NULL)
		printf("relay %u: ", relay->index);
	vprintf(format, args);
	putchar('\n');
}

void trace(const struct sim *sim, const char *format, ...)
{
	va_list args;

	if (!sim->verbose)
		return;
	va_start(args, format);
	put_line(sim, NULL, format, args);
	va_end(args);
}

void trace_of(const struct relay *relay, const char *format, ...)
{
	va_list args;

	if (!relay->sim->verbose)
		return;
	va_start(args, format);
	put_line(relay->sim, relay, format, args);
	va_end(args);
}

/* ---- faults ---- */

static void strike_at_random(struct sim *sim)
{
	if (sim->plan.faults_left == 0 || !sim_chance(sim, sim->plan.fault_permille))
		return;
	enum fault fault = (enum fault)sim_below(sim, FAULTS_ANY);
	if (sim->plan.topics > 1 && sim_chance(sim, 250))
		fault = FAULT_TOPIC_OUT;
	else if (sim->plan.exactly_once && sim_chance(sim, 250))
		fault = (enum fault)(FAULT_END_REPEATED + sim_below(sim, 4));
	else if (!(sim->plan.fault_kinds & 1u << fault))
		return;
	sim->plan.faults_left--;
	fault_strike(&sim->relays[sim_below(sim, sim->plan.relays)], fault,
		     sim_below(sim, fault_variants(fault)));
}

static void strike(struct sim *sim)
{
	for (unsigned i = 0; i < sim->fixed_count; i++)
		if (sim->fixed[i].step == sim->steps)
			fault_strike(&sim->relays[sim->fixed[i].relay], sim->fixed[i].fault,
				     sim->fixed[i].variant);
	if (!sim->plan.exhaustive && !sim->healed)
		strike_at_random(sim);
}

/* ---- the way to the end ---- */

static bool writers_are_done(const struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		if (sim->db.txns[i].phase != TXN_ENDED)
			return false;
	return true;
}

static bool is_empty(const struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->db.rows[i].state == ROW_VISIBLE)
			return false;
	return writers_are_done(sim) && !letters_are_left(sim) &&
	       (!sim->plan.exactly_once || (transactions_are_over(sim) && slots_are_resolved(sim)));
}

/* What a fault has taken away has come back. */
static bool all_is_well(const struct sim *sim)
{
	for (unsigned r = 0; r < sim->plan.relays; r++)
		if (process_is_paused(&sim->relays[r]) || !broker_answers(&sim->relays[r]))
			return false;
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->db.rows[i].foreign_until_us > sim->now_us ||
		    sim->db.rows[i].stuck_until_us > sim->now_us)
			return false;
	for (unsigned t = 0; t < TOPICS; t++)
		if (sim->broker.out_until_us[t] > sim->now_us)
			return false;
	return !database_is_down(sim) && !sim->db.paused &&
	       sim->broker.topic_away_until_us <= sim->now_us;
}

/* In the exhaustive runs each fault takes its time, whether another follows or not: what happens
 * must not depend on how many are yet to come. */
static bool faults_are_over(const struct sim *sim)
{
	if (sim->plan.exhaustive)
		return writers_are_done(sim) && all_is_well(sim);
	if (sim->steps > 4000)
		return true;
	return writers_are_done(sim) && (sim->plan.faults_left == 0 || is_empty(sim));
}

static void stop_in_the_end(struct relay *relay)
{
	struct process *process = &relay->process;

	if (process->asked_to_stop || !process_runs(relay))
		return;
	process->asked_to_stop = true;
	process->stop_us = relay->sim->now_us;
	worker_stop(process->worker, false);
}

static bool all_work(const struct sim *sim)
{
	/* Sessions of clients that are gone may own shards yet. */
	for (unsigned b = 0; b < BACKENDS_MAX; b++)
		if (sim->db.backends[b].ghost)
			return false;
	for (unsigned r = 0; r < sim->plan.relays; r++) {
		const struct relay *relay = &sim->relays[r];
		if (relay->process.worker == NULL || relay->process.asked_to_stop ||
		    relay->session.backend == NULL || relay->session.backend->layout == 0 ||
		    relay->producer.in_flight > 0 || relay->session.group.unavailable ||
		    !broker_answers(relay) || !relay->producer.told_reachable)
			return false;
		/* It was stopped for so long that it will give up its session. */
		if (sim->now_us - relay->session.beat_us > sim->plan.session_timeout_us)
			return false;
	}
	return true;
}

static bool all_have_ended(const struct sim *sim)
{
	for (unsigned r = 0; r < sim->plan.relays; r++)
		if (process_runs(&sim->relays[r]))
			return false;
	return true;
}

/* For so long after the loss of a session what is free may be left to its owner. */
static int64_t grace_left(const struct sim *sim)
{
	int64_t left = 0;

	for (unsigned r = 0; r < sim->plan.relays; r++) {
		const struct backend *backend = sim->relays[r].session.backend;
		if (backend == NULL || !backend->rejoined)
			continue;
		int64_t until = backend->joined_us + GROUP_GRACE_AFTER_LOSS_US + SECOND;
		left = until - sim->idle_us > left ? until - sim->idle_us : left;
	}
	return left;
}

/* A few polls of one relay; of several, time enough to look at each other some times. */
static int64_t idle_time(const struct sim *sim)
{
	int64_t poll = sim->relays[0].process.poll_options.poll_us, grace = grace_left(sim);

	if (sim->plan.exhaustive)
		return grace + 1500 * MS;
	return grace + (sim->plan.relays == 1 ? 5 * poll : poll + 3 * SECOND);
}

/* Faults, then quiet: drained, then idle for a while, then stopped. True at the very end. */
static bool move_on(struct sim *sim)
{
	if (!sim->healed && faults_are_over(sim))
		heal(sim);
	if (sim->healed && sim->idle_us == 0 && is_empty(sim) && all_work(sim)) {
		sim->idle_us = sim->now_us;
	}
	if (sim->idle_us == 0)
		sim->idle_looks = sim->idle_gains = 0;
	if (sim->idle_us == 0 || sim->now_us - sim->idle_us < idle_time(sim))
		return false;
	if (!sim->ends) {
		sim->ends = true;
		check_idle(sim);
	}
	for (unsigned r = 0; r < sim->plan.relays; r++)
		stop_in_the_end(&sim->relays[r]);
	return all_have_ended(sim);
}

/* A stop that takes too long is followed by a second signal. */
static void lose_patience(struct relay *relay)
{
	struct process *process = &relay->process;

	if (process->asked_to_stop && process_runs(relay) &&
	    relay->sim->now_us - process->stop_us >= 10 * SECOND) {
		relay->sim->impatient = true;
		worker_stop(process->worker, true);
	}
}

/* In the exhaustive runs each thing that could happen at a time has its rank there, whatever else
 * has happened: so what has nothing to do with a fault comes before and after it alike, and leads
 * to the same state. */
static unsigned choose(struct sim *sim, const struct options *options)
{
	uint64_t least = UINT64_MAX;
	unsigned chosen = 0;

	if (!sim->plan.exhaustive)
		return sim_below(sim, options->count);
	for (unsigned i = 0; i < options->count; i++) {
		const struct option *option = &options->items[i];
		uint64_t rank =
		    sim_rank(sim, options_matter(sim, option) << 12 | option->kind << 7 |
				      option->index << 2 | option->relay);
		if (rank < least) {
			least = rank;
			chosen = i;
		}
	}
	return chosen;
}

static void step(struct sim *sim)
{
	struct options options;

	options_find(sim, &options);
	if (options.count == 0) {
		leap(sim);
	} else {
		options_take(sim, options.items[choose(sim, &options)]);
		sim->now_us += sim->plan.exhaustive ? 0 : 1 + sim_below(sim, 300);
	}
}

static void step_relays(struct sim *sim, bool over)
{
	for (unsigned r = 0; r < sim->plan.relays; r++) {
		struct relay *relay = &sim->relays[r];
		lose_patience(relay);
		if (!over)
			process_reap(relay);
		check_step(relay);
	}
	check_flow(sim);
}

void sim_begin(struct sim *sim)
{
	database_plan(sim);
	for (unsigned r = 0; r < sim->plan.relays; r++)
		process_plan(&sim->relays[r]);
}

bool sim_step(struct sim *sim)
{
	strike(sim);
	step(sim);
	bool over = move_on(sim);
	step_relays(sim, over);
	if (sim->steps > 60000)
		violated(sim, "goes on for ever", "%s", process_state(&sim->relays[0]));
	sim->steps++;
	return over || sim->violation != NULL;
}

void sim_finish(struct sim *sim)
{
	if (sim->violation == NULL)
		check_end(sim);
	for (unsigned r = 0; r < sim->plan.relays; r++)
		process_forget(&sim->relays[r]);
}

void sim_run(struct sim *sim)
{
	sim_begin(sim);
	while (!sim_step(sim))
		;
	sim_finish(sim);
}
