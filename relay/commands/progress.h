/* SPDX-License-Identifier: ISC */
/*
 * progress.h - a line on stderr about long work: how far, how fast, how much longer
 *
 * Nothing is written unless stderr is a terminal. One at a time. Thread: main.
 */
#ifndef OUTBOX_CMD_PROGRESS_H
#define OUTBOX_CMD_PROGRESS_H

#include <stdint.h>

/* total: of how many; -1: that is not known. unit: "rows"; borrowed until progress_end. */
void progress_begin(int64_t total, const char *unit);
/* So many are done, all together. May be called for each of millions. */
void progress_step(int64_t done);
/* Takes the line away. */
void progress_end(void);

#endif
