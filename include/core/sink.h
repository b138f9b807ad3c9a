/* SPDX-License-Identifier: ISC */
/*
 * sink.h - where events go: a small table of functions
 *
 * Everything is asynchronous and on the loop thread. A sink never calls back from inside one of its
 * own functions. The order of produce calls is the order of delivery per key. kafka/sink.c is the
 * sink; the simulator has another.
 */
#ifndef OUTBOX_SINK_H
#define OUTBOX_SINK_H

#include "base/error.h"
#include "core/event.h"
#include "core/ledger.h"
#include "core/route.h"

enum sink_answer {
	SINK_TAKEN, /* a report will follow; the event's bytes are borrowed until then */
	SINK_LATER, /* not now (topic not yet known, queue full): sink_events.writable tells when */
	SINK_REFUSED, /* can never be accepted: *reason and *err say why */
	/* Its topic cannot be used, for longer than a topic takes to appear; events of others can
	 * be published. If the owner waits for it nevertheless: as SINK_LATER. */
	SINK_NO_TOPIC
};

/* What a sink tells its owner. */
struct sink_events {
	/* The broker acknowledged it, as durable as acks=all makes it. */
	void (*delivered)(void *owner, struct event *event);
	/* The broker will never accept it. code: the protocol's name of its error. */
	void (*rejected)(void *owner, struct event *event, enum reject_reason reason,
			 const char *code, const char *why);
	/* The sink gave up on it without delivery; a broken() precedes or follows. */
	void (*returned)(void *owner, struct event *event);
	/* After SINK_LATER: worth another try. */
	void (*writable)(void *owner);
	/* The producer can no longer keep its promises (a fatal error, or an error of the
	 * environment on an event). Every in flight event will be reported; produce answers
	 * SINK_LATER until rebuild() has been called and ready() told. why holds until the call
	 * returns. */
	void (*broken)(void *owner, const char *why);
	/* Whether the peer can be reached has changed. */
	void (*reachable)(void *owner, bool yes);
	/* It still cannot be reached, and why (trouble) has changed. */
	void (*unreachable_why)(void *owner);
	/* The peer has never let this relay in, and refuses it for a reason that lies in the
	 * set-up: trying again is no use. why holds until the call returns. */
	void (*refused)(void *owner, const char *why);
	/* A rebuild has ended, or the sink is ready for the first time; with transactions only the
	 * former, and sink->ledger is read. */
	void (*ready)(void *owner);
	/* What commit() was asked for is done. clean: nothing of it is still on its way, so that
	 * the next transaction may begin; otherwise the sink must be rebuilt before. */
	void (*committed)(void *owner, bool clean);
	/* It may be done, or never be: the ledger tells, after a rebuild. why holds until the call
	 * returns. */
	void (*in_doubt)(void *owner, const char *why);
	/* Another producer has our id, and has ended what we had begun: whoever gave us the id
	 * must be asked whether it is still ours. As broken() otherwise. */
	void (*fenced)(void *owner, const char *why);
};

struct sink;

struct sink_ops {
	/* message is only read during the call, but message->value's bytes are borrowed until the
	 * report. */
	enum sink_answer (*produce)(struct sink *sink, struct event *event,
				    const struct message *message, enum reject_reason *reason,
				    struct error *err);
	/* Throws the producer away and makes a new one. No event may be in flight. With
	 * transactions: that of this id, which is copied; it ends what earlier ones of the same id
	 * have begun, and reads their ledger. Another that is asked for meanwhile takes its place,
	 * and ready() tells of that one alone. */
	void (*rebuild)(struct sink *sink, const struct producer_id *id);
	/* Commits the events produced since the last commit, all of which are delivered, with a
	 * note of them in the ledger: committed, or in doubt. The note is copied. NULL: the sink
	 * has no transactions. */
	void (*commit)(struct sink *sink, const struct ledger_batch *batch);
	/* Asks the peer something, so that its silence will be noticed. */
	void (*probe)(struct sink *sink);
	/* Takes back what the producer has, as if it were broken, and without saying so: every
	 * in flight event will be reported, and the peer may have those that are returned. */
	void (*give_up)(struct sink *sink);
};

struct sink {
	const struct sink_ops *ops;
	const struct sink_events *events;
	void *owner; /* passed back to events */
	/* Why no event gets through at the moment, in words; "" or NULL: they do, or it is not
	 * known. It changes between two calls from the loop only. */
	const char *trouble;
	/* That is about being let in: a peer is there, and this relay is refused, or has nothing to
	 * show, or speaks another protocol. */
	bool login_refused;
	/* With transactions: events were produced, or may have been, that are not committed. */
	bool begun;
	struct ledger ledger; /* likewise, as read by the last rebuild */
};

#endif
