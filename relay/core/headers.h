/* SPDX-License-Identifier: ISC */
/*
 * headers.h - a flat JSON object as a list of headers
 *
 * Each member becomes a header: a string its characters (escapes decoded to UTF-8), a number, true
 * or false their text as written, null a header with a null value. A nested object or array,
 * anything else than an object, a name with a control character, an invalid escape or invalid UTF-8
 * is an error. A repeated name gives a repeated header, in order. Pure.
 *
 * Our own scanner and not jansson, which prints 1.10 as 1.1000000000000001, refuses integers beyond
 * 64 bits, keeps one of the members of a name, and takes 1.3 us more for three headers.
 */
#ifndef OUTBOX_HEADERS_H
#define OUTBOX_HEADERS_H

#include "base/error.h"
#include "base/slice.h"
#include "core/route.h"

/* Growable, reused from event to event; zero it before first use. */
struct headers {
	struct header *items; /* owned */
	size_t count, capacity;
	char *text; /* owned; decoded strings */
	size_t text_used, text_capacity;
};

/* Forgets the headers, keeps the memory. */
void headers_clear(struct headers *headers);
void headers_free(struct headers *headers);

/* Appends one; name and value are borrowed. */
void headers_add(struct headers *headers, struct slice name, struct slice value);

/* Appends the members of the object in json. Slices may point into json or into headers->text and
 * hold until headers_clear. On false some may have been appended: the caller rejects the event. */
bool headers_parse(struct headers *headers, struct slice json, struct error *err);

#endif
