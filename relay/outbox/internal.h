/*
 * internal.h - what the parts of the outbox source share
 */
#ifndef OUTBOX_OUTBOX_INTERNAL_H
#define OUTBOX_OUTBOX_INTERNAL_H

#include "base/log.h"
#include "base/loop.h"
#include "base/pgname.h"
#include "config.h"
#include "core/metrics.h"
#include "core/route.h"
#include "core/source.h"
#include "group.h"
#include "holds.h"
#include "outbox/sql.h"
#include "passing.h"
#include "poll.h"
#include "postgres.h"
#include "purging.h"
#include "session.h"

/* What is answered, by who asks. */
enum tag {
	/* outbox/open.c */
	TAG_SESSION = TAG_IGNORE + 1,
	TAG_FACTS,
	TAG_LEAVES,
	TAG_COLUMNS,
	TAG_REGISTRY,
	TAG_PREPARED,
	TAG_OPENED, /* the statements of the leaves are good */
	/* outbox/membership.c */
	TAG_GROUP,    /* who owns what */
	TAG_TRIED,    /* which of the free shards we got */
	TAG_VERIFIED, /* who owns what, once we have got some */
	/* outbox/claim.c */
	TAG_DRAWN,
	TAG_WRITERS,
	TAG_CLAIM,
	TAG_IDS,
	TAG_LEFT,
	TAG_AFTER, /* what is back of the rows that a claim has taken */
	/* outbox/examine.c */
	TAG_PROBE,   /* a claim of no rows */
	TAG_SUSPECT, /* the row that a claim of one takes */
	TAG_TAKE,    /* taken, to see whether it can be */
	TAG_TOOK,    /* and whether it is gone then */
	TAG_RETEST,  /* a held row, likewise */
	TAG_RETOOK,
	TAG_RESETTLED, /* a held row that is published */
	TAG_RESTILL,   /* whether a held row is still there */
	/* outbox/reconcile.c */
	TAG_RECONCILE,
	TAG_DEAD_LETTER,
	TAG_RECONCILED,
	TAG_STILL, /* of those that were to be removed */
	/* outbox/purge.c */
	TAG_PURGED,
	/* outbox.c */
	TAG_SETTLED,
	TAG_CANCELLED, /* nothing was open to be rolled back */
	TAG_ENDED,     /* a transaction that claimed nothing */
	TAG_GAUGES,
	TAG_CLOSE,
};

enum notified_kind { NOTIFIED_RING, NOTIFIED_REST, NOTIFIED_GROUP, NOTIFIED_KINDS };

/* Of one kind. */
struct notified {
	int64_t passed_us;  /* the last one that was passed on */
	int64_t spacing_us; /* at least so long before the next one */
	bool pending;	    /* others have come since */
	unsigned count;	    /* of those */
};

enum { FIELDS_MAX = ROUTE_FIELDS_MAX + 1 }; /* and the identity */

/* A claim's answers, leaf by leaf. */
struct gathering {
	PGresult **results; /* owned */
	size_t count;
	size_t lefts, leaf_left;    /* answers of what is left; which leaf has the first of it */
	size_t ids;		    /* answers that told of the leaves' ids */
	bool whole;		    /* no row was passed over, as far as the claims could tell */
	struct claim_answer answer; /* so far */
};

/* What one claim has asked for. */
struct asked {
	bool opens, observes, exact;
	int64_t low_watermark;
	int64_t *rows; /* owned; of each leaf, in their order */
};

/* A claim whose rows are looked for, see outbox/verify.c. */
struct verification {
	struct chunk *chunk; /* owned */
	struct claim_answer answer;
	int64_t low_watermark; /* of the claim */
	size_t answers_left;
};

/* Why a transaction was refused. */
struct failure {
	const char *why; /* NULL: the cause is being looked for, or known by now as a held event */
	bool narrow, wait; /* see poll.h */
};

/* outbox/refused.c, outbox/examine.c: how a refused transaction is being dealt with. */
struct refusal {
	bool dealing;	  /* until the engine is told */
	bool rolled_back; /* the engine has asked for the ROLLBACK meanwhile */
	bool unasked;	  /* nothing was refused: a claim came back empty though rows are there */
	struct failure failure; /* to be told */
	struct error why;
	bool alone;		    /* the claim was for one row */
	bool exact;		    /* ... and measured it */
	size_t leaf;		    /* whose claim it was */
	int64_t low_watermark;	    /* of that claim */
	int64_t upto;		    /* unasked: of the empty claim */
	int64_t unasked_us;	    /* when that was the last time */
	struct outbox_hold suspect; /* identity is owned */
};

/* Held rows that are being tried again, in the order of the asks. */
enum { RETESTS_MAX = 16 };
struct retests {
	struct {
		int64_t id;
		char *identity; /* owned */
		bool can_go;
	} items[RETESTS_MAX];
	size_t count, answered, released;
	size_t answers_left; /* of the one that is looked for, in all leaves */
	bool there;
};

/* outbox/reconcile.c: rows being settled by identity. */
struct reconciliation {
	struct outbox_ids_item *items; /* owned */
	size_t count, at, size;	       /* the next try is of so many, from here */
	size_t removed;		       /* by this try */
	size_t answers_left;
	struct error why; /* the server's, of a try of one */
};

struct outbox {
	struct source source; /* first: the rest of the program sees only this */
	struct loop *loop;
	const struct config *config; /* borrowed */
	struct pgname name;
	struct session *session; /* owned */
	struct asker opening, grouping, claiming, examining, retesting, reconciling, purger, own;
	const struct outbox_shape *shape;  /* the session's */
	struct outbox_shape *opened_shape; /* the same, for open.c to write */
	const char *fields[FIELDS_MAX];
	char *owned_fields[FIELDS_MAX];
	size_t field_count;
	const char
	    *keys[ROUTE_FIELDS_MAX]; /* columns; borrowed from the configuration's templates */
	char *owned_keys[ROUTE_FIELDS_MAX];
	size_t key_count;
	size_t withhold_bytes;
	int64_t drawn; /* of the reading under way */
	struct purging purging;
	bool purge_more; /* there may be more to delete: the next round is to come soon */
	struct log_limit purge_log;
	unsigned exact_claims; /* so many claims more are to measure; outlives the session */
	bool bare_letters;     /* the next dead letters are to lack other columns; likewise */

	struct outbox_holds holds;   /* outlive the session */
	struct log_limit holds_full; /* the words that there is no room for more */
	char *held_text;	     /* owned; as a parameter; NULL: none */
	char held_why[400];
	bool verifies;					 /* triggers may put back what was taken */
	struct verification verifying[CLAIMS_UNDER_WAY]; /* oldest first */
	size_t verifying_count;
	struct refusal refusal;
	struct passing passing; /* outlives the session */
	struct retests retests;
	struct reconciliation reconciliation;

	struct asked asked[CLAIMS_UNDER_WAY]; /* oldest first */
	size_t asked_count;
	struct gathering gathering;
	int64_t rows_had;     /* by the leaves of this claim, see outbox/claim.c */
	struct gauges gauges; /* the sum so far */
	size_t gauges_left;
	struct metrics *metrics; /* borrowed */

	/* polling.c */
	const struct polling_ops *polling;
	struct poll poll;
	struct loop_timer *poll_timer;
	struct chunk *answered; /* owned; of the claim that poll hears of */

	struct notified notified[NOTIFIED_KINDS];
	struct loop_timer *notified_timer;

	struct loop_timer *heartbeat;
	int64_t beat_us, heard_us; /* the last heartbeat, and the last one after which something
				      came; of clock_boottime_us */
	unsigned reads;		   /* pg_reads at the last heartbeat */
	unsigned deaf;		   /* sessions given up in a row that had answered no claim */
	bool rest_due;		   /* the bell is to be put to rest behind the transaction */

	/* outbox/membership.c */
	struct group group; /* outlives the session */
	unsigned member_salt, layout_salt;
	struct group_peers others; /* as the last poll has seen */
	struct log_limit obstacle_log;
};

/* How what poll.c says is done. */
struct polling_ops {
	void (*look)(struct outbox *outbox, bool unavailable, bool keeps);
	void (*claim)(struct outbox *outbox, const struct claim *claim);
	void (*end)(struct outbox *outbox);
	void (*roll_back)(struct outbox *outbox);
	void (*abort)(struct outbox *outbox);
	void (*bell)(struct outbox *outbox, bool armed);
	void (*housekeep)(struct outbox *outbox);
	void (*close)(struct outbox *outbox);
};

/* polling.c: a step of poll.c; its time and what is held are filled in. */
void outbox_polling_new(struct outbox *outbox, const struct polling_ops *ops);
void outbox_poll(struct outbox *outbox, struct poll_input input);
void outbox_polled(struct outbox *outbox, enum poll_event event);
/* A claim's events, and what is known of it but for their number. Takes the chunk. */
void outbox_claimed(struct outbox *outbox, struct chunk *chunk, struct claim_answer answer);

/* Deletes published rows that are older than outbox.retention. */
void outbox_purge(struct outbox *outbox);
void outbox_purged(void *part, int tag, PGresult *result);
bool outbox_purge_refused(void *part, const struct pg_failure *failure);

/* Says something to the server three times in a session_timeout. */
void outbox_heartbeat_new(struct outbox *outbox);

/* Whether this process was stopped for longer than session_timeout; then the session has been given
 * up. To be asked before an answer is looked at. */
bool outbox_was_stopped(struct outbox *outbox);

/* The server has refused an ask, see pg_events. */
bool outbox_claim_refused(void *part, const struct pg_failure *failure);
bool outbox_commit_refused(void *part, const struct pg_failure *failure);
/* Rolls a transaction back whose claim has gone wrong: some rows were not taken though it meant to,
 * or, unasked, it took none though there are some. */
void outbox_refuse_kept(struct outbox *outbox);
void outbox_refuse_empty(struct outbox *outbox, size_t leaf, int64_t upto);
bool outbox_may_refuse_empty(const struct outbox *outbox);
/* ... or ids begin again below what it took. */
void outbox_refuse_set_back(struct outbox *outbox);
/* ... or some of what it took is back. */
void outbox_refuse_back(struct outbox *outbox, size_t leaf, int64_t low_watermark, bool alone);

/* Tells a claim's events, in their turn, once it is known that they are gone from the table. */
void outbox_verify(struct outbox *outbox, const struct verification *claim);
void outbox_verify_answered(struct outbox *outbox, PGresult *result);
void outbox_verify_forget(struct outbox *outbox);
/* Rolls the refused transaction back and tells the engine. */
void outbox_abort(struct outbox *outbox);
void outbox_refusal_forget(void *part);
/* Whether a claim's answer shows that it did not take what it meant to. */
bool outbox_claim_kept(const PGresult *result);
/* passing_still, now. To be called once for each error. */
bool outbox_passes(struct outbox *outbox, const char *sqlstate);

/* Looks for the row that makes the claims of a leaf fail; ends with outbox_abort. */
void outbox_examine(struct outbox *outbox);
void outbox_examine_answered(void *part, int tag, PGresult *result);
bool outbox_examine_refused(void *part, const struct pg_failure *failure);

/* Holds a row and tells. False if no more can be held. */
bool outbox_hold(struct outbox *outbox, const struct outbox_hold *hold);
/* What is held has changed. */
void outbox_holds_changed(struct outbox *outbox);
/* Tries some of the held rows again; outside a transaction. */
void outbox_retest(struct outbox *outbox);
void outbox_retest_answered(void *part, int tag, PGresult *result);
bool outbox_retest_refused(void *part, const struct pg_failure *failure);
void outbox_retests_forget(void *part);

/* Settles a batch by identity. */
void outbox_reconcile(struct outbox *outbox, const struct batch *batch, bool dead_letter);
void outbox_reconcile_answered(void *part, int tag, PGresult *result);
bool outbox_reconcile_refused(void *part, const struct pg_failure *failure);
void outbox_reconciliation_forget(void *part);

/* The way from a connection to a session that serves: outbox_open_connected is to be called once
 * connected, outbox_open_answered for every answer with a tag up to TAG_REGISTRY. At its end
 * outbox_group_join has been called. */
void outbox_open_connected(void *owner);
void outbox_open_answered(void *part, int tag, PGresult *result);
bool outbox_open_refused(void *part, const struct pg_failure *failure);
/* Prepares the statements of a leaf that has become ours. To be synced. */
void outbox_open_leaf(struct outbox *outbox, size_t leaf);
/* The same of all leaves, synced; outside a transaction, whose failure would undo it. */
void outbox_open_leaves(struct outbox *outbox);
/* Whether the leaves that are ours can be claimed from at all: TAG_OPENED, or the session ends. */
void outbox_open_probe(struct outbox *outbox);

/* Which shards: joins the other relays; looks, takes and gives; leaves. outbox_group_answered is to
 * be called for every answer with a tag from TAG_GROUP to TAG_VERIFIED. */
void outbox_group_join(struct outbox *outbox);
void outbox_group_look(struct outbox *outbox, bool unavailable, bool keeps);
void outbox_group_answered(void *part, int tag, PGresult *result);
void outbox_group_leave(struct outbox *outbox);
/* Another session says that it has handed over these of so many shards, "8 {0,3}". */
void outbox_group_freed(struct outbox *outbox, const char *which, int sender);
/* Passes a notification on, sooner or later; sender is a process id. */
void outbox_notified_new(struct outbox *outbox);
void outbox_notified(void *owner, const char *payload, int sender);
void outbox_notified_forget(void *part);

/* The session is gone, and the shards with it. */
void outbox_group_lost(void *part);
/* Tells the answer of a look: shards are ours, or not. */
void outbox_group_acquired(struct outbox *outbox, bool gained);

/* The first id above the low watermark. Without one all are taken, those of 0 or less too. */
struct pg_int8 outbox_above(int64_t low_watermark);

/* Claims, and their answers from TAG_DRAWN to TAG_LEFT. */
void outbox_claim(struct outbox *outbox, const struct claim *claim);
void outbox_claim_answered(void *part, int tag, PGresult *result);
void outbox_claim_forget(void *part); /* those under way */
/* Begins a transaction and tells that there was nothing to claim. */
void outbox_claim_tell_empty(struct outbox *outbox, int64_t upto);

#endif
