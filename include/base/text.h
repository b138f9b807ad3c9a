/* SPDX-License-Identifier: ISC */
/*
 * text.h - UTF-8: characters, and text that is cut between two of them
 *
 * Thread: any.
 */
#ifndef OUTBOX_TEXT_H
#define OUTBOX_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* The length of the well-formed UTF-8 sequence at text, or 0: not an overlong form, a surrogate or
 * beyond U+10FFFF. room: so many bytes are there, or 4 where a NUL ends them. */
size_t text_character(const char *text, size_t room);

/* Whether such a sequence is a control character: C0, DEL, or C1. */
bool text_is_control(const char *text, size_t len);

/* A copy with U+FFFD for each byte that belongs to no such sequence; malloc'd. */
#define TEXT_REPLACEMENT "\xef\xbf\xbd"
char *text_clean(const char *text);

/* As a string of JSON, since jansson refuses text that is not clean; null for NULL. Never fails. */
struct json_t *json_text(const char *text);

/* As snprintf and vsnprintf; what does not fit is cut off between two characters. */
void text_print(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void text_vprint(char *out, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

#endif
