/* SPDX-License-Identifier: ISC */
/*
 * letters.h - what was set aside: the database's part in it, the session's, and the operators'
 */
#ifndef OUTBOX_SIM_LETTERS_H
#define OUTBOX_SIM_LETTERS_H

#include "sim.h"

/* dead_letters.c: the statements of outbox/sql_letters.c, and what operators ask for */
bool letters_park(const struct sim *sim, const struct backend *backend, unsigned row);
bool letters_wait_for_topic(const struct sim *sim, const struct backend *backend, unsigned row);
void letters_move(struct sim *sim, struct backend *backend, unsigned row, bool for_topic);
bool letters_serve(struct sim *sim, struct backend *backend, const struct ask *ask,
		   struct answer *answer);
bool letters_wait(const struct sim *sim, const struct backend *backend, const struct ask *ask);
bool letters_count(const struct sim *sim, const struct backend *backend, const struct ask *ask);
uint64_t letters_due(const struct sim *sim, const struct backend *backend, const struct ask *ask);
void letters_reconcile(struct sim *sim, struct backend *backend, const struct ask *ask);
void letters_commit(struct sim *sim, struct backend *backend);
bool letters_can_be_operated(const struct sim *sim, const struct row *row);
void letters_operate(struct sim *sim, unsigned row);
bool letters_are_left(const struct sim *sim);

/* letters.c: what outbox/letters.c does */
void letters_begin(struct session *session);
void letters_look(struct session *session);
void letters_ask(struct session *session, const struct claim *claim);
void letters_claimed(struct session *session, uint64_t rows);
void letters_counted(struct session *session, bool due);
bool letters_wanted(const struct session *session);
void letters_notified(struct session *session);
void letters_lost(struct session *session);
void letters_settled(struct session *session);
uint32_t letters_out(const struct session *session); /* topics */
void letters_settle(struct session *session, struct ask *ask, const struct batch *batch);

#endif
