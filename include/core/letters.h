/* SPDX-License-Identifier: ISC */
/*
 * letters.h - how many events are set aside, and why
 */
#ifndef OUTBOX_CORE_LETTERS_H
#define OUTBOX_CORE_LETTERS_H

#include "core/event.h"

/* Beyond this, events and dead letters are at least so many as they say. */
enum { LETTERS_EXACT = 10000 };

/* A reason that this version does not know is none of those told apart. */
struct letter_gauges {
	double dead; /* of the whole outbox: rejected, and no other event waits behind them */
	double dead_by_reason[REJECT_REASONS];
	/* The rest is of the shards that are meant. */
	double deferred; /* events that wait for a topic that cannot be used */
	struct parked_gauges {
		double keys;		   /* all events of a key wait behind its first one */
		double events;		   /* the first ones included */
		double oldest_age_seconds; /* of the first ones; 0: there is none */
		double by_reason[REJECT_REASONS]; /* keys: why the first one was rejected */
	} parked;
};

#endif
