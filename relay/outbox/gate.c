/* SPDX-License-Identifier: ISC */
/*
 * gate.c - events that wait until what they were claimed from is durable
 */
#include "gate.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void gate_add(struct gate *gate, struct chunk *chunk, bool last, int64_t now_us)
{
	if (gate->count == gate->room) {
		gate->room = gate->room * 2 + 4;
		gate->entries = xrealloc(gate->entries, gate->room * sizeof(*gate->entries));
	}
	struct gate_entry entry = {.chunk = chunk, .last = last, .since_us = now_us};
	if (chunk != NULL && chunk->count == 0 && gate->count > 0) {
		entry.begun = gate->entries[gate->count - 1].begun;
		entry.upto = gate->entries[gate->count - 1].upto;
	}
	gate->entries[gate->count++] = entry;
}

bool gate_begin_flush(struct gate *gate)
{
	/* Those that have begun come first. */
	if (gate->flushing || gate->count == 0 || gate->entries[gate->count - 1].begun)
		return false;
	for (size_t i = 0; i < gate->count; i++)
		gate->entries[i].begun = true;
	gate->flushing = true;
	return true;
}

void gate_end_flush(struct gate *gate, int64_t position)
{
	assert(gate->flushing);
	gate->flushing = false;
	for (size_t i = 0; i < gate->count; i++)
		if (gate->entries[i].begun && gate->entries[i].upto == 0)
			gate->entries[i].upto = position;
}

void gate_restart(struct gate *gate)
{
	gate->flushing = false;
	gate->reached = 0;
	for (size_t i = 0; i < gate->count; i++) {
		gate->entries[i].begun = false;
		gate->entries[i].upto = 0;
	}
}

void gate_reach(struct gate *gate, int64_t position)
{
	if (position > gate->reached)
		gate->reached = position;
}

bool gate_awaits(const struct gate *gate)
{
	return gate->count > 0 && gate->entries[0].upto > 0;
}

bool gate_take(struct gate *gate, struct gate_entry *entry)
{
	if (!gate_awaits(gate) || gate->entries[0].upto > gate->reached)
		return false;
	*entry = gate->entries[0];
	gate->count--;
	memmove(gate->entries, gate->entries + 1, gate->count * sizeof(*gate->entries));
	return true;
}

void gate_clear(struct gate *gate)
{
	for (size_t i = 0; i < gate->count; i++)
		if (gate->entries[i].chunk != NULL)
			gate->entries[i].chunk->free(gate->entries[i].chunk);
	gate->count = 0;
}

void gate_fini(struct gate *gate)
{
	gate_clear(gate);
	free(gate->entries);
	*gate = (struct gate){0};
}
