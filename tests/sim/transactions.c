/* SPDX-License-Identifier: ISC */
/*
 * transactions.c - the model of Kafka's transactions: coordinators, markers, what readers see
 *
 * Readers are read_committed: they see a record once its transaction is committed and all records
 * before it in its partition are decided. So that is when it counts as published.
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

static struct coordinator *coordinator_of(struct sim *sim, int slot)
{
	assert(slot >= 0 && slot < SLOTS_SIM);
	return &sim->transactions.coordinators[slot];
}

static bool is_ending(const struct coordinator *coordinator)
{
	return coordinator->state == COORD_COMMITTING || coordinator->state == COORD_ABORTING;
}

/* ---- what readers see ---- */

static void show(struct sim *sim, struct record_log *log)
{
	while (log->count > 0 && log->items[0].decided) {
		struct logged first = log->items[0];
		memmove(&log->items[0], &log->items[1], --log->count * sizeof(first));
		if (first.committed)
			check_appended(sim, first.row);
	}
}

void transactions_log(struct sim *sim, int slot, unsigned row)
{
	struct record_log *log = &sim->transactions.logs[sim->db.rows[row].partition];

	assert(log->count < LOG_MAX);
	log->items[log->count++] = (struct logged){(uint8_t)row, (uint8_t)slot, 0, 0};
}

void transactions_log_late(struct sim *sim, int slot, unsigned epoch, unsigned row)
{
	struct coordinator *coordinator = coordinator_of(sim, slot);
	unsigned partition = sim->db.rows[row].partition;

	if (coordinator->epoch == epoch && coordinator->state == COORD_ONGOING &&
	    (coordinator->partitions & 1u << partition))
		transactions_log(sim, slot, row);
}

bool transactions_have(const struct sim *sim, unsigned row)
{
	const struct record_log *log = &sim->transactions.logs[sim->db.rows[row].partition];

	for (unsigned i = 0; i < log->count; i++) {
		const struct logged *record = &log->items[i];
		const struct coordinator *coordinator =
		    &sim->transactions.coordinators[record->slot];
		if (record->row == row &&
		    (record->decided ? record->committed : coordinator->state == COORD_COMMITTING))
			return true;
	}
	return sim->db.rows[row].appended > 0;
}

/* ---- the coordinator ---- */

bool transactions_serve(const struct sim *sim, const struct transaction *txn)
{
	const struct coordinator *coordinator = &sim->transactions.coordinators[txn->slot];

	return coordinator->epoch != txn->epoch || !is_ending(coordinator);
}

/* A dead producer's transaction must not hold up readers for long, and a slow one's is to live
 * until the engine gives it up by itself. */
static int64_t timeout_us(const struct sim *sim)
{
	return sim->plan.stall_us + 13 * SECOND;
}

enum admission transactions_admit(struct sim *sim, struct transaction *txn, unsigned partition)
{
	struct coordinator *coordinator = coordinator_of(sim, txn->slot);
	uint32_t bit = 1u << partition;

	if (coordinator->epoch != txn->epoch)
		return FENCED_OFF;
	assert(!is_ending(coordinator));
	if (txn->partitions & bit)
		return coordinator->state == COORD_ONGOING && (coordinator->partitions & bit)
			   ? ADMITTED
			   : NOT_PART;
	/* AddPartitionsToTxn: where none is under way it begins another one without a word. All
	 * partitions that wait go with one request: that of BEGIN, where it is not awaited. */
	if (txn->known)
		bit |= 1u << LEDGER_PARTITION;
	if (coordinator->state == COORD_COMPLETE) {
		coordinator->state = COORD_ONGOING;
		coordinator->ends_us = sim->now_us + timeout_us(sim);
	}
	coordinator->partitions |= bit;
	txn->partitions |= bit;
	coordinator->used |= partition == LEDGER_PARTITION;
	return ADMITTED;
}

void transactions_write_end(struct sim *sim, const struct transaction *txn)
{
	coordinator_of(sim, txn->slot)->end = txn->note;
}

static void complete(struct coordinator *coordinator)
{
	coordinator->committed = coordinator->state == COORD_COMMITTING;
	coordinator->state = COORD_COMPLETE;
	coordinator->ends_us = 0;
	coordinator->end = (struct noted){0};
}

static void end(struct coordinator *coordinator, bool commits)
{
	coordinator->state = commits ? COORD_COMMITTING : COORD_ABORTING;
	if (coordinator->partitions == 0)
		complete(coordinator);
}

/* Only the epoch is looked at: one that comes late ends a later transaction of the same epoch. */
enum admission transactions_commit(struct sim *sim, int slot, unsigned epoch)
{
	struct coordinator *coordinator = coordinator_of(sim, slot);

	if (coordinator->epoch != epoch)
		return FENCED_OFF;
	if (coordinator->state == COORD_ONGOING) {
		end(coordinator, true);
		return ADMITTED;
	}
	return coordinator->state == COORD_COMPLETE && coordinator->committed ? ADMITTED : NOT_PART;
}

void transactions_fence(struct sim *sim, int slot)
{
	struct coordinator *coordinator = coordinator_of(sim, slot);

	if (is_ending(coordinator) || coordinator->epoch == 0)
		return;
	coordinator->epoch++;
	coordinator->committed = false;
	if (coordinator->state == COORD_ONGOING)
		end(coordinator, false);
}

bool transactions_init(struct sim *sim, int slot)
{
	struct coordinator *coordinator = coordinator_of(sim, slot);

	if (is_ending(coordinator))
		return false;
	coordinator->epoch++;
	coordinator->committed = false;
	if (coordinator->state != COORD_ONGOING)
		return true;
	end(coordinator, false);
	return false;
}

bool transactions_time_out(const struct sim *sim, unsigned slot)
{
	const struct coordinator *coordinator = &sim->transactions.coordinators[slot];

	return coordinator->state == COORD_ONGOING && coordinator->ends_us <= sim->now_us;
}

/* ---- markers ---- */

static void note_end(struct coordinator *coordinator)
{
	if (coordinator->end.number == 0)
		return;
	if (coordinator->note_count == LEDGER_MAX)
		memmove(&coordinator->notes[0], &coordinator->notes[1],
			--coordinator->note_count * sizeof(coordinator->notes[0]));
	coordinator->notes[coordinator->note_count++] = coordinator->end;
	coordinator->last = coordinator->end.number;
}

static void decide(struct record_log *log, unsigned slot, bool commits)
{
	for (unsigned i = 0; i < log->count; i++)
		if (log->items[i].slot == slot && !log->items[i].decided) {
			log->items[i].decided = true;
			log->items[i].committed = commits;
		}
}

void transactions_write_marker(struct sim *sim, unsigned slot, unsigned partition)
{
	struct coordinator *coordinator = coordinator_of(sim, (int)slot);
	bool commits = coordinator->state == COORD_COMMITTING;

	trace(sim, "broker: slot %u epoch %u, marker in partition %u: %s", slot, coordinator->epoch,
	      partition, commits ? "committed" : "aborted");
	if (partition < PARTITIONS) {
		decide(&sim->transactions.logs[partition], slot, commits);
		show(sim, &sim->transactions.logs[partition]);
	} else if (commits) {
		note_end(coordinator);
	}
	coordinator->partitions &= ~(1u << partition);
	if (coordinator->partitions == 0)
		complete(coordinator);
}

/* ---- what comes late ---- */

void transactions_come_late(struct sim *sim, int slot, unsigned epoch)
{
	struct transactions *all = &sim->transactions;
	uint32_t most = sim_chance(sim, 500) ? 30 : 1500;

	if (all->late_count == LATE_ENDS_MAX)
		return; /* it is lost */
	all->late[all->late_count++] =
	    (struct late_end){.slot = slot,
			      .epoch = epoch,
			      .at_us = sim->now_us + (int64_t)sim_below(sim, most) * MS};
}

void transactions_arrive(struct sim *sim, unsigned late)
{
	struct transactions *all = &sim->transactions;
	struct late_end arrived = all->late[late];

	memmove(&all->late[late], &all->late[late + 1],
		(--all->late_count - late) * sizeof(arrived));
	trace(sim, "broker: slot %d epoch %u, late EndTxn: %d", arrived.slot, arrived.epoch,
	      (int)transactions_commit(sim, arrived.slot, arrived.epoch));
}

/* ---- the ledger, and the end ---- */

/* Its last stable offset is its high watermark. */
bool transactions_ledger_ends(const struct sim *sim, int slot)
{
	const struct coordinator *coordinator = &sim->transactions.coordinators[slot];

	return !(coordinator->partitions & 1u << LEDGER_PARTITION);
}

bool transactions_are_over(const struct sim *sim)
{
	for (unsigned s = 0; s < SLOTS_SIM; s++)
		if (sim->transactions.coordinators[s].state != COORD_COMPLETE)
			return false;
	return sim->transactions.logs[0].count == 0 && sim->transactions.logs[1].count == 0;
}

void transactions_check_end(struct sim *sim)
{
	if (!transactions_are_over(sim))
		violated(sim, "leaves a transaction undecided", "%s", "");
	for (unsigned s = 0; s < SLOTS_SIM; s++) {
		int64_t last = sim->transactions.coordinators[s].last;
		int64_t settled = sim->slots.now.rows[s].settled;
		if (last > settled)
			violated(sim, "leaves events in doubt", "slot %u: batch %lld, settled %lld",
				 s, (long long)last, (long long)settled);
	}
}
