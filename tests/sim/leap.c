/* SPDX-License-Identifier: ISC */
/*
 * leap.c - time: when nothing can happen it leaps to when something can
 */
#include "sim.h"

static void consider(const struct sim *sim, int64_t *soonest, int64_t time)
{
	if (time > sim->now_us && time < *soonest)
		*soonest = time;
}

static void consider_relay(const struct relay *relay, int64_t *soonest)
{
	const struct sim *sim = relay->sim;
	const struct process *process = &relay->process;
	const struct producer *producer = &relay->producer;

	if (process->worker == NULL) {
		consider(sim, soonest, process->start_us);
		return;
	}
	consider(sim, soonest, process->wake_us);
	consider(sim, soonest, relay->session.wake_us);
	consider(sim, soonest, process->stall_timer_us);
	consider(sim, soonest, relay->session.again_us);
	consider(sim, soonest, process->heartbeat_us);
	consider(sim, soonest, process->paused_until_us);
	consider(sim, soonest, producer->ready_us);
	consider(sim, soonest, producer->tell_reachable_us);
	consider(sim, soonest, producer->away_until_us);
	if (producer->blocked)
		consider(sim, soonest, producer->writable_us);
	if (process->asked_to_stop)
		consider(sim, soonest, process->stop_us + 10 * SECOND);
}

static int64_t next_time(const struct sim *sim)
{
	const struct database *db = &sim->db;
	int64_t soonest = NEVER;

	for (unsigned r = 0; r < sim->plan.relays; r++)
		consider_relay(&sim->relays[r], &soonest);
	consider(sim, &soonest, db->down_until_us);
	consider(sim, &soonest, db->paused_until_us);
	consider(sim, &soonest, sim->broker.down_until_us);
	for (unsigned t = 0; t < TOPICS; t++)
		consider(sim, &soonest, sim->broker.out_until_us[t]);
	for (unsigned s = 0; s < SLOTS_SIM; s++)
		consider(sim, &soonest, sim->transactions.coordinators[s].ends_us);
	for (unsigned i = 0; i < sim->transactions.late_count; i++)
		consider(sim, &soonest, sim->transactions.late[i].at_us);
	for (unsigned i = 0; i < db->txn_count; i++)
		if (db->txns[i].phase != TXN_ENDED)
			consider(sim, &soonest, db->txns[i].next_us);
	for (unsigned i = 0; i < BACKENDS_MAX; i++) {
		const struct backend *backend = &db->backends[i];
		if (backend->ghost)
			consider(sim, &soonest, backend->ends_us);
		else if (backend->used)
			consider(sim, &soonest, backend->heard_us + sim->plan.session_timeout_us);
	}
	for (unsigned i = 0; i < db->row_count; i++) {
		consider(sim, &soonest, db->rows[i].foreign_until_us);
		consider(sim, &soonest, db->rows[i].mend_us);
	}
	return soonest;
}

void leap(struct sim *sim)
{
	int64_t to = next_time(sim);

	if (to == NEVER) {
		violated(sim, "waits for nothing", "%s", "");
		return;
	}
	for (unsigned r = 0; r < sim->plan.relays; r++)
		check_leap(&sim->relays[r], to);
	sim->now_us = to;
}
