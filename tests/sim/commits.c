/* SPDX-License-Identifier: ISC */
/*
 * commits.c - the sink with transactions: a producer made anew, BEGIN, END, and the commit, as far
 * as its answer comes
 *
 * The records themselves are broker.c's.
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

static struct transaction *txn_of(struct relay *relay)
{
	return &relay->producer.txn;
}

static bool may_append(const struct relay *relay)
{
	return broker_answers(relay) && transactions_serve(relay->sim, &relay->producer.txn);
}

void commits_init(struct relay *relay)
{
	struct producer *producer = &relay->producer;

	producer->txn = (struct transaction){.slot = -1};
	producer->sink.begun = false;
	producer->sink.ledger = (struct ledger){0};
	producer->ledger_count = 0;
}

/* ---- a producer made anew ---- */

static uint64_t used_slots(const struct sim *sim)
{
	uint64_t used = 0;

	for (unsigned s = 0; s < SLOTS_SIM; s++)
		used |= sim->transactions.coordinators[s].used ? UINT64_C(1) << s : 0;
	return used;
}

static void read_ledger(struct relay *relay)
{
	struct producer *producer = &relay->producer;
	const struct coordinator *coordinator =
	    &relay->sim->transactions.coordinators[producer->txn.slot];

	producer->ledger_count = 0;
	for (unsigned i = 0; i < coordinator->note_count; i++) {
		const struct noted *note = &coordinator->notes[i];
		unsigned at = producer->ledger_count;
		if (note->number <= producer->txn.settled)
			continue;
		producer->notes[at] = *note;
		producer->batches[at] = (struct ledger_batch){
		    note->number, {(const char *)&producer->notes[at], sizeof(*note)}};
		producer->ledger_count++;
	}
	producer->sink.ledger = (struct ledger){.batches = producer->batches,
						.count = producer->ledger_count,
						.last = coordinator->last,
						.used = used_slots(relay->sim)};
}

void commits_rebuild(struct relay *relay, const struct producer_id *id)
{
	struct producer *producer = &relay->producer;
	struct transaction *txn = &producer->txn;

	if (id->number < 0 || id->number >= SLOTS_SIM) {
		violated(relay->sim, "makes a producer without a slot", "relay %u", relay->index);
		return;
	}
	commits_leave_behind(relay);
	trace_of(relay, "sink: slot %d, settled %lld", id->number, (long long)id->settled);
	*txn = (struct transaction){.slot = id->number,
				    .rebuild = REBUILD_INIT,
				    .settled = id->settled,
				    .remembered = txn->remembered};
	producer->sink.begun = false;
	producer->report_count = 0; /* they were about the one before */
	producer->state = PRODUCER_REBUILDING;
	if (relay->sim->plant == PLANT_LEDGER_BEFORE_FENCE)
		read_ledger(relay);
}

bool commits_rebuild_can_go_on(const struct relay *relay)
{
	const struct producer *producer = &relay->producer;
	const struct transaction *txn = &producer->txn;
	enum coordinator_state state;

	if (producer->state != PRODUCER_REBUILDING || producer->ready_us > relay->sim->now_us ||
	    !broker_answers(relay))
		return false;
	if (txn->rebuild == REBUILD_LEDGER)
		return transactions_ledger_ends(relay->sim, txn->slot);
	state = relay->sim->transactions.coordinators[txn->slot].state;
	return txn->rebuild == REBUILD_DONE ||
	       (state != COORD_COMMITTING && state != COORD_ABORTING);
}

void commits_rebuild_on(struct relay *relay)
{
	struct transaction *txn = txn_of(relay);
	struct sim *sim = relay->sim;

	trace_of(relay, "sink: rebuild, step %d, slot %d", (int)txn->rebuild, txn->slot);
	if (txn->rebuild == REBUILD_INIT && transactions_init(sim, txn->slot)) {
		txn->epoch = sim->transactions.coordinators[txn->slot].epoch;
		txn->rebuild = REBUILD_LEDGER;
	} else if (txn->rebuild == REBUILD_LEDGER) {
		if (sim->plant != PLANT_LEDGER_BEFORE_FENCE)
			read_ledger(relay);
		txn->rebuild = REBUILD_DONE;
	} else if (txn->rebuild == REBUILD_DONE) {
		txn->rebuild = REBUILD_NONE;
		relay->producer.state = PRODUCER_READY;
		worker_sink_events.ready(relay->process.worker);
	}
}

/* ---- BEGIN, END ---- */

/* By a planted error the engine does not hear that a transaction has begun, but at its end. */
static void tell_begun(struct relay *relay)
{
	struct producer *producer = &relay->producer;

	if (relay->sim->plant == PLANT_ABORT_NOT_REBUILT)
		producer->sink.begun = producer->txn.partitions != 0 && producer->in_flight == 0;
}

void commits_begin(struct relay *relay)
{
	relay->producer.sink.begun = true;
	tell_begun(relay);
}

/* By another planted error what is acknowledged is remembered. */
void commits_reported(struct relay *relay, const struct report *report)
{
	if (report->kind == REPORT_DELIVERED)
		txn_of(relay)->remembered |= ROW_BIT(report->row);
	tell_begun(relay);
}

bool commits_can_append(const struct relay *relay, unsigned partition)
{
	const struct producer *producer = &relay->producer;
	const struct transaction *txn = &producer->txn;

	bool drains = producer->state == PRODUCER_DRAINING;
	if ((!drains && producer->state != PRODUCER_READY) || !may_append(relay))
		return false;
	if (partition == LEDGER_PARTITION)
		return (txn->commit == COMMIT_RECORD && !drains) ||
		       (!txn->begun && producer->flight_count[0] + producer->flight_count[1] > 0);
	return txn->begun || txn->known;
}

/* As librdkafka: a record that is not part of it has the producer abort. */
static bool admit(struct relay *relay, unsigned partition)
{
	switch (transactions_admit(relay->sim, txn_of(relay), partition)) {
	case ADMITTED:
		return true;
	case FENCED_OFF:
		producer_fail(relay, REPORT_FENCED);
		return false;
	case NOT_PART:
		trace_of(relay, "broker: partition %u is not part of the transaction", partition);
		producer_fail(relay, REPORT_BROKEN);
		return false;
	}
	return false;
}

bool commits_append(struct relay *relay, unsigned partition)
{
	return admit(relay, partition);
}

void commits_append_own(struct relay *relay)
{
	struct transaction *txn = txn_of(relay);

	trace_of(relay, "broker: %s, slot %d epoch %u", txn->begun ? "END" : "BEGIN", txn->slot,
		 txn->epoch);
	if (!admit(relay, LEDGER_PARTITION))
		return;
	if (!txn->begun) {
		txn->begun = txn->known = true;
		return;
	}
	transactions_write_end(relay->sim, txn);
	txn->commit = COMMIT_REQUEST;
}

/* ---- the commit ---- */

void commits_start(struct sink *sink, const struct ledger_batch *batch)
{
	struct producer *producer = (struct producer *)sink;
	struct relay *relay = producer->relay;
	struct transaction *txn = &producer->txn;

	if (producer->in_flight > 0 || txn->commit != COMMIT_NONE)
		violated(relay->sim, "commits too soon", "%u events are with the sink",
			 producer->in_flight);
	assert(batch->note.len == sizeof(txn->note));
	memcpy(&txn->note, batch->note.data, sizeof(txn->note));
	txn->repeated = false;
	txn->commit = COMMIT_RECORD;
	relay->process.progress_us = relay->sim->now_us;
	trace_of(relay, "sink: commit of batch %lld, rows %llx", (long long)batch->number,
		 (unsigned long long)txn->note.rows);
	if (producer->state == PRODUCER_READY)
		return;
	txn->commit = COMMIT_NONE;
	producer_doubt(relay);
}

bool commits_can_go_on(const struct relay *relay, bool hears)
{
	const struct transaction *txn = &relay->producer.txn;

	if (relay->producer.state != PRODUCER_READY)
		return false;
	if (txn->commit == COMMIT_ANSWER)
		return hears && broker_answers(relay);
	return txn->commit == COMMIT_REQUEST && may_append(relay);
}

static void tell_committed(struct relay *relay)
{
	struct transaction *txn = txn_of(relay);
	bool clean = !txn->repeated || relay->sim->plant == PLANT_UNCLEAN_TRUSTED;

	txn->commit = COMMIT_NONE;
	txn->begun = false;
	txn->partitions = 0;
	txn->remembered = 0;
	relay->producer.sink.begun = false;
	worker_sink_events.committed(relay->process.worker, clean);
}

void commits_go_on(struct relay *relay)
{
	struct transaction *txn = txn_of(relay);

	if (txn->commit == COMMIT_ANSWER) {
		trace_of(relay, "sink: committed%s", txn->repeated ? ", unclean" : "");
		tell_committed(relay);
		return;
	}
	enum admission answer = transactions_commit(relay->sim, txn->slot, txn->epoch);
	trace_of(relay, "broker: EndTxn, slot %d epoch %u: %d", txn->slot, txn->epoch, (int)answer);
	if (answer == ADMITTED)
		txn->commit = COMMIT_ANSWER;
	else
		producer_fail(relay, answer == FENCED_OFF ? REPORT_FENCED : REPORT_BROKEN);
}

void commits_leave_behind(struct relay *relay)
{
	struct transaction *txn = txn_of(relay);
	struct sim *sim = relay->sim;

	if (txn->commit == COMMIT_REQUEST) {
		uint32_t fate = sim_below(sim, 3);
		if (fate == 1)
			transactions_commit(sim, txn->slot, txn->epoch);
		if (fate == 2)
			transactions_come_late(sim, txn->slot, txn->epoch);
		trace_of(relay, "sink: leaves EndTxn behind: %u", fate);
	}
	txn->commit = COMMIT_NONE;
}

/* ---- faults ---- */

/* The request comes late; it is carried out and its answer is lost; it is lost. False: there is
 * none. */
static bool lose_request(struct relay *relay, unsigned variant)
{
	struct transaction *txn = txn_of(relay);

	if (txn->commit != COMMIT_REQUEST && txn->commit != COMMIT_ANSWER)
		return false;
	if (variant == 0)
		transactions_come_late(relay->sim, txn->slot, txn->epoch);
	if (variant == 1)
		transactions_commit(relay->sim, txn->slot, txn->epoch);
	return true;
}

/* The first one is lost, and another follows. */
void commits_repeat(struct relay *relay, unsigned variant)
{
	struct transaction *txn = txn_of(relay);

	if (!lose_request(relay, variant))
		return;
	txn->repeated = true;
	txn->commit = COMMIT_REQUEST;
}

/* Likewise, and nobody asks again. */
void commits_lose(struct relay *relay, unsigned variant)
{
	if (!lose_request(relay, variant))
		return;
	txn_of(relay)->commit = COMMIT_NONE;
	producer_doubt(relay);
}
