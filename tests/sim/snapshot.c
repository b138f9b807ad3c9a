/* SPDX-License-Identifier: ISC */
/*
 * snapshot.c - all that the rest of a run depends on: kept, put back, made a hash of
 *
 * That is every byte of the world, of the workers and of their events, with the clock, the timers
 * and the state of the generator that makes the choices; only what lies behind a count, and is
 * written before it is read again, and what nothing depends on (the end of struct sim, the metrics)
 * is left out. So two states of one hash have the same future; two that differ in a byte that does
 * not matter are taken for different, which costs time only.
 */
#include "search.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct parts {
	struct part items[PARTS_MAX];
	unsigned count;
};

static void add(struct parts *parts, void *at, size_t size)
{
	if (size == 0)
		return;
	assert(parts->count < PARTS_MAX);
	parts->items[parts->count++] = (struct part){at, size};
}

static void add_database(struct parts *parts, struct database *db)
{
	add(parts, db, offsetof(struct database, rows));
	add(parts, db->rows, db->row_count * sizeof(db->rows[0]));
	add(parts, db->txns, db->txn_count * sizeof(db->txns[0]));
	add(parts, db->commits, db->commit_count * sizeof(db->commits[0]));
	for (unsigned b = 0; b < BACKENDS_MAX; b++) {
		struct backend *backend = &db->backends[b];
		add(parts, backend, offsetof(struct backend, notes));
		add(parts, backend->notes, backend->note_count * sizeof(backend->notes[0]));
		add(parts, backend->asks, backend->ask_count * sizeof(backend->asks[0]));
	}
}

static void add_relay(struct parts *parts, struct relay *relay)
{
	struct session *session = &relay->session;
	struct outbox_holds *holds = &session->holds;
	struct group *group = &session->group;
	struct producer *producer = &relay->producer;

	add(parts, session, offsetof(struct session, answers));
	add(parts, session->answers, session->answer_count * sizeof(session->answers[0]));
	add(parts, holds->items, holds->count * sizeof(holds->items[0]));
	add(parts, &holds->count, sizeof(*holds) - offsetof(struct outbox_holds, count));
	add(parts, group, offsetof(struct group, peers));
	add(parts, group->peers, group->peer_count * sizeof(group->peers[0]));
	add(parts, &group->owned, sizeof(group->owned.count) + (size_t)group->owned.count);
	add(parts, group->shards, (size_t)group->owned.count * sizeof(group->shards[0]));
	add(parts, producer, offsetof(struct producer, flights));
	for (unsigned p = 0; p < PARTITIONS; p++)
		add(parts, producer->flights[p],
		    producer->flight_count[p] * sizeof(producer->flights[p][0]));
	add(parts, producer->reports, producer->report_count * sizeof(producer->reports[0]));
	add(parts, producer->batches, producer->ledger_count * sizeof(producer->batches[0]));
	add(parts, producer->notes, producer->ledger_count * sizeof(producer->notes[0]));
	add(parts, &relay->process, sizeof(relay->process));
}

static void add_transactions(struct parts *parts, struct sim *sim)
{
	struct transactions *all = &sim->transactions;

	add(parts, &sim->slots,
	    offsetof(struct slots, before) + sim->db.commit_count * sizeof(sim->slots.before[0]));
	add(parts, all,
	    offsetof(struct transactions, late) + all->late_count * sizeof(all->late[0]));
	for (unsigned s = 0; s < SLOTS_SIM; s++) {
		struct coordinator *coordinator = &all->coordinators[s];
		add(parts, coordinator, offsetof(struct coordinator, notes));
		add(parts, coordinator->notes,
		    coordinator->note_count * sizeof(coordinator->notes[0]));
	}
	for (unsigned p = 0; p < PARTITIONS; p++) {
		struct record_log *log = &all->logs[p];
		add(parts, &log->count, sizeof(log->count));
		add(parts, log->items, log->count * sizeof(log->items[0]));
	}
}

static void find_parts(struct parts *parts, struct sim *sim)
{
	parts->count = heap_parts(parts->items);
	add(parts, sim, offsetof(struct sim, db));
	add_database(parts, &sim->db);
	if (sim->plan.position)
		add(parts, &sim->positions,
		    offsetof(struct positions, before) +
			sim->db.commit_count * sizeof(sim->positions.before[0]));
	if (sim->plan.exactly_once)
		add_transactions(parts, sim);
	for (unsigned r = 0; r < sim->plan.relays; r++)
		add_relay(parts, &sim->relays[r]);
}

/* ---- the hash ---- */

/* Both halves of the product: as in wyhash. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

struct hash {
	uint64_t a, b; /* which do not wait for each other */
};

/* Four words at a time. Most are zeros; they count by the place of what comes after them. */
static struct hash hash_words(struct hash hash, const uint8_t *bytes, size_t place)
{
	uint64_t words[4];

	memcpy(words, bytes, sizeof(words));
	if ((words[0] | words[1] | words[2] | words[3]) == 0)
		return hash;
	hash.a = fold(hash.a ^ words[0] ^ place, words[1] ^ 0xe7037ed1a0b428dbu);
	hash.b = fold(hash.b ^ words[2], words[3] ^ 0x8ebc6af09c88c6e3u);
	return hash;
}

static struct hash hash_part(struct hash hash, const struct part *part)
{
	const uint8_t *bytes = part->at;
	uint8_t rest[32] = {0};
	size_t at = 0;

	for (; part->size - at >= sizeof(rest); at += sizeof(rest))
		hash = hash_words(hash, bytes + at, at);
	memcpy(rest, bytes + at, part->size - at);
	hash = hash_words(hash, rest, at);
	hash.a = fold(hash.a ^ part->size, 0xa0761d6478bd642fu);
	return hash;
}

static uint64_t hash_parts(const struct parts *parts)
{
	struct hash hash = {1, 2};

	for (unsigned i = 0; i < parts->count; i++)
		hash = hash_part(hash, &parts->items[i]);
	return fold(hash.a ^ 0x589965cc75374cc3u, hash.b ^ 0x1d8e4e27c47d124fu);
}

uint64_t snapshot_hash(struct sim *sim)
{
	struct parts parts;

	find_parts(&parts, sim);
	return hash_parts(&parts);
}

/* ---- there and back ---- */

void snapshot_take(struct snapshot *snapshot, struct sim *sim)
{
	struct parts parts;
	size_t size = 0;

	find_parts(&parts, sim);
	for (unsigned i = 0; i < parts.count; i++)
		size += parts.items[i].size;
	if (size > snapshot->room) {
		free(snapshot->bytes);
		snapshot->room = size * 2;
		snapshot->bytes = malloc(snapshot->room);
		assert(snapshot->bytes != NULL);
	}
	uint8_t *to = snapshot->bytes;
	for (unsigned i = 0; i < parts.count; to += parts.items[i++].size)
		memcpy(to, parts.items[i].at, parts.items[i].size);
	memcpy(snapshot->parts, parts.items, parts.count * sizeof(parts.items[0]));
	snapshot->count = parts.count;
	snapshot->hash = hash_parts(&parts);
}

void snapshot_put_back(const struct snapshot *snapshot)
{
	const uint8_t *from = snapshot->bytes;

	for (unsigned i = 0; i < snapshot->count; from += snapshot->parts[i++].size)
		memcpy(snapshot->parts[i].at, from, snapshot->parts[i].size);
}

void snapshot_fini(struct snapshot *snapshot)
{
	free(snapshot->bytes);
	snapshot->bytes = NULL;
}
