/* SPDX-License-Identifier: ISC */
/*
 * options.c - what could happen next, and that it does
 */
#include "options.h"

#include "halted.h"

#include <string.h>

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

static void offer_transactions(const struct sim *sim, struct options *options)
{
	const struct transactions *all = &sim->transactions;

	for (unsigned s = 0; s < SLOTS_SIM; s++) {
		const struct coordinator *coordinator = &all->coordinators[s];
		bool ends =
		    coordinator->state == COORD_COMMITTING || coordinator->state == COORD_ABORTING;
		offer(options, transactions_time_out(sim, s), OPTION_TIME_OUT, s, 0);
		for (unsigned p = 0; p <= LEDGER_PARTITION; p++)
			offer(options, ends && (coordinator->partitions & 1u << p), OPTION_MARKER,
			      s * (LEDGER_PARTITION + 1) + p, 0);
	}
	for (unsigned i = 0; i < all->late_count; i++)
		offer(options, all->late[i].at_us <= sim->now_us, OPTION_LATE_END, i, 0);
}

static void offer_broker(const struct relay *relay, struct options *options, bool hears)
{
	offer(options, broker_can_append(relay, LEDGER_PARTITION), OPTION_APPEND, LEDGER_PARTITION,
	      relay->index);
	offer(options, relay->sim->plan.exactly_once && commits_can_go_on(relay, hears),
	      OPTION_COMMIT, 0, relay->index);
	for (unsigned p = 0; p < PARTITIONS; p++) {
		offer(options, broker_can_append(relay, p), OPTION_APPEND, p, relay->index);
		offer(options, hears && broker_can_acknowledge(relay, p), OPTION_ACKNOWLEDGE, p,
		      relay->index);
	}
}

static bool can_be_ready(const struct relay *relay)
{
	const struct producer *producer = &relay->producer;

	if (relay->sim->plan.exactly_once)
		return commits_rebuild_can_go_on(relay);
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
	offer(options, relay->session.again_us <= now, OPTION_AGAIN, 0, r);
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

void options_find(const struct sim *sim, struct options *options)
{
	options->count = 0;
	offer_database(sim, options);
	if (sim->plan.exactly_once && broker_is_up(sim))
		offer_transactions(sim, options);
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
	if (relay->sim->plan.exactly_once) {
		commits_rebuild_on(relay);
		return;
	}
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
	int64_t patience_us = check_patience_us(relay);
	worker_on_timer(relay->process.worker, timer);
	check_stall(relay, before, patience_us);
}

static void wake_poll(struct relay *relay)
{
	trace_of(relay, "poll's timer");
	relay->session.wake_us = NEVER;
	session_polled(&relay->session, POLL_TIMER);
}

static void take_transaction(struct sim *sim, struct option option)
{
	struct relay *relay = &sim->relays[option.relay];

	switch (option.kind) {
	case OPTION_MARKER:
		transactions_write_marker(sim, option.index / (LEDGER_PARTITION + 1),
					  option.index % (LEDGER_PARTITION + 1));
		break;
	case OPTION_LATE_END:
		transactions_arrive(sim, option.index);
		break;
	case OPTION_TIME_OUT:
		transactions_fence(sim, (int)option.index);
		break;
	case OPTION_COMMIT:
		commits_go_on(relay);
		break;
	default: /* OPTION_AGAIN */
		producers_again(&relay->session);
		break;
	}
}

void options_take(struct sim *sim, struct option option)
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
	default:
		take_transaction(sim, option);
		break;
	}
}

unsigned options_matter(const struct sim *sim, const struct option *option)
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
