/*
 * json_text.h - strings in the JSON that we print
 */
#ifndef OUTBOX_JSON_TEXT_H
#define OUTBOX_JSON_TEXT_H

#include <jansson.h>

/* A string of any text, with U+FFFD for what is not UTF-8: jansson refuses such text, and the
 * member or the whole answer would be missing. Null for NULL. Never fails. */
json_t *json_text(const char *text);

#endif
