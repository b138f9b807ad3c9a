/* SPDX-License-Identifier: ISC */
/*
 * broker.h - the broker, and the sink over it
 */
#ifndef OUTBOX_SIM_BROKER_H
#define OUTBOX_SIM_BROKER_H

#include "sim.h"

void producer_init(struct relay *relay);
void producer_break(struct relay *relay, bool hard, unsigned variant);
/* With transactions: all comes back, and the sink is broken or fenced. */
void producer_fail(struct relay *relay, enum report_kind kind);
void producer_doubt(struct relay *relay); /* the commit under way is in doubt */
void producer_give_up(struct relay *relay);
void producer_crash(struct relay *relay, unsigned appended);
uint64_t producer_holds(const struct relay *relay); /* rows */
bool broker_is_up(const struct sim *sim);
bool broker_answers(const struct relay *relay);
bool broker_can_append(const struct relay *relay, unsigned partition);
void broker_append_next(struct relay *relay, unsigned partition);
bool broker_can_acknowledge(const struct relay *relay, unsigned partition);
void broker_acknowledge_next(struct relay *relay, unsigned partition);
void broker_append_ghost(struct sim *sim, unsigned partition);
void producer_tell_report(struct relay *relay);

#endif
