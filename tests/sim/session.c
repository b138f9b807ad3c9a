/*
 * session.c - the source over the model of Postgres: asks go to a backend, answers come back
 */
#include "sim.h"

#include <assert.h>
#include <string.h>

static struct session *session_of(struct source *source)
{
	return (struct session *)source;
}

static bool loss_is_coming(const struct session *session)
{
	return session->answer_count > 0 &&
	       session->answers[session->answer_count - 1].kind == ANSWER_LOST;
}

void session_push(struct sim *sim, struct answer answer)
{
	struct session *session = &sim->session;

	assert(session->answer_count < ANSWERS_MAX);
	session->answers[session->answer_count++] = answer;
}

/* ---- asks ---- */

/* NULL when the connection is gone and the shard will hear of it. */
static struct ask *ask(struct session *session, enum ask_kind kind)
{
	struct backend *backend = session->backend;

	if (backend == NULL) {
		if (!loss_is_coming(session))
			violated(session->sim, "asks without a session", "ask %d", (int)kind);
		return NULL;
	}
	assert(backend->ask_count < ASKS_MAX);
	struct ask *added = &backend->asks[backend->ask_count++];
	memset(added, 0, sizeof(*added));
	added->kind = kind;
	return added;
}

static void op_acquire(struct source *source)
{
	struct session *session = session_of(source);
	struct sim *sim = session->sim;

	if (session->backend == NULL && !loss_is_coming(session)) {
		if (!database_is_down(sim))
			session->backend = backend_new(sim);
		if (session->backend == NULL) {
			session_push(sim, (struct answer){.kind = ANSWER_LOST});
			return;
		}
	}
	ask(session, ASK_LOCK);
}

static void op_claim(struct source *source, const struct claim *claim)
{
	struct session *session = session_of(source);
	struct ask *added;

	check_claim_asked(session->sim, claim);
	if (claim->opens)
		ask(session, ASK_BEGIN);
	if (claim->observes) {
		ask(session, ASK_DRAWN);
		ask(session, ASK_WRITERS);
	}
	added = ask(session, ASK_CLAIM);
	if (added != NULL)
		added->claim = *claim;
	added = claim->observes ? ask(session, ASK_LEFT) : NULL;
	if (added != NULL)
		added->claim = *claim;
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

static void op_settle(struct source *source, const struct batch *batch, bool more)
{
	struct session *session = session_of(source);
	struct ask *added = ask(session, ASK_COMMIT);

	if (added == NULL)
		return;
	added->lazily = more;
	if (more && session->sim->plant != PLANT_DEBT_FORGOTTEN)
		session->debt |= rows_in(batch, EVENT_DELIVERED);
}

static void op_end(struct source *source)
{
	struct session *session = session_of(source);
	struct ask *added = ask(session, ASK_END);

	if (added != NULL)
		added->durably = session->debt != 0;
}

static void op_withdraw(struct source *source)
{
	ask(session_of(source), ASK_ROLLBACK);
}

static void op_recover(struct source *source, const struct batch *batch, bool set_aside)
{
	struct session *session = session_of(source);
	struct ask *added = ask(session, ASK_RECOVER);

	if (session->sim->producer.outstanding > 0)
		violated(session->sim, "recovers too soon", "%u events are with the sink",
			 session->sim->producer.outstanding);
	if (added == NULL)
		return;
	added->delivered = rows_in(batch, EVENT_DELIVERED);
	added->rejected = set_aside ? rows_in(batch, EVENT_REJECTED) : 0;
	ask(session, ASK_RECOVER_COMMIT);
}

static void op_bell(struct source *source, bool armed)
{
	ask(session_of(source), armed ? ASK_BELL_ON : ASK_BELL_OFF);
}

static void op_housekeep(struct source *source, int64_t floor)
{
	(void)floor;
	ask(session_of(source), ASK_HOUSEKEEP);
}

static void op_close(struct source *source)
{
	if (session_of(source)->debt != 0) {
		ask(session_of(source), ASK_BEGIN);
		op_end(source);
	}
	ask(session_of(source), ASK_CLOSE);
}

static bool op_owes(const struct source *source)
{
	return ((const struct session *)source)->debt != 0;
}

static void op_drop(struct source *source)
{
	struct session *session = session_of(source);

	allow_unsettled(session->sim);
	allow_undurable(session->sim);
	allow_jumps(session->sim);
	session_cut(session->sim, false, sim_below(session->sim, 4), 0);
	session->answer_count = 0;
	session->debt = 0;
}

static const struct source_ops ops = {
    .acquire = op_acquire,
    .claim = op_claim,
    .settle = op_settle,
    .end = op_end,
    .withdraw = op_withdraw,
    .recover = op_recover,
    .bell = op_bell,
    .housekeep = op_housekeep,
    .close = op_close,
    .owes = op_owes,
    .drop = op_drop,
};

void session_init(struct sim *sim)
{
	struct session *session = &sim->session;

	memset(session, 0, offsetof(struct session, answers));
	session->answer_count = 0;
	session->was_lost = session->bell_late = false;
	session->last_claimed = 0;
	session->debt = 0;
	session->sim = sim;
	session->source.ops = &ops;
	session->source.events = &worker_source_events;
	shards_clear(&session->source.shards, 1);
	session->source.owner = sim->process.worker;
}

/* ---- what the backend does ---- */

static bool waits_for_a_row(const struct sim *sim, const struct backend *backend, uint64_t rows)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if ((rows & ROW_BIT(i)) && row->state == ROW_VISIBLE && !row_is_free(sim, row) &&
		    row->taken_by != (unsigned)(backend - sim->db.backends) + 1)
			return true;
	}
	return false;
}

bool session_can_serve(const struct sim *sim, const struct backend *backend)
{
	if (!backend->used || backend->ask_count == 0)
		return false;
	const struct ask *first = &backend->asks[0];
	return first->kind != ASK_RECOVER ||
	       !waits_for_a_row(sim, backend, first->delivered | first->rejected);
}

static void delete_row(struct sim *sim, struct backend *backend, unsigned row)
{
	sim->db.rows[row].taken_by = (unsigned)(backend - sim->db.backends) + 1;
	backend->deleted |= ROW_BIT(row);
}

static bool is_dirty(const struct sim *sim, const struct row *row)
{
	return sim->plant == PLANT_DIRTY_READ && row->state == ROW_DRAWN && row->taken_by == 0;
}

/* Visible to the backend's next statement; it may be locked. */
static bool is_seen(const struct sim *sim, const struct backend *backend, const struct row *row)
{
	unsigned self = (unsigned)(backend - sim->db.backends) + 1;

	return is_dirty(sim, row) || (row->state == ROW_VISIBLE && row->taken_by != self);
}

static int lowest_above(const struct sim *sim, const struct backend *backend, int64_t above)
{
	int lowest = -1;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (sim->db.rows[i].id > above && is_seen(sim, backend, &sim->db.rows[i]) &&
		    (lowest < 0 || sim->db.rows[i].id < sim->db.rows[lowest].id))
			lowest = (int)i;
	return lowest;
}

/* Takes rows in order of id; those that somebody else has locked are passed over, and with them
 * the later ones of their keys. */
static void claim_rows(struct sim *sim, struct backend *backend, const struct claim *claim,
		       struct answer *answer)
{
	int64_t at = claim->floor, fit = claim->bytes / 100, taken = 0, last = 0;
	uint32_t held = 0;
	int row;

	if (sim->plant == PLANT_CLAIMS_ABOVE_LAST && sim->session.last_claimed > at)
		at = sim->session.last_claimed;
	fit = fit > 0 ? fit : 1;
	while (taken < claim->rows && (row = lowest_above(sim, backend, at)) >= 0) {
		const struct row *found = &sim->db.rows[row];
		if (taken == fit)
			break;
		at = found->id;
		if (!row_is_free(sim, found) && !is_dirty(sim, found))
			held |= 1u << found->key;
		if ((held & 1u << found->key) &&
		    (sim->plant != PLANT_KEY_NOT_HELD || !row_is_free(sim, found)))
			continue;
		last = at;
		delete_row(sim, backend, (unsigned)row);
		answer->rows |= ROW_BIT(row);
		taken++;
	}
	answer->cut = taken > 0 && (held != 0 || (taken == fit && row >= 0));
	answer->upto = held == 0 ? last : 0;
	if (sim->plant == PLANT_PASSED_OVER && taken == 0)
		answer->upto = NEVER;
	sim->session.last_claimed = last;
	sim->claims++;
}

/* What a claim that observes asks after it: the lowest row that is left. */
static struct answer look_for_more(struct sim *sim, const struct backend *backend, int64_t floor)
{
	struct answer answer = backend->claimed;
	int row = lowest_above(sim, backend, floor);

	if (sim->plant != PLANT_PASSED_OVER)
		answer.upto = row < 0 ? NEVER : sim->db.rows[row].id - 1;
	return answer;
}

static void recover_rows(struct sim *sim, struct backend *backend, const struct ask *first)
{
	uint64_t all = first->delivered | first->rejected;

	if (sim->plant == PLANT_RECOVER_SKIPPED ||
	    (sim->plant == PLANT_ACKS_FORGOTTEN && sim->session.was_lost))
		return;
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		if (!(all & ROW_BIT(i)))
			continue;
		for (unsigned j = 0; j < sim->db.row_count; j++)
			if (row_is_free(sim, &sim->db.rows[j]) &&
			    (j == i || (sim->plant == PLANT_RECOVER_BY_ID &&
					sim->db.rows[j].id == sim->db.rows[i].id))) {
				delete_row(sim, backend, j);
				if ((first->rejected & ROW_BIT(i)) &&
				    sim->plant != PLANT_ASIDE_DROPPED)
					backend->set_aside |= ROW_BIT(j);
			}
	}
}

/* What an earlier session committed and may have lost is settled again before all else. */
static bool owes(struct sim *sim, struct backend *backend)
{
	if (sim->session.debt == 0 || backend->ghost)
		return false;
	ask(&sim->session, ASK_RECOVER)->delivered = sim->session.debt;
	ask(&sim->session, ASK_DEBT_COMMIT);
	return true;
}

/* False if the answer comes later. */
static bool try_lock(struct sim *sim, struct backend *backend, struct answer *answer)
{
	struct database *db = &sim->db;
	unsigned self = (unsigned)(backend - db->backends) + 1;
	bool taken =
	    (db->lock_owner != 0 && db->lock_owner != self) || db->rival_until_us > sim->now_us;

	if (taken && sim->plant != PLANT_LOCK_IGNORED) {
		answer->kind = ANSWER_BUSY;
		return true;
	}
	answer->gained = db->lock_owner != self;
	db->lock_owner = self;
	answer->kind = ANSWER_ACQUIRED;
	return !answer->gained || !owes(sim, backend);
}

static void begin(struct sim *sim, struct backend *backend, bool expected)
{
	if (backend->in_transaction == expected)
		violated(sim, expected ? "begins twice" : "no transaction is open", "%s",
			 process_state(sim));
	backend->in_transaction = true;
}

static void begun(struct sim *sim, struct backend *backend)
{
	begin(sim, backend, true);
	backend->begun_us = sim->now_us;
}

static void outside_transaction(struct sim *sim, const struct backend *backend)
{
	if (backend->in_transaction)
		violated(sim, "asks within a transaction what belongs outside", "%s",
			 process_state(sim));
}

/* What was read first comes with the second reading; a planted error swaps them. */
static struct answer observe(struct sim *sim, const struct backend *backend)
{
	struct answer answer = {
	    .kind = ANSWER_OBSERVED, .drawn = backend->drawn, .writers = txn_writers(sim)};

	if (sim->plant == PLANT_DRAWN_TOO_LATE) {
		answer.writers = (uint32_t)backend->drawn;
		answer.drawn = sim->db.sequence;
	}
	if (sim->plant == PLANT_NO_WRITERS)
		answer.writers = 0;
	if (answer.drawn == 0)
		answer.drawn = -1;
	return answer;
}

static void move_bell(struct sim *sim, bool armed)
{
	sim->session.bell_late = armed && sim->plant == PLANT_BELL_LATE;
	if (!sim->session.bell_late)
		sim->db.bell = armed;
}

static void end_look(struct sim *sim, struct backend *backend)
{
	begin(sim, backend, false);
	backend_commit(sim, backend, false);
	if (sim->session.bell_late)
		sim->db.bell = true;
	sim->session.bell_late = false;
}

static void commit(struct sim *sim, struct backend *backend, bool lazily)
{
	begin(sim, backend, false);
	if (sim->plant == PLANT_COMMIT_UNDONE)
		backend_abort(sim, backend);
	else
		backend_commit(sim, backend, lazily);
}

static void roll_back(struct sim *sim, struct backend *backend)
{
	begin(sim, backend, false);
	if (sim->plant == PLANT_WITHDRAW_COMMITS)
		backend_commit(sim, backend, false);
	else
		backend_abort(sim, backend);
}

static void end_session(struct sim *sim, const struct backend *backend)
{
	if (sim->db.lock_owner == (unsigned)(backend - sim->db.backends) + 1 && sim->db.bell)
		violated(sim, "leaves the bell armed", "at the end");
}

/* Carries out an ask; false if there is nothing to answer. */
static bool carry_out(struct sim *sim, struct backend *backend, const struct ask *first,
		      struct answer *answer)
{
	*answer = (struct answer){0};
	switch (first->kind) {
	case ASK_LOCK:
		return try_lock(sim, backend, answer);
	case ASK_BEGIN:
		sim->looks++;
		begun(sim, backend);
		return false;
	case ASK_DRAWN:
		backend->drawn = sim->plant == PLANT_DRAWN_TOO_LATE ? (int64_t)txn_writers(sim)
								    : sim->db.sequence;
		return false;
	case ASK_WRITERS:
		*answer = observe(sim, backend);
		return true;
	case ASK_CLAIM:
		begin(sim, backend, false);
		answer->kind = ANSWER_CLAIMED;
		claim_rows(sim, backend, &first->claim, answer);
		backend->claimed = *answer;
		return !first->claim.observes;
	case ASK_LEFT:
		*answer = look_for_more(sim, backend, first->claim.floor);
		return true;
	case ASK_COMMIT:
		commit(sim, backend, first->lazily);
		answer->kind = ANSWER_SETTLED;
		answer->durable = !first->lazily;
		return true;
	case ASK_END:
		end_look(sim, backend);
		if (first->durably)
			database_flush(sim);
		answer->kind = ANSWER_DURABLE;
		answer->durable = true;
		return first->durably;
	case ASK_ROLLBACK:
		roll_back(sim, backend);
		answer->kind = ANSWER_WITHDRAWN;
		return true;
	case ASK_RECOVER:
		begun(sim, backend);
		recover_rows(sim, backend, first);
		return false;
	case ASK_RECOVER_COMMIT:
	case ASK_DEBT_COMMIT:
		backend_commit(sim, backend, false);
		database_flush(sim);
		answer->kind =
		    first->kind == ASK_RECOVER_COMMIT ? ANSWER_RECOVERED : ANSWER_ACQUIRED;
		answer->durable = answer->gained = true;
		return true;
	case ASK_BELL_ON:
		outside_transaction(sim, backend);
		move_bell(sim, true);
		return false;
	case ASK_BELL_OFF:
		move_bell(sim, false);
		return false;
	case ASK_HOUSEKEEP:
		outside_transaction(sim, backend);
		answer->kind = ANSWER_GAUGED;
		return true;
	case ASK_CLOSE:
		outside_transaction(sim, backend);
		end_session(sim, backend);
		answer->kind = ANSWER_CLOSED;
		return true;
	}
	return false;
}

void session_serve(struct sim *sim, struct backend *backend)
{
	struct ask first = backend->asks[0];
	struct answer answer;
	bool answers;

	backend->ask_count--;
	memmove(&backend->asks[0], &backend->asks[1], backend->ask_count * sizeof(first));
	trace(sim, "backend %d%s: ask %d floor %lld", (int)(backend - sim->db.backends),
	      backend->ghost ? " (ghost)" : "", (int)first.kind, (long long)first.claim.floor);
	answers = carry_out(sim, backend, &first, &answer);
	if (answers && !backend->ghost)
		session_push(sim, answer);
	if (first.kind == ASK_CLOSE) {
		backend_end(sim, backend);
		if (sim->session.backend == backend)
			sim->session.backend = NULL;
	}
}

/* ---- what the worker hears ---- */

static void tell_observed(struct sim *sim, const struct answer *answer)
{
	struct writers writers;

	writers_clear(&writers);
	for (unsigned i = 0; i < 32; i++)
		if (answer->writers & 1u << i)
			writers_add(&writers, i + 1);
	worker_source_events.observed(sim->process.worker, answer->drawn, &writers);
}

static void tell_lost(struct sim *sim)
{
	struct session *session = &sim->session;

	session->was_lost = true;
	session->last_claimed = 0;
	worker_source_events.lost(sim->process.worker, "cut");
}

static void tell_claimed(struct sim *sim, const struct answer *answer)
{
	struct chunk *chunk = chunk_of_rows(sim, answer->rows);
	struct worker_status status;

	worker_status(sim->process.worker, &status);
	if (chunk->count > 0)
		sim->session.was_lost = false;
	if (chunk->count > 0 && status.batch_events == 0)
		sim->session.claimed_us = sim->now_us;
	chunk->cut = answer->cut;
	chunk->upto = answer->upto;
	worker_source_events.claimed(sim->process.worker, chunk);
}

void session_tell(struct sim *sim)
{
	struct session *session = &sim->session;
	struct worker *worker = sim->process.worker;
	const struct source_events *events = &worker_source_events;
	struct answer answer = session->answers[0];

	session->answer_count--;
	memmove(&session->answers[0], &session->answers[1], session->answer_count * sizeof(answer));
	trace(sim, "answer %d rows %llx drawn %lld writers %x", (int)answer.kind,
	      (unsigned long long)answer.rows, (long long)answer.drawn, answer.writers);
	if (answer.durable)
		session->debt = 0;
	switch (answer.kind) {
	case ANSWER_ACQUIRED:
		session->source.has_bell = sim->plan.has_bell;
		events->acquired(worker, answer.gained);
		break;
	case ANSWER_BUSY:
		events->busy(worker, "another relay owns the shard");
		break;
	case ANSWER_LOST:
		tell_lost(sim);
		break;
	case ANSWER_CLAIMED:
		tell_claimed(sim, &answer);
		break;
	case ANSWER_DURABLE:
		break;
	case ANSWER_SETTLED:
		events->settled(worker);
		break;
	case ANSWER_WITHDRAWN:
		events->withdrawn(worker);
		break;
	case ANSWER_RECOVERED:
		events->recovered(worker);
		break;
	case ANSWER_OBSERVED:
		tell_observed(sim, &answer);
		break;
	case ANSWER_RUNG:
		events->rung(worker);
		break;
	case ANSWER_GAUGED:
		events->gauged(worker, &(struct gauges){0});
		break;
	case ANSWER_CLOSED:
		events->closed(worker);
		break;
	}
}

/* The connection ends. The server's side may end with it, or go on with what it has received: a
 * COMMIT among it may take effect that nobody is told of. */
void session_cut(struct sim *sim, bool by_server, unsigned served, unsigned told)
{
	struct session *session = &sim->session;
	struct backend *backend = session->backend;

	if (backend == NULL)
		return;
	session->backend = NULL;
	session->answer_count = told < session->answer_count ? told : session->answer_count;
	session_push(sim, (struct answer){.kind = ANSWER_LOST});
	if (by_server) {
		backend_end(sim, backend);
		return;
	}
	backend->ghost = true;
	backend->ask_count = served < backend->ask_count ? served : backend->ask_count;
	backend->ends_us = sim->now_us + (int64_t)sim_below(sim, 2000) * MS;
}
