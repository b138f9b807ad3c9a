/* SPDX-License-Identifier: ISC */
/*
 * failpoints.h - failpoints and planted errors, for the tests of the tests
 *
 * Nothing at all in a normal build. With cmake -DPLANTS=ON the environment says where the process
 * dies or stands still, and which error it makes:
 *
 *   OUTBOX_RELAY_FAILPOINT=NAME=kill|stop|exit[:NTH]   at the NTH passing (1), once
 *   OUTBOX_RELAY_PLANT=NAME[,NAME...]
 *
 * base/failpoints.c has the names.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_PLANTS_H
#define OUTBOX_PLANTS_H

#include <stdbool.h>

void plants_pass(const char *failpoint);
bool plants_planted(const char *error);

#ifdef PLANTS
#define FAILPOINT(name) plants_pass(name)
#define PLANTED(name)	plants_planted(name)
#else
#define FAILPOINT(name) ((void)0)
#define PLANTED(name)	false
#endif

#endif
