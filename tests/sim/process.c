/*
 * process.c - the relay's process: started, killed, stopped, started again
 */
#include "sim.h"

#include "xalloc.h"

#include <string.h>

bool process_runs(const struct sim *sim)
{
	return sim->process.worker != NULL && !sim->process.ended;
}

const char *process_state(const struct sim *sim)
{
	struct worker_status status;

	if (sim->process.worker == NULL)
		return "not running";
	worker_status(sim->process.worker, &status);
	return status.state;
}

/* ---- the worker's world ---- */

static int64_t clock_us(void *arg)
{
	return ((struct sim *)arg)->now_us;
}

static void set_timer(void *arg, enum worker_timer timer, int64_t after_us)
{
	struct sim *sim = arg;

	if (timer == WORKER_TIMER_STALL) {
		if (sim->plant != PLANT_NO_STALL)
			sim->process.stall_timer_us = sim->now_us + after_us;
		return;
	}
	if (sim->plant == PLANT_SLEEPS_ON)
		after_us *= 20;
	if (sim->plant == PLANT_STORM)
		after_us /= 20;
	sim->process.wake_us = sim->now_us + after_us;
}

static void on_stopped(void *arg, bool failed)
{
	struct sim *sim = arg;

	trace(sim, "process: stopped%s", failed ? ", failed" : "");
	sim->process.ended = true;
	sim->process.failed = failed;
}

/* ---- from start to end ---- */

void process_options(struct sim *sim)
{
	struct engine_options *options = &sim->process.options;

	*options = (struct engine_options){
	    .limits = {.claim_rows = 1 + sim_below(sim, 4),
		       .batch_rows = 1 + sim_below(sim, 8),
		       .batch_bytes = 100 + sim_below(sim, 2000)},
	    .poll_us = sim->plan.has_bell && !sim->plan.rings_lossy
			   ? 20 * SECOND
			   : (int64_t)(200 + sim_below(sim, 1800)) * MS,
	    .sweep_us = (int64_t)(1000 + sim_below(sim, 4000)) * MS,
	    .stream_events = 1 + sim_below(sim, 10),
	    .housekeep_us = (int64_t)(200 + sim_below(sim, 2000)) * MS,
	    .set_aside = sim->plan.set_aside,
	};
	if (sim->plan.exhaustive)
		options->limits = (struct claims_limits){1, 2, 10000};
}

void process_start(struct sim *sim)
{
	struct process *process = &sim->process;

	trace(sim, "process: starts");
	process->world = (struct worker_world){.monotonic_us = clock_us,
					       .realtime_us = clock_us,
					       .set_timer = set_timer,
					       .stopped = on_stopped,
					       .arg = sim};
	process->ended = process->failed = process->asked_to_stop = false;
	process->wake_us = process->stall_timer_us = NEVER;
	process->rejected = 0;
	process->progress_us = sim->now_us;
	process->worker = worker_new(&process->options, sim->plan.stall_us, &process->world,
				     sim->metrics, sim->random);
	session_init(sim);
	producer_init(sim);
	worker_attach(process->worker, &sim->session.source, &sim->producer.sink, sim_route());
	worker_start(process->worker);
}

void process_kill(struct sim *sim, unsigned asks_served, unsigned appended)
{
	struct process *process = &sim->process;

	if (process->worker == NULL)
		return;
	allow_unsettled(sim);
	allow_undurable(sim);
	producer_crash(sim, appended);
	session_cut(sim, false, asks_served, 0);
	sim->session.answer_count = 0;
	worker_free(&process->worker);
	process->ended = false;
	process->wake_us = process->stall_timer_us = NEVER;
	process->start_us = sim->now_us + (int64_t)sim_below(sim, 500) * MS;
	sim->crashes++;
}

/* The operator looks at what the relay halted at, and mends it. */
static void mend(struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->process.rejected & ROW_BIT(i))
			sim->db.rows[i].kind = KIND_GOOD;
		else if (sim->db.rows[i].kind == KIND_UNROUTABLE)
			sim->db.rows[i].kind = KIND_GOOD;
}

void process_reap(struct sim *sim)
{
	struct process *process = &sim->process;

	if (process->worker == NULL || !process->ended)
		return;
	if (!process->failed && !process->asked_to_stop)
		violated(sim, "stops unasked", "%s", "");
	if (process->failed)
		mend(sim);
	if (sim->session.debt != 0)
		violated(sim, "stops in debt", "rows %llx", (unsigned long long)sim->session.debt);
	if (sim->producer.outstanding > 0) {
		allow_unsettled(sim);
		producer_crash(sim, sim_below(sim, 4));
	}
	session_cut(sim, true, 0, 0);
	sim->session.answer_count = 0;
	worker_free(&process->worker);
	process->ended = false;
	process->wake_us = process->stall_timer_us = NEVER;
	process->start_us = sim->now_us + (int64_t)sim_below(sim, 500) * MS;
}
