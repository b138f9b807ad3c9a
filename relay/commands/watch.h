/* SPDX-License-Identifier: ISC */
/*
 * watch.h - `status --watch`: the status page in a terminal
 */
#ifndef OUTBOX_CMD_WATCH_H
#define OUTBOX_CMD_WATCH_H

#include "config.h"

/* Draws until q, and returns the exit status; EXIT_USAGE where there is no terminal to draw on. A
 * signal that ends the process restores the terminal first. Thread: main. */
int watch_status(const struct config *config);

#endif
