/* SPDX-License-Identifier: ISC */
/*
 * check_relay.c - what a relay does: it neither sleeps on events nor stays where it should not
 */
#include "halted.h"

#include <string.h>

void check_claim_asked(struct relay *relay, const struct claim *claim)
{
	struct sim *sim = relay->sim;

	if (claim->opens && relay->producer.in_flight > 0)
		violated(sim, "claims too soon", "%u events are with the sink",
			 relay->producer.in_flight);
	/* After a while it may see for itself whether the sink takes it. */
	bool blocked = relay->producer.blocked && relay->producer.writable_us > sim->now_us;
	if (claim->opens && (!relay->producer.told_reachable || blocked))
		violated(sim, "claims for a sink that takes nothing", "%s", process_state(relay));
	if (claim->rows <= 0)
		violated(sim, "claims nothing", "%lld rows", (long long)claim->rows);
}

static int64_t later_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Until when another session has locked the row or, in order, an earlier one of its key; 0: nobody
 * ever has, NEVER: another session has. */
static int64_t held_until(const struct sim *sim, const struct row *row)
{
	int64_t until = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (sim->plan.competing ? other != row
					: other->key != row->key || other->id > row->id)
			continue;
		if (other->taken_by != 0)
			return NEVER;
		until = later_of(until, other->foreign_until_us);
	}
	return until;
}

/* Until when the database has not let the row go or, in order, another one of its key; 0: it
 * always has. One that could not go is tried again once another session has let go of it. */
static int64_t stuck_until(const struct sim *sim, const struct row *row)
{
	int64_t until = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (other->stuck_until_us != 0 && other->id != 0 &&
		    (sim->plan.competing ? other == row : other->key == row->key))
			until = later_of(until, later_of(later_of(other->stuck_until_us,
								  other->foreign_until_us),
							 other->gone_us));
	}
	return until;
}

/* When the last of the rows that cannot go can; 0: all always could. */
static int64_t last_stuck_us(const struct sim *sim)
{
	int64_t last = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		last = later_of(last, sim->db.rows[i].stuck_until_us);
	return last;
}

/* Held rows are tried again at a look that is due for it. */
static int64_t stuck_patience(const struct relay *relay)
{
	const struct poll_options *options = &relay->process.poll_options;

	return options->housekeep_us + options->poll_us + 200 * MS;
}

/* Unless rejected events are dead-lettered, nothing goes out past one that cannot go. */
static bool is_halted(const struct relay *relay)
{
	return relay->session.source.held > 0 && relay->process.options.policy == REJECT_HALTS;
}

/* What was rejected under another policy keeps its key back until it is tried again. */
static int64_t retrial_us(const struct relay *relay, unsigned row)
{
	uint64_t left_out = refused_left_out(&relay->session);
	/* Where rows stay, all that comes after it waits with it. */
	bool held = relay->sim->plan.letters &&
		    (relay->sim->plan.position ? left_out : left_out & ROW_BIT(row)) != 0;

	return held ? HOLDS_TRY_US + stuck_patience(relay) : 0;
}

static int64_t patience(const struct relay *relay, const struct row *row, bool was_held)
{
	const struct sim *sim = relay->sim;
	const struct poll_options *options = &relay->process.poll_options;

	if (was_held) /* nobody rings when a lock is let go */
		return options->poll_us + 200 * MS;
	if (sim->plan.has_bell && !sim->plan.rings_lossy)
		return 50 * MS + row->took_us; /* idle.c: the looks grow apart by doubling */
	return options->poll_us + 50 * MS;
}

static void check_sleep(struct relay *relay, int64_t to_us)
{
	struct sim *sim = relay->sim;
	int64_t looked = later_of(relay->process.looking_us, relay->process.paused_until_us);
	uint64_t mine = positions_mine(&relay->session);
	bool halts = relay->process.options.policy == REJECT_HALTS;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		int64_t held = held_until(sim, row), stuck = stuck_until(sim, row);
		int64_t since = later_of(later_of(row->visible_us, held), stuck);
		int64_t most = patience(relay, row, held > 0);
		if (!(mine & ROW_BIT(i)) || !row_is_free(sim, row) || held > sim->now_us ||
		    stuck > sim->now_us || is_halted(relay))
			continue;
		if (stuck != 0 || (halts && last_stuck_us(sim) > 0))
			most = later_of(most, stuck_patience(relay));
		most = later_of(most, retrial_us(relay, i));
		/* What it hears then is of before. */
		if (row->visible_us <= relay->process.paused_until_us)
			most += 2 * relay->process.paused_for_us;
		if (to_us - later_of(since, looked) > most)
			violated(sim, "sleeps on a row", "relay %u, row %u for %lld ms",
				 relay->index, i, (long long)(to_us - since) / MS);
	}
}

/* For so long a transaction waits for the sink: not long for one that takes nothing and holds
 * nothing, since it may be a topic that is missing. */
int64_t check_patience_us(const struct relay *relay)
{
	int64_t stall_us = relay->sim->plan.stall_us;
	struct worker_status status = {.blocked_us = -1};

	if (relay->process.worker != NULL)
		worker_status(relay->process.worker, &status);
	return status.blocked_us >= 0 && stall_us > SECOND ? SECOND : stall_us;
}

static void check_transaction(struct relay *relay, int64_t to_us)
{
	struct sim *sim = relay->sim;
	const struct backend *backend = relay->session.backend;

	if (backend == NULL || !backend->in_transaction)
		return;
	int64_t since = later_of(later_of(backend->begun_us, relay->process.progress_us),
				 relay->process.paused_until_us);
	int64_t age = to_us - later_of(backend->begun_us, relay->process.paused_until_us);
	if (to_us - since > check_patience_us(relay) + SECOND ||
	    age > sim->plan.stall_us + 11 * SECOND)
		violated(sim, "holds a transaction open", "%lld ms, %s", (long long)age / MS,
			 process_state(relay));
}

/* The stall timer is for a sink that reports nothing. */
void check_stall(struct relay *relay, const char *before, int64_t patience_us)
{
	struct sim *sim = relay->sim;
	int64_t since = later_of(relay->process.progress_us, relay->session.claimed_us);

	/* Nor does one that reports little by little keep a transaction open indefinitely. */
	if (sim->now_us - relay->session.claimed_us > sim->plan.stall_us + 9 * SECOND)
		return;
	if (strcmp(before, "rolling back") != 0 &&
	    strcmp(process_state(relay), "rolling back") == 0 && sim->now_us - since < patience_us)
		violated(sim, "gives up too soon", "after %lld ms",
			 (long long)(sim->now_us - since) / MS);
}

/* Every insert would pay for a bell that nobody answers. */
static void check_bell(struct relay *relay, int64_t to_us, const char *state)
{
	struct sim *sim = relay->sim;

	/* In company another may have armed it, and once alone it is put to rest soon. Where relays
	 * compete, one that is unavailable is no company, but may arm it. */
	if (sim->plan.competing && sim->plan.relays > 1)
		return;
	if (sim->db.bell && relay->session.backend != NULL && !relay->session.others.any &&
	    session_owned(&relay->session) != 0 && strcmp(state, "holding") == 0 &&
	    to_us - sim->now_us > 50 * MS)
		violated(sim, "leaves the bell armed", "while %s", state);
}

static bool looks_and_rests(const char *state)
{
	return strcmp(state, "fetching") == 0 || strcmp(state, "opening") == 0;
}

void check_leap(struct relay *relay, int64_t to_us)
{
	const char *state = process_state(relay);

	if (!process_runs(relay) || process_is_paused(relay))
		return;
	if (relay->session.poll.state == POLL_RESTING) {
		check_sleep(relay, to_us);
		if (!is_halted(relay))
			check_letters_sleep(
			    relay,
			    later_of(relay->process.looking_us, relay->process.paused_until_us),
			    to_us);
	}
	check_transaction(relay, to_us);
	check_unavailable(relay);
	check_bell(relay, to_us, state);
}

static bool can_serve(const struct relay *relay)
{
	return process_runs(relay) && !process_is_paused(relay) && !relay->process.asked_to_stop &&
	       relay->session.backend != NULL && !relay->session.group.unavailable &&
	       !is_halted(relay) && broker_answers(relay) && relay->producer.told_reachable &&
	       relay->producer.state == PRODUCER_READY;
}

/* A row that cannot go holds up its key and no other: where nothing else is wrong, what waits is
 * gone within a few looks. */
void check_flow(struct sim *sim)
{
	int64_t looks = 10 * SECOND, retests = 0;

	/* What is published and cannot go has all else wait. */
	if (sim->plan.exactly_once && last_stuck_us(sim) + 2 * SECOND > sim->now_us)
		sim->troubled_us = sim->now_us;
	for (unsigned r = 0; r < sim->plan.relays; r++) {
		const struct relay *relay = &sim->relays[r];
		looks = later_of(looks, 10 * SECOND + relay->process.poll_options.poll_us);
		if (sim->plan.letters && (sim->plan.policies & 1u << REJECT_HALTS))
			looks = later_of(looks, 20 * SECOND + relay->process.poll_options.poll_us);
		retests = later_of(retests, stuck_patience(relay));
		if (!sim->healed || !can_serve(relay))
			sim->troubled_us = sim->now_us;
	}
	for (unsigned i = 0; i < sim->db.row_count && sim->now_us - sim->troubled_us > looks; i++) {
		const struct row *row = &sim->db.rows[i];
		int64_t stuck = stuck_until(sim, row), held = held_until(sim, row);
		int64_t since = later_of(row->visible_us, stuck != 0 ? stuck + retests : 0);
		since = later_of(since, later_of(sim->troubled_us, held));
		if (row->state == ROW_VISIBLE && sim->now_us - since > looks)
			violated(sim, "holds up other keys", "row %u for %lld ms", i,
				 (long long)(sim->now_us - since) / MS);
	}
}

void check_step(struct relay *relay)
{
	struct sim *sim = relay->sim;
	const char *state = process_state(relay);

	if (!looks_and_rests(state) || process_is_paused(relay) || is_halted(relay))
		relay->process.looking_us = sim->now_us;
	if (sim->idle_us == 0 && sim->healed_us != 0 &&
	    sim->now_us - later_of(sim->healed_us, last_stuck_us(sim)) > 120 * SECOND)
		violated(sim, "does not drain", "%s", state);
	if (relay->process.asked_to_stop && sim->now_us - relay->process.stop_us > 30 * SECOND)
		violated(sim, "does not stop", "relay %u, %s", relay->index, state);
}
