/* SPDX-License-Identifier: ISC */
/*
 * units.h - numbers, durations and sizes as people write them
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_UNITS_H
#define OUTBOX_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits, with a '-' before them or without: no '+', no blanks, nothing behind. False if it is none
 * or lies outside of least and most; number is left as it was then. */
bool units_parse_number(const char *text, int64_t least, int64_t most, int64_t *number);

/* "500ms", "10s", "5m", "12h", "7d" to milliseconds. A unit is needed, except for "0"; no sign, no
 * fraction, no blanks. False if it does not parse or does not fit. */
bool units_parse_duration(const char *text, int64_t *milliseconds);

/* "900KiB", "16MiB", "1GiB", "512B" and plain "1024" (bytes) to bytes. False as above. */
bool units_parse_size(const char *text, int64_t *bytes);

/* The shortest exact spelling, e.g. 5000 -> "5s", 1500 -> "1500ms"; into out, always terminated. */
void units_print_duration(int64_t milliseconds, char *out, size_t size);
void units_print_size(int64_t bytes, char *out, size_t size);

#endif
