/* SPDX-License-Identifier: ISC */
/*
 * positions.c - the model of outbox_relay.positions and settled_ahead: what the statements of
 * outbox/sql_claim_position.c and sql_settled.c do, by the relay's position_model.c
 */
#include "outbox/position_model.h"

#include "sim.h"

#include <assert.h>
#include <string.h>

/* So small that both are met with. */
enum { FEW = 3, STALE_XIDS = 4, X_MAX = 32 };

/* What loaded snapshots borrow. */
struct room {
	uint64_t running[SHARDS_SIM * 2 + 1][TXNS_MAX];
	unsigned used;
};

static struct open_positions *open_of(struct sim *sim, const struct backend *backend)
{
	return &sim->positions.open[backend - sim->db.backends];
}

static const struct open_positions *opened(const struct sim *sim, const struct backend *backend)
{
	return &sim->positions.open[backend - sim->db.backends];
}

/* ---- stored and loaded ---- */

static struct pgsnapshot load_snapshot(const struct stored_snapshot *stored, struct room *room)
{
	uint64_t *running = room->running[room->used++];
	struct pgsnapshot snapshot = {.xmax = stored->xmax, .running = running};

	for (uint32_t left = stored->running; left != 0; left &= left - 1)
		running[snapshot.running_count++] = (uint64_t)__builtin_ctz(left);
	snapshot.xmin = snapshot.running_count > 0 ? running[0] : stored->xmax;
	return snapshot;
}

static struct position load(const struct stored_position *stored, struct room *room)
{
	struct position position = {.finished = load_snapshot(&stored->finished, room),
				    .has_target = stored->has_target,
				    .walks = stored->walks,
				    .has_reached = stored->reached > 0,
				    .reached = stored->reached};

	if (stored->has_target)
		position.target = load_snapshot(&stored->target, room);
	return position;
}

static struct stored_snapshot store_snapshot(const struct pgsnapshot *snapshot)
{
	struct stored_snapshot stored = {.xmax = (uint32_t)snapshot->xmax};

	for (size_t i = 0; i < snapshot->running_count; i++)
		stored.running |= 1u << snapshot->running[i];
	return stored;
}

static struct stored_position store(const struct position *position)
{
	struct stored_position stored = {.finished = store_snapshot(&position->finished),
					 .has_target = position->has_target,
					 .walks = position->walks};

	if (position->has_target)
		stored.target = store_snapshot(&position->target);
	if (position->has_reached)
		stored.reached = (int32_t)position->reached;
	return stored;
}

static bool is_same(const struct stored_position *a, const struct stored_position *b)
{
	struct room room = {0};
	struct position one = load(a, &room), other = load(b, &room);

	return position_equal(&one, &other);
}

/* ---- writers ---- */

void positions_plan(struct sim *sim)
{
	struct positions *positions = &sim->positions;

	positions->next_x = 1;
	positions->now.layout = sim_chance(sim, 500) ? 1 : sim->plan.shards;
	for (unsigned k = 0; k < SHARDS_SIM; k++)
		positions->now.shards[k].finished.xmax = 1;
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		positions->early |= sim_chance(sim, 300) ? 1u << i : 0;
}

static unsigned number_of(const struct sim *sim, const struct txn *txn)
{
	return (unsigned)(txn - sim->db.txns);
}

bool positions_begins_early(const struct sim *sim, const struct txn *txn)
{
	unsigned number = number_of(sim, txn);

	return sim->plan.position && txn->phase == TXN_WAITING &&
	       (sim->positions.early & 1u << number) && sim->positions.of_txn[number] == 0;
}

void positions_begin_txn(struct sim *sim, const struct txn *txn)
{
	uint8_t *x = &sim->positions.of_txn[number_of(sim, txn)];

	if (!sim->plan.position || *x != 0)
		return;
	*x = (uint8_t)sim->positions.next_x++;
	assert(*x < X_MAX);
}

void positions_draw(struct sim *sim, const struct txn *txn, unsigned row)
{
	positions_begin_txn(sim, txn);
	sim->positions.of_row[row] = sim->positions.of_txn[number_of(sim, txn)];
}

/* Committed or not. */
void positions_end_txn(struct sim *sim, const struct txn *txn)
{
	uint32_t x = sim->positions.of_txn[number_of(sim, txn)];

	if (x > sim->positions.now.completed)
		sim->positions.now.completed = x;
}

static struct stored_snapshot present(const struct sim *sim)
{
	struct stored_snapshot stored = {.xmax = sim->positions.now.completed + 1};

	for (unsigned i = 0; i < sim->db.txn_count; i++) {
		uint32_t x = sim->positions.of_txn[i];
		if (x != 0 && x < stored.xmax && sim->db.txns[i].phase != TXN_ENDED)
			stored.running |= 1u << x;
	}
	return stored;
}

/* ---- sessions, and how many shards there are ---- */

void positions_join(struct sim *sim, const struct backend *backend)
{
	struct open_positions *open = open_of(sim, backend);

	memset(open, 0, sizeof(*open));
	open->layout = sim->positions.now.layout;
	if (sim->plant != PLANT_POSITION_READ_TOO_SOON)
		return;
	open->early = ~0u;
	memcpy(open->read, sim->positions.now.shards, sizeof(open->read));
}

bool positions_are_over(const struct sim *sim, const struct backend *backend)
{
	return sim->plan.position && opened(sim, backend)->layout != sim->positions.now.layout;
}

static bool all_are_same(const struct sim *sim)
{
	const struct positions_now *now = &sim->positions.now;

	for (int k = 1; k < now->layout; k++)
		if (!is_same(&now->shards[0], &now->shards[k]))
			return false;
	return true;
}

/* By whoever has the first shard, once all are at one position. True: these statements are over. */
static bool take_up(struct sim *sim, const struct backend *backend, uint32_t shards)
{
	struct open_positions *open = open_of(sim, backend);

	if (backend->layout == open->layout)
		return false;
	if (positions_are_over(sim, backend))
		return true;
	if (!(shards & 1) || (!all_are_same(sim) && sim->plant != PLANT_POSITION_TAKEN_UP_EARLY))
		return false;
	open->next_layout = backend->layout;
	return true;
}

/* Those that a claim is for: while the layout is another, whoever has the first claims for all. */
static uint32_t shards_of(const struct sim *sim, const struct backend *backend, uint32_t shards)
{
	const struct open_positions *open = opened(sim, backend);

	if (positions_are_over(sim, backend) || open->next_layout != 0)
		return 0;
	if (backend->layout == open->layout)
		return shards;
	return shards & 1 ? (1u << open->layout) - 1 : 0;
}

uint64_t positions_mine(const struct session *session)
{
	const struct sim *sim = session->relay->sim;
	const struct backend *backend = session->backend;

	if (!sim->plan.position || backend == NULL || backend->layout == 0)
		return session_mine(session, ~UINT64_C(0));
	uint32_t shards = shards_of(sim, backend, session_owned(session));
	if (backend->layout == opened(sim, backend)->layout)
		return shards != 0 ? session_mine(session, ~UINT64_C(0)) : 0;
	return shards != 0 ? ~UINT64_C(0) : 0;
}

/* ---- what is settled ---- */

/* The rows that the table has, published or not. */
static bool is_there(const struct row *row)
{
	return row->state == ROW_VISIBLE || row->state == ROW_GONE || row->state == ROW_LETTER ||
	       (row->state == ROW_REMOVED && row->letter.number != 0);
}

static bool settles(const struct stored_position *stored, const struct sim *sim, unsigned row)
{
	struct room room = {0};
	struct position position = load(stored, &room);

	return position_settles(&position, sim->positions.of_row[row], sim->db.rows[row].id);
}

bool positions_waits(const struct sim *sim, const struct backend *backend, unsigned row)
{
	const struct open_positions *open = opened(sim, backend);
	const struct positions_now *now = &sim->positions.now;
	unsigned shard = shard_of(sim->db.rows[row].key, open->layout);
	bool own = (open->written & 1u << shard) != 0;

	if (!is_there(&sim->db.rows[row]) ||
	    (((now->ahead | open->noted) & ~open->passed) & ROW_BIT(row)))
		return false;
	if (positions_are_over(sim, backend)) /* there is none of its layout */
		return true;
	return !settles(own ? &open->shards[shard] : &now->shards[shard], sim, row);
}

void positions_note_ahead(struct sim *sim, const struct backend *backend, unsigned row)
{
	open_of(sim, backend)->noted |= ROW_BIT(row);
}

/* Housekeeping: of rows that are gone, or that a position shows. */
void positions_forget_ahead(struct sim *sim, const struct backend *backend)
{
	struct positions_now *now = &sim->positions.now;
	bool over = positions_are_over(sim, backend);

	for (unsigned i = 0; i < sim->db.row_count && sim->plan.position; i++) {
		unsigned shard = shard_of(sim->db.rows[i].key, now->layout);
		if (!is_there(&sim->db.rows[i]) ||
		    (!over && settles(&now->shards[shard], sim, i)) ||
		    sim->plant == PLANT_POSITION_AHEAD_FORGOTTEN)
			now->ahead &= ~ROW_BIT(i);
	}
}

/* ---- claims ---- */

struct claiming {
	struct room room;
	uint32_t group; /* shards */
	struct position from;
	struct position_start start;
	unsigned rows[ROWS_MAX]; /* that are next */
	size_t count;
};

static const struct stored_position *last_position(const struct sim *sim,
						   const struct backend *backend, unsigned shard)
{
	const struct open_positions *open = opened(sim, backend);

	if (open->early & 1u << shard)
		return &open->read[shard];
	if ((open->written & 1u << shard) && sim->plant != PLANT_POSITION_SAME_PLACE)
		return &open->shards[shard];
	return &sim->positions.now.shards[shard];
}

/* By planted errors all go on from one that is ahead, or behind. */
static void merge(const struct sim *sim, const struct position *positions, const unsigned *shards,
		  size_t count, struct claiming *claiming)
{
	bool ahead = sim->plant == PLANT_POSITION_UNION;
	bool all = ahead || sim->plant == PLANT_POSITION_INTERSECTION;

	for (size_t i = 0; i < count && ahead; i++)
		if (positions[i].finished.xmax > positions[claiming->start.first].finished.xmax)
			claiming->start.first = i;
	for (size_t i = 0; i < count; i++)
		if (all || position_equal(&positions[i], &positions[claiming->start.first]))
			claiming->group |= 1u << shards[i];
	claiming->from = positions[claiming->start.first];
}

static void find_start(const struct sim *sim, const struct backend *backend, uint32_t shards,
		       struct claiming *claiming)
{
	struct position positions[SHARDS_SIM];
	unsigned numbers[SHARDS_SIM];
	struct stored_snapshot seen = present(sim);
	struct pgsnapshot now = load_snapshot(&seen, &claiming->room);
	size_t count = 0;

	if (sim->plant == PLANT_POSITION_UP_TO_XMIN)
		now = (struct pgsnapshot){.xmin = now.xmin, .xmax = now.xmin};
	for (unsigned k = 0; k < SHARDS_SIM; k++)
		if (shards & 1u << k) {
			numbers[count] = k;
			positions[count++] = load(last_position(sim, backend, k), &claiming->room);
		}
	claiming->start = position_start(positions, count, &now);
	merge(sim, positions, numbers, count, claiming);
	if (sim->plant == PLANT_POSITION_TARGET_MOVED)
		claiming->start.goal = now;
}

static bool comes_before(const struct sim *sim, unsigned a, unsigned b)
{
	if (sim->plant == PLANT_POSITION_BY_X)
		return sim->positions.of_row[a] < sim->positions.of_row[b];
	return sim->db.rows[a].id < sim->db.rows[b].id;
}

static void find_rows(const struct sim *sim, const struct backend *backend,
		      struct claiming *claiming)
{
	int layout = opened(sim, backend)->layout;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		size_t at = claiming->count;
		if (!is_there(row) || !(claiming->group & 1u << shard_of(row->key, layout)) ||
		    !position_is_next(&claiming->from, &claiming->start.goal,
				      sim->positions.of_row[i], row->id))
			continue;
		for (; at > 0 && comes_before(sim, i, claiming->rows[at - 1]); at--)
			claiming->rows[at] = claiming->rows[at - 1];
		claiming->rows[at] = i;
		claiming->count++;
	}
}

static struct position_taken take(const struct sim *sim, const struct ask *ask,
				  const struct claiming *claiming)
{
	struct position_row rows[ROWS_MAX];
	struct position_limits limits = {
	    .rows = ask->claim.rows, .bytes = ask->claim.bytes, .few = FEW, .stale = STALE_XIDS};

	for (size_t i = 0; i < claiming->count; i++)
		rows[i] =
		    (struct position_row){.id = sim->db.rows[claiming->rows[i]].id,
					  .size = 100,
					  .held = (ask->held & ROW_BIT(claiming->rows[i])) != 0};
	struct position_taken taken =
	    position_take(&claiming->from, &claiming->start, rows, claiming->count, &limits);
	if (sim->plant == PLANT_POSITION_REACHED_KEPT && !taken.cut && taken.rows > 0)
		taken.behind.has_reached = true, taken.behind.reached = rows[taken.rows - 1].id;
	return taken;
}

/* To be published, or to be set aside behind letters. */
static void take_row(struct sim *sim, struct backend *backend, unsigned row, struct answer *answer)
{
	bool parked = letters_park(sim, backend, row);
	bool aside = parked || letters_wait_for_topic(sim, backend, row);

	check_claimed(sim, backend, row);
	sim->db.rows[row].taken_by = backend_number(sim, backend);
	backend->deleted |= ROW_BIT(row);
	if (aside)
		letters_move(sim, backend, row, !parked);
	*(aside ? &answer->moved : &answer->rows) |= ROW_BIT(row);
	answer->upto = sim->db.rows[row].id;
}

/* What is settled already is passed. */
static void take_rows(struct sim *sim, struct backend *backend, const struct claiming *claiming,
		      size_t count, struct answer *answer)
{
	struct open_positions *open = open_of(sim, backend);
	uint64_t ahead = (sim->positions.now.ahead | open->noted) & ~open->passed;

	if (sim->plant == PLANT_POSITION_AHEAD_IGNORED)
		ahead = 0;
	for (size_t i = 0; i < count; i++)
		if (ahead & ROW_BIT(claiming->rows[i]))
			open->passed |= ROW_BIT(claiming->rows[i]);
		else
			take_row(sim, backend, claiming->rows[i], answer);
}

static void write_positions(struct sim *sim, const struct backend *backend, uint32_t shards,
			    const struct position *behind)
{
	struct open_positions *open = open_of(sim, backend);

	for (unsigned k = 0; k < SHARDS_SIM; k++) {
		if (!(shards & 1u << k))
			continue;
		open->shards[k] = store(behind);
		if (sim->plant == PLANT_POSITION_AT_ONCE)
			sim->positions.now.shards[k] = open->shards[k];
	}
	open->written |= shards;
}

/* Alone: by its identity, wherever the position is. */
static void claim_one(struct sim *sim, struct backend *backend, const struct ask *ask,
		      struct answer *answer)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		bool ours = ask->shards & 1u << shard_of(sim->db.rows[i].key, backend->layout);
		if ((ask->held & ROW_BIT(i)) || !ours || !positions_waits(sim, backend, i))
			continue;
		positions_note_ahead(sim, backend, i);
		take_row(sim, backend, i, answer);
		if (sim->plant != PLANT_TRIES_ALL)
			return;
	}
}

void positions_claim(struct sim *sim, struct backend *backend, const struct ask *ask,
		     struct answer *answer)
{
	struct claiming claiming = {0};

	sim->claims++;
	if (ask->claim.alone) {
		claim_one(sim, backend, ask, answer);
		return;
	}
	answer->over = ask->claim.opens && take_up(sim, backend, ask->shards);
	uint32_t shards = shards_of(sim, backend, ask->shards);
	if (shards == 0)
		return;
	find_start(sim, backend, shards, &claiming);
	find_rows(sim, backend, &claiming);
	struct position_taken taken = take(sim, ask, &claiming);
	open_of(sim, backend)->early &= ~shards;
	take_rows(sim, backend, &claiming, taken.rows, answer);
	if (taken.writes)
		write_positions(sim, backend, claiming.group, &taken.behind);
	uint64_t all = answer->rows | answer->moved;
	answer->passes = taken.moves && all == 0;
	answer->full = __builtin_popcountll(all) + answer->passes == ask->claim.rows;
	answer->cut = taken.cut && (all != 0 || answer->passes);
}

/* ---- the end of a transaction ---- */

/* Once all are at one position, that is the position of each in another layout. */
static void change_layout(struct sim *sim, int layout)
{
	struct positions_now *now = &sim->positions.now;
	unsigned one = 0;

	for (int k = 1; k < now->layout; k++) /* by a planted error they are not */
		if (now->shards[k].finished.xmax > now->shards[one].finished.xmax)
			one = (unsigned)k;
	struct stored_position position = now->shards[one];
	for (unsigned k = 0; k < SHARDS_SIM; k++)
		now->shards[k] = position;
	now->layout = layout;
}

static bool is_settled(const struct sim *sim, unsigned row)
{
	const struct positions_now *now = &sim->positions.now;
	unsigned shard = shard_of(sim->db.rows[row].key, now->layout);

	return (now->ahead & ROW_BIT(row)) || settles(&now->shards[shard], sim, row);
}

static uint64_t settled_now(const struct sim *sim, const struct backend *backend)
{
	uint64_t rows = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		const struct row *row = &sim->db.rows[i];
		if (row->state == ROW_LETTER ? (backend->deleted & ROW_BIT(i)) != 0
					     : row->state == ROW_VISIBLE && is_settled(sim, i))
			rows |= ROW_BIT(i);
	}
	return rows;
}

uint64_t positions_commit(struct sim *sim, const struct backend *backend)
{
	struct open_positions *open = open_of(sim, backend);
	struct positions_now *now = &sim->positions.now;

	positions_keep(sim);
	for (unsigned k = 0; k < SHARDS_SIM; k++)
		if (open->written & 1u << k)
			now->shards[k] = open->shards[k];
	now->ahead = (now->ahead | open->noted) & ~open->passed;
	if (open->next_layout != 0)
		change_layout(sim, open->next_layout);
	return settled_now(sim, backend);
}

void positions_end(struct sim *sim, const struct backend *backend)
{
	struct open_positions *open = open_of(sim, backend);

	open->written = 0;
	open->next_layout = 0;
	open->noted = open->passed = 0;
	memset(open->shards, 0, sizeof(open->shards));
}

/* ---- what is lost ---- */

void positions_keep(struct sim *sim)
{
	assert(sim->db.commit_count < COMMITS_MAX);
	sim->positions.before[sim->db.commit_count] = sim->positions.now;
}

void positions_forget_commit(struct sim *sim)
{
	sim->positions.now = sim->positions.before[sim->db.commit_count];
}

/* Transaction ids that nothing on disk names are given out again. */
void positions_restart(struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.txn_count; i++)
		if (sim->db.txns[i].phase == TXN_WAITING)
			sim->positions.of_txn[i] = 0;
	sim->positions.next_x = sim->positions.now.completed + 1;
}

/* ---- what must be true ---- */

void positions_check_end(struct sim *sim)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		if (is_there(&sim->db.rows[i]) && !is_settled(sim, i))
			violated(sim, "leaves an event in the outbox", "row %u", i);
		if (sim->positions.now.ahead & ROW_BIT(i))
			violated(sim, "leaves what was settled ahead", "row %u", i);
	}
}
