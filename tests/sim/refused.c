/* SPDX-License-Identifier: ISC */
/*
 * refused.c - what a session does when the database does not let a row go: what outbox/refused.c,
 * outbox/examine.c and outbox/reconcile.c do, with the real outbox/holds.c
 *
 * A hold is of a row of the model and has no words.
 */
#include "halted.h"

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

/* ---- what is held ---- */

void refused_changed(struct session *session)
{
	const struct outbox_holds *holds = &session->holds;
	struct source *source = &session->source;

	source->held = 0;
	source->held_keys = outbox_holds_waiting(holds);
	source->held_why = source->held_keys > 0 ? "a row cannot go" : "";
	for (size_t i = 0; i < holds->count; i++)
		source->held += !holds->items[i].released && !holds->items[i].published;
}

void refused_hold(struct session *session, uint64_t rows, uint64_t published)
{
	const struct sim *sim = sim_of(session);

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct outbox_hold hold = {.id = hold_id(sim, i), .key = sim->db.rows[i].key};
		hold.published =
		    (published & ROW_BIT(i)) && sim->plant != PLANT_PUBLISHED_FORGOTTEN;
		if (rows & ROW_BIT(i))
			outbox_holds_add(&session->holds, &hold);
	}
	if (rows != 0) {
		trace_of(session->relay, "holds rows %llx", (unsigned long long)rows);
		refused_changed(session);
	}
}

uint64_t refused_published(const struct session *session)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < session->holds.count; i++)
		if (session->holds.items[i].published)
			rows |= ROW_BIT(place_of(&session->holds.items[i]));
	return rows;
}

uint64_t refused_left_out(const struct session *session)
{
	const struct sim *sim = sim_of(session);
	bool by_row = sim->plan.competing || sim->plant == PLANT_HOLDS_ROW_ONLY;
	uint64_t rows = 0;

	for (size_t i = 0; i < session->holds.count; i++) {
		const struct outbox_hold *hold = &session->holds.items[i];
		rows |= by_row ? ROW_BIT(place_of(hold)) : rows_of_key(sim, (unsigned)hold->key);
	}
	if (rows != 0 && sim->plant == PLANT_HOLDS_ALL)
		return ~UINT64_C(0);
	return rows;
}

/* All that waits is looked at: what was held is taken in its order. */
void refused_claim_asked(struct session *session, const struct claim *claim)
{
	outbox_holds_end_try(&session->holds);
	if (claim->low_watermark != 0 || session->holds.released == 0)
		return;
	outbox_holds_drop_released(&session->holds);
	refused_changed(session);
}

/* ---- trying held rows again ---- */

void refused_ask_retest(struct session *session, struct ask *ask)
{
	ask->shards = session_owned(session);
	ask->immediate = session->guarded;
	ask->out = letters_out(session);
	for (size_t i = 0; i < session->holds.count; i++) {
		const struct outbox_hold *hold = &session->holds.items[i];
		if (hold->released)
			continue;
		ask->held |= ROW_BIT(place_of(hold));
		ask->settles |= hold->published ? ROW_BIT(place_of(hold)) : 0;
		ask->kept_back |= hold->reason != REJECT_NONE ? ROW_BIT(place_of(hold)) : 0;
	}
}

/* Of a row that is another relay's, which may come to it, nothing is known any more. */
static void release(struct session *session, struct outbox_hold *hold)
{
	unsigned place = place_of(hold);

	session->relay->process.rejected_us[place] = 0;
	if (session_mine(session, ROW_BIT(place)) != 0 || sim_of(session)->plan.competing)
		outbox_holds_release(&session->holds, hold);
	else
		outbox_holds_forget(&session->holds, hold);
}

static bool is_foreign(const struct session *session, const struct outbox_hold *hold)
{
	return !hold->published && session_mine(session, ROW_BIT(place_of(hold))) == 0;
}

void refused_retested(struct session *session, uint64_t released, uint64_t due)
{
	enum plant plant = sim_of(session)->plant;
	struct outbox_holds *holds = &session->holds;
	bool changed = false;

	for (size_t i = holds->count; i-- > 0;)
		if ((released & ROW_BIT(place_of(&holds->items[i]))) ||
		    is_foreign(session, &holds->items[i])) {
			changed |= !holds->items[i].released;
			release(session, &holds->items[i]);
		}
	bool ends = halted_see(session, due);
	if (!changed && !ends && !halted_tries(session))
		return;
	if (plant == PLANT_DROPPED_AT_ONCE)
		outbox_holds_drop_released(holds);
	refused_changed(session);
	if (plant != PLANT_RELEASE_UNTOLD)
		session_polled(session, POLL_RELEASED);
}

/* ---- refusals ---- */

void refused_forget(struct session *session)
{
	session->dealing = session->aborting = session->rolled_back = session->narrow = false;
}

/* True if it is being rolled back already; that is told once it is. */
bool refused_roll_back(struct session *session)
{
	session->rolled_back = session->dealing;
	return session->dealing;
}

static void on_refused(struct session *session, const struct answer *answer)
{
	/* The worker has asked for the ROLLBACK already. */
	if (!answer->of_commit && !session->in_transaction)
		return;
	if (!answer->of_commit && halted_refused(session))
		return;
	session->dealing = session->aborting = true;
	session->narrow = !answer->of_commit && !answer->alone;
	session->guarded |= answer->of_commit;
	struct ask *added = session_ask(session, ASK_ABORT);
	if (added != NULL && answer->alone) {
		added->claim =
		    (struct claim){.low_watermark = answer->low_watermark, .rows = 1, .bytes = 1};
		added->shards = session_owned(session);
		added->held = refused_left_out(session);
		added->immediate = session->guarded;
	}
	session_ended(session);
}

static void on_aborted(struct session *session, const struct answer *answer)
{
	const struct source_events *events = session->source.events;
	bool blameless = answer->alone && answer->stuck == 0;
	bool rolled_back = session->rolled_back, narrow = session->narrow || blameless;

	refused_forget(session);
	if (sim_of(session)->plant != PLANT_NEVER_HELD)
		refused_hold(session, answer->stuck, 0);
	if (rolled_back) {
		session_polled(session, POLL_ROLLED_BACK);
		events->rolled_back(session->source.owner);
	} else {
		session_poll(session, (struct poll_input){.event = POLL_FAILED, .narrow = narrow});
		events->failed(session->source.owner);
	}
}

/* True if nobody else is to hear the answer: behind a refusal all but the end is of no account. */
bool refused_heard(struct session *session, const struct answer *answer)
{
	switch (answer->kind) {
	case ANSWER_REFUSED:
		if (!session->aborting)
			on_refused(session, answer);
		return true;
	case ANSWER_ABORTED:
		on_aborted(session, answer);
		return true;
	case ANSWER_CLAIMED:
	case ANSWER_OBSERVED:
		return session->aborting;
	default:
		return false;
	}
}
