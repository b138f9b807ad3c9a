/* SPDX-License-Identifier: ISC */
/*
 * slots.h - what the database has for exactly once: producers, and which may have something of a
 * shard in doubt, as in sql/0016_exactly_once.sql
 *
 * A layout is a number of shards, and a line a server: another one after a failover.
 */
#ifndef OUTBOX_SIM_SLOTS_H
#define OUTBOX_SIM_SLOTS_H

/* Included by sim.h, as transactions.h is. */
struct answer;
struct ask;
struct backend;

struct slot_row {
	int64_t settled;
	int used, line; /* line: 0: it was never resolved */
};

/* outbox_relay.producers and producer_shards. */
struct slots_now {
	struct slot_row rows[SLOTS_SIM];
	uint8_t owners[SHARDS_SIM + 1][SHARDS_SIM]; /* by layout and shard: slot + 1; 0: no row */
};

struct slots {
	int line;
	struct slots_now now;
	struct slots_now before[COMMITS_MAX]; /* each commit that a failover may forget */
};

void slots_plan(struct sim *sim);
/* False if there is nothing to answer. */
bool slots_serve(struct sim *sim, struct backend *backend, const struct ask *first,
		 struct answer *answer);
bool slots_have_owner_rows(const struct sim *sim);
/* None is in the way of what will be claimed next. */
bool slots_are_resolved(const struct sim *sim);
/* With the transaction that settles a batch. */
void slots_commit(struct sim *sim, struct backend *backend);
/* As positions_keep() and the like. */
void slots_keep(struct sim *sim);
void slots_forget_commit(struct sim *sim);
void slots_fail_over(struct sim *sim);
void slots_check_end(struct sim *sim);

/* ---- a session's part (producers.c), as in outbox/producers.c ---- */

struct session;

void producers_begin(struct session *session);
void producers_own(struct session *session);
void producers_again(struct session *session);
bool producers_give(struct session *session, const struct shards *shards);
bool producers_stand_by(struct session *session); /* false: there is no session any more */
void producers_leave(struct session *session);
void producers_settle(struct session *session);
void producers_settled(struct session *session);
void producers_describe(struct source *source, const struct batch *batch,
			struct ledger_batch *described);
void producers_resolve(struct session *session);
void producers_reconciled(struct session *session);
void producers_kept(struct session *session); /* some of the rows are there still */
void producers_lost(struct session *session);
void producers_answered(struct session *session, const struct answer *answer);

#endif
