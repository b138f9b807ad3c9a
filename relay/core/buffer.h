/* SPDX-License-Identifier: ISC */
/*
 * buffer.h - text that grows, and how JSON and base64 are written to it
 *
 * Thread: any, but one at a time for a buffer.
 */
#ifndef OUTBOX_CORE_BUFFER_H
#define OUTBOX_CORE_BUFFER_H

#include "base/slice.h"

#include <stdbool.h>

/* Zero it before first use. */
struct buffer {
	char *data; /* owned */
	size_t len, size;
};

void buffer_clear(struct buffer *buffer); /* keeps the memory, unless it is much */
void buffer_free(struct buffer *buffer);

/* What follows cannot move it before so much more is written. */
void buffer_reserve(struct buffer *buffer, size_t more);

void buffer_put(struct buffer *buffer, const char *bytes, size_t len);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_slice(struct buffer *buffer, struct slice slice);
void buffer_byte(struct buffer *buffer, char byte);
void buffer_integer(struct buffer *buffer, int64_t number);

/* A string of JSON with its quotes, as Jackson writes it: what is beyond the BMP as two escapes. */
void buffer_json(struct buffer *buffer, struct slice text);

enum base64 { BASE64, BASE64_URL };
void buffer_base64(struct buffer *buffer, struct slice bytes, enum base64 alphabet);

#endif
