/* SPDX-License-Identifier: ISC */
/*
 * session.c - the source over the model of Postgres: asks go to a backend, answers come back
 *
 * What is here is what outbox.c does around its statements, with the real poll.c: the bell put to
 * rest behind the transaction.
 */
#include "halted.h"

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

static void ask_claim(struct session *session, enum ask_kind kind, const struct claim *claim)
{
	struct ask *added = session_ask(session, kind);

	if (added == NULL)
		return;
	added->claim = *claim;
	added->shards = session_owned(session);
	added->held = refused_left_out(session);
}

static void claim_rows(struct session *session, const struct claim *claim)
{
	check_claim_asked(session->relay, claim);
	if (claim->alone) {
		halted_ask(session);
		return;
	}
	if (claim->letters) {
		letters_ask(session, claim);
		return;
	}
	if (claim->opens) {
		struct ask *added = session_ask(session, ASK_BEGIN);
		session->in_transaction = true;
		check_letters_passed(session);
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

static void op_settle(struct source *source)
{
	struct session *session = session_of(source);

	producers_settle(session);
	session_ask(session, ASK_COMMIT);
	session_ended(session);
	session_polled(session, POLL_SETTLE);
}

static void roll_back(struct session *session)
{
	if (refused_roll_back(session))
		return;
	struct ask *added = session_ask(session, ASK_ROLLBACK);
	if (added != NULL)
		added->idle = !session->in_transaction;
	session_ended(session);
}

static void op_reconcile(struct source *source, const struct batch *batch,
			 enum reject_policy policy)
{
	struct session *session = session_of(source);
	session->orphans = batch;
	session->policy = policy;
	session_polled(session, POLL_RECONCILE);
}

/* What is told is heard at the end of the transaction only. */
static void move_bell(struct session *session, bool armed)
{
	session->rest_due = !armed && session->others.any;
	if (!session->rest_due)
		session_ask(session, armed ? ASK_BELL_ON : ASK_BELL_OFF);
	else if (!session->in_transaction)
		put_bell_to_rest(session);
}

static void housekeep(struct session *session)
{
	struct ask *added = session_ask(session, ASK_HOUSEKEEP);

	if (added != NULL)
		refused_ask_retest(session, added);
}

static void close_session(struct session *session)
{
	producers_leave(session);
	session_ask(session, ASK_LEAVE);
	session_ask(session, ASK_CLOSE);
}

static void forget_session(struct session *session)
{
	session->in_transaction = session->rest_due = session->over = false;
	refused_forget(session);
	letters_lost(session);
	producers_lost(session);
	halted_lost(session);
	group_lost(&session->group);
	session_polled(session, POLL_LOST);
	shards_clear(&session->source.shards, session->source.shards.count);
}

static void op_drop(struct source *source)
{
	struct session *session = session_of(source);
	struct sim *sim = sim_of(session);

	allow_jumps(sim);
	session_cut(session->relay, false, sim_below(sim, 4), 0);
	session->answer_count = 0;
	forget_session(session);
}

/* ---- what poll.c says ---- */

static void tell_fetched(struct session *session, const struct poll_action *action)
{
	struct chunk *chunk = session->answered;

	session->answered = NULL;
	chunk->took_us = action->took_us;
	session->source.events->fetched(session->source.owner, chunk, action->last);
}

static void perform(struct session *session, const struct poll_action *action)
{
	switch (action->kind) {
	case POLL_DO_LOOK:
		group_look(session, !session->poll.available, action->keeps);
		break;
	case POLL_DO_CLAIM:
		claim_rows(session, &action->claim);
		break;
	case POLL_DO_TELL:
		tell_fetched(session, action);
		break;
	case POLL_DO_END:
		halted_end(session, action->claim.alone);
		break;
	case POLL_DO_ROLL_BACK:
		roll_back(session);
		break;
	case POLL_DO_TELL_ROLLED_BACK:
		session->source.events->rolled_back(session->source.owner);
		break;
	case POLL_DO_RECONCILE:
		orphans_reconcile(session);
		break;
	case POLL_DO_RESOLVE:
		producers_resolve(session);
		break;
	case POLL_DO_BELL_ON:
	case POLL_DO_BELL_OFF:
		move_bell(session, action->kind == POLL_DO_BELL_ON);
		break;
	case POLL_DO_HOUSEKEEP:
	case POLL_DO_RETEST:
		housekeep(session);
		break;
	case POLL_DO_CLOSE:
		close_session(session);
		break;
	case POLL_DO_TIMER:
		session->wake_us = process_timer(session->relay, action->after_us);
		break;
	case POLL_DO_ABORT: /* ids do not begin again here */
	case POLL_DO_WOKEN:
		break;
	}
}

void session_poll(struct session *session, struct poll_input input)
{
	const struct process *process = &session->relay->process;
	struct poll_actions actions;

	input.now_us = sim_of(session)->now_us;
	input.halted = session->source.halted = halted_now(session);
	input.tries = halted_tries(session);
	input.letters = letters_wanted(session);
	input.releases =
	    session->holds.released > 0 && sim_of(session)->plant != PLANT_RELEASE_UNTOLD;
	poll_step(&session->poll, &process->poll_options, &input, &actions);
	session->source.position = session->poll.horizon.low_watermark;
	for (unsigned i = 0; i < actions.count; i++)
		perform(session, &actions.items[i]);
}

void session_polled(struct session *session, enum poll_event event)
{
	session_poll(session, (struct poll_input){.event = event});
}

static void op_open(struct source *source)
{
	struct session *session = session_of(source);

	session_polled(session, POLL_OPEN);
	if (!database_is_down(sim_of(session)))
		session->backend = backend_new(session->relay);
	if (session->backend == NULL)
		session_push(session->relay, (struct answer){.kind = ANSWER_LOST});
	else if (sim_of(session)->plan.exactly_once)
		producers_begin(session);
	else
		group_begin(session, !session->poll.available);
	letters_begin(session);
}

static void op_available(struct source *source, bool yes)
{
	session_poll(session_of(source),
		     (struct poll_input){.event = POLL_AVAILABLE, .available = yes});
}

static void op_fetch(struct source *source, const struct fetch *fetch)
{
	session_poll(session_of(source), (struct poll_input){.event = POLL_FETCH, .fetch = *fetch});
}

static void op_hold(struct source *source, bool keeps)
{
	session_poll(session_of(source), (struct poll_input){.event = POLL_HOLD, .keeps = keeps});
}

static void op_roll_back(struct source *source)
{
	session_polled(session_of(source), POLL_ROLL_BACK);
}

static void op_close(struct source *source)
{
	session_polled(session_of(source), POLL_CLOSE);
}

static void op_resolve(struct source *source, const struct ledger *ledger)
{
	session_of(source)->ledger = ledger;
	session_polled(session_of(source), POLL_RESOLVE);
}

static const struct source_ops ops = {
    .open = op_open,
    .available = op_available,
    .fetch = op_fetch,
    .hold = op_hold,
    .settle = op_settle,
    .roll_back = op_roll_back,
    .reconcile = op_reconcile,
    .describe = producers_describe,
    .resolve = op_resolve,
    .close = op_close,
    .drop = op_drop,
};

void session_init(struct relay *relay)
{
	struct session *session = &relay->session;

	memset(session, 0, sizeof(*session));
	session->relay = relay;
	session->wake_us = session->again_us = NEVER;
	session->source.producer.number = -1;
	poll_init(&session->poll);
	session->beat_us = relay->sim->now_us;
	session->source.ops = &ops;
	session->source.events = &worker_source_events;
	session->source.owner = relay->process.worker;
	shards_clear(&session->source.shards, relay->process.shards);
}

/* ---- what the worker hears ---- */

static void tell_lost(struct session *session)
{
	session->was_lost = true;
	session->last_claimed = 0;
	forget_session(session);
	session->source.events->lost(session->source.owner, "cut", false);
}

void session_give_up(struct session *session)
{
	session_cut(session->relay, false, ASKS_MAX, 0);
	session->answer_count = 0;
	tell_lost(session);
}

static void tell_observed(struct session *session, const struct answer *answer)
{
	struct writers writers;

	writers_clear(&writers);
	for (unsigned i = 0; i < TXNS_MAX; i++)
		if (answer->writers.txns & 1u << i)
			writers_add(&writers, i + 1);
	for (unsigned i = 0; i < answer->writers.relay_count; i++)
		writers_add(&writers, answer->writers.relays[i]);
	session_poll(session, (struct poll_input){.event = POLL_OBSERVED,
						  .drawn = answer->drawn,
						  .writers = &writers});
}

static void tell_claimed(struct session *session, const struct answer *answer)
{
	struct sim *sim = sim_of(session);
	struct chunk *chunk = chunk_of_rows(sim, answer->rows, answer->letters);
	struct worker_status status;

	worker_status(session->relay->process.worker, &status);
	session->over |= answer->over;
	if (halted_found_nothing(session, answer)) {
		chunk->free(chunk);
		halted_astray(session);
		return;
	}
	session->was_lost &= chunk->count == 0;
	if (chunk->count > 0 && status.batch_events == 0)
		session->claimed_us = sim->now_us;
	struct claim_answer claimed = {.count = (int64_t)chunk->count,
				       .moved =
					   __builtin_popcountll(answer->moved) + answer->passes,
				       .bytes = chunk->bytes,
				       .full = answer->full,
				       .cut = answer->cut,
				       .upto = answer->upto};
	if (chunk->count > 0) {
		claimed.first = chunk->events[0].id;
		claimed.last = chunk->events[chunk->count - 1].id;
	}
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if ((answer->moved & ROW_BIT(i)) && sim->db.rows[i].id > claimed.last)
			claimed.last = sim->db.rows[i].id;
	if (answer->letters)
		letters_claimed(session, answer->rows);
	session->answered = chunk;
	session_poll(session, (struct poll_input){.event = POLL_CLAIMED, .answer = claimed});
	if (session->answered != NULL)
		session->answered->free(session->answered);
	session->answered = NULL;
}

/* What was put off to COMMIT failed there, and nothing of it was published: another session goes
 * on, in which nothing is put off. */
static void give_up(struct session *session)
{
	session->guarded |= sim_of(session)->plant != PLANT_END_UNGUARDED;
	if (++session->ends_refused > 3)
		violated(sim_of(session), "tries again and again what is refused", "relay %u",
			 session->relay->index);
	session_give_up(session);
}

static void tell_note(struct session *session, const struct note *note)
{
	if (note->kind == NOTE_FREE)
		group_heard(session, note);
	if (sim_of(session)->plant == PLANT_GIVES_TOO_SOON && note->kind == NOTE_GROUP &&
	    session->backend != NULL && session_owned(session) != 0 &&
	    !group_give(session, &session->source.shards))
		return;
	if (note->kind == NOTE_RING)
		session_polled(session, POLL_RUNG);
	else if (note->kind == NOTE_REST)
		session_polled(session, POLL_RESTED);
	else if (note->kind == NOTE_LETTERS)
		letters_notified(session);
	else
		session_polled(session, POLL_MEMBERSHIP);
}

static void tell_settled(struct session *session, const struct answer *answer)
{
	halted_settled(session);
	if (!answer->alone) { /* nothing was published, or it was set aside */
		session->ends_refused = 0;
		producers_settled(session);
		letters_settled(session);
		session_polled(session, POLL_SETTLED);
		session->source.events->settled(session->source.owner);
	}
	if (session->over)
		session_give_up(session);
}

static void tell(struct session *session, const struct answer *answer)
{
	const struct source_events *events = session->source.events;
	void *owner = session->source.owner;

	switch (answer->kind) {
	case ANSWER_GROUP:
		if (answer->over) {
			session_give_up(session);
			break;
		}
		/* fall through */
	case ANSWER_TRIED:
	case ANSWER_VERIFIED:
		group_answered(session, answer);
		break;
	case ANSWER_LOST:
		tell_lost(session);
		break;
	case ANSWER_CLAIMED:
		tell_claimed(session, answer);
		break;
	case ANSWER_SETTLED:
		tell_settled(session, answer);
		break;
	case ANSWER_ROLLED_BACK:
		session_polled(session, POLL_ROLLED_BACK);
		events->rolled_back(owner);
		break;
	case ANSWER_RECONCILED:
		session->guarded |= answer->of_commit;
		refused_hold(session, answer->stuck, answer->published);
		if (session->resolving && answer->stuck != 0 &&
		    sim_of(session)->plant != PLANT_DOUBT_HELD) {
			producers_kept(session);
			break;
		}
		if (session->resolving) {
			producers_reconciled(session);
			break;
		}
		halted_hold(session, answer->kept_back, answer->returned);
		session_polled(session, POLL_RECONCILED);
		events->reconciled(owner);
		break;
	case ANSWER_OBSERVED:
		tell_observed(session, answer);
		break;
	case ANSWER_NOTE:
		tell_note(session, &answer->note);
		break;
	case ANSWER_GAUGED:
		letters_counted(session, answer->letters);
		refused_retested(session, answer->rows, answer->due);
		events->gauged(owner, &(struct gauges){0});
		break;
	case ANSWER_CLOSED:
		forget_session(session);
		events->closed(owner);
		break;
	case ANSWER_END_REFUSED:
		give_up(session);
		break;
	case ANSWER_SLOT:
	case ANSWER_OWNED:
	case ANSWER_RESOLVED:
	case ANSWER_SLOT_TRIED:
	case ANSWER_PROVED:
		producers_answered(session, answer);
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
