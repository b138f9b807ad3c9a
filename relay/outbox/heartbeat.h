/* SPDX-License-Identifier: ISC */
/*
 * heartbeat.h - the session is kept, or known to be lost
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_HEARTBEAT_H
#define OUTBOX_OUTBOX_HEARTBEAT_H

#include "claim.h"
#include "membership.h"

struct heartbeat;

/* Says something to the server three times in a session_timeout. */
struct heartbeat *heartbeat_new(struct loop *loop, struct session *session,
				const struct claimer *claimer, struct membership *membership);
void heartbeat_free(struct heartbeat **heartbeat);

/* The session is set up. */
void heartbeat_begin(struct heartbeat *heartbeat);

/* Something has come, and is not looked at yet. False if this process was stopped for longer than
 * session_timeout; then the session has been given up. */
bool heartbeat_heard(struct heartbeat *heartbeat);

#endif
