/* SPDX-License-Identifier: ISC */
/*
 * parts.h - what the outbox source is made of; outbox.c puts it together
 */
#ifndef OUTBOX_OUTBOX_PARTS_H
#define OUTBOX_OUTBOX_PARTS_H

#include "actions.h"
#include "bell.h"
#include "durable.h"
#include "examine.h"
#include "gauge.h"
#include "heartbeat.h"
#include "letters.h"
#include "membership.h"
#include "notified.h"
#include "outbox/outbox.h"
#include "producers.h"
#include "purge.h"
#include "ranges.h"
#include "reconcile.h"
#include "take_up.h"
#include "trial.h"

struct outbox {
	struct source source;	     /* first: the rest of the program sees only this */
	const struct config *config; /* borrowed */
	struct metrics *metrics;     /* borrowed */
	struct session *session;     /* owned, and so are the parts that follow */
	struct asker asker;
	struct opening *opening;
	struct membership *membership;
	struct actions *actions;
	struct held *held;
	struct claimer *claimer;
	struct take_up *take_up;
	struct trial *trial;
	struct letters *letters;
	struct examiner *examiner;
	struct reconciler *reconciler;
	struct producers *producers;
	struct purger *purger;
	struct ranges *ranges;
	struct gauger *gauger;
	struct durable *durable;
	struct heartbeat *heartbeat;
	struct notified *notified;
	struct bell *bell;
	struct poll poll;
	struct loop_timer *poll_timer;
	struct chunk *answered; /* owned; of the claim that poll hears of */
	/* What the source was asked to settle, until poll says that it is time: */
	const struct batch *orphans; /* borrowed */
	enum reject_policy policy;
	const struct ledger *ledger; /* borrowed */
};

#endif
