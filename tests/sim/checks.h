/* SPDX-License-Identifier: ISC */
/*
 * checks.h - what must be true, and what a fault excuses
 */
#ifndef OUTBOX_SIM_CHECKS_H
#define OUTBOX_SIM_CHECKS_H

#include "sim.h"

/* check.c */
void violated(struct sim *sim, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
unsigned line_of(const struct row *row); /* what is in order: a key's events of a topic */
void check_appended(struct sim *sim, unsigned row);
void check_deleted(struct sim *sim, uint64_t deleted, uint64_t dead_letter);
void check_idle(struct sim *sim);
void check_end(struct sim *sim);
void allow_repeats(struct sim *sim, uint64_t rows);
void allow_jumps(struct sim *sim);

/* check_group.c: who owns what */
void note_work(struct sim *sim, struct backend *backend, uint32_t shards);
void note_freed(struct sim *sim, const struct backend *backend);
void check_given(struct relay *relay, uint32_t shards);
void excuse_held(struct sim *sim, uint64_t rows);
void check_taken(struct sim *sim, const struct backend *backend, uint32_t shards, bool alone);
void check_claimed(struct sim *sim, const struct backend *backend, unsigned row);
void check_produced(struct relay *relay, unsigned row);
void check_shares(struct sim *sim);
void check_unavailable(struct relay *relay);

/* check_relay.c: what a relay does, and for how long */
void check_claim_asked(struct relay *relay, const struct claim *claim);
void check_leap(struct relay *relay, int64_t to_us);
int64_t check_patience_us(const struct relay *relay); /* for the sink, with a transaction open */
/* By the timer; before it: the state, and the patience. */
void check_stall(struct relay *relay, const char *before, int64_t patience_us);
void check_step(struct relay *relay);
void check_flow(struct sim *sim);

/* check_letters.c: what is set aside, and asked for */
void check_letter_produced(struct relay *relay, unsigned row);
void check_letters_sleep(struct relay *relay, int64_t looked_us, int64_t to_us);
void check_letters_passed(struct session *session);
void check_request_gone(struct sim *sim, const struct backend *backend, unsigned row,
			bool rejected);

#endif
