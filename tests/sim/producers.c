/* SPDX-License-Identifier: ISC */
/*
 * producers.c - a session's slot, what it may have in doubt, and settling that: what
 * outbox/producers.c does
 */
#include "halted.h"

#include <assert.h>

enum { AGAIN_US = 50 * MS };

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

static bool is_used(const struct session *session)
{
	return sim_of(session)->plan.exactly_once;
}

static void ask_shards(struct session *session, enum ask_kind kind, uint32_t shards, int64_t number)
{
	struct ask *added = session_ask(session, kind);

	if (added == NULL)
		return;
	added->shards = shards;
	added->number = number;
}

/* ---- the slot ---- */

void producers_begin(struct session *session)
{
	struct ask *added = session_ask(session, ASK_SLOT);

	if (added != NULL)
		added->unavailable = !session->poll.available && !session->wants_doubt;
	session->wants_doubt = false;
	session->unavailable = !session->poll.available;
}

static void on_slot(struct session *session, const struct answer *answer)
{
	struct producer_id *id = &session->source.producer;

	if (session->backend == NULL)
		return; /* that is about to be told */
	if (answer->slot < 0) {
		session_give_up(session);
		return;
	}
	id->number = answer->slot;
	id->settled = answer->number;
	session->line = answer->line;
	group_begin(session, !session->poll.available);
}

/* ---- shards ---- */

static void own(struct session *session)
{
	session->asked = session_owned(session);
	ask_shards(session, ASK_OWN, session->asked, 0);
}

static bool is_clean(const struct session *session)
{
	return session->resolved && !session->described;
}

void producers_own(struct session *session)
{
	bool clean = is_clean(session) ||
		     (session->resolved && sim_of(session)->plant == PLANT_OWNS_IN_DOUBT);

	if (!is_used(session) || !clean) {
		group_owned(session);
	} else if (sim_of(session)->plant == PLANT_CLAIMS_BEFORE_OWNER_ROW) {
		session->asked = session_owned(session);
		group_owned(session);
	} else {
		own(session);
	}
}

void producers_again(struct session *session)
{
	session->again_us = NEVER;
	own(session);
}

static void tell(struct session *session)
{
	bool resolving = session->resolving;
	int64_t events = __builtin_popcountll(session->doubt);

	session->resolving = false;
	session->doubt = 0;
	if (!resolving) {
		group_owned(session);
		return;
	}
	session_polled(session, POLL_RECONCILED);
	session->source.events->resolved(session->source.owner, events);
}

/* Others may have been gained meanwhile. Whoever has none waits for nobody. */
static void go_on(struct session *session, int other)
{
	if (other >= 0 && session_owned(session) != 0) {
		struct ask *added = session_ask(session, ASK_TRY_SLOT);
		if (added != NULL)
			added->slot = other;
	} else if (session->asked != session_owned(session)) {
		own(session);
	} else {
		tell(session);
	}
}

static void on_tried(struct session *session, bool got)
{
	session->wants_doubt = got; /* it has just resolved its own, so it can */
	if (got)
		session_give_up(session);
	else
		session->again_us = sim_of(session)->now_us + AGAIN_US;
}

bool producers_stand_by(struct session *session)
{
	if (!is_used(session) || session->poll.available || session->unavailable ||
	    session->resolved)
		return true;
	session_give_up(session);
	return false;
}

void producers_leave(struct session *session)
{
	if (is_used(session) && is_clean(session))
		ask_shards(session, ASK_FORGET, session_owned(session), 0);
}

bool producers_give(struct session *session, const struct shards *shards)
{
	uint32_t bits = 0;

	for (int k = 0; k < shards->count; k++)
		bits |= shards->owned[k] ? 1u << k : 0;
	if (!is_used(session))
		return true;
	if (!is_clean(session) && sim_of(session)->plant != PLANT_UNCLEAN_HAND_OVER) {
		session_give_up(session);
		return false;
	}
	ask_shards(session, ASK_FORGET, bits, 0);
	return true;
}

/* ---- a batch ---- */

void producers_describe(struct source *source, const struct batch *batch,
			struct ledger_batch *described)
{
	struct session *session = (struct session *)source;
	struct batch_walk walk;

	session->note =
	    (struct noted){.number = source->producer.settled + 1, .line = session->line};
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		session->note.rows |= ROW_BIT(event_row(e));
	session->described = true;
	*described = (struct ledger_batch){session->note.number,
					   {(const char *)&session->note, sizeof(session->note)}};
}

void producers_settle(struct session *session)
{
	if (session->described && sim_of(session)->plant != PLANT_NUMBER_LEFT_OUT)
		ask_shards(session, ASK_NUMBER, 0, session->source.producer.settled + 1);
}

void producers_settled(struct session *session)
{
	if (!session->described)
		return;
	session->described = false;
	session->source.producer.settled++;
}

/* ---- what is in doubt ---- */

/* NULL, or what does not go together. */
static const char *read_note(struct session *session, const struct noted *note)
{
	if (note->number <= session->source.producer.settled)
		return NULL;
	if (note->number != session->upto + 1)
		return "finds a gap in the ledger";
	if (note->line > session->line)
		return "finds a batch of a later server";
	session->upto = note->number;
	session->doubt |= note->rows;
	return NULL;
}

static const char *read(struct session *session, const struct ledger *ledger)
{
	const char *refusal = NULL;

	session->upto = session->source.producer.settled;
	session->doubt = 0;
	if (ledger->last < session->upto)
		refusal = "finds the ledger behind the database";
	for (size_t i = 0; i < ledger->count && refusal == NULL; i++)
		refusal = read_note(session, (const struct noted *)ledger->batches[i].note.data);
	return refusal;
}

static uint64_t up_to_highest(const struct session *session)
{
	const struct database *db = &sim_of(session)->db;
	uint64_t rows = 0;
	int64_t highest = 0;

	for (unsigned i = 0; i < db->row_count; i++)
		if ((session->doubt & ROW_BIT(i)) && db->rows[i].id > highest)
			highest = db->rows[i].id;
	for (unsigned i = 0; i < db->row_count; i++)
		if (db->rows[i].id <= highest)
			rows |= ROW_BIT(i);
	return rows;
}

/* Planted errors. */
static void spoil(struct session *session)
{
	switch (sim_of(session)->plant) {
	case PLANT_SLOT_UNRESOLVED:
		session->doubt = 0;
		break;
	case PLANT_SETTLES_MINE:
		session->doubt = session_mine(session, session->doubt);
		break;
	case PLANT_ACKS_SETTLED:
		session->doubt |= session->relay->producer.txn.remembered;
		break;
	case PLANT_SETTLES_UP_TO:
		session->doubt = up_to_highest(session);
		break;
	default:
		break;
	}
}

void producers_resolve(struct session *session)
{
	session->used = session->ledger->used;
	session->refusal = read(session, session->ledger);
	/* Of a session that was lost unnoticed, the slot may be another relay's by now. */
	if (session->refusal != NULL) {
		session_ask(session, ASK_PROVE);
		return;
	}
	spoil(session);
	session->resolving = true;
	trace_of(session->relay, "resolves slot %d: %lld to %lld, rows %llx",
		 session->source.producer.number, (long long)session->source.producer.settled,
		 (long long)session->upto, (unsigned long long)session->doubt);
	if (session->doubt == 0 && session->backend != NULL &&
	    sim_of(session)->plant == PLANT_INIT_BELIEVED) {
		producers_reconciled(session);
		session_push(session->relay, (struct answer){.kind = ANSWER_RESOLVED, .slot = -1});
		return;
	}
	if (session->doubt == 0) {
		producers_reconciled(session);
		return;
	}
	struct ask *added = session_ask(session, ASK_RECONCILE);
	if (added != NULL)
		added->delivered = session->doubt;
	session_ask(session, ASK_RECONCILE_COMMIT);
}

/* Who it is that holds them is this process alone: the next one would publish them again. */
void producers_kept(struct session *session)
{
	session->resolving = false;
	session->doubt = 0;
	session_polled(session, POLL_RECONCILED);
	session->source.events->failed(session->source.owner);
}

void producers_reconciled(struct session *session)
{
	session->asked = session_owned(session);
	struct ask *added = session_ask(session, ASK_RESOLVED);
	if (added == NULL)
		return;
	added->shards = session->asked;
	added->number = session->upto;
	added->used = session->used;
}

static void on_resolved(struct session *session, const struct answer *answer)
{
	session->source.producer.settled = session->upto;
	session->resolved = true;
	session->described = false;
	go_on(session, answer->slot);
}

/* ---- the session ---- */

void producers_lost(struct session *session)
{
	session->again_us = NEVER;
	session->resolved = session->described = session->resolving = false;
	session->source.producer.number = -1;
	session->doubt = 0;
}

void producers_answered(struct session *session, const struct answer *answer)
{
	switch (answer->kind) {
	case ANSWER_SLOT:
		on_slot(session, answer);
		break;
	case ANSWER_OWNED:
		go_on(session, answer->slot);
		break;
	case ANSWER_SLOT_TRIED:
		on_tried(session, answer->over);
		break;
	case ANSWER_PROVED:
		violated(sim_of(session), session->refusal, "slot %d, settled %lld",
			 session->source.producer.number,
			 (long long)session->source.producer.settled);
		break;
	default: /* ANSWER_RESOLVED */
		if (session->resolving || sim_of(session)->plant != PLANT_INIT_BELIEVED)
			on_resolved(session, answer);
		break;
	}
}
