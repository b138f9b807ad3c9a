/*
 * sim.h - a small world in which the real worker, engine, batch, horizon, waker and route run
 *
 * One thread, a virtual clock, and a list of what could happen next, from which a seed chooses. The
 * world is a database (database.c) behind a source (session.c), a broker behind a sink (broker.c),
 * and a process that runs the shard (process.c). schedule.c chooses steps and faults; check.c knows
 * what must be true. Planted errors (plants.c) are mistakes of the models that stand for mistakes
 * of the relay: the checker must find each.
 */
#ifndef OUTBOX_SIM_H
#define OUTBOX_SIM_H

#include "worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROWS_MAX = 48, TXNS_MAX = 24, TXN_ROWS_MAX = 3, KEYS_MAX = 4, PARTITIONS = 2 };
enum { BACKENDS_MAX = 8, ASKS_MAX = 24, ANSWERS_MAX = 64, COMMITS_MAX = 96, GHOSTS_MAX = 96 };

#define MS	     1000
#define SECOND	     (1000 * INT64_C(1000))
#define NEVER	     INT64_MAX
#define ROW_BIT(row) (UINT64_C(1) << (row))

/* ---- the database ---- */

enum row_state {
	ROW_PLANNED,
	ROW_DRAWN, /* it has its id, its transaction is open */
	ROW_VISIBLE,
	ROW_GONE, /* deleted by a committed transaction */
	ROW_ABORTED,
	ROW_FORGOTTEN /* a failover lost the commit */
};

enum row_kind {
	KIND_GOOD,
	KIND_UNROUTABLE, /* the route refuses it */
	KIND_TOO_LARGE,	 /* the sink refuses it */
	KIND_POISON	 /* the broker refuses it */
};

struct row {
	int64_t id;
	unsigned key, number; /* its place among its key's commits */
	unsigned partition;
	enum row_kind kind;
	enum row_state state;
	unsigned taken_by;	     /* backend + 1 whose open transaction has deleted it */
	int64_t visible_us;	     /* since when it can be claimed */
	int64_t took_us;	     /* its transaction, from the table's lock to the commit */
	int64_t foreign_until_us;    /* somebody else holds its lock */
	int64_t topic_away_until_us; /* its topic is missing until it is mended, and nobody tells */
	bool dead_letter;	     /* it was moved there */
	unsigned appended;	     /* times it stands in the log */
	unsigned repeats_allowed;    /* for reasons that allow it */
};

enum txn_phase { TXN_WAITING, TXN_KEYED, TXN_LOCKED, TXN_DRAWN, TXN_INSERTED, TXN_ENDED };

/* A writer: takes the locks of its keys, the table's lock, and inserts its rows. */
struct txn {
	enum txn_phase phase;
	unsigned first_row, rows, inserted;
	bool aborts, rings;
	int64_t next_us; /* it sleeps until then */
	int64_t locked_us;
};

enum answer_kind {
	ANSWER_ACQUIRED,
	ANSWER_BUSY,
	ANSWER_LOST,
	ANSWER_CLAIMED,
	ANSWER_SETTLED,
	ANSWER_WITHDRAWN,
	ANSWER_RECOVERED,
	ANSWER_OBSERVED,
	ANSWER_RUNG,
	ANSWER_GAUGED,
	ANSWER_CLOSED,
	ANSWER_DURABLE
};

struct answer {
	enum answer_kind kind;
	uint64_t rows;
	int64_t drawn;
	uint32_t writers; /* by transaction */
	bool durable;	  /* nothing is owed any more */
	bool cut;	  /* a claim left rows for want of bytes, or behind a locked one */
	int64_t upto;	  /* and nothing up to here; 0: not known */
	bool gained;
};

enum ask_kind {
	ASK_LOCK,
	ASK_BEGIN,
	ASK_DRAWN,
	ASK_WRITERS,
	ASK_CLAIM,
	ASK_LEFT,
	ASK_COMMIT,
	ASK_END,
	ASK_ROLLBACK,
	ASK_RECOVER,
	ASK_RECOVER_COMMIT,
	ASK_DEBT_COMMIT,
	ASK_BELL_ON,
	ASK_BELL_OFF,
	ASK_HOUSEKEEP,
	ASK_CLOSE
};

struct ask {
	enum ask_kind kind;
	struct claim claim;
	uint64_t delivered, rejected; /* rows, for ASK_RECOVER */
	bool lazily;		      /* ASK_COMMIT: not waited for */
	bool durably;		      /* ASK_END: flushes what was not waited for */
};

/* A server process. When its client is gone it may still do what it was asked. */
struct backend {
	bool used, ghost;
	bool in_transaction;
	bool awaits_network; /* a connection that is being opened */
	int64_t begun_us;
	uint64_t deleted;      /* rows, in the open transaction */
	uint64_t set_aside;    /* of these, moved to the dead letters */
	unsigned rings;	       /* notifications to be told once out of the transaction */
	int64_t ends_us;       /* a ghost's end */
	int64_t drawn;	       /* read, not yet told */
	struct answer claimed; /* likewise, until it is known what is left */
	struct ask asks[ASKS_MAX];
	unsigned ask_count;
};

struct commit {
	uint64_t inserted, deleted, set_aside;
	bool lazy; /* a crash of the server may undo it */
};

struct database {
	struct row rows[ROWS_MAX];
	unsigned row_count;
	struct txn txns[TXNS_MAX];
	unsigned txn_count;
	unsigned key_numbers[KEYS_MAX];
	int64_t sequence;
	bool bell;
	int64_t down_until_us;
	struct backend backends[BACKENDS_MAX];
	unsigned lock_owner;	/* backend + 1 */
	int64_t rival_until_us; /* another, idle relay holds the shard */
	struct commit commits[COMMITS_MAX];
	unsigned commit_count;
};

/* ---- the source ---- */

struct session {
	struct source source; /* first */
	struct sim *sim;
	struct backend *backend; /* NULL: no connection */
	struct answer answers[ANSWERS_MAX];
	unsigned answer_count;
	/* Rows whose removal is committed but may not be durable; outlives the connection. */
	uint64_t debt;
	int64_t claimed_us; /* when the batch's first rows were told */
	/* for planted errors */
	int64_t last_claimed;
	bool was_lost, bell_late;
};

/* ---- the broker and the sink ---- */

struct flight {
	unsigned row;
	struct event *event;
	bool appended, acknowledged;
};

enum report_kind { REPORT_DELIVERED, REPORT_REJECTED, REPORT_RETURNED, REPORT_BROKEN };
struct report {
	enum report_kind kind;
	unsigned row;
	struct event *event;
};

enum producer_state { PRODUCER_STARTING, PRODUCER_READY, PRODUCER_DRAINING, PRODUCER_REBUILDING };

struct producer {
	struct sink sink; /* first */
	struct sim *sim;
	enum producer_state state;
	struct flight flights[PARTITIONS][ROWS_MAX];
	unsigned flight_count[PARTITIONS];
	struct report reports[ROWS_MAX * 2 + 4];
	unsigned report_count;
	unsigned outstanding;
	bool blocked; /* SINK_LATER was answered; writable() is owed */
	int64_t blocked_until_us, writable_us;
	int64_t ready_us;
	bool told_reachable;
	int64_t tell_reachable_us;
};

struct broker {
	int64_t down_until_us;
	/* Requests of producers that are no more, still on their way. */
	unsigned ghosts[PARTITIONS][GHOSTS_MAX];
	unsigned ghost_count[PARTITIONS];
	int64_t topic_away_until_us;
};

/* ---- the process ---- */

struct process {
	struct worker *worker; /* NULL: not running */
	struct worker_world world;
	struct engine_options options;
	int64_t wake_us, stall_timer_us;
	int64_t start_us; /* when it is started again */
	int64_t paused_until_us;
	bool asked_to_stop, ended, failed;
	int64_t stop_us;     /* when it was asked */
	int64_t progress_us; /* last report told, or begin */
	uint64_t rejected;   /* rows told as rejected to this process */
};

/* ---- a run ---- */

enum fault {
	FAULT_CUT_SERVER,
	FAULT_CUT_CLIENT,
	FAULT_RESTART,
	FAULT_FAILOVER,
	FAULT_BROKER_DOWN,
	FAULT_BREAK,
	FAULT_DRAIN,
	FAULT_BLOCK,
	FAULT_MISROUTE,
	FAULT_CRASH,
	FAULT_STOP,
	FAULT_STOP_NOW,
	FAULT_PAUSE,
	FAULT_ROW_LOCK,
	FAULT_RIVAL,
	FAULT_RELOAD,
	FAULTS
};

enum plant {
	PLANT_NONE,
	PLANT_ACKS_TOO_SOON,
	PLANT_CLAIMS_ABOVE_LAST,
	PLANT_NO_WRITERS,
	PLANT_DRAWN_TOO_LATE,
	PLANT_DIRTY_READ,
	PLANT_UNORDERED_CLAIM,
	PLANT_RECOVER_SKIPPED,
	PLANT_RECOVER_BY_ID,
	PLANT_ACKS_FORGOTTEN,
	PLANT_ASIDE_DROPPED,
	PLANT_COMMIT_UNDONE,
	PLANT_DEBT_FORGOTTEN,
	PLANT_WITHDRAW_COMMITS,
	PLANT_LOCK_IGNORED,
	PLANT_PARTITION_SWAPS,
	PLANT_NO_GAPLESS,
	PLANT_POISON_DELIVERED,
	PLANT_RETURNED_TOO_SOON,
	PLANT_NO_STALL,
	PLANT_BELL_LATE,
	PLANT_RINGS_LOST,
	PLANT_SLEEPS_ON,
	PLANT_STORM,
	PLANT_KEY_NOT_HELD,
	PLANT_PASSED_OVER,
	PLANTS
};

struct plan {
	unsigned keys;
	bool set_aside, has_bell, rings_lossy, late_requests;
	int64_t stall_us;
	unsigned fault_permille, faults_left;
	uint32_t fault_kinds; /* bits */
	bool exhaustive;
};

/* A fault at a step of its own: the exhaustive mode. */
struct fixed_fault {
	unsigned step;
	enum fault fault;
	unsigned variant;
};

struct sim {
	uint64_t seed, random;
	int64_t now_us;
	unsigned steps;
	struct plan plan;
	enum plant plant;
	bool verbose;
	bool healed; /* no more faults; the end is near */
	struct metrics *metrics;
	struct states *states; /* NULL: not counted */
	const char *violation;
	char detail[160];

	struct database db;
	struct session session;
	struct broker broker;
	struct producer producer;
	struct process process;

	const struct fixed_fault *fixed;
	unsigned fixed_count;

	unsigned last_number[KEYS_MAX]; /* of the log, + 1 */
	unsigned jumps_allowed[KEYS_MAX];
	bool lines_excused;		/* repeats may come in any order, to be short */
	unsigned claims;		/* executed */
	unsigned looks;			/* transactions begun */
	int64_t looking_us;		/* since when the worker has only looked and rested */
	int64_t healed_us, idle_us;	/* since when; 0: not yet */
	unsigned idle_looks, idle_step; /* when it became idle */
	unsigned crashes, faults, repeats;
};

/* random.c: choices */
uint32_t sim_below(struct sim *sim, uint32_t bound);
bool sim_chance(struct sim *sim, uint32_t permille);

/* database.c */
void database_plan(struct sim *sim);
bool database_is_down(const struct sim *sim);
bool row_is_free(const struct sim *sim, const struct row *row);
struct backend *backend_new(struct sim *sim);
void backend_abort(struct sim *sim, struct backend *backend);
void backend_end(struct sim *sim, struct backend *backend);
void backend_commit(struct sim *sim, struct backend *backend, bool lazily);
void database_flush(struct sim *sim);
void database_restart(struct sim *sim, bool failover, unsigned lost);
bool txn_can_step(const struct sim *sim, const struct txn *txn);
void txn_step(struct sim *sim, struct txn *txn);
uint32_t txn_writers(const struct sim *sim);

/* session.c */
void session_init(struct sim *sim);
bool session_can_serve(const struct sim *sim, const struct backend *backend);
void session_serve(struct sim *sim, struct backend *backend);
void session_tell(struct sim *sim);
void session_push(struct sim *sim, struct answer answer);
void session_cut(struct sim *sim, bool by_server, unsigned served, unsigned told);

/* chunk.c */
struct chunk *chunk_of_rows(const struct sim *sim, uint64_t rows);
unsigned event_row(const struct event *event);
struct route *sim_route(void);

/* broker.c */
void producer_init(struct sim *sim);
void producer_break(struct sim *sim, bool hard, unsigned variant);
void producer_crash(struct sim *sim, unsigned appended);
bool broker_is_up(const struct sim *sim);
bool broker_can_append(const struct sim *sim, unsigned partition);
void broker_append_next(struct sim *sim, unsigned partition);
bool broker_can_acknowledge(const struct sim *sim, unsigned partition);
void broker_acknowledge_next(struct sim *sim, unsigned partition);
void broker_append_ghost(struct sim *sim, unsigned partition);
void producer_tell_report(struct sim *sim);

/* process.c */
void process_start(struct sim *sim);
void process_kill(struct sim *sim, unsigned asks_served, unsigned appended);
void process_reap(struct sim *sim);
bool process_runs(const struct sim *sim);
void process_options(struct sim *sim);
const char *process_state(const struct sim *sim);

/* check.c */
void violated(struct sim *sim, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_appended(struct sim *sim, unsigned row);
void check_deleted(struct sim *sim, uint64_t deleted, uint64_t set_aside);
void check_claim_asked(struct sim *sim, const struct claim *claim);
void check_leap(struct sim *sim, int64_t to_us);
void check_stall(struct sim *sim, const char *before);
void check_step(struct sim *sim);
void check_end(struct sim *sim);
void allow_repeats(struct sim *sim, uint64_t rows);
void allow_unsettled(struct sim *sim);
void allow_undurable(struct sim *sim);
void allow_jumps(struct sim *sim);

/* schedule.c */
void trace(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_run(struct sim *sim);

/* faults.c */
void fault_strike(struct sim *sim, enum fault fault, unsigned variant);
unsigned fault_variants(enum fault fault);
const char *fault_name(enum fault fault);
void heal(struct sim *sim);

/* plants.c */
struct plant_entry {
	const char *name;
	const char *expects; /* the violation that finds it */
};
extern const struct plant_entry plants[PLANTS];

/* states.c: how many different states were seen */
struct states *states_new(void);
void states_free(struct states **states);
void states_note(struct states *states, const struct sim *sim);
size_t states_count(const struct states *states);

/* simulate.c */
struct sim *sim_new(void);
void sim_free(struct sim **sim);
/* Sets a run up; the metrics and the count of states stay. */
void sim_reset(struct sim *sim, uint64_t seed, enum plant plant);

/* exhaustive.c: any one and any two faults at any step of a small run. False if something is
 * violated. */
bool exhaustive_run(struct sim *sim, unsigned runs);
/* One of its paths, told step by step. */
bool exhaustive_replay(struct sim *sim, const char *path);

#endif
