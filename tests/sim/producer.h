/* SPDX-License-Identifier: ISC */
/*
 * producer.h - what the broker and the sink over it are made of
 */
#ifndef OUTBOX_SIM_PRODUCER_H
#define OUTBOX_SIM_PRODUCER_H

/* Included by sim.h, between what it is made of and what has it. */
struct flight {
	unsigned row;
	struct event *event;
	bool appended, acknowledged;
};

/* The last three are about no event. */
enum report_kind {
	REPORT_DELIVERED,
	REPORT_REJECTED,
	REPORT_RETURNED,
	REPORT_BROKEN,
	REPORT_FENCED,
	REPORT_IN_DOUBT
};
struct report {
	enum report_kind kind;
	unsigned row;
	struct event *event;
};

enum producer_state { PRODUCER_STARTING, PRODUCER_READY, PRODUCER_DRAINING, PRODUCER_REBUILDING };

struct producer {
	struct sink sink; /* first */
	struct relay *relay;
	enum producer_state state;
	unsigned in_flight;
	bool blocked; /* SINK_LATER was answered; writable() is owed */
	int64_t blocked_until_us, writable_us;
	int64_t ready_us;
	int64_t away_until_us; /* from this relay the broker cannot be reached */
	bool told_reachable;
	int64_t tell_reachable_us, told_us;
	struct transaction txn;
	unsigned flight_count[PARTITIONS], report_count, ledger_count;
	/* From here on snapshot.c takes what is in use. */
	struct flight flights[PARTITIONS][ROWS_MAX];
	struct report reports[ROWS_MAX * 2 + 12];
	/* What sink.ledger borrows. */
	struct ledger_batch batches[LEDGER_MAX];
	struct noted notes[LEDGER_MAX];
};

/* Of a producer that is no more. slot: where it is part of a transaction. */
struct late_record {
	unsigned row;
	int slot;
	unsigned epoch;
};

struct broker {
	int64_t down_until_us, down_since_us;
	bool stays_down; /* not healed */
	/* Requests of producers that are no more, still on their way. */
	struct late_record ghosts[PARTITIONS][GHOSTS_MAX];
	unsigned ghost_count[PARTITIONS];
	int64_t topic_away_until_us;
	int64_t out_since_us[TOPICS], out_until_us[TOPICS]; /* these topics are deleted */
};

#endif
