/* SPDX-License-Identifier: ISC */
/*
 * process.c - a relay's process: started, killed, stopped, started again
 */
#include "halted.h"

#include "base/xalloc.h"

#include <string.h>

bool process_runs(const struct relay *relay)
{
	return relay->process.worker != NULL && !relay->process.ended;
}

const char *process_state(const struct relay *relay)
{
	struct worker_status status;

	if (relay->process.worker == NULL)
		return "not running";
	worker_status(relay->process.worker, &status);
	return status.state;
}

/* ---- the worker's world ---- */

static int64_t clock_us(void *arg)
{
	return ((struct relay *)arg)->sim->now_us;
}

int64_t process_timer(const struct relay *relay, int64_t after_us)
{
	if (relay->sim->plant == PLANT_SLEEPS_ON)
		after_us *= 20;
	if (relay->sim->plant == PLANT_STORM)
		after_us /= 20;
	return relay->sim->now_us + after_us;
}

static void set_timer(void *arg, enum worker_timer timer, int64_t after_us)
{
	struct relay *relay = arg;
	const struct sim *sim = relay->sim;

	if (timer == WORKER_TIMER_STALL) {
		if (sim->plant != PLANT_NO_STALL)
			relay->process.stall_timer_us = sim->now_us + after_us;
		return;
	}
	if (timer == WORKER_TIMER_WAKE) /* not of the one that is for the log alone */
		relay->process.wake_us = process_timer(relay, after_us);
}

static void on_stopped(void *arg, bool failed)
{
	struct relay *relay = arg;

	trace_of(relay, "process: stopped%s", failed ? ", failed" : "");
	relay->process.ended = true;
	relay->process.failed = failed;
}

bool process_is_paused(const struct relay *relay)
{
	return relay->process.paused_until_us > relay->sim->now_us;
}

/* ---- from start to end ---- */

/* One of those that the plan has. */
static enum reject_policy draw_policy(struct sim *sim)
{
	uint32_t policies = sim->plan.policies;
	enum reject_policy policy = REJECT_HALTS;

	for (unsigned left = sim->plan.letters ? sim_below(sim, 6) : 0;; policy = (policy + 1) % 3)
		if ((policies & 1u << policy) && left-- == 0)
			return policy;
}

void process_options(struct relay *relay)
{
	struct sim *sim = relay->sim;
	struct engine_options *options = &relay->process.options;
	struct poll_options *polled = &relay->process.poll_options;

	*options = (struct engine_options){
	    .batch_rows = 1 + sim_below(sim, 8),
	    .batch_bytes = 100 + sim_below(sim, 2000),
	    .policy = draw_policy(sim),
	    .transactional = sim->plan.exactly_once,
	};
	*polled = (struct poll_options){
	    .claim_rows = 1 + sim_below(sim, 4),
	    .poll_us = sim->plan.has_bell && !sim->plan.rings_lossy
			   ? (sim->plan.relays > 1 ? 5 : 20) * SECOND
			   : (int64_t)(200 + sim_below(sim, 1800)) * MS,
	    .sweep_us = (int64_t)(1000 + sim_below(sim, 4000)) * MS,
	    .stream_events = 1 + sim_below(sim, 10),
	    .housekeep_us = (int64_t)(200 + sim_below(sim, 2000)) * MS,
	};
	if (sim->plan.competing) /* what waits for a sweep is late */
		polled->sweep_us = 600 * SECOND;
	if (sim->plan.exhaustive) {
		polled->claim_rows = 1;
		options->batch_rows = 2;
		options->batch_bytes = 10000;
	}
}

/* Some come later than others. */
void process_plan(struct relay *relay)
{
	struct sim *sim = relay->sim;

	process_options(relay);
	relay->process.next_shards = sim->plan.shards;
	relay->process.heartbeat_us = NEVER;
	relay->process.wake_us = relay->process.stall_timer_us = NEVER;
	if (relay->index > 0 && !sim->plan.exhaustive && sim_chance(sim, 500))
		relay->process.start_us = sim->now_us + (int64_t)sim_below(sim, 2000) * MS;
	else
		process_start(relay);
}

void process_start(struct relay *relay)
{
	struct sim *sim = relay->sim;
	struct process *process = &relay->process;

	process->shards = process->next_shards; /* a running one keeps what it has begun with */
	trace_of(relay, "process: starts, %d shards", process->shards);
	process->world = (struct worker_world){.monotonic_us = clock_us,
					       .realtime_us = clock_us,
					       .set_timer = set_timer,
					       .stopped = on_stopped,
					       .arg = relay};
	process->ended = process->failed = process->asked_to_stop = false;
	process->wake_us = process->stall_timer_us = NEVER;
	process->heartbeat_us = sim->now_us;
	memset(process->rejected_us, 0, sizeof(process->rejected_us));
	memset(process->lettered_us, 0, sizeof(process->lettered_us));
	process->progress_us = process->looking_us = sim->now_us;
	process->incarnation = ++sim->incarnations;
	process->worker = worker_new(&process->options, sim->plan.stall_us, &process->world,
				     sim->metrics, sim->random + relay->index);
	session_init(relay);
	producer_init(relay);
	worker_attach(process->worker, &relay->session.source, &relay->producer.sink, sim_route());
	worker_start(process->worker);
}

void process_forget(struct relay *relay)
{
	worker_free(&relay->process.worker);
}

static void bury(struct relay *relay)
{
	struct process *process = &relay->process;

	relay->session.answer_count = 0;
	process_forget(relay);
	process->ended = false;
	process->wake_us = process->stall_timer_us = process->heartbeat_us = NEVER;
	relay->session.wake_us = relay->session.again_us = NEVER;
	process->paused_until_us = 0;
	process->start_us = relay->sim->now_us + (int64_t)sim_below(relay->sim, 500) * MS;
}

void process_kill(struct relay *relay, unsigned asks_served, unsigned appended)
{
	if (relay->process.worker == NULL)
		return;
	excuse_held(relay->sim, refused_published(&relay->session));
	producer_crash(relay, appended);
	session_cut(relay, false, asks_served, 0);
	relay->sim->crashes++;
	bury(relay);
}

void process_reap(struct relay *relay)
{
	struct sim *sim = relay->sim;
	struct process *process = &relay->process;

	if (process->worker == NULL || !process->ended)
		return;
	if (process->failed || !process->asked_to_stop)
		violated(sim, "stops unasked", "%s", "");
	excuse_held(sim, refused_published(&relay->session));
	if (relay->producer.in_flight > 0)
		producer_crash(relay, sim_below(sim, 4));
	commits_leave_behind(relay);
	session_cut(relay, true, 0, 0);
	bury(relay);
}
