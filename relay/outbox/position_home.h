/* SPDX-License-Identifier: ISC */
/*
 * position_home.h - whose the positions of the outbox are, and of which shards
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_POSITION_HOME_H
#define OUTBOX_OUTBOX_POSITION_HOME_H

#include "base/error.h"
#include "outbox/sql.h"

#include <libpq-fe.h>

/* One row; $1 is the outbox. */
extern const char position_home_question[];

/* Fills in what the shape has of positions; shards: the relay's. False and err: "what is wrong;
 * what to do", if they are not of this table, or of shards that no configuration can have. */
bool position_home_read(struct outbox_shape *shape, const PGresult *result, struct error *err);

#endif
