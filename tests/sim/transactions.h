/* SPDX-License-Identifier: ISC */
/*
 * transactions.h - what Kafka has where each batch is a transaction: per slot a coordinator and its
 * part of the ledger, per partition the records that no reader sees yet
 *
 * As with brokers from 3.6 on and the first transaction protocol: an epoch a producer, not one a
 * transaction, and a record is refused whose partition is not part of the transaction under way.
 */
#ifndef OUTBOX_SIM_TRANSACTIONS_H
#define OUTBOX_SIM_TRANSACTIONS_H

/* Included by sim.h, between what it is made of and what has it. The ledger keeps a few batches. */
enum { SLOTS_SIM = 6, LOG_MAX = ROWS_MAX * 4, LEDGER_MAX = 12, LATE_ENDS_MAX = 32 };
enum { LEDGER_PARTITION = PARTITIONS }; /* each slot's own */

struct relay;
struct report;
struct sim;

/* A note of a batch; all are of one size, without gaps between them. */
struct noted {
	int64_t number; /* 0: none */
	uint64_t rows;
	int64_t line; /* of the server that it was written at */
};

enum coordinator_state { COORD_COMPLETE, COORD_ONGOING, COORD_COMMITTING, COORD_ABORTING };

struct coordinator {
	enum coordinator_state state;
	unsigned committed;  /* the last one that was completed */
	unsigned epoch;	     /* of the newest producer; 0: there was none yet */
	uint32_t partitions; /* bits: that are part of it, and, at its end, have no marker yet */
	struct noted end;    /* the record END that is in it */
	int64_t ends_us;     /* then it is aborted */
	int64_t last;	     /* number in the ledger */
	unsigned used;	     /* the ledger has, or had, something */
	unsigned note_count;
	struct noted notes[LEDGER_MAX]; /* from here on snapshot.c takes what is in use */
};

/* A record. A slot has no more than one transaction that is not decided, so that is its own. */
struct logged {
	uint8_t row, slot, decided, committed;
};

struct record_log {
	unsigned count;
	struct logged items[LOG_MAX]; /* likewise */
};

/* A request to commit that nobody waits for any more. */
struct late_end {
	int slot;
	unsigned epoch;
	int64_t at_us;
};

struct transactions {
	unsigned late_count;
	struct late_end late[LATE_ENDS_MAX];
	struct coordinator coordinators[SLOTS_SIM];
	struct record_log logs[PARTITIONS];
};

/* How far a rebuild is. */
enum rebuild_step { REBUILD_NONE, REBUILD_INIT, REBUILD_LEDGER, REBUILD_DONE };

/* How far a commit is: its END is to be written, the request to be carried out, its answer to be
 * heard. */
enum commit_step { COMMIT_NONE, COMMIT_RECORD, COMMIT_REQUEST, COMMIT_ANSWER };

/* A producer's side. */
struct transaction {
	int slot; /* -1: none */
	unsigned epoch;
	enum rebuild_step rebuild;
	enum commit_step commit;
	unsigned repeated;   /* the request to commit */
	unsigned begun;	     /* BEGIN is written, and reported */
	unsigned known;	     /* the producer has written to the ledger: BEGIN is not awaited */
	uint32_t partitions; /* bits: that it has made part of its transaction */
	int64_t settled;     /* of its id */
	struct noted note;   /* of the batch that is being committed */
	uint64_t remembered; /* for a planted error: rows that were acknowledged */
};

/* ---- the broker's side (transactions.c) ---- */

/* Whether a request of this producer would be answered now: not while markers are written. */
bool transactions_serve(const struct sim *sim, const struct transaction *txn);
enum admission { ADMITTED, FENCED_OFF, NOT_PART };
/* A record for this partition, which is made part of the transaction if the producer says so. */
enum admission transactions_admit(struct sim *sim, struct transaction *txn, unsigned partition);
void transactions_log(struct sim *sim, int slot, unsigned row);
/* A record that comes late, or whose producer is gone. */
void transactions_log_late(struct sim *sim, int slot, unsigned epoch, unsigned row);
void transactions_write_end(struct sim *sim, const struct transaction *txn);
/* EndTxn with commit. */
enum admission transactions_commit(struct sim *sim, int slot, unsigned epoch);
/* InitProducerId. False: it is to be asked again. */
bool transactions_init(struct sim *sim, int slot);
/* Aborts what is under way, for a reason of the broker's; nobody else has this epoch any more. */
void transactions_fence(struct sim *sim, int slot);
void transactions_come_late(struct sim *sim, int slot, unsigned epoch);
void transactions_arrive(struct sim *sim, unsigned late);
void transactions_write_marker(struct sim *sim, unsigned slot, unsigned partition);
bool transactions_time_out(const struct sim *sim, unsigned slot);
bool transactions_ledger_ends(const struct sim *sim, int slot);
/* Readers see it, or will. */
bool transactions_have(const struct sim *sim, unsigned row);
bool transactions_are_over(const struct sim *sim);
void transactions_check_end(struct sim *sim);

/* ---- the sink's side (commits.c) ---- */

void commits_init(struct relay *relay);
void commits_rebuild(struct relay *relay, const struct producer_id *id);
bool commits_rebuild_can_go_on(const struct relay *relay);
void commits_rebuild_on(struct relay *relay);
void commits_begin(struct relay *relay); /* at each event */
bool commits_can_append(const struct relay *relay, unsigned partition);
void commits_reported(struct relay *relay, const struct report *report);
bool commits_append(struct relay *relay, unsigned partition); /* false: it was refused */
void commits_append_own(struct relay *relay);		      /* BEGIN or END */
void commits_start(struct sink *sink, const struct ledger_batch *batch);
bool commits_can_go_on(const struct relay *relay, bool hears);
void commits_go_on(struct relay *relay);
/* The request is on its way, and nobody waits for it. */
void commits_leave_behind(struct relay *relay);
void commits_repeat(struct relay *relay, unsigned variant);
void commits_lose(struct relay *relay, unsigned variant);

#endif
