/*
 * source.h - where events come from: a small table of functions
 *
 * A source serves the shards that this relay owns through one session. Everything is asynchronous
 * and on the loop thread: asks are queued, answers come in the order of the asks, and never from
 * inside a function of the source. After lost() no answer to an earlier ask will come. outbox.c is
 * the source; the simulator has another; a logical-replication source will be one.
 */
#ifndef OUTBOX_SOURCE_H
#define OUTBOX_SOURCE_H

#include "base/shards.h"
#include "core/batch.h"
#include "core/event.h"
#include "core/writers.h"

struct claim {
	bool
	    opens; /* begins the transaction; with low watermark 0: what is released may be taken */
	bool observes;	       /* answer observed() before claimed() */
	int64_t low_watermark; /* take events whose id is greater; 0 takes all */
	int64_t rows;	       /* at most so many, > 0 */
	int64_t bytes;	       /* stop after about so many, but take one at least */
};

/* What is known of the waiting events without scanning them. */
struct gauges {
	double depth;
	double oldest_age_seconds; /* 0 when nothing waits */
	double dead_letters;
	bool unfinished; /* there is more housekeeping to do soon */
};

/* Why the database refused a transaction. */
struct source_failure {
	const char *why; /* NULL: the cause is being looked for, or known by now as a held event */
	bool narrow;	 /* the next claim is to ask for fewer events: one of them is the cause */
	bool wait;	 /* it concerns all events: try again later */
};

struct source_events {
	/* The session is open, and source->shards are ours. gained: some were not before, all of
	 * them after a connect; nothing known of the waiting events holds then. */
	void (*acquired)(void *owner, bool gained);
	/* The session is open, and no shard is ours. why holds until the next answer. */
	void (*busy)(void *owner, const char *why);
	/* The session is gone, and with it the transaction and the shards. */
	void (*lost)(void *owner, const char *why);
	/* As lost, and trying again is no use before an operator fixes something. */
	void (*refused)(void *owner, const char *why);
	/* A claim's events, in order of id; the owner's from now on. chunk->count may be 0. */
	void (*claimed)(void *owner, struct chunk *chunk);
	/* The transaction is committed. */
	void (*settled)(void *owner);
	/* The transaction is rolled back. */
	void (*rolled_back)(void *owner);
	/* The same, unasked: the database refused a claim, or the COMMIT. The session is kept. */
	void (*failed)(void *owner, const struct source_failure *failure);
	/* Held events can go: worth a claim of all. */
	void (*released)(void *owner);
	/* The orphaned batch is settled. */
	void (*reconciled)(void *owner);
	/* Ids up to drawn have been given out (or DRAWN_UNKNOWN), and these transactions may yet
	 * add events. */
	void (*observed)(void *owner, int64_t drawn, const struct writers *writers);
	/* Somebody rang the bell. */
	void (*rung)(void *owner);
	/* Another relay has put the bell to rest. */
	void (*rested)(void *owner);
	/* A relay has come, gone or handed shards over: worth an acquire() soon. */
	void (*membership_changed)(void *owner);
	void (*gauged)(void *owner, const struct gauges *gauges);
	/* After close(): everything asked for has been done and the session is closed. */
	void (*closed)(void *owner);
};

struct source;

struct source_ops {
	/* Opens the session if there is none, looks at what the other relays own, takes shards and
	 * hands some over: acquired, busy or lost. Outside a transaction only. is unavailable: the
	 * sink cannot be reached, so no shard is to be ours that another relay could serve. keeps:
	 * shards are neither taken nor handed over; otherwise nothing may be published of them that
	 * is not settled. */
	void (*acquire)(struct source *source, bool unavailable, bool keeps);
	void (*claim)(struct source *source, const struct claim *claim);
	/* Commits the open transaction, whose events are those of batch; settled. more: a backlog
	 * waits, so the source need not wait until this very commit is durable, if it remembers the
	 * batch and settles it again should it come back. */
	void (*settle)(struct source *source, const struct batch *batch, bool more);
	/* Ends a transaction that claimed nothing; no answer. */
	void (*end)(struct source *source);
	/* Rolls the open transaction back; rolled back. */
	void (*roll_back)(struct source *source);
	/* Settles, in a transaction of its own, the delivered events of a orphaned batch by their
	 * exact identity and, if dead_letter, moves the rejected ones to the dead letters;
	 * reconciled. Events that are gone already are no error. */
	void (*reconcile)(struct source *source, const struct batch *batch, bool dead_letter);
	/* Lets writers ring (outside a transaction only), or not. Other relays that may rely on the
	 * bell are told; then, inside a transaction, it is put to rest at its end, since what is
	 * told is heard no sooner. No answer. */
	void (*bell)(struct source *source, bool armed);
	/* Gauges and old published rows; outside a transaction only; gauged. */
	void (*housekeep)(struct source *source, int64_t low_watermark);
	/* Does what was asked, then closes the session: closed. */
	void (*close)(struct source *source);
	/* Whether removals were committed that a crash of the source's peer may still undo. The
	 * source settles them again when it has shards again, before acquired. */
	bool (*owes)(const struct source *source);
	/* Closes the session immediately; no answer. */
	void (*drop)(struct source *source);
};

struct source {
	const struct source_ops *ops;
	const struct source_events *events;
	void *owner; /* passed back to events */
	/* Known once acquired; the source's to write: */
	bool has_bell;
	bool healthy_peer; /* another relay is there that reaches the sink */
	bool suspect_peer; /* another is there that does not */
	bool yields;	   /* no shard is ours for want of the sink */
	/* What another session does that keeps relays from their shards, and how to end it; "" if
	 * none does. */
	char obstacle[320];
	bool has_peers; /* other relays are there, or shards that this one does not own */
	struct shards shards;
	/* Events that the database does not let go: they are not claimed, nor is what follows them
	 * in their order. */
	size_t held;	      /* of these, not published yet */
	size_t held_keys;     /* with those that are published */
	bool releases;	      /* some may be taken again, by a claim of all */
	const char *held_why; /* words about one of them; "" if there is none */
};

#endif
