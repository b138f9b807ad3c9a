/* SPDX-License-Identifier: ISC */
/*
 * lines.h - text from anywhere as lines of a terminal: wrapped, counted and harmless. Pure
 */
#ifndef OUTBOX_CMD_LINES_H
#define OUTBOX_CMD_LINES_H

#include <stdbool.h>
#include <stddef.h>

enum tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD };

struct line {
	char *text;
	enum tone tone;
};

struct lines {
	struct line *items;
	size_t count;
	int columns;  /* that a line may fill */
	bool unicode; /* otherwise what is not ASCII is shown as ? */
};

/* Adds what format says, behind label, wrapped at words into four lines at most. A control, a
 * character that turns the direction of writing and what is no text become a replacement
 * character. Widths are those of wcwidth(), by the locale of the process. */
void lines_add(struct lines *lines, enum tone tone, const char *label, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void lines_free(struct lines *lines);

#endif
