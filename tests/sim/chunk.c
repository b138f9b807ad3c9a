/* SPDX-License-Identifier: ISC */
/*
 * chunk.c - rows of the model as a source's events, and the route they take
 */
#include "sim.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_KEY, FIELD_TOPIC, FIELDS };

struct sim_event {
	struct slice fields[FIELDS];
	uint64_t identity; /* the row; its place in the array tells it from all others */
};

struct sim_chunk {
	struct chunk chunk; /* first */
	struct sim_event *more;
};

static void free_chunk(struct chunk *chunk)
{
	free(chunk);
}

/* By a planted error what is parked is another key than what comes after it. */
static struct slice key_of(const struct sim *sim, unsigned index)
{
	static const char *const keys[2][KEYS_MAX] = {{"k0", "k1", "k2", "k3"},
						      {"k0'", "k1'", "k2'", "k3'"}};
	const struct row *row = &sim->db.rows[index];

	return slice_of(keys[sim->plant == PLANT_BATCH_PASSES && !row->bad][row->key]);
}

static struct slice topic_of(const struct row *row)
{
	static const char *const topics[TOPICS] = {"events", "others"};

	return row->kind == KIND_UNROUTABLE ? SLICE_NULL : slice_of(topics[row->topic]);
}

static void fill(struct event *event, struct sim_event *more, const struct sim *sim, unsigned index)
{
	const struct row *row = &sim->db.rows[index];

	more->identity = index;
	more->fields[FIELD_KEY] = key_of(sim, index);
	more->fields[FIELD_TOPIC] = topic_of(row);
	event->id = row->id;
	event->fields = more->fields;
	event->identity = (struct slice){(const char *)&more->identity, sizeof(more->identity)};
	event->payload = event->identity;
	event->payload_bytes = sizeof(more->identity);
	event->created_us = row->visible_us + 1;
}

static int64_t place_of(const struct row *row, bool letters)
{
	return letters ? row->letter.number : row->id;
}

/* In order of id, as a claim's answer is; letters in that of their numbers. */
static unsigned in_order(const struct sim *sim, uint64_t rows, bool letters, unsigned *order)
{
	bool backwards = sim->plant == PLANT_UNORDERED_CLAIM;
	unsigned count = 0;

	for (unsigned i = 0; i < sim->db.row_count; i++) {
		unsigned at = count;
		if (!(rows & ROW_BIT(i)))
			continue;
		while (at > 0 && (place_of(&sim->db.rows[order[at - 1]], letters) >
				  place_of(&sim->db.rows[i], letters)) != backwards) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = i;
		count++;
	}
	return count;
}

struct chunk *chunk_of_rows(const struct sim *sim, uint64_t rows, bool letters)
{
	unsigned order[ROWS_MAX], count = in_order(sim, rows, letters, order);
	size_t size =
	    sizeof(struct sim_chunk) + count * (sizeof(struct event) + sizeof(struct sim_event));
	struct sim_chunk *made = xcalloc(1, size);
	struct chunk *chunk = &made->chunk;

	chunk->events = (struct event *)(made + 1);
	made->more = (struct sim_event *)(chunk->events + count);
	chunk->count = count;
	chunk->bytes = count * 100;
	chunk->free = free_chunk;
	for (unsigned i = 0; i < count; i++) {
		chunk->events[i].chunk = chunk;
		fill(&chunk->events[i], &made->more[i], sim, order[i]);
		if (!letters)
			continue;
		chunk->events[i].letter = sim->db.rows[order[i]].letter.number;
		chunk->events[i].again = sim->db.rows[order[i]].letter.rejected;
	}
	return chunk;
}

unsigned event_row(const struct event *event)
{
	uint64_t row;

	memcpy(&row, event->identity.data, sizeof(row));
	return (unsigned)row;
}

/* ---- of a batch ---- */

uint64_t rows_in(const struct batch *batch, enum event_state state)
{
	struct batch_walk walk;
	uint64_t rows = 0;

	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == state && e->letter == 0)
			rows |= ROW_BIT(event_row(e));
	return rows;
}

uint64_t rows_that_park(const struct batch *batch, enum reject_policy policy)
{
	struct batch_walk walk;
	uint64_t rows = 0;

	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->letter != 0 ? policy != REJECT_DEAD_LETTERS
				   : policy == REJECT_PARKS && e->parks)
			rows |= ROW_BIT(event_row(e));
	return rows;
}

static int field(const char *name, void *arg)
{
	(void)arg;
	return strcmp(name, "key") == 0 ? FIELD_KEY : FIELD_TOPIC;
}

/* One for all runs: nothing of it outlives the call that routes an event. */
struct route *sim_route(void)
{
	static struct route *route;
	static const struct config_strings none;
	static const struct route_rules rules = {
	    .topic = "sim-${topic}", .key = "${key}", .headers = &none};
	struct error err;

	if (route == NULL)
		route = route_new(&rules, field, NULL, &err);
	assert(route != NULL);
	return route;
}
