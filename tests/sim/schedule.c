/*
 * schedule.c - a run: what could happen next, which of it does, and when time leaps
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum option_kind {
	OPTION_TXN,
	OPTION_SERVE,
	OPTION_RING,
	OPTION_GHOST_END,
	OPTION_ANSWER,
	OPTION_APPEND,
	OPTION_ACKNOWLEDGE,
	OPTION_LATE_APPEND,
	OPTION_REPORT,
	OPTION_WRITABLE,
	OPTION_READY,
	OPTION_REACHABLE,
	OPTION_WAKE,
	OPTION_STALL,
	OPTION_START
};

struct option {
	enum option_kind kind;
	unsigned index;
};

enum { OPTIONS_MAX = TXNS_MAX + BACKENDS_MAX * 3 + PARTITIONS * 3 + 10 };
struct options {
	struct option items[OPTIONS_MAX];
	unsigned count;
};

void trace(const struct sim *sim, const char *format, ...)
{
	va_list args;

	if (!sim->verbose)
		return;
	printf("%10.3f ms %5u  %-11s ", (double)sim->now_us / MS, sim->steps, process_state(sim));
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- what could happen ---- */

static void offer(struct options *options, bool enabled, enum option_kind kind, unsigned index)
{
	if (enabled)
		options->items[options->count++] = (struct option){kind, index};
}

static void offer_database(const struct sim *sim, struct options *options)
{
	const struct database *db = &sim->db;

	for (unsigned i = 0; i < db->txn_count; i++)
		offer(options, txn_can_step(sim, &db->txns[i]), OPTION_TXN, i);
	for (unsigned i = 0; i < BACKENDS_MAX; i++) {
		const struct backend *backend = &db->backends[i];
		if (!backend->used)
			continue;
		offer(options, session_can_serve(sim, backend), OPTION_SERVE, i);
		offer(options,
		      backend == sim->session.backend && backend->rings > 0 &&
			  !backend->in_transaction,
		      OPTION_RING, i);
		offer(options,
		      backend->ghost && backend->ask_count == 0 && backend->ends_us <= sim->now_us,
		      OPTION_GHOST_END, i);
	}
}

static void offer_broker(const struct sim *sim, struct options *options, bool hears)
{
	for (unsigned p = 0; p < PARTITIONS; p++) {
		offer(options, broker_can_append(sim, p), OPTION_APPEND, p);
		offer(options, hears && broker_can_acknowledge(sim, p), OPTION_ACKNOWLEDGE, p);
		offer(options, broker_is_up(sim) && sim->broker.ghost_count[p] > 0,
		      OPTION_LATE_APPEND, p);
	}
}

static bool can_be_ready(const struct sim *sim)
{
	const struct producer *producer = &sim->producer;

	return (producer->state == PRODUCER_STARTING || producer->state == PRODUCER_REBUILDING) &&
	       producer->ready_us <= sim->now_us;
}

static void offer_process(const struct sim *sim, struct options *options)
{
	const struct process *process = &sim->process;
	const struct producer *producer = &sim->producer;
	int64_t now = sim->now_us;

	offer(options, sim->session.answer_count > 0, OPTION_ANSWER, 0);
	offer(options, producer->report_count > 0, OPTION_REPORT, 0);
	offer(options, producer->blocked && producer->writable_us <= now, OPTION_WRITABLE, 0);
	offer(options, can_be_ready(sim), OPTION_READY, 0);
	offer(options,
	      producer->told_reachable != broker_is_up(sim) && producer->tell_reachable_us <= now,
	      OPTION_REACHABLE, 0);
	offer(options, process->wake_us <= now, OPTION_WAKE, 0);
	offer(options, process->stall_timer_us <= now, OPTION_STALL, 0);
}

static void offer_all(const struct sim *sim, struct options *options)
{
	const struct process *process = &sim->process;
	bool hears = process_runs(sim) && process->paused_until_us <= sim->now_us;

	options->count = 0;
	offer_database(sim, options);
	if (process->worker != NULL)
		offer_broker(sim, options, hears);
	if (hears)
		offer_process(sim, options);
	offer(options, process->worker == NULL && process->start_us <= sim->now_us, OPTION_START,
	      0);
}

/* ---- what does ---- */

static void ring(struct sim *sim, struct backend *backend)
{
	bool lost =
	    sim->plant == PLANT_RINGS_LOST || (sim->plan.rings_lossy && sim_chance(sim, 400));

	backend->rings = 0;
	if (!lost)
		session_push(sim, (struct answer){.kind = ANSWER_RUNG});
}

static void tell_reachable(struct sim *sim)
{
	struct producer *producer = &sim->producer;

	producer->told_reachable = !producer->told_reachable;
	worker_sink_events.reachable(sim->process.worker, producer->told_reachable);
}

static void tell_ready(struct sim *sim)
{
	sim->producer.state = PRODUCER_READY;
	worker_sink_events.ready(sim->process.worker);
}

static void tell_writable(struct sim *sim)
{
	sim->producer.blocked = false;
	worker_sink_events.writable(sim->process.worker);
}

static void wake(struct sim *sim, enum worker_timer timer)
{
	int64_t *due =
	    timer == WORKER_TIMER_WAKE ? &sim->process.wake_us : &sim->process.stall_timer_us;

	trace(sim, "timer %d", (int)timer);
	*due = NEVER;
	const char *before = process_state(sim);
	worker_on_timer(sim->process.worker, timer);
	check_stall(sim, before);
}

static void take_option(struct sim *sim, struct option option)
{
	struct backend *backends = sim->db.backends;

	switch (option.kind) {
	case OPTION_TXN:
		txn_step(sim, &sim->db.txns[option.index]);
		break;
	case OPTION_SERVE:
		session_serve(sim, &backends[option.index]);
		break;
	case OPTION_RING:
		ring(sim, &backends[option.index]);
		break;
	case OPTION_GHOST_END:
		backend_end(sim, &backends[option.index]);
		break;
	case OPTION_ANSWER:
		session_tell(sim);
		break;
	case OPTION_APPEND:
		broker_append_next(sim, option.index);
		break;
	case OPTION_ACKNOWLEDGE:
		broker_acknowledge_next(sim, option.index);
		break;
	case OPTION_LATE_APPEND:
		broker_append_ghost(sim, option.index);
		break;
	case OPTION_REPORT:
		producer_tell_report(sim);
		break;
	case OPTION_WRITABLE:
		tell_writable(sim);
		break;
	case OPTION_READY:
		tell_ready(sim);
		break;
	case OPTION_REACHABLE:
		tell_reachable(sim);
		break;
	case OPTION_WAKE:
	case OPTION_STALL:
		wake(sim, option.kind == OPTION_WAKE ? WORKER_TIMER_WAKE : WORKER_TIMER_STALL);
		break;
	case OPTION_START:
		process_start(sim);
		break;
	}
}

/* ---- time ---- */

static void consider(const struct sim *sim, int64_t *soonest, int64_t time)
{
	if (time > sim->now_us && time < *soonest)
		*soonest = time;
}

static void consider_process(const struct sim *sim, int64_t *soonest)
{
	const struct process *process = &sim->process;
	const struct producer *producer = &sim->producer;

	if (process->worker == NULL) {
		consider(sim, soonest, process->start_us);
		return;
	}
	consider(sim, soonest, process->wake_us);
	consider(sim, soonest, process->stall_timer_us);
	consider(sim, soonest, process->paused_until_us);
	consider(sim, soonest, producer->ready_us);
	consider(sim, soonest, producer->tell_reachable_us);
	if (producer->blocked)
		consider(sim, soonest, producer->writable_us);
	if (process->asked_to_stop)
		consider(sim, soonest, process->stop_us + 10 * SECOND);
}

static int64_t next_time(const struct sim *sim)
{
	const struct database *db = &sim->db;
	int64_t soonest = NEVER;

	consider_process(sim, &soonest);
	consider(sim, &soonest, db->down_until_us);
	consider(sim, &soonest, sim->broker.down_until_us);
	for (unsigned i = 0; i < db->txn_count; i++)
		if (db->txns[i].phase != TXN_ENDED)
			consider(sim, &soonest, db->txns[i].next_us);
	for (unsigned i = 0; i < BACKENDS_MAX; i++)
		if (db->backends[i].ghost)
			consider(sim, &soonest, db->backends[i].ends_us);
	for (unsigned i = 0; i < db->row_count; i++)
		consider(sim, &soonest, db->rows[i].foreign_until_us);
	return soonest;
}

static void leap(struct sim *sim)
{
	int64_t to = next_time(sim);

	if (to == NEVER) {
		violated(sim, "waits for nothing", "%s", process_state(sim));
		return;
	}
	check_leap(sim, to);
	sim->now_us = to;
}

/* ---- faults ---- */

static void strike_at_random(struct sim *sim)
{
	if (sim->plan.faults_left == 0 || !sim_chance(sim, sim->plan.fault_permille))
		return;
	enum fault fault = (enum fault)sim_below(sim, FAULTS);
	if (!(sim->plan.fault_kinds & 1u << fault))
		return;
	sim->plan.faults_left--;
	fault_strike(sim, fault, sim_below(sim, fault_variants(fault)));
}

static void strike(struct sim *sim)
{
	for (unsigned i = 0; i < sim->fixed_count; i++)
		if (sim->fixed[i].step == sim->steps)
			fault_strike(sim, sim->fixed[i].fault, sim->fixed[i].variant);
	if (sim->fixed == NULL && !sim->healed)
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
	return writers_are_done(sim);
}

static bool faults_are_over(const struct sim *sim)
{
	if (sim->steps > 4000)
		return true;
	for (unsigned i = 0; i < sim->fixed_count; i++)
		if (sim->fixed[i].step >= sim->steps)
			return false;
	return writers_are_done(sim) && (sim->plan.faults_left == 0 || is_empty(sim));
}

static void stop_in_the_end(struct sim *sim)
{
	struct process *process = &sim->process;

	if (process->asked_to_stop || !process_runs(sim))
		return;
	process->asked_to_stop = true;
	process->stop_us = sim->now_us;
	worker_stop(process->worker, false);
}

/* Faults, then quiet: drained, then idle for a few polls, then stopped. True at the very end. */
static bool move_on(struct sim *sim)
{
	struct process *process = &sim->process;

	if (!sim->healed && faults_are_over(sim))
		heal(sim);
	if (sim->healed && sim->idle_us == 0 && is_empty(sim) && process->worker != NULL &&
	    !process->asked_to_stop && sim->producer.outstanding == 0) {
		sim->idle_us = sim->now_us;
		sim->idle_looks = sim->looks;
		sim->idle_step = sim->steps;
	}
	if (sim->idle_us == 0 || sim->now_us - sim->idle_us < 5 * process->options.poll_us)
		return false;
	stop_in_the_end(sim);
	return process->worker == NULL || process->ended;
}

/* A stop that takes too long is followed by a second signal. */
static void lose_patience(struct sim *sim)
{
	struct process *process = &sim->process;

	if (process->asked_to_stop && process_runs(sim) &&
	    sim->now_us - process->stop_us >= 10 * SECOND)
		worker_stop(process->worker, true);
}

static void step(struct sim *sim)
{
	struct options options;

	strike(sim);
	offer_all(sim, &options);
	if (options.count == 0) {
		leap(sim);
	} else {
		take_option(sim, options.items[sim_below(sim, options.count)]);
		sim->now_us += sim->plan.exhaustive ? 50 : 1 + sim_below(sim, 300);
	}
	lose_patience(sim);
}

void sim_run(struct sim *sim)
{
	bool over = false;

	database_plan(sim);
	process_options(sim);
	process_start(sim);
	for (; sim->violation == NULL && !over; sim->steps++) {
		step(sim);
		over = move_on(sim);
		if (!over)
			process_reap(sim);
		check_step(sim);
		if (sim->steps > 60000)
			violated(sim, "goes on for ever", "%s", process_state(sim));
	}
	if (sim->violation == NULL)
		check_end(sim);
	worker_free(&sim->process.worker);
}
