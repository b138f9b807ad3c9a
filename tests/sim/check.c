/*
 * check.c - what must be true, in every run and at its end
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void violated(struct sim *sim, const char *what, const char *format, ...)
{
	va_list args;

	if (sim->violation != NULL)
		return;
	sim->violation = what;
	va_start(args, format);
	vsnprintf(sim->detail, sizeof(sim->detail), format, args);
	va_end(args);
	trace(sim, "VIOLATED: %s: %s", what, sim->detail);
}

/* ---- what a fault excuses ---- */

void allow_repeats(struct sim *sim, uint64_t rows)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (rows & ROW_BIT(i))
			sim->db.rows[i].repeats_allowed++;
}

/* What is in the log and not settled: whoever comes next cannot know of it. */
void allow_unsettled(struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->db.rows[i].appended > 0 && sim->db.rows[i].state == ROW_VISIBLE)
			sim->db.rows[i].repeats_allowed++;
}

/* The same for what is settled by a commit that a crash of the server may undo. */
void allow_undurable(struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.commit_count; i++)
		if (sim->db.commits[i].lazy)
			allow_repeats(sim, sim->db.commits[i].deleted);
}

/* A key's log may go back once, to be followed by a replay without a gap. */
void allow_jumps(struct sim *sim)
{
	for (unsigned k = 0; k < KEYS_MAX; k++)
		sim->jumps_allowed[k]++;
}

/* ---- the log ---- */

static bool is_committed(const struct row *row)
{
	return row->state == ROW_VISIBLE || row->state == ROW_GONE;
}

/* A row that must stand in the log sooner or later, and before the later ones of its key. */
static bool is_due(const struct sim *sim, const struct row *row)
{
	return is_committed(row) && !row->dead_letter &&
	       !(sim->plan.set_aside && row->kind != KIND_GOOD);
}

static void check_order(struct sim *sim, unsigned index)
{
	const struct row *row = &sim->db.rows[index];

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (other->key == row->key && is_due(sim, other) && other->number < row->number &&
		    other->appended == 0)
			violated(sim, "reorders a key", "row %u before row %u", index, i);
	}
}

static bool follows(const struct sim *sim, const struct row *row)
{
	unsigned last = sim->last_number[row->key];

	if (row->number < last)
		return false;
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (other->key == row->key && is_due(sim, other) && other->number >= last &&
		    other->number < row->number)
			return false;
	}
	return true;
}

static void check_repeat(struct sim *sim, unsigned index)
{
	const struct row *row = &sim->db.rows[index];

	sim->repeats++;
	if (row->appended > 1 + row->repeats_allowed)
		violated(sim, "repeats without a cause", "row %u for the %u. time", index,
			 row->appended);
	if (sim->lines_excused || follows(sim, row))
		return;
	if (sim->jumps_allowed[row->key] == 0)
		violated(sim, "repeats out of line", "row %u", index);
	else
		sim->jumps_allowed[row->key]--;
}

void check_appended(struct sim *sim, unsigned index)
{
	struct row *row = &sim->db.rows[index];

	row->appended++;
	if (row->state == ROW_FORGOTTEN)
		return;
	if (!is_committed(row)) {
		violated(sim, "publishes what was not committed", "row %u", index);
		return;
	}
	if (row->appended > 1)
		check_repeat(sim, index);
	else
		check_order(sim, index);
	sim->last_number[row->key] = row->number + 1;
}

/* ---- the outbox ---- */

void check_deleted(struct sim *sim, uint64_t deleted, uint64_t set_aside)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if (!(deleted & ROW_BIT(i)))
			continue;
		if (set_aside & ROW_BIT(i)) {
			if (row->kind == KIND_GOOD)
				violated(sim, "sets a good event aside", "row %u", i);
		} else if (row->appended == 0) {
			violated(sim, "takes an event from the outbox unpublished", "row %u", i);
		}
	}
}

void check_claim_asked(struct sim *sim, const struct claim *claim)
{
	if (claim->opens && sim->producer.outstanding > 0)
		violated(sim, "claims too soon", "%u events are with the sink",
			 sim->producer.outstanding);
	/* After a while it may see for itself whether the sink takes it. */
	bool blocked = sim->producer.blocked && sim->producer.writable_us > sim->now_us;
	if (claim->opens && (!sim->producer.told_reachable || blocked))
		violated(sim, "claims for a sink that takes nothing", "%s", process_state(sim));
	if (claim->rows <= 0)
		violated(sim, "claims nothing", "%lld rows", (long long)claim->rows);
}

/* ---- time ---- */

static int64_t later_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Until when somebody else has locked the row or an earlier one of its key; 0: nobody ever has. */
static int64_t held_until(const struct sim *sim, const struct row *row)
{
	int64_t until = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (other->key == row->key && other->id <= row->id)
			until = later_of(until, other->foreign_until_us);
	}
	return until;
}

static int64_t patience(const struct sim *sim, const struct row *row, bool was_held)
{
	const struct engine_options *options = &sim->process.options;

	if (was_held) /* nobody rings when a lock is let go */
		return options->poll_us + 200 * MS;
	if (sim->plan.has_bell && !sim->plan.rings_lossy)
		return 50 * MS + row->took_us; /* waker.c: the looks grow apart by doubling */
	return options->poll_us + 50 * MS;
}

static void check_sleep(struct sim *sim, int64_t to_us)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		int64_t held = held_until(sim, row);
		int64_t since = later_of(row->visible_us, held);
		int64_t looked = later_of(sim->looking_us, sim->process.paused_until_us);
		if (row_is_free(sim, row) && held <= sim->now_us &&
		    to_us - later_of(since, looked) > patience(sim, row, held > 0))
			violated(sim, "sleeps on a row", "row %u for %lld ms", i,
				 (long long)(to_us - since) / MS);
	}
}

static void check_transaction(struct sim *sim, int64_t to_us)
{
	const struct backend *backend = sim->session.backend;

	if (backend == NULL || !backend->in_transaction)
		return;
	int64_t since = later_of(later_of(backend->begun_us, sim->process.progress_us),
				 sim->process.paused_until_us);
	int64_t age = to_us - later_of(backend->begun_us, sim->process.paused_until_us);
	if (to_us - since > sim->plan.stall_us + SECOND || age > sim->plan.stall_us + 11 * SECOND)
		violated(sim, "holds a transaction open", "%lld ms, %s", (long long)age / MS,
			 process_state(sim));
}

/* The stall timer is for a sink that reports nothing. */
void check_stall(struct sim *sim, const char *before)
{
	int64_t since = later_of(sim->process.progress_us, sim->session.claimed_us);

	/* Nor does one that reports little by little keep a transaction open for ever. */
	if (sim->now_us - sim->session.claimed_us > sim->plan.stall_us + 9 * SECOND)
		return;
	if (strcmp(before, "withdrawing") != 0 && strcmp(process_state(sim), "withdrawing") == 0 &&
	    sim->now_us - since < sim->plan.stall_us)
		violated(sim, "gives up too soon", "after %lld ms",
			 (long long)(sim->now_us - since) / MS);
}

/* Every insert would pay for a bell that nobody answers. */
static void check_bell(struct sim *sim, int64_t to_us, const char *state)
{
	const struct backend *backend = sim->session.backend;

	if (sim->db.bell && backend != NULL && strcmp(state, "holding") == 0 &&
	    sim->db.lock_owner == (unsigned)(backend - sim->db.backends) + 1 &&
	    to_us - sim->now_us > 50 * MS)
		violated(sim, "leaves the bell armed", "while %s", state);
}

void check_leap(struct sim *sim, int64_t to_us)
{
	const char *state = process_state(sim);

	if (!process_runs(sim) || sim->process.paused_until_us > sim->now_us)
		return;
	if (strcmp(state, "resting") == 0)
		check_sleep(sim, to_us);
	check_transaction(sim, to_us);
	check_bell(sim, to_us, state);
}

void check_step(struct sim *sim)
{
	const char *state = process_state(sim);

	if (sim->states != NULL)
		states_note(sim->states, sim);
	if ((strcmp(state, "resting") != 0 && strcmp(state, "claiming") != 0) ||
	    sim->process.paused_until_us > sim->now_us)
		sim->looking_us = sim->now_us;
	if (sim->idle_us == 0 && sim->healed_us != 0 && sim->now_us - sim->healed_us > 120 * SECOND)
		violated(sim, "does not drain", "%s", state);
	if (sim->process.asked_to_stop && sim->now_us - sim->process.stop_us > 30 * SECOND)
		violated(sim, "does not stop", "%s", state);
}

/* ---- the end ---- */

void check_end(struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if (row->state == ROW_VISIBLE)
			violated(sim, "leaves an event in the outbox", "row %u", i);
		if (is_due(sim, row) && row->appended == 0)
			violated(sim, "loses an event", "row %u", i);
		if (is_committed(row) && sim->plan.set_aside && row->kind != KIND_GOOD &&
		    !row->dead_letter)
			violated(sim, "loses a rejected event", "row %u", i);
	}
	int64_t polls = (sim->now_us - sim->idle_us) / sim->process.options.poll_us;
	if (sim->looks - sim->idle_looks > (unsigned)polls + 24)
		violated(sim, "looks too often", "%u looks in %lld polls",
			 sim->looks - sim->idle_looks, (long long)polls);
}
