/* SPDX-License-Identifier: ISC */
/*
 * parked.h - whether what is parked lies by the key that the configuration names, and before what
 * is to come; `run` and `check` ask
 *
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_PARKED_H
#define OUTBOX_OUTBOX_PARKED_H

#include "base/error.h"
#include "config.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* One row. $1 the table. Schema version 8 must be there. */
extern const char parked_question[];

/* The layout of the key by this configuration, as dead_letters.key_layout has it. */
uint32_t parked_layout(const struct config *config);

/* For a relay that keeps no order. */
#define PARKED_BY_ANY_KEY INT64_C(-1)

/* NULL if the answer lets the relay begin; otherwise err is what is wrong, and this what to do
 * about it (static). table is for the words. */
const char *parked_check(const PGresult *result, const char *table, int64_t layout,
			 struct error *err);

#endif
