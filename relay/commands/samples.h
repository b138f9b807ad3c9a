/* SPDX-License-Identifier: ISC */
/*
 * samples.h - the samples of what `verify` and `compare` have found: how many, and bytes of a
 * record in them
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_CMD_SAMPLES_H
#define OUTBOX_CMD_SAMPLES_H

#include "base/slice.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Of each kind, at most. asked: by --samples; negative: as the output, JSON or text, has by
 * default. */
size_t samples_most(int64_t asked, bool json);

/* The first bytes, at most so many, as a string of JSON; null for none. */
json_t *samples_text(struct slice text, size_t most);

#endif
