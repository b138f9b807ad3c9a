/* SPDX-License-Identifier: ISC */
/*
 * source.h - where events come from: a small table of functions
 *
 * A source serves the shards that this relay owns. Everything is asynchronous and on the loop
 * thread: asks are queued, answers come in the order of the asks, and never from inside a function
 * of the source. After lost() no answer to an earlier ask comes. The outbox table is a source; the
 * simulator has another. When to look for events, and where, is the source's affair.
 *
 * One fetch fills one batch: the source answers with chunks until the batch has the size that was
 * asked for, or nothing more is there. While nothing is there at all the fetch stays open.
 *
 * How a source that reads the write-ahead log fits:
 *	open		connect, START_REPLICATION; another session uses the slot: busy(), try again
 *	available	false: end the replication, so that another relay can have the slot
 *	fetch		read on; each commit is a chunk; the last one: the batch is full, or the log
 *			read to its end
 *	hold		read nothing, answer keepalives
 *	settle		report the position behind the batch as flushed; settled() when it is sent
 *	roll_back	forget what was read; the next fetch starts again at the flushed position
 *	reconcile	remember the delivered events, and leave them out when they are read again;
 *			write the rejected ones to the dead letters
 *	close, drop	end the replication
 *	position	the flushed LSN; gauges: how far the log is ahead of it
 * It has one shard, no held events and no peers: what it never tells needs no function.
 */
#ifndef OUTBOX_SOURCE_H
#define OUTBOX_SOURCE_H

#include "base/shards.h"
#include "core/batch.h"
#include "core/event.h"
#include "core/field.h"
#include "core/ledger.h"
#include "core/letters.h"

/* What is known of the waiting events without scanning them. */
struct gauges {
	double depth;
	double oldest_age_seconds;    /* 0 when nothing waits */
	double position_lag_seconds;  /* of the oldest that is open; negative: not known, or the
				       * source has no positions */
	struct letter_gauges letters; /* what is deferred waits, too */
};

/* The other relays of the group. */
struct source_peers {
	bool healthy; /* another relay is there that reaches the sink */
	bool suspect; /* another is there that does not */
};

/* A relay of the outbox, for people: this one or another. */
struct source_relay {
	int pid; /* of its session's process at the database */
	bool self;
	bool unavailable; /* it does not reach the sink */
	int layout;	  /* how many shards it counts; 0: it publishes without order */
	struct shards shards;
	char application[64], client[64]; /* "" if not known */
};

/* What an operator has done to the outbox, for people. */
struct source_action {
	char at[32]; /* "2026-11-28T23:58:16Z" */
	char role[64], action[32], detail[200];
};

enum { SOURCE_ACTIONS_MAX = 10 };

struct source_events {
	/* The session is open, and source->shards are ours. Told whenever the source has looked at
	 * the group. gained: some shards were not ours before, all of them after open(). */
	void (*acquired)(void *owner, bool gained, struct source_peers peers);
	/* The session is open, and no shard is ours: a fetch that was open is void. why is
	 * the caller's, for this call only. yields: only because this relay is unavailable. */
	void (*busy)(void *owner, const char *why, bool yields, struct source_peers peers);
	/* The session is gone, and with it the transaction and the shards. permanent: trying again
	 * is no use before an operator fixes something. */
	void (*lost)(void *owner, const char *why, bool permanent);
	/* Events of the open fetch, in order of id; the owner's from now on. last: the batch is
	 * complete, no other chunk follows. The last chunk of a batch may be empty. */
	void (*fetched)(void *owner, struct chunk *chunk, bool last);
	/* The batch is settled. */
	void (*settled)(void *owner);
	/* The fetched events are given back. */
	void (*rolled_back)(void *owner);
	/* The same, unasked: the source could not fetch, or not settle. The session is kept. */
	void (*failed)(void *owner);
	/* The orphaned batch is settled. */
	void (*reconciled)(void *owner);
	/* Nothing is in doubt any more; so many events were settled for that. */
	void (*resolved)(void *owner, int64_t events);
	void (*gauged)(void *owner, const struct gauges *gauges);
	/* After close(): everything asked for has been done and the session is closed. */
	void (*closed)(void *owner);
};

struct source;

struct fetch {
	int64_t rows, bytes; /* the size of a batch, about; > 0 */
	bool now;	     /* if nothing is there, answer with an empty last chunk */
	bool again;	     /* the first of the batch that was given back last, and no more */
};

struct source_ops {
	/* Opens the session and sees which shards can be ours: acquired, busy or lost. */
	void (*open)(struct source *source);
	/* Whether this relay reaches the sink. While it is not available no shard is to be ours
	 * that another relay could serve. Before the first call it is not. No answer. */
	void (*available)(struct source *source, bool available);
	/* Asks for a batch; fetched. May be sent right behind settle(). */
	void (*fetch)(struct source *source, const struct fetch *fetch);
	/* Nothing is fetched for now; an open fetch that has told events ends with what is on its
	 * way. keeps: no shard may be handed over, since events of ours are
	 * published that are not settled. No answer. */
	void (*hold)(struct source *source, bool keeps);
	/* Settles the complete batch, all of whose events are delivered; settled. */
	void (*settle)(struct source *source);
	/* Gives back what the open fetch, or the last one, has fetched; rolled back. */
	void (*roll_back)(struct source *source);
	/* Settles, by itself, the delivered events of an orphaned batch by their exact identity
	 * and sets the rejected ones aside; where the policy halts it keeps them back. What comes
	 * behind an event that parks its key is set aside, too, when it is met. Those that are
	 * deferred are set aside until their topic can be used, and so are later ones of that
	 * topic. Reconciled. Events that are gone already are no error. */
	void (*reconcile)(struct source *source, const struct batch *batch,
			  enum reject_policy policy);
	/* For a sink with transactions; NULL: this source is not meant for one. The number of the
	 * complete batch, and what is to be settled for it by whoever finds that number in the
	 * ledger. The note is the source's, until it is next asked anything. */
	void (*describe)(struct source *source, const struct batch *batch,
			 struct ledger_batch *described);
	/* Settles what the ledger of this session's producer has and is not settled: resolved. It
	 * may be asked for before any shard is ours, and is right only if the session still is:
	 * lost() otherwise. failed: it must not be settled so, and refusal says why. */
	void (*resolve)(struct source *source, const struct ledger *ledger);
	/* Does what was asked, then closes the session: closed. No fetch is open. */
	void (*close)(struct source *source);
	/* Closes the session immediately; no answer. */
	void (*drop)(struct source *source);
};

/* An event in words, for an operator. The source's, until it is next asked or told anything. */
struct source_event {
	int64_t id;
	const char *table, *event_id, *key, *why; /* event_id and key may be NULL */
	/* Complete statements for an operator, or NULL: one takes the event out of the outbox, one
	 * is an example of how to mend it. */
	const char *remove, *change;
};

/* Of what types fields are. Borrowed from the source, and held as long as its session. */
struct source_types {
	const struct field_type *fields; /* by the index that its field lookup gave */
	size_t count;
	struct field_type payload;
};

struct source {
	const struct source_ops *ops;
	const struct source_events *events;
	void *owner; /* passed back to events */
	/* The source's to write: */
	struct shards shards;
	struct source_types types; /* from acquired() on that has gained shards */
	bool renews; /* lost() by its own will, to read anew what has changed: no outage */
	struct producer_id producer; /* of the sink, that goes with the session */
	bool paused; /* by an operator: no relay is to own anything. False without a session. */
	int64_t position; /* how far it has come, for people; 0: it begins at the start */
	/* What another session does that keeps relays from their shards, and how to end it; "" if
	 * none does. */
	char obstacle[320];
	char refusal[400];     /* why nothing can be fetched at all; "" if it can */
	char unconfirmed[400]; /* why events wait that are fetched: what they were fetched from
				* might not survive; "" if it does, or they have just begun to */
	/* Events that the database does not let go, or that were rejected: they are not fetched,
	 * nor is what follows them in their order. */
	size_t held;		  /* of these, not published yet */
	size_t held_keys;	  /* with those that are published */
	char deferred_topic[250]; /* one that events wait for aside; "": none */
	const char *held_why;	  /* words about one of them; "" or NULL if there is none */
	double partitions_ahead;  /* of the outbox; negative: not known, or never too few */
	/* Nothing is fetched while an event is held, though shards are ours: the policy says so.
	 * The event that a sink has rejected is fetched alone from time to time, to see whether it
	 * is accepted now. */
	bool halted;
	struct source_event halted_at; /* one of those held; all NULL if there is none */
	/* As the last look has seen them; none without a session. */
	const struct source_relay *relays;
	size_t relay_count;
	/* The last ones first, as of the last look while somebody watched. */
	struct source_action actions[SOURCE_ACTIONS_MAX];
	size_t action_count;
	/* The owner's to write: until when (monotonic) somebody watches what is only for people. */
	int64_t watched_us;
};

#endif
