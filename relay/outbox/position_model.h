/* SPDX-License-Identifier: ISC */
/*
 * position_model.h - the model of a position: what it shows as published, and where a claim leaves
 * it
 *
 * Where rows stay (settle = "position"), each has in x the transaction that inserted it. A shard's
 * position is two snapshots and an id: published is what `finished` shows, and of what `target`
 * shows beyond that, in order of id, what has an id up to `reached`. See sql/0014_positions.sql.
 *
 * The relay does not call it: the database carries this out, by the statements of
 * sql_claim_position.c. This says the same in C, and is what they are held to
 * (tests/system/test_position_model.py).
 *
 * Pure. tests/unit/test_position_model.c explores every interleaving of small cases, and planted
 * errors; the simulator's database answers its claims by it.
 */
#ifndef OUTBOX_OUTBOX_POSITION_MODEL_H
#define OUTBOX_OUTBOX_POSITION_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As PostgreSQL's pg_snapshot: it shows each transaction below xmax that was not under way. Whether
 * it was rolled back is nothing that a snapshot tells: its rows are not there. */
struct pgsnapshot {
	uint64_t xmin, xmax;	 /* all below xmin, and none from xmax on */
	const uint64_t *running; /* borrowed; in order; those of xmin to xmax that were under way */
	size_t running_count;
};

bool pgsnapshot_shows(const struct pgsnapshot *snapshot, uint64_t x);
/* Whether one shows all that the other does. */
bool pgsnapshot_shows_all(const struct pgsnapshot *snapshot, const struct pgsnapshot *of);
bool pgsnapshot_equal(const struct pgsnapshot *a, const struct pgsnapshot *b);

/* "xmin:xmax:running,...". False if it is none, or has more than `room` that were under way;
 * running borrows the room. */
bool pgsnapshot_parse(struct pgsnapshot *snapshot, const char *text, uint64_t *running,
		      size_t room);
/* Malloc'd. */
char *pgsnapshot_print(const struct pgsnapshot *snapshot);

struct position {
	struct pgsnapshot finished, target;
	bool has_target;  /* otherwise the next claim decides on one */
	bool has_reached; /* otherwise nothing of the target is taken, from the lowest id on */
	int64_t reached;
	bool walks; /* target is large: it is read in order of id, not by x */
};

/* Whether a row is published, as far as this position tells. */
bool position_settles(const struct position *position, uint64_t x, int64_t id);

bool position_equal(const struct position *a, const struct position *b);

/* What a claim takes from: of the positions of several shards those that are furthest behind. */
struct position_start {
	size_t first; /* one of them; the others of the claim are equal to it */
	struct pgsnapshot goal;
	bool bound; /* the goal was decided on before, or is what other shards have finished */
	bool apart; /* another shard has finished something else */
};

/* count > 0. present: what the claim's statement sees. */
struct position_start position_start(const struct position *positions, size_t count,
				     const struct pgsnapshot *present);

/* Whether a row is of what lies between the position and the goal, and not taken yet. */
bool position_is_next(const struct position *position, const struct pgsnapshot *goal, uint64_t x,
		      int64_t id);

/* A row that is next. */
struct position_row {
	int64_t id, size;
	bool held; /* neither it nor what comes after it may be taken */
};

struct position_limits {
	int64_t rows, bytes; /* of a claim; bytes < 0: any number */
	int64_t few;	     /* so many rows are sorted for a claim; of more the target is walked */
	uint64_t stale;	     /* a position is brought forward though nothing was found: after so
			      * many transactions */
};

struct position_taken {
	size_t rows; /* the first so many */
	bool cut;    /* the goal has more */
	bool writes; /* `behind` is to be written */
	struct position behind;
	bool moves; /* there may be more, though no row was taken */
};

/* rows: all that are next, in order of id. What is taken of them, and the position behind it, which
 * borrows what the position and the goal do. */
struct position_taken position_take(const struct position *position,
				    const struct position_start *start,
				    const struct position_row *rows, size_t count,
				    const struct position_limits *limits);

#endif
