/* SPDX-License-Identifier: ISC */
/*
 * import_notes.h - what could not be carried over, a line for each option. Pure
 */
#ifndef OUTBOX_CMD_IMPORT_NOTES_H
#define OUTBOX_CMD_IMPORT_NOTES_H

#include <stddef.h>

struct import_notes {
	char **lines; /* owned, each too; of clean text, without ends of lines */
	size_t count;
};

/* An option, its value unless that is NULL, and why it cannot be carried over and what to do: see
 * printf. A value that may be a secret is not shown. */
void import_note(struct import_notes *notes, const char *option, const char *value,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Any text as a part of one line for a terminal, and at most so many bytes of it, with "..." behind
 * what is cut off; malloc'd. */
char *import_shown(const char *text, size_t size);

void import_notes_free(struct import_notes *notes);

#endif
