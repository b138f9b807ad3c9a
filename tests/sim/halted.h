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
void halted_astray(struct session *session);
void halted_settled(struct session *session);
void halted_lost(struct session *session);
bool halted_is_tried(const struct session *session, unsigned row);
void halted_rejected(struct relay *relay, unsigned row);
bool operator_can_mend(const struct sim *sim, const struct row *row);
void operator_mends(struct sim *sim, struct row *row);

#endif
