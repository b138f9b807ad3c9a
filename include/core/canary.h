/* SPDX-License-Identifier: ISC */
/*
 * canary.h - one event at a time that is inserted, awaited, and back or lost
 *
 * A record may be read before the INSERT that made it is answered, so the last ones are kept. Pure.
 * Thread: any, but one at a time for a canary.
 */
#ifndef OUTBOX_CANARY_H
#define OUTBOX_CANARY_H

#include "core/audit.h"

#include <stdbool.h>
#include <stdint.h>

enum { CANARY_KEPT = 64 };

enum canary_state {
	CANARY_RESTS,	/* none is under way */
	CANARY_DUE,	/* to be inserted, or that is not answered yet */
	CANARY_AWAITED, /* in the outbox */
};

/* Zeroed, it rests. */
struct canary {
	enum canary_state state;
	struct audit_name awaited;
	int64_t begun_us;			/* when it became due */
	struct audit_name arrived[CANARY_KEPT]; /* a ring */
	unsigned arrivals;
	unsigned lost_in_row;
};

/* A new one is due: what arrived before is none of it. */
void canary_begin(struct canary *canary, int64_t now_us);
/* The INSERT is answered, with its event id; or a record has arrived. True if the canary is back
 * with that: it rests. */
bool canary_inserted(struct canary *canary, struct audit_name name);
bool canary_arrived(struct canary *canary, struct audit_name name);
/* It was awaited for too long: it rests. */
void canary_lose(struct canary *canary);

#endif
