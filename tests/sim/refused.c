/*
 * refused.c - what a session does when the database does not let a row go: what outbox/refused.c,
 * outbox/examine.c and outbox/reconcile.c do, with the real outbox/holds.c
 *
 * A hold is of a row of the model, by its place there, and has no words.
 */
#include "sim.h"

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

/* ---- what is held ---- */

static void holds_changed(struct session *session)
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
		struct outbox_hold hold = {.id = i, .key = sim->db.rows[i].key};
		hold.published =
		    (published & ROW_BIT(i)) && sim->plant != PLANT_PUBLISHED_FORGOTTEN;
		if (rows & ROW_BIT(i))
			outbox_holds_add(&session->holds, &hold);
	}
	if (rows != 0) {
		trace_of(session->relay, "holds rows %llx", (unsigned long long)rows);
		holds_changed(session);
	}
}

uint64_t refused_published(const struct session *session)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < session->holds.count; i++)
		if (session->holds.items[i].published)
			rows |= ROW_BIT(session->holds.items[i].id);
	return rows;
}

uint64_t refused_left_out(const struct session *session)
{
	const struct sim *sim = sim_of(session);
	bool by_row = sim->plan.competing || sim->plant == PLANT_HOLDS_ROW_ONLY;
	uint64_t rows = 0;

	for (size_t i = 0; i < session->holds.count; i++) {
		const struct outbox_hold *hold = &session->holds.items[i];
		rows |= by_row ? ROW_BIT(hold->id) : rows_of_key(sim, (unsigned)hold->key);
	}
	if (rows != 0 && sim->plant == PLANT_HOLDS_ALL)
		return ~UINT64_C(0);
	return rows;
}

/* All that waits is looked at: what was held is taken in its order. */
void refused_claim_asked(struct session *session, const struct claim *claim)
{
	if (claim->low_watermark != 0 || session->holds.released == 0)
		return;
	outbox_holds_drop_released(&session->holds);
	holds_changed(session);
}

/* ---- trying held rows again ---- */

void refused_ask_retest(struct session *session, struct ask *ask)
{
	ask->shards = session_owned(session);
	ask->immediate = session->guarded;
	for (size_t i = 0; i < session->holds.count; i++) {
		const struct outbox_hold *hold = &session->holds.items[i];
		if (hold->released)
			continue;
		ask->held |= ROW_BIT(hold->id);
		ask->settles |= hold->published ? ROW_BIT(hold->id) : 0;
	}
}

void refused_retested(struct session *session, uint64_t released)
{
	enum plant plant = sim_of(session)->plant;
	struct outbox_holds *holds = &session->holds;

	for (size_t i = 0; i < holds->count; i++)
		if (released & ROW_BIT(holds->items[i].id))
			outbox_holds_release(holds, &holds->items[i]);
	if (released == 0)
		return;
	if (plant == PLANT_DROPPED_AT_ONCE)
		outbox_holds_drop_released(holds);
	holds_changed(session);
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
	bool rolled_back = session->rolled_back, narrow = session->narrow;

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
