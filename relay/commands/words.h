/* SPDX-License-Identifier: ISC */
/*
 * words.h - what `status` and `status --watch` say in the same words: how long, and what is set
 * aside
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_CMD_WORDS_H
#define OUTBOX_CMD_WORDS_H

#include <jansson.h>

/* "12 s", as the page says it; in out. */
const char *words_lasting(double seconds, char out[32]);

/* from has the members of letters_json() (http.h), relay those of /status, or is NULL. malloc'd;
 * "0" where there is none: "3 (headers 2, too_large 1)"; with the events of the keys and the oldest
 * one's age; with a topic. */
char *words_dead_letters(const json_t *from);
char *words_parked_keys(const json_t *from);
char *words_deferred(const json_t *from, const json_t *relay);

#endif
