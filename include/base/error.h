/* SPDX-License-Identifier: ISC */
/*
 * error.h - what went wrong, in words for a person
 *
 * A function that can fail takes a struct error and returns false (or NULL) after filling it in.
 * The text says what failed, on what, and what to do; it has no final period and no newline, and
 * never holds a row's contents or a password.
 *
 * Thread: any.
 */
#ifndef OUTBOX_ERROR_H
#define OUTBOX_ERROR_H

#include <stdbool.h>

struct error {
	char text[768];
};

/* Fills in the text (truncating what does not fit) and returns false, so that a caller can
 * `return error_set(err, ...)`. err must not be NULL. */
bool error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
