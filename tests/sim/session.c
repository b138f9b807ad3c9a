/*
 * session.c - the source over the model of Postgres: asks go to a backend, answers come back
 *
 * What is here is what outbox.c does around its statements: the bell put to rest behind the
 * transaction, debts, the heartbeat.
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

static struct session *session_of(struct source *source)
{
	return (struct session *)source;
}

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

static bool last_answer_is(const struct session *session, enum answer_kind kind)
{
	return session->answer_count > 0 &&
	       session->answers[session->answer_count - 1].kind == kind;
}

static bool loss_is_coming(const struct session *session)
{
	return last_answer_is(session, ANSWER_LOST);
}

/* To be told the same twice in a row changes nothing. */
bool session_knows(const struct session *session, const struct note *note)
{
	return last_answer_is(session, ANSWER_NOTE) &&
	       memcmp(&session->answers[session->answer_count - 1].note, note, sizeof(*note)) == 0;
}

void session_push(struct relay *relay, struct answer answer)
{
	struct session *session = &relay->session;

	assert(session->answer_count < ANSWERS_MAX);
	session->answers[session->answer_count++] = answer;
}

/* ---- asks ---- */

/* NULL when the connection is gone and the worker will hear of it. */
struct ask *session_ask(struct session *session, enum ask_kind kind)
{
	struct backend *backend = session->backend;

	if (backend == NULL) {
		if (!loss_is_coming(session) && !last_answer_is(session, ANSWER_CLOSED))
			violated(sim_of(session), "asks without a session", "ask %d", (int)kind);
		return NULL;
	}
	assert(backend->ask_count < ASKS_MAX);
	backend->heard_us = sim_of(session)->now_us;
	struct ask *added = &backend->asks[backend->ask_count++];
	memset(added, 0, sizeof(*added));
	added->kind = kind;
	return added;
}

static void op_acquire(struct source *source, bool unavailable, bool keeps)
{
	struct session *session = session_of(source);

	if (session->backend != NULL || loss_is_coming(session)) {
		group_look(session, unavailable, keeps);
		return;
	}
	if (!database_is_down(sim_of(session)))
		session->backend = backend_new(session->relay);
	if (session->backend == NULL)
		session_push(session->relay, (struct answer){.kind = ANSWER_LOST});
	else
		group_begin(session, unavailable);
}

static void ask_claim(struct session *session, enum ask_kind kind, const struct claim *claim)
{
	struct ask *added = session_ask(session, kind);

	if (added == NULL)
		return;
	added->claim = *claim;
	added->shards = session_owned(session);
	added->held = refused_left_out(session);
}

static void op_claim(struct source *source, const struct claim *claim)
{
	struct session *session = session_of(source);

	check_claim_asked(session->relay, claim);
	if (claim->opens) {
		struct ask *added = session_ask(session, ASK_BEGIN);
		session->in_transaction = true;
		if (added != NULL)
			added->immediate = session->guarded;
		refused_claim_asked(session, claim);
	}
	if (claim->observes) {
		session_ask(session, ASK_DRAWN);
		session_ask(session, ASK_WRITERS);
	}
	ask_claim(session, ASK_CLAIM, claim);
	if (claim->observes)
		ask_claim(session, ASK_LEFT, claim);
}

static uint64_t rows_in(const struct batch *batch, enum event_state state)
{
	struct batch_walk walk;
	uint64_t rows = 0;

	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == state)
			rows |= ROW_BIT(event_row(e));
	return rows;
}

static void put_bell_to_rest(struct session *session)
{
	if (!session->rest_due)
		return;
	session->rest_due = false;
	session_ask(session,
		    sim_of(session)->plant == PLANT_REST_UNTOLD ? ASK_BELL_OFF : ASK_BELL_OFF_TOLD);
}

void session_ended(struct session *session)
{
	session->in_transaction = false;
	put_bell_to_rest(session);
}

static void op_settle(struct source *source, const struct batch *batch, bool more)
{
	struct session *session = session_of(source);
	struct ask *added = session_ask(session, ASK_COMMIT);

	if (added != NULL)
		added->lazily = more;
	if (added != NULL && more && sim_of(session)->plant != PLANT_DEBT_FORGOTTEN)
		session->debt |= rows_in(batch, EVENT_DELIVERED);
	session_ended(session);
}

static void ask_end(struct session *session)
{
	struct ask *added = session_ask(session, ASK_END);

	if (added != NULL)
		added->durably = session->debt != 0;
}

static void op_end(struct source *source)
{
	ask_end(session_of(source));
	session_ended(session_of(source));
}

static void op_roll_back(struct source *source)
{
	if (refused_roll_back(session_of(source)))
		return;
	session_ask(session_of(source), ASK_ROLLBACK);
	session_ended(session_of(source));
}

static void op_reconcile(struct source *source, const struct batch *batch, bool dead_letter)
{
	struct session *session = session_of(source);
	struct ask *added = session_ask(session, ASK_RECONCILE);

	if (session->relay->producer.in_flight > 0)
		violated(sim_of(session), "recovers too soon", "%u events are with the sink",
			 session->relay->producer.in_flight);
	if (added == NULL)
		return;
	added->delivered = rows_in(batch, EVENT_DELIVERED);
	added->rejected = dead_letter ? rows_in(batch, EVENT_REJECTED) : 0;
	if (sim_of(session)->plant == PLANT_RECOVERS_MINE) {
		added->delivered = session_mine(session, added->delivered);
		added->rejected = session_mine(session, added->rejected);
	}
	session_ask(session, ASK_RECONCILE_COMMIT);
}

/* What is told is heard at the end of the transaction only. */
static void op_bell(struct source *source, bool armed)
{
	struct session *session = session_of(source);

	session->rest_due = !armed && source->has_peers;
	if (!session->rest_due)
		session_ask(session, armed ? ASK_BELL_ON : ASK_BELL_OFF);
	else if (!session->in_transaction)
		put_bell_to_rest(session);
}

static void op_housekeep(struct source *source, int64_t low_watermark)
{
	struct ask *added = session_ask(session_of(source), ASK_HOUSEKEEP);

	(void)low_watermark;
	if (added != NULL)
		refused_ask_retest(session_of(source), added);
}

void session_make_durable(struct session *session)
{
	if (session->debt == 0)
		return;
	session_ask(session, ASK_BEGIN);
	ask_end(session);
}

static void op_close(struct source *source)
{
	session_make_durable(session_of(source));
	session_ask(session_of(source), ASK_LEAVE);
	session_ask(session_of(source), ASK_CLOSE);
}

static bool op_owes(const struct source *source)
{
	return ((const struct session *)source)->debt != 0;
}

static void forget_session(struct session *session)
{
	session->in_transaction = session->rest_due = false;
	refused_forget(session);
	group_lost(&session->group);
	shards_clear(&session->source.shards, session->source.shards.count);
}

static void op_drop(struct source *source)
{
	struct session *session = session_of(source);
	struct sim *sim = sim_of(session);

	allow_undurable(sim, session->debt);
	allow_jumps(sim);
	session_cut(session->relay, false, sim_below(sim, 4), 0);
	session->answer_count = 0;
	session->debt = 0;
	forget_session(session);
}

static const struct source_ops ops = {
    .acquire = op_acquire,
    .claim = op_claim,
    .settle = op_settle,
    .end = op_end,
    .roll_back = op_roll_back,
    .reconcile = op_reconcile,
    .bell = op_bell,
    .housekeep = op_housekeep,
    .close = op_close,
    .owes = op_owes,
    .drop = op_drop,
};

void session_init(struct relay *relay)
{
	struct session *session = &relay->session;

	memset(session, 0, sizeof(*session));
	session->relay = relay;
	session->beat_us = relay->sim->now_us;
	session->source.ops = &ops;
	session->source.events = &worker_source_events;
	session->source.owner = relay->process.worker;
	shards_clear(&session->source.shards, relay->process.shards);
}

/* ---- the heartbeat ---- */

static void tell_lost(struct session *session)
{
	session->was_lost = true;
	session->last_claimed = 0;
	forget_session(session);
	session->source.events->lost(session->source.owner, "cut");
}

/* Whether the process was stopped for longer than the server waits; then the session is given up.
 */
bool session_was_stopped(struct relay *relay)
{
	struct session *session = &relay->session;
	struct sim *sim = sim_of(session);
	int64_t silent = sim->now_us - session->beat_us;

	bool connected = session->backend != NULL || session->answer_count > 0;
	if (!connected || silent <= sim->plan.session_timeout_us ||
	    sim->plant == PLANT_WOKEN_GOES_ON)
		return false;
	session->beat_us = sim->now_us;
	trace_of(session->relay, "was stopped");
	session_cut(session->relay, false, ASKS_MAX, 0);
	session->answer_count = 0;
	tell_lost(session);
	return true;
}

void session_beat(struct relay *relay)
{
	struct session *session = &relay->session;

	relay->process.heartbeat_us = relay->sim->now_us + relay->sim->plan.session_timeout_us / 3;
	if (session_was_stopped(relay))
		return;
	session->beat_us = relay->sim->now_us;
	if (session->backend != NULL)
		session_ask(session, ASK_BEAT);
}

/* ---- what the worker hears ---- */

static void tell_observed(struct session *session, const struct answer *answer)
{
	struct writers writers;

	writers_clear(&writers);
	for (unsigned i = 0; i < TXNS_MAX; i++)
		if (answer->writers.txns & 1u << i)
			writers_add(&writers, i + 1);
	for (unsigned i = 0; i < answer->writers.relay_count; i++)
		writers_add(&writers, answer->writers.relays[i]);
	session->source.events->observed(session->source.owner, answer->drawn, &writers);
}

static void tell_claimed(struct session *session, const struct answer *answer)
{
	struct sim *sim = sim_of(session);
	struct chunk *chunk = chunk_of_rows(sim, answer->rows);
	struct worker_status status;

	worker_status(session->relay->process.worker, &status);
	if (chunk->count > 0)
		session->was_lost = false;
	if (chunk->count > 0 && status.batch_events == 0)
		session->claimed_us = sim->now_us;
	chunk->full = answer->full;
	chunk->cut = answer->cut;
	chunk->upto = answer->upto;
	session->source.events->claimed(session->source.owner, chunk);
}

static void tell_note(struct session *session, const struct note *note)
{
	const struct source_events *events = session->source.events;

	if (note->kind == NOTE_FREE)
		group_heard(session, note);
	if (sim_of(session)->plant == PLANT_GIVES_TOO_SOON && note->kind == NOTE_GROUP &&
	    session->backend != NULL && session_owned(session) != 0)
		group_give(session, &session->source.shards);
	if (note->kind == NOTE_RING)
		events->rung(session->source.owner);
	else if (note->kind == NOTE_REST)
		events->rested(session->source.owner);
	else
		events->membership_changed(session->source.owner);
}

static void tell(struct session *session, const struct answer *answer)
{
	const struct source_events *events = session->source.events;
	void *owner = session->source.owner;

	switch (answer->kind) {
	case ANSWER_GROUP:
	case ANSWER_TRIED:
	case ANSWER_VERIFIED:
	case ANSWER_DEBT_PAID:
		group_answered(session, answer);
		break;
	case ANSWER_LOST:
		tell_lost(session);
		break;
	case ANSWER_CLAIMED:
		tell_claimed(session, answer);
		break;
	case ANSWER_DURABLE:
		break;
	case ANSWER_SETTLED:
		events->settled(owner);
		break;
	case ANSWER_ROLLED_BACK:
		events->rolled_back(owner);
		break;
	case ANSWER_RECONCILED:
		refused_hold(session, answer->stuck, answer->published);
		events->reconciled(owner);
		break;
	case ANSWER_OBSERVED:
		tell_observed(session, answer);
		break;
	case ANSWER_NOTE:
		tell_note(session, &answer->note);
		break;
	case ANSWER_GAUGED:
		refused_retested(session, answer->rows);
		events->gauged(owner, &(struct gauges){0});
		break;
	case ANSWER_CLOSED:
		forget_session(session);
		events->closed(owner);
		break;
	case ANSWER_REFUSED:
	case ANSWER_ABORTED:
		break; /* heard already */
	}
}

void session_tell(struct relay *relay)
{
	struct session *session = &relay->session;

	if (session_was_stopped(relay))
		return;
	struct answer answer = session->answers[0];
	session->answer_count--;
	memmove(&session->answers[0], &session->answers[1], session->answer_count * sizeof(answer));
	trace_of(relay, "answer %d rows %llx drawn %lld writers %x shards %x note %d",
		 (int)answer.kind, (unsigned long long)answer.rows, (long long)answer.drawn,
		 answer.writers.txns, answer.shards, (int)answer.note.kind);
	if (answer.durable)
		session->debt = 0;
	if (!refused_heard(session, &answer))
		tell(session, &answer);
}

/* The connection ends. The server's side may end with it, or go on with what it has received: a
 * COMMIT among it may take effect that nobody is told of. */
void session_cut(struct relay *relay, bool by_server, unsigned served, unsigned told)
{
	struct session *session = &relay->session;
	struct sim *sim = relay->sim;
	struct backend *backend = session->backend;

	if (backend == NULL)
		return;
	session->backend = NULL;
	session->ended_with = backend->deleted;
	session->answer_count = told < session->answer_count ? told : session->answer_count;
	session_push(relay, (struct answer){.kind = ANSWER_LOST});
	if (by_server) {
		backend_end(sim, backend);
		return;
	}
	backend->ghost = true;
	backend->ask_count = served < backend->ask_count ? served : backend->ask_count;
	backend->ends_us = sim->now_us + (int64_t)sim_below(sim, 2000) * MS;
}
