/* SPDX-License-Identifier: ISC */
/*
 * positions.h - what the database has where rows stay (settle = "position"): who inserted each row,
 * the last positions, and what is settled ahead of them
 *
 * Claims are answered by the relay's own position_model.c. What is settled is what the positions
 * and the list of what is settled ahead say, whatever a row's state in the model is; the model's
 * state follows them at each COMMIT, and the checks go by it.
 */
#ifndef OUTBOX_SIM_POSITIONS_H
#define OUTBOX_SIM_POSITIONS_H

/* Included by sim.h, between what it is made of and what has it. */
struct session;
struct sim;

/* A snapshot; transaction ids are as few as writers, and each is a bit. */
struct stored_snapshot {
	uint32_t running;
	uint32_t xmax;
};

/* reached: 0 is nothing. */
struct stored_position {
	struct stored_snapshot finished, target;
	int32_t reached;
	bool has_target, walks;
};

/* What COMMIT makes others see. */
struct positions_now {
	int layout;	    /* so many shards the positions are of */
	uint32_t completed; /* the highest transaction id that has ended */
	uint64_t ahead;	    /* rows */
	struct stored_position shards[SHARDS_SIM];
};

/* Of a session, and of its transaction. */
struct open_positions {
	int layout;	  /* of the positions when it began: its statements are made for that */
	int next_layout;  /* that its transaction has changed to; 0: none */
	uint32_t written; /* shards */
	uint64_t noted, passed; /* rows that are settled ahead, and that a claim came to */
	struct stored_position shards[SHARDS_SIM];
	/* For a planted error: read when it began, and not used yet for these shards. */
	uint32_t early;
	struct stored_position read[SHARDS_SIM];
};

struct positions {
	uint32_t next_x;
	uint32_t early; /* writers that get their transaction id before they wait for their keys */
	uint8_t of_txn[TXNS_MAX], of_row[ROWS_MAX]; /* transaction ids; 0: none yet */
	struct positions_now now;
	struct open_positions open[BACKENDS_MAX];
	struct positions_now before[COMMITS_MAX]; /* each commit that a failover may forget */
};

void positions_plan(struct sim *sim);

/* Writers. True if this one gets its transaction id now, and nothing else yet. */
bool positions_begins_early(const struct sim *sim, const struct txn *txn);
void positions_begin_txn(struct sim *sim, const struct txn *txn);
void positions_draw(struct sim *sim, const struct txn *txn, unsigned row);
void positions_end_txn(struct sim *sim, const struct txn *txn);

/* Sessions. */
void positions_join(struct sim *sim, const struct backend *backend);
/* What its statements were made for is over. */
bool positions_are_over(const struct sim *sim, const struct backend *backend);

/* The rows that its claims are for. */
uint64_t positions_mine(const struct session *session);

/* Statements. */
void positions_claim(struct sim *sim, struct backend *backend, const struct ask *ask,
		     struct answer *answer);
/* Whether a row is there and not settled, as the backend's next statement sees it. */
bool positions_waits(const struct sim *sim, const struct backend *backend, unsigned row);
void positions_note_ahead(struct sim *sim, const struct backend *backend, unsigned row);
void positions_forget_ahead(struct sim *sim, const struct backend *backend);

/* The end of a transaction. COMMIT: the rows and letters that are settled by it. */
uint64_t positions_commit(struct sim *sim, const struct backend *backend);
void positions_end(struct sim *sim, const struct backend *backend);
/* A commit is about to be numbered; it is forgotten. */
void positions_keep(struct sim *sim);
void positions_forget_commit(struct sim *sim);
/* Nothing of what was under way is there any more. */
void positions_restart(struct sim *sim);

void positions_check_end(struct sim *sim);

#endif
