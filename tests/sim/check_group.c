/* SPDX-License-Identifier: ISC */
/*
 * check_group.c - who owns what: one at a time, nothing owed to the next, and in fair shares
 */
#include "halted.h"

/* ---- taking and handing over ---- */

/* What a relay may yet publish, that has not heard of its session's end. */
static uint64_t unaware(const struct relay *relay)
{
	return relay->session.answer_count > 0 ? relay->session.ended_with : 0;
}

/* Whoever had the key has lost its session: what it has published is published again, by one who
 * does not know of it, and so is what is still on its way. */
static void excuse(struct sim *sim, unsigned key)
{
	uint64_t sent = 0;

	for (unsigned r = 0; r < sim->plan.relays; r++)
		sent |= producer_holds(&sim->relays[r]) | unaware(&sim->relays[r]);
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (row->key != key)
			continue;
		row->repeats_allowed +=
		    row->appended > 0 && (row->state == ROW_VISIBLE || row->state == ROW_LETTER);
		row->repeats_allowed += (sent & ROW_BIT(i)) != 0;
	}
	sim->key_excused[key] = true;
}

/* Whoever has published them and could not remove them knows it; others do not. */
void excuse_held(struct sim *sim, uint64_t rows)
{
	for (unsigned i = 0; i < sim->db.row_count; i++) {
		struct row *row = &sim->db.rows[i];
		if (!(rows & ROW_BIT(i)) || row->state != ROW_VISIBLE)
			continue;
		row->repeats_allowed++;
		sim->key_excused[row->key] = true;
	}
}

static void excuse_held_by_others(struct sim *sim, const struct relay *self, unsigned key)
{
	for (unsigned r = 0; r < sim->plan.relays; r++)
		if (&sim->relays[r] != self)
			excuse_held(sim, refused_published(&sim->relays[r].session) &
					     rows_of_key(sim, key));
}

static void check_sole_owner(struct sim *sim, const struct backend *backend, unsigned key)
{
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		const struct backend *other = &sim->db.backends[b];
		if (other->used && other != backend && other->layout > 0 &&
		    (other->worked & 1u << shard_of(key, other->layout)))
			violated(sim, "two relays own a key", "key %u: relays %u and %u", key,
				 backend->relay, other->relay);
	}
}

/* A session works on shards; whoever did before is known by what it left. */
void note_work(struct sim *sim, struct backend *backend, uint32_t shards)
{
	for (unsigned k = 0; k < SHARDS_SIM; k++)
		if (shards & ~backend->worked & 1u << k)
			backend->worked_us[k] = sim->now_us;
	backend->worked |= shards;
	if (sim->plan.competing)
		return;
	for (unsigned key = 0; key < sim->plan.keys; key++)
		if (shards & 1u << shard_of(key, backend->layout))
			check_sole_owner(sim, backend, key);
	unsigned incarnation = sim->relays[backend->relay].process.incarnation;

	for (unsigned key = 0; key < sim->plan.keys; key++) {
		if (!(shards & 1u << shard_of(key, backend->layout)))
			continue;
		if (sim->db.key_worker[key] != incarnation && sim->db.key_worker[key] != 0 &&
		    !sim->db.key_handed[key])
			excuse(sim, key);
		if (sim->db.key_worker[key] != incarnation)
			excuse_held_by_others(sim, &sim->relays[backend->relay], key);
		sim->db.key_worker[key] = incarnation;
		sim->db.key_handed[key] = false;
	}
}

static uint64_t rows_of(const struct sim *sim, uint32_t shards, int layout)
{
	uint64_t rows = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (shards & 1u << shard_of(sim->db.rows[i].key, layout))
			rows |= ROW_BIT(i);
	return rows;
}

/* Nothing of a shard may be under way when it is handed over. */
void check_given(struct relay *relay, uint32_t shards)
{
	struct sim *sim = relay->sim;
	const struct backend *backend = relay->session.backend;

	if (shards == 0 || backend == NULL || backend->layout == 0)
		return;
	uint64_t rows = rows_of(sim, shards, backend->layout);
	/* What is part of a transaction that is given up nobody will see. */
	bool held = (producer_holds(relay) & rows) != 0 && !sim->plan.exactly_once;
	if (held || (backend->deleted & rows))
		violated(sim, "hands over too soon", "relay %u, shards %x, %s", relay->index,
			 shards, process_state(relay));
}

/* What a session had for so long others have seen it own, or they know that they have not polled.
 */
enum { SEEN_US = 1600 * 1000 };

/* A session ends with its shards. */
void note_freed(struct sim *sim, const struct backend *backend)
{
	for (unsigned key = 0; key < KEYS_MAX && backend->layout > 0; key++) {
		unsigned shard = shard_of(key, backend->layout);
		if (!(backend->worked & 1u << shard))
			continue;
		bool was_long = sim->now_us - backend->worked_us[shard] > SEEN_US;
		sim->db.key_freed_us[key] = was_long ? sim->now_us : 0;
	}
}

/* Whoever was there at a loss of its own session gives all others the time to come back. */
static int64_t grace_ends_us(const struct backend *backend, int64_t freed_us)
{
	if (backend->rejoined && freed_us <= backend->joined_us)
		return backend->joined_us + GROUP_GRACE_AFTER_LOSS_US;
	return freed_us + GROUP_GRACE_US;
}

/* An owner that merely reconnects gets its own back. */
void check_taken(struct sim *sim, const struct backend *backend, uint32_t shards, bool alone)
{
	unsigned incarnation = sim->relays[backend->relay].process.incarnation;

	for (unsigned key = 0; key < sim->plan.keys && !sim->plan.competing; key++) {
		int64_t *freed = &sim->db.key_freed_us[key];
		if (!(shards & 1u << shard_of(key, backend->layout)))
			continue;
		if (!alone && !sim->db.key_handed[key] && sim->db.key_worker[key] != incarnation &&
		    *freed > 0 && sim->now_us < grace_ends_us(backend, *freed))
			violated(sim, "does not wait for the owner", "key %u, relay %u", key,
				 backend->relay);
		*freed = 0;
	}
}

/* ---- two at the same time ---- */

void check_claimed(struct sim *sim, const struct backend *backend, unsigned index)
{
	unsigned key = sim->db.rows[index].key;

	if (!(backend->locks & 1u << shard_of(key, backend->layout)))
		violated(sim, "claims without the lock", "row %u", index);
	for (unsigned b = 0; b < BACKENDS_MAX && !sim->plan.competing; b++) {
		const struct backend *other = &sim->db.backends[b];
		if (!other->used || other == backend)
			continue;
		for (unsigned i = 0; i < sim->db.row_count; i++)
			if ((other->deleted & ROW_BIT(i)) && sim->db.rows[i].key == key)
				violated(sim, "two relays work on a key", "row %u and row %u",
					 index, i);
	}
}

/* A relay that has its session, and the sink some of the key. */
static bool works_on(const struct relay *relay, unsigned key)
{
	const struct sim *sim = relay->sim;
	uint64_t held = producer_holds(relay);

	if (!process_runs(relay) || relay->session.backend == NULL ||
	    !relay->session.backend->in_transaction)
		return false;
	for (unsigned i = 0; i < sim->db.row_count; i++)
		if ((held & ROW_BIT(i)) && sim->db.rows[i].key == key)
			return true;
	return false;
}

/* It was paused, not long enough to give its session up by itself. Of what came meanwhile it hears
 * first of claimed events, and then that the session has ended. */
static bool has_overslept(const struct relay *relay)
{
	return relay->session.backend == NULL && relay->session.answer_count > 0 &&
	       relay->process.paused_until_us > relay->sim->now_us - 100 * MS;
}

void check_produced(struct relay *relay, unsigned row)
{
	struct sim *sim = relay->sim;
	unsigned key = sim->db.rows[row].key;

	for (unsigned r = 0; r < sim->plan.relays && !sim->plan.competing; r++)
		if (&sim->relays[r] != relay && works_on(&sim->relays[r], key) &&
		    !has_overslept(relay))
			violated(sim, "two relays work on a key", "row %u by relay %u", row,
				 relay->index);
	if (relay->session.backend == NULL &&
	    sim->now_us - relay->session.beat_us > sim->plan.session_timeout_us)
		violated(sim, "works on after it was stopped", "row %u", row);
}

/* ---- shares ---- */

static bool is_member(const struct relay *relay)
{
	const struct backend *backend = relay->session.backend;

	return process_runs(relay) && !relay->process.asked_to_stop && backend != NULL &&
	       backend->layout > 0;
}

static bool has_served_since(const struct relay *relay, int64_t since_us)
{
	return process_runs(relay) && !process_is_paused(relay) &&
	       relay->process.paused_until_us < since_us && relay->producer.told_reachable &&
	       relay->producer.told_us < since_us && relay->producer.state == PRODUCER_READY &&
	       relay->producer.ready_us < since_us && is_member(relay) &&
	       !relay->session.backend->unavailable && relay->session.backend->joined_us < since_us;
}

/* A relay without the broker leaves its shards to one that has it; what its sink may yet publish
 * it waits for, for a while. */
void check_unavailable(struct relay *relay)
{
	const struct sim *sim = relay->sim;
	bool held = relay->producer.in_flight > 0;
	int64_t since = sim->now_us - (held ? 48 : 9) * SECOND;
	const struct backend *backend = relay->session.backend;

	if (!is_member(relay) || backend->locks == 0 || relay->producer.told_reachable ||
	    (!held && relay->process.progress_us >= since) || relay->producer.told_us >= since ||
	    backend->joined_us >= since || relay->process.paused_until_us >= since ||
	    sim->db.paused_until_us >= since)
		return;
	for (unsigned r = 0; r < sim->plan.relays; r++)
		if (has_served_since(&sim->relays[r], since) &&
		    sim->relays[r].session.backend->layout == backend->layout)
			violated(relay->sim, "keeps shards that it cannot serve",
				 "relay %u, though relay %u is there", relay->index, r);
}

/* Where relays compete, each has the shard. */
static void check_all_compete(struct sim *sim)
{
	for (unsigned r = 0; r < sim->plan.relays; r++)
		if (is_member(&sim->relays[r]) && sim->relays[r].session.backend->locks == 0)
			violated(sim, "leaves unfair shares", "relay %u has none", r);
}

/* In the end one layout works, all its shards are owned, by all its members alike. */
void check_shares(struct sim *sim)
{
	unsigned least[SHARDS_SIM + 1], most[SHARDS_SIM + 1] = {0}, sum[SHARDS_SIM + 1] = {0};
	unsigned working = 0;

	for (unsigned n = 0; n <= SHARDS_SIM; n++)
		least[n] = SHARDS_SIM;
	if (sim->plan.competing) {
		check_all_compete(sim);
		return;
	}
	for (unsigned r = 0; r < sim->plan.relays; r++) {
		if (!is_member(&sim->relays[r]))
			continue;
		const struct backend *backend = sim->relays[r].session.backend;
		unsigned owned = (unsigned)__builtin_popcount(backend->locks);
		unsigned n = (unsigned)backend->layout;
		sum[n] += owned;
		least[n] = owned < least[n] ? owned : least[n];
		most[n] = owned > most[n] ? owned : most[n];
	}
	for (unsigned n = 1; n <= SHARDS_SIM; n++) {
		if (sum[n] == 0)
			continue;
		working++;
		if (sum[n] != n || most[n] - least[n] > 1)
			violated(sim, "leaves unfair shares", "%u of %u, %u to %u each", sum[n], n,
				 least[n], most[n]);
	}
	if (working != 1)
		violated(sim, "leaves unfair shares", "%u layouts at work", working);
}
