/* SPDX-License-Identifier: ISC */
/*
 * replay_rows.h - published rows, for the source
 */
#ifndef OUTBOX_OUTBOX_REPLAY_ROWS_H
#define OUTBOX_OUTBOX_REPLAY_ROWS_H

#include "outbox/replay.h"
#include "outbox/sql.h"

/* The table's, as replay_rows_look has seen it. */
const struct outbox_shape *replay_rows_shape(const struct replay_rows *rows);

/* The condition that a row "t" is settled, as of then; NULL where rows are marked. */
const char *replay_rows_settled(const struct replay_rows *rows);

#endif
