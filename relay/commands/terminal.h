/* SPDX-License-Identifier: ISC */
/*
 * terminal.h - the terminal as a screen to draw on, given back as it was
 *
 * One at a time, since signals belong to the process. Thread: main.
 */
#ifndef OUTBOX_CMD_TERMINAL_H
#define OUTBOX_CMD_TERMINAL_H

#include <stdbool.h>

/* Takes it: another screen, no cursor, no echo. SIGINT, SIGTERM, SIGHUP and SIGQUIT give it back
 * and end the process by that signal, whatever it waits for; SIGTSTP gives it back until SIGCONT.
 */
void terminal_open(void);
void terminal_close(void);

void terminal_size(int *rows, int *columns);

/* False if it is gone. */
bool terminal_write(const char *text);

enum terminal_event { TERMINAL_TIME, TERMINAL_REDRAW, TERMINAL_QUIT };

/* Waits until it is to be drawn anew (another size, in front again), q was typed, or the time is
 * over. */
enum terminal_event terminal_wait(int milliseconds);

#endif
