/* SPDX-License-Identifier: ISC */
/*
 * frame.h - one picture of `status --watch` as text: pure
 */
#ifndef OUTBOX_CMD_FRAME_H
#define OUTBOX_CMD_FRAME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Pictures in the last minute, at one every 2 s. */
enum { FRAME_SAMPLES = 30 };

/* Of the last minute, the oldest first; below 0: not known. */
struct frame_history {
	double depth[FRAME_SAMPLES], rate[FRAME_SAMPLES];
	size_t count;
};

struct frame_shape {
	int rows, columns;
	bool unicode; /* the locale's encoding is UTF-8, and LC_CTYPE is set to it */
	bool colour;
};

/* seen is what `status --json` prints; a part that could not be asked has database_error or
 * relay_error, and database_since or relay_since, the time since when, in words. Lines are wrapped
 * at words; what has no room is cut from below, and counted in the last row. No line fills the
 * last column, and no byte of seen reaches the terminal as a control. malloc'd, with the escapes
 * that draw it over the one before. */
char *frame_draw(const json_t *seen, const struct frame_history *history,
		 const struct frame_shape *shape);

#endif
