/* SPDX-License-Identifier: ISC */
/*
 * faults.h - what may go wrong at any step
 */
#ifndef OUTBOX_SIM_FAULTS_H
#define OUTBOX_SIM_FAULTS_H

struct relay;
struct sim;

enum fault {
	FAULT_CUT_SERVER,
	FAULT_CUT_CLIENT,
	FAULT_RESTART,
	FAULT_FAILOVER,
	FAULT_BROKER_DOWN,
	FAULT_BREAK,
	FAULT_DRAIN,
	FAULT_BLOCK,
	FAULT_MISROUTE,
	FAULT_CRASH,
	FAULT_STOP,
	FAULT_STOP_NOW,
	FAULT_PAUSE,
	FAULT_ROW_LOCK,
	FAULT_PAUSE_OUTBOX,
	FAULT_LAYOUT,
	FAULT_RELOAD,
	FAULT_AWAY,
	FAULT_OUTAGE,
	FAULT_STUCK,
	FAULT_BAD,
	FAULTS_ANY,
	FAULT_TOPIC_OUT = FAULTS_ANY, /* where there are several topics */
	/* Where each batch is a transaction of the broker's: */
	FAULT_END_REPEATED,
	FAULT_END_LOST,
	FAULT_TIMED_OUT,
	FAULT_FENCED,
	FAULTS
};

void fault_strike(struct relay *relay, enum fault fault, unsigned variant);
unsigned fault_variants(enum fault fault);
const char *fault_name(enum fault fault);
/* From now on nothing goes wrong. */
void heal(struct sim *sim);

#endif
