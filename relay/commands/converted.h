/* SPDX-License-Identifier: ISC */
/*
 * converted.h - what JSON converters have made of an event id and of a key, as `verify`, its canary
 * and `compare` read it
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_CMD_CONVERTED_H
#define OUTBOX_CMD_CONVERTED_H

#include "base/slice.h"
#include "core/field.h"

#include <stdbool.h>

/* The event id in the value of a header: the text itself or, as a JSON converter writes it, a
 * string, a whole number, or one of them in "payload" beside a schema. data == NULL: it is JSON's
 * null. copy: owned by the caller, to be freed; what is returned may lie in it. */
struct slice converted_id(struct slice header, char **copy);

/* Whether a JSON converter has written this for NULL, with or without a schema. */
bool converted_is_null(struct slice text);

/* Whether the header of an event id has the text of its column, once it is read so. format: enum
 * config_encode. */
bool converted_keeps_text(int format, enum field_kind kind);

#endif
