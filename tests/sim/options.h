/* SPDX-License-Identifier: ISC */
/*
 * options.h - what could happen next
 */
#ifndef OUTBOX_SIM_OPTIONS_H
#define OUTBOX_SIM_OPTIONS_H

#include "sim.h"

enum option_kind {
	OPTION_TXN,
	OPTION_RESUME,
	OPTION_MEND,
	OPTION_OPERATE,
	OPTION_EXPIRE,
	OPTION_SERVE,
	OPTION_NOTE,
	OPTION_GHOST_END,
	OPTION_ANSWER,
	OPTION_APPEND,
	OPTION_ACKNOWLEDGE,
	OPTION_LATE_APPEND,
	OPTION_REPORT,
	OPTION_WRITABLE,
	OPTION_READY,
	OPTION_REACHABLE,
	OPTION_WAKE,
	OPTION_POLL,
	OPTION_STALL,
	OPTION_BEAT,
	OPTION_START,
	OPTION_MARKER,
	OPTION_LATE_END,
	OPTION_TIME_OUT,
	OPTION_COMMIT,
	OPTION_AGAIN
};

struct option {
	enum option_kind kind;
	unsigned index, relay;
};

enum {
	OPTIONS_MAX = TXNS_MAX + ROWS_MAX * 2 + BACKENDS_MAX * 4 +
		      (PARTITIONS * 3 + 1) * RELAYS_MAX + 14 * RELAYS_MAX + 1 +
		      SLOTS_SIM * (PARTITIONS + 2) + LATE_ENDS_MAX
};
struct options {
	struct option items[OPTIONS_MAX];
	unsigned count;
};

void options_find(const struct sim *sim, struct options *options);
void options_take(struct sim *sim, struct option option);
/* What it is that would be done: a writer's step, an ask, an answer. */
unsigned options_matter(const struct sim *sim, const struct option *option);

#endif
