/* SPDX-License-Identifier: ISC */
/*
 * rename.h - a name by a regular expression and a replacement, as RegexRouter of Kafka Connect does
 *
 * It is Java's Pattern and Matcher, by PCRE2: where the pattern matches the whole of a name, the
 * first match that is found in it (which may be shorter) is replaced, and what is around it stays.
 * Otherwise the name stays. Pure. Thread: any, but one at a time for an object.
 */
#ifndef OUTBOX_RENAME_H
#define OUTBOX_RENAME_H

#include "base/error.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct rename;

/* A bad pattern, or a replacement that names a group which the pattern does not have: NULL and
 * err, which says which of the two it is. So is what Java and PCRE2 read in two ways. */
struct rename *rename_new(const char *regex, const char *replacement, struct error *err);
void rename_free(struct rename **rename);

enum renamed {
	RENAMED,
	RENAME_KEPT,	 /* the pattern does not match */
	RENAME_TOO_LONG, /* the new name has more bytes than there is room */
	RENAME_GAVE_UP	 /* matching takes more steps than are allowed, or the name is no UTF-8 */
};

/* Writes the new name to out, which has room for size bytes, and its length to *len. */
enum renamed rename_apply(struct rename *rename, struct slice name, char *out, size_t size,
			  size_t *len);

#endif
