/* SPDX-License-Identifier: ISC */
/*
 * halted.c - what a session does with what was rejected and is not to be a dead letter: what
 * outbox/held.c, outbox/trial.c and outbox/reconcile.c do, with the real outbox/holds.c; and the
 * operator who mends it
 */
#include "halted.h"

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

/* ---- the operator ---- */

/* In the end nothing takes long, and what is mended shows. */
static void call_operator(struct sim *sim, struct row *row)
{
	if (row->mend_us != 0)
		return;
	uint32_t most = sim->healed || sim->plan.exhaustive ? SECOND : 20 * SECOND;
	row->mend_us = sim->now_us + 1 + (int64_t)sim_below(sim, most);
	row->mend = sim->healed ? MEND_CHANGE : (enum mend)sim_below(sim, MENDS);
}

bool operator_can_mend(const struct sim *sim, const struct row *row)
{
	return row->kind != KIND_GOOD && row->mend_us != 0 && row->mend_us <= sim->now_us &&
	       row_is_free(sim, row);
}

void operator_mends(struct sim *sim, struct row *row)
{
	trace(sim, "operator: row %u, way %d", (unsigned)(row - sim->db.rows), (int)row->mend);
	row->changed = row->mend == MEND_CHANGE;
	if (row->mend == MEND_REMOVE)
		row->state = ROW_REMOVED;
	else
		row->kind = KIND_GOOD;
}

/* ---- what is held ---- */

static bool waits_behind(const struct sim *sim, const struct row *row, uint64_t returned)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *other = &sim->db.rows[i];
		if ((returned & ROW_BIT(i)) && other->key == row->key && other->id < row->id)
			return !sim->plan.competing;
	}
	return false;
}

void halted_hold(struct session *session, uint64_t rows, uint64_t returned)
{
	struct sim *sim = sim_of(session);

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		struct outbox_hold hold = {.id = hold_id(sim, i),
					   .key = row->key,
					   .reason = REJECT_INVALID_RECORD,
					   .tried_us = sim->now_us};
		if (!(rows & ROW_BIT(i)))
			continue;
		if (waits_behind(sim, row, returned)) {
			session->relay->process.rejected_us[i] = 0;
			continue;
		}
		outbox_holds_add(&session->holds, &hold);
		call_operator(sim, row);
	}
	if (rows == 0)
		return;
	trace_of(session->relay, "keeps back rows %llx", (unsigned long long)rows);
	refused_changed(session);
}

/* Those that are there still. True if it goes on by a planted error. */
bool halted_see(struct session *session, uint64_t due)
{
	bool ends = false;

	for (size_t i = 0; i < session->holds.count; i++) {
		struct outbox_hold *hold = &session->holds.items[i];
		struct outbox_hold row = {.key = hold->key};
		if (hold->reason == REJECT_NONE || hold->released)
			continue;
		outbox_holds_seen(hold, &row, sim_of(session)->now_us);
		hold->due |= (due & ROW_BIT(place_of(hold))) != 0;
		if (sim_of(session)->plant != PLANT_HALT_ENDS)
			continue;
		outbox_holds_release(&session->holds, hold);
		ends = true;
	}
	return ends;
}

bool halted_now(const struct session *session)
{
	return session->source.held > 0 && shards_owned(&session->source.shards) > 0 &&
	       session->relay->process.options.policy == REJECT_HALTS;
}

/* ---- trying it alone ---- */

static struct outbox_hold *due(struct session *session)
{
	return outbox_holds_due(&session->holds,
				session->relay->process.options.policy == REJECT_HALTS);
}

bool halted_tries(struct session *session)
{
	return due(session) != NULL;
}

void halted_ask(struct session *session)
{
	struct sim *sim = sim_of(session);
	struct outbox_hold *hold = due(session);
	struct ask *added = session_ask(session, ASK_BEGIN);

	outbox_holds_try(&session->holds, hold, sim->now_us);
	sim->db.rows[place_of(hold)].changed = false; /* that is seen now */
	session->in_transaction = true;
	if (added != NULL)
		added->immediate = session->guarded;
	added = session_ask(session, ASK_CLAIM);
	if (added == NULL)
		return;
	added->claim = (struct claim){.rows = 1, .bytes = 1, .alone = true};
	added->shards = session_owned(session);
	added->held = sim->plant == PLANT_TRIES_ALL ? 0 : ~ROW_BIT(place_of(hold));
}

bool halted_is_tried(const struct session *session, unsigned row)
{
	const struct outbox_holds *holds = &session->holds;

	for (size_t i = 0; i < holds->count; i++)
		if (holds->items[i].trying && place_of(&holds->items[i]) == row)
			return true;
	return false;
}

bool halted_found_nothing(const struct session *session, const struct answer *answer)
{
	return (answer->rows | answer->moved) == 0 && session->poll.trying &&
	       session->poll.state == POLL_CLAIMING;
}

void halted_end(struct session *session, bool tried)
{
	struct ask *added = session_ask(session, ASK_END);

	if (added != NULL)
		added->alone = tried;
	session_ended(session);
}

/* It is rolled back. */
void halted_astray(struct session *session)
{
	outbox_holds_end_try(&session->holds);
	session->dealing = session->aborting = true;
	session->narrow = false;
	session_ask(session, ASK_ABORT);
	session_ended(session);
}

/* True if it was the one tried alone, which cannot go: that is tried again later. */
bool halted_refused(struct session *session)
{
	struct outbox_hold *hold = outbox_holds_tried(&session->holds);

	if (hold == NULL || !session->poll.trying)
		return false;
	outbox_holds_end_try(&session->holds);
	halted_astray(session);
	return true;
}

void halted_settled(struct session *session)
{
	struct outbox_hold *hold = outbox_holds_tried(&session->holds);

	if (hold == NULL)
		return;
	outbox_holds_end_try(&session->holds);
	outbox_holds_release(&session->holds, hold);
	refused_changed(session);
}

void halted_lost(struct session *session)
{
	outbox_holds_doubt(&session->holds);
	for (size_t i = 0; i < session->holds.count; i++)
		if (sim_of(session)->plant == PLANT_HALT_FORGOTTEN &&
		    session->holds.items[i].reason != REJECT_NONE)
			outbox_holds_release(&session->holds, &session->holds.items[i]);
	refused_changed(session);
}

/* ---- what must be true ---- */

static bool is_held(const struct session *session, unsigned row)
{
	for (size_t i = 0; i < session->holds.count; i++)
		if (place_of(&session->holds.items[i]) == row)
			return true;
	return false;
}

/* Unless a row was changed it is tried again now and then only. Where each batch is a transaction,
 * what comes before it is published first, and that is before it is held. */
void halted_rejected(struct relay *relay, unsigned row)
{
	struct sim *sim = relay->sim;
	int64_t *last = &relay->process.rejected_us[row];
	bool known = !sim->plan.exactly_once || is_held(&relay->session, row);

	if (relay->process.options.policy == REJECT_HALTS && *last != 0 && known &&
	    sim->db.rows[row].state != ROW_LETTER && sim->now_us - *last < HOLDS_TRY_US)
		violated(sim, "goes on instead of halting", "row %u is rejected after %lld ms", row,
			 (long long)(sim->now_us - *last) / MS);
	*last = sim->now_us;
}
