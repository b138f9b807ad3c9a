/* SPDX-License-Identifier: ISC */
/*
 * search.h - all runs of a kind instead of some: states that are kept, put back and told apart
 */
#ifndef OUTBOX_SEARCH_H
#define OUTBOX_SEARCH_H

#include "sim.h"

/* A piece of memory. */
struct part {
	void *at;
	size_t size;
};

/* heap.c: stands in for xalloc.c. What the relay allocates while a search is on lies in blocks of
 * one size or another, so that it can be copied with the rest. */
void heap_open(void);
void heap_close(void);
unsigned heap_parts(struct part *parts);

enum {
	HEAP_PARTS = 80,
	PARTS_MAX = HEAP_PARTS + BACKENDS_MAX * 3 + RELAYS_MAX * 15 + SLOTS_SIM * 2 + 16
};

/* snapshot.c: all that the rest of a run depends on. */
struct snapshot {
	uint64_t hash;
	struct part parts[PARTS_MAX];
	unsigned count;
	uint8_t *bytes; /* owned */
	size_t room;
};
void snapshot_take(struct snapshot *snapshot, struct sim *sim);
void snapshot_put_back(const struct snapshot *snapshot);
void snapshot_fini(struct snapshot *snapshot);
uint64_t snapshot_hash(struct sim *sim);

/* states.c: a set of hashes that the processes of a search share. */
struct states *states_new(unsigned bits); /* room for 2 to the power of bits */
void states_free(struct states **states);
/* False if it is there already, explored as deep as that or deeper. */
bool states_add(struct states *states, uint64_t hash, unsigned depth);
size_t states_count(const struct states *states);
/* What an onlooker would call the state: no clock, no counters. */
uint64_t states_hash(const struct sim *sim);

/* exhaustive.c: any one fault at any step of small runs, with and without letters. False if
 * something is violated. */
bool exhaustive_small(struct sim *sim);
/* With a planted error: one fault must find it in this small run with letters. */
bool exhaustive_finds(struct sim *sim, enum plant plant, uint64_t seed);
/* Any one and any two faults of `runs` small runs. */
bool exhaustive_run(struct sim *sim, uint64_t first, unsigned runs);
/* With a planted error: one fault must not find it, two must. */
bool exhaustive_plant(struct sim *sim, enum plant plant);
/* One of its paths, told step by step. */
bool exhaustive_replay(struct sim *sim, const char *path, enum plant plant);

#endif
