/* SPDX-License-Identifier: ISC */
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

unsigned line_of(const struct row *row)
{
	return row->key * TOPICS + row->topic;
}

/* ---- what a fault excuses ---- */

void allow_repeats(struct sim *sim, uint64_t rows)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (rows & ROW_BIT(i))
			sim->db.rows[i].repeats_allowed++;
}

/* A key's log may go back once, to be followed by a replay without a gap. */
void allow_jumps(struct sim *sim)
{
	for (unsigned line = 0; line < LINES; line++)
		sim->jumps_allowed[line]++;
}

/* ---- the log ---- */

static bool is_committed(const struct row *row)
{
	return row->state == ROW_VISIBLE || row->state == ROW_GONE || row->state == ROW_LETTER;
}

/* Its key goes on without it, or may. */
static bool is_out_of_line(const struct sim *sim, const struct row *row)
{
	return row->dead_letter || (row->bad && may_dead_letter(sim));
}

/* A row that must stand in the log sooner or later, and before the later ones of its key. */
static bool is_due(const struct sim *sim, const struct row *row)
{
	return is_committed(row) && !is_out_of_line(sim, row);
}

static void check_order(struct sim *sim, unsigned index)
{
	const struct row *row = &sim->db.rows[index];

	for (unsigned i = 0; i < sim->db.row_count && !sim->plan.competing; i++) {
		const struct row *other = &sim->db.rows[i];
		if (line_of(other) == line_of(row) && is_due(sim, other) &&
		    other->number < row->number && other->appended == 0)
			violated(sim, "reorders a key", "row %u before row %u", index, i);
	}
}

static bool follows(const struct sim *sim, const struct row *row)
{
	unsigned last = sim->last_number[line_of(row)];

	if (row->number < last)
		return false;
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if (line_of(other) == line_of(row) && is_due(sim, other) && other->number >= last &&
		    other->number < row->number)
			return false;
	}
	return true;
}

static void check_repeat(struct sim *sim, unsigned index)
{
	const struct row *row = &sim->db.rows[index];

	sim->repeats++;
	if (sim->plan.exactly_once || row->appended > 1 + row->repeats_allowed)
		violated(sim, "repeats without a cause", "row %u for the %u. time", index,
			 row->appended);
	if (sim->plan.competing || sim->lines_excused || sim->key_excused[row->key] ||
	    is_out_of_line(sim, row) || follows(sim, row))
		return;
	if (sim->jumps_allowed[line_of(row)] == 0)
		violated(sim, "repeats out of line", "row %u", index);
	else
		sim->jumps_allowed[line_of(row)]--;
}

void check_appended(struct sim *sim, unsigned index)
{
	struct row *row = &sim->db.rows[index];

	row->appended++;
	/* What was discarded was on its way before. */
	if (row->state == ROW_FORGOTTEN || row->state == ROW_REMOVED)
		return;
	if (!is_committed(row)) {
		violated(sim, "publishes what was not committed", "row %u", index);
		return;
	}
	if (row->appended > 1)
		check_repeat(sim, index);
	else if (!row->dead_letter)
		check_order(sim, index);
	if (!is_out_of_line(sim, row))
		sim->last_number[line_of(row)] = row->number + 1;
}

/* ---- the outbox ---- */

void check_deleted(struct sim *sim, uint64_t deleted, uint64_t dead_letter)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if (!(deleted & ROW_BIT(i)))
			continue;
		if (dead_letter & ROW_BIT(i)) {
			if (!row->bad)
				violated(sim, "sets a good event aside", "row %u", i);
		} else if (row->appended == 0 &&
			   !(sim->plan.exactly_once && transactions_have(sim, i))) {
			violated(sim, "takes an event from the outbox unpublished", "row %u", i);
		}
	}
}

/* ---- the end ---- */

void check_end(struct sim *sim)
{
	if (sim->plan.position)
		positions_check_end(sim);
	if (sim->plan.exactly_once) {
		slots_check_end(sim);
		transactions_check_end(sim);
	}
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if (row->state == ROW_VISIBLE)
			violated(sim, "leaves an event in the outbox", "row %u", i);
		bool is_gone = row->state == ROW_GONE && sim->plan.letters;
		if ((is_due(sim, row) || is_gone) && row->appended == 0)
			violated(sim, "loses an event", "row %u", i);
		if (row->state == ROW_LETTER &&
		    (row->letter.parked || row->letter.for_topic || row->letter.wants != 0))
			violated(sim, "leaves a letter", "row %u", i);
		if (is_committed(row) && !sim->plan.letters && may_dead_letter(sim) && row->bad &&
		    !row->dead_letter)
			violated(sim, "loses a rejected event", "row %u", i);
	}
}

/* A relay with peers polls them four times in a second, alone once in five; it polls the table, and
 * sweeps. */
static int64_t idle_looks(const struct relay *relay, int64_t idle_us)
{
	const struct sim *sim = relay->sim;
	const struct poll_options *options = &relay->process.poll_options;
	bool alone = sim->plan.relays == 1 && sim->plan.shards == 1;

	return idle_us / (alone ? 5 * SECOND : 250 * MS) + idle_us / options->poll_us +
	       idle_us / options->sweep_us + 24;
}

/* When all has been idle for a while. */
void check_idle(struct sim *sim)
{
	int64_t most = sim->idle_gains * 20; /* whoever gains shards begins anew */

	for (unsigned r = 0; r < sim->plan.relays; r++)
		most += idle_looks(&sim->relays[r], sim->now_us - sim->idle_us);
	if (sim->idle_looks > most)
		violated(sim, "looks too often", "%u looks, not %lld", sim->idle_looks,
			 (long long)most);
	check_shares(sim);
}
