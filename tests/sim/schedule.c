/* SPDX-License-Identifier: ISC */
/*
 * schedule.c - a run: what could happen next, which of it does, and when time leaps
 */
#include "halted.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum option_kind {
	OPTION_TXN,
	OPTION_RESUME,
	OPTION_MEND,
	OPTION_OPERATE,
	OPTION_EXPIRE,
	OPTION_SERVE,
	OPTION_NOTE,
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
	OPTION_POLL,
	OPTION_STALL,
	OPTION_BEAT,
	OPTION_START
};

struct option {
	enum option_kind kind;
	unsigned index, relay;
};

enum {
	OPTIONS_MAX = TXNS_MAX + ROWS_MAX * 2 + BACKENDS_MAX * 4 + PARTITIONS * 3 * RELAYS_MAX +
		      12 * RELAYS_MAX + 1
};
struct options {
	struct option items[OPTIONS_MAX];
	unsigned count;
};

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

/* ---- what could happen ---- */

static void offer(struct options *options, bool enabled, enum option_kind kind, unsigned index,
		  unsigned relay)
{
	if (enabled)
		options->items[options->count++] = (struct option){kind, index, relay};
}

static bool hears_notes(const struct sim *sim, const struct backend *backend)
{
	return backend == sim->relays[backend->relay].session.backend && backend->note_count > 0 &&
	       !backend->in_transaction && !backend->failed;
}

static void offer_database(const struct sim *sim, struct options *options)
{
	const struct database *db = &sim->db;

	for (unsigned i = 0; i < db->txn_count; i++)
		offer(options, txn_can_step(sim, &db->txns[i]), OPTION_TXN, i, 0);
	for (unsigned i = 0; i < db->row_count; i++)
		offer(options, operator_can_mend(sim, &db->rows[i]), OPTION_MEND, i, 0);
	for (unsigned i = 0; i < db->row_count && sim->plan.letters; i++)
		offer(options, letters_can_be_operated(sim, &db->rows[i]), OPTION_OPERATE, i, 0);
	offer(options, db->paused && db->paused_until_us <= sim->now_us, OPTION_RESUME, 0, 0);
	for (unsigned i = 0; i < BACKENDS_MAX; i++) {
		const struct backend *backend = &db->backends[i];
		if (!backend->used)
			continue;
		offer(options, backend_can_serve(sim, backend), OPTION_SERVE, i, 0);
		offer(options, hears_notes(sim, backend), OPTION_NOTE, i, 0);
		offer(options, backend_has_expired(sim, backend), OPTION_EXPIRE, i, 0);
		offer(options,
		      backend->ghost && backend->ask_count == 0 && backend->ends_us <= sim->now_us,
		      OPTION_GHOST_END, i, 0);
	}
	for (unsigned p = 0; p < PARTITIONS; p++)
		offer(options, broker_is_up(sim) && sim->broker.ghost_count[p] > 0,
		      OPTION_LATE_APPEND, p, 0);
}

static void offer_broker(const struct relay *relay, struct options *options, bool hears)
{
	for (unsigned p = 0; p < PARTITIONS; p++) {
		offer(options, broker_can_append(relay, p), OPTION_APPEND, p, relay->index);
		offer(options, hears && broker_can_acknowledge(relay, p), OPTION_ACKNOWLEDGE, p,
		      relay->index);
	}
}

static bool can_be_ready(const struct relay *relay)
{
	const struct producer *producer = &relay->producer;

	return (producer->state == PRODUCER_STARTING || producer->state == PRODUCER_REBUILDING) &&
	       producer->ready_us <= relay->sim->now_us;
}

static void offer_process(const struct relay *relay, struct options *options)
{
	const struct sim *sim = relay->sim;
	const struct process *process = &relay->process;
	const struct producer *producer = &relay->producer;
	int64_t now = sim->now_us;
	unsigned r = relay->index;

	offer(options, relay->session.answer_count > 0, OPTION_ANSWER, 0, r);
	offer(options, producer->report_count > 0, OPTION_REPORT, 0, r);
	offer(options, producer->blocked && producer->writable_us <= now, OPTION_WRITABLE, 0, r);
	offer(options, can_be_ready(relay), OPTION_READY, 0, r);
	offer(options,
	      producer->told_reachable != broker_answers(relay) &&
		  producer->tell_reachable_us <= now,
	      OPTION_REACHABLE, 0, r);
	offer(options, process->wake_us <= now, OPTION_WAKE, 0, r);
	offer(options, relay->session.wake_us <= now, OPTION_POLL, 0, r);
	offer(options, process->stall_timer_us <= now, OPTION_STALL, 0, r);
	offer(options, process->heartbeat_us <= now, OPTION_BEAT, 0, r);
}

static void offer_relay(const struct relay *relay, struct options *options)
{
	const struct process *process = &relay->process;
	bool hears = process_runs(relay) && !process_is_paused(relay);

	if (process->worker != NULL)
		offer_broker(relay, options, hears);
	if (hears)
		offer_process(relay, options);
	offer(options,
	      process->worker == NULL && process->start_us <= relay->sim->now_us &&
		  !relay->sim->ends,
	      OPTION_START, 0, relay->index);
}

static void offer_all(const struct sim *sim, struct options *options)
{
	options->count = 0;
	offer_database(sim, options);
	for (unsigned r = 0; r < sim->plan.relays; r++)
		offer_relay(&sim->relays[r], options);
}

/* ---- what does ---- */

static void tell_note(struct sim *sim, struct backend *backend)
{
	struct note note = backend->notes[0];
	bool lossy = sim->plan.rings_lossy && (note.kind == NOTE_RING || note.kind == NOTE_REST);

	memmove(&backend->notes[0], &backend->notes[1], --backend->note_count * sizeof(note));
	if ((sim->plant == PLANT_RINGS_LOST && note.kind == NOTE_RING) ||
	    (lossy && sim_chance(sim, 400)))
		return;
	/* A relay that is paused hears them all when it wakes. */
	if (!session_knows(&sim->relays[backend->relay].session, &note))
		session_push(&sim->relays[backend->relay],
			     (struct answer){.kind = ANSWER_NOTE, .note = note});
}

static void resume(struct sim *sim)
{
	sim->db.paused = false;
	notify(sim, NULL, (struct note){.kind = NOTE_GROUP});
}

static void expire(struct sim *sim, struct backend *backend)
{
	struct relay *relay = &sim->relays[backend->relay];

	trace_of(relay, "backend %u: the session has timed out", backend_number(sim, backend));
	if (relay->session.backend == backend)
		session_cut(relay, true, 0, ANSWERS_MAX);
	else
		backend_end(sim, backend);
}

static void tell_reachable(struct relay *relay)
{
	struct producer *producer = &relay->producer;

	producer->told_reachable = !producer->told_reachable;
	producer->told_us = relay->sim->now_us;
	worker_sink_events.reachable(relay->process.worker, producer->told_reachable);
}

static void tell_ready(struct relay *relay)
{
	relay->producer.state = PRODUCER_READY;
	worker_sink_events.ready(relay->process.worker);
}

static void tell_writable(struct relay *relay)
{
	relay->producer.blocked = false;
	if (session_was_stopped(relay))
		return;
	worker_sink_events.writable(relay->process.worker);
}

static void wake(struct relay *relay, enum worker_timer timer)
{
	int64_t *due =
	    timer == WORKER_TIMER_WAKE ? &relay->process.wake_us : &relay->process.stall_timer_us;

	trace_of(relay, "timer %d", (int)timer);
	*due = NEVER;
	const char *before = process_state(relay);
	worker_on_timer(relay->process.worker, timer);
	check_stall(relay, before);
}

static void wake_poll(struct relay *relay)
{
	trace_of(relay, "poll's timer");
	relay->session.wake_us = NEVER;
	session_polled(&relay->session, POLL_TIMER);
}

static void take_option(struct sim *sim, struct option option)
{
	struct backend *backends = sim->db.backends;
	struct relay *relay = &sim->relays[option.relay];

	switch (option.kind) {
	case OPTION_TXN:
		txn_step(sim, &sim->db.txns[option.index]);
		break;
	case OPTION_MEND:
		operator_mends(sim, &sim->db.rows[option.index]);
		break;
	case OPTION_OPERATE:
		letters_operate(sim, option.index);
		break;
	case OPTION_RESUME:
		resume(sim);
		break;
	case OPTION_EXPIRE:
		expire(sim, &backends[option.index]);
		break;
	case OPTION_SERVE:
		backend_serve(sim, &backends[option.index]);
		break;
	case OPTION_NOTE:
		tell_note(sim, &backends[option.index]);
		break;
	case OPTION_GHOST_END:
		backend_end(sim, &backends[option.index]);
		break;
	case OPTION_ANSWER:
		session_tell(relay);
		break;
	case OPTION_APPEND:
		broker_append_next(relay, option.index);
		break;
	case OPTION_ACKNOWLEDGE:
		broker_acknowledge_next(relay, option.index);
		break;
	case OPTION_LATE_APPEND:
		broker_append_ghost(sim, option.index);
		break;
	case OPTION_REPORT:
		producer_tell_report(relay);
		break;
	case OPTION_WRITABLE:
		tell_writable(relay);
		break;
	case OPTION_READY:
		tell_ready(relay);
		break;
	case OPTION_REACHABLE:
		tell_reachable(relay);
		break;
	case OPTION_WAKE:
		wake(relay, WORKER_TIMER_WAKE);
		break;
	case OPTION_POLL:
		wake_poll(relay);
		break;
	case OPTION_STALL:
		wake(relay, WORKER_TIMER_STALL);
		break;
	case OPTION_BEAT:
		session_beat(relay);
		break;
	case OPTION_START:
		process_start(relay);
		break;
	}
}

/* ---- faults ---- */

static void strike_at_random(struct sim *sim)
{
	if (sim->plan.faults_left == 0 || !sim_chance(sim, sim->plan.fault_permille))
		return;
	enum fault fault = (enum fault)sim_below(sim, FAULTS_ANY);
	if (sim->plan.topics > 1 && sim_chance(sim, 250))
		fault = FAULT_TOPIC_OUT;
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
	return writers_are_done(sim) && !letters_are_left(sim);
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
		    relay->session.backend == NULL || relay->producer.in_flight > 0 ||
		    relay->session.group.unavailable || !broker_answers(relay) ||
		    !relay->producer.told_reachable)
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
	    relay->sim->now_us - process->stop_us >= 10 * SECOND)
		worker_stop(process->worker, true);
}

/* What it is that would be done: a writer's step, an ask, an answer. */
static unsigned matter_of(const struct sim *sim, const struct option *option)
{
	switch (option->kind) {
	case OPTION_TXN:
		return sim->db.txns[option->index].phase;
	case OPTION_SERVE:
		return sim->db.backends[option->index].asks[0].kind;
	case OPTION_NOTE:
		return sim->db.backends[option->index].notes[0].kind;
	case OPTION_ANSWER:
		return sim->relays[option->relay].session.answers[0].kind;
	default:
		return 0;
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
		uint64_t rank = sim_rank(sim, matter_of(sim, option) << 12 | option->kind << 7 |
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

	offer_all(sim, &options);
	if (options.count == 0) {
		leap(sim);
	} else {
		take_option(sim, options.items[choose(sim, &options)]);
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
