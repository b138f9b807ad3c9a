/* SPDX-License-Identifier: ISC */
/*
 * sim.h - a small world in which the real worker, engine, batch, poll and route run
 *
 * One thread, a virtual clock, and a list of what could happen next, from which a seed chooses. The
 * world is a database (database.c, positions.c, locks.c, slots.c, backend.c, letters.c) behind a
 * source (session.c, group.c, producers.c), a broker behind a sink (broker.c; where each batch is a
 * transaction, with transactions.c and commits.c), and processes that each run a worker
 * (process.c). options.c knows what could happen, schedule.c chooses steps and faults; check.c
 * knows what must be true. Planted errors (base/failpoints.c) are mistakes of the models that stand
 * for mistakes of the relay: the checker must find each.
 */
#ifndef OUTBOX_SIM_H
#define OUTBOX_SIM_H

#include "core/worker.h"
#include "faults.h"
#include "outbox/group.h"
#include "outbox/holds.h"
#include "outbox/poll.h"
#include "plant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROWS_MAX = 48, TXNS_MAX = 24, TXN_ROWS_MAX = 3, PARTITIONS = 2 };
enum { KEYS_MAX = 4, TOPICS = 2, LINES = KEYS_MAX * TOPICS }; /* in order are a line's events */
enum {
	RELAYS_MAX = 3,
	SHARDS_SIM = 4,
	NOTES_MAX = 32,
	BACKENDS_MAX = 16,
	ASKS_MAX = 40,
	ANSWERS_MAX = 96,
	COMMITS_MAX = 96,
	GHOSTS_MAX = 96
};

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
	ROW_FORGOTTEN, /* a failover lost the commit */
	ROW_LETTER,    /* set aside, by a committed transaction */
	ROW_REMOVED    /* an operator has deleted or discarded it unpublished */
};

enum row_kind {
	KIND_GOOD,
	KIND_UNROUTABLE, /* the route refuses it */
	KIND_TOO_LARGE,	 /* the sink refuses it */
	KIND_POISON	 /* the broker refuses it */
};

/* How an operator mends what was rejected: the row, what it met with elsewhere, or so. */
enum mend { MEND_CHANGE, MEND_ELSEWHERE, MEND_REMOVE, MENDS };

/* What operators ask for a letter. */
enum { WANTS_RETRY = 1, WANTS_EDIT = 2, WANTS_DISCARD = 4 };

/* What the database has of a row that was set aside. */
struct letter {
	int64_t number; /* in the order of moving; 0: it never was */
	bool parked;	/* its key waits for it */
	bool for_topic; /* it waits for its topic, and nothing but what is of that waits for it */
	bool rejected;
	bool attempted;
	unsigned wants;
	int64_t wanted_us;
};

struct row {
	int64_t id;
	unsigned key, number; /* its place among its key's commits */
	unsigned topic, partition;
	enum row_kind kind;
	enum row_state state;
	unsigned taken_by;	     /* backend + 1 whose open transaction has deleted it */
	int64_t visible_us;	     /* since when it can be claimed */
	int64_t took_us;	     /* its transaction, from the table's lock to the commit */
	int64_t foreign_until_us;    /* another session holds its lock */
	int64_t topic_away_until_us; /* its topic is missing until it is mended, and nobody tells */
	int64_t stuck_until_us;	     /* the database does not let it go; 0: it always has */
	bool stuck_at_commit;	     /* only COMMIT fails, unless constraints are immediate */
	int64_t gone_us;	     /* since when it is deleted */
	bool bad;		     /* it was to be rejected, whatever it is now */
	bool dead_letter;	     /* it was moved there, and its key has gone on */
	struct letter letter;
	int64_t mend_us; /* when an operator mends it, having been told; 0: not */
	enum mend mend;
	bool changed;		  /* by an operator */
	unsigned appended;	  /* times it stands in the log */
	unsigned repeats_allowed; /* for reasons that allow it */
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

/* ---- what a source hears ---- */

/* Who holds RowExclusiveLock on the table. */
struct holders {
	uint32_t txns; /* bits */
	uint32_t relays[BACKENDS_MAX];
	unsigned relay_count;
};

/* A session, and the locks of the group that it holds. */
struct holder {
	int pid, started;
	uint32_t locks; /* shards */
	int layout;
	bool unavailable;
};

/* What the locks say. */
struct sight {
	struct holder holders[BACKENDS_MAX];
	unsigned count;
	bool paused;
};

/* A ring; the bell was put to rest; a relay has come; shards were handed over; an operator has
 * asked for something. */
enum note_kind { NOTE_RING, NOTE_REST, NOTE_GROUP, NOTE_FREE, NOTE_LETTERS };

struct note {
	enum note_kind kind;
	int sender; /* NOTE_FREE: a process id; these of so many shards */
	int layout;
	uint32_t shards;
};

enum answer_kind {
	ANSWER_GROUP,
	ANSWER_TRIED,
	ANSWER_VERIFIED,
	ANSWER_LOST,
	ANSWER_CLAIMED,
	ANSWER_SETTLED,
	ANSWER_ROLLED_BACK,
	ANSWER_RECONCILED,
	ANSWER_OBSERVED,
	ANSWER_NOTE,
	ANSWER_GAUGED,
	ANSWER_CLOSED,
	ANSWER_REFUSED,
	ANSWER_END_REFUSED,
	ANSWER_ABORTED,
	ANSWER_SLOT,
	ANSWER_OWNED,
	ANSWER_RESOLVED,
	ANSWER_SLOT_TRIED,
	ANSWER_PROVED
};

struct answer {
	enum answer_kind kind;
	uint64_t rows;
	uint64_t moved; /* rows that a claim has set aside */
	bool letters;	/* the rows that were claimed are; or some are due */
	int64_t drawn;
	struct holders writers;
	bool full;		/* a claim took as many as it was to */
	bool passes;		/* it took nothing, but has moved a position on */
	bool over;		/* what the session was made for */
	bool cut;		/* it left rows for want of bytes, or behind a locked one */
	int64_t upto;		/* and nothing up to here; 0: not known */
	uint32_t shards, asked; /* ANSWER_TRIED: those we got, of these */
	struct note note;
	struct sight sight;
	/* ANSWER_REFUSED: of a COMMIT, or of a claim of one row, and of which low watermark. */
	bool of_commit, alone;
	int64_t low_watermark;
	uint64_t kept_back; /* rejected rows that are there still */
	uint64_t returned;  /* likewise, of the same batch */
	uint64_t due;	    /* likewise, changed since */
	uint64_t stuck;	    /* rows that do not go */
	uint64_t published; /* of these, what was to be settled */
	/* ANSWER_SLOT: ours, or -1, with what is settled of it. Others: one that is in the way. */
	int slot, line;
	int64_t number;
};

/* ---- what a backend is asked ---- */

enum ask_kind {
	ASK_JOIN,
	ASK_MEMBERSHIP,
	ASK_END_PREVIOUS,
	ASK_LOOK,
	ASK_TRY,
	ASK_VERIFY,
	ASK_GIVE,
	ASK_BEAT,
	ASK_BEGIN,
	ASK_DRAWN,
	ASK_WRITERS,
	ASK_CLAIM,
	ASK_LEFT,
	ASK_LETTERS_EDIT,
	ASK_LETTERS_DISCARD,
	ASK_LETTERS_ATTEMPT,
	ASK_LETTERS_CLAIM,
	ASK_COMMIT,
	ASK_END,
	ASK_ROLLBACK,
	ASK_ABORT, /* what was refused; if claim.rows is 1 the row is looked for */
	ASK_RECONCILE,
	ASK_RECONCILE_COMMIT,
	ASK_BELL_ON,
	ASK_BELL_OFF,
	ASK_BELL_OFF_TOLD,
	ASK_LEAVE,
	ASK_HOUSEKEEP,
	ASK_CLOSE,
	ASK_SLOT,
	ASK_OWN,
	ASK_RESOLVED,
	ASK_TRY_SLOT,
	ASK_PROVE,
	ASK_FORGET, /* that the slot may have something of these shards in doubt */
	ASK_NUMBER  /* what is settled with the transaction */
};

struct ask {
	enum ask_kind kind;
	struct claim claim;
	uint32_t shards;  /* those that are meant */
	bool unavailable; /* ASK_JOIN, ASK_MEMBERSHIP */
	bool untouched;	  /* ASK_GIVE: taken a moment ago */
	bool alone;	  /* ASK_TRY: nobody else was there at first. ASK_END: it was tried alone */
	struct session_id previous;   /* ASK_END_PREVIOUS */
	uint64_t delivered, rejected; /* rows, for ASK_RECONCILE */
	uint64_t parks;		      /* of what is rejected, rows and letters */
	uint64_t published, kept;     /* letters, likewise: they go, or stay */
	uint64_t deferred;	      /* rows, of what is rejected: their topics are out */
	uint32_t out, tried;	      /* topics that are left alone, or tried with one letter */
	uint64_t held;		      /* rows that claims leave out, or to be tried again */
	uint64_t settles;	      /* rows to be tried again that are only to go */
	uint64_t kept_back; /* rejected rows, for ASK_RECONCILE, or to be looked at again */
	uint64_t returned;  /* of the same batch, given back by the sink */
	bool immediate;	    /* constraints are */
	bool idle;	    /* ASK_ROLLBACK: no transaction is open */
	int slot;	    /* ASK_TRY_SLOT */
	int64_t number;	    /* ASK_NUMBER, ASK_RESOLVED: of a batch */
	uint64_t used;	    /* ASK_RESOLVED: slots */
};

/* A server process. When its client is gone it may still do what it was asked. */
struct backend {
	bool used, ghost;
	bool in_transaction;
	bool failed; /* the transaction is aborted, and its end is yet to be asked for */
	bool immediate;

	int64_t begun_us;
	uint64_t deleted;     /* rows, in the open transaction */
	uint64_t dead_letter; /* of these, set aside since they are rejected */
	uint64_t moved;	      /* likewise, since their keys wait, or their topics do */
	uint64_t for_topic;   /* of these, those that wait for their topics alone */
	uint64_t parks;	      /* keys wait for these that are rejected */
	uint64_t kept;	      /* letters that are rejected again */
	uint64_t granted;     /* letters that a retry is no longer asked for */
	unsigned relay;	      /* whose it is */
	int pid, started;
	int slot;	       /* its producer */
	uint32_t slots;	       /* that it has locked */
	int64_t number;	       /* of the batch that its transaction settles; 0: none */
	unsigned transactions; /* begun */
	int layout;	       /* of the member lock; 0: none */
	bool unavailable;      /* with the lock of an abstainer */
	int64_t joined_us;
	bool rejoined;			 /* its process has lost another that had polled */
	uint32_t locks;			 /* shards */
	uint32_t worked;		 /* shards it has claimed from */
	int64_t worked_us[SHARDS_SIM];	 /* since when */
	int64_t heard_us;		 /* when the client last said something */
	int64_t ends_us;		 /* a ghost's end */
	int64_t drawn;			 /* read, not yet told */
	struct answer claimed;		 /* likewise, until it is known what is left */
	uint64_t stuck, stuck_published; /* likewise, what could not be settled */
	uint64_t kept_back, returned;	 /* likewise, what was not to be */
	unsigned note_count, ask_count;
	/* The fields before are all there is of it but for the first so many of these. */
	struct note notes[NOTES_MAX]; /* to be told once out of the transaction */
	struct ask asks[ASKS_MAX];
};

struct commit {
	uint64_t inserted, deleted, dead_letter;
};

struct database {
	unsigned key_numbers[KEYS_MAX];
	int64_t sequence, letters; /* the last numbers given out */
	bool bell;
	int64_t down_until_us;
	int last_pid, last_started; /* process ids begin anew when the server does */
	bool paused;		    /* the outbox, by its operator */
	int64_t paused_until_us;
	/* By key: which process had its shard last, and whether that has handed it over. */
	unsigned key_worker[KEYS_MAX];
	bool key_handed[KEYS_MAX];
	int64_t key_freed_us[KEYS_MAX]; /* when its owner's session ended, if it had it for long */
	unsigned row_count, txn_count, commit_count;
	struct row rows[ROWS_MAX]; /* from here on snapshot.c takes what is in use */
	struct txn txns[TXNS_MAX];
	struct commit commits[COMMITS_MAX];
	struct backend backends[BACKENDS_MAX];
};

#include "positions.h"
#include "transactions.h"

#include "slots.h"

/* ---- the source ---- */

struct session {
	struct source source; /* first */
	struct relay *relay;
	struct backend *backend;     /* NULL: no connection */
	const struct batch *orphans; /* as the source has it; and these: */
	enum reject_policy policy;
	const struct ledger *ledger;
	uint64_t ended_with; /* rows claimed when the connection was cut */
	int64_t claimed_us;  /* when the batch's first rows were told */
	struct poll poll;
	int64_t wake_us;	/* its timer */
	struct chunk *answered; /* of the claim that it hears of */
	struct group_peers others;
	/* As in outbox.c: */
	bool in_transaction, rest_due;
	int64_t beat_us;
	/* As in outbox/letters.c: */
	bool letters_are_due, letters_asked, letters_ours, letters_claimed;
	uint32_t letters_tried;		/* topics, with the last of these claims */
	int64_t topic_until_us[TOPICS]; /* until then it is left alone; 0: it can be used */
	unsigned letters_passed;	/* claims of rows in a row, though letters were due */
	uint32_t remembered;		/* for a planted error: keys that it has parked */
	bool alone;			/* as in struct ask */
	bool has_polled;		/* a session of this process */
	/* As in outbox/refused.c: */
	bool dealing, aborting, rolled_back, narrow, guarded;
	bool over; /* what it was made for: another follows */
	/* As in outbox/producers.c: */
	bool resolved, described, resolving, wants_doubt, unavailable;
	uint32_t asked; /* shards, to be ours */
	int line;
	int64_t again_us;    /* its timer */
	int64_t upto;	     /* what is being resolved */
	uint64_t doubt;	     /* likewise, rows */
	const char *refusal; /* or why it must not be */
	uint64_t used;	     /* slots that the ledger knows */
	struct noted note;   /* of the batch that was described */
	/* for planted errors */
	int64_t last_claimed;
	bool was_lost, bell_late;
	unsigned ends_refused; /* in a row, of transactions that only set aside */
	unsigned answer_count;
	/* From here on snapshot.c takes what is in use. */
	struct answer answers[ANSWERS_MAX];
	struct outbox_holds holds; /* of rows, see halted.h; they outlive the connection */
	struct group group;	   /* likewise */
};

#include "producer.h"

/* ---- the process ---- */

struct process {
	struct worker *worker; /* NULL: not running */
	struct worker_world world;
	struct engine_options options;
	struct poll_options poll_options;
	int64_t wake_us, stall_timer_us;
	int64_t start_us; /* when it is started again */
	int64_t paused_until_us, paused_for_us;
	int64_t heartbeat_us;	 /* when the next is due */
	int shards, next_shards; /* outbox.shards, and since it was changed */
	unsigned incarnation;	 /* unlike that of any other process */
	bool asked_to_stop, ended, failed;
	int64_t stop_us;	       /* when it was asked */
	int64_t progress_us;	       /* last report told, or begin */
	int64_t rejected_us[ROWS_MAX]; /* when that was last told of the row; 0: never */
	int64_t lettered_us[ROWS_MAX]; /* when it was last claimed as a letter */
	int64_t looking_us;	       /* since when the worker has only looked and rested */
};

struct relay {
	struct sim *sim;
	unsigned index;
	struct session session;
	struct producer producer;
	struct process process;
};

/* ---- a run ---- */

struct plan {
	unsigned keys, relays, topics;
	int shards;
	int64_t session_timeout_us;
	uint32_t policies; /* bits */
	bool letters;	   /* what is rejected is set aside as letters, which operators see */
	bool has_bell, rings_lossy, late_requests;
	bool competing;	   /* ordering = "none": one shard, which is everybody's */
	bool position;	   /* rows stay (settle = "position"); otherwise they are deleted */
	bool exactly_once; /* each batch is a transaction of the broker's */
	int64_t stall_us;
	unsigned fault_permille, faults_left;
	uint32_t fault_kinds; /* bits */
	bool exhaustive;
};

/* A fault at a step of its own. */
struct fixed_fault {
	unsigned step;
	enum fault fault;
	unsigned variant, relay;
};

struct sim {
	uint64_t seed, random;
	int64_t now_us;
	struct plan plan;
	enum plant plant;
	bool verbose;
	bool healed; /* no more faults; the end is near */
	bool ends;   /* the relays have been told to stop */
	struct metrics *metrics;
	unsigned incarnations;

	const struct fixed_fault *fixed;
	unsigned fixed_count;

	unsigned last_number[LINES]; /* of the log, + 1 */
	unsigned jumps_allowed[LINES];
	bool lines_excused;		 /* repeats may come in any order, to be short */
	bool key_excused[KEYS_MAX];	 /* the same of a key */
	int64_t healed_us, idle_us;	 /* since when; 0: not yet */
	unsigned idle_looks, idle_gains; /* since: transactions begun, shards taken */

	struct broker broker;
	struct database db;
	struct positions positions;
	struct slots slots;
	struct transactions transactions;
	struct relay relays[RELAYS_MAX];

	/* Nothing depends on what follows. */
	int64_t lettered_us; /* when letters, or what is asked for them, last changed */
	int64_t troubled_us; /* when the last thing was wrong but for rows that cannot go */
	bool impatient;	     /* a relay was told to stop a second time */
	unsigned steps; /* but for a limit, and when a fault comes that was told to come then */
	unsigned claims, gains, crashes, faults, repeats; /* so far */
	const char *violation;
	char detail[160];
};

/* random.c: choices */
uint32_t sim_below(struct sim *sim, uint32_t bound);
bool sim_chance(struct sim *sim, uint32_t permille);
/* A number for something at this time. */
uint64_t sim_rank(const struct sim *sim, uint64_t of);

/* database.c */
void database_plan(struct sim *sim);
bool database_is_down(const struct sim *sim);
bool row_is_free(const struct sim *sim, const struct row *row);
uint64_t rows_of_key(const struct sim *sim, unsigned key);
void notify(struct sim *sim, const struct backend *from, struct note note);
struct backend *backend_new(struct relay *relay);
unsigned backend_number(const struct sim *sim, const struct backend *backend); /* from 1 */
void backend_abort(struct sim *sim, struct backend *backend);
void backend_end(struct sim *sim, struct backend *backend);
void backend_commit(struct sim *sim, struct backend *backend);
void database_restart(struct sim *sim, bool failover, unsigned lost);
bool may_dead_letter(const struct sim *sim);
bool txn_can_step(const struct sim *sim, const struct txn *txn);
void txn_step(struct sim *sim, struct txn *txn);
void lock_holders(const struct sim *sim, const struct backend *self, struct holders *holders);

/* backend.c: what a backend does with what it is asked */
bool backend_can_serve(const struct sim *sim, const struct backend *backend);
void backend_serve(struct sim *sim, struct backend *backend);
bool backend_has_expired(const struct sim *sim, const struct backend *backend);
void backend_is_outside(struct sim *sim, const struct backend *backend); /* a transaction */

/* backend_group.c: joining, looking, taking and giving; false if there is nothing to answer */
bool backend_serve_group(struct sim *sim, struct backend *backend, const struct ask *first,
			 struct answer *answer);
void backend_leave(struct sim *sim, struct backend *backend);

/* locks.c: the advisory locks */
uint32_t locks_try(struct sim *sim, struct backend *backend, uint32_t shards);
void locks_give(struct sim *sim, struct backend *backend, uint32_t shards);
void locks_look(const struct sim *sim, struct sight *sight);
unsigned shard_of(unsigned key, int layout);

/* session.c */
void session_init(struct relay *relay);
void session_tell(struct relay *relay);
void session_ended(struct session *session); /* its transaction */
bool session_knows(const struct session *session, const struct note *note);
void session_push(struct relay *relay, struct answer answer);
struct ask *session_ask(struct session *session, enum ask_kind kind);
void session_cut(struct relay *relay, bool by_server, unsigned served, unsigned told);
void session_give_up(struct session *session); /* another one follows */
void session_poll(struct session *session, struct poll_input input);
void session_polled(struct session *session, enum poll_event event);
uint32_t session_owned(const struct session *session);
uint64_t session_mine(const struct session *session, uint64_t rows);

/* heartbeat.c */
void session_beat(struct relay *relay);
/* Whether the process was stopped for longer than the server waits; then the session is given up.
 */
bool session_was_stopped(struct relay *relay);

/* group.c: a session's part in the group */
void group_begin(struct session *session, bool unavailable);
void group_look(struct session *session, bool unavailable, bool keeps);
/* False: there is no session any more. */
bool group_give(struct session *session, const struct shards *shards);
void group_owned(struct session *session); /* what was gained may be claimed from */
void group_answered(struct session *session, const struct answer *answer);
void group_heard(struct session *session, const struct note *note);

/* chunk.c */
struct chunk *chunk_of_rows(const struct sim *sim, uint64_t rows, bool letters);
unsigned event_row(const struct event *event);
uint64_t rows_in(const struct batch *batch, enum event_state state); /* not its letters */
uint64_t rows_that_park(const struct batch *batch, enum reject_policy policy);
/* Of the batch that the source was asked to reconcile (orphans.c). */
void orphans_reconcile(struct session *session);
struct route *sim_route(void);

/* process.c */
void process_plan(struct relay *relay);
void process_start(struct relay *relay);
void process_kill(struct relay *relay, unsigned asks_served, unsigned appended);
void process_reap(struct relay *relay);
void process_forget(struct relay *relay); /* frees the worker */
bool process_runs(const struct relay *relay);
bool process_is_paused(const struct relay *relay);
void process_options(struct relay *relay);
int64_t process_timer(const struct relay *relay, int64_t after_us); /* when it ends */
const char *process_state(const struct relay *relay);

/* leap.c: from a time at which nothing can happen to the next at which something can */
void leap(struct sim *sim);

/* schedule.c */
void trace(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace_of(const struct relay *relay, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sim_begin(struct sim *sim);
bool sim_step(struct sim *sim); /* true at the end */
void sim_finish(struct sim *sim);
void sim_run(struct sim *sim);

/* simulate.c */
struct sim *sim_new(void);
void sim_free(struct sim **sim);
/* Sets a run up; the metrics stay. */
void sim_reset(struct sim *sim, uint64_t seed, enum plant plant);

#include "broker.h"
#include "checks.h"
#include "letters.h"

#endif
