/* SPDX-License-Identifier: ISC */
/*
 * notify.h - what a service manager is told, by the protocol of sd_notify(3)
 *
 * A datagram to the socket named in $NOTIFY_SOCKET. systemd guarantees this protocol
 * (https://systemd.io/PORTABILITY_AND_STABILITY), and its manual shows how to speak it without
 * libsystemd, which would bring four libraries more into a process that holds passwords.
 * Thread: the loop's.
 */
#ifndef OUTBOX_NOTIFY_H
#define OUTBOX_NOTIFY_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Sends such a state as "READY=1". True, and nothing is done, where no manager asks for it. Waits a
 * second at most for a manager that does not read. False: it was not told, err says why. */
bool notify_manager(const char *state, struct error *err);

/* How often the manager wants to hear "WATCHDOG=1", in microseconds; 0: not at all, or not from
 * this process (sd_watchdog_enabled(3): $WATCHDOG_USEC, $WATCHDOG_PID). */
int64_t notify_watchdog_us(void);

#endif
