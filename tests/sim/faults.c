/* SPDX-License-Identifier: ISC */
/*
 * faults.c - what may go wrong at any step, and how it ends
 */
#include "sim.h"

#include <string.h>

/* How many ways there are of each; a variant is one of them. */
static const struct {
	const char *name;
	unsigned variants;
} faults[FAULTS] = {
    [FAULT_CUT_SERVER] = {"cut by server", 3},
    [FAULT_CUT_CLIENT] = {"cut by client", 5},
    [FAULT_RESTART] = {"database restart", 4},
    [FAULT_FAILOVER] = {"failover", 4},
    [FAULT_BROKER_DOWN] = {"broker down", 2},
    [FAULT_BREAK] = {"producer breaks", 6},
    [FAULT_DRAIN] = {"producer drains", 1},
    [FAULT_BLOCK] = {"topic away", 2},
    [FAULT_MISROUTE] = {"row without a topic", 2},
    [FAULT_CRASH] = {"crash", 6},
    [FAULT_STOP] = {"stop", 1},
    [FAULT_STOP_NOW] = {"stop at once", 1},
    [FAULT_PAUSE] = {"pause", 3},
    [FAULT_ROW_LOCK] = {"foreign row lock", 1},
    [FAULT_PAUSE_OUTBOX] = {"outbox paused", 1},
    [FAULT_LAYOUT] = {"another number of shards", 1},
    [FAULT_RELOAD] = {"reload", 1},
    [FAULT_OUTAGE] = {"long outage", 1},
    [FAULT_AWAY] = {"relay without Kafka", 2},
    [FAULT_STUCK] = {"row that cannot go", 4},
    [FAULT_BAD] = {"row that is rejected", 3},
    [FAULT_TOPIC_OUT] = {"topic deleted", 4},
    [FAULT_END_REPEATED] = {"EndTxn repeated", 3},
    [FAULT_END_LOST] = {"answer of EndTxn lost", 3},
    [FAULT_TIMED_OUT] = {"transaction timed out", 1},
    [FAULT_FENCED] = {"producer fenced", 1},
};

unsigned fault_variants(enum fault fault)
{
	return faults[fault].variants;
}

const char *fault_name(enum fault fault)
{
	return faults[fault].name;
}

/* Short, or long enough for the stall timer. */
static int64_t outage(struct sim *sim, unsigned variant)
{
	int64_t most = variant % 2 == 0 ? 200 * MS : sim->plan.stall_us * 3;

	return sim->now_us + (int64_t)sim_below(sim, (uint32_t)most);
}

static void lose_database(struct sim *sim, bool failover, unsigned variant)
{
	for (unsigned r = 0; r < sim->plan.relays; r++)
		session_cut(&sim->relays[r], true, 0, variant);
	database_restart(sim, failover, variant);
	sim->db.down_until_us = outage(sim, variant);
}

static void lose_broker(struct sim *sim, int64_t until_us)
{
	if (broker_is_up(sim))
		sim->broker.down_since_us = sim->now_us;
	sim->broker.down_until_us = until_us;
	for (unsigned r = 0; r < sim->plan.relays; r++)
		sim->relays[r].producer.tell_reachable_us =
		    sim->now_us + (int64_t)sim_below(sim, 3000) * MS;
}

/* The others reach it. Not healed: the others can do without this relay, and it comes to an end. */
static void lose_sight(struct relay *relay, unsigned variant)
{
	struct sim *sim = relay->sim;
	/* Long enough to leave its shards to others. */
	uint32_t most = variant == 0 ? 200 * MS : (sim->plan.exhaustive ? 10 : 80) * SECOND;

	relay->producer.away_until_us = sim->now_us + (int64_t)sim_below(sim, most);
	relay->producer.tell_reachable_us = sim->now_us + (int64_t)sim_below(sim, 3000) * MS;
}

static void ask_to_stop(struct relay *relay, bool now)
{
	struct process *process = &relay->process;

	if (!process_runs(relay))
		return;
	if (!process->asked_to_stop)
		process->stop_us = relay->sim->now_us;
	process->asked_to_stop = true;
	worker_stop(process->worker, now);
}

/* The last variant is longer than the server waits for a word. */
static void pause_process(struct relay *relay, unsigned variant)
{
	struct sim *sim = relay->sim;

	relay->process.paused_until_us = outage(sim, variant);
	if (variant == 2)
		relay->process.paused_until_us +=
		    sim->plan.session_timeout_us + (int64_t)sim_below(sim, 2000) * MS;
	relay->process.paused_for_us = relay->process.paused_until_us - sim->now_us;
}

static void lock_row(struct sim *sim)
{
	struct row *row = &sim->db.rows[sim_below(sim, sim->db.row_count)];

	if (row_is_free(sim, row) &&
	    !sim->plan.position) /* where rows stay, that is none of ours */
		row->foreign_until_us = sim->now_us + (int64_t)sim_below(sim, 3000) * MS;
}

/* A trigger, or a constraint that is put off to COMMIT. Longer than all else that goes wrong, or
 * not. */
static void stick(struct sim *sim, unsigned variant)
{
	struct row *row = &sim->db.rows[sim_below(sim, sim->db.row_count)];
	uint32_t most = variant % 2 == 0 || sim->plan.exhaustive ? 3 * SECOND : 60 * SECOND;

	if (sim->plan.position) /* nothing is done to it */
		return;
	row->stuck_until_us = sim->now_us + (int64_t)sim_below(sim, most);
	row->stuck_at_commit = variant / 2 == 1;
}

/* If nobody has seen it yet. */
static void spoil(struct sim *sim, unsigned variant)
{
	struct row *row = &sim->db.rows[sim_below(sim, sim->db.row_count)];

	if (row->state == ROW_PLANNED || row->state == ROW_DRAWN)
		row->kind = (enum row_kind)(KIND_GOOD + 1 + variant), row->bad = true;
}

static void misroute(struct sim *sim, unsigned variant)
{
	struct row *row = &sim->db.rows[sim_below(sim, sim->db.row_count)];

	row->topic_away_until_us = outage(sim, variant);
}

/* The second half is made again when it is: what else goes wrong has ended long before. */
static void delete_topic(struct sim *sim, unsigned variant)
{
	struct broker *broker = &sim->broker;
	unsigned topic = variant % 2;
	int64_t until = sim->now_us + (int64_t)sim_below(sim, (variant < 2 ? 4 : 60) * SECOND);

	if (broker->out_until_us[topic] <= sim->now_us)
		broker->out_since_us[topic] = sim->now_us;
	if (broker->out_until_us[topic] < until)
		broker->out_until_us[topic] = until;
}

/* A transaction that lasts too long is fenced, too; nothing but that is when none is under way. */
static void fence(struct relay *relay, bool timed_out)
{
	struct sim *sim = relay->sim;
	int slot = relay->producer.txn.slot;

	if (slot < 0 || (timed_out && sim->transactions.coordinators[slot].state != COORD_ONGOING))
		return;
	transactions_fence(sim, slot);
}

static void pause_outbox(struct sim *sim)
{
	sim->db.paused = true;
	sim->db.paused_until_us = sim->now_us + (int64_t)sim_below(sim, 2000) * MS;
	notify(sim, NULL, (struct note){.kind = NOTE_GROUP});
}

/* Its operator starts it again with another number. */
static void change_layout(struct relay *relay)
{
	relay->process.next_shards = 1 + (int)sim_below(relay->sim, SHARDS_SIM);
	ask_to_stop(relay, false);
}

static void reload(struct relay *relay)
{
	struct process *process = &relay->process;
	struct poll_options old = process->poll_options;

	enum reject_policy policy = process->options.policy;
	process_options(relay);
	if (process->options.policy != policy)
		memset(process->rejected_us, 0, sizeof(process->rejected_us));
	/* A sleep that has begun goes on for as long as it was meant to. */
	process->poll_options.poll_us = old.poll_us;
	process->poll_options.sweep_us = old.sweep_us;
	process->poll_options.housekeep_us = old.housekeep_us;
	if (process_runs(relay))
		worker_reload(process->worker, &process->options, relay->sim->plan.stall_us);
}

static void strike_transaction(struct relay *relay, enum fault fault, unsigned variant)
{
	switch (fault) {
	case FAULT_END_REPEATED:
		commits_repeat(relay, variant);
		break;
	case FAULT_END_LOST:
		commits_lose(relay, variant);
		break;
	default:
		fence(relay, fault == FAULT_TIMED_OUT);
		break;
	}
}

void fault_strike(struct relay *relay, enum fault fault, unsigned variant)
{
	struct sim *sim = relay->sim;

	trace_of(relay, "FAULT: %s, variant %u", faults[fault].name, variant);
	sim->faults++;
	sim->healed = false;
	sim->healed_us = 0;
	switch (fault) {
	case FAULT_CUT_SERVER:
		session_cut(relay, true, 0, variant);
		break;
	case FAULT_CUT_CLIENT:
		session_cut(relay, false, variant, variant % 2);
		break;
	case FAULT_RESTART:
	case FAULT_FAILOVER:
		lose_database(sim, fault == FAULT_FAILOVER, variant);
		break;
	case FAULT_BROKER_DOWN:
		lose_broker(sim, outage(sim, variant));
		break;
	case FAULT_BREAK:
	case FAULT_DRAIN:
		if (process_runs(relay))
			producer_break(relay, fault == FAULT_BREAK, variant);
		break;
	case FAULT_BLOCK:
		sim->broker.topic_away_until_us = outage(sim, variant);
		break;
	case FAULT_MISROUTE:
		misroute(sim, variant);
		break;
	case FAULT_CRASH:
		process_kill(relay, variant % 3, variant / 2);
		break;
	case FAULT_STOP:
	case FAULT_STOP_NOW:
		ask_to_stop(relay, fault == FAULT_STOP_NOW);
		break;
	case FAULT_PAUSE:
		pause_process(relay, variant);
		break;
	case FAULT_ROW_LOCK:
		lock_row(sim);
		break;
	case FAULT_PAUSE_OUTBOX:
		pause_outbox(sim);
		break;
	case FAULT_LAYOUT:
		change_layout(relay);
		break;
	case FAULT_RELOAD:
		reload(relay);
		break;
	case FAULT_OUTAGE:
		sim->broker.stays_down = true;
		lose_broker(sim, sim->now_us + (int64_t)sim_below(sim, 80 * SECOND));
		break;
	case FAULT_AWAY:
		lose_sight(relay, variant);
		break;
	case FAULT_STUCK:
		stick(sim, variant);
		break;
	case FAULT_BAD:
		spoil(sim, variant);
		break;
	case FAULT_TOPIC_OUT:
		delete_topic(sim, variant);
		break;
	default:
		strike_transaction(relay, fault, variant);
		break;
	}
}

static int64_t at_most(int64_t time, int64_t now)
{
	return time < now ? time : now;
}

/* From now on nothing goes wrong, and what was wrong is mended. */
void heal(struct sim *sim)
{
	int64_t now = sim->now_us;

	trace(sim, "healed");
	sim->healed = true;
	sim->healed_us = now;
	sim->db.down_until_us = at_most(sim->db.down_until_us, now);
	sim->db.paused_until_us = at_most(sim->db.paused_until_us, now);
	sim->broker.topic_away_until_us = at_most(sim->broker.topic_away_until_us, now);
	for (unsigned r = 0; r < sim->plan.relays; r++) {
		struct relay *relay = &sim->relays[r];
		relay->process.paused_until_us = at_most(relay->process.paused_until_us, now);
		if (sim->broker.down_until_us > now)
			relay->producer.tell_reachable_us = now + 50 * MS;
	}
	if (!sim->broker.stays_down)
		sim->broker.down_until_us = at_most(sim->broker.down_until_us, now);
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		row->foreign_until_us = at_most(row->foreign_until_us, now);
		row->topic_away_until_us = at_most(row->topic_away_until_us, now);
		row->mend_us = at_most(row->mend_us, now);
	}
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		sim->db.txns[i].next_us = at_most(sim->db.txns[i].next_us, now);
}
