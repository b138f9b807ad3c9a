/* SPDX-License-Identifier: ISC */
/*
 * halted.h - what was rejected and is not to be a dead letter, and the operator who mends it
 */
#ifndef OUTBOX_SIM_HALTED_H
#define OUTBOX_SIM_HALTED_H

#include "sim.h"

/* What a hold has as its id: in the order of the rows' ids, with the row's place in the model. */
enum { PLACES = 64 };
static inline int64_t hold_id(const struct sim *sim, unsigned place)
{
	return sim->db.rows[place].id * PLACES + place;
}
static inline unsigned place_of(const struct outbox_hold *hold)
{
	return (unsigned)(hold->id % PLACES);
}

void halted_hold(struct session *session, uint64_t rows, uint64_t returned);
bool halted_see(struct session *session, uint64_t due);
bool halted_now(const struct session *session);
bool halted_tries(struct session *session);
void halted_ask(struct session *session);
bool halted_refused(struct session *session);
/* A claim of the one that is tried alone did not take it. */
bool halted_found_nothing(const struct session *session, const struct answer *answer);
void halted_astray(struct session *session);
/* A transaction that leaves nothing to be published; tried: its row was tried alone. */
void halted_end(struct session *session, bool tried);
void halted_settled(struct session *session);
void halted_lost(struct session *session);
bool halted_is_tried(const struct session *session, unsigned row);
void halted_rejected(struct relay *relay, unsigned row);
bool operator_can_mend(const struct sim *sim, const struct row *row);
void operator_mends(struct sim *sim, struct row *row);

/* refused.c: what the database does not let go */
void refused_claim_asked(struct session *session, const struct claim *claim);
uint64_t refused_left_out(const struct session *session);
void refused_ask_retest(struct session *session, struct ask *ask);
bool refused_heard(struct session *session, const struct answer *answer);
bool refused_roll_back(struct session *session);
void refused_forget(struct session *session);
void refused_hold(struct session *session, uint64_t rows, uint64_t published);
void refused_retested(struct session *session, uint64_t released, uint64_t due);
uint64_t refused_published(const struct session *session);
void refused_changed(struct session *session);

#endif
