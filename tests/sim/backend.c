/* SPDX-License-Identifier: ISC */
/*
 * backend.c - what a server process does with what it is asked
 */
#include "sim.h"

#include <string.h>

static bool waits_for_a_row(const struct sim *sim, const struct backend *backend, uint64_t rows)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		bool waits = row->state == ROW_LETTER
				 ? row->taken_by != 0
				 : row->state == ROW_VISIBLE && !row_is_free(sim, row) &&
				       !sim->plan.position;
		if ((rows & ROW_BIT(i)) && waits && row->taken_by != backend_number(sim, backend))
			return true;
	}
	return false;
}

bool backend_can_serve(const struct sim *sim, const struct backend *backend)
{
	if (!backend->used || backend->ask_count == 0)
		return false;
	const struct ask *first = &backend->asks[0];
	if (first->kind >= ASK_LETTERS_EDIT && first->kind <= ASK_LETTERS_CLAIM)
		return !letters_wait(sim, backend, first);
	return first->kind != ASK_RECONCILE || !waits_for_a_row(sim, backend,
								first->delivered | first->rejected |
								    first->published | first->kept);
}

static void delete_row(struct sim *sim, struct backend *backend, unsigned row)
{
	sim->db.rows[row].taken_by = backend_number(sim, backend);
	backend->deleted |= ROW_BIT(row);
}

static bool is_dirty(const struct sim *sim, const struct row *row)
{
	return sim->plant == PLANT_DIRTY_READ && row->state == ROW_DRAWN && row->taken_by == 0;
}

static bool is_in(const struct backend *backend, const struct row *row, uint32_t shards)
{
	return backend->layout > 0 && (shards & 1u << shard_of(row->key, backend->layout));
}

/* Visible to the backend's next statement; it may be locked. */
static bool is_seen(const struct sim *sim, const struct backend *backend, const struct row *row)
{
	unsigned self = backend_number(sim, backend);

	return is_dirty(sim, row) || (row->state == ROW_VISIBLE && row->taken_by != self);
}

static int lowest_above(const struct sim *sim, const struct backend *backend, const struct ask *ask,
			int64_t above)
{
	int lowest = -1;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->db.rows[i].id > above && !(ask->held & ROW_BIT(i)) &&
		    is_in(backend, &sim->db.rows[i], ask->shards) &&
		    is_seen(sim, backend, &sim->db.rows[i]) &&
		    (lowest < 0 || sim->db.rows[i].id < sim->db.rows[lowest].id))
			lowest = (int)i;
	return lowest;
}

/* Takes rows in order of id; those that another session has locked are passed over, and with them
 * the later ones of their keys. */
static void take_rows(struct sim *sim, struct backend *backend, const struct ask *ask,
		      struct answer *answer)
{
	const struct claim *claim = &ask->claim;
	struct session *session = &sim->relays[backend->relay].session;
	int64_t at = claim->low_watermark, fit = claim->bytes / 100, taken = 0, last = 0;
	uint32_t held = 0;
	int row;

	if (sim->plant == PLANT_CLAIMS_ABOVE_LAST && session->last_claimed > at)
		at = session->last_claimed;
	fit = fit > 0 ? fit : 1;
	while (taken < claim->rows && (row = lowest_above(sim, backend, ask, at)) >= 0) {
		const struct row *found = &sim->db.rows[row];
		if (taken == fit)
			break;
		at = found->id;
		bool is_free = row_is_free(sim, found) || is_dirty(sim, found);
		bool parked = letters_park(sim, backend, (unsigned)row);
		bool aside = parked || letters_wait_for_topic(sim, backend, (unsigned)row);
		if (!is_free && !sim->plan.competing &&
		    !(aside && sim->plant == PLANT_MOVES_PASS_LOCKED))
			held |= 1u << found->key;
		if (!is_free || ((held & 1u << found->key) && sim->plant != PLANT_KEY_NOT_HELD))
			continue;
		last = at;
		check_claimed(sim, backend, (unsigned)row);
		delete_row(sim, backend, (unsigned)row);
		if (aside)
			letters_move(sim, backend, (unsigned)row, !parked);
		*(aside ? &answer->moved : &answer->rows) |= ROW_BIT(row);
		taken++;
	}
	answer->full = taken == claim->rows;
	answer->cut = taken > 0 && (held != 0 || (taken == fit && row >= 0));
	/* Where relays compete, nobody counts what was passed over. */
	answer->upto =
	    held == 0 && (!sim->plan.competing || sim->plant == PLANT_COMPETING_RAISES) ? last : 0;
	if (sim->plant == PLANT_PASSED_OVER && taken == 0)
		answer->upto = NEVER;
	session->last_claimed = last;
	sim->claims++;
}

static bool is_stuck(const struct sim *sim, const struct row *row, bool immediate)
{
	return row->state != ROW_LETTER && row->stuck_until_us > sim->now_us &&
	       (immediate || !row->stuck_at_commit);
}

static uint64_t stuck_of(const struct sim *sim, uint64_t rows, bool immediate)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if ((rows & ROW_BIT(i)) && !is_stuck(sim, &sim->db.rows[i], immediate))
			rows &= ~ROW_BIT(i);
	return rows;
}

/* A statement has failed: the transaction is aborted, and what it took nobody has seen. */
static void fail(struct sim *sim, struct backend *backend, uint64_t unseen)
{
	backend->deleted &= ~unseen;
	backend_abort(sim, backend);
	backend->failed = true;
}

/* Claims all, or fails at a row that cannot go. */
static void claim_rows(struct sim *sim, struct backend *backend, const struct ask *ask,
		       struct answer *answer)
{
	answer->kind = ANSWER_CLAIMED;
	if (sim->plan.position)
		positions_claim(sim, backend, ask, answer);
	else
		take_rows(sim, backend, ask, answer);
	if (stuck_of(sim, answer->rows | answer->moved, backend->immediate) == 0)
		return;
	fail(sim, backend, answer->rows | answer->moved);
	*answer = (struct answer){.kind = ANSWER_REFUSED,
				  .alone = ask->claim.rows == 1,
				  .low_watermark = ask->claim.low_watermark};
}

/* The row that a claim of one takes, if it cannot go. */
static uint64_t examine(struct sim *sim, struct backend *backend, const struct ask *ask)
{
	struct answer taken = {0};

	backend->immediate = ask->immediate;
	take_rows(sim, backend, ask, &taken);
	taken.rows |= taken.moved;
	fail(sim, backend, taken.rows);
	return stuck_of(sim, taken.rows, backend->immediate);
}

/* What a claim that observes asks after it: the lowest row that is left. */
static struct answer look_for_more(struct sim *sim, const struct backend *backend,
				   const struct ask *ask)
{
	struct answer answer = backend->claimed;
	int row =
	    sim->plan.position ? -1 : lowest_above(sim, backend, ask, ask->claim.low_watermark);

	if (sim->plant != PLANT_PASSED_OVER)
		answer.upto = row < 0 ? NEVER : sim->db.rows[row].id - 1;
	return answer;
}

static uint64_t visible_of(const struct sim *sim, uint64_t rows)
{
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->db.rows[i].state != ROW_VISIBLE)
			rows &= ~ROW_BIT(i);
	return rows;
}

/* Rows that are there and do not go. */
static void note_kept(const struct sim *sim, struct backend *backend, const struct ask *first)
{
	uint64_t stuck = stuck_of(sim, first->delivered | first->rejected, true);

	stuck = visible_of(sim, stuck);
	backend->stuck = stuck;
	backend->stuck_published = stuck & first->delivered;
}

/* Whether it can be settled. */
static bool is_to_settle(const struct sim *sim, const struct backend *backend, unsigned row)
{
	return sim->plan.position ? positions_waits(sim, backend, row)
				  : row_is_free(sim, &sim->db.rows[row]);
}

static void reconcile_rows(struct sim *sim, struct backend *backend, const struct ask *first)
{
	uint64_t all = first->delivered | first->rejected;

	if (sim->plant == PLANT_RECONCILE_SKIPPED ||
	    (sim->plant == PLANT_ACKS_FORGOTTEN && sim->relays[backend->relay].session.was_lost))
		return;
	note_kept(sim, backend, first);
	backend->kept_back = first->kept_back;
	backend->returned = first->returned;
	if (sim->plant == PLANT_REJECT_SETTLED)
		all |= first->kept_back;
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		if (!(all & ROW_BIT(i)) || (backend->stuck & ROW_BIT(i)))
			continue;
		for (unsigned j = 0; j < sim->db.row_count; j++)
			if (is_to_settle(sim, backend, j) &&
			    (j == i || (sim->plant == PLANT_RECONCILE_BY_ID &&
					sim->db.rows[j].id == sim->db.rows[i].id))) {
				delete_row(sim, backend, j);
				positions_note_ahead(sim, backend, j);
				if ((first->rejected & ROW_BIT(i)) &&
				    sim->plant != PLANT_ASIDE_DROPPED)
					backend->dead_letter |= ROW_BIT(j);
			}
	}
	if (sim->plan.letters)
		letters_reconcile(sim, backend, first);
}

static void begin(struct sim *sim, struct backend *backend, bool expected)
{
	if (backend->in_transaction == expected)
		violated(sim, expected ? "begins twice" : "no transaction is open", "%s",
			 process_state(&sim->relays[backend->relay]));
	backend->in_transaction = true;
}

static void begun(struct sim *sim, struct backend *backend)
{
	begin(sim, backend, true);
	backend->begun_us = sim->now_us;
	backend->transactions++;
	backend->stuck = backend->stuck_published = backend->kept_back = 0;
	backend->returned = 0;
}

void backend_is_outside(struct sim *sim, const struct backend *backend)
{
	if (backend->in_transaction)
		violated(sim, "asks within a transaction what belongs outside", "%s",
			 process_state(&sim->relays[backend->relay]));
}

/* What was read first comes with the second reading; a planted error swaps them. */
static struct answer observe(struct sim *sim, const struct backend *backend)
{
	struct answer answer = {.kind = ANSWER_OBSERVED, .drawn = backend->drawn};

	lock_holders(sim, backend, &answer.writers);
	if (sim->plant == PLANT_DRAWN_TOO_LATE) {
		answer.writers.txns = (uint32_t)backend->drawn;
		answer.drawn = sim->db.sequence;
	}
	if (sim->plant == PLANT_NO_WRITERS)
		answer.writers.txns = 0;
	if (answer.drawn == 0)
		answer.drawn = DRAWN_UNKNOWN;
	return answer;
}

static int64_t draw(const struct sim *sim, const struct backend *backend)
{
	struct holders holders;

	if (sim->plant != PLANT_DRAWN_TOO_LATE)
		return sim->db.sequence;
	lock_holders(sim, backend, &holders);
	return holders.txns;
}

static void move_bell(struct sim *sim, const struct backend *backend, bool armed)
{
	struct session *session = &sim->relays[backend->relay].session;

	session->bell_late = armed && sim->plant == PLANT_BELL_LATE;
	if (!session->bell_late)
		sim->db.bell = armed;
}

/* False if a row that was set aside cannot go. */
static bool end_look(struct sim *sim, struct backend *backend)
{
	begin(sim, backend, false);
	if (stuck_of(sim, backend->deleted, true) != 0) {
		backend_abort(sim, backend);
		return false;
	}
	backend_commit(sim, backend);
	struct session *session = &sim->relays[backend->relay].session;
	if (session->bell_late)
		sim->db.bell = true;
	session->bell_late = false;
	return true;
}

/* False if a row cannot go after all. */
static bool commit(struct sim *sim, struct backend *backend)
{
	bool refused = stuck_of(sim, backend->deleted, true) != 0;

	begin(sim, backend, false);
	if (refused || sim->plant == PLANT_COMMIT_UNDONE)
		backend_abort(sim, backend);
	else
		backend_commit(sim, backend);
	return !refused;
}

static void roll_back(struct sim *sim, struct backend *backend)
{
	if (backend->failed)
		return;
	begin(sim, backend, false);
	if (sim->plant == PLANT_ROLL_BACK_COMMITS)
		backend_commit(sim, backend);
	else
		backend_abort(sim, backend);
}

/* Held rows are tried again, each in a transaction of its own: which can be claimed, have gone, or
 * are another relay's. Those that were published are only to go. */
static uint64_t retest(struct sim *sim, struct backend *backend, const struct ask *ask,
		       uint64_t *due)
{
	uint64_t can_go = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		bool settles = ask->settles & ROW_BIT(i), is_free = row_is_free(sim, row);
		if (!(ask->held & ROW_BIT(i)))
			continue;
		bool foreign = !settles && !is_in(backend, row, ask->shards);
		if ((ask->kept_back & ROW_BIT(i)) && row->state == ROW_VISIBLE) {
			*due |= row->changed ? ROW_BIT(i) : 0;
			continue;
		}
		if (row->state == ROW_VISIBLE && !foreign &&
		    (!is_free || is_stuck(sim, row, ask->immediate || settles)))
			continue;
		if (row->state == ROW_VISIBLE && settles)
			delete_row(sim, backend, i);
		can_go |= ROW_BIT(i);
	}
	backend_commit(sim, backend);
	return can_go;
}

/* Reading and claiming; false if there is nothing to answer. */
static bool serve_claim(struct sim *sim, struct backend *backend, const struct ask *first,
			struct answer *answer)
{
	switch (first->kind) {
	case ASK_BEGIN:
		sim->idle_looks++;
		begun(sim, backend);
		backend->immediate = first->immediate;
		return false;
	case ASK_DRAWN:
		backend->drawn = draw(sim, backend);
		return false;
	case ASK_WRITERS:
		*answer = observe(sim, backend);
		return true;
	case ASK_CLAIM:
		begin(sim, backend, false);
		note_work(sim, backend, first->shards & backend->locks);
		claim_rows(sim, backend, first, answer);
		backend->claimed = *answer;
		return backend->failed || !first->claim.observes;
	default:
		*answer = look_for_more(sim, backend, first);
		return true;
	}
}

/* Settling; likewise. */
static bool serve_end(struct sim *sim, struct backend *backend, const struct ask *first,
		      struct answer *answer)
{
	switch (first->kind) {
	case ASK_COMMIT:
		answer->of_commit = !commit(sim, backend);
		answer->kind = answer->of_commit ? ANSWER_REFUSED : ANSWER_SETTLED;
		return true;
	case ASK_END:
		answer->kind = end_look(sim, backend) ? ANSWER_SETTLED : ANSWER_END_REFUSED;
		answer->alone = first->alone || positions_are_over(sim, backend);
		return answer->kind == ANSWER_END_REFUSED || answer->alone;
	case ASK_ROLLBACK:
		if (!first->idle)
			roll_back(sim, backend);
		answer->kind = ANSWER_ROLLED_BACK;
		return true;
	case ASK_ABORT:
		backend_abort(sim, backend);
		answer->stuck = first->claim.rows == 1 ? examine(sim, backend, first) : 0;
		answer->alone = first->claim.rows == 1;
		answer->kind = ANSWER_ABORTED;
		return true;
	case ASK_RECONCILE:
		begun(sim, backend);
		reconcile_rows(sim, backend, first);
		return false;
	default:
		backend_commit(sim, backend);
		answer->kind = ANSWER_RECONCILED;
		answer->stuck = backend->stuck;
		answer->of_commit = backend->stuck != stuck_of(sim, backend->stuck, false);
		answer->published = backend->stuck_published;
		answer->kept_back = visible_of(sim, backend->kept_back);
		answer->returned = visible_of(sim, backend->returned);
		return true;
	}
}

/* An aborted transaction takes nothing but its end. */
static bool is_in_vain(const struct backend *backend, enum ask_kind kind)
{
	bool ends = kind == ASK_ROLLBACK || kind == ASK_ABORT;

	return backend->failed && !ends;
}

static void serve_bell(struct sim *sim, const struct backend *backend, enum ask_kind kind)
{
	if (kind != ASK_BELL_OFF)
		backend_is_outside(sim, backend);
	move_bell(sim, backend, kind == ASK_BELL_ON);
	if (kind == ASK_BELL_OFF_TOLD)
		notify(sim, backend, (struct note){.kind = NOTE_REST});
}

/* Carries out an ask; false if there is nothing to answer. */
static bool carry_out(struct sim *sim, struct backend *backend, const struct ask *first,
		      struct answer *answer)
{
	bool answers;

	*answer = (struct answer){0};
	if (is_in_vain(backend, first->kind))
		return false;
	switch (first->kind) {
	case ASK_JOIN:
	case ASK_MEMBERSHIP:
	case ASK_END_PREVIOUS:
	case ASK_LOOK:
	case ASK_TRY:
	case ASK_VERIFY:
	case ASK_GIVE:
		return backend_serve_group(sim, backend, first, answer);
	case ASK_BEGIN:
	case ASK_DRAWN:
	case ASK_WRITERS:
	case ASK_CLAIM:
	case ASK_LEFT:
		return serve_claim(sim, backend, first, answer);
	case ASK_LETTERS_EDIT:
	case ASK_LETTERS_DISCARD:
	case ASK_LETTERS_ATTEMPT:
		backend_is_outside(sim, backend);
		return letters_serve(sim, backend, first, answer);
	case ASK_LETTERS_CLAIM:
		begin(sim, backend, false);
		return letters_serve(sim, backend, first, answer);
	case ASK_COMMIT:
	case ASK_END:
	case ASK_ROLLBACK:
	case ASK_ABORT:
	case ASK_RECONCILE:
	case ASK_RECONCILE_COMMIT:
		answers = serve_end(sim, backend, first, answer);
		backend->failed = false;
		return answers;
	case ASK_BELL_ON:
	case ASK_BELL_OFF:
	case ASK_BELL_OFF_TOLD:
		serve_bell(sim, backend, first->kind);
		return false;
	case ASK_BEAT:
		return false;
	case ASK_LEAVE:
		backend_leave(sim, backend);
		return false;
	case ASK_HOUSEKEEP:
		backend_is_outside(sim, backend);
		answer->kind = ANSWER_GAUGED;
		positions_forget_ahead(sim, backend);
		answer->rows = retest(sim, backend, first, &answer->due);
		answer->letters = letters_count(sim, backend, first);
		return true;
	case ASK_CLOSE:
		answer->kind = ANSWER_CLOSED;
		return true;
	case ASK_SLOT:
	case ASK_OWN:
	case ASK_RESOLVED:
	case ASK_TRY_SLOT:
	case ASK_PROVE:
	case ASK_FORGET:
	case ASK_NUMBER:
		return slots_serve(sim, backend, first, answer);
	}
	return false;
}

void backend_serve(struct sim *sim, struct backend *backend)
{
	struct relay *relay = &sim->relays[backend->relay];
	struct ask first = backend->asks[0];
	struct answer answer;
	bool answers;

	backend->ask_count--;
	memmove(&backend->asks[0], &backend->asks[1], backend->ask_count * sizeof(first));
	trace_of(relay, "backend %u%s: ask %d floor %lld shards %x", backend_number(sim, backend),
		 backend->ghost ? " (ghost)" : "", (int)first.kind,
		 (long long)first.claim.low_watermark, first.shards);
	answers = carry_out(sim, backend, &first, &answer);
	if (answers && relay->session.backend == backend)
		session_push(relay, answer);
	if (first.kind != ASK_CLOSE)
		return;
	backend_end(sim, backend);
	if (relay->session.backend == backend)
		relay->session.backend = NULL;
}

/* idle_session_timeout, idle_in_transaction_session_timeout */
bool backend_has_expired(const struct sim *sim, const struct backend *backend)
{
	return backend->used && !backend->ghost && backend->ask_count == 0 &&
	       sim->now_us - backend->heard_us >= sim->plan.session_timeout_us;
}
